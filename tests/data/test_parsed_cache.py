"""Parsed forms: built once, never half-written, a clear error where they cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coursework.data import cache
from coursework.errors import DataError


class Builder:
    """Counts how often it is asked to build."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> cache.Arrays:
        self.calls += 1
        return {"a": np.arange(5000), "b": np.array([1.5])}


def test_built_once_and_mapped(standin: Path) -> None:
    build = Builder()
    first = cache.arrays("form", "key", build)
    second = cache.arrays("form", "key", build)
    assert build.calls == 1
    for arrays in (first, second):
        np.testing.assert_array_equal(arrays["a"], np.arange(5000))
        assert isinstance(arrays["a"], np.memmap)
    cache.arrays("form", "other", build)
    assert build.calls == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [("a.npy", b"half"), ("b.npy", None), ("index.json", None), ("index.json", b'{"a": ')],
)
def test_damaged_form_is_built_again(standin: Path, file: str, content: bytes | None) -> None:
    build = Builder()
    cache.arrays("form", "key", build)
    path = standin / "parsed" / "form-key" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    arrays = cache.arrays("form", "key", build)
    assert build.calls == 2
    np.testing.assert_array_equal(arrays["a"], np.arange(5000))


def test_failed_build_leaves_nothing(standin: Path) -> None:
    def fail() -> cache.Arrays:
        raise DataError("wrong columns")

    with pytest.raises(DataError, match="wrong columns"):
        cache.arrays("form", "key", fail)
    assert not list((standin / "parsed").glob("*")) if (standin / "parsed").exists() else True
    assert cache.arrays("form", "key", Builder())["b"][0] == 1.5


def test_disk_full_while_writing(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, array: np.ndarray, **kwargs: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*COURSEWORK_CACHE"):
        cache.arrays("form", "key", Builder())
    assert list((standin / "parsed").iterdir()) == []


def test_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="COURSEWORK_CACHE"):
        cache.arrays("form", "key", Builder())
    cache.note(tmp_path / "file" / "note.json", "key", 1)  # only work done twice


def test_notes(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "note.json"
    assert cache.read_json(path) == {}
    cache.note(path, "a", 1)
    cache.note(path, "b", [1, 2])
    assert cache.read_json(path) == {"a": 1, "b": [1, 2]}
    path.write_text("[1]")
    assert cache.read_json(path) == {}


def test_key_depends_on_every_part() -> None:
    assert len({cache.key_of(*parts) for parts in (("a", 1), ("a", 2), ("b", 1), ("a1",))}) == 4
