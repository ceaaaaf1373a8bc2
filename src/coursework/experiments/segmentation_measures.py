"""How good masks are: IoU, Dice, outlines and names of the digits.

A confusion matrix counts pixels of a class (row) that were given a class (column).
Letters: ``n`` canvases, ``H`` height, ``W`` width, ``C`` = 11 classes, 10 is the background.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursework.data.m2nist import BACKGROUND, NUM_CLASSES
from coursework.errors import DataError

BAND, CHUNK = 2, 32  # pixels; canvases at a time


def measure(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Everything that is reported of masks, ``[n, H, W]`` each."""
    matrices, outlines = confusion_matrices(prediction, truth), boundary_f1(prediction, truth)
    rest = {"digit_accuracy": digit_accuracy(matrices), "boundary_f1": outlines}
    return scores(matrices.sum(0)) | rest


def confusion_matrices(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Confusion matrix of every canvas, int64 ``[n, C, C]``; masks are ``[n, H, W]``."""
    if prediction.shape != truth.shape or truth.ndim != 3:
        shapes = f"{prediction.shape} and the truth {truth.shape}"
        raise DataError(f"The prediction has shape {shapes}; both must be (n, H, W).")
    if max(prediction.max(initial=0), truth.max(initial=0)) >= NUM_CLASSES:
        raise DataError(f"A mask has a class beyond {NUM_CLASSES - 1}; classes are 0 to 10.")
    sizes = len(truth), NUM_CLASSES, NUM_CLASSES
    canvas = np.arange(len(truth))[:, None, None]
    places = np.ravel_multi_index((canvas, truth, prediction), sizes)  # [n, H, W]
    return np.bincount(places.ravel(), minlength=math.prod(sizes)).reshape(sizes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """``TP / (TP + FP + FN)`` of every class ``[..., C]`` from ``[..., C, C]``; nan if all three are 0."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)  # [..., C]
    union = confusion.sum(-1) + confusion.sum(-2) - hits  # [..., C]
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def _mean(values: np.ndarray) -> float:
    """The mean of those that are not nan; nan if all are."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def digit_iou(confusion: np.ndarray) -> float:
    """Mean IoU of the digits that occur or were predicted."""
    return _mean(iou(confusion)[:BACKGROUND])


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Everything that one confusion matrix ``[C, C]`` over a whole set says."""
    each = iou(confusion)  # [C]
    digits = each[:BACKGROUND]
    found = confusion[:BACKGROUND, :BACKGROUND]  # digits taken for digits
    missed, invented = confusion[:BACKGROUND, BACKGROUND], confusion[BACKGROUND, :BACKGROUND]
    total = float(found.sum())
    edge = total + float(missed.sum() + invented.sum())
    return {
        "digit_iou": _mean(digits),
        "mean_iou": _mean(each),
        "digit_dice": _mean(2 * digits / (1 + digits)),
        # digit against background, whatever the digit: are the outlines right?
        "foreground_iou": total / edge if edge else math.nan,
        # right digit, of the digit pixels found as such: are the names right?
        "naming": float(np.trace(found)) / total if total else 0.0,
        "pixel_accuracy": float(np.trace(confusion)) / float(confusion.sum()),
        **{f"iou_{c}": float(value) for c, value in enumerate(each)},
    }


def digit_accuracy(matrices: np.ndarray) -> float:
    """Share of the digits on canvases ``[n, C, C]`` whose class is the most frequent one of their pixels,
    background aside; equal digits on one canvas count once."""
    votes = matrices[:, :BACKGROUND, :BACKGROUND]  # [n, 10, 10]
    there = matrices[:, :BACKGROUND].sum(-1) > 0  # [n, 10]
    right = (votes.argmax(-1) == np.arange(BACKGROUND)) & (votes.sum(-1) > 0)  # [n, 10]
    return _mean(np.where(there, right, np.nan))


def boundary_f1(prediction: np.ndarray, truth: np.ndarray) -> float:
    """F1 of boundary pixels (Csurka et al. 2013), counted over the whole set, mean over the digits.

    A boundary pixel has a pixel of another class beside it. It is right if the other mask has a boundary
    pixel of the same class at most ``BAND`` pixels away.
    """
    counts = torch.zeros(4, BACKGROUND, dtype=torch.float64)
    digits = torch.arange(BACKGROUND)[:, None, None]

    def boundary(mask: Tensor) -> Tensor:
        # outside of the canvas there is no other class
        return mask & (F.max_pool2d((~mask).float(), 3, 1, 1) > 0)

    def near(edge: Tensor) -> Tensor:
        return F.max_pool2d(edge.float(), 2 * BAND + 1, 1, BAND) > 0

    for start in range(0, len(truth), CHUNK):
        pair = (torch.from_numpy(m[start : start + CHUNK, None]) for m in (prediction, truth))
        found, real = (boundary(masks == digits) for masks in pair)  # [n, 10, H, W]
        each = found, found & near(real), real, real & near(found)
        counts += torch.stack([edge.sum((0, 2, 3)) for edge in each])
    predicted, right, true, met = counts.numpy()
    precision, recall = right / np.maximum(predicted, 1), met / np.maximum(true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return _mean(np.where(predicted + true > 0, f1, np.nan))


def bootstrap(
    matrices: Sequence[np.ndarray], measure: Callable[..., float], draws: int = 1000
) -> tuple[float, float]:
    """95 % interval of a measure of summed matrices (of each network ``[n, C, C]``), by drawing canvases."""
    n = len(matrices[0])
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws)  # [draws, n]
    sums = [np.tensordot(times.astype(float), m.astype(float), 1) for m in matrices]
    values = [measure(*each) for each in zip(*sums, strict=True)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
