from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # a busy machine is no fault
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests use tiny models: a second thread only waits, and on a busy machine it waits long."""
    torch.set_num_threads(1)


def _standins(patch: pytest.MonkeyPatch, folders: pytest.TempPathFactory) -> Path:
    """No data root, no network, an empty cache: every loader must fall back to its stand-in."""
    cache = folders.mktemp("cache")
    patch.delenv("COURSEWORK_DATA", raising=False)
    patch.setenv("COURSEWORK_OFFLINE", "1")
    patch.setenv("COURSEWORK_CACHE", str(cache))
    return cache


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _standins(monkeypatch, tmp_path_factory)


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same for all tests of a module, and for what its other fixtures train."""
    with pytest.MonkeyPatch.context() as patch:
        yield _standins(patch, tmp_path_factory)


@pytest.fixture(autouse=True)
def _build_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tests never write figures or answers into the checkout."""
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path_factory.getbasetemp() / "build"))
