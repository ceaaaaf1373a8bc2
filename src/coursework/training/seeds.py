"""Randomness: one seed for a run, named streams derived from it, deterministic algorithms on."""

import os
import random
import zlib

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and turn deterministic algorithms on, for ``index_add`` also on a CPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS at its first use
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that we call still read the global state
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # else every new tensor is filled with NaN before it is written, which takes time in every step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def derive(seed: int, *stream: str | int) -> int:
    """Seed of a named stream: independent of the others, the same in every process."""
    key = "/".join([str(seed), *map(str, stream)])
    return zlib.crc32(key.encode()) | (zlib.adler32(key.encode()) << 32) & (2**63 - 1)


def generator(seed: int, *stream: str | int) -> torch.Generator:
    """A torch generator for a named stream, e.g. ``generator(seed, "shuffle", epoch)``."""
    return torch.Generator().manual_seed(derive(seed, *stream))


def numpy_generator(seed: int, *stream: str | int) -> np.random.Generator:
    """A NumPy generator for a named stream."""
    return np.random.default_rng(derive(seed, *stream))
