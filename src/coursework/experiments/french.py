"""French as people type it, brought into the form of the sentence pairs before a network reads it."""

import re
import unicodedata
from collections.abc import Callable

from coursework.data.text import plain_signs
from coursework.errors import DataError

WORD = re.compile(r"[^\W\d_]+")
_QUOTED = re.compile(r'"\s*([^"]*?)\s*"')
_END = re.compile(r'[.!?]"?\s+(?=["(-]*\s*[^\s"(-])')
# a point behind these, or behind a single capital, ends no sentence
_SHORT = frozenset(
    ("m", "mm", "mme", "mmes", "mlle", "mlles", "dr", "drs", "pr", "mgr", "st", "ste", "mr", "mrs",
     "ms", "cf", "p", "pp", "ex", "env", "av", "apr", "vol", "fig", "tél")
)  # fmt: skip


def typed(text: str) -> str:
    """One line with plain signs: composed letters, ``"`` and ``'`` for all quotes, no odd spaces."""
    if not isinstance(text, str):
        raise DataError(f"A sentence must be text, not {type(text).__name__}.")
    text = plain_signs(unicodedata.normalize("NFC", text))
    text = "".join(c if c.isprintable() else " " for c in text)
    return _QUOTED.sub(r'"\1"', " ".join(text.split()))


def sentences(text: str) -> list[str]:
    """Cut between sentences, but not at abbreviations, initials, in quotations, or before lower case."""
    found, start, lower = [], 0, text.islower()
    for end in _END.finditer(text):
        before, after = text[start : end.end()].strip(), text[end.end() :]
        word = WORD.findall(before)[-1:] or [""]
        short = before.endswith(".") and (
            word[0].lower() in _SHORT or (len(word[0]) == 1 and word[0].isupper())
        )
        goes_on = after.lstrip('"(- ')[:1].islower() and not lower
        answer = before.endswith('"') and after.lstrip("- ").startswith('"')
        if short or goes_on or answer or before.count('"') % 2:
            continue
        found.append(before)
        start = end.end()
    return [s for s in [*found, text[start:].strip()] if s]


def cased(sentence: str, pieces: Callable[[str], int]) -> str:  # number of subwords of a word
    """A typed sentence (all capitals, single words in capitals, or no capital at all) in the usual case."""
    words = WORD.findall(sentence)
    one_case = sentence.islower() or (sentence.isupper() and max(map(len, words), default=0) > 1)

    def usual(match: re.Match[str]) -> str:
        word, lower = match[0], match[0].lower()
        emphasised = word.isupper() and len(word) > 1 and pieces(lower) == 1
        # names are the words that have fewer subwords with a capital
        return min((lower, word.capitalize()), key=pieces) if one_case or emphasised else word

    sentence = WORD.sub(usual, sentence)
    return sentence[:1].upper() + sentence[1:] if one_case else sentence
