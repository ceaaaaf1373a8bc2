import ast
import re
from typing import Any

import nbformat
import pytest

from coursework import settings
from coursework.report.questions import NOTEBOOKS, QUESTIONS

FOLDER = settings.repo_root() / "notebooks"
ABSOLUTE = re.compile(r"(?<![\w./:<])/(?:home|root|work|tmp|Users|opt|usr|mnt)/\w|\b[A-Z]:\\\\")


@pytest.fixture(params=list(NOTEBOOKS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.fixture
def code(notebook: Any) -> list[Any]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


@pytest.fixture
def outputs(code: list[Any]) -> list[Any]:
    return [output for cell in code for output in cell.outputs]


@pytest.fixture
def texts(outputs: list[Any]) -> list[str]:
    found = [output.text for output in outputs if output.output_type == "stream"]
    for output in outputs:
        found += [str(v) for k, v in output.get("data", {}).items() if not k.startswith("image/")]
    return found


def test_there_is_one_notebook_per_problem() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


def test_executed_from_top_to_bottom(code: list[Any]) -> None:
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_outputs_hold_no_errors_warnings_widgets_or_standins(
    notebook: Any, outputs: list[Any], texts: list[str]
) -> None:
    for output in outputs:
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output.get("text")
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
    for text in texts:
        assert "Warning" not in text, text
        assert "STAND-IN" not in text, text
        assert "\r" not in text, "a progress bar was stored"
    assert "widgets" not in notebook.metadata


def test_no_absolute_paths(notebook: Any, texts: list[str]) -> None:
    for text in (*texts, *(cell.source for cell in notebook.cells)):
        assert not ABSOLUTE.search(text), text


def test_what_this_run_found_is_not_taken_from_the_records(code: list[Any]) -> None:
    """Else a recorded number would stand under the source of the live data, which may be a stand-in."""
    for cell in code:
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "page.live":
                assert not re.search(r"\bstore\.|\brecord(ed)?\b", ast.unparse(call)), cell.source


# the others join when they have been shortened
SHORT = [
    "1_lstm_sentiment", "2_attention_translation", "3_gnn_karate_wikipedia", "5_unet_segmentation",
    "6_theory",
]  # fmt: skip


def test_size_and_kernel(name: str, notebook: Any, code: list[Any]) -> None:
    limit = 600_000 if name in SHORT else 2_000_000
    assert (FOLDER / f"{name}.ipynb").stat().st_size < limit
    assert notebook.metadata.kernelspec.name == "python3"
    if name in SHORT:  # enough to be read to its end
        assert len(notebook.cells) <= 60
        assert sum(len(cell.source.splitlines()) for cell in code) <= 400


def test_cells_are_thin_and_decide_no_presets_or_environment(code: list[Any]) -> None:
    for cell in code:
        assert len(cell.source.splitlines()) <= 40, cell.source
        # nbval runs without IPython's suppression by semicolon, so the outputs would differ
        assert not cell.source.rstrip().endswith(";"), cell.source
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef) for node in tree.body), "belongs in src"
        assert not re.search(r"os\.environ|COURSEWORK_", cell.source)


def test_has_compared_cells(code: list[Any]) -> None:
    tagged = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert tagged, "no cell is compared"
    assert all(cell.outputs for cell in tagged)


def test_every_question_is_answered_on_the_sheet(name: str, code: list[Any]) -> None:
    source = "\n".join(cell.source for cell in code)
    assert "page.answers()" in source
    for question in QUESTIONS:
        if question.notebook == name:
            assert f'"{question.part}"' in source, question.part
