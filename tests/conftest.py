"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests use tiny models: a second thread only waits, and on a busy machine it waits long."""
    torch.set_num_threads(1)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No data root, no network, an empty cache: every loader must fall back to its stand-in."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.delenv("COURSEWORK_DATA", raising=False)
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    monkeypatch.setenv("COURSEWORK_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def _build_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tests never write figures or answers into the checkout."""
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path_factory.getbasetemp() / "build"))
