"""Files that can be made again: parsed forms as array files, small notes, locks between processes.

Two processes that do the same work at the same time do not harm each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coursework import files, settings
from coursework.data.archives import BROKEN
from coursework.errors import DataError

Arrays = dict[str, np.ndarray]
LOCK_TIMEOUT = 1800.0  # seconds; a first download on a slow line takes minutes


def unwritable(path: Path, error: OSError) -> DataError:
    """The error for a cache that cannot be written (no permission, disk full)."""
    reason = error.strerror or str(error) or type(error).__name__
    return DataError(
        f"The cache {path} cannot be written ({reason}); free some space or point COURSEWORK_CACHE "
        "to a folder that can be written."
    )


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock ``name`` against other processes and threads, for half an hour at most."""
    from filelock import FileLock, Timeout

    path = settings.cache_dir() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = FileLock(path, timeout=LOCK_TIMEOUT)
        holder.acquire()
    except Timeout as error:
        raise DataError(
            f"Another process has been working on {name} for more than {LOCK_TIMEOUT / 60:.0f} minutes; "
            f"wait for it, or end it and delete {path}."
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        holder.release()


def read_json(path: Path) -> dict[str, Any]:
    """The dictionary stored at ``path``; empty where there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def note(path: Path, key: str, value: Any) -> None:
    """Add one entry to a small JSON file. A note that cannot be written is only work done twice."""
    entries = read_json(path) | {key: value}
    with contextlib.suppress(OSError):
        files.write(path, json.dumps(entries, indent=0, sort_keys=True))


def key_of(*parts: Any) -> str:
    """Short name of a parsed form: digest of the source's checksum, the format version, and so on."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _read(folder: Path, mmap: bool) -> Arrays | None:
    sizes = read_json(folder / "index.json")
    if not sizes:
        return None
    arrays = {}
    try:
        for name, size in sizes.items():
            file = folder / f"{name}.npy"
            if not isinstance(size, int) or file.stat().st_size != size:
                return None
            arrays[name] = np.load(file, mmap_mode="r" if mmap and size > 4096 else None)
    except BROKEN:
        return None
    return arrays


def arrays(name: str, key: str, build: Callable[[], Arrays], *, mmap: bool = True) -> Arrays:
    """Arrays from the cache, or built and stored there.

    The folder ``parsed/NAME-KEY`` holds one ``.npy`` file per array and ``index.json`` with their
    sizes. It is filled under a temporary name and renamed when it is complete; a folder whose files do
    not have the noted sizes is built again.

    Args:
        name: Name of the parsed form, e.g. ``"sentiment140-tokens"``.
        key: What it depends on, see :func:`key_of`.
        build: Makes the arrays.
        mmap: Map the files into memory instead of reading them.
    """
    folder = settings.cache_dir() / "parsed" / f"{name}-{key}"
    found = _read(folder, mmap)
    if found is not None:
        return found
    with lock(f"parsed-{name}-{key}"):
        found = _read(folder, mmap)  # another process may have built it meanwhile
        if found is not None:
            return found
        built = build()
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.mkdir(parents=True)
            sizes = {}
            for array_name, array in built.items():
                file = temporary / f"{array_name}.npy"
                np.save(file, array, allow_pickle=False)
                sizes[array_name] = file.stat().st_size
            files.write(temporary / "index.json", json.dumps(sizes, sort_keys=True))
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _read(folder, mmap) or built
