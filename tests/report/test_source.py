"""The code that notebooks show is the package's, is valid Python, and has its asked-for lines marked."""

from __future__ import annotations

import ast

import nbformat
import pytest

from coursework import settings
from coursework.models import gat
from coursework.report.notebook import Code, code_of
from coursework.report.questions import NOTEBOOKS


def test_marks_are_read_and_left_out() -> None:
    lines = code_of(gat.GraphAttentionLayer, gat.GAT)
    text = "\n".join(line for line, _ in lines)
    assert "# solution:" not in text
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert names == ["GraphAttentionLayer", "GAT"]
    assert not all(asked for _, asked in lines)
    assert any(asked for _, asked in lines)
    assert '"""' not in text
    shown = repr(Code(gat.GAT)).splitlines()
    assert {line[0] for line in shown if line.strip()} == {"+", " "}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_that_a_notebook_shows_is_valid_python(name: str) -> None:
    path = settings.repo_root() / "notebooks" / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    shown = [
        output["data"]["text/plain"]
        for cell in cells
        if cell.cell_type == "code" and "page.code(" in cell.source
        for output in cell.outputs
        if "data" in output
    ]
    assert shown
    for text in shown:
        assert ast.parse("\n".join(line[2:] for line in text.splitlines())).body
