"""Wrong versions of the claims, as they are often seen, each to be refuted by the check of its claim.

A check that would also accept a wrong claim says nothing. Every function here is put in the place of
the right one (see :mod:`coursework.theory.claims`), and the tests ask that the check then fails. Wrong
versions that a notebook also shows beside the right one live in the module of their claim.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from coursework.theory import almost_orthogonal as ao
from coursework.theory import convolution_attention as conv
from coursework.theory import kernel_attention as ka
from coursework.theory import low_rank_attention as lr
from coursework.theory import pooling_attention as pool
from coursework.theory import relu_chain, self_attention, sigmoid_rnn, similarity

# --- 1.1 -------------------------------------------------------------------------------------------


def always_one(x: float) -> float:
    """The gates forgotten: slope 1 on the negative side as well."""
    return 1.0


def always_zero(x: float) -> float:
    """ "Deep chains must vanish": slope 0 at every input."""
    return 0.0


def slightly_smaller(weights: Tensor) -> float:
    """The product of the |w_i|, less one part in a thousand: the bound is attained, so this fails."""
    return 0.999 * relu_chain.gradient_bound(weights)


def still_one(weights: Tensor) -> float:
    """The bound of 1.1.1 taken over to general weights."""
    return 1.0


def first_gate_only(weights: Tensor, x: float) -> float:
    """The whole product wherever w_1 x > 0, whatever the signs of the later weights."""
    return float(weights.prod()) if weights[0] * x > 0 else 0.0


def must_vanish(weights: Tensor) -> str:
    """ "The gradient of a deep network necessarily vanishes"."""
    return "vanishes"


def must_explode(weights: Tensor) -> str:
    """ "The gradient of a deep network necessarily explodes"."""
    return "explodes"


# --- 1.2 -------------------------------------------------------------------------------------------


def one_factor_more(n: int) -> float:
    """(1/16)^n: n factors between n states, where there are n - 1 steps."""
    return 16.0**-n


def slope_of_one_fifth(n: int) -> float:
    """(1/20)^(n-1): as if the sigmoid were nowhere steeper than 1/5."""
    return 20.0 ** (1 - n)


def weight_forgotten(n: int) -> float:
    """(1/4)^(n-1): the slopes counted, the matrix W forgotten. True as a bound, but not tight."""
    return 4.0 ** (1 - n)


def factors_in_reading_order(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    """The step Jacobians multiplied first to last, the first on the left."""
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in sigmoid_rnn.trajectory(weight, x1, n)[1:]:
        product = product @ ((state * (1.0 - state))[:, None] * weight)
    return product


def slopes_on_the_right(weight: Tensor, x1: Tensor, n: int) -> Tensor:
    """W D_t in place of D_t W."""
    product = torch.eye(len(x1), dtype=x1.dtype)
    for state in sigmoid_rnn.trajectory(weight, x1, n)[1:]:
        product = (weight * (state * (1.0 - state))[None, :]) @ product
    return product


# --- 1.3 -------------------------------------------------------------------------------------------


def place_by_place(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
    """The outer product missing: phi(K_j) V_j read as a product place by place (needs d_v = m)."""
    queries, keys = phi(q), phi(k)
    return queries * (keys * v).sum(dim=0) / (queries @ keys.sum(dim=0))[:, None]


def unnormalised(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
    """The denominator forgotten."""
    return phi(q) @ (phi(k).T @ v)


def from_the_left(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
    """The same factors multiplied from the left: the right values, and the cost n^2 of before."""
    queries, keys = phi(q), phi(k)
    return ((queries @ keys.T) @ v) / (queries @ keys.sum(dim=0))[:, None]


def one_triple_too_few(svd: lr.ThinSVD, v: Tensor) -> Tensor:
    """The smallest singular value left out."""
    return lr.right_to_left(lr.ThinSVD(svd.u[:, :-1], svd.s[:-1], svd.w[:, :-1]), v)


def singular_values_forgotten(svd: lr.ThinSVD, v: Tensor) -> Tensor:
    """U (W^T V)."""
    return svd.u @ (svd.w.T @ v)


def factors_swapped(svd: lr.ThinSVD, v: Tensor) -> Tensor:
    """W (Sigma (U^T V)), the product of the transposed matrix."""
    return svd.w @ (svd.s[:, None] * (svd.u.T @ v))


def left_vectors(svd: lr.ThinSVD) -> tuple[Tensor, Tensor]:
    """C = D = U^T: projects on the columns of P, not on its rows."""
    return svd.u.T, svd.u.T


def any_projection(svd: lr.ThinSVD) -> tuple[Tensor, Tensor]:
    """C = D with random orthonormal rows: "any projection on k dimensions will do"."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(svd.w.shape, generator=generator, dtype=torch.float64)
    rows = torch.linalg.qr(normal).Q.T
    return rows, rows


# --- 1.4 -------------------------------------------------------------------------------------------

#: P_1 = 2 inf, P_{-1} = inf: softmax of infinities is not a number.
INFINITE_BIAS = conv.HeadParameters(3.0, {1: 2 * math.inf, -1: math.inf})
#: The same read as a limit, P_1 = 2M and P_{-1} = M: the ratio of the weights is e^M, not 2.
BIAS_2M_AND_M = conv.HeadParameters(3.0, {1: 10.0, -1: 5.0})
#: The weights 2 and 1 themselves as biases, not their logarithms.
BIAS_WITHOUT_LOGARITHM = replace(conv.ASSIGNMENT, bias={1: 2.0, -1: 1.0})
#: The query not switched off.
QUERY_NOT_ZERO = replace(conv.ASSIGNMENT, w_q=1.0)
#: Softmax weights sum to one, the kernel to three.
VALUES_NOT_SCALED = replace(conv.ASSIGNMENT, w_v=1.0)
#: The kernel turned round, as a convolution in the sense of mathematics would have it.
SIDES_SWAPPED = replace(conv.ASSIGNMENT, bias={-1: math.log(2.0), 1: 0.0})
#: The token itself not shut out.
MIDDLE_OPEN = replace(conv.ASSIGNMENT, bias={1: math.log(2.0), 0: 0.0, -1: 0.0})


def sum_not_restored(x: Tensor, kernel: Tensor) -> Tensor:
    """P = ln(w / sum w), but W_V = 1 in place of sum w."""
    head = replace(conv.head_for_kernel(kernel), w_v=1.0)
    return conv.attention_convolution(x, head, len(kernel) // 2)


def positive_part_only(x: Tensor, kernel: Tensor) -> Tensor:
    """One head for a kernel of both signs: the negative weights cannot be had."""
    return conv.signed_convolution(x, kernel.clamp(min=0.0))


def no_end_errors(x: Tensor) -> Tensor:
    """The ends ignored: "attention equals the convolution at every position, without padding"."""
    return torch.zeros_like(x)


def limit_of_twice_the_bias(n: int, size: float) -> float:
    """An error that falls like e^{-2M}."""
    return 2.0 * (n - 2) * math.exp(-2.0 * size)


def scores_as_weights(bias: Tensor, w_v: float) -> Tensor:
    """A head without softmax: its weights can have both signs."""
    return bias * w_v


def window_only(x: Tensor, k: int) -> Tensor:
    """No content in the score at all: the arg max is the first token of the window."""
    return pool.window_bias(len(x), k)


def window_too_wide(x: Tensor, k: int) -> Tensor:
    """P_r = 0 for |r| <= k + 1."""
    return pool.constant_query_scores(x, k + 1)


def constant_query(x: Tensor, k: int, w_q: float) -> Tensor:
    """The constant query, of which "the scores do not depend on the tokens" is false."""
    return pool.constant_query_scores(x, k)


def half_the_temperature(temperature: float, k: int) -> float:
    """T/2, whatever the window."""
    return temperature / 2.0


# --- 2.1 -------------------------------------------------------------------------------------------


def slightly_below_two(epsilon: float) -> float:
    """1.9 eps in place of 2 eps."""
    return 1.9 * epsilon


def not_normalised(epsilon: float) -> float:
    """2 eps for the unit vectors as well: the division by the lengths forgotten."""
    return 2.0 * epsilon


def half_of_delta(delta: float) -> float:
    """eps = delta / 2, enough for 2 eps <= delta, but not after normalising."""
    return delta / 2.0


def one_vector_too_many(t: float) -> int:
    """N = floor(e^t): with the anchor these are N + 1 points, and ln(N + 1) > t."""
    return math.floor(math.exp(t))


def smaller_exponent(t: float) -> int:
    """N = floor(e^{0.9 t}): allowed, but not in Omega(e^t)."""
    return math.floor(math.exp(0.9 * t))


def tail_of_twice_the_exponent(n: int, delta: float) -> float:
    """2 e^{-n delta^2}."""
    return 2.0 * math.exp(-n * delta**2)


def half_the_variance(x: float) -> float:
    """e^{x^2/4}."""
    return math.exp(x**2 / 4.0)


def pairs_not_counted(n: int, delta: float) -> int:
    """N = floor(e^{n delta^2 / 2}): as if N tails were summed, not N^2 / 2."""
    return math.floor(math.exp(n * delta**2 / 2.0))


def with_a_twin(found: ao.AlmostOrthogonalSet) -> ao.AlmostOrthogonalSet:
    """One vector twice."""
    return replace(found, signs=torch.cat([found.signs, found.signs[:, :1]], dim=1))


def with_an_opposite(found: ao.AlmostOrthogonalSet) -> ao.AlmostOrthogonalSet:
    """A vector and its negative: "almost orthogonal" bounds the absolute value."""
    return replace(found, signs=torch.cat([found.signs, -found.signs[:, :1]], dim=1))


def not_unit(found: ao.AlmostOrthogonalSet) -> ao.AlmostOrthogonalSet:
    """The vectors not scaled to length one."""
    return replace(found, signs=2.0 * found.signs)


def too_few(found: ao.AlmostOrthogonalSet) -> ao.AlmostOrthogonalSet:
    """Three vectors, where more are promised."""
    return replace(found, signs=found.signs[:, :3])


# --- 2(b) ------------------------------------------------------------------------------------------


def without_key_weights(q: Tensor, k: Tensor) -> Tensor:
    """Plain RBF regression: the norms of the keys forgotten."""
    return similarity.normalised(similarity.rbf(q, k, similarity.bandwidth(q)))


def squared_width_two(q: Tensor, k: Tensor) -> Tensor:
    """sigma^2 = 2 in place of 2 sqrt(D): the scaling of the scores forgotten."""
    return similarity.rbf_regression(q, k, 2.0)


def query_weights(q: Tensor, k: Tensor) -> Tensor:
    """The extra weight put on the queries: constant in each row, it cancels, and the keys lack it."""
    width = similarity.bandwidth(q)
    return similarity.normalised(
        similarity.rbf(q, k, width) * torch.exp((q**2).sum(dim=1, keepdim=True) / width)
    )


def keys_as_they_are(k: Tensor) -> Tensor:
    """Keys of different norms."""
    return k


# --- 2(c) ------------------------------------------------------------------------------------------


def with_positions(x: Tensor, *weights: Tensor) -> Tensor:
    """The same layer on tokens with positional encodings: X + P."""
    return self_attention.self_attention(x + self_attention.positions(x), *weights)


def with_causal_mask(x: Tensor, *weights: Tensor) -> Tensor:
    """The same layer where a token may only look back."""
    return self_attention.self_attention(x, *weights, causal=True)


def first_token_only(x: Tensor, *weights: Tensor) -> Tensor:
    """Not a function of the set of tokens: every output is the first token's."""
    return self_attention.self_attention(x, *weights)[:1].expand(len(x), -1)


def columns_left_alone(matrix: Tensor, order: Tensor) -> Tensor:
    """Pi A: the rows of the attention matrix permuted, its columns not."""
    return matrix[order]


def without_projections(n: int, d: int, width: int) -> int:
    """2 N^2 D: the three projections forgotten, which dominate for N < d."""
    return 2 * n * n * width


def left_to_right_count(n: int, d: int, width: int) -> int:
    """The formula of the other bracketing."""
    return d * d * width + n * d * d + n * d * width + 2 * n * n * d
