"""Every stored notebook is executed from top to bottom and holds nothing that a reader trips over."""

from __future__ import annotations

import ast
import re
from typing import Any

import nbformat
import pytest

from coursework import settings
from coursework.report.questions import NOTEBOOKS, QUESTIONS

FOLDER = settings.repo_root() / "notebooks"
ABSOLUTE = re.compile(r"(?<![\w./:<])/(?:home|root|work|tmp|Users|opt|usr|mnt)/\w|\b[A-Z]:\\\\")


def load(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def texts(cell: Any) -> list[str]:
    """Everything textual in a cell's outputs."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.text)
        elif "data" in output:
            found += [str(v) for k, v in output.data.items() if not k.startswith("image/")]
    return found


def test_there_is_one_notebook_per_problem() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


@pytest.fixture(params=list(NOTEBOOKS))
def notebook(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, load(request.param)


def test_executed_from_top_to_bottom(notebook: tuple[str, Any]) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook[1])]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_hold_no_errors_warnings_or_widgets(notebook: tuple[str, Any]) -> None:
    for cell in code_cells(notebook[1]):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.get("text")
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        for text in texts(cell):
            assert "Warning" not in text, text
            assert "\r" not in text, "a progress bar was stored"
    assert "widgets" not in notebook[1].metadata


def test_no_absolute_paths(notebook: tuple[str, Any]) -> None:
    for cell in notebook[1].cells:
        assert not ABSOLUTE.search(cell.source), cell.source
        for text in texts(cell) if cell.cell_type == "code" else []:
            assert not ABSOLUTE.search(text), text


def test_stored_outputs_are_from_real_data(notebook: tuple[str, Any]) -> None:
    for cell in code_cells(notebook[1]):
        assert not any("STAND-IN" in text for text in texts(cell)), cell.source


def test_what_this_run_found_is_not_taken_from_the_records(notebook: tuple[str, Any]) -> None:
    """Else a recorded number would stand under the source of the live data, which may be a stand-in."""
    for cell in code_cells(notebook[1]):
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "page.live":
                assert not re.search(r"\bstore\.|\brecord(ed)?\b", ast.unparse(call)), cell.source


def test_size_and_kernel(notebook: tuple[str, Any]) -> None:
    assert (FOLDER / f"{notebook[0]}.ipynb").stat().st_size < 2_000_000
    assert notebook[1].metadata.kernelspec.name == "python3"


# the others join when they have been shortened
SHORT = [
    "1_lstm_sentiment", "2_attention_translation", "3_gnn_karate_wikipedia", "5_unet_segmentation",
    "6_theory",
]  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_short_enough_to_be_read_to_its_end(name: str) -> None:
    document = load(name)
    assert len(document.cells) <= 60
    assert sum(len(cell.source.splitlines()) for cell in code_cells(document)) <= 400
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= 600_000


def test_cells_are_thin(notebook: tuple[str, Any]) -> None:
    for cell in code_cells(notebook[1]):
        assert len(cell.source.splitlines()) <= 40, cell.source
        # nbval runs without IPython's suppression by semicolon, so the outputs would differ
        assert not cell.source.rstrip().endswith(";"), cell.source
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef) for node in tree.body), "belongs in src"


def test_presets_and_environment_are_not_decided_in_cells(notebook: tuple[str, Any]) -> None:
    for cell in code_cells(notebook[1]):
        assert "os.environ" not in cell.source
        assert "COURSEWORK_" not in cell.source


def test_has_compared_cells(notebook: tuple[str, Any]) -> None:
    tagged = [
        c for c in code_cells(notebook[1]) if "nbval-check-output" in c.metadata.get("tags", [])
    ]
    assert tagged, "no cell is compared"
    assert all(cell.outputs for cell in tagged)


def test_every_question_is_answered_on_the_sheet(notebook: tuple[str, Any]) -> None:
    source = "\n".join(cell.source for cell in code_cells(notebook[1]))
    assert "page.answers()" in source
    for question in QUESTIONS:
        if question.notebook == notebook[0]:
            assert f'"{question.part}"' in source, question.part
