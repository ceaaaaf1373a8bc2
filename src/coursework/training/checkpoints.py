"""Checkpoints: written whole or not at all, read without executing anything; the last two are kept."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from coursework import files
from coursework.errors import CourseworkError, TrainingError

MISFITS = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, CourseworkError)


@contextlib.contextmanager
def fitting(path: Path | str, experiment: str) -> Iterator[None]:
    """Turn whatever a bundle of another version stumbles over into one sentence."""
    try:
        yield
    except MISFITS as error:
        reason = f" ({str(error).rstrip('.')})" if isinstance(error, CourseworkError) else ""
        what = f"does not fit this version of the {experiment} experiment{reason}"
        remedy = "name another file, or train again"
        raise TrainingError(f"Checkpoint {path} {what}; {remedy}.") from error


def save(state: dict[str, Any], path: Path, *, keep_previous: bool = False) -> Path:
    """Write ``state``, tensors and plain values, to ``path`` in one step; see :func:`.files.replacing`."""
    try:
        with files.replacing(path, previous(path) if keep_previous else None) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        what = f"could not be written ({getattr(error, 'strerror', None) or 'disk full?'})"
        remedy = "free some space or point COURSEWORK_CACHE to a folder that can be written"
        raise TrainingError(f"Checkpoint {path} {what}; {remedy}.") from error
    return path


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint; the archive's checksums, which cover all content, are tested first."""
    if not path.is_file():
        raise TrainingError(f"There is no checkpoint at {path}; train first, or name another file.")
    whole, state, why = False, None, None
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        if whole:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on broken bytes the unpickler may raise anything
        why = error
    if isinstance(state, dict):
        return state
    if whole or not b"PK".startswith(path.read_bytes()[:2]):
        raise foreign(path) from why
    what = f"Checkpoint {path} is damaged: cut off, or changed on the disk"
    raise TrainingError(f"{what}; name another file, or train again.") from why


def foreign(path: Path | str) -> TrainingError:
    """The error for a file that has nothing to do with this project."""
    remedy = "name a best.pt that `coursework train` wrote"
    return TrainingError(f"{path} is no checkpoint of this project; {remedy}.")


def load_latest(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint at ``path``, or the one before it where that one is broken, and where it was; None
    where there is no file, TrainingError where none can be read."""
    found = [candidate for candidate in (path, previous(path)) if candidate.is_file()]
    for candidate in found[:-1]:
        with contextlib.suppress(TrainingError):
            return candidate, load(candidate)
    return (found[-1], load(found[-1])) if found else None
