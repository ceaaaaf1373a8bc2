"""Judgements of a reader: what kind of error an output is, kept by row number of the data."""

import json

from coursework import settings


def judgements(name: str) -> dict[str, str]:
    """Row of the data -> kind of error, from ``writeup/reading/NAME.json``; empty if nobody has read any."""
    path = settings.results_dir().parent / "reading" / f"{name}.json"
    if not path.is_file():
        return {}
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"]
    return {str(row): str(kind) for kind, rows in kinds.items() for row in rows}
