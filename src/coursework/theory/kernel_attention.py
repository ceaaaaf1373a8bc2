r"""1.3.1: attention with a kernel similarity costs O(n).

With :math:`\mathrm{sim}(q, k) = \phi(q)^T \phi(k)` the sums over all keys are those of
:func:`.attention.linear_attention`, here ``linear``. Q and K are ``[n, d]``, V is ``[n, d_v]``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coursework.models.attention import elu_plus_one
from coursework.models.attention import linear_attention as linear
from coursework.theory.checks import Check, at_most, claim, equal, gap, gaussian, wrong
from coursework.theory.cost import Cost, log_log_slope, measure

FeatureMap = Callable[[Tensor], Tensor]
Attention = Callable[[Tensor, Tensor, Tensor, FeatureMap], Tensor]


def quadratic(q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap) -> Tensor:
    """Attention as it is defined: all n^2 similarities, then the weighted means."""
    similarities = phi(q) @ phi(k).T  # [n, n]
    return (similarities @ v) / similarities.sum(dim=1, keepdim=True)  # [n, d_v]


def numerator_over_z(numerator: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Attention:
    """Attention whose numerator is written otherwise, in phi(Q), phi(K) and V."""
    return lambda q, k, v, phi: numerator(phi(q), phi(k), v) / (phi(q) @ phi(k).sum(dim=0))[:, None]


# the factors multiplied from the left: the right values at the wrong cost
from_the_left = numerator_over_z(lambda q, k, v: (q @ k.T) @ v)
# wrong ones, whose shapes fit if d_v = m: S transposed, and phi(K_j) V_j as an elementwise product
transposed = numerator_over_z(lambda q, k, v: q @ (v.T @ k))
elementwise = numerator_over_z(lambda q, k, v: q * (k * v).sum(dim=0))


def random_inputs(n: int, d: int, d_v: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    normal = gaussian(seed)
    return normal(n, d), normal(n, d), normal(n, d_v)


@claim("1.3.1", "factored", "αᵢᵀ = φ(Qᵢ)ᵀS / φ(Qᵢ)ᵀz with the outer products S")
@wrong("outer", "φ(Kⱼ)Vⱼ without the outer product", candidate=elementwise)
@wrong("transposed", "Vⱼφ(Kⱼ)ᵀ", candidate=transposed)
@wrong("denominator", "no denominator", candidate=lambda q, k, v, phi: phi(q) @ (phi(k).T @ v))
def check_equal(candidate: Attention = linear) -> Check:
    cases = [(*random_inputs(512, 16, 16, seed), elu_plus_one) for seed in range(5)]
    return equal(gap(quadratic(*case), candidate(*case)) for case in cases)


@claim("1.3.1", "positive", "φ = elu + 1 gives no negative similarity (measured: its negative)")
@wrong("kernel", "no kernel does (here xᵀy)", phi=lambda x: x)
def check_non_negative(phi: FeatureMap = elu_plus_one) -> Check:
    q, k, _ = random_inputs(200, 4, 1)
    return at_most((-phi(q) @ phi(k).T).flatten().tolist(), 0.0, rounding=0.0)


def growth(attention: Attention, sizes: Sequence[int]) -> list[Cost]:
    """Counted cost of an attention with d = d_v = 8 at each number of tokens."""
    return [measure(attention, *random_inputs(n, 8, 8), elu_plus_one) for n in sizes]


@claim("1.3.1", "linear", "multiply-adds and the largest tensor grow like n")
@wrong("definition", "the definition costs O(n)", attention=quadratic)
@wrong("bracket", "so does the factored form, multiplied from the left", attention=from_the_left)
def check_exponent(attention: Attention = linear, exponent: float = 1.0) -> Check:
    sizes = [256, 512, 1024, 2048]
    costs = growth(attention, sizes)
    counts = [[c.multiply_adds for c in costs], [c.largest for c in costs]]
    return at_most([abs(log_log_slope(sizes, count) - exponent) for count in counts], 1e-3)


def factored_similarities(q: Tensor, k: Tensor) -> Tensor:
    """``phi(q)^T phi(k)`` with phi = elu + 1, ``[n, n]``."""
    return elu_plus_one(q) @ elu_plus_one(k).T


@claim("1.3.1", "rank", "m features give similarities of rank at most m")
@wrong("softmax", "so does softmax attention", similarities=lambda q, k: torch.exp(q @ k.T / 2.0))
def check_finite_rank(similarities: Callable[..., Tensor] = factored_similarities) -> Check:
    draws = [random_inputs(64, 4, 1, seed) for seed in range(5)]
    ranks = [float(torch.linalg.matrix_rank(similarities(q, k))) for q, k, _ in draws]
    return at_most(ranks, 4.0, rounding=0.0)
