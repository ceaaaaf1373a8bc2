"""English-French pairs: parsing, the tutorial's normalisation and filter, splits without a leak."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import eng_fra, sources
from coursework.data.eng_fra import EnglishFrench
from coursework.data.sources import Source
from coursework.errors import DataError

SOURCE = Source("eng-fra", "cache", "", (), "")


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("Go.", "go"),
        ("Va !", "va !"),
        ("Tu es fâchée, n'est-ce pas ?", "tu es fachee n est ce pas ?"),
        ("I'm 19 years-old!", "i m years old !"),
        ("  Ça alors… œuf ", "ca alors uf"),
    ],
)
def test_normalise(raw: str, normal: str) -> None:
    assert eng_fra.normalise(raw) == normal


@given(st.text("aéÉçŒ .!?'-19ıß\u202f", max_size=20))
@settings(deadline=None)
def test_normalise_is_the_tutorials(raw: str) -> None:
    text = raw.lower().strip()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    text = re.sub(r"([.!?])", r" \1", text)
    assert eng_fra.normalise(raw) == re.sub(r"[^a-zA-Z!?]+", r" ", text).strip()


def test_filter() -> None:
    english = [
        "I'm cold.",
        "He is a very old man.",
        "Go.",
        "I am " + "so " * 8 + "ill.",
        "Iam here.",
    ]
    french = ["J'ai froid.", "mot " * 10, "Va.", "Je suis malade.", "Je suis là."]
    data = EnglishFrench(english, french, SOURCE)
    assert eng_fra.tutorial_pairs(data) == [("j ai froid", "i m cold")]
    assert len(data) == 5


@pytest.mark.parametrize("line", ["only one column", "one\ttwo\tthree", "\tleer", "empty\t", ""])
def test_wrong_columns(line: str) -> None:
    with pytest.raises(DataError, match="Line 2 of the file"):
        eng_fra.parse(f"Go.\tVa.\n{line}\nHi.\tSalut.", "the file")


def test_parse_keeps_what_is_written() -> None:
    assert eng_fra.parse("Go.\tVa !\r\nHi.\tSalut.\n", "x") == (["Go.", "Hi."], ["Va !", "Salut."])


def test_a_file_with_few_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(eng_fra.MEMBER, "Go.\tVa.\n")
    found = Source("eng-fra", "cache", "x", (path,), "licence")
    monkeypatch.setattr(sources, "find", lambda name: found)
    with pytest.raises(DataError, match=r"data\.zip .* fetch it again"):
        eng_fra.load()
