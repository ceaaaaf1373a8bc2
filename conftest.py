"""Settings of every test run, notebooks included: their kernels inherit this environment."""

import os
from pathlib import Path
from typing import Any

import pytest

import coursework  # noqa: F401  (prepares the import of torchvision, for pytest's process)

ROOT = Path(__file__).parent

os.environ.setdefault("COURSEWORK_PROGRESS", "0")  # no bars in outputs
os.environ.setdefault("PYTHONHASHSEED", "0")
# One thread per kernel: two threads that share their cores with anything else wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What notebooks write under test stays out of the results that `coursework run` leaves.
os.environ.setdefault("COURSEWORK_BUILD", str(ROOT / "build" / "tests"))


@pytest.hookimpl(hookwrapper=True)
def pytest_collectstart(collector: Any) -> Any:
    """Compared cells compare text: rendered pictures and tables differ between library versions."""
    if getattr(collector, "path", None) is not None and collector.path.suffix == ".ipynb":
        collector.skip_compare = (*collector.skip_compare, "text/html", "image/svg+xml", "stderr")
    yield
