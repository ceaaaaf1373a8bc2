"""Tables of problem 5 from records made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coursework import settings
from coursework.data.sources import Source
from coursework.experiments import segmentation
from coursework.experiments.base import Run
from coursework.report import segmentation_tables, store

CONFIG = segmentation.PRESETS["full"]
SHARES = [0.006] * 10 + [0.94]
DIGITS = {"skip": 0.9, "noskip": 0.7}
LOSS = {"skip": 0.2, "noskip": 0.3}


def made_up(seed: int, better: float = 0.0) -> Run:
    """A run whose network with skips is better by 0.2 (plus ``better``) at each seed."""
    metrics: dict[str, float] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for name in ("skip", "noskip"):
        level = DIGITS[name] + 0.01 * seed + (better if name == "skip" else 0)
        keys = ("digit_iou", "mean_iou", "digit_dice", "foreground_iou", "naming", "boundary_f1")
        metrics |= {f"{name}.test_{key}": level for key in (*keys, "digit_accuracy")}
        metrics |= {f"{name}.test_iou_{c}": level - 0.001 * c for c in range(11)}
        metrics |= {f"{name}.test_pixel_accuracy": 0.99, f"{name}.train_loss": LOSS[name]}
        curves[name] = [
            {
                "epoch": epoch,
                "train_loss": LOSS[name] + 1 / epoch + seed,
                "digit_iou": level - 1 / epoch,
                **{f"iou_{c}": level for c in range(11)},
            }
            for epoch in (1, 2)
        ]
    source = Source("mnist", "data root", "00" * 32, (), "free")
    return Run("segmentation", "full", CONFIG, seed, metrics, source, 1.0, curves)


@pytest.fixture
def record() -> dict[str, Any]:
    return store.make_record("segmentation-full", [made_up(seed) for seed in range(5)])


def test_differences_are_paired(record: dict[str, Any]) -> None:
    found = segmentation_tables.paired(record, "test_digit_iou")
    assert found["values"] == pytest.approx([0.2] * 5)
    # the seeds differ by 0.01 and more, their differences do not at all
    assert found["low"] == pytest.approx(found["high"])


def test_by_class(record: dict[str, Any]) -> None:
    table = segmentation_tables.by_class(record, SHARES)
    assert len(table.rows) == 13
    title, with_skips, without, difference, share = table.rows[3]
    assert title == "3 (digit)"
    assert with_skips == "0.9170 ± 0.0158 (n = 5)"
    assert without.startswith("0.7170 ±")
    assert difference == "+0.2000 [+0.2000, +0.2000]"
    assert share == "0.60%"
    assert "mean ± std over 5 seeds" in table.caption


def test_last_epoch_is_in_the_format_of_the_assignment(record: dict[str, Any]) -> None:
    text = segmentation_tables.last_epoch(record, "noskip")
    assert text.startswith(
        "Epoch 2/24:\nTraining Loss: 2.8000\nValidation IoU (Class: value): 0: 0.72"
    )
    assert text.endswith("10: 0.7200")


def test_claims_are_decided_by_the_interval(record: dict[str, Any]) -> None:
    rows = segmentation_tables.claims(record).rows
    verdicts = {row[0]: (row[3], row[4]) for row in rows}
    assert verdicts["without: training loss lower"] == ("0 of 5", "refuted")
    assert verdicts["without: digit IoU lower"] == ("5 of 5", "holds")
    torn = store.make_record("x", [made_up(seed, better=-0.4 * (seed % 2)) for seed in range(4)])
    assert segmentation_tables.verdict(segmentation_tables.paired(torn, "test_naming")) == "open"
    once = store.make_record("x", [made_up(0)])
    assert {row[4] for row in segmentation_tables.claims(once).rows} == {"one run decides nothing"}


def test_conclusion_says_what_the_numbers_say(record: dict[str, Any]) -> None:
    text = segmentation_tables.conclusion(record)
    assert (
        "the training loss is **lower** in a way that 5 seeds confirm: 0.2000 with and 0.3000"
        in text
    )
    assert "the mean digit IoU is **higher** in a way that 5 seeds confirm: 0.9200 with" in text
    worse = store.make_record("x", [made_up(seed, better=-0.5) for seed in range(3)])
    assert "the mean digit IoU is **lower**" in segmentation_tables.conclusion(worse)
    once = store.make_record("segmentation-live", [made_up(0)])
    assert "in this one run" in segmentation_tables.conclusion(once)
    assert segmentation_tables.described(once) == "live, full preset, one seed"


def test_kinds_of_error(record: dict[str, Any]) -> None:
    confusion = np.zeros((11, 11), int)
    confusion[10, 10], confusion[3, 3] = 80, 10  # right
    confusion[3, 10], confusion[10, 4], confusion[3, 5] = 5, 1, 4
    notes = {"test_confusion": {"skip": confusion.tolist(), "noskip": np.eye(11).tolist()}}
    rows = segmentation_tables.kinds_of_error(record | {"notes": notes}).rows
    assert rows[0] == ("with skip connections", "10.00%", "50.0%", "10.0%", "40.0%")
    assert rows[1] == ("without", "0.00%", "0.0%", "0.0%", "0.0%")


def test_throughput(record: dict[str, Any]) -> None:
    notes = {"canvases_per_second": {"skip": 60.4, "noskip": 61.0}}
    text = segmentation_tables.throughput(record | {"notes": notes})
    assert "60 (with skip connections) and 61 (without) canvases of 32 × 96 pixels a second" in text
    assert f"{24 * CONFIG.canvases:,} canvases in all" in text


def test_band_spans_the_seeds(record: dict[str, Any]) -> None:
    epochs, mean, low, high = segmentation_tables.band(record, "skip", "train_loss")
    assert epochs.tolist() == [1, 2]
    np.testing.assert_allclose(low, [1.2, 0.7])
    np.testing.assert_allclose(high, [5.2, 4.7])
    np.testing.assert_allclose(mean, [3.2, 2.7])


def test_live_until_recorded_and_goals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path)
    live, is_recorded = segmentation_tables.of(made_up(3))
    assert not is_recorded
    assert live["seeds"] == [3]
    assert {row[2] for row in segmentation_tables.goals().rows} == {"not recorded yet"}
    store.write(store.make_record("segmentation-full", [made_up(s) for s in range(2)]))
    found, is_recorded = segmentation_tables.of(made_up(3))
    assert is_recorded
    assert found["seeds"] == [0, 1]
    deep = [replace(made_up(0), preset="deep")]
    store.write(store.make_record("segmentation-deep", deep))
    rows = {row[0]: row[2:] for row in segmentation_tables.goals().rows}
    assert rows["network of the assignment, mean of the digits"] == ("0.9050", "yes")
    assert rows["deep network, mean of the digits"] == ("0.9000", "no")
    assert rows["deep network, worst digit"] == ("0.8910", "no")


def test_variants() -> None:
    keys = ("digit_iou", "foreground_iou", "naming", "digit_accuracy", "boundary_f1")
    row = dict.fromkeys(keys, 0.9) | {f"iou_{c}": 0.9 - 0.01 * c for c in range(10)}
    table = segmentation_tables.variants({"plain": row, "other": row}, "here")
    assert table.rows[0][:3] == ("side by side, as trained", "0.9000", "0.8100")
    assert table.rows[1][0] == "other"
    assert table.caption == "here"
