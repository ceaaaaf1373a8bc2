r"""1.1.1 and 1.1.2: the gradient of a deep network with one unit per layer.

.. math:: h_0 = x, \quad h_i = \mathrm{ReLU}(w_i h_{i-1}), \quad f(x) = h_n, \qquad
          f'(x) = \prod_{i=1}^n w_i \mathbf 1[w_i h_{i-1} > 0] \quad (x \ne 0)
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, gaussian, wrong

Formula = Callable[[Tensor, float], float]
Size = Callable[[Tensor], float]


def forward(weights: Tensor, x: Tensor) -> Tensor:
    """The network f with one weight per layer ``[n]``, applied to each element of ``x``."""
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
    return float(weights.abs().prod())


def gradient_formula(weights: Tensor, x: float) -> float:
    """df/dx in closed form: the product of all weights if every gate is open, else zero."""
    # hidden values are never negative: gate i >= 2 is open iff gate i - 1 is open and w_i > 0
    is_open = weights[0] * x > 0 and bool((weights[1:] > 0).all())
    return float(weights.prod()) if is_open else 0.0


def _draws() -> list[tuple[Tensor, float]]:
    """500 chains of 10 layers, ``.5 <= |w_i| <= 2``, with inputs."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for draw in range(500):
        sizes = 0.5 + 1.5 * torch.rand(10, generator=generator, dtype=torch.float64)
        signs = 1.0 - 2.0 * torch.randint(2, (10,), generator=generator)
        if draw % 2 == 0:  # with random signs only one in 2^10 is open
            signs[1:] = 1.0
        x = float(torch.randn((), generator=generator, dtype=torch.float64))
        result.append((sizes * signs, x))
    return result


@claim("1.1.2", "bound", "|f'(x)| ≤ |w₁|⋯|wₙ|")
@wrong("smaller", "a bound 0.1 % smaller", bound=lambda weights: 0.999 * gradient_bound(weights))
@wrong("one", "|f'| ≤ 1, as for unit weights", bound=lambda weights: 1.0)
def check_bound(bound: Size = gradient_bound) -> Check:
    return at_most(abs(gradient(weights, x)) / bound(weights) for weights, x in _draws())


@claim("1.1.2", "formula", "f' is the product of all wᵢ if every gate is open, else 0")
@wrong("ungated", "the product, gates or not", formula=lambda weights, x: float(weights.prod()))
@wrong("first", "only the first gate counts", formula=lambda w, x: float(w.prod() * (w[0] * x > 0)))
def check_formula(formula: Formula = gradient_formula) -> Check:
    return equal((gradient(w, x) - formula(w, x)) / gradient_bound(w) for w, x in _draws())


@claim("1.1.1", "unit", "weights 1: f' is 1 for x > 0 and 0 for x < 0, at any depth")
@wrong("gates", "f' = 1 everywhere", slope=lambda x: 1.0)
@wrong("vanishes", "f' = 0 everywhere", slope=lambda x: 0.0)
def check_unit_weights(slope: Callable[[float], float] = lambda x: float(x > 0)) -> Check:
    cases = itertools.product((1, 2, 10, 50), gaussian(0)(50).tolist())
    gradients = ((gradient(torch.ones(n).double(), x), x) for n, x in cases)
    return equal((found - slope(x) for found, x in gradients), tolerance=0.0)


@claim("1.1.2", "lipschitz", "|f(x) − f(y)| ≤ |w₁|⋯|wₙ| |x − y|, kinks included")
@wrong("smaller", "0.1 % less", constant=lambda weights: 0.999 * gradient_bound(weights))
def check_lipschitz(constant: Size = gradient_bound) -> Check:
    pairs = [(w, torch.tensor([x, y]).double()) for (w, x), (_, y) in itertools.pairwise(_draws())]
    slopes = ((w, float((forward(w, x).diff() / x.diff()).abs())) for w, x in pairs)
    return at_most(slope / constant(w) for w, slope in slopes)


# Families of weights, depth -> weights ``[depth]``: name of the family first.
PROFILES: dict[str, Callable[[int], Tensor]] = {
    "all 0.8": lambda depth: torch.full((depth,), 0.8, dtype=torch.float64),
    "all 1": lambda depth: torch.ones(depth, dtype=torch.float64),
    "all 1.25": lambda depth: torch.full((depth,), 1.25, dtype=torch.float64),
    "2 and 1/2 in turn": lambda depth: 2.0 ** (1.0 - 2.0 * (torch.arange(depth) % 2).double()),
    "mixed, geometric mean 1": lambda depth: (gaussian(0)(depth) - gaussian(0)(depth).mean()).exp(),
    "all 1.25, one negative": lambda depth: 1.25 - 2.5 * (torch.arange(depth) == 3).double(),
}


def gradient_profile(name: str, max_depth: int = 60) -> list[float]:
    """``|df/dx|`` at x = 1 for networks of depth 1, ..., ``max_depth`` of one family."""
    return [abs(gradient(PROFILES[name](depth), 1.0)) for depth in range(1, max_depth + 1)]


def behaviour(sizes: list[float]) -> str:
    """What the size of a gradient does: stays within a factor of two, vanishes, explodes or is 0."""
    if sizes[-1] == 0.0:
        return "is 0"
    if max(sizes) <= 2.0 * min(sizes):
        return "stays"
    return "vanishes" if sizes[-1] < sizes[0] else "explodes"


def rule_by_product(weights: Tensor) -> str:
    """The answer of 1.1.2: the product of all weights if the path is open, 0 if it is closed."""
    return behaviour([1.0, abs(gradient_formula(weights, 1.0))])


def rule_by_single_weights(weights: Tensor) -> str:
    """Often seen, wrong: some |w_i| > 1 explodes, otherwise some |w_i| < 1 vanishes."""
    if bool((weights.abs() > 1).any()):
        return "explodes"
    return "vanishes" if bool((weights.abs() < 1).any()) else "stays"


@claim("1.1.2", "necessarily", "the product over the open path decides; a closed path has 0")
@wrong("single", "the size of single weights decides", predict=rule_by_single_weights)
@wrong("gates", "the product, gates or not", predict=lambda w: rule_by_product(w.abs()))
@wrong("vanish", "it must vanish", predict=lambda weights: "vanishes")
@wrong("explode", "it must explode", predict=lambda weights: "explodes")
def check_rule(predict: Callable[[Tensor], str] = rule_by_product) -> Check:
    """A rule on all weights predicts the behaviour of the gradients, which are measured at all depths."""
    cases = itertools.product(PROFILES.items(), (59, 60))
    found = ((of(n), behaviour(gradient_profile(name, n))) for (name, of), n in cases)
    return equal((float(predict(w) != measured) for w, measured in found), tolerance=0.0)
