"""A local HTTP server that misbehaves on demand, data sets that point to it, and the real data."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from coursework.data import sources
from coursework.data.sources import DatasetInfo, RemoteFile

CONTENT = b"The quick brown fox jumps over the lazy dog.\n" * 4000  # 180 kB


class Server:
    """What the tests know of the server: its address and how often each path was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked[self.path] += 1
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                pass  # the client hangs up in some tests

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.httpd.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}/{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        def send(content: bytes, length: int | None = None, status: int = 200) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content) if length is None else length))
            handler.end_headers()
            handler.wfile.write(content)

        kind = handler.path.strip("/").split("/")[0]
        first = self.asked[handler.path] == 1
        if kind == "missing":
            send(b"not here", status=404)
        elif kind == "wrong":
            send(CONTENT[::-1])
        elif kind == "page":
            send(b"<html>please log in</html>")
        elif kind == "endless":
            send(CONTENT + CONTENT)
        elif kind == "breaks" or (kind == "breaks-once" and first):
            send(CONTENT[: len(CONTENT) // 2], length=len(CONTENT))
        elif kind == "fails-once" and first:
            send(b"busy", status=503)
        elif kind == "stalls":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(CONTENT)))
            handler.end_headers()
            handler.wfile.write(CONTENT[:1000])
            handler.wfile.flush()
            self.stop.wait(5)
        elif kind == "slow":
            time.sleep(0.3)
            send(CONTENT)
        elif kind == "redirect":
            handler.send_response(302)
            handler.send_header("Location", self.url("good/file.bin"))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            send(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The running server; limits on time are short."""
    monkeypatch.setattr(sources, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(sources, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(sources, "BACKOFF", 0.01)
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
    """No data root, an empty cache, downloads allowed."""
    monkeypatch.delenv("COURSEWORK_DATA", raising=False)
    monkeypatch.setenv("COURSEWORK_OFFLINE", "0")
    monkeypatch.setenv("COURSEWORK_PROGRESS", "0")
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


AddDataset = Callable[..., DatasetInfo]


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> AddDataset:
    """Put a data set of one small file, with the given addresses, in Cora's place."""
    monkeypatch.setattr(sources, "_announced", set())

    def add(url: str, *mirrors: str, sha256: str | None = None) -> DatasetInfo:
        digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
        file = RemoteFile("folder/file.bin", url, digest, len(CONTENT), mirrors)
        entry = DatasetInfo(
            name="cora",
            title="a file",
            licence="none",
            homepage="",
            files=(file,),
            standin="a generated graph",
        )
        monkeypatch.setitem(sources.REGISTRY, "cora", entry)
        return entry

    return add


@pytest.fixture
def real() -> Callable[[str], None]:
    """Skip the test unless the real files of a data set are at hand; downloads nothing."""

    def need(name: str) -> None:
        (row,) = sources.status(name)
        if not row.ok:
            pytest.skip(
                f"the real {name} is not at hand: set COURSEWORK_DATA or run `coursework data fetch {name}`"
            )

    return need
