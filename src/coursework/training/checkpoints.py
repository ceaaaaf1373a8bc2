"""Checkpoints: written beside and renamed into place, read without executing anything.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries, stored by
``torch.save`` and read with ``weights_only=True``. The file before the last is kept, so a checkpoint
that a fault of the disk cut off costs one interval, not the run.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from coursework.errors import CourseworkError, TrainingError


@contextlib.contextmanager
def fitting(path: Path | str, experiment: str) -> Iterator[None]:
    """Turn whatever a bundle of another version stumbles over into one sentence.

    Raises:
        TrainingError: Naming the file and the experiment.
    """
    try:
        yield
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        CourseworkError,
    ) as error:
        reason = f" ({str(error).rstrip('.')})" if isinstance(error, CourseworkError) else ""
        raise TrainingError(
            f"Checkpoint {path} does not fit this version of the {experiment} experiment{reason}; "
            "name another file, or train again."
        ) from error


def save(state: dict[str, Any], path: Path, *, keep_previous: bool = False) -> Path:
    """Write ``state`` to ``path`` atomically.

    Args:
        state: Tensors and plain Python values (anything that ``weights_only`` loading accepts).
        path: Target; its folder is made.
        keep_previous: Keep the file that stood there as ``NAME.previous.pt``.

    Returns:
        The path.

    Raises:
        TrainingError: If the file cannot be written; what stood at ``path`` is untouched.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that nobody else may read
        if keep_previous and path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "disk full?"
        raise TrainingError(
            f"Checkpoint {path} could not be written ({reason}); free some space or point "
            "COURSEWORK_CACHE to a folder that can be written."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return path


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint.

    Every byte is covered by the archive's checksums, which are tested before anything is used.

    Raises:
        TrainingError: If the file is missing, truncated, corrupt, or holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise TrainingError(f"There is no checkpoint at {path}; train first, or name another file.")
    whole, state, why = False, None, None
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        if whole:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle makes the machine below it stumble over anything
        why = error
    if isinstance(state, dict):
        return state
    if whole or not b"PK".startswith(path.read_bytes()[:2]):
        raise foreign(path) from why
    raise TrainingError(
        f"Checkpoint {path} is damaged: cut off, or changed on the disk; name another file, or "
        "train again."
    ) from why


def foreign(path: Path | str) -> TrainingError:
    """The error for a file that has nothing to do with this project."""
    return TrainingError(
        f"{path} is no checkpoint of this project; name a best.pt that `coursework train` wrote."
    )


def load_latest(path: Path) -> dict[str, Any] | None:
    """The checkpoint at ``path``, or the one before it where that one is broken, or None."""
    for candidate in (path, previous(path)):
        if candidate.is_file():
            with contextlib.suppress(TrainingError):
                return load(candidate)
    return None
