"""Problem 1(b): what the tweets look like, what each cleaning step is worth, what copies leak.

Statistics that describe labels come from training rows. The ablation cleans one seeded subset in many
ways and fits the same logistic regression on word 1- to 3-grams, weighted by naive Bayes log ratios
(Wang & Manning 2012), each time; accuracies are of validation tweets, test tweets are never read.
Every variant is judged on the same tweets, so differences carry paired intervals.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coursework.data import sentiment140, text
from coursework.data.sentiment140 import TokenisedTweets
from coursework.data.splits import Split
from coursework.data.text import CLEANING_STEPS, URL, USER, CleaningStep, Pieces
from coursework.errors import ConfigError
from coursework.experiments.base import Run
from coursework.experiments.sentiment import NGRAM_BITS, ngram_features, take, text_keys
from coursework.report.store import wilson

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_matrix

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


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


@dataclass(frozen=True)
class TellingWords:
    """Words and how far their use differs between the classes.

    Attributes:
        words: The words, by falling score.
        scores: z-scores of the log odds ratios; positive tweets use the first words more.
        counts: How often negative and positive tweets use them, int64 ``[n, 2]``.
    """

    words: list[str]
    scores: np.ndarray
    counts: np.ndarray

    def ends(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the ``top`` words of negative and of positive tweets, the most telling first."""
        order = np.arange(len(self.words))
        return order[::-1][:top], order[:top]


def telling_words(tweets: TokenisedTweets, rows: np.ndarray, prior: float = 1000.0) -> TellingWords:
    r"""Log odds ratio with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008).

    With :math:`y_w^c` uses of word :math:`w` among the :math:`n^c` tokens of class :math:`c` and prior
    counts :math:`\alpha_w` in proportion to the use of the word in both classes,

    .. math::
        \delta_w = \log\frac{y_w^1 + \alpha_w}{n^1 + \alpha_0 - y_w^1 - \alpha_w}
                 - \log\frac{y_w^0 + \alpha_w}{n^0 + \alpha_0 - y_w^0 - \alpha_w}, \qquad
        z_w = \delta_w \Big/ \sqrt{\tfrac{1}{y_w^1 + \alpha_w} + \tfrac{1}{y_w^0 + \alpha_w}}

    (their equations 16, 20 and 22). Unlike a ratio of frequencies, the score is not led by words that
    occur twice; unlike a difference of frequencies, nor by ``the``.

    Args:
        tweets: All tweets.
        rows: Which of them; give training rows.
        prior: :math:`\alpha_0`, the size of the prior in tokens.
    """
    tokens, lengths = take(tweets, rows)
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


@dataclass(frozen=True)
class Association:
    """What one feature tells about the label.

    Attributes:
        name: The feature.
        share: Share of the tweets that have it.
        positive: P(positive | feature).
        low: Lower end of its 95 % interval (Wilson).
        high: Upper end.
        without: P(positive | no such feature).
    """

    name: str
    share: float
    positive: float
    low: float
    high: float
    without: float


def has(array: pa.Array, pattern: str) -> np.ndarray:
    """Which texts a regular expression (RE2) finds something in, bool ``[n]``."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)


def associations(
    texts: Sequence[str], labels: np.ndarray, rows: np.ndarray, patterns: dict[str, str] = PATTERNS
) -> list[Association]:
    """What each feature tells about the label.

    Args:
        texts: All raw texts.
        labels: Their labels, 0 or 1.
        rows: Which of them; give training rows.
        patterns: Names and regular expressions; features that occur nowhere are left out.
    """
    array, label = as_arrow(texts, rows), labels[rows]
    found = []
    for name, pattern in patterns.items():
        mask = has(array, pattern)
        n, hits = int(mask.sum()), int(label[mask].sum())
        if n:
            without = (int(label.sum()) - hits) / max(len(rows) - n, 1)
            found.append(Association(name, n / len(rows), hits / n, *wilson(hits, n), without))
    return found


# ---------------------------------------------------------------------------------------------- variants


@dataclass(frozen=True)
class Variant:
    """One way to clean.

    Attributes:
        name: What is done.
        kind: ``step left out``, ``also removed``, or ``also kept``.
        steps: The cleaning steps.
        token: Maps each token to another, or to None to drop it.
        patterns: Features of the raw text that are given to the model beside the n-grams.
    """

    name: str
    kind: str
    steps: tuple[CleaningStep, ...] = CLEANING_STEPS
    token: Callable[[str], str | None] | None = None
    patterns: tuple[str, ...] = ()


BASE = Variant("all steps", "the pipeline")

_EMOTICON = re.compile(
    r"<+/?3+|[>}]?[:;=][-o'~^]?[^:;=]|(?:[)(\]\[]|d)[-o'~^]?[:;=]"
    r"|\^[_.]*\^|-[_.]+-|=_+=|>[_.]+<|t_+t|o[_.]+o"
)
_STRICT_URL = re.compile(text._URL.pattern.replace(r"www\.", r"(?<!\w)www\.(?=\w)"), re.IGNORECASE)
_HOST = re.compile(r"(?:https?:/+)?(?:www\.)?([a-zA-Z0-9-]+)")
_CAPITALS = re.compile(r"(?<![^\W_])[A-Z]{2,}(?![^\W_])")
_CAPITALS_MARK = "\ue000"  # one sign, so one token


def _without(*dropped: str) -> Callable[[str], str | None]:
    return lambda token: None if token in dropped else token


def _drop_punctuation(token: str) -> str | None:
    return token if re.search(r"\w", token) else None


def _drop_emoticons(token: str) -> str | None:
    return None if _EMOTICON.fullmatch(token) else token


def _drop_stop_words(token: str) -> str | None:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return None if token in ENGLISH_STOP_WORDS else token


@cache
def _stemmer() -> Any:
    from gensim.parsing.porter import PorterStemmer

    return PorterStemmer()


def _stem(token: str) -> str | None:
    return _stemmer().stem(token) if token.isalpha() else token


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


VARIANTS: tuple[Variant, ...] = (
    *(
        Variant(step.name, "step left out", tuple(s for s in CLEANING_STEPS if s is not step))
        for step in CLEANING_STEPS
    ),
    Variant("every step", "step left out", ()),
    Variant("punctuation", "also removed", token=_drop_punctuation),
    Variant("stop words", "also removed", token=_drop_stop_words),
    Variant("word endings (Porter 1980)", "also removed", token=_stem),
    Variant("<user> and <url>", "also removed", token=_without(USER, URL)),
    Variant("left-over emoticons", "also removed", token=_drop_emoticons),
    Variant("user names", "also kept", _with("users", _keep_names, "@maria")),
    Variant("domains of links", "also kept", _with("urls", _keep_domains, "http://bit.ly/x1")),
    Variant("awww... as a word, not a link", "also kept", _with("urls", _strict_urls, "www.a.com")),
    Variant(
        "mark of words in CAPITALS",
        "also kept",
        _before("lower case", CleaningStep("capitals", _mark_capitals, "NOT")),
    ),
    Variant("case of the first letter", "also kept", patterns=tuple(FIRST_LETTER.values())),
    Variant("holes of cut-out emoticons", "also kept", patterns=tuple(ARTEFACTS.values())),
)
"""What is tried beside the pipeline. The last one is the label's shadow: measured, and never used."""


# ------------------------------------------------------------------------------------------------ config


@dataclass(frozen=True)
class Config:
    """Every number of the experiment.

    Attributes:
        train: Training tweets of the ablation, a random subset of the training part.
        validation: Validation tweets of the ablation.
        leakage: Training tweets of the comparison of splits, with a third as many validation tweets;
            None takes all.
        split_seed: Seed of both splits.
        bits: Logarithm of the number of columns that n-grams are hashed into.
    """

    train: int = 200_000
    validation: int = 100_000
    leakage: int | None = None
    split_seed: int = 0
    bits: int = NGRAM_BITS

    def __post_init__(self) -> None:
        for name, least in (("train", 100), ("validation", 100), ("split_seed", 0), ("bits", 8)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.leakage is not None and self.leakage < 100:
            raise ConfigError(f"leakage is {self.leakage}; it must be at least 100, or none.")


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(train=20_000, validation=10_000, leakage=20_000, bits=18),
}


# ----------------------------------------------------------------------------------------------- running


def nb_logistic(
    train: csr_matrix, labels: np.ndarray, others: csr_matrix, *, seed: int = 0
) -> np.ndarray:
    r"""Predictions of a logistic regression on features weighted by naive Bayes log ratios.

    The features are scaled by :math:`r = \log\frac{p / \|p\|_1}{q / \|q\|_1}`, with :math:`p` and
    :math:`q` one plus the counts in positive and negative tweets (Wang & Manning 2012), the rows then
    to length one; averaged SGD, five epochs, nothing tuned.

    Args:
        train: Features of the training tweets, ``[n, d]``.
        labels: Their labels, ``[n]``.
        others: Features of the tweets to predict, ``[m, d]``.
        seed: Seed of the order of the tweets.

    Returns:
        Predicted labels, ``[m]``.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import normalize

    both = 1 + np.stack([train.T @ (labels == c).astype(np.float32) for c in (0, 1)])  # [2, d]
    q, p = np.log(both / both.sum(axis=1, keepdims=True, dtype=np.float64))
    scale = diags((p - q).astype(np.float32))
    model = SGDClassifier(
        loss="log_loss",
        alpha=2 / len(labels),
        average=True,
        max_iter=5,
        tol=None,
        random_state=seed,
    ).fit(normalize(train @ scale, copy=False), labels)
    return model.predict(normalize(others @ scale, copy=False))


def paired_difference(hits: np.ndarray, base: np.ndarray) -> tuple[float, float, float]:
    """Difference of two accuracies on the same items, with its 95 % interval.

    Only items on which the two disagree count, as in McNemar's test (1947); the interval is Wald's for
    paired shares (Agresti 2013, section 11.1).

    Args:
        hits: Where the variant is right, bool ``[n]``.
        base: Where the base is right, bool ``[n]``.
    """
    n = len(hits)
    gained, lost = int((hits & ~base).sum()), int((base & ~hits).sum())
    difference = (gained - lost) / n
    half = Z * np.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0.0)) / n
    return difference, difference - float(half), difference + float(half)


def _retoken(
    tokens: np.ndarray, offsets: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens under other ids; those with a negative one are dropped."""
    new = ids[tokens]
    kept = new >= 0
    return new[kept], np.concatenate(([0], np.cumsum(kept)))[offsets]


@dataclass(frozen=True)
class Outcome:
    """One row of the ablation.

    Attributes:
        name: The variant.
        kind: Its kind.
        accuracy: On the validation tweets.
        difference: Accuracy minus that of the whole pipeline.
        low: Lower end of the difference's paired 95 % interval.
        high: Upper end.
        types: Distinct tokens of the training tweets.
    """

    name: str
    kind: str
    accuracy: float
    difference: float
    low: float
    high: float
    types: int


def ablate_cleaning(
    data: sentiment140.Sentiment140,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    bits: int = NGRAM_BITS,
    variants: Sequence[Variant] = VARIANTS,
    seed: int = 0,
    log: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Validation accuracy of the same model on tweets cleaned in different ways.

    The texts are split into pieces once, and each distinct piece is cleaned once per variant. A token
    has the same number in all variants, so equal n-grams are hashed to equal columns.

    Args:
        data: All tweets.
        train: Rows to train on.
        validation: Rows to measure on.
        bits: Logarithm of the number of columns.
        variants: What to compare with the whole pipeline.
        seed: Seed of the model.
        log: Where a line per variant goes.

    Returns:
        The whole pipeline first, then the variants.
    """
    from scipy.sparse import csr_matrix, hstack

    rows = np.concatenate([train, validation])
    array, labels = as_arrow(data.texts, rows), data.labels[rows]
    pieces, n, cut = Pieces.of(array), len(rows), len(train)
    numbers: dict[str, int] = {}  # of each token, in all variants
    outcomes: list[Outcome] = []
    base: tuple[np.ndarray, np.ndarray] | None = None  # tokens, where right
    whole = pieces.tokenise()
    for variant in (BASE, *variants):
        usual = variant.steps == CLEANING_STEPS
        tokens, offsets, types = whole if usual else pieces.tokenise(variant.steps)
        names = types if variant.token is None else [variant.token(name) for name in types]
        ids = np.array(
            [-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names],
            np.int32,
        )
        tokens, offsets = _retoken(tokens, offsets, ids)
        if base and not variant.patterns and np.array_equal(tokens, base[0]):
            right = base[1]
        else:
            cleaned = TokenisedTweets(tokens, offsets, [], labels, data.source)
            features = ngram_features(cleaned, np.arange(n), bits=bits)
            if variant.patterns:
                flags = np.stack([has(array, p) for p in variant.patterns], axis=1)
                features = hstack([features, csr_matrix(flags, dtype=np.float32)], format="csr")
            predicted = nb_logistic(features[:cut], labels[:cut], features[cut:], seed=seed)
            right = predicted == labels[cut:]
        base = base or (tokens, right)
        outcomes.append(
            Outcome(
                variant.name,
                variant.kind,
                float(right.mean()),
                *paired_difference(right, base[1]),
                len(np.unique(tokens[: offsets[cut]])),
            )
        )
        if log is not None:
            last = outcomes[-1]
            log(f"{last.kind}: {last.name}: {last.accuracy:.4f} ({last.difference:+.4f})")
    return outcomes


@dataclass(frozen=True)
class Leakage:
    """The same model on two splits of equal size.

    Attributes:
        split: ``random`` or ``grouped``.
        accuracy: On its validation tweets.
        new: Accuracy on those whose text is not a training text.
        known: Accuracy on those whose text is one; None where there is none.
        share_known: Their share.
        n: Validation tweets.
    """

    split: str
    accuracy: float
    new: float
    known: float | None
    share_known: float
    n: int


def leakage(
    tweets: TokenisedTweets,
    splits: dict[str, Split],
    keys: np.ndarray,
    *,
    bits: int = NGRAM_BITS,
    seed: int = 0,
) -> list[Leakage]:
    """What copies of training texts among the validation tweets are worth.

    Args:
        tweets: All tweets.
        splits: Splits by name; their test rows are not looked at.
        keys: Key of each tweet's text, ``[N]``.
        bits: Logarithm of the number of columns.
        seed: Seed of the model.
    """
    found = []
    for name, split in splits.items():
        train, validation = split.train, split.validation
        predicted = nb_logistic(
            ngram_features(tweets, train, bits=bits),
            tweets.labels[train],
            ngram_features(tweets, validation, bits=bits),
            seed=seed,
        )
        right = predicted == tweets.labels[validation]
        known = np.isin(keys[validation], keys[train])
        found.append(
            Leakage(
                name,
                float(right.mean()),
                float(right[~known].mean()),
                float(right[known].mean()) if known.any() else None,
                float(known.mean()),
                len(right),
            )
        )
    return found


def subset(split: Split, train: int | None) -> Split:
    """The first ``train`` training rows (they are in random order) and a third as many of the others."""
    if train is None or train >= len(split.train):
        return split
    rest = round(train / 3)
    return Split(split.train[:train], split.validation[:rest], split.test[:rest])


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Run the ablation of the cleaning and the comparison of the two splits.

    Args:
        config: Every number of the run.
        preset: Name of the preset that the config started from.
        seed: Seed of the linear models.
        resume: Not used; the experiment leaves no checkpoint.
        run_dir: Not used.
        log: Where the line per variant goes, None for silence.

    Returns:
        The run; ``artefacts`` has the ``outcomes``, the ``leakage``, the ``keys`` of all texts and both
        ``splits``; ``notes`` has the tables as plain rows.
    """
    started = time.perf_counter()
    data, tweets = sentiment140.load(), sentiment140.load_tokens()
    n = len(data.labels)
    random = sentiment140.split(n, seed=config.split_seed)
    outcomes = ablate_cleaning(
        data,
        random.train[: config.train],
        random.validation[: config.validation],
        bits=config.bits,
        variants=VARIANTS,
        seed=seed,
        log=log,
    )
    keys = text_keys(tweets)
    grouped = sentiment140.split_grouped(keys, seed=config.split_seed)
    splits = {"random": random, "grouped": grouped}
    leaks = leakage(
        tweets,
        {name: subset(split, config.leakage) for name, split in splits.items()},
        keys,
        bits=config.bits,
        seed=seed,
    )
    n_validation = min(config.validation, len(random.validation))
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    for row in outcomes:
        key = row.name if row.kind == BASE.kind else f"{row.kind}: {row.name}"
        metrics[f"{key}.validation_accuracy"] = row.accuracy
        if row.kind != BASE.kind:
            metrics[f"{key}.difference"] = row.difference
            how = f"paired, {n_validation:,} validation tweets"
            intervals[f"{key}.difference"] = (row.low, row.high, how)
    for leak in leaks:
        name = f"{leak.split} split.validation_accuracy"
        metrics |= {name: leak.accuracy, f"{name}_new_texts": leak.new}
        low, high = wilson(round(leak.accuracy * leak.n), leak.n)
        intervals[name] = (low, high, f"Wilson, {leak.n:,} validation tweets")
    if log is not None:
        for leak in leaks:
            log(f"{leak.split} split: {leak.accuracy:.4f}, on new texts {leak.new:.4f}")
    return Run(
        experiment="tweets",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=data.source,
        seconds=time.perf_counter() - started,
        notes={
            "ablation": [list(vars(row).values()) for row in outcomes],
            "leakage": [list(vars(leak).values()) for leak in leaks],
            "sizes": {name: list(split.sizes) for name, split in splits.items()},
            "intervals": intervals,
        },
        artefacts={"outcomes": outcomes, "leakage": leaks, "keys": keys, "splits": splits},
    )


def evaluate(checkpoint: Path) -> dict[str, float]:
    """There is nothing to evaluate: the experiment describes data and keeps no model.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        "The tweets experiment keeps no model; run `coursework train tweets` instead."
    )
