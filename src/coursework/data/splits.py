"""Splits into training, validation and test part: at random, or with whole groups on one side."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from coursework.errors import ConfigError

Fractions = tuple[float, float, float]


@dataclass(frozen=True)
class Split:
    """Index arrays (int64) of the three parts; disjoint, in random order, together everything."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of rows of the three parts."""
        return len(self.train), len(self.validation), len(self.test)


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ConfigError(
            f"Split fractions are {tuple(fractions)}; give three numbers >= 0 that sum to 1."
        )


def random_split(n: int, fractions: Fractions, seed: int = 0) -> Split:
    """Split ``n`` rows at random.

    Args:
        n: Number of rows.
        fractions: Shares of training, validation and test part; they sum to 1.
        seed: Seed of the permutation.

    Returns:
        A split; the validation and test part have ``round(n * fraction)`` rows.

    Raises:
        ConfigError: If the fractions do not sum to 1.
    """
    _check_fractions(fractions)
    order = np.random.default_rng(seed).permutation(n).astype(np.int64)
    n_validation, n_test = round(n * fractions[1]), round(n * fractions[2])
    n_train = n - n_validation - n_test
    return Split(order[:n_train], order[n_train : n_train + n_validation], order[n - n_test :])


def group_split(groups: np.ndarray, fractions: Fractions, seed: int = 0) -> Split:
    """Split rows so that rows of one group stay together.

    The groups are put in random order and laid out on a line, each as long as it has rows; a group goes
    to the part that its middle falls into. So every group has the same chance whatever its size, and a
    part misses its share by less than one group.

    Args:
        groups: Group id of each row, shape ``[n]``.
        fractions: Shares of training, validation and test part, in rows; they sum to 1.
        seed: Seed of the order.

    Returns:
        A split in which no group has rows in two parts.

    Raises:
        ConfigError: If the fractions do not sum to 1.
    """
    _check_fractions(fractions)
    rng = np.random.default_rng(seed)
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    inverse = inverse.reshape(-1)
    n = len(inverse)
    sizes = np.bincount(inverse)
    order = rng.permutation(len(sizes))
    middle = np.empty(len(sizes))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    # part of each group: 0 training, 1 validation, 2 test
    part = np.searchsorted(n * np.cumsum(fractions)[:2], middle, side="right")
    rows = rng.permutation(n).astype(np.int64)
    of_row = part[inverse[rows]]
    return Split(rows[of_row == 0], rows[of_row == 1], rows[of_row == 2])


class UnionFind:
    """Disjoint sets over ``0 .. n-1`` with path halving and union by size."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n

    def find(self, item: int) -> int:
        """Representative of the set that holds ``item``."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, a: int, b: int) -> None:
        """Merge the sets of ``a`` and ``b``."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]

    def labels(self) -> np.ndarray:
        """Representative of every item, int64 ``[n]``."""
        return np.array([self.find(i) for i in range(len(self._parent))], dtype=np.int64)


def shared_key_groups(rows: Iterable[Sequence[Hashable]]) -> np.ndarray:
    """Connected components of rows that share a key in the same column.

    Two sentence pairs that have the English or the French sentence in common are in one group, and so
    are pairs linked by a chain of such pairs.

    Args:
        rows: Rows of equal length.

    Returns:
        Group id of each row, int64 ``[n]``; numbered by first appearance.
    """
    rows = list(rows)
    sets = UnionFind(len(rows))
    first: dict[tuple[int, Hashable], int] = {}
    for i, row in enumerate(rows):
        for column, key in enumerate(row):
            sets.union(first.setdefault((column, key), i), i)
    _, first_row, inverse = np.unique(sets.labels(), return_index=True, return_inverse=True)
    rank = np.empty(len(first_row), dtype=np.int64)
    rank[np.argsort(first_row)] = np.arange(len(first_row))
    return rank[inverse.reshape(-1)]
