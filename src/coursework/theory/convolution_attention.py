r"""1.4.1: self-attention with a relative-position bias that equals a convolution.

.. math:: \alpha_{ij} = Q_i K_j / \sqrt{d_k} + P_{i-j}, \qquad
          \mathrm{out}_i = \sum_j \mathrm{softmax}(\alpha_i)_j V_j

with one number per token (d_k = 1). The kernel :math:`[2, 0, 1]`, that is :math:`2x_{i-1} + x_{i+1}`, is
represented by :math:`W_Q = 0`, :math:`W_V = 3`, :math:`P_1 = \ln 2`, :math:`P_{-1} = 0` and
:math:`P_r = -\infty` for every other r. Tokens are ``[n]``, kernels ``[2r + 1]``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coursework.models.checks import require
from coursework.theory.checks import Check, at_most, claim, equal, gap, gaussian, wrong

Convolution = Callable[[Tensor, Tensor], Tensor]  # of tokens with a kernel
KERNEL = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)  # weights of x_{i-1}, x_i, x_{i+1}


@dataclass(frozen=True)
class HeadParameters:
    w_v: float  # value weight, V_j = w_v x_j
    bias: Mapping[int, float]  # P_r for r = i - j
    elsewhere: float = -math.inf  # P_r for every r that ``bias`` does not name
    w_q: float = 0.0  # query weight; 0 switches the content term off
    w_k: float = 1.0  # key weight; any number if ``w_q`` is 0


# The answer to 1.4.1.
ASSIGNMENT = HeadParameters(w_v=3.0, bias={1: math.log(2.0), -1: 0.0})


def bias_matrix(n: int, bias: Mapping[int, float], elsewhere: float = -math.inf) -> Tensor:
    """The matrix with entry P_{i-j} in row i, column j, ``[n, n]``."""
    rows = [[bias.get(i - j, elsewhere) for j in range(n)] for i in range(n)]
    return torch.tensor(rows, dtype=torch.float64)


def attend(x: Tensor, head: HeadParameters) -> tuple[Tensor, Tensor]:
    """Output ``[n]`` and attention matrix ``[n, n]`` of one head on the tokens ``[n]``."""
    x = x.double()
    scores = torch.outer(head.w_q * x, head.w_k * x)  # Q_i K_j, d_k = 1: [n, n]
    weights = torch.softmax(scores + bias_matrix(len(x), head.bias, head.elsewhere), dim=1)
    return weights @ (head.w_v * x), weights


def convolution(x: Tensor, kernel: Tensor = KERNEL) -> Tensor:
    r"""The reference :math:`\sum_{j=-r}^{r} x_{i+j} w_{j+r+1}` with zeros outside, ``[n]``."""
    # conv1d does not flip its kernel, exactly like the formula of the question
    x, kernel = x[None, None].double(), kernel[None, None].double()
    return torch.nn.functional.conv1d(x, kernel, padding="same")[0, 0]


def head_for_kernel(kernel: Tensor) -> HeadParameters:
    """Parameters for a kernel ``[2r + 1]`` without negative weights and with a positive one: the bias is the
    logarithm of ``w / sum(w)``, and the value weight restores the sum. Weight ``kernel[t]`` belongs to token
    ``j = i + t - r``, that is to offset ``i - j = r - t``."""
    radius, total = len(kernel) // 2, float(kernel.sum())
    fits = len(kernel) % 2 == 1 and bool((kernel >= 0).all()) and total > 0
    require(fits, "A kernel has 2r + 1 weights, none negative and one positive; split signs first.")
    logs = torch.log(kernel / total).tolist()
    return HeadParameters(total, {radius - place: value for place, value in enumerate(logs)})


def attention_convolution(x: Tensor, head: HeadParameters, radius: int = 1) -> Tensor:
    """Pad the tokens with ``radius`` zeros per side, attend, keep the real positions, ``[n]``."""
    output, _ = attend(torch.nn.functional.pad(x, (radius, radius)), head)  # [n + 2r]
    return output[radius : radius + len(x)]


def signed_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Any kernel with two heads: one for the positive weights minus one for the negative ones."""
    result = torch.zeros_like(x, dtype=torch.float64)
    for sign in (1.0, -1.0):
        if (part := torch.clamp(sign * kernel, min=0.0)).any():
            result += sign * attention_convolution(x, head_for_kernel(part), len(kernel) // 2)
    return result


def kernels(*, signed: bool) -> list[Tensor]:
    """40 random kernels of 1 to 7 weights; about a third of the weights are zero, one never is."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for draw in range(40):
        size = 1 + 2 * (draw % 4)
        weights = torch.randn(size, generator=generator, dtype=torch.float64)
        kept = torch.rand(size, generator=generator) > 1 / 3
        kept[int(torch.randint(size, (), generator=generator))] = True
        result.append(torch.where(kept, weights if signed else weights.abs(), 0.0))
    return result


@claim("1.4.1", "kernel", "W_Q = 0, W_V = 3, P₁ = ln 2, P₋₁ = 0, −∞ else: the kernel [2, 0, 1]")
@wrong("infinite", "P₁ = 2∞, P₋₁ = ∞", head=HeadParameters(3.0, {1: 2 * math.inf, -1: math.inf}))
@wrong("limit", "P₁ = 2M, P₋₁ = M", head=HeadParameters(3.0, {1: 10.0, -1: 5.0}))
@wrong("logarithm", "P₁ = 2, P₋₁ = 1", head=HeadParameters(3.0, {1: 2.0, -1: 1.0}))
@wrong("query", "W_Q = 1", head=replace(ASSIGNMENT, w_q=1.0))
@wrong("values", "W_V = 1", head=replace(ASSIGNMENT, w_v=1.0))
@wrong("sides", "the two sides swapped", head=HeadParameters(3.0, {-1: math.log(2.0), 1: 0.0}))
@wrong("middle", "P₀ = 0", head=HeadParameters(3.0, {1: math.log(2.0), 0: 0.0, -1: 0.0}))
def check_kernel(head: HeadParameters = ASSIGNMENT, kernel: Tensor = KERNEL) -> Check:
    sequences = [gaussian(seed)(64) for seed in range(20)]
    return equal(gap(attention_convolution(x, head), convolution(x, kernel)) for x in sequences)


@claim("1.4.1", "signed", "every kernel: two heads", signed=True)
@wrong("one", "the positive head alone", candidate=lambda x, k: signed_convolution(x, k.clamp(0)))
@claim("1.4.1", "general", "every kernel without negative weights: one head", signed=False)
@wrong("scale", "one head with W_V = 1", candidate=lambda x, k: signed_convolution(x, k) / k.sum())
def check_general(*, signed: bool, candidate: Convolution = signed_convolution) -> Check:
    cases = [(gaussian(seed)(40), kernel) for seed, kernel in enumerate(kernels(signed=signed))]
    return equal(gap(candidate(x, kernel), convolution(x, kernel)) for x, kernel in cases)


@claim("1.4.1", "sign", "whatever the scores are, the weights of one head all have one sign")
@wrong("scores", "without softmax too", attention=lambda scores: scores)
def check_one_sign(attention: Callable[[Tensor], Tensor] = lambda s: s.softmax(dim=0)) -> Check:
    drawn = [gaussian(seed)(8) for seed in range(200)]
    rows = (attention(3.0 * numbers[:7]) * numbers[7] for numbers in drawn)  # times a w_v
    return at_most((-float(torch.outer(row, row).min()) for row in rows), 0.0, rounding=0.0)


def end_errors(x: Tensor) -> Tensor:
    """What attention without padding adds to the convolution: 2 x_2 first, x_{n-1} last, ``[n]``."""
    return torch.stack([2.0 * x[1], *torch.zeros_like(x[2:]), x[-2]])


@claim("1.4.1", "boundary", "unpadded: off by 2x₂ and xₙ₋₁ at the ends, exact inside")
@wrong("none", "unpadded: exact everywhere", errors=lambda x: torch.zeros_like(x))
def check_boundary(errors: Callable[[Tensor], Tensor] = end_errors) -> Check:
    sequences = [gaussian(seed)(64) for seed in range(20)]
    return equal(gap(attend(x, ASSIGNMENT)[0] - convolution(x), errors(x)) for x in sequences)


def finite_bias_error(x: Tensor, size: float) -> float:
    """The error with ``-size`` in place of minus infinity."""
    return gap(attention_convolution(x, replace(ASSIGNMENT, elsewhere=-size)), convolution(x))


def finite_bias_limit(n: int, size: float) -> float:
    """``2 (n-2) e^-size`` for a padded sequence of length n: the error relative to max|x|."""
    return 2.0 * (n - 2) * math.exp(-size)


@claim("1.4.1", "finite", "−M for −∞: error ≤ 2(n−2)e⁻ᴹ max|x|")
@wrong("faster", "error ≤ 2(n−2)e⁻²ᴹ max|x|", rate=2)
def check_finite_bias(rate: int = 1) -> Check:
    cases = [(gaussian(seed)(64), size) for size in (1.0, 5.0, 10.0, 20.0) for seed in range(10)]
    relative = ((finite_bias_error(x, size) / float(x.abs().max()), size) for x, size in cases)
    return at_most(error / finite_bias_limit(64 + 2, rate * size) for error, size in relative)


@claim("1.4.1", "limit", "biases 2M and M lead to the kernel [3, 0, 0]")
@wrong("kernel", "they lead to [2, 0, 1]", target=(2.0, 0.0, 1.0))
def check_large_bias_limit(target: tuple[float, float, float] = (3.0, 0.0, 0.0)) -> Check:
    head = HeadParameters(w_v=3.0, bias={1: 100.0, -1: 50.0})
    return check_kernel(head, torch.tensor(target, dtype=torch.float64))
