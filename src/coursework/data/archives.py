"""Members of archives: nothing is unpacked to disk, and nothing grows beyond what is expected.

An archive that names a place outside itself (``../``, an absolute path) was not made by the owners of
the data, so it is refused as a whole; and one that announces or yields more than a limit is a bomb.
"""

from __future__ import annotations

import contextlib
import gzip
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from coursework.errors import DataError

LIMIT = (
    1 << 30
)  # bytes that a member may have; the largest one of our data sets has a quarter of that

# what reading a broken archive and parsing its content may raise
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,  # no such member
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
    SyntaxError,  # NumPy evaluates the header of an array as Python
    tokenize.TokenError,
    ValueError,  # text that is not UTF-8, numbers that are not numbers
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def reading(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn the errors of :data:`BROKEN`, and ``others``, into one that says what to do."""
    try:
        yield
    except BROKEN + others as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DataError(
            f"{path} cannot be read ({reason}); delete it and fetch it again."
        ) from error


def check_names(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive with a member outside of it."""
    for name in archive.namelist():
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or name[1:2] == ":":
            raise DataError(
                f"{path} has a member {name[:60]!r} outside of it, so it is not the official file; "
                "delete it and fetch it again."
            )


def check_size(size: int, path: Path, name: str, limit: int | None = None) -> None:
    """Refuse a member of more than ``limit`` bytes, by default :data:`LIMIT`."""
    limit = LIMIT if limit is None else limit
    if size > limit:
        raise DataError(
            f"{path} unpacks to more than {limit:,} bytes ({name}), so it is not the official file; "
            "delete it and fetch it again."
        )


def _content(file: IO[bytes], path: Path, name: str, limit: int | None) -> bytes:
    content = file.read((LIMIT if limit is None else limit) + 1)  # an announced size may be wrong
    check_size(len(content), path, name, limit)
    return content


def member(path: Path, name: str, *, limit: int | None = None) -> bytes:
    """One member of a zip file; a broken one raises an error of :data:`BROKEN`."""
    with zipfile.ZipFile(path) as archive:
        check_names(archive, path)
        check_size(archive.getinfo(name).file_size, path, name, limit)
        with archive.open(name) as file:
            return _content(file, path, name, limit)


def gunzip(path: Path, *, limit: int | None = None) -> bytes:
    """The content of a gzip file; a broken one raises an error of :data:`BROKEN`."""
    with gzip.open(path) as file:
        return _content(file, path, path.name, limit)  # type: ignore[arg-type]
