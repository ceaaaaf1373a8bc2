"""Images and masks: reading them from files, cutting large ones into tiles, showing masks in colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from coursework.data import archives
from coursework.data.m2nist import BACKGROUND
from coursework.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 512  # larger images are segmented in tiles of about this side, which bounds the memory

# Colour of every class, uint8 [C, 3]; the background is white. The ten are those of Petroff (2021),
# which people who confuse colours can tell apart.
PALETTE = np.array(
    [
        *[(63, 144, 218), (255, 169, 14), (189, 31, 1), (148, 164, 162), (131, 45, 182)],
        *[(169, 107, 89), (231, 99, 0), (185, 172, 112), (113, 117, 129), (146, 218, 221)],
        (255, 255, 255),
    ],
    np.uint8,
)


def as_grey(image: np.ndarray) -> Tensor:
    """An image as float32 in [0, 1], ``[H, W]``; what is transparent counts as black.

    It may be ``[H, W]`` grey, ``[H, W, 3]`` or ``[H, W, 4]`` colour, in 0..255 or in fractions 0..1.
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


def read_image(path: Path | str) -> np.ndarray:
    """An image that :func:`as_grey` takes, from a picture, an ``.npy``, or an ``.npz`` with one array.

    Palettes, transparency and 16 bits are translated.
    """
    from PIL import Image

    broken: tuple[type[Exception], ...] = (*archives.BROKEN, Image.DecompressionBombError)
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
    except broken as error:
        raise DataError(
            f"{path} is neither an image nor an array file that can be read; give a whole PNG, JPEG, "
            ".npy or .npz."
        ) from error


def colour(mask: np.ndarray) -> Image:
    """A mask ``[H, W]`` as a picture: every digit in its colour, the background white."""
    from PIL import Image

    if mask.ndim != 2 or mask.dtype.kind not in "ui" or mask.min() < 0 or mask.max() > BACKGROUND:
        raise DataError("A mask is an array (height, width) of whole numbers from 0 to 10.")
    return Image.fromarray(PALETTE[mask])


def overlay(image: np.ndarray, mask: np.ndarray, strength: float = 0.6) -> Image:
    """An image in grey, the digits of its mask in their colours; ``strength`` is the colour's share."""
    from PIL import Image

    grey = as_grey(image).numpy()[:, :, None] * 255  # [H, W, 1]
    colours = np.asarray(colour(mask), np.float32)  # [H, W, 3]
    if grey.shape[:2] != mask.shape:
        raise DataError(f"The image has shape {grey.shape[:2]}, but the mask {mask.shape}.")
    share = strength * (mask < BACKGROUND)[:, :, None]  # [H, W, 1]
    mixed = (1 - share) * grey + share * colours  # [H, W, 3]
    return Image.fromarray(mixed.round().astype(np.uint8))


def mask_files(image: Path, wanted: Path | None = None) -> tuple[Path, Path]:
    """Where the coloured mask and the overlay of an image file go."""
    mask = wanted or image.with_name(f"{image.stem}_mask.png")
    if mask.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"{mask} is not the name of a picture; let it end in .png or .jpg.")
    return mask, mask.with_name(f"{mask.stem.removesuffix('_mask')}_overlay{mask.suffix}")


def tiles(
    height: int, width: int, step: int, margin: int
) -> Iterator[tuple[slice, slice, tuple[slice, slice]]]:
    """The tiles of an image: the rows and columns to read, and the part of the image to keep.

    ``margin`` is how far a pixel can see; tiles that read so much beyond their edge and start on the
    pooling grid, which repeats every ``step`` pixels, give the mask of the whole image.
    """
    margin = -(-margin // step) * step if max(height, width) > TILE else 0
    side = -(-TILE // step) * step
    for top in range(0, height, side):
        for left in range(0, width, side):
            bottom, right = min(top + side, height), min(left + side, width)
            yield (
                slice(max(top - margin, 0), min(bottom + margin, height)),
                slice(max(left - margin, 0), min(right + margin, width)),
                (slice(top, bottom), slice(left, right)),
            )
