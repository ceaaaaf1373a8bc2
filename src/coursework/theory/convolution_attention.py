r"""1.4.1: self-attention with a relative-position bias that equals a convolution.

.. math:: \alpha_{ij} = Q_i K_j / \sqrt{d_k} + P_{i-j}, \qquad
          \mathrm{out}_i = \sum_j \mathrm{softmax}(\alpha_i)_j V_j

with one number per token (d_k = 1). The kernel :math:`[2, 0, 1]`, that is
:math:`2x_{i-1} + x_{i+1}`, is represented by :math:`W_Q = 0`, :math:`W_V = 3`,
:math:`P_1 = \ln 2`, :math:`P_{-1} = 0` and :math:`P_r = -\infty` for every other r.

Sizes: tokens ``[n]``, bias and attention matrices ``[n, n]``, kernels ``[2r + 1]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong

ASSIGNMENT_KERNEL = (2.0, 0.0, 1.0)  #: weights of x_{i-1}, x_i, x_{i+1}


@dataclass(frozen=True)
class HeadParameters:
    """Parameters of one attention head on scalar tokens."""

    w_v: float  # value weight, V_j = w_v x_j
    bias: Mapping[int, float]  # P_r for r = i - j
    elsewhere: float = -math.inf  # P_r for every r that ``bias`` does not name
    w_q: float = 0.0  # query weight; 0 switches the content term off
    w_k: float = 1.0  # key weight; any number if ``w_q`` is 0


# The answer to 1.4.1.
ASSIGNMENT = HeadParameters(w_v=3.0, bias={1: math.log(2.0), -1: 0.0})


def bias_matrix(n: int, bias: Mapping[int, float], elsewhere: float = -math.inf) -> Tensor:
    """The matrix with entry P_{i-j} in row i, column j, ``[n, n]``."""
    result = torch.full((n, n), elsewhere, dtype=torch.float64)
    offsets = torch.arange(n)[:, None] - torch.arange(n)[None, :]  # i - j
    for offset, value in bias.items():
        result[offsets == offset] = value
    return result


def attend(x: Tensor, head: HeadParameters) -> tuple[Tensor, Tensor]:
    """Self-attention of one head.

    Args:
        x: Tokens ``[n]``.
        head: Its parameters.

    Returns:
        The output ``[n]`` and the attention matrix ``[n, n]``. A row in which every score is
        minus infinity has no softmax and is NaN, as it is in the formula.
    """
    scores = torch.outer(head.w_q * x, head.w_k * x)  # Q_i K_j, d_k = 1: [n, n]
    weights = torch.softmax(scores + bias_matrix(len(x), head.bias, head.elsewhere), dim=1)
    return weights @ (head.w_v * x), weights


def convolution(x: Tensor, kernel: Tensor) -> Tensor:
    r"""The reference :math:`\sum_{j=-r}^{r} x_{i+j} w_{j+r+1}` with zeros outside, ``[n]``.

    ``conv1d`` does not flip its kernel, exactly like the formula of the question.
    """
    radius = len(kernel) // 2
    return torch.nn.functional.conv1d(x[None, None], kernel[None, None], padding=radius)[0, 0]


def head_for_kernel(kernel: Tensor) -> HeadParameters:
    """Parameters for a kernel without negative weights, ``[2r + 1]``.

    The softmax weights have to be ``w / sum(w)``: the bias is their logarithm (minus infinity for a
    weight of zero) and the value weight restores the sum. Weight ``kernel[t]`` belongs to token
    ``j = i + t - r``, that is to offset ``i - j = r - t``.

    Raises:
        ValueError: For a negative weight, an even length, or weights that are all zero.
    """
    if len(kernel) % 2 == 0:
        raise ValueError("the kernel needs an odd number of weights")
    if bool((kernel < 0).any()):
        raise ValueError("softmax weights are not negative: use signed_convolution (two heads)")
    total = float(kernel.sum())
    if total == 0.0:
        raise ValueError("a kernel of zeros has no softmax weights: use w_v = 0")
    radius = len(kernel) // 2
    logs = torch.log(kernel / total).tolist()
    return HeadParameters(total, {radius - place: value for place, value in enumerate(logs)})


def attention_convolution(x: Tensor, head: HeadParameters, radius: int) -> Tensor:
    """Pad the tokens with ``radius`` zeros a side, attend, keep the real positions, ``[n]``."""
    padded = torch.nn.functional.pad(x, (radius, radius))  # [n + 2r]
    output, _ = attend(padded, head)
    return output[radius : len(padded) - radius]


def signed_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Any kernel with two heads: one for the positive weights minus one for the negative ones."""
    radius = len(kernel) // 2
    result = torch.zeros_like(x)
    for sign in (1.0, -1.0):
        part = torch.clamp(sign * kernel, min=0.0)
        if bool((part > 0).any()):
            result = result + sign * attention_convolution(x, head_for_kernel(part), radius)
    return result


def random_tokens(n: int = 64, seed: int = 0) -> Tensor:
    """Gaussian tokens, ``[n]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator, dtype=torch.float64)


def kernels(draws: int, seed: int = 0, *, signed: bool = False) -> list[Tensor]:
    """Random kernels of 1 to 7 weights; about a third of the weights are zero, one never is."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for draw in range(draws):
        size = 1 + 2 * (draw % 4)
        weights = torch.randn(size, generator=generator, dtype=torch.float64)
        kept = torch.rand(size, generator=generator) > 1 / 3
        kept[int(torch.randint(size, (), generator=generator))] = True
        result.append(torch.where(kept, weights if signed else weights.abs(), 0.0))
    return result


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


# P_1 = 2 inf, P_{-1} = inf: softmax of infinities is not a number.
INFINITE_BIAS = HeadParameters(3.0, {1: 2 * math.inf, -1: math.inf})


# The same read as a limit, P_1 = 2M and P_{-1} = M: the ratio of the weights is e^M, not 2.
BIAS_2M_AND_M = HeadParameters(3.0, {1: 10.0, -1: 5.0})


# The weights 2 and 1 themselves as biases, not their logarithms.
BIAS_WITHOUT_LOGARITHM = replace(ASSIGNMENT, bias={1: 2.0, -1: 1.0})


# The query not switched off.
QUERY_NOT_ZERO = replace(ASSIGNMENT, w_q=1.0)


# Softmax weights sum to one, the kernel to three.
VALUES_NOT_SCALED = replace(ASSIGNMENT, w_v=1.0)


# The kernel turned round, as a convolution in the sense of mathematics would have it.
SIDES_SWAPPED = replace(ASSIGNMENT, bias={-1: math.log(2.0), 1: 0.0})


# The token itself not shut out.
MIDDLE_OPEN = replace(ASSIGNMENT, bias={1: math.log(2.0), 0: 0.0, -1: 0.0})


@claim("1.4.1", "kernel", "W_Q = 0, W_V = 3, P₁ = ln 2, P₋₁ = 0, −∞ else: the kernel [2, 0, 1]")
@wrong("infinite", "P₁ = 2∞, P₋₁ = ∞", head=INFINITE_BIAS)
@wrong("limit", "P₁ = 2M, P₋₁ = M", head=BIAS_2M_AND_M)
@wrong("logarithm", "P₁ = 2, P₋₁ = 1", head=BIAS_WITHOUT_LOGARITHM)
@wrong("query", "W_Q = 1", head=QUERY_NOT_ZERO)
@wrong("values", "W_V = 1", head=VALUES_NOT_SCALED)
@wrong("sides", "the two sides swapped", head=SIDES_SWAPPED)
@wrong("middle", "P₀ = 0", head=MIDDLE_OPEN)
def check_kernel(
    head: HeadParameters = ASSIGNMENT,
    kernel: Iterable[float] = ASSIGNMENT_KERNEL,
    draws: int = 20,
    n: int = 64,
    claim: str = "attention = convolution with [2, 0, 1] on padded tokens",
) -> Check:
    """1.4.1: the head equals the convolution at every position of the padded sequence."""
    weights = torch.tensor(list(kernel), dtype=torch.float64)
    differences = []
    for seed in range(draws):
        x = random_tokens(n, seed)
        found = attention_convolution(x, head, len(weights) // 2)
        differences.append(_error(found, convolution(x, weights)))
    return equal(claim, differences)


def sum_not_restored(x: Tensor, kernel: Tensor) -> Tensor:
    head = replace(head_for_kernel(kernel), w_v=1.0)
    return attention_convolution(x, head, len(kernel) // 2)


@claim("1.4.1", "signed", "every kernel: two heads", signed=True)
@wrong(
    "one",
    "the positive head alone",
    candidate=lambda x, kernel: signed_convolution(x, kernel.clamp(min=0.0)),
)
@claim("1.4.1", "general", "every kernel without negative weights: one head", signed=False)
@wrong("scale", "... with W_V = 1", candidate=sum_not_restored)
def check_general(
    draws: int = 40,
    n: int = 40,
    *,
    signed: bool,
    candidate: Callable[[Tensor, Tensor], Tensor] = signed_convolution,
) -> Check:
    """Every kernel: one head without negative weights, two heads with."""
    differences = [
        _error(
            candidate(random_tokens(n, seed), kernel), convolution(random_tokens(n, seed), kernel)
        )
        for seed, kernel in enumerate(kernels(draws, signed=signed))
    ]
    return equal(f"every kernel, {'any signs, 2 heads' if signed else 'weights >= 0'}", differences)


def end_errors(x: Tensor) -> Tensor:
    """What attention without padding adds to the convolution: 2 x_2 first, x_{n-1} last, ``[n]``."""
    errors = torch.zeros_like(x)
    errors[0], errors[-1] = 2.0 * x[1], x[-2]
    return errors


def head_weights(bias: Tensor, w_v: float) -> Tensor:
    """What one head with W_Q = 0 multiplies the tokens by: softmax of the bias times w_v, ``[n]``."""
    return torch.softmax(bias, dim=0) * w_v


@claim("1.4.1", "sign", "the weights of one head all have one sign")
@wrong("scores", "... without softmax too", weights=lambda bias, w_v: bias * w_v)
def check_one_sign(
    n: int = 7, draws: int = 200, weights: Callable[[Tensor, float], Tensor] = head_weights
) -> Check:
    """Why mixed signs need two heads: whatever bias and W_V are, one head's weights have one sign.

    Measured: the most negative product of two of its weights. It is not negative.
    """
    products = []
    for seed in range(draws):
        drawn = random_tokens(n + 1, seed)
        found = weights(3.0 * drawn[:n], float(drawn[n]))
        products.append(-float(torch.outer(found, found).min()))
    return at_most("one head: no two weights of different sign", products, 0.0, rounding=0.0)


@claim("1.4.1", "boundary", "unpadded: off by 2x₂ and xₙ₋₁ at the ends, exact inside")
@wrong("none", "exact everywhere", errors=lambda x: torch.zeros_like(x))
def check_boundary(
    n: int = 64, draws: int = 20, errors: Callable[[Tensor], Tensor] = end_errors
) -> Check:
    """Without padding only the two ends are wrong, by exactly 2 x_2 and x_{n-1}.

    At i = 1 the softmax has one token left and gives it the whole weight: 3 x_2 in place of x_2; at
    i = n it gives 3 x_{n-1} in place of 2 x_{n-1}.
    """
    differences = []
    for seed in range(draws):
        x = random_tokens(n, seed)
        gap = attend(x, ASSIGNMENT)[0] - convolution(x, torch.tensor(ASSIGNMENT_KERNEL).double())
        differences.append(_error(gap, errors(x)))
    return equal("unpadded: off by 2 x_2 and x_(n-1) at the ends, exact inside", differences)


def finite_bias_limit(n: int, size: float) -> float:
    """``2 (n-2) e^-size`` for a padded sequence of length n: the error relative to max|x|."""
    return 2.0 * (n - 2) * math.exp(-size)


def finite_bias_error(
    x: Tensor, size: float, limit: Callable[[int, float], float] = finite_bias_limit
) -> tuple[float, float]:
    """Error with ``-size`` in place of minus infinity, and its bound ``2 (n-2) e^-size max|x|``.

    Here n is the length of the padded sequence.
    """
    head = HeadParameters(ASSIGNMENT.w_v, ASSIGNMENT.bias, elsewhere=-size)
    reference = convolution(x, torch.tensor(ASSIGNMENT_KERNEL).double())
    error = _error(attention_convolution(x, head, 1), reference)
    return error, limit(len(x) + 2, size) * float(x.abs().max())


@claim("1.4.1", "finite", "−M for −∞: error ≤ 2(n−2)e⁻ᴹ max|x|")
@wrong(
    "faster",
    "the error falls like e⁻²ᴹ",
    limit=lambda n, size: 2.0 * (n - 2) * math.exp(-2.0 * size),
)
def check_finite_bias(
    sizes: Iterable[float] = (1.0, 5.0, 10.0, 20.0),
    n: int = 64,
    draws: int = 10,
    limit: Callable[[int, float], float] = finite_bias_limit,
) -> Check:
    """A large finite bias does as well: error over its bound is at most one."""
    ratios = []
    for size in sizes:
        for seed in range(draws):
            error, allowed = finite_bias_error(random_tokens(n, seed), size, limit)
            ratios.append(error / allowed)
    return at_most("error with -M for -inf <= 2(n-2) e^(-M) max|x|", ratios)


@claim("1.4.1", "limit", "biases 2M and M lead to the kernel [3, 0, 0]")
@wrong("kernel", "... to [2, 0, 1]", target=(2.0, 0.0, 1.0))
def check_large_bias_limit(
    size: float = 50.0, n: int = 64, target: tuple[float, float, float] = (3.0, 0.0, 0.0)
) -> Check:
    """Where the biases 2M and M lead: to ``3 x_{i-1}``, the kernel [3, 0, 0], and not to [2, 0, 1].

    Softmax sees differences only. Between 2M and M the ratio of the weights is e^M, not 2.
    """
    head = HeadParameters(w_v=3.0, bias={1: 2.0 * size, -1: size})
    name = ", ".join(f"{weight:g}" for weight in target)
    return check_kernel(head, target, n=n, claim=f"P = 2M, M with M = {size:g} gives [{name}]")
