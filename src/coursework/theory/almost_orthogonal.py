r"""2.1.1: exponentially many almost orthogonal unit vectors.

Claim: for every :math:`0 < \delta < 1` there is a set U of unit vectors in :math:`\mathbb R^n` with
:math:`|u^T v| \le \delta` for all different u, v and :math:`|U| = \Omega(e^{n\delta^2/c})`: c = 72 by the
Johnson-Lindenstrauss lemma applied to :math:`\{0, e_1, \dots, e_N\}` with :math:`\varepsilon = \delta/3`,
c = 4 by Hoeffding's inequality for random signs. A set of N vectors in n dimensions is a matrix ``[n, N]``.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from fractions import Fraction

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, gaussian, wrong

Limit = Callable[[float], float]
Pair = tuple[int, float]  # dimension n and largest inner product delta


def hoeffding_size(n: int, delta: float) -> int:
    """Vectors guaranteed by Hoeffding's inequality: floor(e^{n delta^2 / 4})."""
    return math.floor(math.exp(n * delta**2 / 4))


def gaussian_map(n: int, size: int, seed: int = 0) -> Tensor:
    """A Gaussian matrix with variance 1/n, the usual map of the lemma, ``[n, size]``."""
    return gaussian(seed)(n, size) / n**0.5


def distortion(matrix: Tensor) -> float:
    """The least epsilon for which the map is a (1 ± epsilon) isometry on {0, e_1, ..., e_N}."""
    norms = (matrix**2).sum(dim=0)  # squared distances from 0, to be 1; those of pairs are to be 2
    ratios = torch.cat([norms, torch.pdist(matrix.T) ** 2 / 2.0])
    return float((ratios - 1.0).abs().max())


def largest_inner_product(vectors: Tensor) -> float:
    """Largest |u^T v| over different columns, block by block (never the whole N x N matrix)."""
    largest, block = 0.0, 1024
    for start in range(0, vectors.shape[1], block):
        gram = (vectors[:, start : start + block].T @ vectors[:, start:]).abs()  # [block, rest]
        gram.fill_diagonal_(0.0)  # a vector with itself
        largest = float(gram.max().clamp(min=largest))  # NaN stays
    return largest


def largest_cosine(matrix: Tensor) -> float:
    return largest_inner_product(torch.nn.functional.normalize(matrix, dim=0, eps=0.0))


def extreme_map(epsilon: float, sign: float = -1.0) -> Tensor:
    """Two vectors in the plane at which the bounds of the proof are attained, ``[2, 2]``; eps <= 1/3:
    squared norms ``1 ± eps``, squared distance ``2(1 ∓ eps)``, inner product ``± 2 eps``."""
    squared = 1.0 + sign * epsilon
    cosine = max(-1.0, min(1.0, sign * 2.0 * epsilon / squared))  # -1 at 1/3, up to rounding
    sine = math.sqrt(1.0 - cosine**2)
    return math.sqrt(squared) * torch.tensor([[1.0, cosine], [0.0, sine]], dtype=torch.float64)


MAPS = (  # to few and many dimensions, and the planar pairs at which the bounds are met
    *(gaussian_map(n, 60, seed) for seed, n in enumerate((20, 50, 200, 800))),
    *(extreme_map(eps, s) for eps in (0.05, 0.2, 1 / 3) for s in (-1.0, 1.0)),
)
DELTAS = tuple(i / 100 for i in range(1, 100))
EXPONENTS = tuple(math.log(4.0) + i / 10 for i in range(200))  # from ln 4 on, 1/2 is good enough
TAILS = tuple(itertools.product((5, 20, 100, 300), (i / 20 for i in range(1, 20))))
POINTS = tuple(i / 20 for i in range(-200, 201))
PAIRS = tuple(itertools.product((64, 128, 256, 512, 1024), (0.2, 0.25, 0.4, 0.5)))


def _ratio(value: float, limit: float) -> float:
    return value / max(limit, 1e-12)  # a smaller limit is rounding


@claim("2.1.1", "norms", "1 − ε ≤ ‖Meᵢ‖² ≤ 1 + ε")
@wrong("anchor", "2(1 − ε) ≤ ‖Meᵢ‖² ≤ 2(1 + ε), as between the eᵢ", centre=2.0)
def check_squared_norms(maps: Iterable[Tensor] = MAPS, centre: float = 1.0) -> Check:
    """Step (i): ``centre (1 - eps) <= ||Me_i||^2 <= centre (1 + eps)``, where eps is measured."""
    gaps = [(m, float(((m**2).sum(dim=0) / centre - 1.0).abs().max())) for m in maps]
    return at_most(_ratio(gap, distortion(matrix)) for matrix, gap in gaps)


@claim("2.1.1", "inner", "|⟨Meᵢ, Meⱼ⟩| ≤ 2ε")
@wrong("smaller", "|⟨Meᵢ, Meⱼ⟩| ≤ 1.9 ε", limit=lambda e: 1.9 * e)
def check_inner_products(maps: Iterable[Tensor] = MAPS, limit: Limit = lambda e: 2 * e) -> Check:
    return at_most(_ratio(largest_inner_product(m), limit(distortion(m))) for m in maps)


def cosine_limit(epsilon: float) -> float:
    return 2.0 * epsilon / (1.0 - epsilon)


@claim("2.1.1", "cosines", "|uᵢᵀuⱼ| ≤ 2ε/(1 − ε)")
@wrong("unnormalised", "|uᵢᵀuⱼ| ≤ 2ε, not normalised", limit=lambda epsilon: 2.0 * epsilon)
def check_cosines(maps: Iterable[Tensor] = MAPS, limit: Limit = cosine_limit) -> Check:
    """Step (iv): the bound after normalising, for every map with eps < 1."""
    measured = [(matrix, distortion(matrix)) for matrix in maps]
    return at_most(_ratio(largest_cosine(m), limit(eps)) for m, eps in measured if eps < 1.0)


@claim("2.1.1", "epsilon", "ε = δ/3 gives 2ε/(1 − ε) ≤ δ")
@wrong("half", "so does ε = δ/2", choose=lambda delta: delta / 2.0)
def check_epsilon(deltas: Iterable[float] = DELTAS, choose: Limit = lambda d: d / 3) -> Check:
    return at_most(cosine_limit(choose(delta)) / delta for delta in deltas)


@claim("2.1.1", "size", "N = ⌊eᵗ⌋ − 1 is allowed and at least eᵗ/2")
@wrong("anchor", "N = ⌊eᵗ⌋ is allowed", size=lambda t: math.floor(math.exp(t)))
@wrong("exponent", "N = ⌊e^(0.9 t)⌋ is large enough", size=lambda t: math.floor(math.exp(0.9 * t)))
def check_constants(
    exponents: Iterable[float] = EXPONENTS, size: Limit = lambda t: math.floor(math.exp(t)) - 1
) -> Check:
    """Size of N, t = n delta^2 / 72 >= ln 4: allowed is ln(N + 1) <= t, large enough N >= e^t / 2."""
    pairs = [(math.log(size(t) + 1) / t, 0.5 * math.exp(t) / size(t)) for t in exponents]
    return at_most(itertools.chain.from_iterable(pairs))


def sign_tail(n: int, delta: float) -> float:
    """The exact probability that ``|u^T v| >= delta`` for two random sign vectors."""
    # the inner product is (n - 2B) / n with B binomial(n, 1/2): B of the n signs differ
    favourable = sum(math.comb(n, b) for b in range(n + 1) if abs(n - 2 * b) >= delta * n - 1e-9)
    return float(Fraction(favourable, 2**n))


def tail_limit(n: int, delta: float, c: float = 2.0) -> float:
    return 2.0 * math.exp(-n * delta**2 / c)


@claim("2.1.1", "tail", "P(|uᵀv| ≥ δ) ≤ 2 exp(−nδ²/2)")
@wrong("twice", "P(|uᵀv| ≥ δ) ≤ 2 exp(−nδ²)", c=1.0)
def check_hoeffding(cases: Iterable[Pair] = TAILS, c: float = 2.0) -> Check:
    return at_most(sign_tail(n, delta) / tail_limit(n, delta, c) for n, delta in cases)


@claim("2.1.1", "cosh", "cosh x ≤ exp(x²/2)")
@wrong("quarter", "cosh x ≤ exp(x²/4)", c=4.0)
def check_cosh(points: Iterable[float] = POINTS, c: float = 2.0) -> Check:
    """The step inside Hoeffding's inequality: cosh(x) is the mean of e^{xs} over a random sign s."""
    return at_most(math.cosh(x) / math.exp(x**2 / c) for x in points)


@claim("2.1.1", "union", "N = ⌊exp(nδ²/4)⌋: the tails of all pairs sum to less than 1")
@wrong("pairs", "so they do for N = ⌊exp(nδ²/2)⌋", size=lambda n, d: int(math.exp(n * d**2 / 2)))
def check_union(size: Callable[[int, float], int] = hoeffding_size) -> Check:
    return at_most(math.comb(size(*pair), 2) * tail_limit(*pair) for pair in PAIRS)


def draw_set(n: int, delta: float, *, seed: int = 0, draws: int = 20) -> Tensor:
    """Signs ``[n, N]``, as many as the inequality allows; the vectors are the columns over sqrt(n)."""
    # the expected number of bad pairs is below one: a good draw is possible, not certain
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        bits = torch.randint(2, (n, hoeffding_size(n, delta)), generator=generator)
        signs = 2.0 * bits.float() - 1.0  # their sums are whole numbers, exact in float32
        if largest_inner_product(signs) / n <= delta:
            return signs
    raise ValueError(f"no set in dimension {n} met {delta} in {draws} draws")


def check_set(signs: Tensor, delta: float) -> Check:
    """All three properties of the set, measured anew in float64: length, angles, number."""
    (n, size), vectors = signs.shape, signs.double() / len(signs) ** 0.5
    unit = float(((vectors**2).sum(dim=0) - 1.0).abs().max())
    missing = max(0, hoeffding_size(n, delta) - size)
    return at_most([unit / 1e-12, largest_inner_product(vectors) / delta, float(2 * missing)])


@claim("2.1.1", "set", "such a set exists: drawn, verified pair by pair")
@wrong("twin", "one vector twice", spoil=lambda signs: torch.cat([signs, signs[:, :1]], 1))
@wrong("opposite", "a vector and its negative", spoil=lambda s: torch.cat([s, -s[:, :1]], 1))
@wrong("length", "vectors not of length 1", spoil=lambda signs: 2.0 * signs)
@wrong("few", "three vectors only", spoil=lambda signs: signs[:, :3])
def check_random_set(spoil: Callable[[Tensor], Tensor] = lambda signs: signs) -> Check:
    return check_set(spoil(draw_set(64, 0.4)), 0.4)


@claim("2.1.1", "attained", "two vectors in the plane attain both bounds")
@wrong("unnormalised", "their cosine is 2ε", value=lambda epsilon: 2.0 * epsilon)
def check_attained(value: Limit = cosine_limit) -> Check:
    plane = extreme_map(0.2)
    differences = distortion(plane) - 0.2, largest_inner_product(plane) - 0.4
    return equal([*differences, largest_cosine(plane) - value(0.2)])
