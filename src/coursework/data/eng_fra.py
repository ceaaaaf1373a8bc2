"""English-French sentence pairs of the PyTorch seq2seq tutorial (from Tatoeba), and its subset of them."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coursework.data import archives, sources, standins
from coursework.data.sources import Source
from coursework.data.splits import Fractions, Split, group_split, random_split, shared_key_groups

MEMBER = "data/eng-fra.txt"
MAX_LENGTH = 10
PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ",
    "you are", "you re ", "we are", "we re ", "they are", "they re ",
)  # fmt: skip
FRACTIONS: Fractions = (0.9, 0.05, 0.05)
Pair = tuple[str, str]


@dataclass(frozen=True)
class EnglishFrench:
    """As they stand in the file: ``english[i]`` and ``french[i]`` translate each other."""

    english: list[str]
    french: list[str]
    source: Source


def parse(text: str, where: str) -> tuple[list[str], list[str]]:
    """Split lines of "English, tabulator, French"."""
    rows = [line.rstrip("\r").split("\t") for line in text.strip("\n").split("\n")]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not all(map(str.strip, row)):
            raise archives.wrong(
                f"Line {number} of {where} lacks its two columns, English and French"
            )
    return [row[0] for row in rows], [row[1] for row in rows]


def _read(path: Path) -> tuple[list[str], list[str]]:
    with archives.reading(path):
        text = archives.member(path, MEMBER).decode("utf-8")
    return parse(text, f"{path} ({MEMBER})")


def load() -> EnglishFrench:
    """All 135,842 sentence pairs as written; sentences of a small grammar as a stand-in."""
    source = sources.find("eng-fra")
    if source.is_standin:
        return EnglishFrench(*standins.sentence_pairs(), source)
    return EnglishFrench(*_read(source.files[0]), source)


_NO_LETTERS = re.compile(r"[^a-zA-Z!?]+")
_ENDS = re.compile(r"([.!?])")


def normalise(text: str) -> str:
    """The tutorial's normalisation: lower case, no accents, only letters and ``!`` ``?``."""
    text = unicodedata.normalize("NFD", text.lower().strip())
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    return _NO_LETTERS.sub(" ", _ENDS.sub(r" \1", text)).strip()


def tutorial_pairs(data: EnglishFrench) -> list[Pair]:
    """The tutorial's subset, 11,445 pairs (French, English) of the real data: normalised, fewer than ten
    words on both sides, and the English one begins like "i am" or "he is"."""
    pairs = zip(map(normalise, data.french), map(normalise, data.english), strict=True)
    return [
        pair
        for pair in pairs
        if pair[1].startswith(PREFIXES) and max(len(s.split(" ")) for s in pair) < MAX_LENGTH
    ]


def split(pairs: Sequence[Pair], kind: Literal["component", "random"] = "component") -> Split:
    """Pairs that share a sentence, directly or through others, on one side; random puts half of the test
    sentences also into the training part."""
    if kind == "component":
        return group_split(shared_key_groups(pairs), fractions=FRACTIONS)
    return random_split(len(pairs), fractions=FRACTIONS)
