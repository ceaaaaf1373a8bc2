"""A local HTTP server that sends the right file, or breaks off, stalls, redirects, sends other bytes."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = b"The quick brown fox jumps over the lazy dog.\n" * 4000  # 180 kB

SENT = {
    "wrong": CONTENT[::-1],
    "page": b"<html>please log in</html>",
    "endless": CONTENT + CONTENT,
    "same-size": b"<html>".ljust(len(CONTENT)),
    "one-bit": CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]),
    "last-byte": CONTENT[:-1],
    "empty": b"",
}
REDIRECTS = {
    "redirect": "good/file.bin",
    "redirect-twice": "redirect",
    "redirect-loop": "redirect-loop",
    "redirect-to-page": "page",
    "redirect-to-missing": "missing",
    "redirect-to-disk": "file:///etc/hostname",
    "redirect-to-nowhere": "http://[broken",
}


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
        def send(content: bytes, length: int = -1, status: int = 200, **headers: str) -> None:
            """With the right length unless told otherwise; 0 for none."""
            handler.send_response(status)
            if length:
                headers["Content_Length"] = str(len(content) if length < 0 else length)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(content)

        kind = handler.path.strip("/").split("/")[0]
        first = self.asked[handler.path] == 1
        if kind in SENT:
            send(SENT[kind])
        elif kind == "missing":
            send(b"not here", status=404)
        elif kind == "breaks" or (kind == "breaks-once" and first):
            send(CONTENT[: len(CONTENT) // 2], length=len(CONTENT))
        elif kind == "fails-once" and first:
            send(b"busy", status=503)
        elif kind == "stalls":
            send(CONTENT[:1000], length=len(CONTENT))
            self.stop.wait(5)
        elif kind == "slow":
            time.sleep(0.3)
            send(CONTENT)
        elif kind in REDIRECTS:
            place = REDIRECTS[kind]
            send(b"", status=302, Location=place if ":" in place else self.url(place))
        elif kind.startswith("status-"):
            send(b"", status=int(kind.removeprefix("status-")))
        elif kind == "breaks-late":
            send(CONTENT[:-1], length=len(CONTENT))
        elif kind == "breaks-twice":
            send(CONTENT if self.asked[handler.path] > 2 else CONTENT[:10], length=len(CONTENT))
        elif kind == "nothing":
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "reset":  # a reset in place of an orderly end
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        elif kind == "noise":
            handler.wfile.write(bytes(range(256)))
        elif kind == "silent" or (kind == "silent-once" and first):
            self.stop.wait(5)
        elif kind == "drips":
            send(b"", length=0)
            for byte in CONTENT:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.stop.wait(0.05):
                    break
        elif kind in ("no-length", "no-length-short"):
            send(CONTENT if kind == "no-length" else CONTENT[:5000], length=0)
        elif kind in ("chunked", "chunked-breaks"):
            handler.protocol_version = "HTTP/1.1"
            send(b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT), length=0, Transfer_Encoding="chunked")
            if kind == "chunked":
                handler.wfile.write(b"0\r\n\r\n")
            handler.close_connection = True
        elif kind in ("gzip", "gzip-broken"):
            packed = gzip.compress(CONTENT) if kind == "gzip" else b"no gzip at all"
            send(packed, Content_Encoding="gzip")
        else:
            send(CONTENT)
