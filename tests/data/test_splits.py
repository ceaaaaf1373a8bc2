"""Splits and groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from coursework.data.splits import (
    Split,
    UnionFind,
    group_split,
    random_split,
    shared_key_groups,
)
from coursework.errors import ConfigError

FRACTIONS = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).filter(any)


def shares(parts: tuple[int, int, int]) -> tuple[float, float, float]:
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


def assert_whole(split: Split, n: int) -> None:
    rows = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))
    assert rows.dtype == np.int64


@given(st.integers(0, 200), FRACTIONS, st.integers(0, 5))
@settings(deadline=None)
def test_random_split_is_a_partition(n: int, parts: tuple[int, int, int], seed: int) -> None:
    fractions = shares(parts)
    if round(n * fractions[1]) + round(n * fractions[2]) > n:
        return  # both halves of an odd row are rounded up
    split = random_split(n, fractions, seed)
    assert_whole(split, n)
    assert split.sizes[1:] == (round(n * fractions[1]), round(n * fractions[2]))


def test_random_split_is_exact_and_seeded() -> None:
    split = random_split(1_600_000, (0.6, 0.2, 0.2), 0)
    assert split.sizes == (960_000, 320_000, 320_000)
    again = random_split(1_600_000, (0.6, 0.2, 0.2), 0)
    np.testing.assert_array_equal(split.test, again.test)
    other = random_split(1_600_000, (0.6, 0.2, 0.2), 1)
    assert (split.test != other.test).mean() > 0.99


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.6, 0.2, 0.1)])
def test_fractions_must_sum_to_one(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        random_split(10, fractions)
    with pytest.raises(ConfigError, match="sum to 1"):
        group_split(np.arange(10), fractions)


@given(st.lists(st.integers(0, 20), max_size=80), FRACTIONS, st.integers(0, 5))
@settings(deadline=None)
def test_groups_stay_together(groups: list[int], parts: tuple[int, int, int], seed: int) -> None:
    ids = np.array(groups, dtype=np.int64)
    split = group_split(ids, shares(parts), seed)
    assert_whole(split, len(ids))
    sides = [set(ids[rows].tolist()) for rows in (split.train, split.validation, split.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    largest = max(np.bincount(ids), default=0) if len(ids) else 0
    for size, share in zip(split.sizes, shares(parts), strict=True):
        assert abs(size - share * len(ids)) <= largest + 1e-9


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40),
        )
    )
)
@settings(deadline=None)
def test_union_find_agrees_with_scipy(graph: tuple[int, list[tuple[int, int]]]) -> None:
    n, links = graph
    sets = UnionFind(n)
    for a, b in links:
        sets.union(a, b)
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    matrix = coo_matrix((np.ones(len(links)), (rows, columns)), shape=(n, n))
    _, expected = connected_components(matrix, directed=False)
    ours = sets.labels()
    np.testing.assert_array_equal(ours[:, None] == ours, expected[:, None] == expected)


def test_rows_that_share_a_key_are_one_group() -> None:
    rows = [("a", "x"), ("b", "y"), ("a", "z"), ("c", "z"), ("d", "a"), ("e", "y")]
    assert shared_key_groups(rows).tolist() == [0, 1, 0, 0, 2, 1]  # "a" left is not "a" right
    assert shared_key_groups([]).tolist() == []
