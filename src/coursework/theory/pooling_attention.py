r"""1.4.2: self-attention with arg max in place of softmax that equals max-pooling.

Tokens get a constant second feature, :math:`(x_i, 1)`. With :math:`W_Q = (0, 1)^T`,
:math:`W_K = W_V = (1, 0)^T` and :math:`P_r = 0` for :math:`|r| \le k`, minus infinity elsewhere, the scores
are :math:`x_j + P_{i-j}`: the arg max picks the largest token of the window. Taking :math:`Q_i = x_i` (often
seen) does not work: where :math:`x_i = 0` every score of the window is 0. Values are ``[n]``.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, gap, gaussian, wrong
from coursework.theory.convolution_attention import bias_matrix

Scores = Callable[[Tensor, int], Tensor]
WeightedScores = Callable[[Tensor, int, float], Tensor]


def window_bias(n: int, k: int) -> Tensor:
    """P_{i-j}: 0 inside the window, minus infinity outside, ``[n, n]``."""
    return bias_matrix(n, dict.fromkeys(range(-k, k + 1), 0.0))


def constant_query_scores(x: Tensor, k: int) -> Tensor:
    """The scores of the answer, built from explicit tokens and weights, ``[n, n]``."""
    tokens = torch.stack([x, torch.ones_like(x)], dim=1)  # (x_i, 1): [n, 2]
    w_k, w_q = torch.eye(2, dtype=x.dtype)  # (1, 0) and (0, 1)
    return torch.outer(tokens @ w_q, tokens @ w_k) + window_bias(len(x), k)


def content_query_scores(x: Tensor, k: int, w_q: float = 1.0) -> Tensor:
    """The scores with a query made from the token, Q_i = w_q x_i (often seen), ``[n, n]``."""
    return torch.outer(w_q * x, x) + window_bias(len(x), k)


def hard_attention(scores: Tensor, values: Tensor) -> Tensor:
    """Attention with arg max, ``[n]``: each row puts its whole weight on its largest score (the first)."""
    return values[scores.argmax(dim=1)]


def max_pool(x: Tensor, k: int) -> Tensor:
    """The reference: max over x_{i-k}, ..., x_{i+k} (places outside do not count), ``[n]``."""
    return torch.nn.functional.max_pool1d(x[None, None], 2 * k + 1, stride=1, padding=k)[0, 0]


def random_activations(n: int, seed: int) -> Tensor:
    """ReLU of Gaussian numbers, ``[n]``: each is exactly zero with probability 1/2."""
    return torch.relu(gaussian(seed)(n))


@claim("1.4.2", "pooling", "constant query, K = V = x, window in P: max-pooling, bit for bit")
@wrong("content", "Qᵢ = xᵢ", scores=content_query_scores)
@wrong("window", "no content in the score", scores=lambda x, k: window_bias(len(x), k))
@wrong("wide", "|r| ≤ k + 1", scores=lambda x, k: constant_query_scores(x, k + 1))
def check_pooling(scores: Scores = constant_query_scores) -> Check:
    cases = [(random_activations(200, seed), seed % 5) for seed in range(20)]
    found = (gap(hard_attention(scores(x, k), x), max_pool(x, k)) for x, k in cases)
    return equal(found, tolerance=0.0)


def wrong_positions(x: Tensor, k: int, scores: Scores) -> Tensor:
    """Positions at which attention with arg max differs from max-pooling (indices)."""
    return (hard_attention(scores(x, k), x) != max_pool(x, k)).nonzero()[:, 0]


@claim("1.4.2", "query", "Qᵢ = W_Q xᵢ and xᵢ = 0: no W_Q makes the scores depend on the tokens")
@wrong(
    "constant", "a constant query does not either", scores=lambda *x: constant_query_scores(*x[:2])
)
def check_any_query_weight(scores: WeightedScores = content_query_scores) -> Check:
    changes = []
    for seed, w_q in itertools.product(range(20), (-3.0, 0.5, 10.0)):
        x = random_activations(60, seed)
        zeros = x == 0
        other = torch.where(zeros, 0.0, random_activations(60, seed + 20).abs() + 1.0)
        before, after = scores(x, 2, w_q)[zeros], scores(other, 2, w_q)[zeros]
        inside = torch.isfinite(before)
        changes.append(gap(before[inside], after[inside]))
    return equal(changes, tolerance=0.0)


def soft_pooling(x: Tensor, k: int, temperature: float) -> Tensor:
    """The same layer with softmax at a temperature, ``[n]``."""
    return torch.softmax(constant_query_scores(x, k) / temperature, dim=1) @ x


@claim("1.4.2", "temperature", "softmax at T: 0 ≤ max − output ≤ T ln(2k+1)")
@wrong("half", "max − output ≤ T/2", limit=lambda temperature, k: temperature / 2.0)
def check_temperature(
    limit: Callable[[float, int], float] = lambda temperature, k: temperature * math.log(2 * k + 1),
) -> Check:
    """T ln(2k + 1) is T times the largest entropy; a negative distance counts as infinite."""
    ratios = []
    for temperature, seed in itertools.product((1.0, 0.3, 0.1, 0.05, 0.01), range(5)):
        x = random_activations(200, seed)
        distance = max_pool(x, 3) - soft_pooling(x, 3, temperature)
        below = float(distance.min()) < -1e-12
        ratios.append(math.inf if below else float(distance.max()) / limit(temperature, 3))
    return at_most(ratios)
