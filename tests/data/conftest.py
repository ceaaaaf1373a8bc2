import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_server import CONTENT, Server

from coursework.data import download, sources
from coursework.data.download import RemoteFile
from coursework.data.sources import DatasetInfo


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    running = Server()
    thread = threading.Thread(target=running.httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.stop.set()
    running.httpd.shutdown()
    running.httpd.server_close()
    thread.join()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("COURSEWORK_DATA", raising=False)
    monkeypatch.setenv("COURSEWORK_OFFLINE", "0")
    monkeypatch.setenv("COURSEWORK_PROGRESS", "0")
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DatasetInfo]:
    monkeypatch.setattr(sources, "_announced", set())

    def add(url: str, *mirrors: str, sha256: str | None = None) -> DatasetInfo:
        digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
        file = RemoteFile("folder/file.bin", url, digest, len(CONTENT), mirrors)
        entry = DatasetInfo("cora", "a file", "none", "", (file,), standin="a generated graph")
        monkeypatch.setitem(sources.REGISTRY, "cora", entry)
        return entry

    return add


@pytest.fixture
def real() -> Callable[[str], None]:
    def need(name: str) -> None:
        if not sources.status(name).ok:
            pytest.skip(
                f"the real {name} is not available: set COURSEWORK_DATA or run `coursework data fetch {name}`"
            )

    return need
