"""Files that are whole or not there: written beside their place and renamed into it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` once it is whole; what stood there moves to ``keep``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that nobody else may read
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def write(path: Path | str, content: str | bytes) -> Path:
    """Put ``content`` (text as UTF-8) at ``path`` in one step, see :func:`replacing`."""
    path = Path(path)
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path
