"""Lines of a text file that a user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coursework.errors import DataError


def read_lines(file: Path, say: Callable[[str], object]) -> list[str]:
    """Lines of a file in UTF-8, in UTF-16 with its mark, or else in Windows' Western encoding (and says so).

    Raises:
        DataError: If there is nothing to read.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); name a text file.") from error
    if not raw.strip():
        raise DataError(f"{file} is empty; write one text per line.")
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        say(f"{file} is not UTF-8; read as Windows-1252.")
        text = raw.decode("cp1252", errors="replace")
    # not splitlines(), which also cuts at form feeds and other signs within a line
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
