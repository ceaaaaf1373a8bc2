import ast
import re
from typing import Any

import nbformat
import pytest

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import recorded, store
from coursework.report.tables import shown
from coursework.stats import summarise

SEVERAL, ONE, EQUAL = summarise([0.25, 0.75]), summarise([0.25]), summarise([0.5, 0.5])
BOUNDED = {"mean": 0.1, "std": None, "values": [0.1], "low": 0.05, "high": 0.15, "interval": "t"}
CURVE = [{"accuracy": 0.2}, {"accuracy": 0.7}, {"accuracy": 0.4}]
RECORD: dict[str, Any] = {
    "name": "one",
    "metrics": {
        "a.accuracy": summarise([0.5, 0.7]),
        "b.accuracy": summarise([0.4, 0.5]),
        "a.loss": summarise([1.0, 2.0]),
    },
    "notes": {"rows": [{"variant": "plain a", "changes": ["x=1", "y=2"], "train": 9}]},
    "curves": {"a": [CURVE, CURVE[2:]]},
    "seeds": [0, 1],
    "data": {"name": "cora", "standin": False},
    "machine": {"processor": "CPU", "cores": 2, "device": "cpu"},
    "commit": "c0ffee12",
}
OTHER = RECORD | {"name": "other", "metrics": {"b.accuracy": summarise([0.9, 0.9])}}


@pytest.mark.parametrize(
    ("form", "metric", "text"),
    [
        (".1%", SEVERAL, "50.0%"),
        ("mean ± std (n) .4f", SEVERAL, "0.5000 ± 0.3536 (n = 2)"),
        ("mean ± std (n) .4f", ONE, "0.2500"),
        ("mean ± std .2f %", SEVERAL, "50.00 ± 35.36"),
        ("mean ± std .2f %", EQUAL, "50.00"),
        ("mean +.2f %", BOUNDED, "+10.00"),
        ("mean [low, high] +.4f", BOUNDED, "+0.1000 [+0.0500, +0.1500]"),
        ("mean [low, high] +.4f", ONE, "+0.2500"),
        ("mean [low to high] +.1f", summarise([0.0, 0.0]), "–"),
        ("low to high .2f", BOUNDED, "0.05 to 0.15"),
        ("low to high (how) +.1f %", BOUNDED, "+5.0 to +15.0 (t)"),
        ("low to high .2f", ONE, "–"),
        ("low to high .2f", EQUAL, "–"),
    ],
)
def test_forms_of_a_metric(form: str, metric: dict[str, Any], text: str) -> None:
    assert shown(metric, form) == text


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made = {"record": "one", "columns": [["of a", "a.{}"]]}
    monkeypatch.setattr(recorded, "TABLES", {"made": made, "more": {"like": "made"}})
    monkeypatch.setattr(store, "read", {"one": RECORD, "other": OTHER}.__getitem__)
    return made


def test_table_of_measures_by_variants(
    plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan |= {
        "rows": [["accuracy", "accuracy"], ["loss", "loss", "one", ".1f"]],
        "heading": "measure",
        "caption": "Two",
    }
    plan["columns"] += [["a - b", "a.{} - b.{}", ".2f"], ["b - other", "b.{} - other:b.{}", ".2f"]]
    plan["columns"] += [["published", [1, 2]], ["best", "max a.accuracy", "mean .2f"]]
    (table,) = recorded.tables("more")
    assert table.columns == ["measure", "of a", "a - b", "b - other", "published", "best"]
    assert table.rows == [
        ["accuracy", "0.6000 ± 0.1414 (n = 2)", "0.15", "-0.45", 1, "0.55"],
        ["loss", "1.5", None, None, 2, "0.55"],
    ]
    said = "recorded, data: cora; 2 seeds; one.json, 2-core CPU, commit c0ffee1"
    assert table.caption == f"Two ({said})"
    monkeypatch.setitem(OTHER, "seeds", [0, 2])
    with pytest.raises(ResultsError, match="with different seeds; record both alike"):
        recorded.tables("more")


def test_tables_of_several_records(plan: dict[str, Any]) -> None:
    plan |= {"rows": [["A", "a"], ["B", "b", "oth{}"]], "columns": [["%", "{}.accuracy", ".0%"]]}
    plan |= {"each": {"first": "er", "second": "er"}, "caption": "{} of two"}
    tables = recorded.tables("made")
    said = "2 seeds, data: cora, CPU, c0ffee1"
    assert tables[1].rows == [["A", "60%", said], ["B", "90%", said]]
    assert [table.caption for table in tables] == [f"{x} of two (recorded)" for x in plan["each"]]
    assert repr(tables).count("of two") == tables._repr_html_().count("<table>") == 2


def test_table_of_a_study_has_its_variants(plan: dict[str, Any]) -> None:
    plan["columns"] = [["changed", "notes.changes"], ["tweets", "notes.train"]]
    assert recorded.tables("made")[0].rows == [["plain a", "x=1, y=2", 9]]


# ------------------------------------------------------------------------- those of the notebooks


@pytest.mark.parametrize("name", recorded.TABLES)
def test_a_slip_in_a_name_is_no_column_of_dashes(name: str) -> None:
    for table in recorded.tables(name):
        for cells in (*(row[1:] for row in table.rows), *zip(*table.rows, strict=True)):
            assert {*cells} - {None, "–"}, table


def test_differences_across_records_are_of_the_same_seeds() -> None:
    for plan in map(recorded.plan_of, recorded.TABLES):
        others = re.findall(r"([\w{}-]+):", str([metric for _, metric, *_ in plan["columns"]]))
        for _, key, *own in plan.get("rows", []) if others else []:
            seeds = store.read((own or [plan["record"]])[0])["seeds"]
            assert all(store.read(other.replace("{}", key))["seeds"] == seeds for other in others)


def test_every_recorded_table_is_shown_once() -> None:
    asked = []
    for path in (settings.repo_root() / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                calls = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)]
                found = [call for call in calls if ast.unparse(call.func) == "page.recorded"]
                asked += [ast.literal_eval(name) for call in found for name in call.args]
    assert sorted(asked) == sorted(recorded.TABLES)
