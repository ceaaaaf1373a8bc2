"""``coursework run`` in the terminal: a line of progress for each notebook, then the answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coursework import settings
from coursework.console import Cell, show
from coursework_tools.publishing import run as runner

ANSWERS = ("problem", "question", "result", "value", "data", "where to look")


def follow(
    names: Sequence[str], *, jobs: int | None, preset: str | None, inplace: bool
) -> list[str]:
    """Execute notebooks, show how far they are, print what they answer; returns those that failed."""
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    interactive = sys.stdout.isatty() and settings.progress()
    with Progress(*columns, TimeElapsedColumn(), disable=not interactive) as bars:
        tasks = {
            name: bars.add_task(name, total=None, start=False, state="waiting") for name in names
        }

        def begin(name: str) -> None:
            bars.start_task(tasks[name])
            bars.update(tasks[name], state="starting")

        def advance(name: str, done: int, total: int) -> None:
            bars.update(tasks[name], total=total, completed=done, state=f"cell {done}/{total}")

        def end(outcome: runner.Execution) -> None:
            state = outcome.error or "done"
            bars.update(tasks[outcome.notebook], state=state)
            bars.stop_task(tasks[outcome.notebook])
            if not interactive:
                typer.echo(f"{outcome.notebook}: {outcome.seconds:.0f} s  {state}")

        outcomes = runner.run(names, jobs=jobs, preset=preset, inplace=inplace,
                              on_begin=begin, on_cell=advance, on_end=end)  # fmt: skip
    show("Answers of this run", ANSWERS, [row for one in outcomes for row in _rows(one)])
    runner.keep_seconds(outcomes)
    typer.echo(f"{len(outcomes)} notebooks in {time.perf_counter() - started:.0f} s")
    return [outcome.notebook for outcome in outcomes if outcome.error]


def _rows(outcome: runner.Execution) -> Iterator[Sequence[Cell]]:
    root, path = settings.repo_root(), outcome.path
    where = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    number = outcome.notebook.split("_")[0]
    if outcome.error:
        yield number, "–", ("failed", "red"), outcome.error, "–", where
    for answer in outcome.answers:
        colour = "yellow" if answer.source.startswith("STAND-IN") else ""
        yield number, answer.part, answer.result, answer.value, (answer.source, colour), where
