"""The runner: executes copies, collects answers, names what failed."""

import os
import signal
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from coursework import settings
from coursework.report.questions import NOTEBOOKS, SECONDS
from coursework_tools.publishing import run as notebooks

ANSWERS = """
from coursework.report.notebook import Page
page = Page("4_gcn_gat_cora")
for part in ("3.1", "3.2", "3.3", "3.4", "3.5", "3.6"):
    page.live(part, "found", value="1", source={source!r})
page.answers()
"""


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path / "build"))
    return tmp_path


def put(checkout: Path, *cells: str, name: str = "4_gcn_gat_cora") -> Path:
    path = checkout / "notebooks" / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)
    return path


def execute(**options: Any) -> notebooks.Execution:
    (outcome,) = notebooks.run(["4_gcn_gat_cora"], **options)
    return outcome


def test_executes_a_copy_and_collects_the_answers(checkout: Path) -> None:
    preset = "import os; print(os.environ['COURSEWORK_PRESET'])"
    stored = put(checkout, preset, ANSWERS.format(source="exact"))
    before = stored.read_bytes()
    seen: list[str] = []
    outcome = execute(preset="full", tell=lambda one: seen.append(one.state))
    assert outcome.error is None
    assert [answer.part for answer in outcome.answers] == ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6"]
    assert seen == ["starting", "cell 1/2", "cell 2/2", "done"]
    assert stored.read_bytes() == before
    executed = nbformat.read(outcome.path, as_version=4)
    assert executed.cells[0].outputs[0].text == "full\n"
    assert "execution" not in executed.cells[0].metadata


def test_a_failing_cell_is_named(checkout: Path) -> None:
    put(checkout, "1", "raise RuntimeError('first line\\nsecond')", "2")
    outcome = execute()
    assert outcome.error == "cell 2 ends in RuntimeError: first line"
    assert outcome.path.is_file()


def test_outputs_from_standins_are_never_stored(checkout: Path) -> None:
    draw = "import os; open(os.environ['COURSEWORK_FIGURES'] + '/a.png', 'w').close()"
    stored = put(checkout, draw, ANSWERS.format(source="STAND-IN (generated)"))
    before = stored.read_bytes()
    assert "stand-in data" in str(execute(inplace=True).error)
    assert stored.read_bytes() == before
    assert not (checkout / "figures").exists()
    put(checkout, draw, ANSWERS.format(source="exact"))
    execute(inplace=True)
    assert (checkout / "figures" / "a.png").is_file()


def test_missing_or_broken_notebook(checkout: Path) -> None:
    assert "no notebook at" in str(execute().error)
    (checkout / "notebooks" / "4_gcn_gat_cora.ipynb").write_text("{")
    assert "no notebook at" in str(execute().error)


def test_answers_that_are_missing_are_named(checkout: Path) -> None:
    put(
        checkout,
        ANSWERS.replace("page.answers()", "").format(source="exact")
        + """
import json
from dataclasses import asdict
from coursework import settings
settings.answers_dir().mkdir(parents=True)
path = settings.answers_dir() / "4_gcn_gat_cora.json"
path.write_text(json.dumps([asdict(answer) for answer in page._live][1:]))
""",
    )
    assert "no answer for 3.1" in str(execute().error)


def test_side_by_side_with_one_thread_each_and_a_failure_costs_nobody(checkout: Path) -> None:
    """Each of the two waits for the other's file: one after the other both would fail."""
    meet = """
import os, pathlib, time
pathlib.Path("../{own}").touch()
end = time.monotonic() + 30
while not pathlib.Path("../{other}").exists():
    assert time.monotonic() < end
    time.sleep(0.05)
assert os.environ["COURSEWORK_THREADS"] == "1"
"""
    put(checkout, meet.format(own="a", other="b"), ANSWERS.format(source="exact"))
    put(checkout, meet.format(own="b", other="a"), "1 / 0", name="6_theory")
    names = ["1_lstm_sentiment", "4_gcn_gat_cora", "6_theory"]
    outcomes = notebooks.run(names, jobs=3)
    assert [outcome.notebook for outcome in outcomes] == names
    missing, good, bad = outcomes
    assert "no notebook at" in str(missing.error)
    assert good.error is None
    assert len(good.answers) == 6
    assert "cell 2 ends in ZeroDivisionError" in str(bad.error)


def test_the_longest_notebook_begins_first(checkout: Path) -> None:
    told: list[str] = []
    notebooks.run(list(NOTEBOOKS), jobs=1, tell=lambda one: told.append(one.notebook))
    assert told[::2] == sorted(NOTEBOOKS, key=lambda name: -SECONDS[name])


def test_an_interrupt_stops_every_kernel(checkout: Path) -> None:
    cell = "import os, pathlib, time; pathlib.Path('../{}').write_text(str(os.getpid()))"
    for name in ("4_gcn_gat_cora", "6_theory"):
        put(checkout, cell.format(name), "time.sleep(60)", name=name)
    done: list[str] = []

    def interrupt(one: notebooks.Execution) -> None:
        done.extend([one.notebook] * one.done)
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    # a shell starts what runs in the background with interrupts ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            notebooks.run(["4_gcn_gat_cora", "6_theory"], jobs=2, tell=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    for name in done:
        assert not psutil.pid_exists(int((checkout / name).read_text()))
