"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 grey values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coursework.data import archives, sources
from coursework.data.sources import Source
from coursework.errors import DataError

_UBYTE = 0x08  # the IDX format's code for unsigned bytes


@dataclass(frozen=True)
class MNIST:
    """The digits. Images are uint8 ``[n, 28, 28]`` (0 is background), labels uint8 ``[n]`` in 0..9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: Source


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes.

    The format: two zero bytes, the type, the number of dimensions, each dimension as a big-endian
    32-bit integer, the values.

    Raises:
        DataError: If the file is no such file, or truncated.
    """
    try:
        raw = archives.gunzip(path)
    except archives.BROKEN as error:
        raise DataError(
            f"{path} is no whole gzip file ({error}); delete it and fetch it again."
        ) from error
    if len(raw) < 4 or raw[0] or raw[1] or raw[2] != _UBYTE or not raw[3]:
        raise DataError(f"{path} is no IDX file of unsigned bytes; delete it and fetch it again.")
    n_dims = raw[3]
    shape = (
        tuple(np.frombuffer(raw, ">u4", n_dims, 4).tolist()) if len(raw) >= 4 + 4 * n_dims else ()
    )
    values = np.frombuffer(raw, np.uint8, offset=min(len(raw), 4 + 4 * n_dims))
    if not shape or len(shape) > 8 or values.size != math.prod(shape):
        raise DataError(
            f"{path} has {values.size:,} values but announces the shape {shape}; "
            "delete it and fetch it again."
        )
    return values.reshape(shape)


def validate(images: np.ndarray, labels: np.ndarray, where: str) -> None:
    """Check shapes and ranges of images and labels.

    Raises:
        DataError: If they are no digits in MNIST's form.
    """
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{where} has images of shape {images.shape} and labels of shape {labels.shape} instead of "
            "(n, 28, 28) and (n,); fetch the official files again."
        )
    if len(labels) and labels.max() > 9:
        raise DataError(
            f"{where} has the label {labels.max()} beyond 9; fetch the official files again."
        )


def load() -> MNIST:
    """Load the digits.

    Returns:
        60,000 training and 10,000 test digits; scikit-learn's enlarged ones as a stand-in.

    Raises:
        DataError: If a file is not what it should be.
    """
    source = sources.find("mnist")
    if source.is_standin:
        from coursework.data import standins

        d = standins.digits()
        return MNIST(d.train_images, d.train_labels, d.test_images, d.test_labels, source)
    train_images, train_labels, test_images, test_labels = map(read_idx, source.files)
    for images, labels, count in (
        (train_images, train_labels, 60_000),
        (test_images, test_labels, 10_000),
    ):
        validate(images, labels, "MNIST")
        if len(images) != count:
            raise DataError(
                f"MNIST has {len(images):,} images in place of {count:,}; fetch the official files again."
            )
    return MNIST(train_images, train_labels, test_images, test_labels, source)
