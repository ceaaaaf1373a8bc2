import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import pytest

from coursework import settings, stats
from coursework.data.sources import Source
from coursework.errors import ConfigError, ResultsError
from coursework.experiments.base import Run
from coursework.models import gat
from coursework.report import figures, notebook, questions, recorded, store
from coursework.report.notebook import Code
from coursework.report.tables import Table, format_cell
from coursework_tools.publishing import headline

REAL = Source("cora", "data root", "ab" * 32, (), "free")
STANDIN = Source("cora", "stand-in", "cd" * 32, (), "MIT")


@dataclass(frozen=True)
class Config:
    epochs: int = 3


def run(seed: int = 0, accuracy: float = 0.8, source: Source = REAL, **options: Any) -> Run:
    return Run("cora", "full", Config(), seed, {"gcn.test_accuracy": accuracy}, source, 1.5,
               curves={"gcn": [{"epoch": 1.0, "loss": accuracy}]}, **options)  # fmt: skip


def test_record_has_provenance_and_statistics(tmp_path: Path) -> None:
    runs = [run(seed, value) for seed, value in enumerate((0.7, 0.8, 0.9), start=5)]
    path = store.write(store.make_record("cora-full", runs), tmp_path)
    record = store.read("cora-full", tmp_path)
    assert record["metrics"] == {"gcn.test_accuracy": stats.summarise([0.7, 0.8, 0.9])}
    assert record["seeds"] == [5, 6, 7]
    assert [rows[0]["loss"] for rows in record["curves"]["gcn"]] == [0.7, 0.8, 0.9]
    assert record["config"] == {"epochs": 3}
    assert record["data"] == {"name": "cora", "source": "real (data root)", "sha256": "ab" * 32,
                              "standin": False}  # fmt: skip
    assert record["versions"]["torch"].startswith("2.")
    assert record["machine"]["cores"] >= 1
    assert store.names(tmp_path) == ["cora-full"]
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_code_that_was_changed_is_not_that_of_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, modified in (("M src/a.py", True), ("", False)):
        answers = {"rev-parse": "c0ffee", "status": changes}
        monkeypatch.setattr(store, "_git", lambda what, *_, said=answers: said[what])
        made = store.make_record("cora-full", [run()])
        assert (made["commit"], made["modified"]) == ("c0ffee", modified)


def test_a_recorded_standin_is_called_one() -> None:
    for source, words in ((STANDIN, "data: cora (STAND-IN)"), (REAL, "data: cora")):
        made = store.make_record("cora-full", [run(source=source)])
        assert recorded.provenance(made).startswith(f"recorded, {words}; 1 seed;")


def test_interval_of_a_single_seed_is_taken_from_the_run() -> None:
    low, high = stats.wilson(850, 1000)
    notes = {"intervals": {"gcn.test_accuracy": (low, high, "Wilson, 1000 nodes")}, "parameters": 7}
    record = store.make_record("cora-full", [run(accuracy=0.85, notes=notes)])
    metric = record["metrics"]["gcn.test_accuracy"]
    assert (metric["low"], metric["high"]) == (low, high)
    assert metric["std"] is None
    assert record["notes"] == {"parameters": 7}
    both = store.make_record("cora-full", [run(notes=notes), run(1, 0.9, notes=notes)])
    assert both["metrics"]["gcn.test_accuracy"]["interval"] == "t, 2 seeds"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.pop("config"), "config: Field required"),
        (lambda r: r["metrics"]["gcn.test_accuracy"].update(mean=0.9), "is not the mean"),
        (lambda r: r.update(seeds=[True]), "seeds/0"),
        (lambda r: r.update(seconds=-1), "seconds"),
        (lambda r: r["metrics"]["gcn.test_accuracy"].update(values=[]), "values"),
        (lambda r: r["metrics"]["gcn.test_accuracy"].update(middle=1), "test_accuracy/middle"),
        (lambda r: r["data"].update(standin="no"), "data/standin"),
        (lambda r: r["machine"].pop("cores"), "machine/cores"),
        (lambda r: r.update(curves={"gcn": [{}]}), "curves/gcn/0"),
        (lambda r: r.update(schema=2), "schema"),
        (lambda r: r.update(name="Bad Name"), "name"),
    ],
)
def test_records_that_break_the_schema_are_refused(spoil: Any, message: str) -> None:
    record = store.make_record("cora-full", [run()])
    spoil(record)
    with pytest.raises(ResultsError, match=message):
        store.validate(record, "cora-full.json")


def test_unlike_runs_are_not_one_result() -> None:
    other = run(1)
    other.config = Config(4)
    with pytest.raises(ResultsError, match="different configs"):
        store.make_record("cora-full", [run(), other])


def test_an_invalid_record_replaces_nothing(tmp_path: Path) -> None:
    good = store.make_record("cora-full", [run()])
    path = store.write(good, tmp_path)
    before = path.read_bytes()
    with pytest.raises(ResultsError):
        store.write(good | {"seeds": "no"}, tmp_path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["cora-full.json"]


def test_headline_takes_what_is_recorded_and_no_standins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "cora.random140.gcn.accuracy"
    wanted = {key: headline.HEADLINE[key], "bench.x": ("bench", "x")}
    monkeypatch.setattr(headline, "HEADLINE", wanted)
    store.write(store.make_record("cora-full", [run(0, 0.7), run(1, 0.8)]), tmp_path)
    condensed = headline.condense(tmp_path)
    found = stats.summarise([0.7, 0.8])
    kept = {"value": found["mean"], "low": found["low"], "high": found["high"]}
    assert condensed == {key: kept | {"n": 2, "result": "cora-full.json"}}
    store.write(store.make_record("cora-full", [run(source=STANDIN)]), tmp_path)
    with pytest.raises(ResultsError, match="stand-in"):
        headline.condense(tmp_path)
    store.write(store.make_record("cora-full", [run()]), tmp_path)
    monkeypatch.setattr(headline, "HEADLINE", {key: ("cora-full", "gone")})
    with pytest.raises(ResultsError, match="cora-full has no gone"):
        headline.condense(tmp_path)


def test_recorded_results_in_the_repository_are_valid_and_real() -> None:
    for name in store.names():
        record = store.read(name)
        assert not record["data"]["standin"], name
        assert record["preset"] != "quick", name


def test_table_in_three_forms() -> None:
    table = Table(["name", "value"], [("a|b", 0.123456), ("<c>", None)], caption="A table")
    assert repr(table).splitlines() == [
        "A table",
        "name   value",
        "----  ------",
        "a|b   0.1235",
        "<c>        –",
    ]
    assert "&lt;c&gt;" in table._repr_html_()
    assert "a\\|b" in table.to_markdown()
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table(["a", "b"], [(1,)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (12345, "12,345"), (1e-9, "1.0e-09"), (0.0, "0"), (float("nan"), "nan"), ("x", "x"),
     (12345.6, "12,346"), (None, "–")],
)  # fmt: skip
def test_a_value_is_written_as_a_cell_of_a_table(value: Any, text: str) -> None:
    assert format_cell(value) == text


def test_answer_sheet_round_trip() -> None:
    page = notebook.Page("4_gcn_gat_cora")
    with pytest.raises(ConfigError, match="no question '9.9'"):
        page.live("9.9", "nothing", "0")
    page.live("3.6", "gap", "0.05", REAL)
    with pytest.raises(ResultsError, match=r"no answer for 3\.1, 3\.2"):
        page.answers()
    parts = ["3.1", "3.2", "3.3", "3.4", "3.5"]
    for part in (*parts, *parts):  # every cell is run twice
        page.live(part, "parity", "yes")
    assert len(page.answers().rows) == 6
    rows = notebook.read("4_gcn_gat_cora")
    assert [row.part for row in rows] == [*parts, "3.6"]
    assert rows[-1].source == "original data (cora)"


def test_points_of_the_first_set_add_up_to_fifteen() -> None:
    assert sum(q.points or 0 for q in questions.QUESTIONS if q.homework.startswith("CSCI")) == 15


def test_figures_from_standins_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSEWORK_FIGURES", str(tmp_path))
    mpl.use("Agg")
    fig, ax = figures.subplots()
    ax.plot([0, 1])
    figures.show(fig, "one", REAL)
    assert not fig._suptitle
    figures.show(fig, "two", STANDIN)
    assert "STAND-IN" in fig._suptitle.get_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_judgements_of_a_reader_are_those_of_recorded_translations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = notebook.judgements("translation_errors")
    assert len(read) == 40
    rows = store.read("translation_taught-full")["notes"]["translations"]["rows"]
    assert set(map(int, read)) <= set(rows)
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path / "results")
    assert notebook.judgements("x") == {}
    (tmp_path / "reading").mkdir()
    kinds = {"what": "...", "kinds": {"idiom": [3, 1], "rare word": [2]}}
    (tmp_path / "reading" / "x.json").write_text(json.dumps(kinds))
    assert notebook.judgements("x") == {"3": "idiom", "1": "idiom", "2": "rare word"}


# ------------------------------------------------------------------------- the code in the notebooks


def test_marks_are_read_and_left_out() -> None:
    lines = Code(gat.GraphAttentionLayer, gat.GAT).lines
    text = "\n".join(line[2:] for line in lines)
    assert "# solution:" not in text
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert names == ["GraphAttentionLayer", "GAT"]
    assert {line[0] for line in lines} == {"+", " "}
    assert '"""' not in text
    assert {line[0] for line in repr(Code(gat.GAT)).splitlines() if line.strip()} == {"+", " "}


@pytest.mark.parametrize("name", questions.NOTEBOOKS)
def test_code_that_a_notebook_shows_is_valid_python(name: str) -> None:
    cells = nbformat.read(settings.repo_root() / "notebooks" / f"{name}.ipynb", as_version=4).cells
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


def test_seconds_of_a_resumed_run_are_at_least_those_of_its_epochs() -> None:
    epochs = [{"epoch": 1, "seconds": 40.0}, {"epoch": 2, "seconds": 30.0}]
    record = {"seconds": 50.0, "curves": {"network": [epochs, epochs[:1]]}}
    assert store.seconds_of(record) == 110.0
    assert store.seconds_of(record | {"seconds": 200.0}) == 200.0
    assert store.seconds_of({"seconds": 5.0, "curves": {"mean": [[{"epoch": 1}]]}}) == 5.0
