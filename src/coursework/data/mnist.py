"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 grey values."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coursework.data import archives, sources, standins
from coursework.data.sources import Source


@dataclass(frozen=True)
class MNIST:
    """uint8 images ``[n, 28, 28]``, 0 is background, and labels ``[n]``, 0 to 9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: Source


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes, by torchvision's reader of unpacked ones."""
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    with archives.reading(path, AssertionError, TypeError, IndexError):
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder, "idx")
            unpacked.write_bytes(archives.gunzip(path))
            values: np.ndarray = read_sn3_pascalvincent_tensor(str(unpacked)).numpy()
        if values.dtype != np.uint8:
            raise ValueError(f"values of type {values.dtype}")
    return values


def load() -> MNIST:
    """Load the digits; scikit-learn's enlarged ones as a stand-in."""
    source = sources.find("mnist")
    if source.is_standin:
        return MNIST(*standins.digits(), source)
    images, labels, test_images, test_labels = map(read_idx, source.files)
    return MNIST(images, labels, test_images, test_labels, source)
