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


def test_is_short_enough_to_be_read_to_its_end(name: str, notebook: Any, code: list[Any]) -> None:
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 600_000
    assert len(notebook.cells) <= 60
    assert sum(len(cell.source.splitlines()) for cell in code) <= 400
    assert notebook.metadata.kernelspec.name == "python3"


def test_cells_are_thin_and_decide_no_presets_or_environment(code: list[Any]) -> None:
    for cell in code:
        assert len(cell.source.splitlines()) <= 40, cell.source
        # nbval runs without IPython's suppression by semicolon, so the outputs would differ
        assert not cell.source.rstrip().endswith(";"), cell.source
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef) for node in tree.body), "belongs in src"
        assert not re.search(r"os\.environ|COURSEWORK_", cell.source)


def names_in(node: ast.stmt, *kinds: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, kinds)}


def users_of(node: ast.Assign, later: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that see what is assigned: up to the one that assigns the name anew."""
    found = list[ast.stmt]()
    for name in names_in(node, ast.Store):
        for other in later:
            found += [other] * (name in names_in(other, ast.Load))
            if name in names_in(other, ast.Store):
                break
    return found


def plumbing_in(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that use the page or import what belongs to it, and what is assigned for them alone."""
    helpers, found = {"page"}, list[ast.stmt]()
    for node in body:
        if "report.notebook" in ast.unparse(node) or names_in(node, ast.Load, ast.Store) & helpers:
            found.append(node)
            helpers |= {node.name} if isinstance(node, ast.FunctionDef) else set()
    for at, node in reversed(list(enumerate(body))):
        if isinstance(node, ast.Assign) and node not in found:
            users = users_of(node, body[at + 1 :])
            found += [node] * (users != [] and all(user in found for user in users))
    return found


def test_little_of_the_code_is_plumbing(code: list[Any]) -> None:
    source = "\n".join(cell.source for cell in code)
    lines = [bool(line.partition("#")[0].strip()) for line in source.splitlines()]
    found = plumbing_in(ast.parse(source).body)
    count = sum(sum(lines[node.lineno - 1 : node.end_lineno]) for node in found)
    assert count <= 0.15 * sum(lines), [ast.unparse(node) for node in found]


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
