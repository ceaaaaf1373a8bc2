"""Skeletons are the solutions without what is asked for, and nothing else."""

import ast
from collections.abc import Iterable

import pytest
from solved_edition import solved

from coursework.errors import CourseworkError
from coursework_tools.student import edition, markers
from coursework_tools.student.contents import TASKS

MODULES = sorted({task.module for task in TASKS})

SOURCE = '''\
"""A module."""

import math

import torch


def helper(x):
    return x


def unused(x):
    return math.pi


def asked(x):
    """What it does."""
    y = helper(x)
    # solution:begin double it | Tensor.mul
    secret = unused(y)
    return 2 * secret
    # solution:end
'''


def definitions(text: str) -> dict[str, str]:
    """Functions and classes of a module, without comments."""
    return {
        node.name: ast.dump(node)
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def code(lines: Iterable[str]) -> set[str]:
    """Lines that say something (no bare `else:`), without comments."""
    return {text for line in lines if len(text := line.split("  # ")[0].strip()) > 12}


def test_a_skeleton_has_prompts_hints_and_what_it_needs() -> None:
    text = markers.skeleton(SOURCE, "some.module")
    assert "secret" not in text
    assert "unused" not in text
    assert "from some.module import (  # given\n    helper,\n)" in text
    for line in (
        '    """What it does."""',
        "    # TODO: double it",
        "    # hint: Tensor.mul",
        "    ##### Your code here #####",
        '    raise NotImplementedError("asked is still to be written.")',
        "    #####",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("module", MODULES)
def test_edition_and_solution_cannot_drift(module: str) -> None:
    source = edition.source_of(module)
    skeleton, whole = edition.skeleton_of(module), definitions(source)
    for name, dump in definitions(solved(module)).items():
        assert dump == whole[name], name
    lines, regions = source.splitlines(), markers.regions(source)
    for region in reversed(regions):
        del lines[region.first - 1 : region.last]
    answers = code(line for region in regions for line in region.code) - code(lines)
    assert not code(skeleton.splitlines()) & answers
    compile(skeleton, module, "exec")


@pytest.mark.parametrize("module", MODULES)
def test_every_prompt_belongs_to_a_task_and_every_task_has_one(module: str) -> None:
    asked = {r.where.split(".")[0] for r in markers.regions(edition.source_of(module))}
    names = [name for task in TASKS if task.module == module for name in task.names]
    assert sorted(asked) == sorted(names)


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    # solution:begin x\n    return 1\n",
        "def f():\n    return 1\n    # solution:end\n",
        "def f():\n    # solution:begin x\n    # solution:begin y\n    return 1\n    # solution:end\n",
        "# solution:begin x\na = 1\n# solution:end\n",
        "def f():\n    return 1\n",
    ],
)
def test_wrong_markers_are_refused(source: str) -> None:
    with pytest.raises(CourseworkError):
        markers.skeleton(source, "m")
