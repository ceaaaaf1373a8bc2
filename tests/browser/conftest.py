"""A real browser, where there is one: Debian's Chromium (`apt-get install chromium chromium-driver`)."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--built-site", help="Look at a site that is built already, e.g. build/site.")
    words = "Store the screenshots anew instead of comparing."
    parser.addoption("--update-screens", action="store_true", help=words)


@pytest.fixture
def open_browser() -> Iterator[Callable[..., Any]]:
    pytest.importorskip("selenium")
    from selenium import webdriver

    driver = shutil.which("chromedriver")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    if binary is None or driver is None:
        pytest.skip("Chromium and its driver are not installed")
    with contextlib.ExitStack() as stack:

        def start(width: int = 1280, height: int = 900, dark: bool = False) -> Any:
            options = webdriver.ChromeOptions()
            options.binary_location = binary
            for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                             "--disable-dev-shm-usage", "--allow-file-access-from-files"):  # fmt: skip
                options.add_argument(argument)
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
            stack.callback(browser.quit)
            browser.set_page_load_timeout(120)
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
            )
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            return browser

        yield start
