"""Execute the notebooks side by side, as copies in ``build/notebooks``, and collect their answers."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coursework import files, settings
from coursework.console import Cell, show
from coursework.errors import CourseworkError, ResultsError
from coursework.report import notebook as notebook_page
from coursework.report.questions import NOTEBOOKS, SECONDS
from coursework_tools import checkout

CELL_SECONDS = 4 * 3600  # with the preset full a cell is a whole training
ANSWERS = ("problem", "question", "result", "value", "data", "where to look")


@dataclass
class Execution:
    """How far a notebook is, and what became of it."""

    notebook: str  # name without ending
    path: Path  # the executed copy; the notebook itself where it was not executed
    seconds: float = 0.0  # once it has ended
    answers: list[notebook_page.Answer] = field(default_factory=list)
    error: str | None = None  # what went wrong
    done: int = 0  # cells
    total: int | None = None

    @property
    def state(self) -> str:
        if self.seconds:
            return self.error or "done"
        return f"cell {self.done}/{self.total}" if self.done else "starting"


Tell = Callable[[Execution], object]  # called at a notebook's start, after each cell, at its end


def run(
    notebooks: Sequence[str],
    *,
    jobs: int | None = None,  # at a time; one for each core by default
    preset: str | None = None,  # what they train live; the environment's by default
    inplace: bool = False,  # store the outputs in ``notebooks/`` and the figures in ``figures/``
    tell: Tell = lambda one: None,
) -> list[Execution]:
    """Execute notebooks side by side, each in a kernel with one thread, the longest first."""
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    places = asyncio.Semaphore(jobs or len(affinity(0)))  # cores that this process may use

    async def one(name: str) -> Execution:
        outcome = Execution(name, settings.repo_root() / "notebooks" / f"{name}.ipynb")
        async with places:
            tell(outcome)
            started = time.perf_counter()
            try:
                await _execute(outcome, preset, inplace, tell)
            except Exception as error:  # whatever it is: the others go on
                stopped = f"it stopped with {type(error).__name__}; run it in Jupyter to see where"
                outcome.error = str(error) if isinstance(error, CourseworkError) else stopped
            outcome.seconds = time.perf_counter() - started
            tell(outcome)
            return outcome

    async def every() -> list[Execution]:
        return await asyncio.gather(*map(one, sorted(notebooks, key=lambda name: -SECONDS[name])))

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return sorted(runner.run(every()), key=lambda one: notebooks.index(one.notebook))


class _Loop(asyncio.SelectorEventLoop):
    """Ctrl-C stops all notebooks; nbclient's handlers would stop the newest kernel only."""

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        raise RuntimeError  # as outside the main thread, which nbclient expects


async def _execute(outcome: Execution, preset: str | None, inplace: bool, tell: Tell) -> None:
    """Run a notebook and fill in what became of it; an error says what went wrong."""
    name, source = outcome.notebook, outcome.path
    document = checkout.notebook(name)
    (settings.answers_dir() / f"{name}.json").unlink(missing_ok=True)
    outcome.total = sum(cell.cell_type == "code" for cell in document.cells)

    def count(**_: Any) -> None:
        outcome.done += 1
        tell(outcome)

    own = {"COURSEWORK_PROGRESS": "0", "PYTHONHASHSEED": "0", "COURSEWORK_THREADS": "1"}
    own |= {"COURSEWORK_PRESET": preset} if preset else {}
    drawn = settings.build_dir() / "drawn" / name
    if inplace:
        shutil.rmtree(drawn, ignore_errors=True)  # of an earlier run
        drawn.mkdir(parents=True)
        own["COURSEWORK_FIGURES"] = str(drawn)
    client = NotebookClient(
        document, timeout=CELL_SECONDS, kernel_name="python3", on_cell_executed=count,
        resources={"metadata": {"path": str(source.parent)}}, record_timing=False,
    )  # fmt: skip
    problem = ""
    try:
        # the kernel's own log says nothing that a reader needs; errors of cells come back as such
        await client.async_execute(stderr=subprocess.DEVNULL, env=os.environ | own)
    except CellExecutionError as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", f"{error.ename}: {error.evalue}").strip()
        problem = f"cell {outcome.done} ends in {plain.splitlines()[0][:220]}"
    except CellTimeoutError:
        problem = f"cell {outcome.done + 1} ran longer than {CELL_SECONDS} seconds"
    except DeadKernelError:
        problem = f"the kernel died in cell {outcome.done + 1} (out of memory?)"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    text = nbformat.writes(document) + "\n"
    outcome.path = files.write(settings.build_dir() / "notebooks" / f"{name}.ipynb", text)
    if problem:
        raise ResultsError(problem)
    outcome.answers = notebook_page.read(name)
    if not inplace:
        return
    if parts := {row.part for row in outcome.answers if row.source.startswith("STAND-IN")}:
        what = f"parts {', '.join(sorted(parts))} used stand-in data"
        raise ResultsError(f"{what}, so its stored outputs were kept")
    outcome.path = files.write(source, text)
    shutil.copytree(drawn, settings.repo_root() / "figures", dirs_exist_ok=True)


def keep_seconds(outcomes: Sequence[Execution]) -> None:
    """Leave the seconds of a run of all notebooks in ``build/run.json``, for the benchmark."""
    seconds = {outcome.notebook: outcome.seconds for outcome in outcomes if not outcome.error}
    if seconds.keys() == NOTEBOOKS.keys():
        files.write(settings.build_dir() / "run.json", json.dumps({"seconds": seconds}, indent=1))


def follow(names: Sequence[str], **options: Any) -> list[str]:
    """Execute notebooks, show how far they are, print what they answer; returns those that failed."""
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    interactive = sys.stdout.isatty() and settings.progress()
    with Progress(*columns, TimeElapsedColumn(), disable=not interactive) as bars:
        new = partial(bars.add_task, total=None, start=False, state="waiting")
        tasks = {name: new(name) for name in names}

        def tell(one: Execution) -> None:
            task = tasks[one.notebook]
            bars.update(task, total=one.total, completed=one.done, state=one.state)
            if one.state == "starting":
                bars.start_task(task)
            elif one.seconds:
                bars.stop_task(task)
                if not interactive:
                    typer.echo(f"{one.notebook}: {one.seconds:.0f} s  {one.state}")

        outcomes = run(names, tell=tell, **options)
    show("Answers of this run", ANSWERS, [row for one in outcomes for row in _rows(one)])
    keep_seconds(outcomes)
    typer.echo(f"{len(outcomes)} notebook(s) in {time.perf_counter() - started:.0f} s")
    return [outcome.notebook for outcome in outcomes if outcome.error]


def _rows(outcome: Execution) -> Iterator[Sequence[Cell]]:
    root, path = settings.repo_root(), outcome.path
    where = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    number = outcome.notebook[0]
    if outcome.error:
        yield number, "–", ("failed", "red"), outcome.error, "–", where
    for answer in outcome.answers:
        colour = "yellow" if answer.source.startswith("STAND-IN") else ""
        yield number, answer.part, answer.result, answer.value, (answer.source, colour), where
