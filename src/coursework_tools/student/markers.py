"""Skeletons made from the solutions: what stands between two markers is cut out, and a prompt put in.

In a solution the asked-for lines stand between two comments::

    # solution:begin what is asked | a hint | another hint
    return x.softmax(dim=-1)
    # solution:end

The skeleton of a module keeps the functions and classes that have such lines, with their docstrings, and
imports everything else that they use from the package. So there is nothing that could drift apart.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from coursework.errors import CourseworkError

HERE = "##### Your code here #####"
"""The line of the assignments' starter code that says where to write."""

_BEGIN = re.compile(r"( *)# solution:begin (.+)")
_END = re.compile(r" *# solution:end")
_WORD = re.compile(r"\w+")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Region:
    """The lines between two markers."""

    first: int  # number of the line with the first marker, from 1
    last: int
    where: str  # function that they are in, such as "LSTMCell.forward"
    indent: str  # in front of the markers
    asks: str
    hints: tuple[str, ...]
    code: tuple[str, ...]

    @property
    def prompt(self) -> tuple[str, ...]:
        """What stands in the skeleton in place of the code."""
        lines = [
            f"# TODO: {self.asks}",
            *(f"# hint: {hint}" for hint in self.hints),
            HERE,
            f'raise NotImplementedError("{self.where} is still to be written.")',
            "#####",
        ]
        return tuple(self.indent + line for line in lines)


def regions(source: str) -> list[Region]:
    """The marked regions of a module, from its top to its bottom.

    CourseworkError if a marker has no partner, or stands outside of a function.
    """
    lines, functions = source.splitlines(), list(_functions(ast.parse(source)))
    begins = {n: head for n, line in enumerate(lines, 1) if (head := _BEGIN.fullmatch(line))}
    ends = {n for n, line in enumerate(lines, 1) if _END.fullmatch(line)}
    markers = sorted({*begins, *ends})
    for place, number in enumerate(markers):
        if (number in ends) != place % 2 or (number in begins and place + 1 == len(markers)):
            raise CourseworkError(
                f"The marker in line {number} has no partner; every `# solution:begin` needs its "
                "`# solution:end` before the next one."
            )
    found = []
    for first, last in zip(markers[::2], markers[1::2], strict=True):
        indent, text = begins[first].groups()
        asks, *hints = (part.strip() for part in text.split("|"))
        inside = [
            name
            for name, node in functions
            if node.lineno < first <= (node.end_lineno or 0) + 1 and len(indent) > node.col_offset
        ]
        if not inside:
            raise CourseworkError(f"The marker in line {first} stands outside of a function.")
        code = tuple(lines[first : last - 1])
        found.append(Region(first, last, inside[-1], indent, asks, tuple(hints), code))
    return found


def skeleton(source: str, module: str) -> str:
    """The student's version of a module; what is not asked for is imported from ``module``."""
    marked = regions(source)
    if not marked:
        raise CourseworkError(f"Nothing is marked in {module}; there is no skeleton to make.")
    tree, lines = ast.parse(source), source.splitlines()
    asked = {region.where.partition(".")[0] for region in marked}
    kept = [node for node in tree.body if isinstance(node, Definition) and node.name in asked]
    objects = [_with_prompts(lines, node, marked) for node in kept]
    # Of the same module only what the skeleton uses or hints at: the rest belongs to the solution.
    hints = {word for region in marked for hint in region.hints for word in _WORD.findall(hint)}
    needed = _used(ast.parse("\n".join(objects))) | hints
    given = sorted(
        name for node in tree.body if node not in kept for name in _defined(node) if name in needed
    )
    imports = _imports(tree, {name for node in kept for name in _used(node)}, needed)
    if given:
        names = "".join(f"    {name},\n" for name in given)
        imports += f"\n\nfrom {module} import (  # given\n{names})"
    docstring = f'r"""{ast.get_docstring(tree, clean=False)}"""'
    return "\n\n".join([docstring, imports, *("\n" + text for text in objects)]) + "\n"


def _with_prompts(lines: list[str], node: Definition, marked: list[Region]) -> str:
    """The text of a definition, prompts in place of its marked regions."""
    own = {region.first: region for region in marked if region.where.split(".")[0] == node.name}
    number = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    # the last marker is a comment, so it may stand behind the last statement
    last = max(node.end_lineno or 0, *(region.last for region in own.values()))
    text: list[str] = []
    while number <= last:
        region = own.get(number)
        text += [lines[number - 1]] if region is None else region.prompt
        number = number + 1 if region is None else region.last + 1
    return "\n".join(text)


def _functions(
    tree: ast.AST, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods with their full names, an outer one before those in it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            else:
                yield from _functions(node, f"{name}.")


def _used(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _defined(node: ast.stmt) -> list[str]:
    """Names that a statement at the top of a module defines (imports left out)."""
    if isinstance(node, Definition):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _imports(tree: ast.Module, used: set[str], needed: set[str]) -> str:
    """The imports of a module in their groups: what the solution uses of libraries, and of the
    package what the skeleton needs."""
    text, last, gap = "", 0, False
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            gap = gap or node.lineno > last + 1
            last = node.end_lineno or node.lineno
            future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
            own = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coursework")
            wanted = needed if own else used
            names = [
                a for a in node.names if future or (a.asname or a.name).split(".")[0] in wanted
            ]
            if names:
                node.names = names
                text += ("\n\n" if gap else "\n") + ast.unparse(node)
                gap = False
    return text.strip()
