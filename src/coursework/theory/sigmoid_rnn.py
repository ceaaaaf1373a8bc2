r"""1.2.1: the input-output Jacobian of a sigmoid recurrence vanishes.

.. math:: x_{t+1} = s(W x_t), \quad \sigma_{\max}(W) = \tfrac14
          \;\Longrightarrow\; 0 \le \sigma_{\max}(\partial x_n / \partial x_1) \le (1/16)^{n-1}

Sizes: W is ``[d, d]``, a state ``[d]``, the Jacobian ``[d, d]``; n counts states, so there are
n - 1 steps between x_1 and x_n.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong


def spectral_norm(matrix: Tensor) -> float:
    """The largest singular value."""
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def trajectory(weight: Tensor, x1: Tensor, n: int) -> list[Tensor]:
    """The states x_1, ..., x_n."""
    states = [x1]
    for _ in range(n - 1):
        states.append(torch.sigmoid(weight @ states[-1]))
    return states


def jacobian(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    """dx_n/dx_1 by automatic differentiation, ``[d, d]``."""
    result = torch.autograd.functional.jacobian(lambda x: trajectory(weight, x, n)[-1], x1)
    assert isinstance(result, Tensor)  # one input and one output: not a tuple
    return result


def jacobian_product(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    r"""dx_n/dx_1 as the product of the proof, :math:`D_{n-1}W \cdots D_1 W`, ``[d, d]``."""
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in trajectory(weight, x1, n)[1:]:
        slope = state * (1.0 - state)  # s'(W x_t), because x_{t+1} = s(W x_t)
        product = (slope[:, None] * weight) @ product  # later factors stand on the left
    return product


def bound(n: int) -> float:
    """The claimed upper bound, ``(1/16)^(n-1)``."""
    return 16.0 ** (1 - n)


def random_recurrence(
    dimension: int, seed: int, sigma: float = 0.25, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A Gaussian W scaled to ``sigma_max(W) = sigma`` and a Gaussian x_1 times ``spread``."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    x1 = spread * torch.randn(dimension, generator=generator, dtype=torch.float64)
    return weight * (sigma / spectral_norm(weight)), x1


def tight_example(dimension: int) -> tuple[Tensor, Tensor]:
    r"""W and x_1 for which the bound is attained at every n.

    :math:`W = \frac14 (I - \mathbf 1 \mathbf 1^T / d)` with :math:`x_1 = 0`: every state is a
    multiple of the all-ones vector, which W sends to zero, so :math:`W x_t = 0` and every slope is
    1/4.

    Raises:
        ValueError: If ``dimension < 2`` (W would be the zero matrix).
    """
    if dimension < 2:
        raise ValueError("the tight example needs at least two dimensions")
    ones = torch.full((dimension, dimension), 1.0 / dimension, dtype=torch.float64)
    identity = torch.eye(dimension, dtype=torch.float64)
    return 0.25 * (identity - ones), torch.zeros(dimension, dtype=torch.float64)


def nilpotent_example(dimension: int) -> tuple[Tensor, Tensor]:
    r"""W and x_1 for which the Jacobian is zero from n = 3 on.

    :math:`W = \frac14 e_1 e_2^T` meets the premise, and for every diagonal D the product
    :math:`W D W = \frac1{16} e_1 (e_2^T D e_1) e_2^T` is zero.

    Raises:
        ValueError: If ``dimension < 2``.
    """
    if dimension < 2:
        raise ValueError("the nilpotent example needs at least two dimensions")
    weight = torch.zeros(dimension, dimension, dtype=torch.float64)
    weight[0, 1] = 0.25
    return weight, torch.zeros(dimension, dtype=torch.float64)


def hint_counterexample() -> tuple[Tensor, Tensor]:
    """Two matrices of norm one whose product is zero: the hint is no equality."""
    first = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    second = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    return first, second


def _pairs(dimension: int, draws: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, dimension, dimension)
    stacks = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(draws))
    return [(stack[0], stack[1]) for stack in stacks]


def check_hint_as_equality(dimension: int = 6, draws: int = 300, seed: int = 0) -> Check:
    """The hint as it is often copied, with an equals sign. It does not hold."""
    differences = (
        spectral_norm(a @ b) / (spectral_norm(a) * spectral_norm(b)) - 1.0
        for a, b in [*_pairs(dimension, draws, seed), hint_counterexample()]
    )
    return equal("sigma_max(AB) = sigma_max(A) sigma_max(B)", differences)


@claim("1.2.1", "hint", "σmax(AB) ≤ σmax(A) σmax(B)")
@wrong("equality", "an equals sign", check=check_hint_as_equality)
def check_hint(dimension: int = 6, draws: int = 300, seed: int = 0) -> Check:
    """The hint: ``sigma_max(AB) <= sigma_max(A) sigma_max(B)`` (counter-example included)."""
    ratios = (
        spectral_norm(a @ b) / (spectral_norm(a) * spectral_norm(b))
        for a, b in [*_pairs(dimension, draws, seed), hint_counterexample()]
    )
    return at_most("sigma_max(AB) <= sigma_max(A) sigma_max(B)", ratios)


@claim("1.2.1", "slope", "the sigmoid's slope is at most 1/4, attained at 0")
@wrong("fifth", "at most 1/5", steepest=0.2)
def check_slope(steepest: float = 0.25, points: int = 4001) -> Check:
    """The slopes ``s'(z) = s(z)(1 - s(z))`` are at most 1/4, and 1/4 is attained at z = 0."""
    z = torch.linspace(-20.0, 20.0, points, dtype=torch.float64)  # an odd number: 0 is among them
    s = torch.sigmoid(z)
    slopes = s * (1.0 - s)
    return equal(
        f"the largest s'(z) is {steepest:g}, at z = 0",
        [float(slopes.max()) - steepest, float(z[slopes.argmax()])],
    )


@claim("1.2.1", "lower", "σmax(∂xₙ/∂x₁) ≥ 0, and 0 is possible")
@wrong("positive", "singular values are positive", strict=True)
def check_lower(n: int = 4, dimension: int = 5, draws: int = 40, *, strict: bool = False) -> Check:
    """The lower bound: never below zero. ``strict`` claims "positive", which is too much."""
    examples = [random_recurrence(dimension, seed) for seed in range(draws)]
    sigmas = [
        spectral_norm(jacobian(*example, n))
        for example in [*examples, nilpotent_example(dimension)]
    ]
    sign = ">" if strict else ">="
    return equal(
        f"sigma_max(dx_n/dx_1) {sign} 0, n = {n}",
        (float(not (sigma > 0.0 if strict else sigma >= 0.0)) for sigma in sigmas),
        tolerance=0.0,
    )


def factors_in_reading_order(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in trajectory(weight, x1, n)[1:]:
        product = product @ ((state * (1.0 - state))[:, None] * weight)
    return product


def slopes_on_the_right(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in trajectory(weight, x1, n)[1:]:
        product = (weight * (state * (1.0 - state))[None, :]) @ product
    return product


@claim("1.2.1", "chain", "∂xₙ/∂x₁ is the product of the DₜW, later factors on the left", draws=20)
@wrong("order", "first factor on the left", product=factors_in_reading_order)
@wrong("side", "W Dₜ in place of Dₜ W", product=slopes_on_the_right)
def check_chain_rule(
    dimension: int = 8,
    n: int = 5,
    draws: int = 50,
    product: Callable[[Tensor, Tensor, int], Tensor] = jacobian_product,
) -> Check:
    """The product of the proof equals automatic differentiation (relative error)."""
    differences = []
    for seed in range(draws):
        weight, x1 = random_recurrence(dimension, seed)
        reference = jacobian(weight, x1, n)
        gap = spectral_norm(reference - product(weight, x1, n))
        differences.append(gap / spectral_norm(reference))
    return equal(f"dx_n/dx_1 = D_(n-1) W ... D_1 W, n = {n}", differences)


@claim("1.2.1", "bound", "σmax(∂xₙ/∂x₁) ≤ (1/16)ⁿ⁻¹", n=4, draws=60)
@wrong("factors", "(1/16)ⁿ: n factors", limit=lambda n: 16.0 ** (-n))
@wrong("premise", "also for σmax(W) = 0.3", sigma=0.3)
def check_bound(
    n: int,
    dimension: int = 8,
    draws: int = 300,
    sigma: float = 0.25,
    limit: Callable[[int], float] = bound,
) -> Check:
    """1.2.1: ``sigma_max(dx_n/dx_1)`` over its bound is at most one."""
    ratios = []
    for seed in range(draws):
        # from the steepest part of the sigmoid (spread 0) to its flat ends
        weight, x1 = random_recurrence(dimension, seed, sigma, spread=float(seed % 4))
        ratios.append(spectral_norm(jacobian(weight, x1, n)) / limit(n))
    return at_most(f"sigma_max(dx_n/dx_1) / (1/16)^(n-1), n = {n}", ratios)


@claim("1.2.1", "tight", "the bound is attained", n=6)
@wrong("factors", "(1/16)ⁿ is attained", limit=lambda n: 16.0 ** (-n))
@wrong("slope", "(1/20)ⁿ⁻¹ is attained", limit=lambda n: 20.0 ** (1 - n))
@wrong("weight", "(1/4)ⁿ⁻¹ is attained", limit=lambda n: 4.0 ** (1 - n))
def check_tight(n: int, dimension: int = 8, limit: Callable[[int], float] = bound) -> Check:
    """The bound is attained: on the tight example the ratio is one, not less."""
    ratio = spectral_norm(jacobian(*tight_example(dimension), n)) / limit(n)
    return equal(f"tight example: ratio = 1, n = {n}", [ratio - 1.0])
