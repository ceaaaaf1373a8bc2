import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coursework.data import m2nist, mnist
from coursework.errors import ConfigError

# Ten images: digit d is a square of ink of brightness 20 d + 20, with MNIST's margin of four.
LABELS = np.arange(10, dtype=np.uint8)
SQUARES = np.pad(np.ones((1, 20, 20), np.uint8), ((0, 0), (4, 4), (4, 4))) * (
    20 * LABELS[:, None, None] + 20
)


def compose(n: int, seed: int, **options: Any) -> m2nist.Canvases:
    return m2nist.compose(SQUARES, LABELS, n, np.random.default_rng(seed), **options)


def test_read_idx(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    path = tmp_path / "images.gz"
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    np.testing.assert_array_equal(mnist.read_idx(path), array)


@pytest.mark.parametrize("overlap", [False, True])
def test_masks_name_the_digit_that_is_seen(overlap: bool) -> None:
    canvases = compose(300, 0, overlap=overlap)
    assert canvases.images.shape == canvases.masks.shape == (300, 64, 84)
    assert canvases.images.dtype == canvases.masks.dtype == np.uint8
    assert len(canvases) == 300
    ink = canvases.images > 0
    np.testing.assert_array_equal(ink, canvases.masks != m2nist.BACKGROUND)
    np.testing.assert_array_equal(canvases.images[ink] // 20 - 1, canvases.masks[ink])


def test_placement_is_that_of_m2nist() -> None:
    ink = compose(4000, 1).masks != m2nist.BACKGROUND
    columns = ink.any(axis=1)  # [n, 84]
    first = columns.argmax(axis=1)
    assert (first.min(), first.max()) == (4, 13)  # x0 in 0..9 and the margin of four
    rows = ink.any(axis=(0, 2)).nonzero()[0]
    assert (rows.min(), rows.max()) == (4, 59)
    assert 0.03 < columns[:, 70:].any(axis=1).mean() < 0.07  # three digits: 1/2; x0 = 56: 1/10
    assert 2.0 < ink.sum(axis=(1, 2)).mean() / 400 < 2.08  # digits a canvas


@pytest.mark.parametrize("fewest", [1, 2, 3, 5])
def test_number_of_digits(fewest: int) -> None:
    canvases = compose(200, 2, min_digits=fewest, width=200)
    areas = (canvases.masks != m2nist.BACKGROUND).sum(axis=(1, 2)) / 400
    assert areas.min() >= min(fewest, 3) - 0.3  # neighbours may share a few columns of ink
    assert areas.max() <= 3


def test_overlap_reaches_every_place() -> None:
    ink = (compose(3000, 3, overlap=True).masks != m2nist.BACKGROUND).any(axis=0)
    assert ink[4:60, 4:80].all()
    assert not ink[:4].any()


def test_plain_canvases_do_not_depend_on_what_can_vary() -> None:
    """The canvases that networks are judged on are pinned; nothing added to the composer moves them."""
    canvases = compose(30, 7)
    content = hashlib.sha256(canvases.images.tobytes() + canvases.masks.tobytes()).hexdigest()
    assert content[:16] == "70b681e569a911db"
    assert len(compose(0, 0)) == 0


def test_warp_moves_by_whole_pixels() -> None:
    digits = np.repeat(SQUARES[:1], 200, axis=0)
    moved = m2nist.warp(digits, np.random.default_rng(0), shift=3)
    assert set(moved.any(axis=2).argmax(axis=1).tolist()) == set(range(4 - 3, 4 + 4))
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
    assert 15 <= heights.min() < 18 < 22 < heights.max() <= 25


def test_noise_leaves_the_masks_alone() -> None:
    plain, noisy = compose(40, 3), compose(40, 3, noise=10.0)
    np.testing.assert_array_equal(plain.masks, noisy.masks)
    ink = (plain.images > 60) & (plain.images < 200)
    difference = noisy.images[ink].astype(float) - plain.images[ink]
    assert abs(difference.mean()) < 0.2
    assert 9.5 < difference.std() < 10.5


def test_variants_are_seeded_and_named(standin: Path) -> None:
    pool = m2nist.digit_pools().test
    canvases = {name: m2nist.vary(pool, name, 12) for name in m2nist.VARIANTS}
    plain = canvases["plain"]
    np.testing.assert_array_equal(plain.masks, canvases["noise"].masks)
    for name, other in canvases.items():
        assert other.images.shape == (12, 64, 84)
        np.testing.assert_array_equal(other.images, m2nist.vary(pool, name, 12).images)
        assert name == "plain" or (other.images != plain.images).any()
    with pytest.raises(ConfigError, match="There is no variant 'blue'; choose from plain, overlap"):
        m2nist.vary(pool, "blue", 1)


def test_parts_have_their_own_digits_and_streams(standin: Path) -> None:
    pools = m2nist.digit_pools()
    assert len(pools.validation.images) == pytest.approx(len(pools.train.images) / 5, abs=1)
    one, other = (m2nist.vary(pools.test, "plain", 3, stream=stream) for stream in (1, 2))
    assert (one.images != other.images).any()
    assert pools.source.is_standin
