"""Images and masks: reading and cleaning images, cutting large ones into tiles, masks in colour."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from coursework.data import archives
from coursework.data.m2nist import BACKGROUND
from coursework.errors import ConfigError, DataError

TILE = 512  # side of the tiles of larger images, about
INK = 64 / 255  # what is brighter is certainly a digit
FLOOR = 32 / 255  # grey up to here may be noise
UNREADABLE: tuple[type[Exception], ...] = (*archives.BROKEN, MemoryError)

# Colour of every class, uint8 [C, 3]: those of Petroff (2021), for people who confuse colours, and white.
_HEX = "3f90da ffa90e bd1f01 94a4a2 832db6 a96b59 e76300 b9ac70 717581 92dadd ffffff"
PALETTE = np.array([list(bytes.fromhex(colour)) for colour in _HEX.split()], np.uint8)


def as_grey(image: np.ndarray) -> Tensor:
    """Grey, RGB or RGBA ``[H, W(, 3 or 4)]`` as float32 in [0, 1], ``[H, W]``; transparent
    pixels become black, or white if all visible pixels are dark."""
    array = np.asarray(image)
    array = array[:, :, 0] if array.shape[2:] == (1,) else array
    kind, shape = array.dtype.kind, array.shape
    if kind not in "buif" or array.size == 0 or len(shape) < 2 or shape[2:] not in ((), (3,), (4,)):
        what = f"The image is an array of {array.dtype} and has shape {shape}"
        remedy = "give numbers, (height, width) or (height, width, 3 or 4), and at least one pixel"
        raise DataError(f"{what}; {remedy}.")
    low, high = float(array.min()), float(array.max())
    whole = kind in "ui"
    white = 65535.0 if whole and high > 255 else 255.0 if whole or high > 1.001 else 1.0
    if not (low >= 0 and high <= max(white, 1.001)):  # also false for nan
        remedy = "give whole numbers in 0 to 255 or 65535, or fractions in 0 to 1"
        raise DataError(f"The image has values from {low:g} to {high:g}; {remedy}.")
    pixels = torch.from_numpy(array.astype(np.float32)).div_(white).clamp_(max=1)
    if pixels.ndim == 2:
        return pixels
    grey = pixels[:, :, :3] @ torch.tensor([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
    if pixels.shape[2] == 3:
        return grey
    alpha = pixels[:, :, 3]
    dark = bool(alpha.max() > 0) and bool((grey * alpha).max() < 0.5)
    return grey * alpha + (1 - alpha) * dark  # [H, W]


def read_image(path: Path | str) -> np.ndarray:
    """A picture, turned upright, an ``.npy``, or an ``.npz`` with one array, as :func:`as_grey` takes it."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a picture or an array file.")
    try:
        if path.suffix.lower() in (".npy", ".npz"):
            read = np.load(path)
            arrays: list[np.ndarray] = [read] if isinstance(read, np.ndarray) else [*read.values()]
            if len(arrays) != 1:
                raise DataError(f"{path} holds {len(arrays)} arrays; give one.")
            return arrays[0]
        bombs = warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning)
        with bombs, Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I;16"):
                return np.asarray(picture, np.float64) / 65535
            if picture.has_transparency_data:
                return np.array(picture.convert("RGBA"))
            plain = picture.mode in ("L", "RGB", "I", "F")
            return np.array(picture if plain else picture.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataError(f"{path} has more than {most} pixels; give a smaller picture.") from error
    except UNREADABLE as error:
        what = f"{path} is neither an image nor an array file that can be read"
        raise DataError(f"{what}; give a whole PNG, JPEG, .npy or .npz.") from error


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left of a grey image uint8 ``[H, W]`` in a JPEG file of this quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _background(pixels: Tensor) -> Tensor:
    """Grey levels ``[k]`` of the background: more than ten pixels from bright ink, where JPEG leaves no
    noise; if no pixel is so far away, near the ink without touching it."""
    image = pixels[None, None]
    beside, around = (F.max_pool2d(image, side, 1, side // 2)[0, 0] >= INK for side in (3, 21))
    return pixels[~around] if beside.any() and not around.all() else pixels[around & ~beside]


def clean(pixels: Tensor) -> Tensor:
    """An image ``[H, W]`` in which what is as dark as the background, up to FLOOR, is 0."""
    background = _background(pixels)
    level = min(float(background.max()), FLOOR) if len(background) else 0.0
    return pixels * (pixels > level)


def doubt(pixels: Tensor) -> str | None:
    """What in an image ``[H, W]`` is not as in training, in a sentence."""
    from scipy import ndimage

    ink, background = pixels >= INK, _background(pixels)
    if float(ink.float().mean()) > 0.5:
        bright = "The background is not dark, but the network has learned bright digits on black"
        return f"{bright}; --invert makes the negative."
    if len(background) and np.quantile(background.numpy(), 0.95) > FLOOR:
        return "The background is grey or noisy, but black in training; expect wrong masks."
    if not ink.any():
        dull = "The image is almost black; stretch its grey levels, or nothing is found."
        return dull if pixels.any() else None
    pieces, _ = ndimage.label(ink.numpy(), np.ones((3, 3)))
    largest = np.argwhere(pieces == np.bincount(pieces[pieces > 0]).argmax())  # [k, 2]
    height, width = (int(side) + 1 for side in np.ptp(largest, axis=0))
    if height <= 40 and max(height, width) >= 10:
        return None
    size = f"The largest piece of ink is {height} pixels high"
    return f"{size}, but digits in training are about 20; resize the image."


def colour(mask: np.ndarray) -> Image.Image:
    """A mask ``[H, W]`` as a picture: every digit in its colour, the background white."""
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or mask.min() < 0 or mask.max() > BACKGROUND:
        raise DataError("A mask is an array (height, width) of whole numbers from 0 to 10.")
    return Image.fromarray(PALETTE[mask])


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """An image in grey, the digits of its mask in their colours, which have a share of 60 %."""
    grey = as_grey(image).numpy()[:, :, None] * 255  # [H, W, 1]
    colours = np.asarray(colour(mask), np.float32)  # [H, W, 3]
    if grey.shape[:2] != mask.shape:
        raise DataError(f"The image has shape {grey.shape[:2]}, but the mask {mask.shape}.")
    share = 0.6 * (mask < BACKGROUND)[:, :, None]  # [H, W, 1]
    mixed = (1 - share) * grey + share * colours  # [H, W, 3]
    return Image.fromarray(mixed.round().astype(np.uint8))


def mask_files(image: Path, wanted: Path | None = None) -> tuple[Path, Path]:
    """Where the coloured mask and the overlay of an image file go; over no file but ``wanted``."""
    mask = wanted or image.with_name(f"{image.stem}_mask.png")
    if mask.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"{mask} is not the name of a picture; let it end in .png or .jpg.")
    over = mask.with_name(f"{mask.stem.removesuffix('_mask')}_overlay{mask.suffix}")
    for target in (mask, over):
        if target.exists() and target.samefile(image):
            raise ConfigError(f"{target} is the image itself; give --output another name.")
        if target.exists() and target != wanted:
            raise ConfigError(f"{target} is there already; give --output another name.")
    return mask, over


def in_tiles(
    pixels: Tensor, step: int, margin: int, classes: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """Classes uint8 of an image ``[H, W]``, in tiles that bound the memory.

    Tiles begin at multiples of ``step`` and read ``margin`` more pixels: the mask is that of the whole image.
    """
    margin = -(-margin // step) * step if max(pixels.shape) > TILE else 0
    side = -(-TILE // step) * step
    mask = np.empty(tuple(pixels.shape), np.uint8)
    for top in range(0, len(mask), side):
        for left in range(0, mask.shape[1], side):
            up, before = min(margin, top), min(margin, left)  # beyond the tile, within the image
            seen = pixels[top - up : top + side + margin, left - before : left + side + margin]
            inside = classes(seen)[up : up + side, before : before + side]
            mask[top : top + side, left : left + side] = inside.to(torch.uint8).numpy()
    return mask
