"""Execute the notebooks side by side and collect their answers.

Executed copies go to ``build/notebooks``, so a run with the quick preset or on stand-in data never
touches what is stored in ``notebooks/``. Only ``inplace`` writes there, and only real data may be in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from coursework import files, settings
from coursework.errors import CourseworkError, ResultsError
from coursework.report import notebook as notebook_page
from coursework.report.questions import NOTEBOOKS, SECONDS

CELL_SECONDS = 1800

OnCell = Callable[[str, int, int], None]  # notebook, cells done, cells in all


@dataclass
class Execution:
    """What became of one notebook."""

    notebook: str  # name without ending
    seconds: float
    path: Path  # the executed copy; the notebook itself where it was not executed
    answers: list[notebook_page.Answer] = field(default_factory=list)
    error: str | None = None  # what went wrong


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    notebooks: Sequence[str],
    *,
    jobs: int | None = None,  # at a time; one for each core by default
    preset: str | None = None,  # what they train live; the environment's by default
    inplace: bool = False,  # store the outputs in ``notebooks/`` and the figures in ``figures/``
    on_begin: Callable[[str], None] = lambda notebook: None,
    on_cell: OnCell = lambda notebook, done, total: None,
    on_end: Callable[[Execution], None] = lambda outcome: None,
) -> list[Execution]:
    """Execute notebooks side by side, each in a kernel with one thread, the longest first.

    A notebook that fails costs none of the others. The outcomes are in the order of the names.
    """
    places = asyncio.Semaphore(jobs or cores())

    async def one(name: str) -> Execution:
        async with places:
            on_begin(name)
            started = time.perf_counter()
            outcome = Execution(name, 0.0, settings.repo_root() / "notebooks" / f"{name}.ipynb")
            try:
                await _execute(outcome, preset, inplace, on_cell)
            except Exception as error:  # whatever it is: the others go on
                kind = f"it stopped with {type(error).__name__}; run it in Jupyter to see where"
                outcome.error = str(error) if isinstance(error, CourseworkError) else kind
            outcome.seconds = time.perf_counter() - started
            on_end(outcome)
            return outcome

    async def every() -> dict[str, Execution]:
        order = sorted(notebooks, key=lambda name: -SECONDS[name])
        return dict(zip(order, await asyncio.gather(*map(one, order)), strict=True))

    with asyncio.Runner(loop_factory=_Loop) as runner:
        outcomes = runner.run(every())
    return [outcomes[name] for name in notebooks]


class _Loop(asyncio.SelectorEventLoop):
    """A loop in which Ctrl-C stops all notebooks; nbclient's handlers would stop the newest kernel only."""

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        raise RuntimeError  # as outside the main thread, which nbclient expects


async def _execute(outcome: Execution, preset: str | None, inplace: bool, on_cell: OnCell) -> None:
    """Run a notebook and fill in what became of it; an error says what went wrong."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook, source = outcome.notebook, outcome.path
    try:
        document = nbformat.read(source, as_version=4)
    except FileNotFoundError as error:
        raise ResultsError(f"There is no notebook at {source}; restore it from git.") from error
    except (ValueError, nbformat.ValidationError) as error:
        raise ResultsError(f"{source} is not a readable notebook; restore it from git.") from error

    target = settings.build_dir() / "notebooks" / f"{notebook}.ipynb"
    (settings.answers_dir() / f"{notebook}.json").unlink(missing_ok=True)
    total = sum(cell.cell_type == "code" for cell in document.cells)
    done = 0

    def count(**_: Any) -> None:
        nonlocal done
        done += 1
        on_cell(notebook, done, total)

    problem = ""
    client = NotebookClient(
        document,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(source.parent)}},
        on_cell_executed=count,
        record_timing=False,
    )
    try:
        # the kernel's own log says nothing that a reader needs; errors of cells come back as such
        await client.async_execute(stderr=subprocess.DEVNULL, env=_environment(preset, inplace))
    except CellExecutionError as error:
        problem = f"cell {done} ends in {_plain(error.ename)}: {_plain(error.evalue)}"
    except CellTimeoutError:
        problem = f"cell {done + 1} ran longer than {CELL_SECONDS} seconds"
    except DeadKernelError:
        problem = f"the kernel died in cell {done + 1} (out of memory?)"
    tidy(document)
    text = nbformat.writes(document) + "\n"
    outcome.path = files.write(target, text)
    if problem:
        raise ResultsError(problem)
    outcome.answers = notebook_page.read(notebook)
    standins = {row.part for row in outcome.answers if row.source.startswith("STAND-IN")}
    if inplace and standins:
        parts = ", ".join(sorted(standins))
        raise ResultsError(f"parts {parts} used stand-in data, so its stored outputs were kept")
    if inplace:
        outcome.path = files.write(source, text)


def _environment(preset: str | None, inplace: bool) -> dict[str, str]:
    """The environment of a kernel: as many kernels as cores, so one thread for each."""
    changes = {"COURSEWORK_PROGRESS": "0", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    if preset is not None:
        changes["COURSEWORK_PRESET"] = preset
    if inplace:
        changes["COURSEWORK_FIGURES"] = str(settings.repo_root() / "figures")
    return {**os.environ, **changes}


def keep_seconds(outcomes: Sequence[Execution]) -> None:
    """Leave the seconds of a run of all notebooks in ``build/run.json``, for the benchmark."""
    seconds = {outcome.notebook: outcome.seconds for outcome in outcomes if not outcome.error}
    if seconds.keys() == NOTEBOOKS.keys():
        files.write(settings.build_dir() / "run.json", json.dumps({"seconds": seconds}, indent=1))


def tidy(document: Any) -> None:
    """Keep what a reader needs of an executed notebook: no timing metadata, a neutral kernel."""
    for cell in document.cells:
        cell.metadata.pop("execution", None)
    document.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def _plain(text: str) -> str:
    first = re.sub(r"\x1b\[[0-9;]*m", "", str(text)).strip().splitlines()
    return first[0][:200] if first else ""
