"""What would trip a checkout on Windows or macOS: names, links, and files read in another encoding."""

from __future__ import annotations

import ast
import re
import subprocess
import unicodedata
from pathlib import Path, PurePosixPath

import pytest

from coursework import settings

ROOT = settings.repo_root()

RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}
FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]')
LONGEST = 140
"""Windows refuses paths of more than 260 signs; this leaves room for the folder of the checkout."""


def listed() -> list[tuple[str, str]]:
    """(mode, path) of what git tracks."""
    command = ["git", "ls-files", "-s", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [(row.split()[0], row.partition("\t")[2]) for row in done.stdout.split("\0") if row]


def problems(paths: list[str]) -> list[str]:
    """Paths that another system cannot check out."""
    found = []
    seen: dict[str, str] = {}
    for path in paths:
        for part in PurePosixPath(path).parts:
            if FORBIDDEN.search(part) or part.endswith((".", " ")):
                found.append(f"{path}: a sign that Windows forbids")
            if part.partition(".")[0].lower() in RESERVED:
                found.append(f"{path}: a name that Windows reserves")
        if unicodedata.normalize("NFC", path) != path or not path.isascii():
            found.append(f"{path}: letters that macOS stores in another form")
        if len(path) > LONGEST:
            found.append(f"{path}: too long")
        for parent in [path, *map(str, PurePosixPath(path).parents)]:
            other = seen.setdefault(parent.lower(), parent)
            if other != parent:
                found.append(f"{parent} and {other} differ in case only")
    return found


def test_every_path_can_be_checked_out_everywhere() -> None:
    assert problems([path for _, path in listed()]) == []


def test_there_are_no_symbolic_links() -> None:
    assert [path for mode, path in listed() if mode == "120000"] == []


@pytest.mark.parametrize(
    "paths", ["a/aux.py", "con", "a:b", "a.", "a/b A/c", "x.py X.py", "café.py", "a" * 200]
)
def test_bad_paths_are_found(paths: str) -> None:
    assert problems(paths.split())


def opened_without_encoding(source: str) -> list[int]:
    """Lines that open or read text in the encoding of the machine."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg for keyword in node.keywords}
        if "encoding" in keywords or None in keywords:
            continue
        modes = [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
        binary = any(re.fullmatch(r"'[rwax+]*b[rwax+]*'", ast.unparse(mode)) for mode in modes)
        name = getattr(node.func, "id", "") or f".{getattr(node.func, 'attr', '')}"
        # read_text("utf-8") and write_text(text, "utf-8") name it by place
        if (
            (name == "open" and not binary)
            or (name == ".read_text" and not node.args)
            or (name == ".write_text" and len(node.args) < 2)
        ):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_text_is_read_and_written_as_utf8(path: Path) -> None:
    assert opened_without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("open('x')", [1]),
        ("open('x', 'rb')", []),
        ("open('x', mode='wb')", []),
        ("open('x', encoding='utf-8')", []),
        ("p.read_text()", [1]),
        ("p.read_text('utf-8')", []),
        ("p.write_text('x')", [1]),
        ("p.write_text('x', encoding='utf-8')", []),
        ("webbrowser.open('x')", []),
    ],
)
def test_the_search_for_encodings(source: str, lines: list[int]) -> None:
    assert opened_without_encoding(source) == lines


def test_text_files_are_utf8_with_line_feeds() -> None:
    for _, path in listed():
        if path.endswith((".py", ".md", ".toml", ".txt", ".typ", ".ipynb", ".json", ".cff")):
            raw = (ROOT / path).read_bytes()
            raw.decode("utf-8")
            assert b"\r\n" not in raw, path
            assert not raw.startswith(b"\xef\xbb\xbf"), path
