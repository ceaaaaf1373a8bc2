r"""1.1.1 and 1.1.2: the gradient of a deep network with one unit per layer.

.. math:: h_0 = x, \quad h_i = \mathrm{ReLU}(w_i h_{i-1}), \quad f(x) = h_n

Claim: for every input but 0, where f may have a kink,

.. math:: f'(x) = \prod_{i=1}^n w_i \mathbf 1[w_i h_{i-1} > 0], \qquad
          0 \le |f'(x)| \le \prod_{i=1}^n |w_i|,

and the upper bound is attained exactly when every gate is open. With all weights equal to one this
is :math:`0 \le |f'| \le 1` (1.1.1). Sizes of tensors: weights ``[n]``, input a scalar.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong

Formula = Callable[[Tensor, float], float]


def forward(weights: Tensor, x: Tensor) -> Tensor:
    """The network f.

    Args:
        weights: One weight per layer, ``[n]``.
        x: The input; any shape, the network is applied to each element.
    """
    h = x
    for weight in weights:
        h = torch.relu(weight * h)
    return h


def gradient(weights: Tensor, x: float) -> float:
    """df/dx by automatic differentiation (PyTorch takes ReLU'(0) = 0)."""
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(forward(weights, point), point)
    return float(derivative)


def gradient_bound(weights: Tensor) -> float:
    """The upper bound of the claim: the product of all ``|w_i|``."""
    return float(weights.abs().prod())


def gradient_formula(weights: Tensor, x: float) -> float:
    """df/dx in closed form.

    A hidden value is never negative, so for i >= 2 gate i is open iff gate i - 1 is open and
    ``w_i > 0``; gate 1 is open iff ``w_1 x > 0``. So the derivative is the whole product or zero.
    """
    is_open = bool(weights[0] * x > 0) and bool((weights[1:] > 0).all())
    return float(weights.prod()) if is_open else 0.0


def ungated_formula(weights: Tensor, x: float) -> float:
    """The whole product, whatever the gates do (often seen, wrong)."""
    return float(weights.prod())


def _draws(depth: int, draws: int, seed: int) -> list[tuple[Tensor, float]]:
    """Weights with ``.5 <= |w_i| <= 2`` and an input; every second chain has w_2, ..., w_n > 0.

    With random signs only one chain in ``2^(depth - 1)`` would be open and nearly every gradient
    zero: a check on such draws alone would say nothing about the upper bound.
    """
    generator = torch.Generator().manual_seed(seed)
    result = []
    for draw in range(draws):
        sizes = 0.5 + 1.5 * torch.rand(depth, generator=generator, dtype=torch.float64)
        signs = 1.0 - 2.0 * torch.randint(2, (depth,), generator=generator)
        if draw % 2 == 0:
            signs[1:] = 1.0
        x = float(torch.randn((), generator=generator, dtype=torch.float64))
        result.append((sizes * signs, x))
    return result


@claim("1.1.2", "bound", "|f'(x)| ≤ |w₁|⋯|wₙ|")
@wrong("smaller", "a bound 0.1 % smaller", bound=lambda weights: 0.999 * gradient_bound(weights))
@wrong("one", "|f'| ≤ 1, as for unit weights", bound=lambda weights: 1.0)
def check_bound(
    depth: int = 10,
    draws: int = 500,
    seed: int = 0,
    bound: Callable[[Tensor], float] = gradient_bound,
) -> Check:
    """1.1.2: ``|df/dx|`` over its bound is at most one, for random weights of both signs."""
    ratios = (abs(gradient(w, x)) / bound(w) for w, x in _draws(depth, draws, seed))
    return at_most(f"|df/dx| <= |w_1|...|w_n|, n = {depth}", ratios)


@claim("1.1.2", "formula", "f' is the product of all wᵢ if every gate is open, else 0")
@wrong("ungated", "the product, gates or not", formula=ungated_formula)
@wrong(
    "first",
    "only the first gate counts",
    formula=lambda weights, x: float(weights.prod()) if weights[0] * x > 0 else 0.0,
)
def check_formula(
    depth: int = 10, draws: int = 500, seed: int = 0, formula: Formula = gradient_formula
) -> Check:
    """1.1.2: the closed form equals automatic differentiation (relative to the bound)."""
    differences = (
        (gradient(w, x) - formula(w, x)) / gradient_bound(w) for w, x in _draws(depth, draws, seed)
    )
    return equal(f"df/dx = product of the w_i or 0, n = {depth}", differences)


def unit_slope(x: float) -> float:
    """df/dx with all weights one, at any depth: 1 for x > 0 and 0 for x < 0."""
    return float(x > 0)


@claim("1.1.1", "unit", "weights 1: f' is 1 for x > 0 and 0 for x < 0, at any depth")
@wrong("gates", "f' = 1 everywhere", slope=lambda x: 1.0)
@wrong("vanishes", "f' = 0 everywhere", slope=lambda x: 0.0)
def check_unit_weights(
    depth: int = 50,
    draws: int = 200,
    seed: int = 0,
    slope: Callable[[float], float] = unit_slope,
) -> Check:
    """1.1.1: with all weights one, df/dx is 1 for x > 0 and 0 for x < 0, at any depth."""
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(depth, dtype=torch.float64)
    xs = torch.randn(draws, generator=generator, dtype=torch.float64).tolist()
    return equal(
        f"weights 1: df/dx = 1 for x > 0, 0 for x < 0, n = {depth}",
        (gradient(ones, x) - slope(x) for x in xs),
        tolerance=0.0,
    )


@claim("1.1.2", "lipschitz", "|f(x) − f(y)| ≤ |w₁|⋯|wₙ| |x − y|, kinks included")
@wrong("smaller", "0.1 % less", constant=lambda weights: 0.999 * gradient_bound(weights))
def check_lipschitz(
    depth: int = 10,
    draws: int = 500,
    seed: int = 0,
    constant: Callable[[Tensor], float] = gradient_bound,
) -> Check:
    """The bound without a derivative: ``|f(x) - f(y)| <= prod |w_i| |x - y|``.

    This form needs no care at the kinks, where f has no derivative.
    """
    chains = _draws(depth, draws, seed)
    ratios = []
    for (weights, x), (_, y) in itertools.pairwise(chains):
        values = forward(weights, torch.tensor([x, y], dtype=torch.float64))
        ratios.append(float((values[0] - values[1]).abs()) / (constant(weights) * abs(x - y)))
    return at_most(f"|f(x) - f(y)| <= |w_1|...|w_n| |x - y|, n = {depth}", ratios)


@dataclass(frozen=True)
class Verdict:
    """How a family of weights behaves as the network gets deeper."""

    name: str  # key in :data:`PROFILES`
    # geometric mean of ``|df/dx|`` per layer at the deepest network; 0 for a dead chain
    growth: float
    behaviour: str  # ``"vanishes"``, ``"stays"`` or ``"explodes"``


def _log_normal(depth: int) -> Tensor:
    """Positive weights of very different sizes whose geometric mean is exactly one."""
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(depth, generator=generator, dtype=torch.float64)
    return torch.exp(logs - logs.mean())


def _one_closed_gate(depth: int) -> Tensor:
    """All ``|w_i| = 1.25``, but the weight of the fourth layer is negative."""
    weights = torch.full((depth,), 1.25, dtype=torch.float64)
    weights[3:4] = -1.25
    return weights


# Families of weights, depth -> weights ``[depth]``: name of the family first.
PROFILES: dict[str, Callable[[int], Tensor]] = {
    "all 0.8": lambda depth: torch.full((depth,), 0.8, dtype=torch.float64),
    "all 1": lambda depth: torch.ones(depth, dtype=torch.float64),
    "all 1.25": lambda depth: torch.full((depth,), 1.25, dtype=torch.float64),
    "2 and 1/2 in turn": lambda depth: 2.0 ** (1.0 - 2.0 * (torch.arange(depth) % 2).double()),
    "mixed, geometric mean 1": _log_normal,
    "all 1.25, one negative": _one_closed_gate,
}


def gradient_profile(name: str, max_depth: int = 60, x: float = 1.0) -> list[float]:
    """``|df/dx|`` at x for networks of depth 1, ..., ``max_depth`` of one family."""
    return [abs(gradient(PROFILES[name](depth), x)) for depth in range(1, max_depth + 1)]


def _behaviour(growth: float, tolerance: float = 0.05) -> str:
    if math.isclose(growth, 1.0, abs_tol=tolerance):
        return "stays"
    return "vanishes" if growth < 1.0 else "explodes"


def verdict(name: str, depth: int = 60, x: float = 1.0) -> Verdict:
    """What happens to the gradient of a family, from the measured growth per layer."""
    size = abs(gradient(PROFILES[name](depth), x))
    growth = size ** (1.0 / depth)
    return Verdict(name, growth, _behaviour(growth))


def rule_by_path(weights: Tensor) -> str:
    """The right rule at x = 1: the product over the path decides, and a closed gate makes it 0."""
    growth = abs(gradient_formula(weights, 1.0)) ** (1.0 / len(weights))
    return _behaviour(growth)


def rule_by_single_weights(weights: Tensor) -> str:
    """Often seen, wrong: some |w_i| > 1 explodes, otherwise some |w_i| < 1 vanishes."""
    if bool((weights.abs() > 1).any()):
        return "explodes"
    return "vanishes" if bool((weights.abs() < 1).any()) else "stays"


@claim(
    "1.1.2",
    "necessarily",
    "vanish, stay or explode: the product over the open path decides",
    predict=rule_by_path,
)
@wrong("single", "the size of single weights", predict=rule_by_single_weights)
@wrong("vanish", "it must vanish", predict=lambda weights: "vanishes")
@wrong("explode", "it must explode", predict=lambda weights: "explodes")
def check_rule(predict: Callable[[Tensor], str], depth: int = 60) -> Check:
    """Test a rule "weights -> vanishes / stays / explodes" against the measured gradients.

    The share of families on which the rule is wrong must be zero. The sizes of the single weights
    do not decide (a common answer); the product over an open path does.
    """
    failures = (
        float(predict(family(depth)) != verdict(name, depth).behaviour)
        for name, family in PROFILES.items()
    )
    return equal("the rule predicts every family", failures, tolerance=0.0)
