"""The tables of problem 1 say what the records say."""

from typing import Any

from coursework.report import sentiment_tables


def _metric(mean: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "std": None, "values": [mean], **more}


SINGLE: dict[str, Any] = {
    "seeds": [0, 1],
    "data": {"source": "made up"},
    "machine": {"processor": "abacus", "threads": 1, "device": "cpu"},
    "notes": {"parameters": 1234, "training_seconds": 120.0},
    "metrics": {
        "majority.test_accuracy": _metric(0.5),
        "naive_bayes.test_accuracy": _metric(0.79),
        "linear.test_accuracy": _metric(0.82, low=0.81, high=0.83),
        "validation_accuracy": _metric(0.853),
        "test_accuracy": _metric(0.8512) | {"std": 0.0004},
    },
}
BEST: dict[str, Any] = {
    "notes": {"members": 3, "training_seconds": 360.0},
    "metrics": {
        "mean_of_members.test_accuracy": _metric(0.8551),
        "mean_of_members.validation_accuracy": _metric(0.856),
        "test_accuracy": _metric(0.8562),
        "validation_accuracy": _metric(0.857),
    },
}


def test_models_with_and_without_the_ensemble() -> None:
    alone = sentiment_tables.models(SINGLE)
    both = sentiment_tables.models(SINGLE, BEST)
    assert len(alone.rows) == 4
    assert len(both.rows) == 6
    assert list(alone.rows[3])[1:4] == ["85.30", "85.12 ± 0.04", "–"]
    assert list(both.rows[2])[2:4] == ["82.00", "81.00 to 83.00"]
    assert list(both.rows[5]) == [
        "the same and the logistic regression", "85.70", "85.62", "–", "3 × 1,234", "6",
    ]  # fmt: skip


def test_study_leaves_sizes_to_the_curve() -> None:
    record = {
        "seeds": [0],
        "data": {"source": "made up"},
        "metrics": {
            "base.validation_accuracy": _metric(0.81),
            "base.difference": _metric(0.0),
            "two_layers.validation_accuracy": _metric(0.82),
            "two_layers.difference": _metric(0.01, low=0.005, high=0.015),
            "size-10.validation_accuracy": _metric(0.7),
            "size-10.difference": _metric(-0.11),
        },
        "notes": {
            "rows": [
                {"variant": v, "changes": c, "train": n, "validation": 50, "parameters": 7}
                for v, c, n in (
                    ("base", [], 100),
                    ("two layers", ["layers=2"], 100),
                    ("size-10", [], 10),
                )
            ]
        },
    }
    table = sentiment_tables.study(record)
    assert [row[0] for row in table.rows] == ["base", "two layers"]
    assert list(table.rows[1])[3:] == ["82.00%", "+1.00", "+0.50 to +1.50"]
    assert [fact["train"] for fact in sentiment_tables.study_facts(record)] == [100, 100, 10]
