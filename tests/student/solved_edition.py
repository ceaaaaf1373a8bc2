"""A student's folder in which every prompt is answered by the solution, possibly with a mistake in it."""

import ast
from collections.abc import Callable, Sequence

from coursework_tools.student import edition, engine, markers
from coursework_tools.student.contents import TASKS, Change

BY_NAME = {task.name: task for task in TASKS}
Examine = Callable[[str, Sequence[Change]], engine.Report]


def solved(module: str) -> str:
    """The skeleton of a module with the solution's code written into its prompts."""
    text, source = edition.skeleton_of(module), edition.source_of(module)
    for region in markers.regions(source):
        prompt = "\n".join(region.prompt)
        assert prompt in text, region.where
        text = text.replace(prompt, "\n".join(region.code), 1)
    nodes, tree = ast.parse(source).body, ast.parse(text)
    there, top = (
        {name for node in body for name in markers._defined(node) + _imported(node)}
        for body in (tree.body, nodes)
    )
    if missing := sorted((markers.names_in(tree) & top) - there):
        head, body = text.split("\n\n\n", 1)
        text = f"{head}\nfrom coursework.{module} import {', '.join(missing)}\n\n\n{body}"
    return text


def _imported(node: ast.stmt) -> list[str]:
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return []
    return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
