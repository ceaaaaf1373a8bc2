"""Multi-digit canvases in the manner of M2NIST (a Kaggle data set), composed from MNIST: images to segment.

Digit ``i`` stands at ``x0`` in ``[28 i, 28 i + 9]`` and ``y0`` in ``[0, 36]`` of a black canvas of 64x84
pixels, and is left out where it does not fit; so the third digit of three is there one time in ten.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from coursework.data import mnist
from coursework.data.sources import Source
from coursework.errors import ConfigError

BACKGROUND = 10
NUM_CLASSES = 11
SIDE = 28  # pixels of a digit's side
MOST_DIGITS = 3  # of a canvas


@dataclass(frozen=True)
class Canvases:
    images: np.ndarray  # uint8 [n, H, W]
    masks: np.ndarray  # uint8 [n, H, W]: 0..9 the digit, 10 background

    def __len__(self) -> int:
        return len(self.images)


class Pool(NamedTuple):
    images: np.ndarray  # uint8 [n, 28, 28]
    labels: np.ndarray  # uint8 [n]


@dataclass(frozen=True)
class Pools:
    """Three parts without a digit in common."""

    train: Pool
    validation: Pool
    test: Pool
    source: Source


# digits side by side as in M2NIST, one on top of the other, rotated, noisy, all at once
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "overlap": {"overlap": True},
    "rotation": {"rotation": 15.0},
    "noise": {"noise": 25.0},
    "all": {"overlap": True, "rotation": 15.0, "noise": 25.0},
}


def digit_pools() -> Pools:
    """The first five sixths of the training digits (50,000), the rest of them (10,000), the test digits."""
    data = mnist.load()
    n = len(data.train_images) * 5 // 6
    return Pools(
        Pool(data.train_images[:n], data.train_labels[:n]),
        Pool(data.train_images[n:], data.train_labels[n:]),
        Pool(data.test_images, data.test_labels),
        data.source,
    )


def warp(
    digits: np.ndarray, rng: np.random.Generator,
    rotation: float = 0, zoom: float = 0, shift: int = 0,
) -> np.ndarray:  # fmt: skip
    """Rotate (degrees), stretch (a share) and move (pixels up or down) each digit, up to these limits."""
    k = len(digits)
    if k == 0:
        return digits
    angle = np.deg2rad(rng.uniform(-rotation, rotation, k))
    # the map goes from places in the result to places in the digit; frames span -1 to 1
    stretch = 1 / (1 + rng.uniform(-zoom, zoom, (2, k)))
    theta = np.zeros((k, 2, 3), np.float32)
    theta[:, 0, :2] = (stretch[0] * [np.cos(angle), -np.sin(angle)]).T
    theta[:, 1, :2] = (stretch[1] * [np.sin(angle), np.cos(angle)]).T
    theta[:, 1, 2] = 2 * rng.integers(-shift, shift + 1, k) / digits.shape[1]
    pixels = torch.from_numpy(digits).unsqueeze(1).float()  # [k, 1, 28, 28]
    grid = F.affine_grid(torch.from_numpy(theta), list(pixels.shape), align_corners=False)
    warped = F.grid_sample(pixels, grid, align_corners=False)  # zeros beyond the frame
    return warped.squeeze(1).round_().to(torch.uint8).numpy()  # [k, 28, 28]


def compose(
    images: np.ndarray,
    labels: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    height: int = 64,
    width: int = 84,
    min_digits: int = 2,
    overlap: bool = False,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: int = 0,
    noise: float = 0.0,  # standard deviation, in grey levels
) -> Canvases:
    """Compose ``n`` canvases from digits drawn with replacement; the defaults are those of M2NIST.

    With ``overlap`` digits stand anywhere, later ones on top. Noise and warping draw numbers only where used.
    """
    if min(height, width) < SIDE or len(images) < 1:
        what = f"A canvas of {height}x{width} from {len(images)} digits"
        remedy = f"give at least {SIDE}x{SIDE} pixels and one digit"
        raise ConfigError(f"{what} is impossible; {remedy}.")
    if images.dtype != np.uint8:
        raise ConfigError(f"Digits are uint8, 0 to 255, but these are {images.dtype}.")
    canvases = np.zeros((n, height, width), np.uint8)  # [n, H, W]
    masks = np.full((n, height, width), BACKGROUND, np.uint8)  # [n, H, W]
    counts = rng.integers(min(min_digits, MOST_DIGITS), MOST_DIGITS + 1, n)
    frames, mask_frames = (  # every 28x28 window: [n, H - 27, W - 27, 28, 28], views
        np.lib.stride_tricks.sliding_window_view(a, (SIDE, SIDE), axis=(1, 2), writeable=True)
        for a in (canvases, masks)
    )
    for i in range(MOST_DIGITS):
        drawn = rng.integers(0, len(images), n)
        low, high = (0, width - SIDE + 1) if overlap else (28 * i, 28 * i + 10)
        left = rng.integers(low, high, n)
        top = rng.integers(0, height - SIDE + 1, n)
        pasted = np.flatnonzero((counts > i) & (left + SIDE <= width))
        place = (pasted, top[pasted], left[pasted])
        digit, below = images[drawn[pasted]], frames[place]  # [k, 28, 28] each
        if rotation or zoom or shift:
            digit = warp(digit, rng, rotation, zoom, shift)
        label = labels[drawn[pasted], None, None].astype(np.uint8)
        # side by side, frames may share a few columns: the brighter ink wins, as in M2NIST
        ink = digit > 0 if overlap else digit > below
        frames[place] = np.where(ink, digit, below)
        mask_frames[place] = np.where(ink, label, mask_frames[place])
    if noise:
        disturbed = canvases + rng.standard_normal(canvases.shape, np.float32) * np.float32(noise)
        canvases = np.rint(disturbed).clip(0, 255).astype(np.uint8)
    return Canvases(canvases, masks)


def vary(pool: Pool, name: str, n: int, stream: int = 2) -> Canvases:
    """Canvases of one of :data:`VARIANTS`; those for validation have another random stream."""
    if name not in VARIANTS:
        raise ConfigError(f"There is no variant {name!r}; choose from {', '.join(VARIANTS)}.")
    rng = np.random.default_rng([0, stream])
    return compose(pool.images, pool.labels, n, rng, **VARIANTS[name])
