"""The download of one file, by pooch: verified, tried again, with limits on silence, time and size."""

import functools
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from coursework import settings
from coursework.data import cache

CONNECT_TIMEOUT = 5.0  # seconds until a connection must stand
READ_TIMEOUT = 20.0  # seconds until the next bytes must arrive
SLOWEST = 50_000  # bytes per second; a slower download is given up
RETRIES = 2  # after a failed download, one and two seconds later


class RemoteFile(NamedTuple):
    """A path below data root, cache or package; without ``url`` there is no download."""

    path: str
    url: str
    sha256: str
    size: int
    mirrors: tuple[str, ...] = ()


class Unreachable(Exception):
    """An address that does not give the right file; the message has the reason."""


def _receive(url: str, path: str, pooch: Any, *, size: int, title: str) -> None:
    """What pooch calls to get a file: with a limit on silence, on time and on size."""
    import requests
    import urllib3
    from tqdm import tqdm

    deadline = time.monotonic() + max(2 * READ_TIMEOUT, size / SLOWEST)
    received, hidden = 0, not settings.progress() or size < 1_000_000
    with (
        requests.get(url, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response,
        open(path, "wb") as file,
        tqdm(desc=title, total=size, unit="B", unit_scale=True, leave=False, disable=hidden) as bar,
    ):
        if (status := response.status_code) >= 400:
            final = status < 500 and status not in (408, 425, 429)  # asking again does not help
            raise (Unreachable if final else ValueError)(f"answered {status}")
        try:
            # read1 gives what has arrived; iter_content waits for a whole block, however slow
            while block := response.raw.read1(1 << 16, decode_content=True):
                received += len(block)
                if received > size:
                    raise ValueError(f"sent more than the expected {size:,} bytes")
                if time.monotonic() > deadline:
                    raise requests.ReadTimeout(f"only {received:,} bytes came in time")
                file.write(block)
                bar.update(len(block))
        except urllib3.exceptions.HTTPError as error:  # silence, a broken connection, broken gzip
            raise requests.RequestException(error) from error
    if received < size:
        raise ValueError(f"sent only {received:,} of {size:,} bytes")


# kinds of errors of urllib3 and requests, the special ones first
REASONS = {
    "ReadTimeoutError": "timed out",
    "ProtocolError": "broke off",
    "Timeout": "did not answer in time",
    "ConnectionError": "cannot be reached",
    "HTTPError": "did not answer as a server of files",
    "RequestException": "did not answer as a server of files",
}


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words that follow the name of the host."""
    if "does not match the known hash" in str(error):
        return "sent a file with a wrong SHA-256"
    kinds = {kind.__name__ for kind in type(error.__cause__ or error).__mro__}
    return next((said for name, said in REASONS.items() if name in kinds), str(error))


def fetch(file: RemoteFile, title: str) -> None:
    """Get one file into the cache, from its address or a mirror."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    folder, known, reasons = settings.cache_dir(), {file.path: f"sha256:{file.sha256}"}, []
    receive = functools.partial(_receive, size=file.size, title=title)
    for url in (file.url, *file.mirrors):
        # pooch writes beside the target, compares the checksum, renames, and tries again
        remote = pooch.create(
            folder, "", registry=known, urls={file.path: url}, retry_if_failed=RETRIES
        )
        try:
            remote.fetch(file.path, downloader=receive)
            return
        except (requests.RequestException, ValueError, Unreachable) as error:
            reasons.append(f"{urlsplit(url).netloc} {_reason(error)}")
        except OSError as error:
            raise cache.unwritable(folder / file.path, error) from error
    raise Unreachable("; ".join(reasons))
