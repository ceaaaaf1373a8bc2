import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from coursework import settings
from coursework.data import m2nist
from coursework.errors import ConfigError, DataError
from coursework.experiments import canvas, segmentation
from coursework.experiments import segmentation_measures as measures
from coursework.training import checkpoints

GREY = np.random.default_rng(0).integers(0, 256, (9, 13)).astype(np.uint8)
SIXTEEN = GREY.astype(np.uint16) * 257
COLOUR = np.repeat(GREY[:, :, None], 3, axis=2)
OPAQUE = np.concatenate([COLOUR, np.full((9, 13, 1), 255, np.uint8)], axis=2)
PICTURE = Image.fromarray(GREY)
DIGIT = np.zeros((64, 84), np.uint8)
DIGIT[20:40, 30:36] = 255


def tagged(path: Path) -> None:
    """Turned by a quarter, with the tag that says so."""
    tag = Image.Exif()
    tag[0x0112] = 6
    PICTURE.transpose(Image.Transpose.ROTATE_90).save(path, exif=tag)


@pytest.mark.parametrize(
    "same",
    [GREY, GREY[:, :, None], GREY / 255, GREY.astype(np.int64), GREY.astype(np.float32), SIXTEEN,
     SIXTEEN.astype(np.int32), COLOUR, COLOUR / 255, OPAQUE, OPAQUE.astype(np.uint16) * 257],
)  # fmt: skip
def test_arrays_of_any_depth_are_one_image(same: np.ndarray) -> None:
    np.testing.assert_allclose(canvas.as_grey(same).numpy(), GREY / 255, atol=1e-6)


def converted(mode: str) -> Callable[[Path], None]:
    return lambda path: PICTURE.convert(mode).save(path)


SAVED: dict[str, Callable[[Path], Any]] = {
    **{f"{mode}.png": converted(mode) for mode in ("L", "RGB", "RGBA", "LA", "P")},
    "CMYK.tif": lambda p: PICTURE.convert("RGB").convert("CMYK").save(p),
    "F.tif": lambda p: Image.fromarray(GREY.astype(np.float32) / 255).save(p),
    "I.tif": lambda p: Image.fromarray(SIXTEEN.astype(np.int32)).save(p),
    "sixteen.png": lambda p: Image.fromarray(SIXTEEN).save(p),
    "tagged.png": tagged,
    "array.npy": lambda p: np.save(p, GREY / 255),
    "array.npz": lambda p: np.savez(p, GREY),
}  # fmt: skip


@pytest.mark.parametrize("name", SAVED)
def test_files_of_any_kind_are_one_image(name: str, tmp_path: Path) -> None:
    SAVED[name](tmp_path / name)
    found = canvas.as_grey(canvas.read_image(tmp_path / name))
    np.testing.assert_allclose(found.numpy(), GREY / 255, atol=1e-4 if name[0] != "C" else 0.01)


def test_bits_and_transparency(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(GREY > 99).save(path)
    assert (canvas.as_grey(canvas.read_image(path)).numpy() == (GREY > 99)).all()
    clear = OPAQUE * np.array([1, 1, 1, 0], np.uint8)
    assert canvas.as_grey(clear).max() == 0  # transparent is black
    ink = np.dstack([np.zeros((*GREY.shape, 3), np.uint8), GREY])  # black digits on nothing
    np.testing.assert_allclose(canvas.as_grey(ink).numpy(), 1 - GREY / 255, atol=1e-6)
    PICTURE.save(path, transparency=int(GREY[0, 0]))
    found = canvas.as_grey(canvas.read_image(path)).numpy()
    np.testing.assert_allclose(found, np.where(GREY[0, 0] == GREY, 0, GREY / 255), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2)), "has shape"),
        (np.zeros(4), "has shape"),
        (np.zeros((0, 4)), "at least one pixel"),
        (np.full((4, 4), 300.0), "values from 300 to 300"),
        (np.full((4, 4), np.nan), "values from nan"),
        (np.full((4, 4), -1), "values from -1"),
        (np.full((4, 4), 65536), "values from 65536"),
        (np.array([["a"]]), "give numbers"),
    ],
)
def test_what_is_no_image(image: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        canvas.as_grey(image)


def cut_off(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def huge_npy(path: Path) -> None:
    with path.open("wb") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (10**8, 10**8)}
        np.lib.format.write_array_header_1_0(file, head)


NEITHER, NO_FILE = "neither an image nor an array file", "There is no file"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text.png": (lambda p: p.write_text("no image"), NEITHER),
    "text.npy": (lambda p: p.write_text("no image"), NEITHER),
    "text.npz": (lambda p: p.write_text("no image"), NEITHER),
    "cut.png": (cut_off, NEITHER),
    "object.npy": (lambda p: np.save(p, np.array([{}]), allow_pickle=True), NEITHER),
    "huge.npy": (huge_npy, NEITHER),
    "two.npz": (lambda p: np.savez(p, np.zeros(1), np.zeros(1)), "holds 2 arrays; give one"),
    "none.png": (lambda p: None, NO_FILE),
    "folder": (lambda p: p.mkdir(), NO_FILE),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_no_images(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=message):
        canvas.read_image(tmp_path / name)


@pytest.mark.parametrize("most", [70, 120])  # an error from twice as many on, before a warning
def test_a_picture_that_is_too_large(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (10, 15)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(DataError, match=f"more than {most} pixels; give a smaller"):
        canvas.read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("floor", "kept"), [(0, 1), (1, 2), (20, 21), (40, 1)])
def test_what_is_as_dark_as_the_surroundings_becomes_black(floor: int, kept: int) -> None:
    noisy = np.maximum(DIGIT, np.uint8(floor))
    cleaned = canvas.clean(canvas.as_grey(noisy)).numpy() * 255
    np.testing.assert_allclose(cleaned, np.where(noisy < kept, 0, noisy), atol=1e-4)


@pytest.mark.real_data
def test_the_kept_network_marks_compressed_canvases_as_well() -> None:
    kept, pools = settings.checkpoints_dir() / "segmentation.pt", m2nist.digit_pools()
    if not kept.is_file() or pools.source.is_standin:
        pytest.skip("needs the kept checkpoint and the real digits")
    assert kept.stat().st_size <= 8_000_000
    weights = checkpoints.load(kept)["model"].values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float16}
    network, test = segmentation.load(kept), m2nist.vary(pools.test, "plain", 60)
    assert network.config == segmentation.PRESETS["deep"]
    forms = {
        0.99: test.images,
        0.985: np.maximum(test.images, 1),
        0.97: [canvas.through_jpeg(image, 95) for image in test.images],
        0.95: [canvas.through_jpeg(image, 75) for image in test.images],
    }
    for least, images in forms.items():
        found = measures.measure(np.stack([network.predict(image) for image in images]), test.masks)
        assert found["digit_iou"] > least
        assert found["digit_accuracy"] == 1


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (255 - DIGIT, "The background is not dark"),
        (np.maximum(DIGIT, 60), "The background is grey"),
        (DIGIT // 5, "almost black"),
        (np.kron(DIGIT, np.ones((4, 4), np.uint8)), "80 pixels high"),
        (DIGIT[::4, ::4], "5 pixels high"),
        (DIGIT, None),
        (DIGIT * 0, None),
        (canvas.through_jpeg(DIGIT, 75), None),
    ],
)
def test_what_is_not_as_in_training_is_said(image: np.ndarray, said: str | None) -> None:
    config = segmentation.Config(down=(2,), bottleneck=2, up=(2,))
    network = segmentation.Segmenter(segmentation.build(config, True).eval(), config, True)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        network.predict(image)
    assert len(found) == (said is not None)
    assert said is None or said in str(found[0].message)


def test_nothing_is_said_of_test_canvases() -> None:
    for image in m2nist.vary(m2nist.digit_pools().test, "plain", 100).images:
        assert canvas.doubt(torch.from_numpy(image) / 255) is None


def test_overlay_colours_the_digits_only() -> None:
    image, mask = np.array([[0, 255, 100]], np.uint8), np.array([[10, 3, 10]], np.uint8)
    digit = [round(0.6 * share + 0.4 * 255) for share in canvas.PALETTE[3].tolist()]
    picture = np.asarray(canvas.overlay(image, mask))
    assert np.abs(picture.astype(int) - [[[0] * 3, digit, [100] * 3]]).max() <= 1
    with pytest.raises(DataError, match="but the mask"):
        canvas.overlay(image, mask.T)


def test_each_class_has_a_colour_of_its_own() -> None:
    picture = np.asarray(canvas.colour(np.array([[0, 10]], np.uint8)))
    assert picture.tolist() == [[canvas.PALETTE[0].tolist(), [255] * 3]]
    assert len(np.unique(canvas.PALETTE, axis=0)) == 11
    with pytest.raises(DataError, match="whole numbers from 0 to 10"):
        canvas.colour(np.array([[11]]))


def test_names_of_the_mask_and_the_overlay(tmp_path: Path) -> None:
    image = tmp_path / "scan.jpg"
    image.touch()
    assert canvas.mask_files(image) == (tmp_path / "scan_mask.png", tmp_path / "scan_overlay.png")
    assert canvas.mask_files(image, Path("x.jpg"))[1] == Path("x_overlay.jpg")
    with pytest.raises(ConfigError, match="not the name of a picture"):
        canvas.mask_files(image, Path("mask.txt"))
    (mask := tmp_path / "scan_mask.png").touch()  # a ground truth, perhaps
    with pytest.raises(ConfigError, match="is there already"):
        canvas.mask_files(image)
    assert canvas.mask_files(image, mask)[0] == mask
    overlaid = image.rename(tmp_path / "a_overlay.jpg")
    for wanted in (overlaid, tmp_path / "." / overlaid.name, tmp_path / "a.jpg"):
        with pytest.raises(ConfigError, match="is the image itself"):
            canvas.mask_files(overlaid, wanted)


def test_tiles_cover_the_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "TILE", 30)
    image = torch.arange(90 * 131).reshape(90, 131)
    classes = MagicMock(side_effect=lambda tile: tile % 251)
    assert (canvas.in_tiles(image, 4, 9, classes) == (image % 251).numpy()).all()
    seen = [call.args[0] for call in classes.call_args_list]
    assert len(seen) == 15  # of 32 x 32 pixels: the pooling grid has steps of 4
    assert [tuple(tile.shape) for tile in seen[:2]] == [(44, 44), (44, 56)]  # 9, rounded up to 12
    assert all(tile[0, 0] % 131 % 4 == 0 for tile in seen)
