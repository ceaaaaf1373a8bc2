r"""1.2.1: the input-output Jacobian of a sigmoid recurrence vanishes.

.. math:: x_{t+1} = s(W x_t), \quad \sigma_{\max}(W) = \tfrac14
          \;\Longrightarrow\; 0 \le \sigma_{\max}(\partial x_n / \partial x_1) \le (1/16)^{n-1}

W and the Jacobian are ``[d, d]``; n counts states, so there are n - 1 steps between x_1 and x_n.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, gaussian, wrong

# product so far, slopes s'(W x_t), W -> product with the factor of one more step
Step = Callable[[Tensor, Tensor, Tensor], Tensor]
Limit = Callable[[int], float]


def spectral_norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def trajectory(weight: Tensor, x1: Tensor, n: int) -> list[Tensor]:
    steps = itertools.repeat(weight, n - 1)
    return list(itertools.accumulate(steps, lambda x, w: torch.sigmoid(w @ x), initial=x1))


def jacobian(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    """dx_n/dx_1 by automatic differentiation, ``[d, d]``."""
    return torch.func.jacrev(lambda x: trajectory(weight, x, n)[-1])(x1)


def jacobian_product(
    weight: Tensor, x1: Tensor, n: int, step: Step = lambda p, slope, w: (slope[:, None] * w) @ p
) -> Tensor:
    r"""dx_n/dx_1 as the product of the proof, :math:`D_{n-1}W \cdots D_1 W`, ``[d, d]``."""
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in trajectory(weight, x1, n)[1:]:
        slope = state * (1.0 - state)  # s'(W x_t), because x_{t+1} = s(W x_t)
        product = step(product, slope, weight)
    return product


def bound(n: int) -> float:
    return 16.0 ** (1 - n)


def random_recurrence(
    dimension: int, seed: int, sigma: float = 0.25, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A Gaussian W scaled to ``sigma_max(W) = sigma`` and a Gaussian x_1 times ``spread``."""
    normal = gaussian(seed)
    weight, x1 = normal(dimension, dimension), spread * normal(dimension)
    return weight * (sigma / spectral_norm(weight)), x1


def tight_example(dimension: int) -> tuple[Tensor, Tensor]:
    """W and x_1 for which the bound is attained at every n; d >= 2."""
    # every state is a multiple of the all-ones vector, which W sends to zero: every slope is 1/4
    weight = 0.25 * (torch.eye(dimension, dtype=torch.float64) - 1.0 / dimension)
    return weight, torch.zeros(dimension, dtype=torch.float64)


def nilpotent_example(dimension: int) -> tuple[Tensor, Tensor]:
    """W and x_1 for which the Jacobian is zero from n = 3 on: W D W = 0 for every diagonal D; d >= 2."""
    weight = torch.zeros(dimension, dimension, dtype=torch.float64)
    weight[0, 1] = 0.25
    return weight, torch.zeros(dimension, dtype=torch.float64)


def hint_counterexample() -> Tensor:
    """Two matrices of norm one whose product is zero, ``[2, 2, 2]``: the hint is no equality."""
    return torch.diag_embed(torch.eye(2, dtype=torch.float64))


@claim("1.2.1", "hint", "σmax(AB) ≤ σmax(A) σmax(B)")
@wrong("equality", "σmax(AB) = σmax(A) σmax(B)", equality=True)
def check_hint(*, equality: bool = False) -> Check:
    normal = gaussian(0)
    pairs = [*(normal(2, 6, 6) for _ in range(300)), hint_counterexample()]
    ratios = [spectral_norm(a @ b) / (spectral_norm(a) * spectral_norm(b)) for a, b in pairs]
    return equal(ratio - 1.0 for ratio in ratios) if equality else at_most(ratios)


@claim("1.2.1", "slope", "the sigmoid's slope is at most 1/4, attained at 0")
@wrong("fifth", "the slope is at most 1/5", steepest=0.2)
def check_slope(steepest: float = 0.25) -> Check:
    z = torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64)  # an odd number: 0 is among them
    slopes = torch.sigmoid(z) * (1.0 - torch.sigmoid(z))
    return equal([float(slopes.max()) - steepest, float(z[slopes.argmax()])])


@claim("1.2.1", "lower", "σmax(∂xₙ/∂x₁) ≥ 0, and 0 is possible")
@wrong("positive", "singular values are positive", strict=True)
def check_lower(*, strict: bool = False) -> Check:
    examples = [*(random_recurrence(5, seed) for seed in range(40)), nilpotent_example(5)]
    least = min(spectral_norm(jacobian(*example, 4)) for example in examples)
    return equal([float(least <= 0.0) if strict else least], tolerance=0.0)


@claim("1.2.1", "chain", "∂xₙ/∂x₁ is the product of the DₜW, later factors on the left")
@wrong("order", "the first factor stands on the left", step=lambda p, s, w: p @ (s[:, None] * w))
@wrong("side", "W Dₜ in place of Dₜ W", step=lambda p, slope, weight: (weight * slope) @ p)
def check_chain_rule(**step: Any) -> Check:
    examples = [random_recurrence(8, seed) for seed in range(20)]
    pairs = [(jacobian(*e, 5), jacobian_product(*e, 5, **step)) for e in examples]
    return equal(spectral_norm(right - found) / spectral_norm(right) for right, found in pairs)


@claim("1.2.1", "bound", "σmax(∂xₙ/∂x₁) ≤ (1/16)ⁿ⁻¹")
@wrong("factors", "(1/16)ⁿ: n factors", limit=lambda n: 16.0 ** (-n))
@wrong("eighth", "(1/8)ⁿ, which is the same at n = 4", limit=lambda n: 8.0 ** (-n))
@wrong("premise", "also for σmax(W) = 0.3", sigma=0.3)
def check_bound(sigma: float = 0.25, limit: Limit = bound) -> Check:
    # from the steepest part of the sigmoid (spread 0) to its flat ends
    examples = [random_recurrence(8, seed, sigma, spread=float(seed % 4)) for seed in range(60)]
    cases = itertools.product(examples, (1, 2, 3, 4, 6))
    return at_most(spectral_norm(jacobian(*example, n)) / limit(n) for example, n in cases)


@claim("1.2.1", "tight", "the bound is attained")
@wrong("factors", "(1/16)ⁿ is attained", limit=lambda n: 16.0 ** (-n))
@wrong("slope", "(1/20)ⁿ⁻¹ is attained", limit=lambda n: 20.0 ** (1 - n))
@wrong("weight", "(1/4)ⁿ⁻¹ is attained", limit=lambda n: 4.0 ** (1 - n))
def check_tight(limit: Limit = bound, n: int = 6, dimension: int = 8) -> Check:
    return equal([spectral_norm(jacobian(*tight_example(dimension), n)) / limit(n) - 1.0])
