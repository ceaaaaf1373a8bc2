"""The split of the tweets that keeps equal texts on one side."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import sentiment140
from coursework.data.splits import Split


def sides(split: Split, keys: np.ndarray) -> list[set[int]]:
    return [set(keys[rows].tolist()) for rows in (split.train, split.validation, split.test)]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=80), st.integers(0, 5))
@settings(deadline=None)
def test_no_key_is_on_two_sides(numbers: list[int], seed: int) -> None:
    keys = np.array(numbers, np.uint64)
    split = sentiment140.split_grouped(keys, seed)
    train, validation, test = sides(split, keys)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == [
        *range(len(keys))
    ]


def test_sizes_are_near_60_20_20_and_the_seed_counts() -> None:
    rng = np.random.default_rng(0)
    keys = np.minimum(rng.geometric(1e-4, 100_000), 60_000).astype(np.uint64)  # some groups of 20
    keys[:50] = 7
    split = sentiment140.split_grouped(keys, seed=0)
    for size, share in zip(split.sizes, sentiment140.FRACTIONS, strict=True):
        assert abs(size / len(keys) - share) < 0.001
    again, other = (sentiment140.split_grouped(keys, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(split.train, again.train)
    assert sides(other, keys)[2] != sides(split, keys)[2]


def test_sides_do_not_depend_on_the_order_of_the_tweets() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 3000, 5000).astype(np.uint64)
    shuffled = rng.permutation(keys)
    first, second = sentiment140.split_grouped(keys, 3), sentiment140.split_grouped(shuffled, 3)
    assert sides(first, keys) == sides(second, shuffled)
