"""Splits into training, validation and test part: at random, or with whole groups on one side."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Fractions = tuple[float, float, float]  # they sum to 1


@dataclass(frozen=True)
class Split:
    """Index arrays (int64) of the three parts; disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.train, self.validation, self.test))

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.train), len(self.validation), len(self.test)


def random_split(n: int, seed: int = 0, *, fractions: Fractions) -> Split:
    """Split ``n`` rows at random; the last two parts have ``round(n * fraction)`` rows."""
    order = np.random.default_rng(seed).permutation(n).astype(np.int64)
    n_validation, n_test = round(n * fractions[1]), round(n * fractions[2])
    n_train = n - n_validation - n_test
    return Split(order[:n_train], order[n_train : n_train + n_validation], order[n - n_test :])


def group_split(groups: ArrayLike, seed: int = 0, *, fractions: Fractions) -> Split:
    """Split rows so that rows of one group (equal ids in ``groups``) stay together.

    Groups lie end to end, in random order; each goes to the part of the line that its middle falls into.
    """
    rng = np.random.default_rng(seed)
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    inverse = inverse.reshape(-1)
    sizes = np.bincount(inverse)
    order = rng.permutation(len(sizes))
    middle = np.empty(len(sizes))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    # part of each group: 0 training, 1 validation, 2 test
    part = np.searchsorted(len(inverse) * np.cumsum(fractions)[:2], middle, side="right")
    rows = rng.permutation(len(inverse)).astype(np.int64)
    of_row = part[inverse[rows]]
    return Split(rows[of_row == 0], rows[of_row == 1], rows[of_row == 2])


def shared_key_groups(rows: Iterable[Sequence[Hashable]]) -> np.ndarray:
    """Numbers of groups: rows that share a key in a column, directly or by a chain; by first appearance."""
    from networkx.utils import UnionFind

    rows, numbers, sets = list(rows), dict[Hashable, int](), UnionFind()
    for i, row in enumerate(rows):
        sets.union(i, *enumerate(row))  # a row and its keys, as (column, key)
    return np.array([numbers.setdefault(sets[i], len(numbers)) for i in range(len(rows))], np.int64)
