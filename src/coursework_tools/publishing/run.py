"""Execute the notebooks and collect their answers.

Executed copies go to ``build/notebooks``, so a run with the quick preset or on stand-in data never
touches what is stored in ``notebooks/``. Only ``inplace`` writes there, and only real data may be in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursework import settings
from coursework.errors import ConfigError, CourseworkError, ResultsError
from coursework.report import answers
from coursework.report.questions import NOTEBOOKS

CELL_SECONDS = 1800


@dataclass(frozen=True)
class Execution:
    """Outcome of one notebook.

    Attributes:
        notebook: Name without ending.
        seconds: Wall time.
        path: The executed copy.
        answers: Its answer sheet, empty where it failed.
        error: What went wrong, or None.
    """

    notebook: str
    seconds: float
    path: Path
    answers: list[answers.Answer]
    error: str | None = None


def select(wanted: list[str]) -> list[str]:
    """Notebooks by name, or by the number that their name starts with; all where none is given.

    Raises:
        ConfigError: If one does not exist.
    """
    chosen = []
    for word in wanted or list(NOTEBOOKS):
        stem = Path(word).stem
        found = [name for name in NOTEBOOKS if name == stem or name.split("_")[0] == stem]
        if not found:
            raise ConfigError(f"There is no notebook {word!r}; choose from {', '.join(NOTEBOOKS)}.")
        chosen += found
    return chosen


def execute(
    notebook: str,
    *,
    preset: str | None = None,
    inplace: bool = False,
    on_cell: Callable[[int, int], None] = lambda done, total: None,
) -> Execution:
    """Run one notebook from top to bottom in a fresh kernel.

    Args:
        notebook: Name without ending.
        preset: Preset that it trains live; the environment's by default.
        inplace: Store the outputs in ``notebooks/`` and the figures in ``figures/``.
        on_cell: Called with (cells done, cells in all) after every code cell.

    Raises:
        ResultsError: If the notebook is missing or is not a notebook.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    source = settings.repo_root() / "notebooks" / f"{notebook}.ipynb"
    try:
        document = nbformat.read(source, as_version=4)
    except FileNotFoundError as error:
        raise ResultsError(f"There is no notebook at {source}; restore it from git.") from error
    except (ValueError, nbformat.ValidationError) as error:
        raise ResultsError(f"{source} is not a readable notebook; restore it from git.") from error

    target = settings.build_dir() / "notebooks" / f"{notebook}.ipynb"
    sheet = settings.answers_dir() / f"{notebook}.json"
    sheet.unlink(missing_ok=True)
    environment = {"COURSEWORK_PROGRESS": "0", "PYTHONHASHSEED": "0"}
    if preset is not None:
        environment["COURSEWORK_PRESET"] = preset
    if inplace:
        environment["COURSEWORK_FIGURES"] = str(settings.repo_root() / "figures")

    total = sum(cell.cell_type == "code" for cell in document.cells)
    done = 0

    def count(**_: Any) -> None:
        nonlocal done
        done += 1
        on_cell(done, total)

    started = time.perf_counter()
    problem: str | None = None
    client = NotebookClient(
        document,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(source.parent)}},
        on_cell_executed=count,
        record_timing=False,
    )
    with _environment(environment):
        try:
            # the kernel's own log says nothing that a reader needs; errors of cells come back as such
            client.execute(stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            problem = f"cell {done} ends in {_plain(error.ename)}: {_plain(error.evalue)}"
        except CellTimeoutError:
            problem = f"cell {done + 1} ran longer than {CELL_SECONDS} seconds"
        except DeadKernelError:
            problem = f"the kernel died in cell {done + 1} (out of memory?)"
    seconds = time.perf_counter() - started
    tidy(document)
    _write(document, target)
    if problem is not None:
        return Execution(notebook, seconds, target, [], problem)
    try:
        rows = answers.read(notebook)
    except CourseworkError as error:
        return Execution(notebook, seconds, target, [], str(error))
    if inplace:
        standins = sorted({row.part for row in rows if row.source.startswith("STAND-IN")})
        if standins:
            return Execution(
                notebook, seconds, target, rows,
                f"parts {', '.join(standins)} used stand-in data, so its stored outputs were kept",
            )  # fmt: skip
        _write(document, source)
        target = source
    return Execution(notebook, seconds, target, rows)


def keep_seconds(outcomes: Sequence[Execution]) -> None:
    """Leave the seconds of a run of all notebooks in ``build/run.json``, for the benchmark."""
    if {outcome.notebook for outcome in outcomes} != set(NOTEBOOKS):
        return
    if any(outcome.error for outcome in outcomes):
        return
    path = settings.build_dir() / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    seconds = {outcome.notebook: outcome.seconds for outcome in outcomes}
    temporary.write_text(json.dumps({"seconds": seconds}, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def tidy(document: Any) -> None:
    """Keep what a reader needs of an executed notebook: no timing metadata, a neutral kernel."""
    for cell in document.cells:
        cell.metadata.pop("execution", None)
    document.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def _write(document: Any, path: Path) -> None:
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(nbformat.writes(document) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _plain(text: str) -> str:
    first = re.sub(r"\x1b\[[0-9;]*m", "", str(text)).strip().splitlines()
    return first[0][:200] if first else ""


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the kernel that is started inside; kernels inherit the environment."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
