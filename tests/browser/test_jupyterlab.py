"""The notebooks in JupyterLab, as a person runs them: open, Run All, once more, and look at the page.

Run with ``pytest -m browser tests/browser``; minutes, since every notebook trains its quick preset.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from coursework import settings
from coursework.report.questions import NOTEBOOKS

pytestmark = pytest.mark.browser

ROOT = settings.repo_root()
LONGEST = 900.0

APP = "window.jupyterapp"
PANEL = f"{APP}.shell.currentWidget"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab server on copies of the notebooks, which saves nothing into the checkout."""
    pytest.importorskip("jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    port = free_port()
    environment = os.environ | {
        "COURSEWORK_BUILD": str(folder / "build"),
        "COURSEWORK_PROGRESS": "1",  # a person sees the bars
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    log = (folder / "log.txt").open("w", encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ip=127.0.0.1", "--expose-app-in-browser", "--IdentityProvider.token=",
         "--ServerApp.password=", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api", timeout=2):
                break
            text = (folder / "log.txt").read_text(encoding="utf-8")
            assert server.poll() is None, f"JupyterLab did not start: {text[-800:]}"
            time.sleep(0.5)
        yield url, folder
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def run_all(browser: Any, command: str = "notebook:run-all-cells") -> bool:
    """Give the command and wait for its end; True if a cell was seen to be running meanwhile."""
    browser.execute_script(
        f"window.done = false; {APP}.commands.execute('{command}')"
        ".then(() => {window.done = true}, () => {window.done = true})"
    )
    seen = False
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        seen |= browser.execute_script(
            "return [...document.querySelectorAll('.jp-InputPrompt')]"
            ".some(p => p.textContent.includes('*'))"
        )
        if browser.execute_script("return window.done"):
            return seen
        time.sleep(0.3)
    pytest.fail(f"Run All took more than {LONGEST:.0f} s")


def cells(browser: Any) -> list[dict[str, Any]]:
    text = browser.execute_script(
        f"return JSON.stringify({PANEL}.content.model.toJSON().cells"
        ".filter(c => c.cell_type === 'code' && [c.source].flat().join('').trim()))"
    )
    return list(json.loads(text))


def errors(code: list[dict[str, Any]]) -> list[str]:
    outputs = [output for cell in code for output in cell["outputs"]]
    return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]


def open_notebook(browser: Any, url: str, name: str) -> None:
    browser.get(f"{url}/lab/tree/notebooks/{name}.ipynb?reset")
    assert until(browser, f"{PANEL}?.context?.isReady", 90), "the notebook does not open"
    kernel = f"{PANEL}.context.sessionContext.session?.kernel?.status"
    assert until(browser, f"['idle', 'connected'].includes({kernel})", 90), "no kernel"


@pytest.mark.parametrize("name", list(NOTEBOOKS))
def test_run_all_twice(
    lab: tuple[str, Path],
    open_browser: Callable[..., Any],
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    url, folder = lab
    browser = open_browser(1400, 1000)
    open_notebook(browser, url, name)
    started = time.monotonic()
    seen = run_all(browser)
    seconds = time.monotonic() - started
    code = cells(browser)
    browser.save_screenshot(str(folder / f"{name}.png"))
    assert errors(code) == []
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1)), "a cell was left out"
    assert seen, "no cell was marked as running"

    # what is on the page at its top: tables are tables, equations are set and none is broken
    tables, equations = 0, 0
    for share in range(11):
        browser.execute_script(
            "const box = document.querySelector('.jp-WindowedPanel-outer') || document.body;"
            f"box.scrollTop = box.scrollHeight * {share / 10}"
        )
        time.sleep(0.6)
        found = browser.execute_script(
            "return [document.querySelectorAll('.jp-OutputArea table').length,"
            "document.querySelectorAll('mjx-container').length,"
            "document.querySelectorAll('mjx-merror, .MathJax_Error').length]"
        )
        tables, equations = tables + found[0], equations + found[1]
        assert found[2] == 0, "an equation could not be set"
    assert tables, "no table was rendered"
    assert equations, "no equation was rendered"

    # once more in the same kernel, without a restart
    run_all(browser)
    code = cells(browser)
    assert errors(code) == []
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(len(code) + 1, 2 * len(code) + 1))
    request.node.user_properties.append(("seconds", f"{seconds:.0f}"))
    print(f"{name}: Run All took {seconds:.0f} s")


def test_start_at_a_section_in_a_new_kernel(
    lab: tuple[str, Path], open_browser: Callable[..., Any]
) -> None:
    """Run > Run All Above Selected Cell brings what a section needs; then it runs cell by cell."""
    url, _ = lab
    browser = open_browser(1400, 1000)
    open_notebook(browser, url, "6_theory")
    content = f"{PANEL}.content"
    run_all(browser, "notebook:clear-all-cell-outputs")  # the counts, too
    heads = browser.execute_script(
        f"return {content}.model.toJSON().cells"
        ".map((c, i) => [[c.source].flat().join(''), i])"
        ".filter(p => p[0].startsWith('## ')).map(p => p[1])"
    )
    start, stop = heads[len(heads) // 2 : len(heads) // 2 + 2]
    browser.execute_script(f"{content}.activeCellIndex = {start}")
    run_all(browser, "notebook:run-all-above")
    for index in range(start, stop):
        browser.execute_script(f"{content}.deselectAll(); {content}.activeCellIndex = {index}")
        run_all(browser, "notebook:run-cell")
    code = cells(browser)
    assert errors(code) == []
    counts = [cell["execution_count"] for cell in code if cell["execution_count"]]
    above = sum(
        browser.execute_script(
            f"return {content}.model.toJSON().cells.slice(0, {stop})"
            ".map(c => c.cell_type === 'code' && [c.source].flat().join('').trim() ? 1 : 0)"
        )
    )
    assert counts == list(range(1, above + 1)), "a cell was left out, or one too many was run"
