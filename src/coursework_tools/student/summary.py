"""The table that ``coursework check`` prints."""

from __future__ import annotations

from pathlib import Path

import typer

from coursework.console import show
from coursework.errors import ConfigError
from coursework.training.progress import track
from coursework_tools.student import edition, runner


def show_all(folder: Path | None, problem: int | None, seconds: float) -> bool:
    """Examine an edition and print the result; returns whether all of it is right."""
    root = edition.find(folder)
    there = edition.problems_in(root)
    problems = there if problem is None else edition.problems_of(problem)
    if not set(problems) <= set(there):
        raise ConfigError(f"The edition in {root} was made without problem {problem}.")
    found = list(track(runner.rows(root, problems, seconds), "checking"))
    rows = []
    for row in found:
        remarks = "\n".join(f"{one.kind}: {one.words}" for one in row.remarks)
        score = (f"{row.right}/{row.total}", "green" if row.right == row.total else "red")
        rows.append((row.question, row.what, row.file, score, remarks or ("all right", "green")))
    show(f"Student edition in {root}", ["problem", "object", "file", "score", "remarks"], rows)
    objects = [row.right == row.total for row in found if row.what != runner.IN_WORDS]
    if objects:
        typer.echo(f"{sum(objects)} of {len(objects)} objects pass all their checks.")
    words = [row for row in found if row.what == runner.IN_WORDS]
    if words:
        answered, asked = sum(row.right for row in words), sum(row.total for row in words)
        typer.echo(f"{answered} of {asked} questions in words have an answer.")
    return bool(found) and all(row.right == row.total for row in found)
