"""What is handed in for a course: its PDF, and its notebooks, each of which runs alone in an empty
environment: beside it lie the package as a wheel, the recorded results and the trained models."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import questions
from coursework_tools import checkout
from coursework_tools.publishing import writeup

COURSES = {name: homework for name, homework in writeup.DOCUMENTS.items() if homework}
BESIDE = ("writeup/results", "writeup/reading", "data/checkpoints")  # what notebooks show
SETUP = """\
# Where the package is not installed, it is installed from the wheel beside this notebook.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("coursework") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "{wheel}"], check=True)"""


def notebooks_of(course: str) -> list[str]:
    """Notebooks of a course, one per top-level problem, in reading order."""
    homework = COURSES[course]
    return [n for n in questions.NOTEBOOKS if questions.of_notebook(n)[0].homework == homework]


def write(course: str, folder: Path) -> list[Path]:
    """Write what is handed in into an empty folder; the PDF and the notebooks."""
    if course not in COURSES:
        raise ConfigError(f"There is no course {course!r}; choose from {', '.join(COURSES)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; name a new one.")
    root = checkout.inside("pyproject.toml", "coursework submit").parent
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "build" / "lib", ignore_errors=True)  # may hold modules that are gone
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    done = subprocess.run([*command, str(root)], capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise ResultsError(f"The wheel could not be built ({done.stderr.strip()[-200:]}).")
    for place in BESIDE:
        shutil.copytree(root / place, folder / place)
    written = [Path(shutil.copy(writeup.target(course), folder))]
    for name in notebooks_of(course):
        document = checkout.notebook(name)
        cell = nbformat.v4.new_code_cell(SETUP.format(wheel=wheel.name), id="setup")
        document.cells.insert(1, cell)  # below the title
        written.append(folder / f"{name}.ipynb")
        nbformat.write(document, written[-1])
    return written


def check(folder: Path, notebook: str) -> None:
    """Run a written notebook with what lies beside it, without the checkout; ResultsError if it fails."""
    with tempfile.TemporaryDirectory() as place:
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(place)  # first on the path: the checkout's own package is not used
        document = nbformat.read(folder / f"{notebook}.ipynb", as_version=4)
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(document, timeout=1800, resources=resources)
        own = {"COURSEWORK_BUILD": f"{place}/build", "COURSEWORK_CACHE": str(settings.cache_dir())}
        own |= {"COURSEWORK_PROGRESS": "0", "PYTHONPATH": place}
        try:
            client.execute(env=os.environ | own)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            name, value = (getattr(error, key, "") for key in ("ename", "evalue"))
            message = (f"{name}: {value}" if name else str(error))[:200]
            raise ResultsError(f"{notebook} does not run alone in {folder} ({message}).") from error
