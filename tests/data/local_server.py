"""A local HTTP server that sends the right file, or breaks off, stalls, redirects, sends other bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
