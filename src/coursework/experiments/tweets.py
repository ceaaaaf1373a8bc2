"""Problem 1(b): what the tweets look like, what each cleaning step is worth, what copies leak.

Statistics that describe labels come from training rows. The ablation cleans one seeded subset in many
ways and fits the same logistic regression on word 1- to 3-grams (:mod:`.ngrams`) each time; accuracies
are of validation tweets, test tweets are never read. Every variant is measured on the same tweets, so
differences have paired intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from coursework.config import config
from coursework.data import sentiment140, text
from coursework.data.sentiment140 import TokenisedTweets
from coursework.data.splits import Split
from coursework.data.text import CLEANING_STEPS, URL, USER, CleaningStep, Pieces
from coursework.experiments import ngrams
from coursework.experiments.base import Job, Run
from coursework.stats import paired, wilson

if TYPE_CHECKING:
    import pyarrow as pa

Some = Annotated[int, Field(ge=100)]


@config
class Config:
    """Every number of the experiment."""

    train: Some = 200_000  # training tweets of the ablation
    validation: Some = 100_000  # validation tweets of the ablation
    leakage: Some | None = None  # training tweets of the comparison of splits; None: all
    bits: Annotated[int, Field(ge=8)] = ngrams.BITS  # n-grams are hashed into 2^bits columns


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(train=20_000, validation=10_000, leakage=20_000, bits=18),
}


# ------------------------------------------------------------------------------------------- exploration


def as_arrow(texts: Sequence[str], rows: np.ndarray | None = None) -> pa.Array:
    """Texts, or some of them, as an Arrow array of strings."""
    import pyarrow as pa

    if isinstance(texts, sentiment140.Texts):
        array = texts.to_arrow()
    else:
        array = pa.array(list(texts), pa.large_string())
    return array if rows is None else array.take(pa.array(rows))


def characters(texts: Sequence[str]) -> np.ndarray:
    """Number of characters of each text, ``[n]``."""
    import pyarrow.compute as pc

    return pc.utf8_length(as_arrow(texts)).to_numpy()


class TellingWords(NamedTuple):
    """Words by falling score: positive tweets use the first more, negative tweets the last."""

    words: list[str]
    scores: np.ndarray  # z-scores of the log odds ratios
    counts: np.ndarray  # how often negative and positive tweets use them, int64 [n, 2]


def telling_words(tweets: TokenisedTweets, rows: np.ndarray, prior: float = 1000.0) -> TellingWords:
    r"""Log odds ratio with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008) on ``rows``.

    With :math:`y_w^c` uses of word :math:`w` among the :math:`n^c` tokens of class :math:`c` and prior
    counts :math:`\alpha_w`, in all :math:`\alpha_0` (the ``prior``), in proportion to the use of the word
    (equations 16, 20 and 22),

    .. math::
        \delta_w = \log\frac{y_w^1 + \alpha_w}{n^1 + \alpha_0 - y_w^1 - \alpha_w}
                 - \log\frac{y_w^0 + \alpha_w}{n^0 + \alpha_0 - y_w^0 - \alpha_w}, \qquad
        z_w = \delta_w \Big/ \sqrt{\tfrac{1}{y_w^1 + \alpha_w} + \tfrac{1}{y_w^0 + \alpha_w}}
    """
    tokens, lengths = ngrams.take(tweets, rows)
    label = np.repeat(tweets.labels[rows], lengths)
    size = len(tweets.types)
    counts = np.bincount(tokens + label.astype(np.int64) * size, minlength=2 * size)
    counts = counts.reshape(2, size)  # [class, word]
    used = np.flatnonzero(counts.sum(axis=0))
    y = counts[:, used]
    alpha = prior * y.sum(axis=0) / max(y.sum(), 1)  # [word]
    total = y.sum(axis=1, keepdims=True) + prior
    odds = np.log(y + alpha) - np.log(total - y - alpha)
    z = (odds[1] - odds[0]) / np.sqrt((1 / (y + alpha)).sum(axis=0))
    order = np.argsort(-z, kind="stable")
    return TellingWords([tweets.types[i] for i in used[order]], z[order], y[:, order].T)


_THREE_LETTERS = "(?i)" + "|".join(letter * 3 for letter in "abcdefghijklmnopqrstuvwxyz")
# before the first letter that does not belong to a user name
_NAMES = r"^(?:\s*@\w+\b)*[^A-Za-z@]*"
ARTEFACTS = {"space at the end": r" $", "two spaces inside": r"\S {2,}\S"}
"""What cutting the emoticon out left behind: the shadow of the label, not language."""
FIRST_LETTER = {
    "first letter upper case": _NAMES + "[A-Z]",
    "first letter lower case": _NAMES + "[a-z]",
}
PATTERNS: dict[str, str] = {
    "user mention": r"@\w",
    "mention at the start": r"^\s*@\w",
    "link": r"https?:/|www\.\w",
    "hashtag": r"(?:^|\s)#\w*[A-Za-z]",
    "elongation (sooo)": _THREE_LETTERS,
    "word in CAPITALS": r"(?:^|\s)[A-Z]{2,}[.,!?]*(?:\s|$)",
    "!": "!",
    "?": r"\?",
    "..": r"\.\.",
    "left-over emoticon": r"(?:^|\s)(?:[:;=][-o'^]?[)(DPpdO3\]\[|*/\\]|<3|\^[_.]*\^|[)(][-']?[:;=])",
    "all lower case": r"^[^A-Z]*[a-z][^A-Z]*$",
    **FIRST_LETTER,
    **ARTEFACTS,
}
"""Name of a feature -> regular expression (RE2) that finds it in the raw text."""


class Association(NamedTuple):
    """What one feature tells about the label."""

    name: str
    share: float  # of the tweets that have it
    positive: float  # P(positive | feature), and the ends of its 95 % interval (Wilson)
    low: float
    high: float
    without: float  # P(positive | no such feature)


def has(array: pa.Array, pattern: str) -> np.ndarray:
    """Which texts a regular expression (RE2) finds something in, bool ``[n]``."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)


def associations(
    texts: Sequence[str], labels: np.ndarray, rows: np.ndarray, patterns: dict[str, str] = PATTERNS
) -> list[Association]:
    """What each feature that occurs in ``rows`` (give training rows) tells about the label."""
    array, label = as_arrow(texts, rows), labels[rows]
    found = []
    for name, pattern in patterns.items():
        mask = has(array, pattern)
        n, hits = int(mask.sum()), int(label[mask].sum())
        if n:
            without = (int(label.sum()) - hits) / max(len(rows) - n, 1)
            found.append(Association(name, n / len(rows), hits / n, *wilson(hits, n), without))
    return found


def duplicates(tweets: TokenisedTweets, split: Split) -> dict[str, float]:
    """How often the same (cleaned) text occurs, with which labels, and across the split.

    Shares: ``repeated`` tweets whose text occurs more than once, ``both_labels`` those whose text has
    both labels, ``minority_label`` of the repeated ones that contradict the majority of their text,
    ``test_in_train`` test tweets whose text is also a training text.
    """
    keys = ngrams.text_keys(tweets)
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    positive = np.bincount(group, weights=tweets.labels)
    repeated, mixed = size > 1, (positive > 0) & (positive < size)
    minority = np.minimum(positive, size - positive)[repeated].sum()
    return {
        "repeated": float(size[repeated].sum() / len(keys)),
        "both_labels": float(size[mixed].sum() / len(keys)),
        "minority_label": float(minority / max(size[repeated].sum(), 1)),
        "test_in_train": float(np.isin(keys[split.test], keys[split.train]).mean()),
    }


# ---------------------------------------------------------------------------------------------- variants


@dataclass(frozen=True)
class Variant:
    """One way to clean."""

    name: str
    kind: str  # "step left out", "also removed" or "also kept"
    steps: tuple[CleaningStep, ...] = CLEANING_STEPS
    token: Callable[[str], str | None] | None = None  # another token for each; None drops it
    patterns: tuple[str, ...] = ()  # features of the raw text beside the n-grams


BASE = Variant("all steps", "the pipeline")

_EMOTICON = re.compile(
    r"<+/?3+|[>}]?[:;=][-o'~^]?[^:;=]|(?:[)(\]\[]|d)[-o'~^]?[:;=]"
    r"|\^[_.]*\^|-[_.]+-|=_+=|>[_.]+<|t_+t|o[_.]+o"
)
_STRICT_URL = re.compile(text._URL.pattern.replace(r"www\.", r"(?<!\w)www\.(?=\w)"), re.IGNORECASE)
_HOST = re.compile(r"(?:https?:/+)?(?:www\.)?([a-zA-Z0-9-]+)")
_CAPITALS = re.compile(r"(?<![^\W_])[A-Z]{2,}(?![^\W_])")
_CAPITALS_MARK = "\ue000"  # one sign, so one token


def _without(drop: Callable[[str], Any]) -> Callable[[str], str | None]:
    return lambda token: None if drop(token) else token


def _is_stop_word(token: str) -> bool:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return token in ENGLISH_STOP_WORDS


def _stem(token: str) -> str | None:
    from gensim.parsing.preprocessing import stem_text

    return stem_text(token) if token.isalpha() else token


def _keep_names(raw: str) -> str:
    return text._USER.sub(lambda m: f" {USER} {m[0][1:]} ", raw) if "@" in raw else raw


def _keep_domains(raw: str) -> str:
    def host(match: re.Match[str]) -> str:
        found = _HOST.match(match[0])
        return f" {URL} {found[1]} " if found else f" {URL} "

    return text._URL.sub(host, raw)


def _strict_urls(raw: str) -> str:
    return _STRICT_URL.sub(f" {URL} ", raw)


def _mark_capitals(raw: str) -> str:
    return _CAPITALS.sub(rf"{_CAPITALS_MARK} \g<0> ", raw)


def _with(name: str, function: Callable[[str], str], example: str) -> tuple[CleaningStep, ...]:
    """The pipeline with the function of one step replaced."""
    return tuple(
        replace(step, name=f"{name}*", function=function, example=example)
        if step.name == name
        else step
        for step in CLEANING_STEPS
    )


def _before(name: str, extra: CleaningStep) -> tuple[CleaningStep, ...]:
    """The pipeline with one more step before another."""
    at = [step.name for step in CLEANING_STEPS].index(name)
    return (*CLEANING_STEPS[:at], extra, *CLEANING_STEPS[at:])


_MARKED = _before("lower case", CleaningStep("capitals", _mark_capitals, "NOT"))
VARIANTS: tuple[Variant, ...] = (
    *(
        Variant(step.name, "step left out", tuple(s for s in CLEANING_STEPS if s is not step))
        for step in CLEANING_STEPS
    ),
    Variant("every step", "step left out", ()),
    Variant("punctuation", "also removed", token=_without(lambda t: not re.search(r"\w", t))),
    Variant("stop words", "also removed", token=_without(_is_stop_word)),
    Variant("word endings (Porter 1980)", "also removed", token=_stem),
    Variant("<user> and <url>", "also removed", token=_without(lambda t: t in (USER, URL))),
    Variant("left-over emoticons", "also removed", token=_without(_EMOTICON.fullmatch)),
    Variant("user names", "also kept", _with("users", _keep_names, "@maria")),
    Variant("domains of links", "also kept", _with("urls", _keep_domains, "http://bit.ly/x1")),
    Variant("awww... as a word, not a link", "also kept", _with("urls", _strict_urls, "www.a.com")),
    Variant("mark of words in CAPITALS", "also kept", _MARKED),
    Variant("case of the first letter", "also kept", patterns=tuple(FIRST_LETTER.values())),
    Variant("holes of cut-out emoticons", "also kept", patterns=tuple(ARTEFACTS.values())),
)
"""What is tried beside the pipeline. The last one is the label's shadow: measured, and never used."""


# ---------------------------------------------------------------------------------------------- ablation


class Ablation(NamedTuple):
    """A row of the ablation, as it is recorded."""

    name: str  # of the variant
    kind: str
    accuracy: float  # on the validation tweets
    difference: float  # to the whole pipeline, and the ends of its paired 95 % interval
    low: float
    high: float
    types: int  # distinct tokens of the training tweets


def ablate_cleaning(
    data: sentiment140.Sentiment140,
    split: Split,
    bits: int = ngrams.BITS,
    variants: Sequence[Variant] = VARIANTS,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> list[Ablation]:
    """Validation accuracy of the same model on tweets cleaned in different ways; all steps first.

    The texts are split into pieces once, and each distinct piece is cleaned once per variant. A token
    has the same number in all variants, so equal n-grams are hashed to equal columns.
    """
    from scipy.sparse import csr_matrix, hstack

    rows, cut = np.concatenate([split.train, split.validation]), len(split.train)
    array, labels = as_arrow(data.texts, rows), data.labels[rows]
    pieces = Pieces.of(array)
    whole = pieces.tokenise()
    numbers: dict[str, int] = {}  # of each token, in all variants
    found: list[Ablation] = []
    base: tuple[np.ndarray, np.ndarray] | None = None  # tokens, where the model is right
    for variant in (BASE, *variants):
        usual = variant.steps == CLEANING_STEPS
        tokens, offsets, types = whole if usual else pieces.tokenise(variant.steps)
        names = types if variant.token is None else [variant.token(name) for name in types]
        ids = [-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names]
        tokens = np.array(ids, np.int32)[tokens]
        offsets = np.concatenate(([0], np.cumsum(tokens >= 0)))[offsets]
        tokens = tokens[tokens >= 0]
        if base and not variant.patterns and np.array_equal(tokens, base[0]):
            right = base[1]
        else:
            cleaned = TokenisedTweets(tokens, offsets, [], labels, data.source)
            x = ngrams.features(cleaned, np.arange(len(rows)), bits)
            if variant.patterns:
                flags = np.stack([has(array, p) for p in variant.patterns], axis=1)
                x = hstack([x, csr_matrix(flags, dtype=np.float32)], format="csr")
            right = ngrams.fit(x[:cut], labels[:cut], seed).predict(x[cut:]) == labels[cut:]
        base = base or (tokens, right)
        words = len(np.unique(tokens[: offsets[cut]]))
        accuracy, difference = float(right.mean()), paired(right, base[1])
        found.append(Ablation(variant.name, variant.kind, accuracy, *difference, words))
        say(f"{variant.kind}: {variant.name}: {accuracy:.4f} ({difference[0]:+.4f})")
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
    model = ngrams.fit(ngrams.features(tweets, train, bits), tweets.labels[train], seed)
    right = model.predict(ngrams.features(tweets, validation, bits)) == tweets.labels[validation]
    known = np.isin(keys[validation], keys[train])
    of_known = float(right[known].mean()) if known.any() else None
    shares = float(right.mean()), float(right[~known].mean()), of_known, float(known.mean())
    return Leakage(name, *shares, len(right))


def first(split: Split, train: int | None, validation: int | None) -> Split:
    """The first training and validation rows (they are in random order; None: all), no test row."""
    return Split(split.train[:train], split.validation[:validation], split.test[:0])


def train(job: Job) -> Run:
    """Run the ablation of the cleaning and the comparison of the two splits.

    Artefacts: the rows of the ``ablation`` and of the ``leakage``, the ``keys`` of all texts and both
    ``splits``. There is no model to keep.
    """
    config, bits = job.config, job.config.bits
    data, tweets = sentiment140.load(), sentiment140.load_tokens()
    keys = ngrams.text_keys(tweets)
    random = sentiment140.split(len(data.labels))
    grouped = sentiment140.split_grouped(keys)
    splits = {"random": random, "grouped": grouped}
    some = first(random, config.train, config.validation)
    ablation = ablate_cleaning(data, some, bits, VARIANTS, job.seed, job.say)
    third = None if config.leakage is None else round(config.leakage / 3)
    leaks = [
        leakage(tweets, name, first(split, config.leakage, third), keys, bits, job.seed)
        for name, split in splits.items()
    ]
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    for row in ablation:
        key = row.name if row.kind == BASE.kind else f"{row.kind}: {row.name}"
        metrics[f"{key}.validation_accuracy"] = row.accuracy
        if row.kind != BASE.kind:
            metrics[f"{key}.difference"] = row.difference
            how = f"paired, {len(some.validation):,} validation tweets"
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
    artefacts = {"ablation": ablation, "leakage": leaks, "keys": keys, "splits": splits}
    return job.run(metrics, data.source, notes=notes, artefacts=artefacts)
