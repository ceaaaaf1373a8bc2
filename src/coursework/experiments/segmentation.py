r"""Problem 4 of the second set: a U-Net that marks digits, with and without skip connections.

The data are M2NIST-style canvases composed from MNIST: 64 x 84 pixels, two or three digits, a mask with
the classes 0 to 9 and 10 for the background. Canvases for training are composed anew in every epoch,
from training digits; those for validation from training digits that were held back; those for the test
from MNIST's test digits. The last two are the same in every run.

One run trains the network once with and once without skip connections: the same parameters, the same
canvases in the same order, the same number of steps. Without means that the skip features are set to
zero, so the two networks have equally many parameters.

Letters: `B` batch, `H` height, `W` width, `C` = 11 classes, `n` canvases.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.data import archives, m2nist
from coursework.data.m2nist import BACKGROUND, NUM_CLASSES, Canvases, Pool
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments.base import Run, as_record
from coursework.models.unet import Down, UNet, Up
from coursework.training import checkpoints, engine, seeds

if TYPE_CHECKING:
    from PIL.Image import Image

    from coursework.data.sources import Source

DATA_LABEL = "M2NIST-style canvases composed from MNIST"
DATA_SEED = 0
"""Seed of the validation and test canvases: they do not depend on the seed of the run."""
FEWEST = 100
"""Fewest canvases to judge a network on, so that every digit occurs among them."""
TILE = 512
"""Larger images are segmented in tiles of so many pixels, which bounds the memory."""

PALETTE = np.array(
    [
        *[(63, 144, 218), (255, 169, 14), (189, 31, 1), (148, 164, 162), (131, 45, 182)],
        *[(169, 107, 89), (231, 99, 0), (185, 172, 112), (113, 117, 129), (146, 218, 221)],
        (255, 255, 255),
    ],
    np.uint8,
)
"""Colour of every class, uint8 ``[C, 3]``; the background is white. The ten are those of Petroff (2021),
which people who confuse colours can tell apart."""

COMPARED = (
    "train_loss",
    "test_digit_iou",
    "test_digit_dice",
    "test_foreground_iou",
    "test_naming",
    "test_boundary_f1",
    "test_digit_accuracy",
    "test_iou_10",
)
"""Measures whose difference between the two variants is recorded, seed by seed: a paired one."""

Batch = tuple[Tensor, Tensor]


# ---------------------------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class Config:
    """Every number of a run.

    Attributes:
        plan: The optimisation.
        down: Channels of the contracting path, from the top.
        bottleneck: Channels at the bottom.
        up: Channels of the expanding path, from the bottom.
        convolutions: Convolutions in every block.
        skips: The variants that are trained: with (True) and without (False) skip connections.
        canvases: Training canvases of one epoch, composed anew in every epoch.
        height: Pixels from top to bottom of a training canvas. Those for validation and test have 64; a
            convolutional network can learn from lower ones, which hold the same digits in fewer pixels.
        width: Pixels from left to right of a training canvas; those for validation and test have 84, where
            the third digit rarely fits.
        fewest_digits: Fewest digits on a training canvas; two on those for validation and test.
        rotation: Largest angle by which a training digit is turned, in degrees.
        zoom: Largest relative change of height and width of a training digit.
        shift: Largest move up or down of a training digit, in pixels. On low canvases it brings digits to
            all places on the pooling grid.
        validation_canvases: Canvases of held-back training digits, the same in every run.
        test_canvases: Canvases of test digits, the same in every run.
        batch_size: Canvases of one step.
        background_weight: Weight of background pixels in the cross entropy, against 1 for digits.
        dice: Weight of the soft Dice loss that is added to the cross entropy; 0 leaves it out.
        overlap: Let digits lie on top of each other.
    """

    plan: engine.Plan
    down: tuple[int, ...] = (64, 128)
    bottleneck: int = 64
    up: tuple[int, ...] = (32, 32)
    convolutions: int = 1
    skips: tuple[bool, ...] = (True, False)
    canvases: int = 1000
    height: int = 64
    width: int = 84
    fewest_digits: int = 2
    rotation: float = 0.0
    zoom: float = 0.0
    shift: int = 0
    validation_canvases: int = 500
    test_canvases: int = 2000
    batch_size: int = 16
    background_weight: float = 1.0
    dice: float = 0.0
    overlap: bool = False

    def __post_init__(self) -> None:
        # That down and up have as many levels is checked by build: --set changes one after the other.
        for name in ("bottleneck", "convolutions", "canvases", "batch_size", "fewest_digits"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.down or not self.up or min(self.down + self.up) < 1:
            raise ConfigError(f"down is {self.down} and up is {self.up}; give positive numbers.")
        for name in ("height", "width"):
            if getattr(self, name) < m2nist.SIDE:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; a digit needs {m2nist.SIDE} pixels."
                )
        for name, most in (("rotation", 180.0), ("zoom", 0.5), ("shift", m2nist.SIDE)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 to {most:g}.")
        for name in ("validation_canvases", "test_canvases"):
            if getattr(self, name) < FEWEST:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be at least {FEWEST}, so that every "
                    "digit occurs."
                )
        if not self.skips or len(set(self.skips)) != len(self.skips):
            raise ConfigError(f"skips is {self.skips}; give true, false, or both.")
        if not 0 < self.background_weight < math.inf:
            raise ConfigError(
                f"background_weight is {self.background_weight}; it must be positive."
            )
        if not 0 <= self.dice < math.inf:
            raise ConfigError(f"dice is {self.dice}; it must be 0 or a positive weight.")


def _plan(epochs: int, learning_rate: float, **options: Any) -> engine.Plan:
    return engine.Plan(
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=1e-4,
        schedule="one-cycle",
        warmup=0.2,
        clip_norm=1.0,
        monitor="digit_iou",
        mode="max",
        **options,
    )


# Three digits on 32 x 96 pixels instead of about two on 64 x 84: two and a half times as many digits in
# the same time. Moved up and down by up to four pixels, which is their margin, they still come to lie at
# all places on the pooling grid.
PACKED: dict[str, Any] = {"height": 32, "width": 96, "fewest_digits": 3, "shift": 4}

PRESETS: dict[str, Config] = {
    # A small network that sees a whole digit, for seconds.
    "quick": Config(
        plan=_plan(6, 4e-3),
        down=(8, 16, 32),
        bottleneck=64,
        up=(32, 16, 8),
        canvases=704,
        **PACKED,
        validation_canvases=150,
        test_canvases=500,
        batch_size=8,
        background_weight=0.2,
    ),
    # The network of the assignment.
    "full": Config(
        plan=_plan(24, 4e-3),
        canvases=1000,
        **PACKED,
        validation_canvases=300,
        background_weight=0.2,
    ),
    # Three levels, two convolutions a block: the receptive field covers a digit from all its pixels.
    "deep": Config(
        plan=_plan(24, 4e-3),
        down=(24, 48, 96),
        bottleneck=128,
        up=(96, 48, 24),
        convolutions=2,
        skips=(True,),
        canvases=8000,
        **PACKED,
        rotation=8.0,
        zoom=0.08,
        background_weight=0.2,
    ),
}


def variant_name(skip: bool) -> str:
    """Prefix of the metrics: ``skip`` or ``noskip``."""
    return "skip" if skip else "noskip"


def build(config: Config, skip: bool) -> UNet:
    """The network of a variant, in the memory layout that convolutions prefer; seed before.

    Raises:
        ConfigError: If the two paths differ in length.
    """
    if len(config.down) != len(config.up):
        raise ConfigError(
            f"down is {config.down} and up is {config.up}; both need the same number of levels."
        )
    model = UNet(
        in_channels=1,
        out_channels=NUM_CLASSES,
        disable_skip_connections=not skip,
        down=config.down,
        bottleneck=config.bottleneck,
        up=config.up,
        convolutions=config.convolutions,
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """What a run is trained and judged on.

    Attributes:
        digits: Training digits, from which each epoch composes its canvases.
        validation: Canvases of held-back training digits.
        test: Canvases of test digits.
        source: Where the digits came from.
    """

    digits: Pool
    validation: Canvases
    test: Canvases
    source: Source

    def epoch(self, config: Config, seed: int, epoch: int) -> Canvases:
        """The training canvases of an epoch, a function of the config, the seed and the epoch alone."""
        return m2nist.compose(
            self.digits.images,
            self.digits.labels,
            config.canvases,
            seeds.numpy_generator(seed, "canvases", epoch),
            height=config.height,
            width=config.width,
            min_digits=config.fewest_digits,
            overlap=config.overlap,
            rotation=config.rotation,
            zoom=config.zoom,
            shift=config.shift,
        )


def prepare(config: Config) -> Data:
    """Load the digits and compose the canvases to judge on."""
    fixed = m2nist.load(
        0, config.validation_canvases, config.test_canvases, DATA_SEED, overlap=config.overlap
    )
    pools = m2nist.digit_pools()
    return Data(pools.train, fixed.validation, fixed.test, pools.source)


def class_shares(canvases: Canvases) -> np.ndarray:
    """Share of the pixels of each class, float64 ``[C]``."""
    counts = np.bincount(canvases.masks.reshape(-1), minlength=NUM_CLASSES)
    return counts / counts.sum()


def to_tensors(images: np.ndarray, masks: np.ndarray) -> Batch:
    """Images as float32 in [0, 1] ``[B, 1, H, W]`` and masks as int64 ``[B, H, W]``."""
    pixels = torch.from_numpy(images).unsqueeze(1).float().div_(255)  # [B, 1, H, W]
    return pixels, torch.from_numpy(masks).long()


class Batches(Sequence[Batch]):
    """The batches of one epoch, made into tensors when they are asked for."""

    def __init__(self, canvases: Canvases, batch_size: int) -> None:
        self.canvases, self.batch_size = canvases, batch_size

    def __len__(self) -> int:
        return -(-len(self.canvases) // self.batch_size)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return to_tensors(self.canvases.images[rows], self.canvases.masks[rows])

    def rows(self, index: int) -> np.ndarray:
        """Which of the epoch's canvases the batch has."""
        return np.arange(len(self.canvases))[index * self.batch_size :][: self.batch_size]


# ------------------------------------------------------------------------------------------------- loss


def canvas_losses(
    logits: Tensor, masks: Tensor, background_weight: float = 1.0, dice: float = 0.0
) -> Tensor:
    r"""Loss of every canvas: weighted cross entropy plus ``dice`` times the soft Dice loss.

    .. math:: \frac{\sum_p w_{y_p} (-\log q_{p, y_p})}{\sum_p w_{y_p}}
              + \lambda \Big(1 - \frac1C \sum_c
              \frac{2 \sum_p q_{pc} [y_p = c] + 1}{\sum_p q_{pc} + \sum_p [y_p = c] + 1}\Big)

    over the pixels `p` of the canvas, with the probabilities `q` (Milletari et al. 2016,
    https://arxiv.org/abs/1606.04797, equation of section 3, with sums in place of squares). The loss of
    a canvas depends on that canvas only, so the loss of a batch is a sum over its rows however they are
    distributed.

    Shapes:
        - logits: ``[B, C, H, W]``
        - masks: int64 ``[B, H, W]``
        - output: ``[B]``
    """
    batch, classes = logits.shape[:2]
    scores = logits.float().permute(0, 2, 3, 1).reshape(-1, classes)  # [B * H * W, C]
    target = masks.reshape(-1)  # [B * H * W]
    weights = scores.new_ones(classes)  # [C]
    weights[BACKGROUND] = background_weight
    pixel_weights = weights[target].view(batch, -1)  # [B, H * W]
    log_q = F.log_softmax(scores, dim=1)  # [B * H * W, C]
    entropy = F.nll_loss(log_q, target, reduction="none").view(batch, -1)  # [B, H * W]
    losses = (pixel_weights * entropy).sum(1) / pixel_weights.sum(1)  # [B]
    if dice:
        q = log_q.exp().view(batch, -1, classes)  # [B, H * W, C]
        truth = F.one_hot(target, classes).view(batch, -1, classes)  # [B, H * W, C]
        both, either = (q * truth).sum(1), q.sum(1) + truth.sum(1)  # [B, C]
        losses = losses + dice * (1 - ((2 * both + 1) / (either + 1)).mean(1))
    return losses


def batch_loss(config: Config) -> Callable[[nn.Module, Batch], tuple[Tensor, int]]:
    """The loss in the form that the engine asks for: summed over the canvases, and their number."""

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        images, masks = batch
        logits = model(images.to(memory_format=torch.channels_last))  # [B, C, H, W]
        losses = canvas_losses(logits, masks, config.background_weight, config.dice)
        return losses.sum(), len(images)

    return loss


# ---------------------------------------------------------------------------------------------- measures


def confusion_matrices(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Confusion matrix of every canvas; their sum is the one of the set.

    Args:
        prediction: Classes, ``[n, H, W]``.
        truth: Classes, ``[n, H, W]``.

    Returns:
        int64 ``[n, C, C]``: pixels of class (row) that were given class (column).

    Raises:
        DataError: If the shapes differ or a class is not in 0..10.
    """
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise DataError(
            f"The prediction has shape {prediction.shape} and the truth {truth.shape}; "
            "both must be (n, H, W)."
        )
    n = len(truth)
    if n and max(int(prediction.max()), int(truth.max())) >= NUM_CLASSES:
        raise DataError(f"A mask has a class beyond {NUM_CLASSES - 1}; classes are 0 to 10.")
    pairs = truth.astype(np.int64) * NUM_CLASSES + prediction  # [n, H, W]
    pairs += np.arange(n)[:, None, None] * NUM_CLASSES**2
    counts = np.bincount(pairs.reshape(-1), minlength=n * NUM_CLASSES**2)
    return counts.reshape(n, NUM_CLASSES, NUM_CLASSES)


def iou(confusion: np.ndarray) -> np.ndarray:
    r"""Intersection over union of every class: :math:`TP_c / (TP_c + FP_c + FN_c)`.

    Args:
        confusion: Counts, ``[..., C, C]``, rows the truth.

    Returns:
        float64 ``[..., C]``; nan for a class that neither occurs nor was predicted.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)  # [..., C]
    union = confusion.sum(-1) + confusion.sum(-2) - hits  # [..., C]
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Everything that is read off one confusion matrix over a whole set.

    Returns:
        ``iou_0`` .. ``iou_10``; ``digit_iou``, the mean over the ten digits; ``mean_iou`` over all eleven
        classes; ``digit_dice``; ``foreground_iou``, of digit against background whatever the digit (are
        the outlines right?); ``naming``, the share of digit pixels found as such that got the right
        digit (are the names right?); ``pixel_accuracy``.
    """
    each = iou(confusion)  # [C]
    present = each[:BACKGROUND][~np.isnan(each[:BACKGROUND])]
    digit_iou = float(present.mean()) if len(present) else math.nan
    dice = 2 * present / (1 + present)  # of one class: Dice = 2 IoU / (1 + IoU)
    found = confusion[:BACKGROUND, :BACKGROUND]  # digits taken for digits
    missed, invented = confusion[:BACKGROUND, BACKGROUND], confusion[BACKGROUND, :BACKGROUND]
    total = float(found.sum())
    edge = total + float(missed.sum() + invented.sum())
    return {
        "digit_iou": digit_iou,
        "mean_iou": float(each[~np.isnan(each)].mean()),
        "digit_dice": float(dice.mean()) if len(present) else math.nan,
        "foreground_iou": total / edge if edge else math.nan,
        "naming": float(np.trace(found)) / total if total else 0.0,
        "pixel_accuracy": float(np.trace(confusion)) / float(confusion.sum()),
        **{f"iou_{c}": float(value) for c, value in enumerate(each)},
    }


def digit_accuracy(matrices: np.ndarray) -> float:
    """Share of the digits on the canvases that get the right name from most of their pixels.

    A digit is a class that occurs on a canvas; two of one kind count as one. Pixels that are taken for
    background do not vote, and a digit without a vote is missed.

    Args:
        matrices: Confusion matrix of every canvas, ``[n, C, C]``.
    """
    votes = matrices[:, :BACKGROUND, :BACKGROUND]  # [n, 10, 10]
    there = matrices[:, :BACKGROUND].sum(-1) > 0  # [n, 10]
    right = (votes.argmax(-1) == np.arange(BACKGROUND)) & (votes.sum(-1) > 0)  # [n, 10]
    return float(right[there].mean()) if there.any() else math.nan


def boundary_f1(
    prediction: np.ndarray, truth: np.ndarray, band: int = 2, chunk: int = 256
) -> float:
    """How well outlines are met: the F1 of boundary pixels, mean over the digits.

    A boundary pixel of a class has a pixel of another class among its eight neighbours. It is met if the
    other mask has a boundary pixel of the class at most ``band`` rows and columns away; precision is the
    share of the predicted boundary that is met, recall that of the true one, over the whole set (the
    boundary F1 of Csurka et al. 2013, with counts pooled over the images).

    Args:
        prediction: Classes, ``[n, H, W]``.
        truth: Classes, ``[n, H, W]``.
        band: Tolerance in pixels.
        chunk: Canvases at a time.
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
    """95 % interval of a measure over test canvases, by drawing canvases with replacement.

    Args:
        matrices: One array ``[n, C, C]`` of confusion matrices per network; the same canvases are drawn
            for all of them, so that a difference of two networks is a paired one.
        measure: Takes one summed matrix per network.
        draws: Number of repetitions.
    """
    rng = np.random.default_rng(0)
    n = len(matrices[0])
    flat = [m.reshape(n, -1).astype(float) for m in matrices]  # [n, C * C]
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)  # [draws, n]
    sums = [(times @ m).reshape(draws, NUM_CLASSES, NUM_CLASSES) for m in flat]
    values = [measure(*(s[i] for s in sums)) for i in range(draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def predict_masks(model: nn.Module, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Class of every pixel of canvases of one size: uint8 ``[n, H, W]`` from uint8 ``[n, H, W]``."""
    return _judge(model, Canvases(images, np.zeros_like(images)), batch_size)[0]


def _judge(model: nn.Module, canvases: Canvases, batch_size: int) -> tuple[np.ndarray, float]:
    """Predicted masks uint8 ``[n, H, W]`` and mean cross entropy."""
    device = next(model.parameters()).device
    model.eval()
    masks, total = [], 0.0
    with torch.no_grad():
        for images, truth in Batches(canvases, batch_size):
            logits = model(images.to(device, memory_format=torch.channels_last))  # [B, C, H, W]
            total += float(canvas_losses(logits, truth.to(device)).sum())
            masks.append(logits.argmax(dim=1).to(torch.uint8).cpu().numpy())  # [B, H, W]
    return np.concatenate(masks), total / len(canvases)


# --------------------------------------------------------------------------------------------- training


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train the network with and without skip connections on the same canvases.

    Args:
        config: Every number of the run.
        preset: Name that the config started from.
        seed: Decides the first weights and the training canvases, both the same for both variants.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints, ``skip`` and ``noskip`` below it.
        log: Where the line per epoch goes, None for silence.

    Returns:
        The run. Metrics with the prefix ``skip.`` or ``noskip.``: ``train_loss`` (mean over the last
        epoch), ``validation_digit_iou`` (of the epoch that was chosen), and for the test canvases
        everything of :func:`scores`, :func:`digit_accuracy` and :func:`boundary_f1`, with ``test_``
        before it, and of the masks after :func:`vote` with ``voted_test_``; whether the vote helps can
        be read on the validation canvases (``validation_voted_digit_iou``). ``difference.`` is with minus
        without, of the measures in :data:`COMPARED`.

    Raises:
        TrainingError: If a loss is not finite, or a checkpoint belongs to another run.
    """
    started = time.perf_counter()
    data = prepare(config)
    fits: dict[str, engine.Fit] = {}
    models: dict[str, UNet] = {}
    # Without skips comes first, so that the newest checkpoint is the one with skips: the better tool.
    for skip in sorted(config.skips):
        name = variant_name(skip)
        seeds.seed_everything(seed)
        models[name] = build(config, skip)
        folder = None if run_dir is None else run_dir / name
        fits[name] = _fit(models[name], config, data, skip, seed, resume, folder, log)

    names = [variant_name(skip) for skip in config.skips]
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    predictions: dict[str, np.ndarray] = {}
    confusions: dict[str, np.ndarray] = {}
    for name in names:
        predictions[name], _ = _judge(models[name], data.test, config.batch_size)
        confusions[name] = confusion_matrices(predictions[name], data.test.masks)
        metrics[f"{name}.train_loss"] = fits[name].history[-1]["train_loss"]
        metrics[f"{name}.validation_digit_iou"] = fits[name].best["digit_iou"]
        found = _measures(confusions[name], predictions[name], data.test.masks)
        metrics |= {f"{name}.test_{key}": value for key, value in found.items()}
        named = vote(predictions[name])
        found = _measures(confusion_matrices(named, data.test.masks), named, data.test.masks)
        metrics |= {f"{name}.voted_test_{key}": value for key, value in found.items()}
        judged = vote(_judge(models[name], data.validation, config.batch_size)[0])
        metrics[f"{name}.validation_voted_digit_iou"] = _digit_iou(
            confusion_matrices(judged, data.validation.masks).sum(0)
        )
        intervals[f"{name}.test_digit_iou"] = (
            *bootstrap([confusions[name]], _digit_iou),
            "bootstrap over test canvases, one training",
        )
    if len(names) == 2:
        for key in COMPARED:
            metrics[f"difference.{key}"] = metrics[f"skip.{key}"] - metrics[f"noskip.{key}"]
        intervals["difference.test_digit_iou"] = (
            *bootstrap(
                [confusions["skip"], confusions["noskip"]],
                lambda a, b: _digit_iou(a) - _digit_iou(b),
            ),
            "bootstrap over test canvases, paired, one training each",
        )
    first = models[names[0]]
    return Run(
        experiment="segmentation",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=data.source,
        # a run that went on from checkpoints counts what was trained before
        seconds=max(time.perf_counter() - started, sum(fit.seconds for fit in fits.values())),
        curves={name: _curve(fits[name].history) for name in names},
        notes={
            "intervals": intervals,
            "data": DATA_LABEL,
            "parameters": sum(p.numel() for p in first.parameters()),
            "receptive_field": list(receptive_field(first)),
            "training_canvases": config.canvases * config.plan.epochs,
            "precision": fits[names[0]].precision,
            "best_epoch": {name: fits[name].best_epoch for name in names},
            "training_seconds": {name: fits[name].seconds for name in names},
            "canvases_per_second": {name: fits[name].samples_per_second for name in names},
            "last_epoch": {
                name: epoch_line(fits[name].history[-1], config.plan.epochs) for name in names
            },
            "test_confusion": {name: confusions[name].sum(0).tolist() for name in names},
        },
        artefacts={
            "data": data,
            "models": models,
            "fits": fits,
            "predictions": predictions,
            "confusions": confusions,
        },
    )


def _fit(
    model: UNet,
    config: Config,
    data: Data,
    skip: bool,
    seed: int,
    resume: bool,
    run_dir: Path | None,
    log: Callable[[str], None] | None,
) -> engine.Fit:
    def batches(epoch: int) -> Batches:
        return Batches(data.epoch(config, seed, epoch), config.batch_size)

    def validate(network: nn.Module) -> dict[str, float]:
        masks, loss = _judge(network, data.validation, config.batch_size)
        found = scores(confusion_matrices(masks, data.validation.masks).sum(0))
        wanted = {k: v for k, v in found.items() if k == "digit_iou" or k.startswith("iou_")}
        return {"loss": loss, **wanted}

    def report(line: str) -> None:
        # Eleven numbers an epoch are kept in the history; the line shows their mean over the digits.
        if log is not None:
            short = re.sub(r"  iou \d+ \S+", "", line).replace("  loss ", "  validation loss ")
            log(f"{variant_name(skip):<6}  {short}")

    return engine.fit(
        model,
        config.plan,
        batches=batches,
        loss=batch_loss(config),
        validate=validate,
        run_dir=run_dir,
        resume=resume,
        identity={
            "experiment": "segmentation",
            "config": as_record(config),
            "seed": seed,
            "skip": skip,
            "data": data.source.sha256,
        },
        bundle={"experiment": "segmentation", "config": as_record(config), "skip": skip},
        log=report if log is not None else None,
        log_every=max(1, config.plan.epochs // 8),
    )


def _digit_iou(confusion: np.ndarray) -> float:
    return float(np.nanmean(iou(confusion)[:BACKGROUND]))


def _measures(
    confusions: np.ndarray, prediction: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    return scores(confusions.sum(0)) | {
        "digit_accuracy": digit_accuracy(confusions),
        "boundary_f1": boundary_f1(prediction, truth),
    }


def _curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: round(v, 5) for k, v in row.items() if k != "learning_rate"} for row in history]


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """An epoch of the history in the assignment's format."""
    each = ", ".join(f"{c}: {row[f'iou_{c}']:.4f}" for c in range(NUM_CLASSES))
    return (
        f"Epoch {int(row['epoch'])}/{epochs}:\n"
        f"Training Loss: {row['train_loss']:.4f}\n"
        f"Validation IoU (Class: value): {each}"
    )


# ---------------------------------------------------------------------------------------- after training


@dataclass(frozen=True)
class Segmenter:
    """A trained network.

    Attributes:
        model: The network, in evaluation mode on the CPU.
        config: What it was trained with.
        skip: Whether it has skip connections.
    """

    model: UNet
    config: Config
    skip: bool

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Class of every pixel of one image of any size.

        The network has learned bright digits, about 20 pixels high, on black.

        Args:
            image: ``[H, W]`` grey, or ``[H, W, 3]`` or ``[H, W, 4]`` colour (turned grey; what is
                transparent counts as black); whole numbers in 0..255, or fractions in 0..1.

        Returns:
            uint8 ``[H, W]``: 0 to 9 the digit, 10 background.

        Raises:
            DataError: If it is not such an image.
        """
        pixels = as_grey(image)[None, None]  # [1, 1, H, W]
        height, width = pixels.shape[2:]
        mask = np.empty((height, width), np.uint8)
        with torch.no_grad():
            for rows, columns, core in self._tiles(height, width):
                tile = pixels[:, :, rows, columns].contiguous(memory_format=torch.channels_last)
                classes = self.model(tile).argmax(dim=1)[0].to(torch.uint8).numpy()
                mask[core] = classes[
                    core[0].start - rows.start : core[0].stop - rows.start,
                    core[1].start - columns.start : core[1].stop - columns.start,
                ]
        return mask

    def _tiles(self, height: int, width: int) -> Iterator[tuple[slice, slice, tuple[slice, slice]]]:
        """What to read (rows, columns) and what of it to keep.

        A tile reads as much beyond its edge as a pixel can see, and starts on the pooling grid, so the
        mask is that of the whole image.
        """
        step = 2 ** len(self.config.down)
        margin = 0
        if max(height, width) > TILE:
            margin = -(-max(receptive_field(self.model)) // step) * step
        side = -(-TILE // step) * step
        for top in range(0, height, side):
            for left in range(0, width, side):
                bottom, right = min(top + side, height), min(left + side, width)
                yield (
                    slice(max(top - margin, 0), min(bottom + margin, height)),
                    slice(max(left - margin, 0), min(right + margin, width)),
                    (slice(top, bottom), slice(left, right)),
                )


def as_grey(image: np.ndarray) -> Tensor:
    """An image as float32 in [0, 1], ``[H, W]``.

    Raises:
        DataError: If it has no pixels, another shape, or values out of range.
    """
    array = np.asarray(image)
    if array.dtype.kind not in "buif":
        raise DataError(f"The image is an array of {array.dtype}; give one of numbers.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise DataError(
            f"The image has shape {array.shape}; give (height, width), or (height, width, 3 or 4)."
        )
    if array.size == 0:
        raise DataError(f"The image has shape {array.shape}, so it has no pixels.")
    top = 1.0 if array.dtype.kind in "fb" else 255.0
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= top):  # also false for nan
        raise DataError(
            f"The image has values from {low:g} to {high:g}; give whole numbers in 0 to 255, or "
            "fractions in 0 to 1."
        )
    pixels = torch.from_numpy(array.astype(np.float32)) / top  # [H, W] or [H, W, 3 or 4]
    if pixels.ndim == 3:
        grey = pixels[:, :, :3] @ torch.tensor([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
        pixels = grey * pixels[:, :, 3] if pixels.shape[2] == 4 else grey  # [H, W]
    return pixels


def colour(mask: np.ndarray) -> Image:
    """A mask as a picture: every digit its colour, the background white.

    Raises:
        DataError: If it is not a mask ``[H, W]`` with classes 0..10.
    """
    from PIL import Image

    if mask.ndim != 2 or mask.dtype.kind not in "ui" or mask.min() < 0 or mask.max() > BACKGROUND:
        raise DataError("A mask is an array (height, width) of whole numbers from 0 to 10.")
    return Image.fromarray(PALETTE[mask])


def overlay(image: np.ndarray, mask: np.ndarray, strength: float = 0.6) -> Image:
    """An image in grey, with the digits that were found in their colours.

    Args:
        image: What :meth:`Segmenter.predict` takes.
        mask: Its mask, ``[H, W]``.
        strength: Share of the colour where there is a digit.

    Raises:
        DataError: If one is not an image or a mask, or their sizes differ.
    """
    from PIL import Image

    grey = as_grey(image).numpy()[:, :, None] * 255  # [H, W, 1]
    colours = np.asarray(colour(mask), np.float32)  # [H, W, 3]
    if grey.shape[:2] != mask.shape:
        raise DataError(f"The image has shape {grey.shape[:2]}, but the mask {mask.shape}.")
    share = strength * (mask < BACKGROUND)[:, :, None]  # [H, W, 1]
    mixed = (1 - share) * grey + share * colours  # [H, W, 3]
    return Image.fromarray(mixed.round().astype(np.uint8))


def read_image(path: Path | str) -> np.ndarray:
    """An image from a picture (PNG, JPEG and what else Pillow reads) or an array file.

    Palettes, transparency and 16 bits are translated: the result is what :meth:`Segmenter.predict` takes.

    Args:
        path: A picture, ``.npy``, or ``.npz`` with one array.

    Raises:
        DataError: If there is no such file, or it is neither.
    """
    from PIL import Image

    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a picture or an array file.")
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a picture or an array file.")
    try:
        if path.suffix.lower() in (".npy", ".npz"):
            found = np.load(path)
            if isinstance(found, np.ndarray):
                return found
            with found:
                if len(found.files) != 1:
                    raise DataError(f"{path} holds {len(found.files)} arrays; give one.")
                array: np.ndarray = found[found.files[0]]
                return array
        with Image.open(path) as picture:
            if picture.mode.startswith("I"):  # 16 bits of grey
                return np.asarray(picture, np.float64) / 65535
            plain = picture.mode in ("L", "RGB", "RGBA")
            return np.array(picture if plain else picture.convert("RGBA"))
    except (*archives.BROKEN, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is neither an image nor an array file that can be read; give a whole PNG, JPEG, "
            ".npy or .npz."
        ) from error


def export(checkpoint: Path | str, path: Path | str) -> Path:
    """Write the weights of a trained network in half precision, small enough for the repository.

    Args:
        checkpoint: ``best.pt`` of a run.
        path: Where the small file goes.

    Returns:
        The path; :func:`load`, :func:`evaluate` and :func:`predict` take it as they take ``best.pt``.

    Raises:
        TrainingError: If the checkpoint is not one of this experiment.
    """
    load(checkpoint)
    state = checkpoints.load(Path(checkpoint))
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state["model"].items()
    }
    kept = {"identity": state["identity"], "model": weights, "bundle": state["bundle"]}
    return checkpoints.save(kept, Path(path))


def load(checkpoint: Path | str) -> Segmenter:
    """Read a ``best.pt``, or what :func:`export` made of it.

    Raises:
        TrainingError: If it is missing, broken, or of another experiment.
    """
    from pydantic import TypeAdapter, ValidationError

    path = Path(checkpoint)
    state = checkpoints.load(path)
    try:
        bundle = state["bundle"]
        if bundle["experiment"] != "segmentation":
            raise KeyError(bundle["experiment"])
        config = TypeAdapter(Config).validate_python(bundle["config"])
        skip = bool(bundle["skip"])
        model = build(config, skip)
        model.load_state_dict(state["model"])
    except (
        KeyError, TypeError, ValueError, AttributeError, RuntimeError, ValidationError, ConfigError
    ) as error:  # fmt: skip
        raise TrainingError(
            f"Checkpoint {path} is not one of the segmentation experiment; name its best.pt, "
            "or train again."
        ) from error
    return Segmenter(model.eval(), config, skip)


def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics of a trained network, under the names that :func:`train` gives them.

    Args:
        checkpoint: A ``best.pt``, or the folder of a run, for both its variants.

    Raises:
        TrainingError: If there is none, or it is not of this experiment.
    """
    path = Path(checkpoint)
    if path.is_dir() and (parts := sorted(path.glob("*/best.pt"), reverse=True)):
        return {key: value for part in parts for key, value in evaluate(part).items()}
    trained = load(path)
    test = prepare(trained.config).test
    found = judge(trained.model, test, trained.config.batch_size)
    return {f"{variant_name(trained.skip)}.test_{key}": value for key, value in found.items()}


def judge(model: nn.Module, canvases: Canvases, batch_size: int = 32) -> dict[str, float]:
    """What is measured on canvases: :func:`scores`, :func:`digit_accuracy` and :func:`boundary_f1`."""
    masks, _ = _judge(model, canvases, batch_size)
    return measure(masks, canvases.masks)


def measure(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What :func:`judge` says of masks, ``[n, H, W]`` each."""
    return _measures(confusion_matrices(prediction, truth), prediction, truth)


def vote(masks: np.ndarray, least: float = 0.7) -> np.ndarray:
    """Give every connected piece of digit pixels the name that most of its pixels have.

    A network names each pixel for itself, though a digit has one name. A piece without a clear majority
    may be two digits that touch, and is left as it is.

    Args:
        masks: Classes, uint8 ``[n, H, W]``.
        least: Share of the pixels of a piece that its name needs.

    Returns:
        uint8 ``[n, H, W]``; what was background stays background.
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


def judge_variants(
    model: nn.Module, pool: Pool, n: int, names: Sequence[str] = tuple(m2nist.VARIANTS)
) -> dict[str, dict[str, float]]:
    """:func:`judge` on the variants of :data:`m2nist.VARIANTS`, which the network has not learned from.

    Args:
        model: A trained network.
        pool: Digits to compose from, those for the test.
        n: Canvases of every variant; those of ``plain`` are the test canvases of a run with ``n`` of them.
        names: The variants.

    Returns:
        Variant -> measures.
    """
    return {name: judge(model, m2nist.vary(pool, name, n, DATA_SEED)) for name in names}


def predict(image: np.ndarray, checkpoint: Path | str) -> np.ndarray:
    """Class of every pixel of an image, uint8 ``[H, W]``; see :meth:`Segmenter.predict`.

    Raises:
        TrainingError: If the checkpoint cannot be used.
        DataError: If the array is not an image.
    """
    return load(checkpoint).predict(image)


# ------------------------------------------------------------------------------- looking into the network


def walk_through(model: UNet, height: int = 64, width: int = 84) -> list[tuple[str, str, int]]:
    """What every stage makes of one canvas: (stage, shape of its output, its parameters).

    The last row is the sum of the parameters.
    """
    rows: list[tuple[str, str, int]] = [("input", _shape(1, height, width), 0)]
    levels = len(model.downs)
    stages: list[tuple[str, nn.Module]] = []
    for i in range(levels):
        down = cast(Down, model.downs[i])
        stages.append((f"Down {i + 1}: convolution (the skip)", down.block))
        stages.append((f"Down {i + 1}: pool", down.pool))
    stages.append(("bottleneck", model.bottleneck))
    for i in range(levels):
        up = cast(Up, model.ups[i])
        stages.append((f"Up {levels - i}: transposed convolution", up.upsample))
        stages.append((f"Up {levels - i}: convolution of both", up.block))
    stages.append(("1 x 1 convolution to the classes", model.output))
    shapes: dict[str, str] = {}

    def remember(stage: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            shapes[stage] = _shape(*output.shape[1:])

        return hook

    handles = [module.register_forward_hook(remember(stage)) for stage, module in stages]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 1, height, width))
    model.train(was_training)
    for handle in handles:
        handle.remove()
    rows += [(stage, shapes[stage], sum(p.numel() for p in m.parameters())) for stage, m in stages]
    return [*rows, ("sum", "", sum(p.numel() for p in model.parameters()))]


def _shape(*sizes: int) -> str:
    return " × ".join(str(size) for size in sizes)


def receptive_field(model: UNet, offset: int | None = None) -> tuple[int, int]:
    """Pixels of the input that one output pixel can depend on, measured by gradient.

    In a copy of the network all weights are positive and pooling takes the mean, so that no path is
    hidden by a cancelling sum, a dead unit or a maximum elsewhere; the box around the non-zero
    gradients of one output pixel is then the receptive field. It depends on where the pixel lies on the
    pooling grid.

    Args:
        model: The network.
        offset: Row and column of the output pixel on the pooling grid, from 0 on; None is the largest
            field of all of them.

    Returns:
        Height and width in pixels.
    """
    step = 2 ** len(model.downs)
    probe = copy.deepcopy(model).cpu().double()
    for module in list(probe.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            # the size of the weights does not matter, only that products of many do not vanish
            nn.init.constant_(module.weight, 1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size))
    probe.eval().requires_grad_(False)
    side = 64
    while True:
        boxes = []
        with torch.enable_grad():
            image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
            output = probe(image).sum(dim=(0, 1))  # [side, side]
            for k in range(step) if offset is None else [offset]:
                centre = side // 2 + k
                (seen,) = torch.autograd.grad(output[centre, centre], image, retain_graph=True)
                boxes.append(_box(seen[0, 0] != 0))
        whole = [box for box in boxes if box is not None]
        if len(whole) == len(boxes):
            return max(h for h, _ in whole), max(w for _, w in whole)
        side *= 2


def _box(seen: Tensor) -> tuple[int, int] | None:
    """Height and width of the box around what is true, None if it touches the border."""
    size = []
    for line in (seen.any(1), seen.any(0)):
        places = line.nonzero()  # [count, 1]
        first, last = int(places[0]), int(places[-1])
        if first == 0 or last == len(line) - 1:
            return None
        size.append(last - first + 1)
    return size[0], size[1]


def share_in_view(digits: np.ndarray, field: tuple[int, int]) -> float:
    """How much of its digit a pixel of a digit can see.

    Args:
        digits: Images of digits, ``[n, H, W]``; what is not zero is ink.
        field: Height and width of the receptive field, centred on the pixel.

    Returns:
        Mean over the ink pixels: the share of the ink of their digit that is within the field.
    """
    ink = torch.from_numpy(digits > 0).double()  # [n, H, W]
    within = ink
    for axis, size in ((1, field[0]), (2, field[1])):
        length = within.shape[axis]
        sums = F.pad(within.cumsum(axis), (1, 0) if axis == 2 else (0, 0, 1, 0))  # one longer
        places = torch.arange(length)
        first = (places - size // 2).clamp(min=0)
        last = (places + (size - 1) // 2 + 1).clamp(max=length)
        within = sums.index_select(axis, last) - sums.index_select(axis, first)  # [n, H, W]
    share = within / ink.sum(dim=(1, 2), keepdim=True).clamp(min=1)  # [n, H, W]
    return float(share[ink > 0].mean())
