from functools import partial
from typing import Any

import pytest

from coursework.errors import ResultsError
from coursework.report import tables
from coursework.report.tables import grid
from coursework.stats import summarise

SEVERAL, ONE = summarise([0.25, 0.75]), summarise([0.25])
BOUNDED = {"mean": 0.1, "std": None, "values": [0.1], "low": 0.05, "high": 0.15}
RECORD: dict[str, Any] = {
    "metrics": {
        "a.accuracy": summarise([0.5, 0.7]),
        "b.accuracy": summarise([0.4, 0.5]),
        "a.loss": summarise([1.0, 2.0]),
    }
}


@pytest.mark.parametrize(
    ("form", "metric", "text"),
    [
        (tables.spread, SEVERAL, "0.5000 ± 0.3536 (n = 2)"),
        (partial(tables.spread, digits=1), SEVERAL, "0.5 ± 0.4 (n = 2)"),
        (tables.spread, ONE, "0.2500"),
        (tables.percent, SEVERAL, "50.00 ± 35.36"),
        (tables.percent, ONE, "25.00"),
        (tables.points, BOUNDED, "+10.00"),
        (tables.signed, BOUNDED, "+0.1000 [+0.0500, +0.1500]"),
        (tables.signed, ONE, "+0.2500"),
        (tables.interval, BOUNDED, "0.05 to 0.15"),
        (partial(tables.interval, form="+.1f", scale=100), BOUNDED, "+5.0 to +15.0"),
        (tables.interval, ONE, "–"),
    ],
)
def test_forms_of_a_metric(form: Any, metric: dict[str, Any], text: str) -> None:
    assert form(metric) == text


def test_grid_of_measures_by_variants() -> None:
    table = grid(
        RECORD,
        [("accuracy", "accuracy"), ("loss", "loss")],
        [
            ("of a", "a."),  # a prefix
            ("a - b", "a.{} - b.{}", ".2f"),
            ("of b", "b.{}", ".1%"),
            ("key", lambda record, key: key),
        ],
        heading="measure",
        caption="Two",
    )
    assert table.columns == ["measure", "of a", "a - b", "of b", "key"]
    assert table.rows == [
        ["accuracy", "0.6000 ± 0.1414 (n = 2)", "0.15", "45.0%", "accuracy"],
        ["loss", "1.5000 ± 0.7071 (n = 2)", None, None, "loss"],
    ]
    assert table.caption == "Two"


def test_grid_of_models_from_several_records() -> None:
    other = {"metrics": {"accuracy": summarise([0.9])}}
    rows = [("A", "a."), ("B", "b."), ("C", "", other)]
    table = grid(RECORD, rows, [("test / %", "{}accuracy")], tables.percent)
    assert [row[1] for row in table.rows] == ["60.00 ± 14.14", "45.00 ± 7.07", "90.00"]


@pytest.mark.parametrize(
    ("rows", "columns", "what"),
    [
        ([("A", "a"), ("B", "c")], [("x", "{}.accuracy")], "row 'B'"),
        ([("A", "a")], [("x", "{}.accuracy"), ("y", "{}.acuracy")], "column 'y'"),
    ],
)
def test_a_slip_in_a_name_is_no_column_of_dashes(rows: Any, columns: Any, what: str) -> None:
    with pytest.raises(ResultsError, match=f"No metric of the {what}"):
        grid(RECORD, rows, columns)
