"""A student's folder in which every prompt is answered by the solution, possibly with a mistake in it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from coursework_tools.student import edition, engine, markers
from coursework_tools.student.contents import TASKS
from coursework_tools.student.mistakes import Change

BY_NAME = {task.name: task for task in TASKS}
Examine = Callable[[str, Sequence[Change]], engine.Report]


def solved(module: str) -> str:
    """The skeleton of a module with the solution's code written into its prompts."""
    return solve(edition.skeleton_of(module), edition.source_of(module), f"coursework.{module}")


def solve(text: str, source: str, module: str) -> str:
    """The inverse of cutting: prompts are replaced by the code of ``source``."""
    for region in markers.regions(source):
        prompt = "\n".join(region.prompt)
        assert prompt in text, region.where
        text = text.replace(prompt, "\n".join(region.code), 1)
    tree = ast.parse(text)
    there = {name for node in tree.body for name in markers._defined(node) + _imported(node)}
    nodes = ast.parse(source).body
    top = {name for node in nodes for name in markers._defined(node) + _imported(node)}
    if missing := sorted((markers._used(tree) & top) - there):
        head, body = text.split("\n\n\n", 1)
        text = f"{head}\nfrom {module} import {', '.join(missing)}\n\n\n{body}"
    return text


def _imported(node: ast.stmt) -> list[str]:
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return []
    return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
