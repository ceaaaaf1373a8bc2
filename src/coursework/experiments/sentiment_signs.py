"""How a tweet that somebody types is read: spellings, emoticons and emoji.

The labels of Sentiment140 are faces that were cut out of its tweets. Prediction cuts them out as well and
adds a weight for each to the network's logit; other emoticons stay among the words.
"""

import math
import re
import tomllib
from itertools import product
from pathlib import Path
from typing import NamedTuple

from coursework.data import text as texts
from coursework.data.text import HASHTAG, LONG, URL, USER, Vocabulary

MOST = 6.0  # log odds of all signs of a text
UNDECIDED = 0.4, 0.6  # probabilities between these say nothing


class Sign(NamedTuple):
    """Signs of one meaning and one weight."""

    weight: float  # added to the logit
    label: bool  # whether the labels were made from such faces
    emoticons: str  # regular expression
    emoji: str


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SIGNS: tuple[Sign, ...] = tuple(Sign(**row) for row in _TABLES["signs"])
CONTRACTIONS: dict[str, str] = _TABLES["contractions"]  # without the apostrophe -> with it
_SIGN = re.compile(
    "|".join(f"(?P<g{i}>{sign.emoticons}|[{sign.emoji}])" for i, sign in enumerate(SIGNS)),
    re.IGNORECASE,
)
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")  # tones of the skin
_RUN, _LETTER = re.compile(r"([^\W\d_])\1\1+"), re.compile(r"[^\W\d_]")


class Reading(NamedTuple):
    """A text as it reaches the network, and what stands beside it."""

    tokens: list[str]  # cleaned as the tweets were, in the forms that the vocabulary knows
    signs: dict[str, float]  # emoticons and emoji that were cut out, with their weights
    known: bool  # whether the vocabulary has a word of it

    @property
    def weight(self) -> float:
        """What the signs add to the logit, at most ``MOST`` in either direction."""
        return max(-MOST, min(MOST, sum(self.signs.values())))


def read(text: str, vocabulary: Vocabulary) -> Reading:
    """The tokens and signs of a text; none is left out, however long it is."""
    for step in (texts.unescape, texts.mend_mojibake, texts.plain_signs, texts.replace_urls):
        text = step(text)
    found: dict[str, float] = {}
    learned: set[str] = set()

    def cut(match: re.Match[str]) -> str:
        sign, name = SIGNS[int(str(match.lastgroup)[1:])], match[0].lower()
        if name in vocabulary and not sign.label:
            learned.add(name)
            return f" {name} "
        found[name] = sign.weight
        return " "

    words = texts.tokenise(texts.clean_tweet(_SIGN.sub(cut, _SKIN.sub("", text))))
    tokens: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        tokens += _known_form(word, before == HASHTAG, vocabulary)
    words = [word for word in tokens if word in learned or _LETTER.search(word)]
    known = any(word in vocabulary and word not in (USER, URL, HASHTAG, LONG) for word in words)
    return Reading(tokens, found, known)


def _known_form(word: str, tagged: bool, vocabulary: Vocabulary) -> list[str]:
    """A word in the form that the vocabulary has, if it has one."""
    if CONTRACTIONS.get(word) in vocabulary:
        return [CONTRACTIONS[word]]
    if word in vocabulary:
        return [word]
    start, *runs = _RUN.split(word)  # haaappyyy: h, a, pp, y and nothing
    if 0 < len(runs) <= 8:  # each run of letters once or twice, the most frequent word
        either = [(2 * a + b, a + b) for a, b in zip(runs[::2], runs[1::2], strict=True)]
        forms = [start + "".join(form) for form in product(*either)]
        return [min(forms, key=lambda form: vocabulary.index.get(form, len(vocabulary)))]
    return (_segment(word, vocabulary) if tagged else []) or [word]


def _segment(word: str, vocabulary: Vocabulary) -> list[str]:
    """A hashtag as the most likely words that it is written from (Zipf's law), or nothing."""
    best: list[tuple[float, list[str]]] = [(0.0, [])]  # cost and words of each beginning
    for end in range(1, min(len(word), 40) + 1):
        options = [(math.inf, [""])]
        for start in range(max(0, end - 20), end):
            part, (cost, parts) = word[start:end], best[start]
            if part in vocabulary and (len(part) > 1 or part in "ai"):
                options.append((cost + math.log(vocabulary.index[part] + 1) + 2, [*parts, part]))
        best.append(min(options))
    return best[-1][1] if len(best) > len(word) and best[-1][0] < math.inf else []


def verdict(probability: float, known: bool = True) -> str:
    """What is said of a text, of which a word or a sign is known or not."""
    if not known:
        return "no known word"
    if UNDECIDED[0] <= probability <= UNDECIDED[1]:
        return "undecided"
    return "positive" if probability > 0.5 else "negative"
