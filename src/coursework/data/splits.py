"""Splits into training, validation and test part: at random, or with whole groups on one side."""

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
        return len(self.train), len(self.validation), len(self.test)


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        found = f"Split fractions are {tuple(fractions)}"
        raise ConfigError(f"{found}; give three numbers >= 0 that sum to 1.")


def random_split(n: int, fractions: Fractions, seed: int = 0) -> Split:
    """Split ``n`` rows at random; the last two parts have ``round(n * fraction)`` rows."""
    _check_fractions(fractions)
    order = np.random.default_rng(seed).permutation(n).astype(np.int64)
    n_validation, n_test = round(n * fractions[1]), round(n * fractions[2])
    n_train = n - n_validation - n_test
    return Split(order[:n_train], order[n_train : n_train + n_validation], order[n - n_test :])


def group_split(groups: np.ndarray, fractions: Fractions, seed: int = 0) -> Split:
    """Split rows so that rows of one group (equal ids in ``groups``) stay together.

    The groups are laid out on a line in random order, each as long as it has rows, and go to the part that
    their middle falls into. So every group has the same chance, and a part misses its share by less than one.
    """
    _check_fractions(fractions)
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
    """Group of each row, int64 ``[n]``: rows that share a key in the same column, directly or by a chain.

    Rows have equal length; groups are numbered by first appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = list(rows)
    if not rows:
        return np.zeros(0, np.int64)
    # a graph of rows and keys: each row is linked with its keys
    keys: dict[tuple[int, Hashable], int] = {}
    links = [
        (i, len(rows) + keys.setdefault((column, key), len(keys)))
        for i, row in enumerate(rows)
        for column, key in enumerate(row)
    ]
    first, second = np.array(links, np.int64).reshape(-1, 2).T
    n = len(rows) + len(keys)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    component = connected_components(graph, directed=False)[1][: len(rows)]
    _, first_row, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(first_row), dtype=np.int64)
    rank[np.argsort(first_row)] = np.arange(len(first_row))
    return rank[inverse.reshape(-1)]
