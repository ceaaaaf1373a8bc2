"""U-Net on canvases: the loss, training with and without skips, checkpoints, images of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursework.data import m2nist
from coursework.data.m2nist import Canvases
from coursework.errors import TrainingError
from coursework.experiments import base, canvas, segmentation
from coursework.experiments.segmentation import Segmenter
from coursework.report import store
from coursework.training import checkpoints

TINY = base.override(
    segmentation.PRESETS["quick"],
    [
        *("down=6,8", "up=8,8", "bottleneck=16", "plan.epochs=4", "plan.learning_rate=0.02"),
        *("canvases=160", "batch_size=4", "background_weight=0.1"),
        *("validation_canvases=100", "test_canvases=100"),
    ],
)
SHORT = replace(TINY, canvases=24, batch_size=8, plan=replace(TINY.plan, epochs=2))


def train(config: segmentation.Config, **options: Any) -> base.Run:
    return segmentation.train(base.Job("segmentation", config, **{"log": None, **options}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(standins: Path, folder: Path) -> base.Run:
    """One run with both variants, which most tests look at."""
    lines: list[str] = []
    run = train(TINY, folder=folder, log=lines.append)
    run.artefacts["lines"] = lines
    return run


def test_plain_loss_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 11, 4, 6, dtype=torch.float32)
    masks = torch.randint(0, 11, (3, 4, 6))
    losses = segmentation.canvas_losses(logits, masks)
    assert losses.shape == (3,)
    torch.testing.assert_close(losses.mean(), F.cross_entropy(logits, masks))
    weight = torch.ones(11)
    weight[10] = 0.2
    weighted = segmentation.canvas_losses(logits, masks, background_weight=0.2)
    for row in range(3):  # each canvas is normalised by its own weights
        expected = F.cross_entropy(logits[row : row + 1], masks[row : row + 1], weight=weight)
        torch.testing.assert_close(weighted[row], expected)


@pytest.mark.usefixtures("standins")
def test_canvases_depend_on_seed_and_epoch_only() -> None:
    data = segmentation.prepare(TINY)
    first = data.epoch(TINY, seed=0, epoch=3)
    data.epoch(SHORT, seed=0, epoch=1)
    assert np.array_equal(first.images, data.epoch(TINY, seed=0, epoch=3).images)
    assert not np.array_equal(first.images, data.epoch(TINY, seed=0, epoch=4).images)
    assert not np.array_equal(first.images, data.epoch(TINY, seed=1, epoch=3).images)
    turned = data.epoch(replace(TINY, rotation=10.0, width=96, fewest_digits=3), seed=0, epoch=3)
    assert turned.images.shape == (TINY.canvases, TINY.height, 96)
    scanned = data.epoch(replace(TINY, scans=0.5), seed=0, epoch=3)
    assert np.array_equal(scanned.masks, first.masks)
    assert not np.array_equal(scanned.images, first.images)
    again = segmentation.prepare(replace(TINY, canvases=7))
    assert np.array_equal(data.test.images, again.test.images)


@pytest.mark.usefixtures("standins")
def test_no_digit_is_on_canvases_of_two_parts() -> None:
    pools = m2nist.digit_pools()
    parts = [
        {digit.tobytes() for digit in pool.images}
        for pool in (pools.train, pools.validation, pools.test)
    ]
    assert segmentation.prepare(TINY).digits.images.shape == pools.train.images.shape
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.usefixtures("standins")
def test_canvases_hold_digits_of_their_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, source = np.arange(20, dtype=np.uint8) % 10, m2nist.digit_pools().source
    flat = [m2nist.Pool(np.full((20, 28, 28), grey, np.uint8), labels) for grey in (10, 20, 30)]
    monkeypatch.setattr(m2nist, "digit_pools", lambda: m2nist.Parts(*flat, source))
    data = segmentation.prepare(TINY)
    parts = (data.epoch(TINY, seed=0, epoch=0), data.validation, data.test)
    assert [np.unique(part.images).tolist() for part in parts] == [[0, 10], [0, 20], [0, 30]]


def test_batches_are_cut_in_order() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    batches = segmentation.batches_of(Canvases(images, images), 2)
    assert [batches.rows(k).tolist() for k in range(len(batches))] == [[0, 1], [2, 3], [4]]
    assert [len(pixels) for pixels, _ in batches] == [2, 2, 1]
    assert torch.cat([masks for _, masks in batches])[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert batches[2][0].max() == pytest.approx(4 / 255)


def test_learns_to_tell_digits_from_background(run: base.Run) -> None:
    assert run.source.is_standin
    for name in ("skip", "noskip"):
        history = run.artefacts["fits"][name].history
        assert len(history) == 4
        assert history[-1]["train_loss"] < 0.9 * history[0]["train_loss"]
        # a network that says background everywhere has 0 here
        assert run.metrics[f"{name}.test_foreground_iou"] > 0.3
        assert run.metrics[f"{name}.test_naming"] > 0.12  # and one that guesses has 0.1
    for key in segmentation.COMPARED:
        pair = run.metrics[f"skip.{key}"], run.metrics[f"noskip.{key}"]
        assert run.metrics[f"difference.{key}"] == pytest.approx(pair[0] - pair[1])


def test_reports_what_the_results_need(run: base.Run, tmp_path: Path) -> None:
    for name in ("skip", "noskip"):
        digits = [run.metrics[f"{name}.test_iou_{c}"] for c in range(10)]
        assert run.metrics[f"{name}.test_digit_iou"] == pytest.approx(np.mean(digits))
        low, high, _ = run.notes["intervals"][f"{name}.test_digit_iou"]
        assert low <= run.metrics[f"{name}.test_digit_iou"] <= high
        assert run.metrics[f"{name}.train_loss"] > 0
    low, high, _ = run.notes["intervals"]["difference.test_digit_iou"]
    assert low <= run.metrics["difference.test_digit_iou"] <= high
    text = run.notes["last_epoch"]["skip"]
    assert text.startswith("Epoch 4/4:\nTraining Loss: ")
    assert "Validation IoU (Class: value): 0: 0." in text
    assert ", 10: 0." in text
    lines = run.artefacts["lines"]
    assert len(lines) == 8  # one short line per epoch
    assert lines[0].startswith("noskip  epoch 1/4  train loss")
    assert "  validation loss " in lines[7]
    assert "  digit iou " in lines[7]
    assert "iou 3" not in lines[7]
    record = store.make_record("segmentation-tiny", [run])
    assert store.write(record, tmp_path).is_file()


def test_both_variants_start_from_the_same_weights() -> None:
    weights = []
    for skip in (True, False):
        torch.manual_seed(0)
        weights.append(segmentation.build(TINY, skip).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.usefixtures("standins")
def test_other_data_are_another_run(
    run: base.Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = m2nist.digit_pools()
    other = replace(pools, source=replace(pools.source, sha256="00"))
    monkeypatch.setattr(m2nist, "digit_pools", lambda: other)
    with pytest.raises(TrainingError, match="another run .different: data"):
        train(TINY, folder=folder, resume=True)


@pytest.mark.usefixtures("standins")
def test_evaluate_repeats_the_test_metrics(run: base.Run, folder: Path) -> None:
    stored = {key: value for key, value in run.metrics.items() if "skip.test_" in key}
    assert segmentation.evaluate(folder) == stored
    for name in ("skip", "noskip"):
        part = segmentation.evaluate(folder / name / "best.pt")
        assert part == {key: value for key, value in stored.items() if key.startswith(f"{name}.")}
    newest = max(folder.glob("*/best.pt"), key=lambda path: path.stat().st_mtime_ns)
    assert segmentation.load(newest).skip


def test_a_small_checkpoint_is_as_good(run: base.Run, folder: Path, tmp_path: Path) -> None:
    best = folder / "skip" / "best.pt"
    small = base.shrink(best, tmp_path / "small.pt")
    assert small.stat().st_size < 0.75 * best.stat().st_size
    kinds = {name: w.dtype for name, w in checkpoints.load(small)["model"].items()}
    counters = {name for name in kinds if name.endswith("num_batches_tracked")}
    assert {kinds[name] for name in counters} == {torch.int64}
    assert {kind for name, kind in kinds.items() if name not in counters} == {torch.float16}
    assert {p.dtype for p in segmentation.load(small).model.parameters()} == {torch.float32}
    found = segmentation.evaluate(small)
    assert found["skip.test_digit_iou"] == pytest.approx(
        run.metrics["skip.test_digit_iou"], abs=0.02
    )


@pytest.fixture
def segmenter(run: base.Run) -> Segmenter:
    return Segmenter(run.artefacts["models"]["skip"], TINY, skip=True)


def test_predict_gives_the_masks_of_the_run(run: base.Run, folder: Path) -> None:
    image = run.artefacts["data"].test.images[0]
    mask = segmentation.load(folder / "skip" / "best.pt").predict(image)
    assert mask.dtype == np.uint8
    assert (mask == run.artefacts["predictions"]["skip"][0]).mean() > 0.999
    assert np.array_equal(
        segmentation.predict_masks(run.artefacts["models"]["skip"], image[None])[0], mask
    )


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (7, 101), (65, 85)])
def test_predict_takes_any_size(segmenter: Segmenter, size: tuple[int, int]) -> None:
    assert segmenter.predict(np.zeros(size, np.uint8)).shape == size


def test_tiles_give_the_mask_of_the_whole(
    run: base.Run, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.hstack(run.artefacts["data"].test.images[:2])
    whole = segmenter.predict(image)
    monkeypatch.setattr(canvas, "TILE", 30)
    tiled = segmenter.predict(image)
    assert len(np.unique(whole)) > 1
    assert (tiled == whole).mean() > 0.9999


def test_presets() -> None:
    full = segmentation.PRESETS["full"]
    assert sum(p.numel() for p in segmentation.build(full, skip=True).parameters()) == 252_875
    assert full.skips == (True, False)
    assert segmentation.PRESETS["deep"].skips == (True,)
    for config in segmentation.PRESETS.values():
        assert (config.plan.monitor, config.plan.mode) == ("digit_iou", "max")


def seen(config: segmentation.Config, offset: int) -> tuple[int, int]:
    """Receptive field by gradient: positive weights and mean pooling, so that no path is hidden."""
    model = segmentation.build(config, skip=True).double().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    for down in model.downs:
        down.pool = nn.AvgPool2d(2)
    image = torch.ones(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image)[0, 0, 64 + offset, 64 + offset], image)
    places = gradient[0, 0].nonzero()
    height, width = (places.max(0).values - places.min(0).values + 1).tolist()
    return height, width


@pytest.mark.parametrize(
    ("levels", "convolutions", "offset", "expected"),
    [
        (1, 1, 0, 10),
        (1, 1, 1, 10),
        *((2, 1, k, (22, 26, 26, 22)[k]) for k in range(4)),
        (3, 2, 4, 100),
    ],
)
def test_receptive_field_is_what_a_pixel_depends_on(
    levels: int, convolutions: int, offset: int, expected: int
) -> None:
    sizes = (2,) * levels
    config = replace(TINY, down=sizes, bottleneck=2, up=sizes, convolutions=convolutions)
    found = segmentation.receptive_field(config, offset)
    assert found == expected
    assert seen(config, offset) == (found, found)


def test_receptive_field_of_the_assignment_is_smaller_than_a_digit() -> None:
    assert segmentation.receptive_field(segmentation.PRESETS["full"]) == 26
    assert segmentation.receptive_field(segmentation.PRESETS["deep"]) == 100
