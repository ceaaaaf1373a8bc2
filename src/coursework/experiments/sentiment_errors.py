"""How far a sentiment classifier can be trusted: calibration, worst errors, what each word adds."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from coursework.errors import ConfigError
from coursework.experiments.sentiment import Classifier


@dataclass(frozen=True)
class Reliability:
    """How often a prediction is right, in bins of its probability; NaN in empty ones."""

    confidence: np.ndarray  # mean predicted probability of "positive", [bins]
    share: np.ndarray  # share of positive labels, [bins]
    count: np.ndarray  # tweets, [bins]
    error: float  # expected calibration error: mean of |share - confidence| over tweets


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """Group predictions by their probability, in bins of equal width (Guo et al. 2017)."""
    p = expit(np.asarray(logits, dtype=np.float64))  # without overflow
    group = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(group, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(group, weights=p, minlength=bins) / count
        share = np.bincount(group, weights=labels, minlength=bins) / count
    error = float(np.nansum(np.abs(share - confidence) * count) / max(len(p), 1))
    return Reliability(confidence, share, count, error)


def confident_errors(logits: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Places of the ``n`` errors of which the classifier is most confident, in this order."""
    wrong = np.flatnonzero((logits > 0) != (labels > 0.5))
    return wrong[np.argsort(-np.abs(logits[wrong]), kind="stable")[:n]]


class Saliency(NamedTuple):
    """What each word and each sign of a text adds to its log odds."""

    tokens: list[str]  # words as the network reads them, then emoticons and emoji, T of both
    scores: np.ndarray  # [T]; above zero for "positive"
    logit: float  # log odds of the text
    baseline: float  # of as many zero vectors

    @property
    def gap(self) -> float:
        """``|sum of scores - (logit - baseline)|``: the error of the numerical integration."""
        return abs(float(self.scores.sum()) - (self.logit - self.baseline))

    def __str__(self) -> str:
        """All parts in a line; they add up to the log odds."""
        parts = zip(["(start)", *self.tokens], [self.baseline, *self.scores], strict=True)
        return ", ".join(f"{token} {score:+.2f}" for token, score in parts)


def saliency(classifier: Classifier, text: str, steps: int = 64) -> Saliency:
    r"""Integrated gradients of the logit along the path from zero vectors to the words.

    .. math:: s_t = e_t^\top \int_0^1 \nabla_{e_t} f(\alpha e)\, d\alpha, \qquad
              \sum_t s_t = f(e) - f(0)

    (Sundararajan, Taly & Yan 2017, arXiv:1703.01365, equations 1 and 3; midpoint rule with ``steps`` points.)
    """
    reading = classifier.read(text)
    if not (reading.known or reading.signs):
        raise ConfigError(f"No word of {text[:40]!r} is known; give a text with words.")
    added = np.array([*reading.signs.values()], np.float32)
    added *= reading.weight / added.sum() if added.sum() else 1
    if not reading.known:
        return Saliency([*reading.signs], added, reading.weight, 0.0)
    model = classifier.model
    ids = torch.tensor([classifier.vocabulary.encode(reading.tokens)])  # [1, T]
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
    known = [w if w in classifier.vocabulary else f"{w} (unknown)" for w in reading.tokens]
    both = np.concatenate([scores.numpy(), added])
    return Saliency([*known, *reading.signs], both, ends[0].item() + reading.weight, ends[1].item())
