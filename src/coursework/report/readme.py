"""The part of the README that is made from the results store."""

from __future__ import annotations

import os
from pathlib import Path

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import headline, speed

START = "<!-- results: made by `coursework report`, do not edit -->"
END = "<!-- /results -->"
BENCH_START = "<!-- bench: made by `coursework report`, do not edit -->"
BENCH_END = "<!-- /bench -->"


def render(text: str, folder: Path | None = None) -> str:
    """``text`` with the lines between the markers made anew: the results and the benchmark.

    Raises:
        ResultsError: If the markers are missing.
    """
    text = _between(text, START, END, headline.table(folder).to_markdown())
    return _between(text, BENCH_START, BENCH_END, speed.markdown(folder))


def _between(text: str, first: str, last: str, lines: str) -> str:
    head, start, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not start or not end:
        raise ResultsError(f"README.md lacks the markers {first} and {last}; put them back.")
    return f"{head}{first}\n{lines}\n{last}{tail}"


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
