"""The built site in a real browser: at a desk and on a phone, by day and by night."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from waiting import until

from coursework.report.questions import NOTEBOOKS
from coursework_tools.publishing import site

SCREENS = Path(__file__).parent / "screens"

pytestmark = pytest.mark.browser

PAGES = ["index", "rubric", "theory", "benchmark", "api/models"]
PAGES += [f"notebooks/{name}" for name in NOTEBOOKS]
COMPARED = ["index", "theory"]  # their top does not change with results or notebooks
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
TOLERANCE = 14.0  # mean difference of grey levels: a font changes less, a layout more


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--built-site", default=None)
    if given:
        return Path(given).resolve()
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEWORK_BUILD", str(tmp_path_factory.mktemp("build")))
        return site.build()


def look(browser: Any, built: Path, page: str) -> None:
    browser.get((built / f"{page}.html").as_uri())
    settle = "window.MathJax?.startup?.promise?.then(() => {window.settled = true});"
    ready = "document.readyState === 'complete' && (!window.MathJax?.startup || window.settled)"
    until(browser, f"(() => {{{settle} return {ready}}})()", 10)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_fits_its_screen_and_follows_the_scheme(
    built: Path, open_browser: Callable[..., Any], size: str, dark: bool
) -> None:
    browser = open_browser(*SIZES[size], dark=dark)
    for page in PAGES:
        look(browser, built, page)
        wide, screen = browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= screen + 1, f"{page} is {wide} pixels wide on a screen of {screen}"
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        level = np.mean([float(part) for part in colour.strip("rgba()").split(",")[:3]])
        assert (level < 80) == dark, f"{page} has the background {colour}"
        undescribed = browser.execute_script(
            "return [...document.querySelectorAll('main img, article img')].filter(i => !i.alt).length"
        )
        assert undescribed == 0, f"{page} has {undescribed} pictures without a text"
        bad = browser.execute_script("return document.querySelectorAll('mjx-merror').length")
        assert bad == 0, f"{page} has {bad} equations that could not be set"
        severe = [row["message"] for row in browser.get_log("browser") if row["level"] == "SEVERE"]
        assert severe == [], page


def test_equations_are_set_without_a_network(built: Path, open_browser: Callable[..., Any]) -> None:
    browser = open_browser()
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    look(browser, built, "notebooks/6_theory")
    assert browser.execute_script("return document.querySelectorAll('mjx-container').length") > 100


def test_search_finds_a_word(built: Path, open_browser: Callable[..., Any]) -> None:
    browser = open_browser()
    browser.get((built / "search.html").as_uri() + "?q=orthogonal")
    assert until(browser, "document.querySelectorAll('#search-results li').length", 15)


def reduced(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        grey = picture.convert("L")
        return np.asarray(
            grey.resize((64, 64 * grey.height // grey.width), Image.Resampling.BOX), float
        )


@pytest.mark.parametrize("page", COMPARED)
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_look_as_they_did(
    built: Path, open_browser: Callable[..., Any], tmp_path: Path, page: str, size: str, scheme: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    browser = open_browser(*SIZES[size], dark=scheme == "dark")
    look(browser, built, page)
    shot = tmp_path / "shot.png"
    browser.save_screenshot(str(shot))
    now = reduced(shot)
    stored = SCREENS / f"{page}-{size}-{scheme}.png"
    if request.config.getoption("--update-screens", default=False):
        SCREENS.mkdir(exist_ok=True)
        Image.fromarray(now.astype(np.uint8)).save(stored)
        return
    assert stored.is_file(), "run once with --update-screens"
    before = np.asarray(Image.open(stored), float)
    assert now.shape == before.shape
    assert np.abs(now - before).mean() < TOLERANCE
