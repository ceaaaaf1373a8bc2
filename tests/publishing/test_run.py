"""The runner: executes copies, collects answers, names what failed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework_tools.publishing import run as notebooks

ANSWERS = """
from coursework.report.answers import AnswerSheet
sheet = AnswerSheet("4_gcn_gat_cora")
for part in ("3.1", "3.2", "3.3", "3.4", "3.5", "3.6"):
    sheet.add(part, "found", value="1", source={source!r})
sheet.show()
"""


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path / "build"))
    return tmp_path


def put(checkout: Path, *cells: str) -> Path:
    path = checkout / "notebooks" / "4_gcn_gat_cora.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)
    return path


def test_selection() -> None:
    assert notebooks.select([]) == list(notebooks.NOTEBOOKS)
    assert notebooks.select(["6", "notebooks/1_lstm_sentiment.ipynb"]) == [
        "6_theory",
        "1_lstm_sentiment",
    ]
    with pytest.raises(ConfigError, match="There is no notebook '7'"):
        notebooks.select(["7"])


def test_executes_a_copy_and_collects_the_answers(checkout: Path) -> None:
    stored = put(checkout, "import os; print(os.environ['COURSEWORK_PRESET'])",
                 ANSWERS.format(source="exact"))  # fmt: skip
    before = stored.read_bytes()
    seen: list[tuple[int, int]] = []
    outcome = notebooks.execute(
        "4_gcn_gat_cora", preset="full", on_cell=lambda done, total: seen.append((done, total))
    )
    assert outcome.error is None
    assert [answer.part for answer in outcome.answers] == ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6"]
    assert seen == [(1, 2), (2, 2)]
    assert stored.read_bytes() == before
    executed = nbformat.read(outcome.path, as_version=4)
    assert executed.cells[0].outputs[0].text == "full\n"
    assert "execution" not in executed.cells[0].metadata


def test_a_failing_cell_is_named(checkout: Path) -> None:
    put(checkout, "1", "raise RuntimeError('first line\\nsecond')", "2")
    outcome = notebooks.execute("4_gcn_gat_cora")
    assert outcome.error == "cell 2 ends in RuntimeError: first line"
    assert outcome.path.is_file()


def test_a_notebook_without_answers_fails(checkout: Path) -> None:
    put(checkout, "1")
    assert "left no answers" in str(notebooks.execute("4_gcn_gat_cora").error)


def test_outputs_from_standins_are_never_stored(checkout: Path) -> None:
    stored = put(checkout, ANSWERS.format(source="STAND-IN (generated)"))
    before = stored.read_bytes()
    outcome = notebooks.execute("4_gcn_gat_cora", inplace=True)
    assert "stand-in data" in str(outcome.error)
    assert stored.read_bytes() == before


def test_missing_or_broken_notebook(checkout: Path) -> None:
    with pytest.raises(ResultsError, match="no notebook at"):
        notebooks.execute("4_gcn_gat_cora")
    (checkout / "notebooks" / "4_gcn_gat_cora.ipynb").write_text("{")
    with pytest.raises(ResultsError, match="not a readable notebook"):
        notebooks.execute("4_gcn_gat_cora")
