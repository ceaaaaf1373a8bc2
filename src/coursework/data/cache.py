"""Files that can be made again: parsed forms as arrays, small notes, locks between processes."""

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
from filelock import FileLock

from coursework import files, settings
from coursework.data.archives import BROKEN
from coursework.errors import DataError

Arrays = dict[str, np.ndarray]


def unwritable(path: Path, error: OSError) -> DataError:
    """The error for a cache that cannot be written (no permission, disk full)."""
    what = f"The cache {path} cannot be written ({error.strerror or error})"
    return DataError(f"{what}; free some space or point COURSEWORK_CACHE to another folder.")


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock ``name`` against other processes and threads."""
    path = settings.cache_dir() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path).acquire()
    except OSError as error:
        raise unwritable(path, error) from error
    with held:
        yield


def read_json(path: Path) -> dict[str, Any]:
    """The dictionary stored at ``path``; empty where there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def note(path: Path, key: str, value: Any) -> None:
    """Add one entry to a small JSON file. A note that cannot be written is only work done twice."""
    with contextlib.suppress(OSError):
        files.write(path, json.dumps(read_json(path) | {key: value}, indent=0, sort_keys=True))


def key_of(*parts: Any) -> str:
    """Short name of a parsed form: digest of the source's checksum, the format version, arrays, and so on."""

    def name(part: Any) -> str:
        if not isinstance(part, np.ndarray):
            return str(part)
        return f"{part.dtype.str} {part.shape} {hashlib.sha256(part.tobytes()).hexdigest()}"

    return hashlib.sha256("\n".join(map(name, parts)).encode()).hexdigest()[:16]


def _read(folder: Path) -> Arrays | None:
    sizes, arrays = read_json(folder / "index.json"), {}
    with contextlib.suppress(*BROKEN):
        for name, size in sizes.items():
            if (file := folder / f"{name}.npy").stat().st_size == size:
                arrays[name] = np.load(file, mmap_mode="r" if size > 4096 else None)
    return arrays if sizes and len(arrays) == len(sizes) else None


def arrays(name: str, key: str, build: Callable[[], Arrays]) -> Arrays:
    """Arrays from the cache (``.npy`` files, mapped), or built and stored there; see :func:`key_of`."""
    folder = settings.cache_dir() / "parsed" / f"{name}-{key}"
    if found := _read(folder):
        return found
    with lock(f"parsed-{name}-{key}"):
        if found := _read(folder):  # another process has built it meanwhile
            return found
        built = build()
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.mkdir(parents=True)
            for part, array in built.items():
                np.save(temporary / f"{part}.npy", array, allow_pickle=False)
            sizes = {file.stem: file.stat().st_size for file in temporary.iterdir()}
            files.write(temporary / "index.json", json.dumps(sizes, sort_keys=True))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _read(folder) or built
