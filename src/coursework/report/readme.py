"""The part of the README that is made from the results store."""

from __future__ import annotations

import os
from pathlib import Path

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import headline

START = "<!-- results: made by `coursework report`, do not edit -->"
END = "<!-- /results -->"


def render(text: str, folder: Path | None = None) -> str:
    """``text`` with the lines between the markers made anew.

    Raises:
        ResultsError: If the markers are missing.
    """
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ResultsError(f"README.md lacks the markers {START} and {END}; put them back.")
    return f"{head}{START}\n{headline.table(folder).to_markdown()}\n{END}{tail}"


def update(path: Path | None = None) -> bool:
    """Rewrite the README's table; True where it changed."""
    path = path or settings.repo_root() / "README.md"
    before = path.read_text(encoding="utf-8")
    after = render(before)
    if after == before:
        return False
    temporary = path.with_suffix(".tmp")
    temporary.write_text(after, encoding="utf-8")
    os.replace(temporary, path)
    return True
