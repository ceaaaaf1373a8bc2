"""How good masks are: IoU, Dice, outlines and names of the digits, and a vote on the names.

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
    n = len(truth)
    if max(prediction.max(initial=0), truth.max(initial=0)) >= NUM_CLASSES:
        raise DataError(f"A mask has a class beyond {NUM_CLASSES - 1}; classes are 0 to 10.")
    pairs = truth.astype(np.int64) * NUM_CLASSES + prediction  # [n, H, W]
    pairs += np.arange(n)[:, None, None] * NUM_CLASSES**2
    counts = np.bincount(pairs.reshape(-1), minlength=n * NUM_CLASSES**2)
    return counts.reshape(n, NUM_CLASSES, NUM_CLASSES)


def iou(confusion: np.ndarray) -> np.ndarray:
    """``TP / (TP + FP + FN)`` of every class ``[..., C]`` from ``[..., C, C]``; nan if all three are 0."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)  # [..., C]
    union = confusion.sum(-1) + confusion.sum(-2) - hits  # [..., C]
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def digit_iou(confusion: np.ndarray) -> float:
    """Mean IoU of the digits that occur or were predicted."""
    each = iou(confusion)[:BACKGROUND]
    present = each[~np.isnan(each)]
    return float(present.mean()) if len(present) else math.nan


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Everything that one confusion matrix ``[C, C]`` over a whole set says."""
    each = iou(confusion)  # [C]
    present = each[:BACKGROUND][~np.isnan(each[:BACKGROUND])]
    dice = 2 * present / (1 + present)  # of one class: Dice = 2 IoU / (1 + IoU)
    found = confusion[:BACKGROUND, :BACKGROUND]  # digits taken for digits
    missed, invented = confusion[:BACKGROUND, BACKGROUND], confusion[BACKGROUND, :BACKGROUND]
    total = float(found.sum())
    edge = total + float(missed.sum() + invented.sum())
    return {
        "digit_iou": digit_iou(confusion),
        "mean_iou": float(each[~np.isnan(each)].mean()),
        "digit_dice": float(dice.mean()) if len(present) else math.nan,
        # digit against background, whatever the digit: are the outlines right?
        "foreground_iou": total / edge if edge else math.nan,
        # right digit, of the digit pixels found as such: are the names right?
        "naming": float(np.trace(found)) / total if total else 0.0,
        "pixel_accuracy": float(np.trace(confusion)) / float(confusion.sum()),
        **{f"iou_{c}": float(value) for c, value in enumerate(each)},
    }


def digit_accuracy(matrices: np.ndarray) -> float:
    """Share of the digits on canvases ``[n, C, C]`` that most of their (digit) pixels name right."""
    votes = matrices[:, :BACKGROUND, :BACKGROUND]  # [n, 10, 10]
    there = matrices[:, :BACKGROUND].sum(-1) > 0  # [n, 10]
    right = (votes.argmax(-1) == np.arange(BACKGROUND)) & (votes.sum(-1) > 0)  # [n, 10]
    return float(right[there].mean()) if there.any() else math.nan


def boundary_f1(
    prediction: np.ndarray, truth: np.ndarray, band: int = 2, chunk: int = 256
) -> float:
    """F1 of boundary pixels (Csurka et al. 2013), counted over the whole set, mean over the digits.

    One (beside another class) is met if the other mask has one of its class at most ``band`` pixels away.
    """
    counts = np.zeros((BACKGROUND, 4))  # predicted, of these met, true, of these met

    def boundary(mask: Tensor) -> Tensor:
        # outside of the canvas there is no other class
        return mask & (F.max_pool2d((~mask).float(), 3, 1, 1) > 0)

    def near(edge: Tensor) -> Tensor:
        return F.max_pool2d(edge.float(), 2 * band + 1, 1, band) > 0

    for start in range(0, len(truth), chunk):
        pair = [torch.from_numpy(m[start : start + chunk]) for m in (prediction, truth)]
        for c in range(BACKGROUND):
            found, real = (boundary((masks == c).unsqueeze(1)) for masks in pair)  # [n, 1, H, W]
            counts[c] += [
                float(found.sum()), float((found & near(real)).sum()),
                float(real.sum()), float((real & near(found)).sum()),
            ]  # fmt: skip
    there = counts[:, 0] + counts[:, 2] > 0
    if not there.any():
        return math.nan
    predicted, right, true, met = counts[there].T
    precision, recall = right / np.maximum(predicted, 1), met / np.maximum(true, 1)
    both = np.maximum(precision + recall, 1e-12)
    return float((2 * precision * recall / both).mean())


def bootstrap(
    matrices: Sequence[np.ndarray], measure: Callable[..., float], draws: int = 1000
) -> tuple[float, float]:
    """95 % interval of a measure of summed matrices (of each network ``[n, C, C]``), by drawing canvases."""
    rng = np.random.default_rng(0)
    n = len(matrices[0])
    flat = [m.reshape(n, -1).astype(float) for m in matrices]  # [n, C * C]
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)  # [draws, n]
    sums = [(times @ m).reshape(draws, NUM_CLASSES, NUM_CLASSES) for m in flat]
    values = [measure(*(s[i] for s in sums)) for i in range(draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def vote(masks: np.ndarray, least: float = 0.7) -> np.ndarray:
    """Give each connected piece of digits the name of most of its pixels.

    A piece in which no name has the share ``least`` may be two digits that touch, and is left as it is.
    """
    from scipy import ndimage

    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = 1  # the eight around a pixel, on the same canvas
    pieces, count = ndimage.label(masks < BACKGROUND, neighbours)  # [n, H, W], 0 is background
    pairs = pieces.astype(np.int64) * NUM_CLASSES + masks
    votes = np.bincount(pairs.reshape(-1), minlength=(count + 1) * NUM_CLASSES)
    votes = votes.reshape(count + 1, NUM_CLASSES)  # [pieces + 1, C]
    clear = votes.max(1) >= least * votes.sum(1)  # [pieces + 1]
    clear[0] = False
    named = np.where(clear[pieces], votes.argmax(1)[pieces], masks)  # [n, H, W]
    return named.astype(np.uint8)
