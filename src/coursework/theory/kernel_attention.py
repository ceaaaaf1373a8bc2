r"""1.3.1: attention with a kernel similarity costs O(n).

With :math:`\mathrm{sim}(q, k) = \phi(q)^T \phi(k)` and :math:`\phi: \mathbb R^d \to \mathbb R^m`,

.. math:: \alpha_i^T = \frac{\sum_j \phi(Q_i)^T\phi(K_j)\,V_j^T}{\sum_j \phi(Q_i)^T\phi(K_j)}
          = \frac{\phi(Q_i)^T S}{\phi(Q_i)^T z}, \qquad
          S = \sum_j \phi(K_j) V_j^T \in \mathbb R^{m \times d_v}, \quad
          z = \sum_j \phi(K_j) \in \mathbb R^m.

Sizes: Q and K are ``[n, d]``, V is ``[n, d_v]``, the result ``[n, d_v]``.
The feature map is the one of Katharopoulos et al. (2020), "Transformers are RNNs", eq. 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong
from coursework.theory.cost import Cost, log_log_slope, measure

FeatureMap = Callable[[Tensor], Tensor]


Attention = Callable[[Tensor, Tensor, Tensor, FeatureMap], Tensor]


def elu_plus_one(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1 > 0 elementwise, so every similarity is positive; m = d."""
    return torch.nn.functional.elu(x) + 1.0


def squares(x: Tensor) -> Tensor:
    """phi(x) = all products x_a x_b, so sim(q, k) = (q^T k)^2 >= 0; m = d^2.

    Shapes:
        ``[n, d] -> [n, d * d]``
    """
    return (x[:, :, None] * x[:, None, :]).flatten(1)


def identity(x: Tensor) -> Tensor:
    """phi(x) = x, the linear kernel: a kernel whose similarities can be negative."""
    return x


def quadratic(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    """Attention as it is defined: all n^2 similarities, then the weighted means."""
    similarities = phi(q) @ phi(k).T  # [n, n]
    return (similarities @ v) / similarities.sum(dim=1, keepdim=True)  # [n, d_v]


def linear(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    """The same with the sums over j taken first: no n x n matrix comes into being."""
    queries, keys = phi(q), phi(k)  # [n, m], [n, m]
    outer = keys.T @ v  # S = sum_j phi(K_j) V_j^T: [m, d_v]
    total = keys.sum(dim=0)  # z = sum_j phi(K_j): [m]
    return (queries @ outer) / (queries @ total[:, None])  # [n, d_v] / [n, 1]


def transposed(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    """Wrong: S transposed. With d_v = m its shape fits, and only the values tell."""
    queries, keys = phi(q), phi(k)
    return (queries @ (v.T @ keys)) / (queries @ keys.sum(dim=0)[:, None])


def random_inputs(n: int, d: int, d_v: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian Q ``[n, d]``, K ``[n, d]`` and V ``[n, d_v]``."""
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(n, width, generator=generator, dtype=torch.float64)

    return normal(d), normal(d), normal(d_v)


def place_by_place(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    queries, keys = phi(q), phi(k)
    return queries * (keys * v).sum(dim=0) / (queries @ keys.sum(dim=0))[:, None]


@claim("1.3.1", "factored", "αᵢᵀ = φ(Qᵢ)ᵀS / φ(Qᵢ)ᵀz with the outer products S", d=16, d_v=16)
@wrong("outer", "φ(Kⱼ)Vⱼ without the outer product", candidate=place_by_place)
@wrong("transposed", "Vⱼφ(Kⱼ)ᵀ", candidate=transposed)
@wrong("denominator", "no denominator", candidate=lambda q, k, v, phi: phi(q) @ (phi(k).T @ v))
def check_equal(
    n: int = 512,
    d: int = 16,
    d_v: int = 24,
    phi: FeatureMap = elu_plus_one,
    draws: int = 5,
    candidate: Attention = linear,
) -> Check:
    """1.3.1: the factored form gives the values of the definition."""
    differences = []
    for seed in range(draws):
        q, k, v = random_inputs(n, d, d_v, seed)
        gap = quadratic(q, k, v, phi) - candidate(q, k, v, phi)
        differences.append(float(gap.abs().max()))
    return equal(f"factored = definition, n = {n}, phi = {phi.__name__}", differences)


@claim("1.3.1", "positive", "φ = elu + 1 gives no negative similarity", phi=elu_plus_one)
@wrong("kernel", "no kernel does (xᵀy)", phi=identity)
def check_non_negative(phi: FeatureMap, n: int = 200, d: int = 4, seed: int = 0) -> Check:
    """All similarities are >= 0. True for elu + 1 and squares, false for a kernel like q^T k."""
    q, k, _ = random_inputs(n, d, 1, seed)
    similarities = phi(q) @ phi(k).T
    return at_most(
        f"sim >= 0, phi = {phi.__name__}", (-similarities).flatten().tolist(), 0.0, rounding=0.0
    )


def growth(
    attention: Attention, sizes: Sequence[int], d: int = 8, phi: FeatureMap = elu_plus_one
) -> list[Cost]:
    """Counted cost of an attention at each number of tokens."""
    return [measure(attention, *random_inputs(n, d, d), phi) for n in sizes]


def from_the_left(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    queries, keys = phi(q), phi(k)
    return ((queries @ keys.T) @ v) / (queries @ keys.sum(dim=0))[:, None]


@claim("1.3.1", "linear", "arithmetic and memory grow like n")
@wrong("definition", "the definition costs O(n)", attention=quadratic)
@wrong("bracket", "factored, multiplied from the left", attention=from_the_left)
def check_exponent(attention: Attention = linear, exponent: float = 1.0) -> Check:
    """The counted multiply-adds *and* the largest tensor grow like n to the power ``exponent``."""
    sizes = [256, 512, 1024, 2048]
    costs = growth(attention, sizes)
    slopes = [
        log_log_slope(sizes, [cost.multiply_adds for cost in costs]),
        log_log_slope(sizes, [cost.largest for cost in costs]),
    ]
    return at_most(
        f"cost and memory grow like n^{exponent:g}", [s - exponent for s in slopes], 1e-3
    )


def similarity_rank(phi: FeatureMap, n: int = 64, d: int = 4, seed: int = 0) -> int:
    """Rank of the n x n similarity matrix: at most the number m of features."""
    q, k, _ = random_inputs(n, d, 1, seed)
    return int(torch.linalg.matrix_rank(phi(q) @ phi(k).T))


def exponential(q: Tensor, k: Tensor) -> Tensor:
    """The similarities of softmax attention, ``exp(q^T k / sqrt(d))``, ``[n, n]``."""
    return torch.exp(q @ k.T / q.shape[1] ** 0.5)


def factored_similarities(q: Tensor, k: Tensor) -> Tensor:
    """``phi(q)^T phi(k)`` with phi = elu + 1, ``[n, n]``."""
    return elu_plus_one(q) @ elu_plus_one(k).T


@claim("1.3.1", "rank", "m features give similarities of rank at most m")
@wrong("softmax", "so does softmax attention", similarities=exponential)
def check_finite_rank(
    n: int = 64,
    d: int = 4,
    draws: int = 5,
    similarities: Callable[[Tensor, Tensor], Tensor] = factored_similarities,
) -> Check:
    """With m features the n x n matrix of similarities has rank at most m (here m = d)."""
    ranks = []
    for seed in range(draws):
        q, k, _ = random_inputs(n, d, 1, seed)
        ranks.append(float(torch.linalg.matrix_rank(similarities(q, k))))
    return at_most(f"rank of the similarities <= {d}, n = {n}", ranks, float(d), rounding=0.0)


def exponential_similarity_rank(n: int = 64, d: int = 4, seed: int = 0) -> int:
    """Rank of ``exp(q^T k / sqrt(d))``: above m, no map to m features gives softmax attention."""
    q, k, _ = random_inputs(n, d, 1, seed)
    return int(torch.linalg.matrix_rank(exponential(q, k)))
