"""U-Net on canvases: the measures, the loss, training with and without skips, prediction on any image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.data import m2nist
from coursework.data.m2nist import Canvases
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import base, segmentation
from coursework.experiments.segmentation import Segmenter
from coursework.models.unet import UNet
from coursework.report import store
from coursework.training import checkpoints, engine

TINY = base.override(
    segmentation.PRESETS["quick"],
    [
        *("down=6,8", "up=8,8", "bottleneck=16", "plan.epochs=4", "plan.learning_rate=0.02"),
        *("canvases=160", "batch_size=4", "background_weight=0.1"),
        *("validation_canvases=100", "test_canvases=100"),
    ],
)
SHORT = replace(TINY, canvases=24, batch_size=8, plan=replace(TINY.plan, epochs=2))
ONE = replace(SHORT, skips=(True,))


@pytest.fixture(scope="module")
def _standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(_standin: None, folder: Path) -> base.Run:
    """One run with both variants, which most tests look at."""
    return segmentation.train(TINY, seed=0, run_dir=folder, log=None)


def random_masks(n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A truth, and a prediction that is right on about half of the pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 11, (n, 8, 12)).astype(np.uint8)
    guess = rng.integers(0, 11, truth.shape).astype(np.uint8)
    return np.where(rng.random(truth.shape) < 0.5, truth, guess).astype(np.uint8), truth


# --------------------------------------------------------------------------------------------- measures


def test_iou_by_hand() -> None:
    truth = np.full((1, 2, 4), 10, np.uint8)
    truth[0, 0] = [3, 3, 3, 10]
    prediction = np.full_like(truth, 10)
    prediction[0, 0] = [10, 3, 3, 3]  # one pixel missed, one invented
    confusion = segmentation.confusion_matrices(prediction, truth).sum(0)
    each = segmentation.iou(confusion)
    assert each[3] == 2 / 4
    assert each[10] == 4 / 6
    assert np.isnan(np.delete(each, [3, 10])).all()
    found = segmentation.scores(confusion)
    assert found["digit_iou"] == 0.5  # classes that do not occur are left out
    assert found["mean_iou"] == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert found["digit_dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["foreground_iou"] == 0.5
    assert found["naming"] == 1.0
    assert found["pixel_accuracy"] == 6 / 8


def test_naming_and_outlines_are_told_apart() -> None:
    truth = np.full((1, 2, 4), 10, np.uint8)
    truth[0, 0] = 3
    prediction = truth.copy()
    prediction[0, 0, :1] = 5  # the right pixels, one of them with the wrong name
    found = segmentation.scores(segmentation.confusion_matrices(prediction, truth).sum(0))
    assert found["foreground_iou"] == 1.0
    assert found["naming"] == 0.75


def test_digit_accuracy_by_hand() -> None:
    truth = np.full((2, 4, 8), 10, np.uint8)
    truth[0, :2, :3] = 7
    truth[0, 2:, 4:] = 1
    truth[1, 1, 1:4] = 5
    found = truth.copy()
    found[0, 0, :3] = 10  # half of the 7 is missed: the other half names it
    found[0, 2:, 4:7] = 4  # most of the 1 is called 4
    found[1] = 10  # the 5 is missed altogether
    matrices = segmentation.confusion_matrices(found, truth)
    assert segmentation.digit_accuracy(matrices) == pytest.approx(1 / 3)
    assert segmentation.digit_accuracy(segmentation.confusion_matrices(truth, truth)) == 1
    empty = segmentation.confusion_matrices(*[np.full((1, 3, 3), 10, np.uint8)] * 2)
    assert np.isnan(segmentation.digit_accuracy(empty))


def test_one_pixel_is_enough_by_hand() -> None:
    truth = np.full((3, 5, 9), 10, np.uint8)
    truth[0, 2, 2], truth[1, 2, 2] = 4, 0
    truth[2] = 3  # no background at all
    found = truth.copy()
    found[1] = 10  # the 0 is missed: nobody votes, and nobody's vote is none for class 0
    matrices = segmentation.confusion_matrices(found, truth)
    assert segmentation.digit_accuracy(matrices) == pytest.approx(2 / 3)
    each = segmentation.iou(matrices)  # [3, C], one row for each canvas
    assert each[0, 4] == each[2, 3] == 1.0
    assert each[1, 0] == 0.0
    np.testing.assert_array_equal(each[1], segmentation.iou(matrices[1]))
    assert segmentation.scores(matrices[1])["naming"] == 0.0
    assert segmentation.boundary_f1(found[:1], truth[:1]) == 1.0


def test_digits_are_named_by_their_own_pixels_by_hand() -> None:
    truth = np.full((1, 4, 10), 10, np.uint8)
    truth[0, 0], truth[0, 2] = 1, 4
    found = truth.copy()
    found[0, 0, :6] = 4  # all that is called 1 is a 1, but most of the 1 is called 4
    matrices = segmentation.confusion_matrices(found, truth)
    assert segmentation.digit_accuracy(matrices) == 0.5
    truth[0, 2] = 0
    found[0, 0, :6], found[0, 2] = 0, 10  # the 0 is missed; that a 1 is called 0 does not find it
    matrices = segmentation.confusion_matrices(found, truth)
    assert segmentation.digit_accuracy(matrices) == 0.0


def test_vote_by_hand() -> None:
    masks = np.full((2, 6, 9), 10, np.uint8)
    masks[0, 1, 1:6] = [3, 3, 3, 3, 5]  # one piece, four of five pixels for the 3
    masks[0, 2, 6] = 3  # touches it at a corner
    masks[0, 4, 1:5] = [7, 7, 1, 1]  # no clear majority: perhaps two digits
    masks[1, 1, 1:4] = [3, 8, 8]  # the same place on the next canvas is another piece
    found = segmentation.vote(masks, least=0.6)
    assert found[0, 1, 1:6].tolist() == [3] * 5
    assert found[0, 2, 6] == 3
    assert found[0, 4, 1:5].tolist() == [7, 7, 1, 1]
    assert found[1, 1, 1:4].tolist() == [8, 8, 8]
    assert ((found == 10) == (masks == 10)).all()
    assert found.dtype == np.uint8
    assert (segmentation.vote(masks, least=0.9)[0, 1, 1:6] == [3, 3, 3, 3, 5]).all()
    assert (segmentation.vote(masks, least=0.8)[0, 1, 1:6] == 3).all()  # exactly so many
    assert (segmentation.vote(masks, least=2 / 3)[1, 1, 1:4] == 8).all()
    usual = segmentation.vote(masks)  # seven of ten
    assert (usual[0, 1, 1:6] == 3).all()
    assert usual[1, 1, 1:4].tolist() == [3, 8, 8]
    empty = np.full((1, 3, 3), 10, np.uint8)
    assert (segmentation.vote(empty) == 10).all()


def test_boundary_f1_by_hand() -> None:
    truth = np.full((1, 20, 20), 10, np.uint8)
    truth[0, 5:11, 5:11] = 3  # 6 x 6, a boundary of 20 pixels
    assert segmentation.boundary_f1(truth, truth) == 1
    for shift, expected in ((1, 1.0), (2, 1.0)):
        assert segmentation.boundary_f1(np.roll(truth, shift, 2), truth) == expected
    moved = np.roll(truth, 4, 2)  # columns 9 to 14: overlap of two columns
    # met within two pixels: columns 9 to 12 of the two long sides (8) and the side at column 9 (4)
    assert segmentation.boundary_f1(moved, truth) == pytest.approx(12 / 20)
    assert segmentation.boundary_f1(moved, truth, band=4) == 1
    assert segmentation.boundary_f1(np.full_like(truth, 10), truth) == 0
    # six columns further: two columns of the long sides and the side at column 11, precision = recall
    assert segmentation.boundary_f1(np.roll(truth, 6, 2), truth) == pytest.approx(8 / 20)
    invented = truth.copy()
    invented[0, 14:18, 14:18] = 5
    assert segmentation.boundary_f1(invented, truth) == 0.5  # the 3 is right, the 5 is none
    speck = truth.copy()
    speck[0, 16, 16] = 5
    assert segmentation.boundary_f1(speck, truth) == 0.5
    both = np.concatenate([truth, np.full_like(truth, 10)])
    half = segmentation.boundary_f1(np.concatenate([moved, both[1:]]), both, chunk=1)
    assert half == pytest.approx(12 / 20)


def test_boundary_at_the_rim_of_the_canvas_is_none() -> None:
    everything = np.full((1, 9, 9), 4, np.uint8)
    assert np.isnan(segmentation.boundary_f1(everything, everything))


def test_iou_and_dice_agree_with_torchmetrics() -> None:
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    prediction, truth = random_masks()
    confusion = segmentation.confusion_matrices(prediction, truth).sum(0)
    own = segmentation.scores(confusion)
    arguments = (torch.from_numpy(prediction), torch.from_numpy(truth).long())
    peer = MulticlassJaccardIndex(num_classes=11, average="none")(*arguments).numpy()
    np.testing.assert_allclose(segmentation.iou(confusion), peer, atol=1e-6)
    np.testing.assert_allclose([own[f"iou_{c}"] for c in range(11)], peer, atol=1e-6)
    dice = MulticlassF1Score(num_classes=11, average="none")(*arguments).numpy()  # Dice is F1
    assert own["digit_dice"] == pytest.approx(float(dice[:10].mean()), abs=1e-6)


def test_confusion_is_counted_over_the_whole_set() -> None:
    prediction, truth = random_masks()
    matrices = segmentation.confusion_matrices(prediction, truth)
    slow = np.zeros((11, 11), int)
    for t, p in zip(truth.reshape(-1), prediction.reshape(-1), strict=True):
        slow[t, p] += 1
    assert (matrices.sum(0) == slow).all()
    assert (matrices.sum((1, 2)) == 8 * 12).all()
    of_the_set = segmentation.iou(matrices.sum(0))
    of_images = np.nanmean(segmentation.iou(matrices), axis=0)
    assert abs(of_the_set - of_images).max() > 1e-3  # the mean over images is another number


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), "The prediction has shape"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "both must be"),
        (np.full((1, 2, 2), 11), np.zeros((1, 2, 2)), "a class beyond 10"),
    ],
)
def test_masks_that_do_not_fit(prediction: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        segmentation.confusion_matrices(prediction.astype(np.uint8), truth.astype(np.uint8))


def test_bootstrap_is_paired() -> None:
    prediction, truth = random_masks(60)
    matrices = segmentation.confusion_matrices(prediction, truth)

    def digits(confusion: np.ndarray) -> float:
        return segmentation.scores(confusion)["digit_iou"]

    low, high = segmentation.bootstrap([matrices], digits, draws=200)
    assert low < digits(matrices.sum(0)) < high
    assert segmentation.bootstrap(
        [matrices, matrices], lambda a, b: digits(a) - digits(b), draws=50
    ) == (0.0, 0.0)


def test_bootstrap_is_the_middle_95_percent() -> None:
    """Of the mean of sixty numbers, for which the normal distribution knows it."""
    matrices = segmentation.confusion_matrices(*random_masks(60))
    right = np.trace(matrices, axis1=1, axis2=2) / matrices[0].sum()
    deviation = right.std() / np.sqrt(60)
    low, high = segmentation.bootstrap(
        [matrices], lambda m: float(np.trace(m) / m.sum()), draws=20_000
    )
    assert low == pytest.approx(right.mean() - 1.96 * deviation, abs=0.07 * deviation)
    assert high == pytest.approx(right.mean() + 1.96 * deviation, abs=0.07 * deviation)


# ------------------------------------------------------------------------------------------------- loss


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


def test_dice_is_zero_for_a_certain_right_answer_and_large_for_a_wrong_one() -> None:
    masks = torch.randint(0, 11, (2, 8, 8))
    sure = 50.0 * F.one_hot(masks, 11).permute(0, 3, 1, 2).float()
    assert segmentation.canvas_losses(sure, masks, dice=1.0).max() < 1e-4
    wrong = 50.0 * F.one_hot((masks + 1) % 11, 11).permute(0, 3, 1, 2).float()
    extra = segmentation.canvas_losses(wrong, masks, dice=1.0)
    extra = extra - segmentation.canvas_losses(wrong, masks)
    assert extra.min() > 0.5


def test_loss_of_a_batch_is_the_sum_of_its_canvases() -> None:
    """So several processes may each take some rows."""
    torch.manual_seed(0)
    config = replace(TINY, dice=0.5)
    model = segmentation.build(config, skip=True).eval()
    loss = segmentation.batch_loss(config)
    images, masks = torch.rand(4, 1, 8, 12), torch.randint(0, 11, (4, 8, 12))
    whole, count = loss(model, (images, masks))
    parts = [loss(model, (images[i::2], masks[i::2]))[0] for i in range(2)]
    assert count == 4
    torch.testing.assert_close(whole, parts[0] + parts[1])


# ------------------------------------------------------------------------------------------------- data


@pytest.mark.usefixtures("_standin")
def test_canvases_depend_on_seed_and_epoch_only() -> None:
    data = segmentation.prepare(TINY)
    first = data.epoch(TINY, seed=0, epoch=3)
    data.epoch(SHORT, seed=0, epoch=1)
    assert np.array_equal(first.images, data.epoch(TINY, seed=0, epoch=3).images)
    assert not np.array_equal(first.images, data.epoch(TINY, seed=0, epoch=4).images)
    assert not np.array_equal(first.images, data.epoch(TINY, seed=1, epoch=3).images)
    turned = data.epoch(replace(TINY, rotation=10.0, width=96, fewest_digits=3), seed=0, epoch=3)
    assert turned.images.shape == (TINY.canvases, TINY.height, 96)
    again = segmentation.prepare(replace(TINY, canvases=7))
    assert np.array_equal(data.test.images, again.test.images)
    assert segmentation.class_shares(data.test).sum() == pytest.approx(1)
    assert segmentation.class_shares(data.test)[10] > 0.5


@pytest.mark.usefixtures("_standin")
def test_no_digit_is_on_canvases_of_two_parts() -> None:
    pools = m2nist.digit_pools()
    parts = [
        {digit.tobytes() for digit in pool.images}
        for pool in (pools.train, pools.validation, pools.test)
    ]
    data = segmentation.prepare(TINY)
    assert data.digits.images.shape == pools.train.images.shape
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_batches_are_cut_in_order() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    batches = segmentation.Batches(Canvases(images, images), 2)
    assert len(batches) == 3
    assert [len(pixels) for pixels, _ in batches] == [2, 2, 1]
    assert torch.cat([masks for _, masks in batches])[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert batches[2][0].max() == pytest.approx(4 / 255)


# --------------------------------------------------------------------------------------------- training


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
    line = run.notes["last_epoch"]["skip"]
    assert line.startswith("Epoch 4/4:\nTraining Loss: ")
    assert "Validation IoU (Class: value): 0: 0." in line
    assert ", 10: 0." in line
    record = store.make_record("segmentation-tiny", [run])
    assert store.write(record, tmp_path).is_file()


def test_both_variants_start_from_the_same_weights() -> None:
    weights = []
    for skip in (True, False):
        torch.manual_seed(0)
        weights.append(segmentation.build(TINY, skip).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.usefixtures("_standin")
def test_same_seed_same_run_other_seed_other_run() -> None:
    first, second = (segmentation.train(ONE, seed=3, log=None) for _ in range(2))
    assert first.metrics == second.metrics
    other = segmentation.train(ONE, seed=4, log=None)
    assert other.metrics != first.metrics


@pytest.mark.usefixtures("_standin")
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = segmentation.train(SHORT, seed=1, log=None)

    def killer(line: str) -> None:
        if line.startswith("skip") and "epoch 1/2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmentation.train(SHORT, seed=1, run_dir=tmp_path, log=killer)
    resumed = segmentation.train(SHORT, seed=1, run_dir=tmp_path, resume=True, log=None)
    assert resumed.metrics == whole.metrics
    for name in ("skip", "noskip"):
        one, other = (r.artefacts["models"][name].state_dict() for r in (whole, resumed))
        assert all(torch.equal(one[key], other[key]) for key in one)
    with pytest.raises(TrainingError, match="another run"):
        segmentation.train(SHORT, seed=2, run_dir=tmp_path, resume=True, log=None)


@pytest.mark.usefixtures("_standin")
def test_the_test_masks_are_never_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = segmentation.train(ONE, log=None)
    load = m2nist.load

    def scrambled(*args: int, **options: bool) -> m2nist.M2NIST:
        data = load(*args, **options)
        return replace(data, test=Canvases(data.test.images, (data.test.masks + 1) % 11))

    monkeypatch.setattr(m2nist, "load", scrambled)
    wrong = segmentation.train(ONE, log=None)
    accuracies = [r.metrics["skip.test_pixel_accuracy"] for r in (honest, wrong)]
    assert accuracies[0] != accuracies[1]
    ours, theirs = (r.artefacts["predictions"]["skip"] for r in (honest, wrong))
    assert np.array_equal(ours, theirs)


@pytest.mark.usefixtures("_standin")
def test_log_has_one_short_line_per_epoch() -> None:
    lines: list[str] = []
    segmentation.train(ONE, log=lines.append)
    assert len(lines) == 2
    assert lines[0].startswith("skip    epoch 1/2  train loss")
    assert "validation loss" in lines[0]
    assert "digit iou" in lines[0]
    assert "iou 3" not in lines[0]


# ------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.usefixtures("_standin")
def test_evaluate_repeats_the_test_metrics(run: base.Run, folder: Path) -> None:
    stored = {key: value for key, value in run.metrics.items() if "skip.test_" in key}
    assert segmentation.evaluate(folder) == stored
    part = segmentation.evaluate(folder / "noskip" / "best.pt")
    assert part == {key: value for key, value in stored.items() if key.startswith("noskip")}


def test_the_newest_checkpoint_has_skips(run: base.Run, folder: Path) -> None:
    newest = max(folder.glob("*/best.pt"), key=lambda path: path.stat().st_mtime_ns)
    assert segmentation.load(newest).skip


def test_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = checkpoints.save({"model": {}, "bundle": {"experiment": "cora"}}, tmp_path / "best.pt")
    with pytest.raises(TrainingError, match="not one of the segmentation experiment"):
        segmentation.load(path)
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        segmentation.predict(np.zeros((28, 28)), tmp_path / "none.pt")


def test_export_halves_the_weights(run: base.Run, folder: Path, tmp_path: Path) -> None:
    best = folder / "skip" / "best.pt"
    small = segmentation.export(best, tmp_path / "small.pt")
    assert small.stat().st_size < 0.75 * best.stat().st_size
    kinds = {name: w.dtype for name, w in checkpoints.load(small)["model"].items()}
    counters = {name for name in kinds if name.endswith("num_batches_tracked")}
    assert {kinds[name] for name in counters} == {torch.int64}
    assert {kind for name, kind in kinds.items() if name not in counters} == {torch.float16}
    trained = segmentation.load(small)
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    images = run.artefacts["data"].test.images
    same = segmentation.predict_masks(trained.model, images) == run.artefacts["predictions"]["skip"]
    assert same.mean() > 0.99
    found = segmentation.evaluate(small)
    assert found["skip.test_digit_iou"] == pytest.approx(
        run.metrics["skip.test_digit_iou"], abs=0.02
    )
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        segmentation.export(tmp_path / "none.pt", tmp_path / "small.pt")


@pytest.mark.usefixtures("_standin")
def test_variants_are_judged_like_the_test_canvases(run: base.Run) -> None:
    model, data = run.artefacts["models"]["skip"], run.artefacts["data"]
    pool = m2nist.digit_pools().test
    found = segmentation.judge_variants(model, pool, len(data.test), ["plain", "noise"])
    for key, value in found["plain"].items():
        assert value == pytest.approx(run.metrics[f"skip.test_{key}"])
    assert found["noise"]["foreground_iou"] < found["plain"]["foreground_iou"]
    assert list(segmentation.judge_variants(model, pool, 4)) == list(m2nist.VARIANTS)


# -------------------------------------------------------------------------------------------- prediction


@pytest.fixture
def segmenter(run: base.Run) -> Segmenter:
    return Segmenter(run.artefacts["models"]["skip"], TINY, skip=True)


def test_predict_gives_the_masks_of_the_run(run: base.Run, folder: Path) -> None:
    image = run.artefacts["data"].test.images[0]
    mask = segmentation.predict(image, folder / "skip" / "best.pt")
    assert mask.dtype == np.uint8
    assert (mask == run.artefacts["predictions"]["skip"][0]).mean() > 0.999
    assert np.array_equal(
        segmentation.predict_masks(run.artefacts["models"]["skip"], image[None])[0], mask
    )


def test_grey_colour_and_fractions_are_one_image(run: base.Run, segmenter: Segmenter) -> None:
    image = run.artefacts["data"].test.images[1]
    mask = segmenter.predict(image)
    assert mask.min() < 10, "no digit was found, so the test shows nothing"
    colour = np.repeat(image[:, :, None], 3, axis=2)
    opaque = np.concatenate([colour, np.full((*image.shape, 1), 255, np.uint8)], axis=2)
    for same in (image[:, :, None], image / 255, image.astype(np.int64), colour, opaque):
        assert (segmenter.predict(same) == mask).mean() > 0.999
    clear = opaque.copy()
    clear[:, :, 3] = 0
    black = segmenter.predict(np.zeros_like(image))
    assert np.array_equal(segmenter.predict(clear), black)


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (7, 101), (65, 85)])
def test_predict_takes_any_size(segmenter: Segmenter, size: tuple[int, int]) -> None:
    assert segmenter.predict(np.zeros(size, np.uint8)).shape == size


def test_tiles_give_the_mask_of_the_whole(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 131)).astype(np.uint8)
    whole = segmenter.predict(image)
    monkeypatch.setattr(segmentation, "TILE", 30)
    assert len(list(segmenter._tiles(90, 131))) == 15  # of 32 x 32 pixels: the grid has steps of 4
    tiled = segmenter.predict(image)
    assert len(np.unique(whole)) > 1
    assert (tiled == whole).mean() > 0.9999


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 2, 2)), "has shape"),
        (np.zeros((4, 4, 2)), "has shape"),
        (np.zeros(4), "has shape"),
        (np.zeros((0, 4)), "no pixels"),
        (np.full((4, 4), 2.0), "values from 2 to 2"),
        (np.full((4, 4), np.nan), "values from nan"),
        (np.full((4, 4), -1), "values from -1"),
        (np.full((4, 4), 256), "values from 256"),
        (np.array([["a"]]), "one of numbers"),
    ],
)
def test_what_is_no_image(segmenter: Segmenter, image: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        segmenter.predict(image)


def test_pictures_and_array_files_are_one_image(tmp_path: Path) -> None:
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, (9, 13)).astype(np.uint8)
    picture = Image.fromarray(grey)
    picture.save(tmp_path / "grey.png")
    picture.convert("RGB").save(tmp_path / "colour.png")
    picture.convert("RGBA").save(tmp_path / "transparent.png")
    picture.convert("LA").save(tmp_path / "grey_alpha.png")
    picture.convert("P").save(tmp_path / "palette.png")  # its numbers are places in a palette
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    np.save(tmp_path / "array.npy", grey / 255)
    np.savez(tmp_path / "array.npz", grey)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    for path in files:
        found = segmentation.as_grey(segmentation.read_image(path))
        np.testing.assert_allclose(found.numpy(), grey / 255, atol=1e-4, err_msg=path.name)
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    bits = segmentation.as_grey(segmentation.read_image(tmp_path / "bits.png"))
    np.testing.assert_allclose(bits.numpy(), grey > 99, atol=1e-6)


@pytest.mark.parametrize("name", ["text.png", "text.npy", "text.npz", "cut.png", "object.npy"])
def test_files_that_are_no_images(tmp_path: Path, name: str) -> None:
    from PIL import Image

    path = tmp_path / name
    if name == "cut.png":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "object.npy":
        np.save(path, np.array([{}]), allow_pickle=True)
    else:
        path.write_text("no image")
    with pytest.raises(DataError, match="neither an image nor an array file"):
        segmentation.read_image(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", np.zeros(1), np.zeros(1))
    with pytest.raises(DataError, match="holds 2 arrays; give one"):
        segmentation.read_image(tmp_path / "two.npz")
    for path, message in ((tmp_path / "none.png", "There is no file"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=message):
            segmentation.read_image(path)


def test_overlay_colours_the_digits_only() -> None:
    image = np.array([[0, 255, 100]], np.uint8)
    mask = np.array([[10, 3, 10]], np.uint8)
    picture = np.asarray(segmentation.overlay(image, mask, strength=1.0))
    assert picture.shape == (1, 3, 3)
    assert picture[0].tolist() == [[0, 0, 0], segmentation.PALETTE[3].tolist(), [100, 100, 100]]
    faint = np.asarray(segmentation.overlay(image, mask, strength=0.0))
    assert faint[0, 1].tolist() == [255, 255, 255]
    with pytest.raises(DataError, match="but the mask"):
        segmentation.overlay(image, mask.T)


def test_colour() -> None:
    picture = segmentation.colour(np.array([[0, 10]], np.uint8))
    assert picture.size == (2, 1)
    assert picture.getpixel((1, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == tuple(segmentation.PALETTE[0])
    assert len(np.unique(segmentation.PALETTE, axis=0)) == 11
    with pytest.raises(DataError, match="whole numbers from 0 to 10"):
        segmentation.colour(np.array([[11]]))


# -------------------------------------------------------------------------------- looking into the network


def changed_pixels(model: UNet, row: int, column: int) -> tuple[int, int]:
    """Receptive field by brute force: which single pixels change the output?"""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.bias, 1.0)  # keeps the units alive
    model.double().eval()
    seen = set()
    with torch.no_grad():
        for _ in range(4):
            image = torch.rand(1, 1, 32, 32, dtype=torch.float64)
            before = model(image)[0, :, row, column]
            for i in range(32):
                stack = image.repeat(32, 1, 1, 1)
                stack[range(32), 0, i, range(32)] += 3.0  # becomes the maximum of its window
                after = model(stack)[:, :, row, column]
                seen |= {(i, int(j)) for j in (after != before).any(1).nonzero()}
    rows, columns = {i for i, _ in seen}, {j for _, j in seen}
    return max(rows) - min(rows) + 1, max(columns) - min(columns) + 1


@pytest.mark.parametrize("offset", [0, 1])
def test_receptive_field_is_what_a_pixel_depends_on(offset: int) -> None:
    torch.manual_seed(0)
    model = UNet(1, 3, down=(4,), bottleneck=4, up=(4,))
    expected = segmentation.receptive_field(model, offset)
    assert changed_pixels(model, 16 + offset, 16 + offset) == expected == (10, 10)


def test_receptive_field_of_the_assignment_is_smaller_than_a_digit() -> None:
    model = UNet()
    assert [segmentation.receptive_field(model, k)[0] for k in range(4)] == [22, 26, 26, 22]
    assert segmentation.receptive_field(model) == (26, 26)
    assert segmentation.receptive_field(UNet(disable_skip_connections=True)) == (26, 26)
    for preset in ("quick", "deep"):
        deep = segmentation.build(segmentation.PRESETS[preset], skip=True)
        assert min(segmentation.receptive_field(deep, 0)) > 40  # 20 pixels of ink to either side


def test_share_in_view() -> None:
    digit = np.zeros((1, 28, 28), np.uint8)
    digit[0, 4:24, 14] = 255  # a stroke of 20 pixels
    assert segmentation.share_in_view(digit, (39, 39)) == 1.0
    assert segmentation.share_in_view(digit, (1, 1)) == pytest.approx(1 / 20)
    window = [sum(abs(a - b) <= 5 for b in range(20)) / 20 for a in range(20)]
    assert segmentation.share_in_view(digit, (11, 1)) == pytest.approx(np.mean(window))


def test_walk_through_lists_every_parameter_once() -> None:
    rows = segmentation.walk_through(UNet())
    assert rows[0] == ("input", "1 × 64 × 84", 0)
    assert rows[-1][2] == 252_875 == sum(row[2] for row in rows[:-1])
    assert rows[-2][1] == "11 × 64 × 84"
    assert ("bottleneck", "64 × 16 × 21", 73_920) in rows


# ---------------------------------------------------------------------------------------- configuration


def test_presets() -> None:
    full = segmentation.PRESETS["full"]
    model = segmentation.build(full, skip=True)
    assert sum(p.numel() for p in model.parameters()) == 252_875
    assert full.skips == (True, False)
    assert full.plan.epochs <= 24
    assert segmentation.PRESETS["deep"].skips == (True,)
    for config in segmentation.PRESETS.values():
        assert config.plan.monitor == "digit_iou"
        assert config.plan.mode == "max"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("bottleneck=0", "bottleneck is 0"),
        ("canvases=0", "canvases is 0"),
        ("height=27", "height is 27"),
        ("width=27", "width is 27"),
        ("fewest_digits=0", "fewest_digits is 0"),
        ("rotation=-1", "give 0 to 180"),
        ("zoom=0.6", "give 0 to 0.5"),
        ("shift=29", "give 0 to 28"),
        ("zoom=nan", "give 0 to 0.5"),
        ("batch_size=0", "batch_size is 0"),
        ("down=0,8", "give positive numbers"),
        ("test_canvases=99", "at least 100"),
        ("validation_canvases=1", "at least 100"),
        ("skips=true,true", "give true, false, or both"),
        ("skips=", "give true, false, or both"),
        ("background_weight=0", "must be positive"),
        ("dice=-1", "dice is -1"),
        ("down=a", "must be of type"),
    ],
)
def test_wrong_configs(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        base.override(TINY, [change])


def test_paths_of_different_depth_are_refused() -> None:
    config = base.override(TINY, ["down=4,8,16"])
    with pytest.raises(ConfigError, match="the same number of levels"):
        segmentation.build(config, skip=True)
    assert segmentation.build(base.override(config, ["up=8,4,4"]), skip=True) is not None


@pytest.mark.usefixtures("_standin")
def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    plan = engine.Plan(
        epochs=1, learning_rate=1e20, clip_norm=None, monitor="digit_iou", mode="max"
    )
    with pytest.raises(TrainingError, match="lower learning_rate"):
        segmentation.train(replace(ONE, plan=plan, canvases=96), log=None)
