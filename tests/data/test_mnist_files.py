"""MNIST's file format, and canvases composed from digits."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from coursework.data import m2nist, mnist
from coursework.errors import ConfigError, DataError


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def test_read_idx(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(array)))
    np.testing.assert_array_equal(mnist.read_idx(path), array)


@pytest.mark.parametrize(("side", "labels", "problem"), [(28, 1, "shape"), (8, 2, "shape")])
def test_digits_are_validated(side: int, labels: int, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        mnist.validate(np.zeros((2, side, 28), np.uint8), np.zeros(labels, np.uint8), "x")


@pytest.fixture(scope="module")
def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Ten images: digit d is a square of ink of brightness 20 d + 20, with MNIST's margin of four."""
    images = np.zeros((10, 28, 28), np.uint8)
    for digit in range(10):
        images[digit, 4:24, 4:24] = 20 * digit + 20
    return images, np.arange(10, dtype=np.uint8)


@pytest.mark.parametrize("overlap", [False, True])
def test_masks_name_the_digit_that_is_seen(
    blocks: tuple[np.ndarray, np.ndarray], overlap: bool
) -> None:
    canvases = m2nist.compose(*blocks, 300, np.random.default_rng(0), overlap=overlap)
    assert canvases.images.shape == canvases.masks.shape == (300, 64, 84)
    assert canvases.images.dtype == canvases.masks.dtype == np.uint8
    assert len(canvases) == 300
    ink = canvases.images > 0
    np.testing.assert_array_equal(ink, canvases.masks != m2nist.BACKGROUND)
    np.testing.assert_array_equal(canvases.images[ink] // 20 - 1, canvases.masks[ink])


def test_placement_is_that_of_m2nist(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    canvases = m2nist.compose(*blocks, 4000, np.random.default_rng(1))
    ink = canvases.masks != m2nist.BACKGROUND
    columns = ink.any(axis=1)  # [n, 84]
    first = columns.argmax(axis=1)
    assert (first.min(), first.max()) == (4, 13)  # x0 in 0..9 and the margin of four
    rows = ink.any(axis=2)
    assert rows[:, :4].sum() == 0
    assert rows[:, 4].any()
    assert rows[:, 59].any()
    assert rows[:, 60:].sum() == 0
    third = columns[:, 70:].any(axis=1).mean()  # needs three digits (1/2) and x0 = 56 (1/10)
    assert 0.03 < third < 0.07
    area = ink.sum(axis=(1, 2)).mean() / 400  # digits a canvas
    assert 2.0 < area < 2.08


@pytest.mark.parametrize(("fewest", "most"), [(2, 1), (2, 2), (2, 3), (3, 3)])
def test_number_of_digits(blocks: tuple[np.ndarray, np.ndarray], fewest: int, most: int) -> None:
    canvases = m2nist.compose(
        *blocks, 200, np.random.default_rng(2), min_digits=fewest, max_digits=most, width=200
    )
    areas = (canvases.masks != m2nist.BACKGROUND).sum(axis=(1, 2)) / 400
    assert areas.min() >= min(fewest, most) - 0.3  # neighbours may share a few columns of ink
    assert areas.max() <= most


def test_overlap_reaches_every_place(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    canvases = m2nist.compose(*blocks, 3000, np.random.default_rng(3), overlap=True)
    ink = (canvases.masks != m2nist.BACKGROUND).any(axis=0)
    assert ink[4:60, 4:80].all()
    assert not ink[:4].any()


def test_composition_is_seeded(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    a, b, c = (m2nist.compose(*blocks, 20, np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.images, b.images)
    assert (a.images != c.images).any()
    assert len(m2nist.compose(*blocks, 0, np.random.default_rng(0))) == 0


def test_plain_canvases_do_not_depend_on_what_can_vary(
    blocks: tuple[np.ndarray, np.ndarray],
) -> None:
    """The canvases that networks are judged on are pinned; nothing added to the composer moves them."""
    import hashlib

    canvases = m2nist.compose(*blocks, 30, np.random.default_rng(7))
    content = hashlib.sha256(canvases.images.tobytes() + canvases.masks.tobytes()).hexdigest()
    assert content[:16] == "70b681e569a911db"


def test_warp_moves_by_whole_pixels(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    digits = np.repeat(blocks[0][:1], 200, axis=0)
    moved = m2nist.warp(digits, np.random.default_rng(0), shift=3)
    shifts = {
        int(row)
        for row in (moved > 0).any(axis=2).argmax(axis=1) - (digits > 0).any(axis=2).argmax(axis=1)
    }
    assert shifts == set(range(-3, 4))
    assert set(np.unique(moved)) == set(np.unique(digits))  # nothing was interpolated
    np.testing.assert_array_equal(m2nist.warp(digits, np.random.default_rng(0)), digits)


def test_warp_turns_and_stretches_about_the_middle() -> None:
    disc = np.hypot(*(np.mgrid[:28, :28] - 13.5)) < 9
    digits = np.repeat((200 * disc).astype(np.uint8)[None], 50, axis=0)
    turned = m2nist.warp(digits, np.random.default_rng(0), rotation=45.0)
    assert abs((turned >= 100).sum(axis=(1, 2)) - disc.sum()).max() < 20  # a disc stays a disc
    bar = np.zeros((50, 28, 28), np.uint8)
    bar[:, 4:24, 13:15] = 200
    angles = []
    for image in m2nist.warp(bar, np.random.default_rng(1), rotation=30.0):
        rows, columns = np.nonzero(image >= 100)
        angles.append(np.rad2deg(np.arctan(np.polyfit(rows, columns, 1)[0])))
    assert 20 < max(angles) < 32
    assert -32 < min(angles) < -20
    heights = (m2nist.warp(bar, np.random.default_rng(2), zoom=0.2) >= 100).any(axis=2).sum(axis=1)
    assert heights.min() < 18 < 22 < heights.max()
    assert heights.min() >= 15
    assert heights.max() <= 25


def test_noise_leaves_the_masks_alone(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    plain = m2nist.compose(*blocks, 40, np.random.default_rng(3))
    noisy = m2nist.compose(*blocks, 40, np.random.default_rng(3), noise=10.0)
    np.testing.assert_array_equal(plain.masks, noisy.masks)
    ink = (plain.images > 60) & (plain.images < 200)
    difference = noisy.images[ink].astype(float) - plain.images[ink]
    assert abs(difference.mean()) < 0.2
    assert 9.5 < difference.std() < 10.5
    np.testing.assert_array_equal(
        noisy.images, m2nist.compose(*blocks, 40, np.random.default_rng(3), noise=10.0).images
    )


def test_variants_are_seeded_and_named(standin: Path) -> None:
    pool = m2nist.digit_pools().test
    canvases = {name: m2nist.vary(pool, name, 12) for name in m2nist.VARIANTS}
    plain = canvases["plain"]
    np.testing.assert_array_equal(plain.images, m2nist.load(0, 0, 12).test.images)
    np.testing.assert_array_equal(plain.masks, canvases["noise"].masks)
    for name, other in canvases.items():
        assert other.images.shape == (12, 64, 84)
        np.testing.assert_array_equal(other.images, m2nist.vary(pool, name, 12).images)
        assert name == "plain" or (other.images != plain.images).any()
    assert (m2nist.vary(pool, "plain", 12, seed=1).images != plain.images).any()
    with pytest.raises(ConfigError, match="There is no variant 'blue'; choose from plain, overlap"):
        m2nist.vary(pool, "blue", 1)


def test_impossible_canvases(blocks: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="0 digits"):
        m2nist.compose(blocks[0][:0], blocks[1][:0], 1, np.random.default_rng(0))


def test_parts_have_their_own_digits_and_streams(standin: Path) -> None:
    pools = m2nist.digit_pools()
    n = len(pools.train.images)
    assert len(pools.validation.images) == pytest.approx(n / 5, abs=1)
    keys = [
        {image.tobytes() for image in pool.images}
        for pool in (pools.train, pools.validation, pools.test)
    ]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]
    small, large = m2nist.load(5, 4, 3, seed=1), m2nist.load(50, 4, 3, seed=1)
    assert [len(part) for part in (small.train, small.validation, small.test)] == [5, 4, 3]
    np.testing.assert_array_equal(small.test.images, large.test.images)
    assert (small.train.images[:3] != small.test.images).any()
    assert small.source.is_standin
