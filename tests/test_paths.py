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
LONGEST = 140  # of the 260 signs that Windows allows: the rest is for the folder of the checkout


def listed() -> list[tuple[str, str]]:
    command = ["git", "ls-files", "-s", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip("not a git checkout")
    return [(row.split()[0], row.partition("\t")[2]) for row in done.stdout.split("\0") if row]


def problems(paths: list[str]) -> list[str]:
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
    assert [path for mode, path in listed() if mode == "120000"] == [], "symbolic links"


@pytest.mark.parametrize(
    "paths", ["a/aux.py", "con", "a:b", "a.", "a/b A/c", "x.py X.py", "café.py", "a" * 200]
)
def test_bad_paths_are_found(paths: str) -> None:
    assert problems(paths.split())


def opened_without_encoding(source: str) -> list[int]:
    """Lines that open or read text in the encoding of the machine."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        modes = [*map(ast.unparse, call.args), keywords.get("mode", "")]
        # read_text("utf-8") and write_text(text, "utf-8") name it by place
        named = {
            "open": any(re.fullmatch(r"'[rwax+]*b[rwax+]*'", mode) for mode in modes),
            ".read_text": len(call.args) > 0,
            ".write_text": len(call.args) > 1,
        }
        name = getattr(call.func, "id", "") or f".{getattr(call.func, 'attr', '')}"
        if not {"encoding", None} & keywords.keys() and not named.get(name, True):
            found.append(call.lineno)
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
