"""Problem 1(b): what each cleaning step is worth, and what copies of tweets leak.

One subset is cleaned in many ways, and the same logistic regression (:mod:`.ngrams`) fitted each time and
read on the same validation tweets, so differences have paired intervals. No test tweet is read.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from coursework.config import config
from coursework.data import sentiment140, text
from coursework.data.sentiment140 import TokenisedTweets
from coursework.data.splits import Split
from coursework.data.text import CLEANING_STEPS, URL, USER, CleaningStep, Pieces
from coursework.experiments import ngrams
from coursework.experiments.base import Job, Run, presets
from coursework.stats import paired, wilson

Some = Annotated[int, Field(ge=100)]


@config
class Config:
    train: Some = 200_000  # training tweets of the ablation
    validation: Some = 100_000  # validation tweets of the ablation
    leakage: Some | None = None  # training tweets of the comparison of splits; None: all
    bits: Annotated[int, Field(ge=8)] = ngrams.BITS  # n-grams are hashed into 2^bits columns


PRESETS = presets(Config(), "tweets")


def has(array: pa.Array, pattern: str) -> np.ndarray:
    """Which texts a regular expression (RE2) finds something in, bool ``[n]``."""
    return pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)


class Variant(NamedTuple):
    """One way to clean."""

    name: str
    kind: str  # "step left out", "also removed" or "also kept"
    steps: tuple[CleaningStep, ...] = CLEANING_STEPS
    token: Callable[[str], str | None] | None = None  # another token for each; None drops it
    patterns: tuple[str, ...] = ()  # features of the raw text beside the n-grams


BASE = Variant("all steps", "the pipeline")
_NAMES = r"^(?:\s*@\w+\b)*[^A-Za-z@]*"  # before the first letter that is in no user name
FIRST_LETTER = _NAMES + "[A-Z]", _NAMES + "[a-z]"
# gaps where the emoticon that made the label was cut out: they give the label away
ARTEFACTS = r" $", r"\S {2,}\S"

_EMOTICON = re.compile(
    r"<+/?3+|[>}]?[:;=][-o'~^]?[^:;=]|(?:[)(\]\[]|d)[-o'~^]?[:;=]"
    r"|\^[_.]*\^|-[_.]+-|=_+=|>[_.]+<|t_+t|o[_.]+o"
)
_STRICT_URL = re.compile(
    text.URL_PATTERN.pattern.replace(r"www\.", r"(?<!\w)www\.(?=\w)"), re.IGNORECASE
)
_HOST = re.compile(r"(?:https?:/+)?(?:www\.)?([a-zA-Z0-9-]+)")
_CAPITALS = re.compile(r"(?<![^\W_])[A-Z]{2,}(?![^\W_])")


def _without(drop: Callable[[str], Any]) -> Callable[[str], str | None]:
    return lambda token: None if drop(token) else token


def _stem(token: str) -> str | None:
    from gensim.parsing.preprocessing import stem_text

    return stem_text(token) if token.isalpha() else token


def _domain(link: re.Match[str]) -> str:
    return f" {URL} {found[1]} " if (found := _HOST.match(link[0])) else f" {URL} "


def _with(name: str, function: Callable[[str], str]) -> tuple[CleaningStep, ...]:
    """The pipeline with the function of one step replaced."""
    changed = CleaningStep(f"{name}*", function, "")
    return tuple(changed if step.name == name else step for step in CLEANING_STEPS)


_NAMED = partial(text.USER_PATTERN.sub, lambda match: f" {USER} {match[0][1:]} ")
_STRICT = partial(_STRICT_URL.sub, f" {URL} ")
# the mark is one sign, so one token
_MARK = CleaningStep("capitals", partial(_CAPITALS.sub, "\ue000 \\g<0> "), "NOT")
_LOWER = next(i for i, step in enumerate(CLEANING_STEPS) if step.name == "lower case")
_MARKED = (*CLEANING_STEPS[:_LOWER], _MARK, *CLEANING_STEPS[_LOWER:])
VARIANTS: tuple[Variant, ...] = (
    *(
        Variant(step.name, "step left out", tuple(s for s in CLEANING_STEPS if s is not step))
        for step in CLEANING_STEPS
    ),
    Variant("every step", "step left out", ()),
    Variant("punctuation", "also removed", token=_without(lambda t: not re.search(r"\w", t))),
    Variant("stop words", "also removed", token=_without(ENGLISH_STOP_WORDS.__contains__)),
    Variant("word endings (Porter 1980)", "also removed", token=_stem),
    Variant("<user> and <url>", "also removed", token=_without(lambda t: t in (USER, URL))),
    Variant("left-over emoticons", "also removed", token=_without(_EMOTICON.fullmatch)),
    Variant("user names", "also kept", _with("users", _NAMED)),
    Variant("domains of links", "also kept", _with("urls", partial(text.URL_PATTERN.sub, _domain))),
    Variant("awww... as a word, not a link", "also kept", _with("urls", _STRICT)),
    Variant("mark of words in CAPITALS", "also kept", _MARKED),
    Variant("case of the first letter", "also kept", patterns=FIRST_LETTER),
    Variant("holes of cut-out emoticons", "also kept", patterns=ARTEFACTS),
)
"""What is tried beside the pipeline. The last one gives the label away: it is measured and never used."""


class Ablation(NamedTuple):
    """A row of the ablation; the difference is to the whole pipeline."""

    name: str
    kind: str
    accuracy: float  # on the validation tweets
    difference: float
    low: float  # ends of the paired 95 % interval of the difference
    high: float
    types: int  # distinct tokens of the training tweets


def ablate_cleaning(
    job: Job, data: sentiment140.Sentiment140, split: Split, variants: Sequence[Variant]
) -> list[Ablation]:
    """Validation accuracy of the same model on tweets cleaned in different ways; all steps first.

    A token has the same number in all variants, so equal n-grams are hashed to equal columns.
    """
    rows, cut = np.concatenate([split.train, split.validation]), len(split.train)
    array, labels = data.texts.take(rows), data.labels[rows]
    pieces = Pieces.of(array)
    whole = pieces.tokenise()
    numbers: dict[str, int] = {}  # of each token, in all variants
    found: list[Ablation] = []
    base: np.ndarray | None = None  # where the model of all steps is right
    for variant in (BASE, *variants):
        usual = variant.steps == CLEANING_STEPS
        tokens, offsets, types = whole if usual else pieces.tokenise(variant.steps)
        names = types if variant.token is None else [variant.token(name) for name in types]
        ids = [-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names]
        tokens = np.array(ids, np.int32)[tokens]
        offsets = np.concatenate(([0], np.cumsum(tokens >= 0)))[offsets]
        tokens = tokens[tokens >= 0]
        cleaned = TokenisedTweets(tokens, offsets, [], labels, data.source)
        x = ngrams.features(cleaned, np.arange(len(rows)), job.config.bits)
        if variant.patterns:
            flags = np.stack([has(array, p) for p in variant.patterns], axis=1)
            x = hstack([x, csr_matrix(flags, dtype=np.float32)], format="csr")
        right = ngrams.Linear(x[:cut], labels[:cut], job.seed).predict(x[cut:]) == labels[cut:]
        base = right if base is None else base
        words = len(np.unique(tokens[: offsets[cut]]))
        accuracy, difference = float(right.mean()), paired(right, base)
        found.append(Ablation(variant.name, variant.kind, accuracy, *difference, words))
        job.say(f"{variant.kind}: {variant.name}: {accuracy:.4f} ({difference[0]:+.4f})")
    return found


class Leakage(NamedTuple):
    """The model on one of two splits of equal size, as it is recorded."""

    split: str  # "random" or "grouped"
    accuracy: float  # on its validation tweets
    new: float  # on those whose text is not a training text
    known: float | None  # on those whose text is one
    share_known: float
    n: int  # validation tweets


def leakage(
    tweets: TokenisedTweets, name: str, split: Split, keys: np.ndarray, bits: int, seed: int = 0
) -> Leakage:
    """What copies of training texts (equal ``keys``, ``[N]``) in the validation part are worth."""
    train, validation = split.train, split.validation
    model = ngrams.Linear(ngrams.features(tweets, train, bits), tweets.labels[train], seed)
    right = model.predict(ngrams.features(tweets, validation, bits)) == tweets.labels[validation]
    known = np.isin(keys[validation], keys[train])
    of_known = float(right[known].mean()) if known.any() else None
    shares = float(right.mean()), float(right[~known].mean()), of_known, float(known.mean())
    return Leakage(name, *shares, len(right))


def first(split: Split, train: int | None, validation: int | None) -> Split:
    """The first training and validation rows (None: all), no test row."""
    return Split(split.train[:train], split.validation[:validation], split.test[:0])


def train(job: Job) -> Run:
    """Run the ablation of the cleaning and the comparison of both splits; there is no model to keep."""
    config, bits = job.config, job.config.bits
    data, tweets = sentiment140.load(), sentiment140.load_tokens()
    keys = ngrams.text_keys(tweets)
    random = sentiment140.split(len(data.labels))
    splits = {"random": random, "grouped": sentiment140.split_grouped(keys)}
    some = first(random, config.train, config.validation)
    ablation = ablate_cleaning(job, data, some, VARIANTS)
    third = None if config.leakage is None else round(config.leakage / 3)
    leaks = [
        leakage(tweets, name, first(split, config.leakage, third), keys, bits, job.seed)
        for name, split in splits.items()
    ]
    metrics = {f"{BASE.name}.validation_accuracy": ablation[0].accuracy}
    intervals: dict[str, tuple[float, float, str]] = {}
    how = f"paired, {len(some.validation):,} validation tweets"
    for row in ablation[1:]:
        key = f"{row.kind}: {row.name}"
        metrics[f"{key}.validation_accuracy"] = row.accuracy
        metrics[f"{key}.difference"] = row.difference
        intervals[f"{key}.difference"] = (row.low, row.high, how)
    for leak in leaks:
        name = f"{leak.split} split.validation_accuracy"
        metrics |= {name: leak.accuracy, f"{name}_new_texts": leak.new}
        ends = wilson(round(leak.accuracy * leak.n), leak.n)
        intervals[name] = (*ends, f"Wilson, {leak.n:,} validation tweets")
        job.say(f"{leak.split} split: {leak.accuracy:.4f}, on new texts {leak.new:.4f}")
    notes = {
        "ablation": [list(row) for row in ablation],
        "leakage": [list(row) for row in leaks],
        "sizes": {name: list(split.sizes) for name, split in splits.items()},
        "intervals": intervals,
    }
    artefacts = {"leakage": leaks, "splits": splits}
    return job.run(metrics, data.source, notes=notes, artefacts=artefacts)
