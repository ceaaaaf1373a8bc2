import re
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

SMALLER = (
    "down=6,8 up=8,8 bottleneck=16 plan.epochs=4 plan.learning_rate=0.02 canvases=160 batch_size=4 "
    "background_weight=0.1 validation_canvases=100 test_canvases=100"
)
TINY = base.override(segmentation.PRESETS["quick"], SMALLER.split())


def train(**options: Any) -> base.Run:
    return segmentation.train(base.Job("segmentation", TINY, **options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(standins: Path, folder: Path) -> base.Run:
    lines: list[str] = []
    run = train(folder=folder, log=lines.append)
    run.artefacts["lines"] = lines
    return run


def test_plain_loss_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 11, 4, 6, dtype=torch.float32)
    masks = torch.randint(0, 11, (3, 4, 6))
    losses = segmentation.canvas_losses(logits, masks)
    assert losses.shape == (3,)
    torch.testing.assert_close(losses.mean(), F.cross_entropy(logits, masks))
    weight = torch.tensor([1.0] * 10 + [0.2])
    weighted = segmentation.canvas_losses(logits, masks, background_weight=0.2)
    for row in range(3):  # each canvas is normalised by its own weights
        expected = F.cross_entropy(logits[row : row + 1], masks[row : row + 1], weight=weight)
        torch.testing.assert_close(weighted[row], expected)


@pytest.mark.usefixtures("standins")
def test_canvases_depend_on_seed_and_epoch_only() -> None:
    data = segmentation.prepare(TINY)
    first = data.epoch(TINY, seed=0, epoch=3)
    data.epoch(replace(TINY, canvases=24), seed=0, epoch=1)
    for seed, epoch in ((0, 3), (0, 4), (1, 3)):
        same = np.array_equal(first.images, data.epoch(TINY, seed, epoch).images)
        assert same == ((seed, epoch) == (0, 3))
    turned = data.epoch(replace(TINY, rotation=10.0, width=96, fewest_digits=3), seed=0, epoch=3)
    assert turned.images.shape == (TINY.canvases, TINY.height, 96)
    again = segmentation.prepare(replace(TINY, canvases=7))
    assert np.array_equal(data.test.images, again.test.images)


@pytest.mark.usefixtures("standins")
def test_no_digit_is_on_canvases_of_two_parts() -> None:
    pools = m2nist.digit_pools()
    train, validation, test = (
        {digit.tobytes() for digit in pool.images}
        for pool in (pools.train, pools.validation, pools.test)
    )
    assert segmentation.prepare(TINY).digits.images.shape == pools.train.images.shape
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


@pytest.mark.usefixtures("standins")
def test_canvases_hold_digits_of_their_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, source = np.arange(20, dtype=np.uint8) % 10, m2nist.digit_pools().source
    flat = [m2nist.Pool(np.full((20, 28, 28), grey, np.uint8), labels) for grey in (10, 20, 30)]
    monkeypatch.setattr(m2nist, "digit_pools", lambda: m2nist.Pools(*flat, source))
    data = segmentation.prepare(TINY)
    parts = (data.epoch(TINY, seed=0, epoch=0), data.validation, data.test)
    assert [np.unique(part.images).tolist() for part in parts] == [[0, 10], [0, 20], [0, 30]]


def test_batches_are_cut_in_order() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    batches = segmentation.batches_of(Canvases(images, images), 2)
    assert [batches.rows[k].tolist() for k in range(len(batches))] == [[0, 1], [2, 3], [4]]
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
        assert run.metrics[f"{name}.train_loss"] > 0
    for name in ("skip", "noskip", "difference"):
        low, high, _ = run.notes["intervals"][f"{name}.test_digit_iou"]
        assert low <= run.metrics[f"{name}.test_digit_iou"] <= high
    iou = ", ".join(rf"{c}: [01]\.\d+" for c in range(11))
    assert re.fullmatch(
        rf"Epoch 4/4:\nTraining Loss: .*Validation IoU \(Class: value\): {iou}.*",
        run.notes["last_epoch"]["skip"],
        re.DOTALL,
    )
    lines = run.artefacts["lines"]
    assert len(lines) == 8  # one short line per epoch
    assert lines[0].startswith("noskip  epoch 1/4  train loss")
    assert re.search("  validation loss .*  digit iou ", lines[7])
    assert "iou 3" not in lines[7]
    store.write(store.make_record("segmentation-tiny", [run]), tmp_path)


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
        train(folder=folder, log=None, resume=True)


def test_predict_gives_the_masks_of_the_run(run: base.Run, folder: Path) -> None:
    image = run.artefacts["data"].test.images[0]
    mask = segmentation.load(folder / "skip" / "best.pt").predict(image)
    assert mask.dtype == np.uint8
    assert (mask == run.artefacts["predictions"]["skip"][0]).mean() > 0.999
    (same,) = segmentation.predict_masks(run.artefacts["models"]["skip"], image[None])
    assert np.array_equal(same, mask)


def test_tiles_give_the_mask_of_the_whole(run: base.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter(run.artefacts["models"]["skip"], TINY, skip=True)
    image = np.hstack(run.artefacts["data"].test.images[:2])
    whole = segmenter.predict(image)
    monkeypatch.setattr(canvas, "TILE", 30)
    tiled = segmenter.predict(image)
    assert len(np.unique(whole)) > 1
    assert (tiled == whole).mean() > 0.9999


def test_presets() -> None:
    full, deep = segmentation.PRESETS["full"], segmentation.PRESETS["deep"]
    assert sum(p.numel() for p in segmentation.build(full, skip=True).parameters()) == 252_875
    assert (full.skips, deep.skips) == ((True, False), (True,))
    # smaller than a digit, and larger than a canvas
    assert [segmentation.receptive_field(config) for config in (full, deep)] == [26, 100]
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
    ("levels", "convolutions", "fields"),
    [(1, 1, {0: 10, 1: 10}), (2, 1, {0: 22, 1: 26, 2: 26, 3: 22}), (3, 2, {4: 100})],
)
def test_receptive_field_is_what_a_pixel_depends_on(
    levels: int, convolutions: int, fields: dict[int, int]
) -> None:
    sizes = (2,) * levels
    config = replace(TINY, down=sizes, bottleneck=2, up=sizes, convolutions=convolutions)
    for offset, expected in fields.items():
        assert segmentation.receptive_field(config, offset) == expected
        assert seen(config, offset) == (expected, expected)
