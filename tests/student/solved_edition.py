"""A student's folder in which every prompt is answered by the solution, possibly with a mistake in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coursework import settings
from coursework.student import checks, markers
from coursework.student.tasks import TASKS

PACKAGE = settings.repo_root() / "src" / "coursework"
BY_NAME = {task.name: task for task in TASKS}

Change = tuple[str, str]
Examine = Callable[[str, Sequence[Change]], checks.Report]


def source_of(module: str) -> str:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def solved(module: str) -> str:
    """The skeleton of a module with the solution's code written into its prompts."""
    source, name = source_of(module), f"coursework.{module}"
    return markers.solve(markers.skeleton(source, name), source, name)
