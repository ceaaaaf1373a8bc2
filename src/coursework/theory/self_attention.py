r"""2(c): cost and permutation equivariance of self-attention.

.. math:: X_{new} = \mathrm{softmax}\big(X W^Q (W^K)^T X^T\big)\, X W^V,
          \qquad X \in \mathbb R^{N \times d},\; W^Q, W^K, W^V \in \mathbb R^{d \times D}
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coursework.models.attention import attention
from coursework.models.transformer import EncoderLayer, PositionalEncoding
from coursework.theory.checks import Check, at_most, claim, equal, gap, gaussian, wrong
from coursework.theory.cost import log_log_slope, measure

# Cases (N, d, D): more tokens than features, fewer, and d < D.
SIZES = ((64, 48, 16), (200, 32, 32), (128, 16, 64), (300, 64, 8), (8, 48, 16))

Layer = Callable[..., Tensor]
Count = Callable[[int, int, int], int]


def inputs(n: int, d: int, width: int, seed: int = 0) -> list[Tensor]:
    """X ``[N, d]`` and the three weight matrices ``[d, D]``."""
    normal = gaussian(seed)
    return [normal(rows, columns) / columns**0.5 for rows, columns in [(n, d), *[(d, width)] * 3]]


def self_attention(
    x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, *, causal: bool = False
) -> Tensor:
    """Equation (1) of the question, projections first, ``[N, D]``."""
    return attention(x @ w_q, x @ w_k, x @ w_v, scale=1.0, causal=causal)[0]


def left_to_right(x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    """The same values, each product in the order in which it is written, ``[N, D]``."""
    scores = ((x @ w_q) @ w_k.T) @ x.T  # [N, N]
    return (scores.softmax(dim=1) @ x) @ w_v


def project_first_count(n: int, d: int, width: int) -> int:
    return 3 * n * d * width + 2 * n * n * width


def left_to_right_count(n: int, d: int, width: int) -> int:
    return 3 * n * d * width + 2 * n * n * d


def with_positions(x: Tensor) -> Tensor:
    """Tokens plus the sinusoidal encodings of the Transformer, ``[N, d]``."""
    return PositionalEncoding(x.shape[1]).double().eval()(x[None])[0]


def _orders(n: int, draws: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(n, generator=generator) for _ in range(draws)]


@claim("2(c)", "equivariance", "f(ΠX) = Π f(X)")
@wrong("positions", "with positional encodings",
       layer=lambda x, *w: self_attention(with_positions(x), *w))  # fmt: skip
@wrong("causal", "with a causal mask", layer=partial(self_attention, causal=True))
@wrong("first", "for the first token's output", layer=lambda *x: self_attention(*x)[[0] * 30])
def check_equivariance(layer: Layer = self_attention) -> Check:
    cases = [(order, *inputs(30, 16, 8, seed)) for seed, order in enumerate(_orders(30, 10))]
    return equal(gap(layer(x[o], *w), layer(x, *w)[o]) for o, x, *w in cases)


def permuted_both(matrix: Tensor, order: Tensor) -> Tensor:
    """Pi A Pi^T: entry (i, j) is A_{pi(i) pi(j)}."""
    return matrix[order][:, order]


@claim("2(c)", "softmax", "softmax(ΠSΠᵀ) = Π softmax(S) Πᵀ")
@wrong("rows", "softmax(ΠSΠᵀ) = Π softmax(S)", expected=lambda matrix, order: matrix[order])
def check_softmax_step(expected: Callable[[Tensor, Tensor], Tensor] = permuted_both) -> Check:
    cases = [(gaussian(seed)(30, 30), order) for seed, order in enumerate(_orders(30, 10))]
    pairs = ((permuted_both(s, o).softmax(dim=1), expected(s.softmax(dim=1), o)) for s, o in cases)
    return equal(gap(*pair) for pair in pairs)


@claim("2(c)", "encoder", "a whole encoder layer is equivariant")
@wrong("causal", "an encoder layer with a causal mask is too", causal=True)
def check_encoder_layer(*, causal: bool = False) -> Check:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = EncoderLayer(16, 4, 32, dropout=0.0).double().eval()
    apply = partial(layer.requires_grad_(False), causal=causal)
    cases = [(inputs(12, 16, 16, seed)[0][None], o) for seed, o in enumerate(_orders(12, 5))]
    return equal(gap(apply(x[:, o]), apply(x)[:, o]) for x, o in cases)


LEFT: dict[str, Any] = {"layer": left_to_right, "formula": left_to_right_count}


@claim("2(c)", "left-count", "3NdD + 2N²d multiply-adds from left to right", **LEFT)
@wrong("bracket", "the count of projections first", formula=project_first_count)
@claim("2(c)", "count", "3NdD + 2N²D multiply-adds, projections first")
@wrong("projections", "2N²D", formula=lambda n, d, width: 2 * n * n * width)
@wrong("bracket", "the other bracketing's count", formula=left_to_right_count)
def check_count(layer: Layer = self_attention, formula: Count = project_first_count) -> Check:
    counted = [measure(layer, *inputs(*size)).multiply_adds - formula(*size) for size in SIZES]
    return equal(counted, tolerance=0.0)


@claim("2(c)", "left", "both bracketings give the same values")
@wrong("causal", "with a causal mask too", candidate=partial(self_attention, causal=True))
def check_brackets(candidate: Layer = left_to_right) -> Check:
    cases = [inputs(*size) for size in SIZES]
    return equal(gap(self_attention(*tensors), candidate(*tensors)) for tensors in cases)


@claim("2(c)", "growth", "multiply-adds and the largest tensor grow like N²")
@wrong("linear", "they grow like N", exponent=1.0)
def check_growth(exponent: float = 2.0) -> Check:
    sizes = [512, 1024, 2048]
    costs = [measure(self_attention, *inputs(n, 4, 4)) for n in sizes]
    counts = [[c.multiply_adds for c in costs], [c.largest for c in costs]]
    return at_most((abs(log_log_slope(sizes, count) - exponent) for count in counts), 0.02)
