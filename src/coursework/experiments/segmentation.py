"""Problem 5 (4.2 and 4.3 of the second set): a U-Net marks digits on MNIST canvases, with skips and without.

Without skips means that the skip features are zero; the first weights are the same.
Letters: `B` batch, `H` height, `W` width, `C` = 11 classes, `n` canvases.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from coursework.config import Count, Positive, config
from coursework.data import m2nist
from coursework.data.m2nist import BACKGROUND, NUM_CLASSES, SIDE, Canvases, Pool
from coursework.data.sources import Source
from coursework.errors import ConfigError, DataError
from coursework.experiments import canvas
from coursework.experiments import segmentation_measures as measures
from coursework.experiments.base import TABLES, Job, Run, named, parameters, presets, restore
from coursework.models.unet import UNet
from coursework.training import checkpoints, engine, seeds
from coursework.training.engine import Plan

Side = Annotated[int, Field(ge=SIDE)]  # pixels; a digit needs 28
Enough = Annotated[int, Field(ge=100)]  # canvases, so that every digit occurs among them
Batch = tuple[Tensor, Tensor]

VARIANTS = {"noskip": False, "skip": True}  # prefix of the metrics -> whether there are skips
COMPARED: list[str] = TABLES["segmentation"]["compared"]  # with minus without skips
PLAN = Plan(
    epochs=24, learning_rate=4e-3, weight_decay=1e-4, schedule="one-cycle", warmup=0.2, clip_norm=1.0,
    monitor="digit_iou", mode="max",
)  # fmt: skip


@config
class Config:
    plan: Plan = PLAN
    down: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 128)  # channels, from the top
    bottleneck: Count = 64  # channels at the bottom
    up: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 32)  # channels, from the bottom
    convolutions: Count = 1  # in every block
    skips: Annotated[tuple[bool, ...], Field(min_length=1)] = (True, False)  # what is trained
    canvases: Count = 1000  # training canvases of one epoch
    # Three digits on 32 x 96 pixels are two and a half times as many in the same time as on 64 x 84. Moved
    # by up to their margin of four pixels, they come to lie at all places on the pooling grid.
    height: Side = 32
    width: Side = 96
    fewest_digits: Annotated[int, Field(ge=1, le=3)] = 3
    shift: Annotated[int, Field(ge=0, le=SIDE)] = 4  # largest move of a digit, in pixels
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0  # largest turn, in degrees
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # largest relative change of height and width
    jpeg: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of canvases from JPEG files, not turned
    validation_canvases: Enough = 500
    test_canvases: Enough = 2000
    batch_size: Count = 16  # canvases
    background_weight: Positive = 0.2  # of background pixels in the cross-entropy; digits have 1

    def __post_init__(self) -> None:
        if len(set(self.skips)) != len(self.skips):
            raise ConfigError(f"skips is {self.skips}; give true, false, or both.")
        if len(self.down) != len(self.up):
            levels = f"down is {self.down} and up is {self.up}"
            raise ConfigError(f"{levels}; both need the same number of levels.")
        least = SIDE * self.fewest_digits + 9  # a digit begins up to 9 pixels right of its place
        if self.width < least:
            digits = f"fewest_digits is {self.fewest_digits}, which need {least} pixels"
            raise ConfigError(f"{digits}, but width is {self.width}; raise it.")


PRESETS = presets(Config(), "segmentation")


@dataclass(frozen=True)
class Data:
    digits: Pool  # of which the training canvases are composed, new ones in every epoch
    validation: Canvases  # of held-back training digits, the same in every run
    test: Canvases  # of test digits, the same in every run
    source: Source

    def epoch(self, config: Config, seed: int, epoch: int) -> Canvases:
        """The training canvases of an epoch, a function of the config, the seed and the epoch alone."""
        rng = seeds.numpy_generator(seed, "canvases", epoch)
        through = round(config.jpeg * config.canvases)
        composed = partial(
            m2nist.compose, self.digits.images, self.digits.labels, rng=rng, height=config.height,
            width=config.width, min_digits=config.fewest_digits, shift=config.shift,
        )  # fmt: skip
        plain = composed(config.canvases - through, rotation=config.rotation, zoom=config.zoom)
        if not through:
            return plain
        scanned = composed(through)
        files = [canvas.through_jpeg(image, int(rng.integers(60, 96))) for image in scanned.images]
        order = rng.permutation(config.canvases)
        images, masks = (plain.images, np.stack(files)), (plain.masks, scanned.masks)
        return Canvases(np.concatenate(images)[order], np.concatenate(masks)[order])


def prepare(config: Config) -> Data:
    """Load the digits and compose the canvases for validation and test."""
    pools, held_out = m2nist.digit_pools(), config.validation_canvases
    validation = m2nist.vary(pools.validation, "plain", held_out, stream=1)
    test = m2nist.vary(pools.test, "plain", config.test_canvases)
    return Data(pools.train, validation, test, pools.source)


def batches_of(canvases: Canvases, batch_size: int) -> engine.Lazy:
    """Images as float32 in [0, 1] ``[B, 1, H, W]`` and masks as int64 ``[B, H, W]``, in order."""

    def tensors(rows: np.ndarray) -> Batch:
        pixels = torch.from_numpy(canvases.images[rows]).unsqueeze(1).float().div_(255)
        return pixels, torch.from_numpy(canvases.masks[rows]).long()

    starts = np.arange(0, len(canvases), batch_size)[1:]
    return engine.Lazy(np.split(np.arange(len(canvases)), starts), tensors)


def build(config: Config, skip: bool) -> UNet:
    """The network of a variant, in the memory layout that convolutions prefer; seed before."""
    sizes = (config.down, config.bottleneck, config.up, config.convolutions)
    model = UNet(1, NUM_CLASSES, not skip, *sizes)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def receptive_field(config: Config, offset: int | None = None) -> int:
    """Side of the square of input pixels that one output pixel, at ``offset`` of the pooling grid, sees."""
    levels, reach = len(config.down), config.convolutions
    if offset is None:
        return max(receptive_field(config, place) for place in range(2**levels))
    first = last = offset
    for _ in range(levels):  # backwards through the blocks and upsamplings, to the bottom
        first, last = (first - reach) // 2, (last + reach) // 2
    first, last = first - reach, last + reach
    for _ in range(levels):  # and back through the poolings
        first, last = 2 * first - reach, 2 * last + 1 + reach
    return last - first + 1


def canvas_losses(logits: Tensor, masks: Tensor, background_weight: float = 1.0) -> Tensor:
    r"""Loss of every canvas, the weighted cross-entropy over its pixels `p`, `[B]`:

    .. math:: \frac{\sum_p w_{y_p} (-\log q_{p, y_p})}{\sum_p w_{y_p}}

    from logits `[B, C, H, W]` and masks int64 `[B, H, W]`.
    """
    batch, classes = logits.shape[:2]
    scores = logits.float().permute(0, 2, 3, 1).reshape(-1, classes)  # [B * H * W, C]
    weights = scores.new_ones(classes)  # [C]
    weights[BACKGROUND] = background_weight
    entropy = F.cross_entropy(scores, masks.reshape(-1), weights, reduction="none")  # [B * H * W]
    return entropy.view(batch, -1).sum(1) / weights[masks].view(batch, -1).sum(1)  # [B]


def fit_network(job: Job, name: str, data: Data) -> tuple[UNet, engine.Fit]:
    """One variant; the epoch with the best digit IoU on the validation canvases is kept."""
    config: Config = job.config
    seeds.seed_everything(job.seed)
    model = build(config, VARIANTS[name])

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        images, masks = batch  # [B, 1, H, W], [B, H, W]
        logits = network(images.to(memory_format=torch.channels_last))  # [B, C, H, W]
        return canvas_losses(logits, masks, config.background_weight).sum(), len(images)

    def validate(network: nn.Module) -> dict[str, float]:
        masks, plain_loss = segment(network, data.validation, config.batch_size)
        found = measures.scores(measures.confusion_matrices(masks, data.validation.masks).sum(0))
        wanted = {k: v for k, v in found.items() if k == "digit_iou" or k.startswith("iou_")}
        return {"loss": plain_loss, **wanted}

    def line(row: Mapping[str, float], epochs: int) -> str:
        text = engine.epoch_line({k: row[k] for k in row if not k.startswith("iou_")}, epochs)
        return f"{name:<6}  {text.replace('  loss', '  validation loss')}"

    return model, engine.fit(
        model, config.plan, loss=loss, validate=validate, line=line,
        batches=lambda e: batches_of(data.epoch(config, job.seed, e), config.batch_size),
        log_every=max(1, config.plan.epochs // 8), **job.loop(data.source, skip=VARIANTS[name]),
    )  # fmt: skip


@torch.no_grad()
def segment(model: nn.Module, canvases: Canvases, batch_size: int = 32) -> tuple[np.ndarray, float]:
    """Predicted masks uint8 ``[n, H, W]``, and the mean cross-entropy of the true ones."""
    device = engine.device_of(model)
    model.eval()
    masks, total = [], 0.0
    for images, truth in batches_of(canvases, batch_size):
        logits = model(images.to(device, memory_format=torch.channels_last))  # [B, C, H, W]
        total += float(canvas_losses(logits, truth.to(device)).sum())
        masks.append(logits.argmax(dim=1).to(torch.uint8).cpu().numpy())  # [B, H, W]
    return np.concatenate(masks), total / len(canvases)


def predict_masks(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Class of every pixel of canvases of one size: uint8 ``[n, H, W]`` from uint8 ``[n, H, W]``."""
    if images.dtype != np.uint8:
        raise DataError(f"Canvases are uint8, 0 to 255, but these are {images.dtype}.")
    return segment(model, Canvases(images, np.zeros_like(images)))[0]


def train(job: Job) -> Run:
    """Train the variants: ``skip.test_`` and all of :func:`.measure`, ``noskip.test_...``."""
    config: Config = job.config
    data = prepare(config)
    # Without skips comes first, so that the newest checkpoint is the one with skips: the better tool.
    names = [name for name, skip in VARIANTS.items() if skip in config.skips]
    models, fits, predictions, confusions, metrics = {}, {}, {}, {}, {}
    for name in names:
        models[name], fits[name] = model, fit = fit_network(job.part(name), name, data)
        predictions[name] = masks = segment(model, data.test, config.batch_size)[0]
        confusions[name] = measures.confusion_matrices(masks, data.test.masks)
        metrics[f"{name}.train_loss"] = fit.history[-1]["train_loss"]
        metrics[f"{name}.validation_digit_iou"] = fit.best["digit_iou"]
        metrics |= named(f"{name}.test_", measures.measure(masks, data.test.masks))
    if len(names) == 2:
        for key in COMPARED:
            metrics[f"difference.{key}"] = metrics[f"skip.{key}"] - metrics[f"noskip.{key}"]
    epochs, last = config.plan.epochs, names[-1]
    notes = {
        "intervals": _intervals(confusions),
        "data": "M2NIST-style canvases composed from MNIST",
        "parameters": parameters(models[last]),
        "receptive_field": [receptive_field(config)] * 2,
        "training_canvases": config.canvases * epochs,
        "precision": fits[last].precision,
        "best_epoch": {name: fit.best_epoch for name, fit in fits.items()},
        "training_seconds": {name: fit.seconds for name, fit in fits.items()},
        "last_epoch": {name: epoch_line(fit.history[-1], epochs) for name, fit in fits.items()},
        "test_confusion": {name: matrices.sum(0).tolist() for name, matrices in confusions.items()},
    }
    curves = {
        name: [{k: round(row[k], 5) for k in row if k != "learning_rate"} for row in fit.history]
        for name, fit in fits.items()
    }
    artefacts = {"data": data, "models": models, "fits": fits, "predictions": predictions}
    return job.run(metrics, data.source, notes=notes, curves=curves, artefacts=artefacts)


def _intervals(confusions: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float, str]]:
    """Intervals of the digit IoU over test canvases, and of the difference of two networks."""
    how, digit_iou = "bootstrap over test canvases", measures.digit_iou
    found = {
        f"{name}.test_digit_iou": (*measures.bootstrap([one], digit_iou), f"{how}, one training")
        for name, one in confusions.items()
    }
    if len(confusions) == 2:
        pair = [confusions["skip"], confusions["noskip"]]
        ends = measures.bootstrap(pair, lambda a, b: digit_iou(a) - digit_iou(b))
        found["difference.test_digit_iou"] = (*ends, f"{how}, paired, one training each")
    return found


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """An epoch of the history in the assignment's format."""
    each = ", ".join(f"{c}: {row[f'iou_{c}']:.4f}" for c in range(NUM_CLASSES))
    begin = f"Epoch {int(row['epoch'])}/{epochs}:\nTraining Loss: {row['train_loss']:.4f}"
    return f"{begin}\nValidation IoU (Class: value): {each}"


@dataclass(frozen=True)
class Segmenter:
    """A trained network, in eval mode on the CPU, and what it was trained with."""

    model: UNet
    config: Config
    skip: bool

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Classes uint8 ``[H, W]`` of an image of any size (see :mod:`.canvas`); warns of what is foreign."""
        grey = canvas.as_grey(image)  # [H, W]
        if doubt := canvas.doubt(grey):
            warnings.warn(doubt, stacklevel=3)  # 2 is the decorator

        def classes(pixels: Tensor) -> Tensor:
            batch = pixels[None, None].contiguous(memory_format=torch.channels_last)
            return self.model(batch).argmax(dim=1)[0]  # [H, W]

        step, sees = 2 ** len(self.config.down), receptive_field(self.config)
        return canvas.in_tiles(canvas.clean(grey), step, sees, classes)


def load(checkpoint: Path | str) -> Segmenter:
    """A trained network from a ``best.pt``, or from the small file made of one."""
    config, bundle, weights = restore(checkpoint, "segmentation", Config)
    with checkpoints.fitting(checkpoint, "segmentation"):
        skip = bool(bundle["skip"])
        model = build(config, skip)
        model.load_state_dict(weights)
    return Segmenter(model.eval(), config, skip)


def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics, named as in :func:`train`."""
    trained = load(checkpoint)
    test = prepare(trained.config).test
    masks, _ = segment(trained.model, test, trained.config.batch_size)
    name = "skip" if trained.skip else "noskip"
    return named(f"{name}.test_", measures.measure(masks, test.masks))
