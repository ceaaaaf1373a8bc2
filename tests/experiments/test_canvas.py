"""Images from files and arrays, masks in colour, and the tiles of large images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coursework.errors import ConfigError, DataError
from coursework.experiments import canvas

GREY = np.random.default_rng(0).integers(0, 256, (9, 13)).astype(np.uint8)


def test_grey_colour_and_fractions_are_one_image() -> None:
    colour = np.repeat(GREY[:, :, None], 3, axis=2)
    opaque = np.concatenate([colour, np.full((*GREY.shape, 1), 255, np.uint8)], axis=2)
    for same in (GREY, GREY[:, :, None], GREY / 255, GREY.astype(np.int64), colour, opaque):
        np.testing.assert_allclose(canvas.as_grey(same).numpy(), GREY / 255, atol=1e-6)
    opaque[:, :, 3] = 0  # transparent is black
    assert canvas.as_grey(opaque).max() == 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 2, 2)), "has shape"),
        (np.zeros((4, 4, 2)), "has shape"),
        (np.zeros(4), "has shape"),
        (np.zeros((0, 4)), "no pixels"),
        (np.full((4, 4), 2.0), "values from 2 to 2"),
        (np.full((4, 4), np.nan), "values from nan"),
        (np.full((4, 4), -1), "values from -1"),
        (np.full((4, 4), 256), "values from 256"),
        (np.array([["a"]]), "one of numbers"),
    ],
)
def test_what_is_no_image(image: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        canvas.as_grey(image)


def test_pictures_and_array_files_are_one_image(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(GREY)
    for mode in ("L", "RGB", "RGBA", "LA", "P"):  # the numbers of P are places in a palette
        picture.convert(mode).save(tmp_path / f"{mode}.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    np.save(tmp_path / "array.npy", GREY / 255)
    np.savez(tmp_path / "array.npz", GREY)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    for path in files:
        found = canvas.as_grey(canvas.read_image(path))
        np.testing.assert_allclose(found.numpy(), GREY / 255, atol=1e-4, err_msg=path.name)
    Image.fromarray(GREY > 99).save(tmp_path / "bits.png")
    bits = canvas.as_grey(canvas.read_image(tmp_path / "bits.png"))
    np.testing.assert_allclose(bits.numpy(), GREY > 99, atol=1e-6)


@pytest.mark.parametrize("name", ["text.png", "text.npy", "text.npz", "cut.png", "object.npy"])
def test_files_that_are_no_images(tmp_path: Path, name: str) -> None:
    from PIL import Image

    path = tmp_path / name
    if name == "cut.png":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "object.npy":
        np.save(path, np.array([{}]), allow_pickle=True)
    else:
        path.write_text("no image")
    with pytest.raises(DataError, match="neither an image nor an array file"):
        canvas.read_image(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", np.zeros(1), np.zeros(1))
    for path, message in (
        (tmp_path / "two.npz", "holds 2 arrays; give one"),
        (tmp_path / "none.png", "There is no file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            canvas.read_image(path)


def test_overlay_colours_the_digits_only() -> None:
    image, mask = np.array([[0, 255, 100]], np.uint8), np.array([[10, 3, 10]], np.uint8)
    picture = np.asarray(canvas.overlay(image, mask, strength=1.0))
    assert picture.shape == (1, 3, 3)
    assert picture[0].tolist() == [[0, 0, 0], canvas.PALETTE[3].tolist(), [100, 100, 100]]
    faint = np.asarray(canvas.overlay(image, mask, strength=0.0))
    assert faint[0, 1].tolist() == [255, 255, 255]
    with pytest.raises(DataError, match="but the mask"):
        canvas.overlay(image, mask.T)


def test_colour() -> None:
    picture = canvas.colour(np.array([[0, 10]], np.uint8))
    assert picture.size == (2, 1)
    assert picture.getpixel((1, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == tuple(canvas.PALETTE[0])
    assert len(np.unique(canvas.PALETTE, axis=0)) == 11
    with pytest.raises(DataError, match="whole numbers from 0 to 10"):
        canvas.colour(np.array([[11]]))


def test_names_of_the_mask_and_the_overlay() -> None:
    image = Path("folder/scan.jpg")
    mask, over = canvas.mask_files(image)
    assert (mask, over) == (Path("folder/scan_mask.png"), Path("folder/scan_overlay.png"))
    assert canvas.mask_files(image, Path("x.jpg"))[1] == Path("x_overlay.jpg")
    with pytest.raises(ConfigError, match="not the name of a picture"):
        canvas.mask_files(image, Path("mask.txt"))


def test_tiles_cover_the_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "TILE", 30)
    kept = np.zeros((90, 131), int)
    cut = list(canvas.tiles(90, 131, step=4, margin=9))
    assert len(cut) == 15  # of 32 x 32 pixels: the pooling grid has steps of 4
    for rows, columns, core in cut:
        kept[core] += 1
        assert rows.start % 4 == columns.start % 4 == 0
        assert rows.start == max(core[0].start - 12, 0)  # 9 pixels, rounded up to the grid
        assert columns.stop == min(core[1].stop + 12, 131)
    assert (kept == 1).all()
