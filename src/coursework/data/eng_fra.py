"""English-French sentence pairs of the PyTorch seq2seq tutorial (from Tatoeba), and its subset of them."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coursework.data import archives, sources
from coursework.data.sources import Source
from coursework.data.splits import Fractions, Split, group_split, random_split, shared_key_groups

MEMBER = "data/eng-fra.txt"
MAX_LENGTH = 10
PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ",
    "you are", "you re ", "we are", "we re ", "they are", "they re ",
)  # fmt: skip
FRACTIONS: Fractions = (0.9, 0.05, 0.05)
_N_PAIRS = 135_842
Pair = tuple[str, str]


@dataclass(frozen=True)
class EnglishFrench:
    """Sentence pairs as they stand in the file: ``english[i]`` and ``french[i]`` translate each other."""

    english: list[str]
    french: list[str]
    source: Source

    def __len__(self) -> int:
        return len(self.english)


def parse(text: str, where: str) -> tuple[list[str], list[str]]:
    """Split lines of "English, tabulator, French"."""
    english, french = [], []
    for number, line in enumerate(text.strip("\n").split("\n"), start=1):
        columns = line.rstrip("\r").split("\t")
        if len(columns) != 2 or not all(map(str.strip, columns)):
            what = f"Line {number} of {where} does not have two columns, English and French"
            raise archives.wrong(what)
        english.append(columns[0])
        french.append(columns[1])
    return english, french


def _read(path: Path) -> tuple[list[str], list[str]]:
    with archives.reading(path):
        text = archives.member(path, MEMBER).decode("utf-8")
    return parse(text, f"{path} ({MEMBER})")


def load() -> EnglishFrench:
    """All 135,842 sentence pairs as written; sentences of a small grammar as a stand-in."""
    source = sources.find("eng-fra")
    if source.is_standin:
        from coursework.data import standins

        english, french = standins.sentence_pairs()
        return EnglishFrench(list(english), list(french), source)
    english, french = _read(source.files[0])
    if (n := len(english)) != _N_PAIRS:
        raise archives.wrong(f"{source.files[0]} has {n:,} pairs instead of {_N_PAIRS:,}")
    return EnglishFrench(english, french, source)


_NO_LETTERS = re.compile(r"[^a-zA-Z!?]+")
_ENDS = re.compile(r"([.!?])")


def normalise(text: str) -> str:
    """The tutorial's normalisation: lower case, no accents, only letters and ``!`` ``?``."""
    text = unicodedata.normalize("NFD", text.lower().strip())
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    return _NO_LETTERS.sub(" ", _ENDS.sub(r" \1", text)).strip()


def tutorial_pairs(data: EnglishFrench) -> list[Pair]:
    """The tutorial's subset: pairs (French, English), normalised, in the order of the file.

    Fewer than ten words on both sides, and the English one begins like "i am" or "he is". The real data
    give 11,445 pairs of 4,601 French and 2,991 English words, beginning and end of a sentence included.
    """
    kept = []
    for english, french in zip(data.english, data.french, strict=True):
        target = normalise(english)
        if not target.startswith(PREFIXES) or len(target.split(" ")) >= MAX_LENGTH:
            continue
        source = normalise(french)
        if len(source.split(" ")) < MAX_LENGTH:
            kept.append((source, target))
    return kept


def split_by_component(pairs: Sequence[Pair]) -> Split:
    """Keep all pairs that share a sentence, French or English, directly or through others, on one side."""
    return group_split(shared_key_groups(pairs), FRACTIONS, 0)


def split_random(pairs: Sequence[Pair]) -> Split:
    """Split pair by pair, so that half of the test sentences also stand in the training part."""
    return random_split(len(pairs), FRACTIONS, 0)
