"""Everything that is made from the recorded results: headline, README, writeup."""

from __future__ import annotations

import json
from collections.abc import Callable

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import store
from coursework_tools.publishing import headline, readme, writeup


def check() -> int:
    """Validate all results; how many there are, or ResultsError if something made from them is stale."""
    names = [store.read(name)["name"] for name in store.names()]
    try:
        stored = json.loads((settings.results_dir() / "headline.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or broken is stale
        stored = None
    stale = readme.stale() + ([] if stored == headline.condense() else ["headline.json"])
    stale += writeup.stale()
    if stale:
        raise ResultsError(f"{', '.join(stale)}: older than the sources; run `coursework report`.")
    return len(names)


def update(say: Callable[[str], object]) -> None:
    """Make everything anew."""
    names = [store.read(name)["name"] for name in store.names()]
    headline.write()
    readme.update()
    say(str(headline.table()))
    say(f"{len(names)} results condensed into headline.json; README and docs are up to date")
    say("typesetting ...")
    for path in writeup.write():
        say(f"written to {path}")
