import numpy as np
import pytest
import torch

from coursework.errors import DataError
from coursework.experiments import segmentation_measures as measures


def digit_accuracy(prediction: np.ndarray, truth: np.ndarray) -> float:
    return measures.digit_accuracy(measures.confusion_matrices(prediction, truth))


def random_masks(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 11, (n, 8, 12)).astype(np.uint8)
    guess = rng.integers(0, 11, truth.shape).astype(np.uint8)
    return np.where(rng.random(truth.shape) < 0.5, truth, guess).astype(np.uint8), truth


def background(*shape: int) -> np.ndarray:
    return np.full(shape, 10, np.uint8)


def test_iou_by_hand() -> None:
    truth, prediction = background(1, 2, 4), background(1, 2, 4)
    truth[0, 0] = [3, 3, 3, 10]
    prediction[0, 0] = [10, 3, 3, 3]  # one pixel missed, one invented
    confusion = measures.confusion_matrices(prediction, truth).sum(0)
    each = np.full(11, np.nan)
    each[[3, 10]] = 2 / 4, 4 / 6
    np.testing.assert_array_equal(measures.iou(confusion), each)
    found = measures.scores(confusion)
    assert found["digit_iou"] == 0.5  # classes that do not occur are left out
    assert found["mean_iou"] == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert found["digit_dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["foreground_iou"] == 0.5
    assert found["naming"] == 1.0
    assert found["pixel_accuracy"] == 6 / 8
    truth[0, 0] = 3
    prediction = truth.copy()
    prediction[0, 0, :1] = 5  # the right pixels, one of them with the wrong name
    found = measures.measure(prediction, truth)
    assert found["foreground_iou"] == 1.0
    assert found["naming"] == 0.75


def test_digit_accuracy_by_hand() -> None:
    truth = background(2, 4, 8)
    truth[0, :2, :3], truth[0, 2:, 4:], truth[1, 1, 1:4] = 7, 1, 5
    found = truth.copy()
    found[0, 0, :3] = 10  # half of the 7 is missed: the other half names it
    found[0, 2:, 4:7] = 4  # most of the 1 is called 4
    found[1] = 10  # the 5 is missed altogether
    assert digit_accuracy(found, truth) == pytest.approx(1 / 3)
    assert digit_accuracy(truth, truth) == 1
    empty = measures.confusion_matrices(background(1, 3, 3), background(1, 3, 3))
    assert np.isnan([measures.digit_accuracy(empty), measures.digit_iou(empty.sum(0))]).all()


def test_one_pixel_is_enough_by_hand() -> None:
    truth = background(3, 5, 9)
    truth[0, 2, 2], truth[1, 2, 2] = 4, 0
    truth[2] = 3  # no background at all
    found = truth.copy()
    found[1] = 10  # the 0 is missed: nobody votes, and nobody's vote is none for class 0
    matrices = measures.confusion_matrices(found, truth)
    assert measures.digit_accuracy(matrices) == pytest.approx(2 / 3)
    each = measures.iou(matrices)  # [3, C], one row for each canvas
    assert each[0, 4] == each[2, 3] == 1.0
    assert each[1, 0] == 0.0
    np.testing.assert_array_equal(each[1], measures.iou(matrices[1]))
    assert measures.scores(matrices[1])["naming"] == 0.0
    assert measures.boundary_f1(found[:1], truth[:1]) == 1.0


def test_digits_are_named_by_their_own_pixels_by_hand() -> None:
    truth = background(1, 4, 10)
    truth[0, 0], truth[0, 2] = 1, 4
    found = truth.copy()
    found[0, 0, :6] = 4  # all that is called 1 is a 1, but most of the 1 is called 4
    assert digit_accuracy(found, truth) == 0.5
    truth[0, 2] = 0
    found[0, 0, :6], found[0, 2] = 0, 10  # the 0 is missed; that a 1 is called 0 does not find it
    assert digit_accuracy(found, truth) == 0.0


def test_boundary_f1_by_hand() -> None:
    truth = background(1, 20, 20)
    truth[0, 5:11, 5:11] = 3  # 6 x 6, a boundary of 20 pixels
    for shift in (0, 1, 2):
        assert measures.boundary_f1(np.roll(truth, shift, 2), truth) == 1
    moved = np.roll(truth, 4, 2)  # columns 9 to 14: two columns in common
    # met within two pixels: columns 9 to 12 of the two long sides (8) and the side at column 9 (4)
    assert measures.boundary_f1(moved, truth) == pytest.approx(12 / 20)
    nothing = np.full_like(truth, 10)
    assert measures.boundary_f1(nothing, truth) == 0
    # six columns further: two columns of the long sides and the side at column 11, precision = recall
    assert measures.boundary_f1(np.roll(truth, 6, 2), truth) == pytest.approx(8 / 20)
    for invented in (slice(14, 18), slice(16, 17)):  # the 3 is right, the 5 is not there
        wrong = truth.copy()
        wrong[0, invented, invented] = 5
        assert measures.boundary_f1(wrong, truth) == 0.5
    one, other = (np.concatenate([*[nothing] * measures.CHUNK, masks]) for masks in (moved, truth))
    assert measures.boundary_f1(one, other) == pytest.approx(12 / 20)
    everything = np.full((1, 9, 9), 4, np.uint8)  # the rim of a canvas is no boundary
    assert np.isnan(measures.boundary_f1(everything, everything))


def test_iou_and_dice_agree_with_torchmetrics_over_the_whole_set() -> None:
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    prediction, truth = random_masks()
    matrices = measures.confusion_matrices(prediction, truth)
    assert (matrices.sum((1, 2)) == 8 * 12).all()
    own, each = measures.scores(matrices.sum(0)), measures.iou(matrices.sum(0))
    arguments = (torch.from_numpy(prediction), torch.from_numpy(truth).long())
    peer = MulticlassJaccardIndex(num_classes=11, average="none")(*arguments).numpy()
    np.testing.assert_allclose(each, peer, atol=1e-6)
    np.testing.assert_allclose([own[f"iou_{c}"] for c in range(11)], peer, atol=1e-6)
    dice = MulticlassF1Score(num_classes=11, average="none")(*arguments).numpy()  # Dice is F1
    assert own["digit_dice"] == pytest.approx(float(dice[:10].mean()), abs=1e-6)
    # the mean over images is another number
    assert abs(each - np.nanmean(measures.iou(matrices), axis=0)).max() > 1e-3


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
        measures.confusion_matrices(prediction.astype(np.uint8), truth.astype(np.uint8))


def test_bootstrap_is_paired_and_the_middle_95_percent() -> None:
    """Of the mean of sixty numbers, for which the normal distribution knows it."""
    matrices = measures.confusion_matrices(*random_masks(60))
    right = np.trace(matrices, axis1=1, axis2=2) / matrices[0].sum()
    low, high = measures.bootstrap([matrices], lambda m: float(np.trace(m) / m.sum()), 20_000)
    half = 1.96 * right.std() / np.sqrt(60)
    assert [low, high] == pytest.approx([right.mean() - half, right.mean() + half], abs=half / 28)
    digits = measures.digit_iou
    same = measures.bootstrap([matrices, matrices], lambda a, b: digits(a) - digits(b), 50)
    assert same == (0.0, 0.0)
