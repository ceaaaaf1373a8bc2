from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from coursework.data import cache
from coursework.errors import DataError

pytestmark = pytest.mark.usefixtures("standin")


@pytest.fixture
def build() -> MagicMock:
    return MagicMock(return_value={"a": np.arange(5000), "b": np.array([1.5])})


def test_built_once_and_mapped(build: MagicMock) -> None:
    for _ in range(2):
        arrays = cache.arrays("form", "key", build)
        np.testing.assert_array_equal(arrays["a"], np.arange(5000))
        assert isinstance(arrays["a"], np.memmap)
    assert build.call_count == 1
    cache.arrays("form", "other", build)
    assert build.call_count == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [("a.npy", b"half"), ("b.npy", None), ("index.json", None), ("index.json", b'{"a": ')],
)
def test_damaged_form_is_built_again(
    standin: Path, build: MagicMock, file: str, content: bytes | None
) -> None:
    cache.arrays("form", "key", build)
    path = standin / "parsed" / "form-key" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    arrays = cache.arrays("form", "key", build)
    assert build.call_count == 2
    np.testing.assert_array_equal(arrays["a"], np.arange(5000))


def test_failed_build_leaves_nothing(standin: Path, build: MagicMock) -> None:
    with pytest.raises(DataError, match="wrong columns"):
        cache.arrays("form", "key", MagicMock(side_effect=DataError("wrong columns")))
    assert not [*(standin / "parsed").glob("*")]
    assert cache.arrays("form", "key", build)["b"][0] == 1.5


def test_disk_full_while_writing(
    standin: Path, build: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: np.ndarray, **kwargs: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*COURSEWORK_CACHE"):
        cache.arrays("form", "key", build)
    assert [*(standin / "parsed").iterdir()] == []


def test_unwritable_cache(
    tmp_path: Path, build: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="COURSEWORK_CACHE"):
        cache.arrays("form", "key", build)
    cache.note(tmp_path / "file" / "note.json", "key", 1)  # only work done twice


def test_notes_are_added_and_a_broken_file_has_none(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "note.json"
    assert cache.read_json(path) == {}
    cache.note(path, "a", 1)
    cache.note(path, "b", [1, 2])
    assert cache.read_json(path) == {"a": 1, "b": [1, 2]}
    path.write_text("[1]")
    assert cache.read_json(path) == {}


def test_key_depends_on_every_part() -> None:
    one, two, row = np.array([1]), np.array([2]), np.array([[1, 2]])
    arrays = (row,), (row.T,), (row * 1.0,), (row, one), (one, row), (one, two), (row[0],)
    values = ("a", 1), ("a", 2), ("b", 1), ("a1",), *arrays
    assert len({cache.key_of(*parts) for parts in values}) == 11
