"""Members of archives: nothing is unpacked to disk, and nothing grows beyond what is expected.

An archive that names a place outside itself (``../``, an absolute path) was not made by the owners of
the data, so it is refused as a whole; and one that announces or yields more than a limit is a bomb.
"""

from __future__ import annotations

import gzip
import tokenize
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from coursework.errors import DataError

LIMIT = 1 << 30
"""Bytes that a member may have; the largest one of our data sets has a quarter of that."""

BROKEN = (
    OSError,
    EOFError,
    KeyError,  # no such member
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
    SyntaxError,  # NumPy evaluates the header of an array as Python
    tokenize.TokenError,
    ValueError,  # text that is no UTF-8, numbers that are none
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a broken archive and parsing what is in it may raise."""


def check_names(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive with a member outside of it.

    Raises:
        DataError: Naming the member.
    """
    for name in archive.namelist():
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or name[1:2] == ":":
            raise DataError(
                f"{path} has a member {name[:60]!r} outside of it, so it is not the official file; "
                "delete it and fetch it again."
            )


def check_size(size: int, path: Path, name: str, limit: int | None = None) -> None:
    """Refuse a member that is too large.

    Raises:
        DataError: Naming the member and the limit.
    """
    limit = LIMIT if limit is None else limit
    if size > limit:
        raise DataError(
            f"{path} unpacks to more than {limit:,} bytes ({name}), so it is not the official file; "
            "delete it and fetch it again."
        )


def member(path: Path, name: str, *, limit: int | None = None) -> bytes:
    """One member of a zip file.

    Args:
        path: The archive.
        name: Its member.
        limit: Most bytes of it, by default :data:`LIMIT`.

    Raises:
        DataError: If the archive names places outside of it, or the member is larger.
        OSError: Or another of :data:`BROKEN`, if it cannot be read.
    """
    limit = LIMIT if limit is None else limit
    with zipfile.ZipFile(path) as archive:
        check_names(archive, path)
        check_size(archive.getinfo(name).file_size, path, name, limit)
        with archive.open(name) as file:  # the announced size may be wrong
            content = file.read(limit + 1)
    check_size(len(content), path, name, limit)
    return content


def gunzip(path: Path, *, limit: int | None = None) -> bytes:
    """The content of a gzip file.

    Raises:
        DataError: If it has more than ``limit`` bytes.
        OSError: Or another of :data:`BROKEN`, if it cannot be read.
    """
    limit = LIMIT if limit is None else limit
    with gzip.open(path) as file:
        content = file.read(limit + 1)
    check_size(len(content), path, path.name, limit)
    return content
