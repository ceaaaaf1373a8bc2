r"""2(b): attention and classical kernels as measures of similarity.

The bridge: with :math:`K_\sigma(q, k) = e^{-\lVert q-k\rVert^2/\sigma^2}` and
:math:`\sigma^2 = 2\sqrt D`,

.. math:: \frac{e^{q_i^T k_j/\sqrt D}}{\sum_l e^{q_i^T k_l/\sqrt D}}
          = \frac{e^{\lVert k_j\rVert^2/\sigma^2} K_\sigma(q_i, k_j)}
                 {\sum_l e^{\lVert k_l\rVert^2/\sigma^2} K_\sigma(q_i, k_l)}:

softmax attention is kernel regression (Nadaraya and Watson) in which every key has an extra weight.
The other checks are the differences: symmetry, positive semidefiniteness, who is most similar to whom,
and what happens to the weights when a key leaves.

Sizes: queries ``[n, D]``, keys ``[m, D]``, weights ``[n, m]``; points ``[n, d]``, Gram matrices
``[n, n]``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong
from coursework.theory.cost import log_log_slope

Weights = Callable[[Tensor, Tensor], Tensor]


Gram = Callable[[Tensor], Tensor]


def random_points(n: int, d: int, seed: int) -> Tensor:
    """Gaussian points, ``[n, d]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(D)) by rows, ``[n, m]``."""
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1)


def bandwidth(q: Tensor) -> float:
    """sigma^2 = 2 sqrt(D), at which the bridge holds."""
    return 2.0 * q.shape[1] ** 0.5


def rbf(q: Tensor, k: Tensor, squared_width: float) -> Tensor:
    """exp(-||q - k||^2 / sigma^2), ``[n, m]``."""
    return torch.exp(-torch.cdist(q, k).square() / squared_width)


def normalised(similarities: Tensor) -> Tensor:
    """Rows divided by their sums."""
    return similarities / similarities.sum(dim=1, keepdim=True)


def rbf_regression(q: Tensor, k: Tensor, squared_width: float | None = None) -> Tensor:
    """The weights of kernel regression with key weights exp(||k||^2 / sigma^2), ``[n, m]``."""
    width = bandwidth(q) if squared_width is None else squared_width
    return normalised(rbf(q, k, width) * torch.exp((k**2).sum(dim=1) / width))


def on_a_sphere(k: Tensor) -> Tensor:
    """The same directions, all of length 4."""
    return 4.0 * torch.nn.functional.normalize(k, dim=1)


def rbf_kernel(x: Tensor) -> Tensor:
    """The Gram matrix of the Gaussian kernel with sigma^2 = d, ``[n, n]``."""
    return rbf(x, x, float(x.shape[1]))


def exponential_kernel(x: Tensor) -> Tensor:
    """exp(x^T y / d) on one shared space: what softmax exponentiates, with W_Q = W_K, ``[n, n]``."""
    return torch.exp(x @ x.T / x.shape[1])


def attention_scores(x: Tensor) -> Tensor:
    """Scores (W_Q x)^T (W_K y) / sqrt(D) with two random matrices, ``[n, n]``."""
    d, width = x.shape[1], 8
    w_q, w_k = random_points(d, width, 101), random_points(d, width, 202)
    return (x @ w_q) @ (x @ w_k).T / width**0.5


def query_weights(q: Tensor, k: Tensor) -> Tensor:
    width = bandwidth(q)
    return normalised(rbf(q, k, width) * torch.exp((q**2).sum(dim=1, keepdim=True) / width))


@claim("2(b)", "bridge", "softmax attention = RBF regression with key weights exp(‖k‖²/σ²)")
@wrong(
    "keys", "... without key weights", candidate=lambda q, k: normalised(rbf(q, k, bandwidth(q)))
)
@wrong("width", "... with σ² = 2", candidate=lambda q, k: rbf_regression(q, k, 2.0))
@wrong("queries", "... with query weights instead", candidate=query_weights)
def check_bridge(
    n: int = 40, m: int = 60, d: int = 16, draws: int = 10, candidate: Weights = rbf_regression
) -> Check:
    """2(b): softmax attention = RBF regression with key weights."""
    differences = []
    for seed in range(draws):
        q, k = random_points(n, d, seed), random_points(m, d, 1000 + seed)
        differences.append(float((attention_weights(q, k) - candidate(q, k)).abs().max()))
    return equal("softmax attention = RBF regression with key weights", differences)


@claim("2(b)", "sphere", "keys of equal norm: plain RBF regression")
@wrong("any", "for any keys", keys=lambda k: k)
def check_equal_norms(
    n: int = 40, m: int = 60, d: int = 16, draws: int = 10, keys: Gram = on_a_sphere
) -> Check:
    """2(b): with keys of equal norm the extra weights cancel, and it is the plain RBF kernel."""
    differences = []
    for seed in range(draws):
        q, k = random_points(n, d, seed), keys(random_points(m, d, 1000 + seed))
        plain = normalised(rbf(q, k, bandwidth(q)))
        differences.append(float((attention_weights(q, k) - plain).abs().max()))
    return equal("keys of equal norm: softmax attention = plain RBF regression", differences)


@claim("2(b)", "symmetric", "the RBF kernel is symmetric")
@wrong("attention", "so are attention scores", gram=attention_scores)
def check_symmetric(n: int = 60, d: int = 16, draws: int = 5, gram: Gram = rbf_kernel) -> Check:
    """A kernel does not care which argument comes first; attention does."""
    matrices = (gram(random_points(n, d, seed)) for seed in range(draws))
    return equal("similarity is symmetric", (float((g - g.T).abs().max()) for g in matrices))


@claim(
    "2(b)",
    "exponential",
    "exp(xᵀy) on one shared space is positive semidefinite",
    gram=exponential_kernel,
)
@wrong("attention", "also with W_Q ≠ W_K", gram=attention_scores)
@claim("2(b)", "semidefinite", "RBF Gram matrices have no negative eigenvalue")
@wrong("attention", "nor have attention scores", gram=attention_scores)
def check_semidefinite(n: int = 60, d: int = 16, draws: int = 5, gram: Gram = rbf_kernel) -> Check:
    """Gram matrices of a kernel have no negative eigenvalue (relative to the largest)."""
    ratios = []
    for seed in range(draws):
        matrix = gram(random_points(n, d, seed))
        eigenvalues = torch.linalg.eigvalsh((matrix + matrix.T) / 2.0)
        ratios.append(float(-eigenvalues.min() / eigenvalues.abs().max()))
    return at_most("no negative eigenvalue", ratios, 1e-12)


@claim("2(b)", "itself", "RBF: every point is most similar to itself")
@wrong("attention", "attention too", gram=attention_scores)
def check_most_similar_to_itself(
    n: int = 60, d: int = 16, draws: int = 5, gram: Gram = rbf_kernel
) -> Check:
    """Under the Gaussian kernel every point is most similar to itself. Share of rows where not."""
    shares = []
    for seed in range(draws):
        best = gram(random_points(n, d, seed)).argmax(dim=1)
        shares.append(float((best != torch.arange(n)).double().mean()))
    return equal("every point is most similar to itself", shares, tolerance=0.0)


def relative_spread(d: int, n: int = 300, seed: int = 0) -> float:
    """Standard deviation over mean of the distances between n uniform points in d dimensions."""
    generator = torch.Generator().manual_seed(seed)
    distances = torch.pdist(torch.rand(n, d, generator=generator, dtype=torch.float64))
    return float(distances.std() / distances.mean())


@claim("2(b)", "concentration", "distances concentrate: their relative spread falls like 1/√d")
@wrong("constant", "it stays the same", exponent=0.0)
@wrong("faster", "it falls like 1/d", exponent=-1.0)
def check_concentration(exponent: float = -0.5) -> Check:
    """Distances concentrate: their relative spread falls like d^(-1/2), so a kernel turns flat."""
    dimensions = [8, 32, 128, 512]
    slope = log_log_slope(dimensions, [relative_spread(d) for d in dimensions])
    return equal(
        f"relative spread of distances ~ d^{exponent:g}", [slope - exponent], tolerance=0.05
    )


@claim("2(b)", "context", "a key leaves: the ratios of the other weights stay")
@wrong("weights", "the weights stay", weights_fixed=True)
def check_context(
    n: int = 40, m: int = 60, d: int = 16, draws: int = 5, *, weights_fixed: bool = False
) -> Check:
    """When a key leaves, the *ratios* of the other weights stay; the weights do not.

    Args:
        n: Queries.
        m: Keys.
        d: Dimension.
        draws: Cases.
        weights_fixed: Claim that the weights themselves stay, as they would for a kernel.
    """
    differences = []
    for seed in range(draws):
        q, k = random_points(n, d, seed), random_points(m, d, 1000 + seed)
        before, after = attention_weights(q, k)[:, 1:], attention_weights(q, k[1:])  # [n, m - 1]
        if not weights_fixed:
            before = normalised(before)
        differences.append(float((before - after).abs().max()))
    what = "the weights" if weights_fixed else "the ratios of the weights"
    return equal(f"a key leaves: {what} stay", differences)
