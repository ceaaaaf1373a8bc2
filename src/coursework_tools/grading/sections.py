"""Headings of the notebooks: where a question is answered, and how to link there."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from urllib.parse import quote

from coursework import settings
from coursework.errors import ResultsError
from coursework.report.questions import Question


@functools.cache
def _cells(path: Path) -> tuple[str, ...]:
    """Sources of the Markdown cells."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            "".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "markdown"
        )
    except FileNotFoundError as error:
        raise ResultsError(f"There is no notebook at {path}; restore it from git.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} is not a readable notebook; restore it from git.") from error


def headings(notebook: str) -> list[str]:
    """Headings of a notebook without their ``#`` signs, in order; ResultsError if it cannot be read."""
    path = settings.repo_root() / "notebooks" / f"{notebook}.ipynb"
    found = []
    for source in _cells(path):
        fenced = False
        for line in source.splitlines():
            fenced ^= line.startswith("```")
            if not fenced and (match := re.match(r"#{1,6}\s+(.*\S)", line)):
                found.append(match.group(1))
    return found


def section(question: Question) -> str:
    """The heading under which a question is answered; ResultsError if none has its number."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(question.part)}(?!\w|\.\d)")
    for heading in headings(question.notebook):
        if pattern.search(heading):
            return heading
    raise ResultsError(
        f"Notebook {question.notebook} has no section for {question.part}; add the number to its heading."
    )


def plain(heading: str) -> str:
    """A heading as it is read: without the signs of Markdown."""
    return re.sub(r"[`*]", "", heading)


def link(question: Question) -> str:
    """Path of the section from the root, with the anchor that Jupyter gives it."""
    anchor = quote(plain(section(question)).replace(" ", "-"), safe="-.,:§")
    return f"notebooks/{question.notebook}.ipynb#{anchor}"
