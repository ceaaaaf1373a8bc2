import gzip
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = b"The quick brown fox jumps over the lazy dog.\n" * 4000  # 180 kB

WHOLE = len(CONTENT)
SENT: dict[str, tuple[bytes, dict[str, Any]]] = {
    "good": (CONTENT, {}),
    "slow": (CONTENT, {}),
    "wrong": (CONTENT[::-1], {}),
    "page": (b"<html>please log in</html>", {}),
    "endless": (CONTENT + CONTENT, {}),
    "same-size": (b"<html>".ljust(WHOLE), {}),
    "one-bit": (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), {}),
    "last-byte": (CONTENT[:-1], {}),
    "empty": (b"", {}),
    "missing": (b"not here", {"status": 404}),
    "fails": (b"busy", {"status": 503}),
    "breaks": (CONTENT[: WHOLE // 2], {"length": WHOLE}),
    "breaks-late": (CONTENT[:-1], {"length": WHOLE}),
    "stalls": (CONTENT[:1000], {"length": WHOLE}),
    "no-length": (CONTENT, {"length": 0}),
    "no-length-short": (CONTENT[:5000], {"length": 0}),
    "gzip": (gzip.compress(CONTENT), {"Content_Encoding": "gzip"}),
    "gzip-broken": (b"no gzip at all", {"Content_Encoding": "gzip"}),
}
TIMES = {"breaks-once": 1, "fails-once": 1, "silent-once": 1, "breaks-twice": 2}
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
        if kind in TIMES:
            kind = kind.split("-")[0] if self.asked[handler.path] <= TIMES[kind] else "good"
        if kind == "slow":
            time.sleep(0.3)
        if kind in SENT:
            content, options = SENT[kind]
            send(content, **options)
        if kind in ("stalls", "silent"):
            self.stop.wait(5)
        elif kind in REDIRECTS:
            place = REDIRECTS[kind]
            send(b"", status=302, Location=place if ":" in place else self.url(place))
        elif kind.startswith("status-"):
            send(b"", status=int(kind.removeprefix("status-")))
        elif kind == "nothing":
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "reset":  # a reset in place of an orderly end
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        elif kind == "noise":
            handler.wfile.write(bytes(range(256)))
        elif kind == "drips":
            send(b"", length=0)
            for byte in CONTENT:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.stop.wait(0.05):
                    break
        elif kind in ("chunked", "chunked-breaks"):
            handler.protocol_version = "HTTP/1.1"
            send(b"%x\r\n%s\r\n" % (WHOLE, CONTENT), length=0, Transfer_Encoding="chunked")
            if kind == "chunked":
                handler.wfile.write(b"0\r\n\r\n")
            handler.close_connection = True
