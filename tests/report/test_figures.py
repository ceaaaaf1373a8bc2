"""Figures: a text for those who cannot see them, colours that everyone can tell apart, labelled axes."""

from __future__ import annotations

import ast
import base64
import io
import itertools
import re
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from PIL import Image

from coursework import settings
from coursework.experiments import canvas
from coursework.report import alt, figures
from coursework.report.questions import NOTEBOOKS

ROOT = settings.repo_root()


def cells(name: str) -> list[Any]:
    """Code cells that draw or show a figure."""
    document = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    return [cell for cell in code if "figures." in cell.source or alt.names(cell.source)]


SHOWN = {
    name: [found for cell in cells(name) for found in alt.names(cell.source)] for name in NOTEBOOKS
}


# ------------------------------------------------------------------------------- alternative text


def test_every_figure_has_a_text_and_no_text_is_left_over() -> None:
    shown = {figure for names in SHOWN.values() for figure in names}
    stored = {path.stem for path in (ROOT / "figures").glob("*.png")}
    assert stored - set(alt.ALT) == set(), "write their texts in report/alt.toml"
    assert shown <= set(alt.ALT) & stored
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert set(alt.ALT) - shown <= set(re.findall(r"figures/(\w+)\.png", page))


@pytest.mark.parametrize("name", list(alt.ALT))
def test_texts_say_what_is_seen_and_hold_no_measured_number(name: str) -> None:
    text = alt.ALT[name]
    assert 15 <= len(text.split()) <= 70
    assert text.endswith(".")
    assert not re.match(r"(?i)(image|picture|figure|plot) ", text), "screen readers say that"
    assert not re.search(r"\d\.\d|\d\s*%", text), "a measured number belongs in the results"


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_stored_pictures_carry_their_text(name: str) -> None:
    pictures = [
        output
        for cell in cells(name)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    texts = [output.metadata.get("image/png", {}).get("alt") for output in pictures]
    assert texts == [alt.text(figure) for figure in SHOWN[name]]


def test_names_are_found_where_a_function_shows_the_figure() -> None:
    assert alt.names('plot("gcn", "4_gat_training")') == ["4_gat_training"]
    assert alt.names("figures.show(fig, '1_new', run.source)") == ["1_new"]
    assert alt.text("1_new_thing") == "Figure 1 new thing"


def test_a_figure_in_a_notebook_is_shown_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(written, "PNG")
    picture = base64.b64encode(written.getvalue()).decode()

    class Shell:
        class display_formatter:
            @staticmethod
            def format(fig: object) -> tuple[dict, dict]:
                return {"image/png": picture, "text/plain": "<Figure size 1x1>"}, {}

    monkeypatch.setattr("IPython.get_ipython", lambda: Shell)
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    figures._display(None, "a curve that falls")  # type: ignore[arg-type]
    ((data,), options) = shown[0]
    assert data["text/plain"] == "a curve that falls"
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
        assert image.mode == "P"  # a palette is a third of the size
        assert image.convert("RGB").getpixel((3, 3)) == (10, 200, 30)
    assert options == {"metadata": {"image/png": {"alt": "a curve that falls"}}, "raw": True}


# ----------------------------------------------------------------------------------------- colours

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB
_MATRICES = """
none 1 0 0  0 1 0  0 0 1
deuteranopia 0.367322 0.860646 -0.227968  0.280085 0.672501 0.047413  -0.01182 0.04294 0.968881
protanopia 0.152286 1.052583 -0.204868  0.114503 0.786281 0.099216  -0.003882 -0.048116 1.051998
tritanopia 1.255528 -0.076749 -0.178779  -0.078411 0.930809 0.147602  0.004733 0.691367 0.3039
xyz 0.4124564 0.3575761 0.1804375  0.2126729 0.7151522 0.072175  0.0193339 0.119192 0.9503041
"""
CONFUSIONS = {
    name: np.array(numbers, float).reshape(3, 3)
    for name, *numbers in map(str.split, _MATRICES.strip().splitlines())
}
TO_XYZ = CONFUSIONS.pop("xyz")


def lab(colour: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """CIELAB of an sRGB colour in [0, 1] as someone with a confusion sees it."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    linear = np.clip(confusion @ linear, 0, 1)
    xyz = TO_XYZ @ linear / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(colours: np.ndarray, confusion: np.ndarray) -> float:
    """Smallest distance between two colours; 2.3 is the least that is noticed side by side."""
    seen = [lab(colour, confusion) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


def cycle() -> np.ndarray:
    with plt.style.context(str(figures.STYLE)):
        names = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return np.array([mpl.colors.to_rgb(name) for name in names])


@pytest.mark.parametrize("confusion", list(CONFUSIONS))
def test_colours_are_told_apart_by_everyone(confusion: str) -> None:
    assert nearest(cycle(), CONFUSIONS[confusion]) > 15
    assert nearest(canvas.PALETTE[:10] / 255, CONFUSIONS[confusion]) > 15


def test_the_measure_finds_a_palette_that_is_not() -> None:
    tab10 = np.array(mpl.colormaps["tab10"].colors)
    assert nearest(tab10, CONFUSIONS["protanopia"]) < 5


def test_first_two_colours_differ_in_print_without_colour() -> None:
    lightness = [lab(colour, np.eye(3))[0] for colour in cycle()[:2]]
    assert abs(lightness[0] - lightness[1]) > 8


# ------------------------------------------------------------------------------ style, axes, sizes


def test_there_is_one_style_file_and_it_is_packaged() -> None:
    found = [p for p in ROOT.rglob("*.mplstyle") if not {".venv", "build"} & set(p.parts)]
    assert found == [figures.STYLE]
    assert "report/*.mplstyle" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_no_notebook_changes_the_style() -> None:
    for name in NOTEBOOKS:
        for cell in cells(name):
            assert "rcParams" not in cell.source
            assert "plt.style" not in cell.source
            assert "plt.subplots" not in cell.source, "use figures.subplots"


DRAWN = re.compile("plot|semilog[xy]|loglog|errorbar|scatter|hist|barh?|step")


def calls(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Methods that are called, and all keywords of calls."""
    methods, keywords = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                methods.add(node.func.attr)
            keywords |= {str(keyword.arg) for keyword in node.keywords}
    return methods, keywords


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_drawn_axes_are_labelled(name: str) -> None:
    checked = 0
    for cell in cells(name):
        methods, keywords = calls(ast.parse(cell.source))
        if "subplots" not in methods or not any(map(DRAWN.fullmatch, methods)):
            continue
        checked += 1
        labelled_x = {"xlabel"} & keywords or {"set_xlabel", "set_xticks"} & methods
        labelled_y = {"ylabel"} & keywords or {"set_ylabel", "set_yticks"} & methods
        assert labelled_x, cell.source
        assert labelled_y, cell.source
    assert checked or name == "5_unet_segmentation"


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_no_text_in_a_figure_is_small(name: str) -> None:
    """8 points in a figure 7 inches wide are 4 at half its size, the least that can still be read."""
    for cell in cells(name):
        for size in re.findall(r"fontsize=(\d+(?:\.\d+)?)", cell.source):
            assert float(size) >= 8, cell.source


def test_pictures_have_pixels_for_half_their_size() -> None:
    """At half the width of a page (3 inches) every picture keeps 150 pixels to the inch."""
    for path in sorted((ROOT / "figures").glob("*.png")):
        with Image.open(path) as picture:
            assert picture.width >= 450, path.name


def test_style_is_readable_in_black_and_white() -> None:
    with plt.style.context(str(figures.STYLE)):
        assert mpl.rcParams["image.cmap"] == "gray_r"
        assert mpl.rcParams["lines.linewidth"] >= 1.5
        assert mpl.rcParams["font.size"] >= 10
