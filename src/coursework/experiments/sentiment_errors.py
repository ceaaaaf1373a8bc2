"""Where a sentiment classifier errs, and why: calibration, groups of tweets, saliency, label noise.

Everything takes logits ``[n]`` and labels ``[n]`` of *validation* tweets, or a single text; nothing is
trained here. Letters: ``n`` tweets, ``T`` tokens of a tweet, ``E`` width of the word vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coursework.data.sentiment140 import TokenisedTweets
from coursework.data.text import HASHTAG, LONG, URL, USER, clean_tweet, tokenise
from coursework.errors import ConfigError
from coursework.experiments import ngrams
from coursework.experiments.sentiment import UNK_ID, Classifier, Encoded
from coursework.stats import wilson

_HELPERS = ("ca", "do", "did", "does", "is", "was", "wo", "would", "ai", "have", "could", "should")
NEGATIONS = frozenset(
    {"not", "no", "never", "none", "nothing", "nobody", "neither", "nor", "cannot"}
) | {helper + ending for helper in _HELPERS for ending in ("nt", "n't")}
LENGTHS = (1, 3, 5, 8, 11, 14, 17, 20, 24, 28, 37)  # each bin ends before the next number of tokens


@dataclass(frozen=True)
class Reliability:
    """How often a prediction of probability p is right, in bins of p; NaN in empty bins."""

    confidence: np.ndarray  # mean predicted probability of "positive", [bins]
    share: np.ndarray  # share of positive labels, [bins]
    count: np.ndarray  # tweets, [bins]
    error: float  # expected calibration error: mean of |share - confidence| over tweets


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """Group predictions by their probability, in bins of equal width (Guo et al. 2017)."""
    from scipy.special import expit

    p = expit(np.asarray(logits, dtype=np.float64))  # without overflow
    group = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(group, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(group, weights=p, minlength=bins) / count
        share = np.bincount(group, weights=labels, minlength=bins) / count
    error = float(np.nansum(np.abs(share - confidence) * count) / max(len(p), 1))
    return Reliability(confidence, share, count, error)


def expected_ceiling(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What a calibrated classifier itself says of its accuracy, beside the accuracy that it has.

    A calibrated p is right with probability max(p, 1 - p); the mean of it is the expected accuracy.
    Where both agree, ``1 - accuracy`` is what *this* classifier cannot know from the text: noise of the
    labels plus what it has not learned.
    """
    p = 1 / (1 + np.exp(-np.abs(np.asarray(logits, dtype=np.float64))))
    accuracy = float(((logits > 0) == (labels > 0.5)).mean())
    return {"expected_accuracy": float(p.mean()), "accuracy": accuracy}


class Group(NamedTuple):
    """Accuracy on some of the tweets, with its 95 % interval (Wilson)."""

    name: str
    tweets: int
    accuracy: float
    low: float
    high: float


def _group(name: str, hits: np.ndarray) -> Group:
    n, right = len(hits), int(hits.sum())
    low, high = wilson(right, n) if n else (0.0, 1.0)
    return Group(name, n, right / n if n else float("nan"), low, high)


def by_length(logits: np.ndarray, data: Encoded) -> list[Group]:
    """Accuracy by the number of tokens."""
    hits = (logits > 0) == (data.labels > 0.5)
    groups = []
    for low, high in itertools.pairwise(LENGTHS):
        inside = (data.lengths >= low) & (data.lengths < high)
        groups.append(_group(f"{low}-{high - 1}" if high > low + 1 else f"{low}", hits[inside]))
    return groups


def by_feature(
    logits: np.ndarray, data: Encoded, tweets: TokenisedTweets, rows: np.ndarray, seen: np.ndarray
) -> list[Group]:
    """Accuracy on tweets with a mention, a link, a negation, a rare word, a known text, and so on.

    ``rows`` are those of ``data`` in all tweets, ``[n]``; ``seen`` are the training rows.
    """
    hits = (logits > 0) == (data.labels > 0.5)
    tokens, lengths = ngrams.take(tweets, rows)
    owner = np.repeat(np.arange(len(rows)), lengths)

    def words(test: Callable[[str], bool]) -> np.ndarray:
        wanted = np.fromiter((test(word) for word in tweets.types), bool, len(tweets.types))
        mask = np.zeros(len(rows), dtype=bool)
        mask[owner[wanted[tokens]]] = True
        return mask

    unknown_before = np.concatenate([[0], np.cumsum(data.tokens == UNK_ID)])
    unknown = unknown_before[data.starts + data.lengths] > unknown_before[data.starts]  # [n]
    known_text = np.isin(ngrams.text_keys(tweets, rows), ngrams.text_keys(tweets, seen))
    groups: dict[str, np.ndarray] = {
        "all": np.ones(len(rows), dtype=bool),
        "mentions a user": words(lambda w: w == USER),
        "has a link": words(lambda w: w == URL),
        "has a hashtag": words(lambda w: w == HASHTAG),
        "elongated word (sooo)": words(lambda w: w == LONG),
        "has an exclamation mark": words(lambda w: w.startswith("!")),
        "has a question mark": words(lambda w: w.startswith("?")),
        "has a negation": words(lambda w: w in NEGATIONS),
        "has 'but'": words(lambda w: w == "but"),
        "has an unknown word": unknown,
        "text is also a training text": known_text,
    }
    return [_group(name, hits[mask]) for name, mask in groups.items()]


@dataclass(frozen=True)
class Saliency:
    """What each token adds to the logit."""

    tokens: list[str]  # as the network reads them, T
    scores: np.ndarray  # integrated gradients, [T]; above zero for "positive"
    logit: float  # of the text
    baseline: float  # logit of as many zero vectors

    @property
    def gap(self) -> float:
        """``|sum of scores - (logit - baseline)|``: the error of the numerical integration."""
        return abs(float(self.scores.sum()) - (self.logit - self.baseline))


def saliency(classifier: Classifier, text: str, steps: int = 64) -> Saliency:
    r"""Integrated gradients of the logit along the path from zero vectors to the words.

    .. math:: s_t = e_t^\top \int_0^1 \nabla_{e_t} f(\alpha e)\, d\alpha, \qquad
              \sum_t s_t = f(e) - f(0)

    (Sundararajan, Taly & Yan 2017, arXiv:1703.01365, equations 1 and 3; the integral by the midpoint
    rule with ``steps`` points). Plain gradients do not have the sum, "completeness".
    """
    tokens = tokenise(clean_tweet(text))[: classifier.config.max_length]
    if not tokens:
        raise ConfigError(f"There is no word in {text[:40]!r}; give a text with words.")
    model = classifier.model
    ids = torch.tensor([classifier.vocabulary.encode(tokens)])  # [1, T]
    embedded = model.embedding(ids).detach()  # [1, T, E]

    def logits(vectors: Tensor) -> Tensor:
        lengths = torch.full((len(vectors),), vectors.shape[1])
        return model.score(model.pool(vectors, lengths))  # [B]

    alphas = (torch.arange(steps, dtype=embedded.dtype) + 0.5) / steps  # [S]
    path = (alphas[:, None, None] * embedded).requires_grad_()  # [S, T, E]
    (gradient,) = torch.autograd.grad(logits(path).sum(), path)
    scores = (gradient.mean(dim=0) * embedded[0]).sum(dim=-1)  # [T]
    with torch.no_grad():
        ends = logits(torch.cat([embedded, torch.zeros_like(embedded)]))  # [2]
    known = [w if w in classifier.vocabulary else f"{w} (unknown)" for w in tokens]
    return Saliency(known, scores.numpy(), ends[0].item(), ends[1].item())


def confident_errors(logits: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Places of the ``n`` errors of which the classifier is surest, the surest first."""
    wrong = np.flatnonzero((logits > 0) != (labels > 0.5))
    return wrong[np.argsort(-np.abs(logits[wrong]), kind="stable")[:n]]


def noise_from_copies(tweets: TokenisedTweets, rows: np.ndarray) -> dict[str, float]:
    r"""Label noise among tweets whose cleaned text occurs more than once, without any classifier.

    If each label of a text is wrong independently with probability :math:`\epsilon`, two copies
    disagree with probability :math:`d = 2 \epsilon (1 - \epsilon)`; the estimate is

    .. math:: \hat\epsilon = \tfrac12 \bigl(1 - \sqrt{1 - 2 \hat d}\,\bigr).

    Copies are short and general ("good morning"), some of them truly neutral, so this says how
    unsure labels of such texts are, and no more.
    """
    keys = ngrams.text_keys(tweets, rows)
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    positive = np.bincount(group, weights=tweets.labels[rows])
    pairs = size * (size - 1) / 2
    mixed = positive * (size - positive)
    # every text counts once, so that "good morning" does not decide alone
    several = size > 1
    d = float((mixed[several] / pairs[several]).mean()) if several.any() else 0.0
    noise = 0.5 * (1 - float(np.sqrt(max(0.0, 1 - 2 * d))))
    counts = {"texts": float(several.sum()), "pairs": float(pairs.sum())}
    return counts | {"disagree": d, "noise": noise}
