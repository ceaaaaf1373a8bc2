import ast
import base64
import io
import itertools
import re
from typing import Any
from unittest.mock import MagicMock

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
from coursework_tools.publishing import writeup

ROOT = settings.repo_root()


def cells(name: str) -> list[Any]:
    document = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    return [cell for cell in code if "figures." in cell.source or alt.names(cell.source)]


SHOWN = {
    name: [found for cell in cells(name) for found in alt.names(cell.source)] for name in NOTEBOOKS
}


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
    outputs = (output for cell in cells(name) for output in cell.outputs)
    texts = [
        output.metadata.get("image/png", {}).get("alt")
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    assert texts == [alt.text(figure) for figure in SHOWN[name]]


def test_names_are_found_where_a_function_shows_the_figure() -> None:
    assert alt.names('plot("gcn", "4_gat_training")') == ["4_gat_training"]
    assert alt.names("figures.show(fig, '1_new', run.source)") == ["1_new"]
    assert alt.text("1_new_thing") == "Figure 1 new thing"


def test_a_figure_in_a_notebook_is_shown_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(written, "PNG")
    picture = base64.b64encode(written.getvalue()).decode()
    shell, display = MagicMock(), MagicMock()
    drawn = {"image/png": picture, "text/plain": "<Figure size 1x1>"}
    shell.display_formatter.format.return_value = drawn, {}
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    figures._display(None, "a curve that falls")
    ((data,), options) = display.call_args
    assert data["text/plain"] == "a curve that falls"
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
        assert image.mode == "P"  # a palette is a third of the size
        assert image.convert("RGB").getpixel((3, 3)) == (10, 200, 30)
    assert options == {"metadata": {"image/png": {"alt": "a curve that falls"}}, "raw": True}


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


def test_the_measure_finds_a_palette_that_is_not_and_print_without_colour_has_two_greys() -> None:
    assert nearest(np.array(mpl.colormaps["tab10"].colors), CONFUSIONS["protanopia"]) < 5
    first, second = (lab(colour, np.eye(3))[0] for colour in cycle()[:2])
    assert abs(first - second) > 8


def test_there_is_one_style_file_and_it_is_packaged() -> None:
    found = [p for p in ROOT.rglob("*.mplstyle") if not {".venv", "build"} & set(p.parts)]
    assert found == [figures.STYLE]
    assert "report/*.mplstyle" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_no_notebook_changes_the_style_or_writes_small_text(name: str) -> None:
    """8 points in a figure 7 inches wide are 4 at half its size, the least that can still be read."""
    for cell in cells(name):
        assert not re.search(r"rcParams|plt\.style|plt\.subplots", cell.source), "figures.subplots"
        for size in re.findall(r"fontsize=(\d+(?:\.\d+)?)", cell.source):
            assert float(size) >= 8, cell.source


TEXT_WIDTH = 16.6 / 2.54  # inches, of the PDF


def test_text_in_printed_figures_has_six_points() -> None:
    """Figures are printed smaller than they are drawn; what is not said is 10 points large."""
    checked, printed = 0, re.findall(r'#fig\("([\w-]+)"(?:, width: (\d+)%)?', writeup.text())
    for name, percent in printed:
        for cell in (cell for notebook in NOTEBOOKS for cell in cells(notebook)):
            if f'figures.show(fig, "{name}"' in cell.source:
                size = re.search(r"figsize=\(([\d.]+),", cell.source)
                width = float(size[1]) if size else 7.0
                least = min([10.0, *map(float, re.findall(r"font_?size=(\d+)", cell.source))])
                assert least * TEXT_WIDTH * float(percent or 100) / 100 / width >= 6, name
                checked += size is not None
    assert checked > 20


DRAWN = re.compile("plot|semilog[xy]|loglog|errorbar|scatter|hist|barh?|step")


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_drawn_axes_are_labelled(name: str) -> None:
    checked = 0
    for cell in cells(name):
        calls = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)]
        said = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
        if "subplots" in said and any(map(DRAWN.fullmatch, said)):
            checked += 1
            said |= {f"{keyword.arg}=" for call in calls for keyword in call.keywords}
            for axis in "xy":
                assert said & {f"{axis}label=", f"set_{axis}label", f"set_{axis}ticks"}, cell.source
    assert checked or name == "5_unet_segmentation"


def test_pictures_have_pixels_for_half_their_size() -> None:
    """At half the width of a page (3 inches) every picture keeps 150 pixels to the inch."""
    for path in sorted((ROOT / "figures").glob("*.png")):
        with Image.open(path) as picture:
            assert picture.width >= 450, path.name
