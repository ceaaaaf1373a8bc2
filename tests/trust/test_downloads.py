import ast
import gzip
import hashlib
import os
import pickle
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from given import pages, zipped
from local_server import CONTENT, Server

from coursework import settings
from coursework.data import (
    archives,
    download,
    eng_fra,
    mnist,
    planetoid,
    sentiment140,
    sources,
    wikipedia,
)
from coursework.errors import DataError, TrainingError
from coursework.training import checkpoints

SHA = hashlib.sha256(CONTENT).hexdigest()

CASES = tomllib.loads(Path(__file__).with_name("downloads.toml").read_text(encoding="utf-8"))


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".lock")]


Dataset = Callable[..., Any]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("path", CASES["arrives"])
def test_a_verified_file(
    server: Server, online: Path, dataset: Dataset, monkeypatch: Patch, path: str
) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT", 1.0)  # a busy machine is no silent server
    dataset(server.url(path))
    source = sources.find("cora", real=True)
    assert source.files[0].read_bytes() == CONTENT
    assert source.sha256 == SHA
    assert leftovers(online) == ["file.bin"]
    assert sources.status("cora", again=True).ok


@pytest.mark.parametrize(("path", "reason"), CASES["fails"].items())
def test_or_one_clear_sentence(
    server: Server, online: Path, dataset: Dataset, monkeypatch: Patch, path: str, reason: str
) -> None:
    monkeypatch.setattr(
        download, "SLOWEST", 1_000_000
    )  # what is slower is given up: drips end soon
    dataset(server.url(path))
    with pytest.raises(DataError, match=reason) as caught:
        sources.find("cora", real=True)
    message = str(caught.value)
    assert message.startswith("cora cannot be downloaded (")
    assert "try again later, or fetch file.bin from" in message
    assert "\n" not in message
    assert leftovers(online) == []


@pytest.mark.parametrize("path", ["slow", "breaks-once"])
def test_two_processes_at_the_same_time(
    server: Server, online: Path, dataset: Dataset, monkeypatch: Patch, path: str
) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT", 10.0)
    dataset(server.url(path))
    code = f"""
        from coursework.data import sources
        from coursework.data.download import RemoteFile
        from coursework.data.sources import DatasetInfo
        file = RemoteFile("folder/file.bin", {server.url(path)!r}, {SHA!r}, {len(CONTENT)})
        sources.REGISTRY["cora"] = DatasetInfo("cora", "a file", "none", "", (file,), standin="x")
        print("ready", flush=True)
        input()
        print(sources.find("cora", real=True).files[0].stat().st_size)
    """
    command, pipe = [sys.executable, "-c", textwrap.dedent(code)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline().strip() == "ready"
        other.stdin.write("\n")
        other.stdin.flush()
        sources.find("cora", real=True)
        out, _ = other.communicate(timeout=60)
    assert (other.returncode, out.strip()) == (0, str(len(CONTENT)))
    assert sources.status("cora", again=True).ok
    assert server.asked[f"/{path}"] == (1 if path == "slow" else 2)
    assert leftovers(online) == ["file.bin"]


# ------------------------------------------------------------------------------ what a file may hold


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.write_bytes(zipped(members))
    return path


READERS: dict[str, tuple[Callable[[Path], Any], dict[str, bytes]]] = {
    "eng-fra": (eng_fra._read, {eng_fra.MEMBER: b"Go.\tVa !\n"}),
    "sentiment140": (sentiment140.read_csv, {sentiment140.MEMBER: b'"0","1","d","q","u","text"\n'}),
    "wikipedia": (lambda path: wikipedia._read_archive(path, "chameleon"), pages()),
}
OUTSIDE = ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt"]


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("name", READERS)
def test_an_archive_with_a_way_out_is_refused(name: str, outside: str, tmp_path: Path) -> None:
    read, members = READERS[name]
    path = archive(tmp_path / "a.zip", members | {outside: b"x"})
    with pytest.raises(DataError, match="outside of it, so it is not the official file"):
        read(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zip"]


@pytest.mark.parametrize("name", READERS)
def test_a_bomb_is_refused(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    read, members = READERS[name]
    path = archive(tmp_path / "a.zip", members | {list(members)[-1]: b" " * 3_000_000})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(archives, "LIMIT", 1_000_000)
    with pytest.raises(DataError, match="unpacks to more than 1,000,000 bytes"):
        read(path)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(archives, "LIMIT", 1_000_000)
    path = archive(tmp_path / "a.zip", {"m": b" " * 3_000_000})
    raw = path.read_bytes().replace((3_000_000).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    path.write_bytes(raw)
    with pytest.raises((DataError, zipfile.BadZipFile)):
        archives.member(path, "m")


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(3_000_000)))
    monkeypatch.setattr(archives, "LIMIT", 1_000_000)
    with pytest.raises(DataError, match=r"images\.gz unpacks to more than 1,000,000 bytes"):
        mnist.read_idx(path)


class Code:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "made"
    raw, saved = tmp_path / "pickle.pt", tmp_path / "best.pt"
    raw.write_bytes(pickle.dumps({"x": [Code(made)]}))
    torch.save({"model": Code(made)}, saved)
    for path in (saved, raw):
        with pytest.raises(TrainingError, match="is no checkpoint of this project"):
            checkpoints.load(path)
    assert not made.exists()


def test_a_pickle_from_the_network_is_not_opened_before_its_checksum(
    server: Server, online: Path, monkeypatch: Patch, tmp_path: Path
) -> None:
    for file in sources.REGISTRY["cora"].files:
        path = online / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Code(tmp_path / "made")))
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    with pytest.raises(DataError, match="bytes instead of"):
        planetoid.load("Cora")
    assert not (tmp_path / "made").exists()


def test_nothing_of_ours_unpickles_unguarded() -> None:
    safe = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}
    for path in sorted((settings.repo_root() / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                options = {"allow_pickle": "False"}  # numpy's default
                options |= {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
                assert called not in ("pickle.load", "pickle.loads", "joblib.load"), path
                option, value = safe.get(called, ("", None))
                assert options.get(option) == value, path
