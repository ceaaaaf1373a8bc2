"""Skeletons made from the solutions: what stands between two markers is cut out, and a prompt put in.

In a solution the asked-for lines stand between two comments::

    # solution:begin what is asked | a hint | another hint
    return x.softmax(dim=-1)
    # solution:end

The skeleton of a module keeps the functions and classes that have such lines, and imports everything
else that they use from the package.
"""

import ast
import itertools
import re
import sys
from dataclasses import dataclass

from coursework.errors import CourseworkError

HERE = "##### Your code here #####"  # as in the assignments' starter code

_MARKER = re.compile(r"( *)# solution:(?:begin (.+)|end)")

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Region:
    """The lines between two markers."""

    first: int  # number of the line with the first marker, from 1
    last: int
    where: str  # function that they are in, such as "LSTMCell.forward"
    indent: str  # in front of the markers
    asks: str
    hints: list[str]
    code: list[str]

    @property
    def prompt(self) -> list[str]:
        """What stands in the skeleton in place of the code."""
        hints = [f"# hint: {hint}" for hint in self.hints]
        still = f'raise NotImplementedError("{self.where} is still to be written.")'
        lines = [f"# TODO: {self.asks}", *hints, HERE, still, "#####"]
        return [self.indent + line for line in lines]


def regions(source: str) -> list[Region]:
    """The marked regions of a module, from its top to its bottom."""
    lines = source.splitlines()
    defined = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Definition)]
    markers = [(n, match) for n, line in enumerate(lines, 1) if (match := _MARKER.fullmatch(line))]
    found = []
    for (first, begin), (last, end) in itertools.zip_longest(
        markers[::2], markers[1::2], fillvalue=(0, None)
    ):
        if not begin or not begin[2] or not end or end[2]:
            rule = "every `# solution:begin` needs its `# solution:end` before the next one"
            raise CourseworkError(f"The marker in line {first} has no partner; {rule}.")
        indent, text = begin.groups()
        where = ".".join(d.name for d in defined if d.lineno < first <= (d.end_lineno or 0))
        if not where:
            raise CourseworkError(f"The marker in line {first} stands outside of a function.")
        asks, *hints = (part.strip() for part in text.split("|"))
        found.append(Region(first, last, where, indent, asks, hints, lines[first : last - 1]))
    return found


def skeleton(source: str, module: str) -> str:
    """The student's version of a module; what is not asked for is imported from ``module``."""
    marked = regions(source)
    if not marked:
        raise CourseworkError(f"Nothing is marked in {module}; there is no skeleton to make.")
    tree, lines = ast.parse(source), source.splitlines()
    for region in reversed(marked):
        lines[region.first - 1 : region.last] = region.prompt
    asked = {region.where.partition(".")[0] for region in marked}
    kept = [node for node in tree.body if asked & {*_defined(node)}]
    # two blank lines stand around every definition
    defined = re.compile(rf"^(?:class|def) (?:{'|'.join(asked)})\b", re.M)
    objects = [text for text in "\n".join(lines).split("\n\n\n") if defined.search(text)]
    # Of the same module only what the skeleton uses or hints at: the rest belongs to the solution.
    hints = re.findall(r"\w+", " ".join(hint for region in marked for hint in region.hints))
    needed = names_in(ast.parse("\n".join(objects))) | {*hints}
    head = f'r"""{ast.get_docstring(tree, clean=False)}"""\n\n'
    head += _imports(tree, {name for node in kept for name in names_in(node)}, needed)
    others = {name for node in tree.body if node not in kept for name in _defined(node)}
    if given := sorted(others & needed):
        names = "".join(f"    {name},\n" for name in given)
        head += f"\n\nfrom {module} import (  # given\n{names})"
    return "\n\n\n".join([head, *objects]) + "\n"


def names_in(node: ast.AST) -> set[str]:
    """Names that a piece of code reads or sets."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _defined(node: ast.stmt) -> list[str]:
    """Names that a statement at the top of a module defines (imports left out)."""
    if isinstance(node, Definition):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _imports(tree: ast.Module, used: set[str], needed: set[str]) -> str:
    """The imports of a module: what the solution uses of libraries, the skeleton of the package."""
    kept = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    groups: dict[tuple[bool, ...], str] = {}
    for node in kept:
        root = (getattr(node, "module", "") or node.names[0].name).split(".")[0]
        wanted = needed if root == "coursework" else used | {"annotations"}
        node.names = [a for a in node.names if (a.asname or a.name).split(".")[0] in wanted]
        if node.names:
            group = root == "__future__", root in sys.stdlib_module_names, root == "coursework"
            groups[group] = f"{groups.get(group, '')}\n{ast.unparse(node)}"
    return "\n".join(groups.values()).strip()
