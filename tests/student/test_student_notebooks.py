"""The student's notebooks ask every question, answer none in words, and hold together."""

import builtins
import copy
import itertools
from typing import Any

import nbformat
import pytest

from coursework import settings
from coursework.report.questions import NOTEBOOKS, of_notebook
from coursework_tools.student import contents, edition, markers, notebooks

FOLDER = settings.repo_root() / "notebooks"


@pytest.fixture(params=list(NOTEBOOKS), scope="module")
def pair(request: pytest.FixtureRequest) -> tuple[str, Any, Any]:
    """Name, solved notebook, student's notebook."""
    document = nbformat.read(FOLDER / f"{request.param}.ipynb", as_version=4)
    return request.param, document, notebooks.edition(document, request.param)


def test_it_is_a_notebook_without_outputs_that_begins_with_the_students_modules(
    pair: tuple[str, Any, Any],
) -> None:
    _, solved, made = pair
    nbformat.validate(made)
    assert len({cell.id for cell in made.cells}) == len(made.cells)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert code[0].source == notebooks.SETUP
    for cell in code:
        assert not cell.outputs
        assert cell.execution_count is None
    names = {*dir(builtins), "get_ipython", "display"}
    assert notebooks.runnable(code, names) == code, "a name is used that no cell before defines"
    assert any(cell.get("outputs") for cell in solved.cells), "the original was changed"


def test_every_question_is_asked_and_has_a_row_on_the_sheet(pair: tuple[str, Any, Any]) -> None:
    name, _, made = pair
    text = "\n".join(cell.source for cell in made.cells)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    for question in of_notebook(name):
        assert any(notebooks._about(line, question.part) for line in headings), question.part
        assert f'"{question.part}"' in text, question.part
    assert "page.answers()" in text
    assert text.count("recorded=False)") == 1, "the recorded answers would be shown"


def test_answers_in_words_are_gone(pair: tuple[str, Any, Any]) -> None:
    name, solved, made = pair
    text = "\n".join(cell.source for cell in made.cells)
    signs = ["**Proof.**", "**The answer", "### Derivation", "\\blacksquare", "\\boxed", "### Why"]
    for sign in signs + ["**Answer.**", "**Idea.**"] * (name == "6_theory"):
        assert sign not in text, sign
    kept = {cell.id for cell in made.cells}
    for cell in contents.LEFT_OUT.get(name, ()):
        assert cell in {c.id for c in solved.cells}, f"{cell} is not in the notebook any more"
        assert cell not in kept


def test_no_line_of_a_solution_is_in_a_cell(pair: tuple[str, Any, Any]) -> None:
    lines = {line.strip() for cell in pair[2].cells for line in cell.source.splitlines()}
    for module in itertools.chain(*contents.MODULES.values()):
        for region in markers.regions(edition.source_of(module)):
            code = {line.split("  # ")[0].strip() for line in region.code}
            assert not {line for line in code if len(line) > 40} & lines, region.where


def test_an_answer_closes_the_question_and_an_empty_or_lost_cell_does_not(
    pair: tuple[str, Any, Any],
) -> None:
    name, _, made = pair
    made, asked = copy.deepcopy(made), notebooks.in_words(name)
    assert notebooks.open_questions(made, name) == (asked, [])
    prompts = [cell for cell in made.cells if notebooks.HERE in cell.source]
    for cell in prompts:
        cell.source = cell.source.replace(notebooks.HERE, "")
    assert notebooks.open_questions(made, name) == (asked, [])
    for cell in prompts:
        cell.source = "My answer."
    assert notebooks.open_questions(made, name) == ([], [])
    made.cells = [cell for cell in made.cells if cell not in prompts]
    assert notebooks.open_questions(made, name) == ([], asked)
