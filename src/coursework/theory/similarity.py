r"""2(b): attention and classical kernels as measures of similarity.

.. math:: e^{q^T k/\sqrt D} = e^{\lVert q\rVert^2/\sigma^2} e^{-\lVert q-k\rVert^2/\sigma^2}
          e^{\lVert k\rVert^2/\sigma^2}, \qquad \sigma^2 = 2\sqrt D:

softmax attention is kernel regression (Nadaraya and Watson) in which every key has an extra weight. The
other checks are about the differences. Queries are ``[n, D]``, keys ``[m, D]``, points ``[n, d]``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from coursework.models.attention import attention_weights
from coursework.theory.checks import Check, at_most, claim, equal, gap, gaussian, wrong
from coursework.theory.cost import log_log_slope

Weights = Callable[[Tensor, Tensor], Tensor]
Gram = Callable[[Tensor], Tensor]

D = 16  # dimension of all random points


def rbf(q: Tensor, k: Tensor, squared_width: float) -> Tensor:
    return torch.exp(-torch.cdist(q, k).square() / squared_width)


def normalised(similarities: Tensor) -> Tensor:
    return similarities / similarities.sum(dim=1, keepdim=True)


def rbf_regression(
    q: Tensor, k: Tensor, extra: Tensor | None = None, width: float | None = None
) -> Tensor:
    """Kernel regression with weights exp(||x||^2 / width) of the keys, or of ``extra``, ``[n, m]``."""
    width = 2.0 * q.shape[1] ** 0.5 if width is None else width
    extra = k if extra is None else extra
    return normalised(rbf(q, k, width) * torch.exp((extra**2).sum(dim=-1) / width))


def plain_regression(q: Tensor, k: Tensor) -> Tensor:
    return normalised(rbf(q, k, 2.0 * q.shape[1] ** 0.5))


def on_a_sphere(k: Tensor) -> Tensor:
    """The same directions, all of length 4."""
    return 4.0 * torch.nn.functional.normalize(k, dim=1)


def rbf_kernel(x: Tensor) -> Tensor:
    """The Gram matrix of the Gaussian kernel with sigma^2 = d, ``[n, n]``."""
    return rbf(x, x, float(x.shape[1]))


def exponential_kernel(x: Tensor) -> Tensor:
    """exp(x^T y / d) on one shared space: like softmax's scores with W_Q = W_K, exponentiated, ``[n, n]``."""
    return torch.exp(x @ x.T / x.shape[1])


def attention_scores(x: Tensor) -> Tensor:
    """Scores (W_Q x)^T (W_K y) / sqrt(D) with two random matrices, ``[n, n]``."""
    x, w_q, w_k = x.double(), gaussian(101)(x.shape[1], 8), gaussian(202)(x.shape[1], 8)
    return (x @ w_q) @ (x @ w_k).T / 8**0.5


def _pairs(draws: int) -> list[tuple[Tensor, Tensor]]:
    return [(gaussian(seed)(40, D), gaussian(1000 + seed)(60, D)) for seed in range(draws)]


def _points() -> list[Tensor]:
    return [gaussian(seed)(60, D) for seed in range(5)]


@claim("2(b)", "bridge", "softmax attention = RBF regression with key weights exp(‖k‖²/σ²)")
@wrong("keys", "without key weights", candidate=plain_regression)
@wrong("width", "with σ² = 2", candidate=lambda q, k: rbf_regression(q, k, width=2.0))
@wrong(
    "queries", "with query weights instead", candidate=lambda q, k: rbf_regression(q, k, q[:, None])
)
def check_bridge(candidate: Weights = rbf_regression) -> Check:
    return equal(gap(attention_weights(q, k), candidate(q, k)) for q, k in _pairs(10))


@claim("2(b)", "sphere", "keys of equal norm: plain RBF regression")
@wrong("any", "plain RBF regression for any keys", keys=lambda k: k)
def check_equal_norms(keys: Gram = on_a_sphere) -> Check:
    pairs = [(q, keys(k)) for q, k in _pairs(10)]
    return equal(gap(attention_weights(q, k), plain_regression(q, k)) for q, k in pairs)


@claim("2(b)", "symmetric", "the RBF kernel is symmetric")
@wrong("attention", "attention scores are symmetric", gram=attention_scores)
def check_symmetric(gram: Gram = rbf_kernel) -> Check:
    return equal(gap(matrix, matrix.T) for matrix in map(gram, _points()))


@claim(
    "2(b)",
    "exponential",
    "exp(xᵀy) on one shared space is positive semidefinite (measured likewise)",
    gram=exponential_kernel,
)
@wrong("attention", "so are the scores for any W_Q and W_K", gram=attention_scores)
@claim(
    "2(b)",
    "semidefinite",
    "RBF Gram matrices have no negative eigenvalue (measured: minus the smallest / the largest size)",
)
@wrong("attention", "attention scores have none for any W_Q and W_K", gram=attention_scores)
def check_semidefinite(gram: Gram = rbf_kernel) -> Check:
    spectra = [torch.linalg.eigvalsh((m + m.T) / 2.0) for m in map(gram, _points())]
    return at_most((float(-s.min() / s.abs().max()) for s in spectra), 1e-12)


@claim("2(b)", "itself", "RBF: every point is most similar to itself")
@wrong("attention", "attention: every token scores itself highest", gram=attention_scores)
def check_most_similar_to_itself(gram: Gram = rbf_kernel) -> Check:
    best = [gram(points).argmax(dim=1) for points in _points()]
    shares = (float((found != torch.arange(len(found))).double().mean()) for found in best)
    return equal(shares, tolerance=0.0)


def relative_spread(d: int) -> float:
    """Standard deviation over mean of the distances between 300 uniform points in d dimensions."""
    generator = torch.Generator().manual_seed(0)
    distances = torch.pdist(torch.rand(300, d, generator=generator, dtype=torch.float64))
    return float(distances.std() / distances.mean())


@claim("2(b)", "concentration", "distances concentrate: their relative spread falls like 1/√d")
@wrong("constant", "it stays the same", exponent=0.0)
@wrong("faster", "it falls like 1/d", exponent=-1.0)
def check_concentration(exponent: float = -0.5) -> Check:
    dimensions = [8, 32, 128, 512]
    slope = log_log_slope(dimensions, [relative_spread(d) for d in dimensions])
    return equal([slope - exponent], tolerance=0.05)


@claim("2(b)", "context", "a key leaves: the ratios of the other weights stay")
@wrong("weights", "the weights stay", rescale=lambda weights: weights)
def check_context(rescale: Gram = normalised) -> Check:
    left = ((rescale(attention_weights(q, k)[:, 1:]), q, k[1:]) for q, k in _pairs(5))
    return equal(gap(rescaled, attention_weights(q, k)) for rescaled, q, k in left)
