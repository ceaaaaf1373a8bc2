import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coursework.data.splits import Split, group_split, random_split, shared_key_groups

Shares = tuple[float, float, float]
SHARES = (
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
    .filter(any)
    .map(lambda parts: tuple(part / sum(parts) for part in parts))
)


def assert_whole(split: Split, n: int) -> None:
    rows = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))
    assert rows.dtype == np.int64


@given(st.integers(0, 200), SHARES, st.integers(0, 5))
def test_random_split_is_a_partition(n: int, shares: Shares, seed: int) -> None:
    sizes = round(n * shares[1]), round(n * shares[2])
    if sum(sizes) > n:
        return  # both halves of an odd row are rounded up
    split = random_split(n, seed, fractions=shares)
    assert_whole(split, n)
    assert split.sizes[1:] == sizes


def test_random_split_is_seeded() -> None:
    split, other = (random_split(9000, seed, fractions=(0.6, 0.2, 0.2)) for seed in (0, 1))
    # drawn otherwise, a committed checkpoint would be tested on the rows that it was trained on
    assert split.test[:4].tolist() == [4978, 5316, 7566, 3986]
    groups = group_split(np.arange(9000) // 3, 0, fractions=(0.6, 0.2, 0.2))
    assert groups.test[:4].tolist() == [6393, 397, 3624, 7749]
    assert (split.test != other.test).mean() > 0.99


@given(st.lists(st.integers(0, 20), max_size=80), SHARES, st.integers(0, 5))
def test_groups_stay_together(groups: list[int], shares: Shares, seed: int) -> None:
    ids = np.array(groups, dtype=np.int64)
    split = group_split(ids, seed, fractions=shares)
    assert_whole(split, len(ids))
    sides = [set(ids[rows].tolist()) for rows in (split.train, split.validation, split.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))
    largest = np.bincount(ids, minlength=1).max()
    for size, share in zip(split.sizes, shares, strict=True):
        assert abs(size - share * len(ids)) <= largest + 1e-9


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30))
def test_groups_are_the_components_in_order_of_appearance(rows: list[tuple[int, int]]) -> None:
    numbers = list(range(len(rows)))
    for _ in rows:  # every row takes the lowest number of the rows that share a key with it
        numbers = [
            min([numbers[j] for j, b in enumerate(rows) if a[0] == b[0] or a[1] == b[1]])
            for a in rows
        ]
    rank = {number: i for i, number in enumerate(dict.fromkeys(numbers))}
    assert shared_key_groups(rows).tolist() == [rank[number] for number in numbers]
