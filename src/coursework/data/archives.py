"""Members of archives, never unpacked to disk: none may lie outside the archive or grow beyond a limit."""

import contextlib
import gzip
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from coursework.errors import DataError

LIMIT = 1 << 30  # bytes of a member; the largest one of our data sets has a quarter of that

# what reading a broken archive and parsing its content may raise
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,  # no such member
    RuntimeError,  # an encrypted member, an unknown compression, JSON nested too deeply
    SyntaxError,  # NumPy evaluates the header of an array as Python
    tokenize.TokenError,
    ValueError,  # text that is not UTF-8, numbers that are not numbers
    zipfile.BadZipFile,
    zlib.error,
)


def wrong(problem: str) -> DataError:
    """The error for a file that is not the official one."""
    return DataError(f"{problem}; fetch it again.")


@contextlib.contextmanager
def reading(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn the errors of :data:`BROKEN`, and ``others``, into one that says what to do."""
    try:
        yield
    except BROKEN + others as error:
        kind = "a part is missing" if isinstance(error, KeyError) else "damaged, or of another form"
        reason = getattr(error, "strerror", None) or kind
        raise wrong(f"{path} cannot be read ({reason})") from error


def _content(file: IO[bytes], path: Path, name: str, announced: int = 0) -> bytes:
    # an announced size may be wrong
    if announced > LIMIT or len(content := file.read(LIMIT + 1)) > LIMIT:
        what = f"{path} unpacks to more than {LIMIT:,} bytes ({name})"
        raise wrong(f"{what}, so it is not the official file")
    return content


def member(path: Path, name: str) -> bytes:
    """One member of a zip file; a broken one raises an error of :data:`BROKEN`."""
    with zipfile.ZipFile(path) as archive:
        for other in archive.namelist():
            parts = PurePosixPath(other.replace("\\", "/")).parts
            if ".." in parts or other.startswith(("/", "\\")) or other[1:2] == ":":
                outside = f"{path} has a member {other[:60]!r} outside of it"
                raise wrong(f"{outside}, so it is not the official file")
        with archive.open(name) as file:
            return _content(file, path, name, archive.getinfo(name).file_size)


def gunzip(path: Path) -> bytes:
    """The content of a gzip file; a broken one raises an error of :data:`BROKEN`."""
    with gzip.open(path) as file:
        return _content(file, path, path.name)  # type: ignore[arg-type]
