r"""2.1.1: exponentially many almost orthogonal unit vectors.

Claim: for every :math:`0 < \delta < 1` there is a set U of unit vectors in :math:`\mathbb R^n` with
:math:`|u^T v| \le \delta` for all different u, v and :math:`|U| = \Omega(e^{n\delta^2/c})`.

* By the Johnson-Lindenstrauss lemma applied to :math:`\{0, e_1, \dots, e_N\}` with
  :math:`\varepsilon = \delta/3`: c = 72 and :math:`|U| \ge \frac12 e^{n\delta^2/72}`.
* By Hoeffding's inequality for random signs: c = 4 and
  :math:`|U| = \lfloor e^{n\delta^2/4} \rfloor`.

Sizes: a set of N vectors in n dimensions is a matrix ``[n, N]`` with the vectors as columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from coursework.theory.checks import Check, at_most, claim, equal, wrong

JL_CONSTANT = 72  #: c of the proof by the Johnson-Lindenstrauss lemma: 8 / (1/3)^2


HOEFFDING_CONSTANT = 4  #: c of the proof by Hoeffding's inequality


def jl_dimension(points: int, epsilon: float) -> int:
    """Dimensions that the lemma asks for: the least integer >= 8 ln(points) / epsilon^2."""
    return math.ceil(8.0 * math.log(points) / epsilon**2)


def jl_size(n: int, delta: float) -> int:
    """Vectors guaranteed by the lemma: floor(e^{n delta^2 / 72}) - 1, not below zero."""
    return max(0, math.floor(math.exp(n * delta**2 / JL_CONSTANT)) - 1)


def hoeffding_size(n: int, delta: float) -> int:
    """Vectors guaranteed by Hoeffding's inequality: floor(e^{n delta^2 / 4})."""
    return math.floor(math.exp(n * delta**2 / HOEFFDING_CONSTANT))


def gaussian_map(n: int, size: int, seed: int = 0) -> Tensor:
    """A Gaussian matrix with variance 1/n, the usual map of the lemma, ``[n, size]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, size, generator=generator, dtype=torch.float64) / n**0.5


def distortion(matrix: Tensor) -> float:
    """The least epsilon for which the map is a (1 ± epsilon) isometry on {0, e_1, ..., e_N}.

    The images are 0 and the columns of the map, so the pairs are the squared norms of the columns
    (true squared distance 1) and of their differences (true squared distance 2).
    """
    gram = matrix.T @ matrix  # [N, N]
    norms = gram.diagonal()  # [N]
    distances = norms[:, None] + norms[None, :] - 2.0 * gram  # [N, N]
    distances.fill_diagonal_(2.0)  # a vector with itself is no pair
    return float(torch.maximum((norms - 1.0).abs().max(), (distances / 2.0 - 1.0).abs().max()))


def _off_diagonal(gram: Tensor) -> Tensor:
    return gram - torch.diag(gram.diagonal())


def cosines(matrix: Tensor) -> Tensor:
    """Inner products of the normalised columns, zero on the diagonal, ``[N, N]``."""
    unit = matrix / torch.linalg.vector_norm(matrix, dim=0)
    return _off_diagonal(unit.T @ unit)


def extreme_map(epsilon: float, sign: float = -1.0) -> Tensor:
    """Two vectors in the plane at which the bounds of the proof are attained, ``[2, 2]``.

    ``sign = -1``: squared norms ``1 - eps`` and squared distance ``2(1 + eps)``, so the inner
    product is ``-2 eps`` and the cosine ``-2 eps / (1 - eps)``. ``sign = +1``: squared norms
    ``1 + eps`` and squared distance ``2(1 - eps)``, inner product ``2 eps``, cosine
    ``2 eps / (1 + eps)``.

    Raises:
        ValueError: If epsilon is not in (0, 1/3]; above, the cosine would be less than -1.
    """
    if not 0.0 < epsilon <= 1.0 / 3.0:
        raise ValueError(f"no two vectors attain the bound at {epsilon:g}: take 0 < epsilon <= 1/3")
    squared = 1.0 + sign * epsilon
    cosine = max(-1.0, min(1.0, sign * 2.0 * epsilon / squared))  # -1 at 1/3, up to rounding
    sine = math.sqrt(1.0 - cosine**2)
    return math.sqrt(squared) * torch.tensor([[1.0, cosine], [0.0, sine]], dtype=torch.float64)


Limit = Callable[[float], float]


# Below this a distortion is rounding: ratios are taken to at least this much.
_SMALLEST = 1e-12


# Cases that the checks take by default.
_DELTAS = tuple(i / 100 for i in range(1, 100))


_EXPONENTS = tuple(math.log(4.0) + i / 10 for i in range(200))  # from ln 4 on, 1/2 is good enough


_TAILS = tuple((n, i / 20) for n in (5, 20, 100, 300) for i in range(1, 20))


_POINTS = tuple(i / 20 for i in range(-200, 201))


_PAIRS = tuple((n, delta) for n in (64, 128, 256, 512, 1024) for delta in (0.2, 0.25, 0.4, 0.5))


def _ratio(value: Tensor, limit: float) -> float:
    return float(value) / max(limit, _SMALLEST)


def sample_maps(size: int = 60) -> list[Tensor]:
    """Gaussian maps to few and many dimensions, and the planar pairs at which the bounds are met."""
    gaussian = [gaussian_map(n, size, seed) for seed, n in enumerate((20, 50, 200, 800))]
    return [*gaussian, *(extreme_map(eps, s) for eps in (0.05, 0.2, 1 / 3) for s in (-1.0, 1.0))]


@claim("2.1.1", "norms", "1 − ε ≤ ‖Meᵢ‖² ≤ 1 + ε")
@wrong("anchor", "2(1 ± ε), as between the eᵢ", centre=2.0)
def check_squared_norms(maps: Iterable[Tensor] | None = None, centre: float = 1.0) -> Check:
    """Step (i): ``centre (1 - eps) <= ||Me_i||^2 <= centre (1 + eps)``; right for centre 1.

    The anchor 0 is at distance 1 from every e_i. A common answer takes distance^2 = 2 (centre 2).
    """
    ratios = []
    for matrix in sample_maps() if maps is None else maps:
        squared = (matrix**2).sum(dim=0)
        ratios.append(_ratio((squared / centre - 1.0).abs().max(), distortion(matrix)))
    return at_most(f"| ||Me_i||^2 / {centre:g} - 1 | <= eps", ratios)


@claim("2.1.1", "inner", "|⟨Meᵢ, Meⱼ⟩| ≤ 2ε")
@wrong("smaller", "≤ 1.9 ε", limit=lambda epsilon: 1.9 * epsilon)
def check_inner_products(
    maps: Iterable[Tensor] | None = None, limit: Limit = lambda eps: 2.0 * eps
) -> Check:
    """Step (ii): ``|<Me_i, Me_j>| <= 2 eps`` with the measured eps of the map."""
    ratios = [
        _ratio(_off_diagonal(matrix.T @ matrix).abs().max(), limit(distortion(matrix)))
        for matrix in (sample_maps() if maps is None else maps)
    ]
    return at_most("|<Me_i, Me_j>| <= 2 eps", ratios)


@claim("2.1.1", "cosines", "|uᵢᵀuⱼ| ≤ 2ε/(1 − ε)")
@wrong("unnormalised", "≤ 2ε, not normalised", limit=lambda epsilon: 2.0 * epsilon)
def check_cosines(
    maps: Iterable[Tensor] | None = None,
    limit: Limit = lambda eps: 2.0 * eps / (1.0 - eps),
    claim: str = "|u_i^T u_j| <= 2 eps / (1 - eps)",
) -> Check:
    """Step (iii): the bound after normalising, for every map with eps < 1."""
    ratios = []
    for matrix in sample_maps() if maps is None else maps:
        epsilon = distortion(matrix)
        if epsilon < 1.0:
            ratios.append(_ratio(cosines(matrix).abs().max(), limit(epsilon)))
    return at_most(claim, ratios)


@claim("2.1.1", "epsilon", "ε = δ/3 gives 2ε/(1 − ε) ≤ δ")
@wrong("half", "so does ε = δ/2", choose=lambda delta: delta / 2.0)
def check_epsilon(
    deltas: Iterable[float] = _DELTAS,
    choose: Callable[[float], float] = lambda delta: delta / 3.0,
) -> Check:
    """Step (iv): the choice of eps gives ``2 eps / (1 - eps) <= delta``."""
    ratios = []
    for delta in deltas:
        epsilon = choose(delta)
        ratios.append(2.0 * epsilon / (1.0 - epsilon) / delta)
    return at_most("eps = delta/3 gives 2 eps / (1 - eps) <= delta", ratios)


@claim("2.1.1", "size", "N = ⌊eᵗ⌋ − 1 is allowed and at least eᵗ/2")
@wrong("anchor", "N = ⌊eᵗ⌋ is allowed", size=lambda t: math.floor(math.exp(t)))
@wrong("exponent", "N = ⌊e^(0.9 t)⌋ is large enough", size=lambda t: math.floor(math.exp(0.9 * t)))
def check_constants(
    exponents: Iterable[float] = _EXPONENTS,
    size: Callable[[float], int] = lambda t: math.floor(math.exp(t)) - 1,
) -> Check:
    """Step (v): with t = n delta^2 / 72 >= ln 4, N = floor(e^t) - 1 is allowed and large enough.

    Allowed: ln(N + 1) <= t. Large enough: N >= e^t / 2.
    """
    ratios = []
    for t in exponents:
        vectors = size(t)
        ratios += [math.log(vectors + 1) / t, 0.5 * math.exp(t) / vectors]
    return at_most("ln(N + 1) <= t and e^t / 2 <= N", ratios)


def sign_tail(n: int, delta: float) -> float:
    """The exact probability that ``|u^T v| >= delta`` for two random sign vectors.

    The inner product is ``(n - 2B) / n`` with B binomial(n, 1/2): B of the n signs differ.
    """
    favourable = sum(math.comb(n, b) for b in range(n + 1) if abs(n - 2 * b) >= delta * n)
    return float(Fraction(favourable, 2**n))


@claim("2.1.1", "tail", "P(|uᵀv| ≥ δ) ≤ 2 exp(−nδ²/2)")
@wrong("twice", "≤ 2 exp(−nδ²)", limit=lambda n, delta: 2.0 * math.exp(-n * delta**2))
def check_hoeffding(
    cases: Iterable[tuple[int, float]] = _TAILS,
    limit: Callable[[int, float], float] = lambda n, delta: 2.0 * math.exp(-n * delta**2 / 2.0),
) -> Check:
    """Hoeffding: the exact tail is at most ``2 e^{-n delta^2 / 2}``."""
    ratios = [sign_tail(n, delta) / limit(n, delta) for n, delta in cases]
    return at_most("P(|u^T v| >= delta) <= 2 exp(-n delta^2 / 2)", ratios)


@claim("2.1.1", "cosh", "cosh x ≤ exp(x²/2)")
@wrong("quarter", "≤ exp(x²/4)", limit=lambda x: math.exp(x**2 / 4.0))
def check_cosh(
    points: Iterable[float] = _POINTS,
    limit: Callable[[float], float] = lambda x: math.exp(x**2 / 2.0),
) -> Check:
    """The step inside Hoeffding's inequality: the mean of e^{xs} over a random sign s.

    It is cosh(x), and ``cosh(x) <= e^{x^2/2}``.
    """
    return at_most("cosh(x) <= exp(x^2 / 2)", (math.cosh(x) / limit(x) for x in points))


@claim("2.1.1", "union", "N = ⌊exp(nδ²/4)⌋: the tails of all pairs sum to less than 1")
@wrong(
    "pairs",
    "so they do for N = ⌊exp(nδ²/2)⌋",
    size=lambda n, delta: math.floor(math.exp(n * delta**2 / 2.0)),
)
def check_union(
    cases: Iterable[tuple[int, float]] = _PAIRS,
    size: Callable[[int, float], int] = hoeffding_size,
) -> Check:
    """The union bound: over all pairs of ``size`` vectors the tails sum to less than one."""
    sums = []
    for n, delta in cases:
        vectors = size(n, delta)
        pairs = vectors * (vectors - 1) / 2
        sums.append(pairs * 2.0 * math.exp(-n * delta**2 / 2.0))
    return at_most("N(N-1)/2 pairs, each with tail 2 exp(-n delta^2 / 2): sum < 1", sums)


@dataclass(frozen=True)
class AlmostOrthogonalSet:
    """A set that was drawn and verified pair by pair."""

    n: int  # dimension
    delta: float  # largest |u^T v| allowed
    signs: Tensor  # the vectors times sqrt(n), entries ±1, ``[n, N]``
    largest: float  # the largest ``|u^T v|`` over all pairs (exact: a whole number over n)
    draws: int  # how many draws it took

    @property
    def size(self) -> int:
        """Number of vectors."""
        return self.signs.shape[1]


def _largest_inner_product(vectors: Tensor, block: int = 1024) -> float:
    """Largest |u^T v| over different columns, block by block (never the whole N x N matrix)."""
    size = vectors.shape[1]
    largest = 0.0
    for start in range(0, size, block):
        gram = (vectors[:, start : start + block].T @ vectors[:, start:]).abs()  # [block, rest]
        gram.fill_diagonal_(0.0)  # a vector with itself
        largest = max(largest, float(gram.max()))
    return largest


def draw_set(
    n: int, delta: float, size: int | None = None, *, seed: int = 0, draws: int = 20
) -> AlmostOrthogonalSet:
    """Draw random sign vectors until all pairs meet delta.

    The expected number of bad pairs is below one at ``size = hoeffding_size(n, delta)``, which
    makes a good draw possible, not certain: hence the repetition.

    Raises:
        ValueError: If no draw met delta.
    """
    wanted = hoeffding_size(n, delta) if size is None else size
    generator = torch.Generator().manual_seed(seed)
    for draw in range(1, draws + 1):
        bits = torch.randint(2, (n, wanted), generator=generator)
        signs = 2.0 * bits.to(torch.float32) - 1.0
        # sums of ±1 are whole numbers, exact in float32
        largest = _largest_inner_product(signs) / n
        if largest <= delta:
            return AlmostOrthogonalSet(n, delta, signs, largest, draw)
    raise ValueError(f"no set of {wanted} vectors in dimension {n} met {delta} in {draws} draws")


def check_set(found: AlmostOrthogonalSet) -> Check:
    """All three properties of the set, measured anew in float64: length, angles, number."""
    vectors = found.signs.to(torch.float64) / found.n**0.5
    unit = float(((vectors**2).sum(dim=0) - 1.0).abs().max())
    angle = _largest_inner_product(vectors)
    missing = max(0, hoeffding_size(found.n, found.delta) - found.size)
    values = [unit / 1e-12, angle / found.delta, float(2 * missing)]
    return at_most(f"n = {found.n}, delta = {found.delta}: unit, almost orthogonal, many", values)


def with_a_twin(found: AlmostOrthogonalSet) -> AlmostOrthogonalSet:
    return replace(found, signs=torch.cat([found.signs, found.signs[:, :1]], dim=1))


def with_an_opposite(found: AlmostOrthogonalSet) -> AlmostOrthogonalSet:
    return replace(found, signs=torch.cat([found.signs, -found.signs[:, :1]], dim=1))


@claim("2.1.1", "set", "such a set exists: drawn, verified pair by pair")
@wrong("twin", "one vector twice", spoil=with_a_twin)
@wrong("opposite", "a vector and its negative", spoil=with_an_opposite)
@wrong(
    "length", "vectors not of length 1", spoil=lambda found: replace(found, signs=2.0 * found.signs)
)
@wrong("few", "three vectors only", spoil=lambda found: replace(found, signs=found.signs[:, :3]))
def check_random_set(
    n: int = 64,
    delta: float = 0.4,
    spoil: Callable[[AlmostOrthogonalSet], AlmostOrthogonalSet] = lambda found: found,
) -> Check:
    """The claim itself: a set as large as promised exists, is found and is verified pair by pair."""
    return check_set(spoil(draw_set(n, delta)))


@claim("2.1.1", "attained", "two vectors in the plane attain both bounds")
@wrong("unnormalised", "their cosine is 2ε", value=lambda epsilon: 2.0 * epsilon)
def check_attained(
    epsilon: float = 0.2, value: Limit = lambda eps: 2.0 * eps / (1.0 - eps)
) -> Check:
    """The bounds (ii) and (iii) are attained by two vectors in the plane."""
    matrix = extreme_map(epsilon)
    inner = float((matrix[:, 0] @ matrix[:, 1]).abs())
    cosine = float(cosines(matrix).abs().max())
    return equal(
        f"attained: 2 eps and 2 eps / (1 - eps), eps = {epsilon:g}",
        [
            distortion(matrix) - epsilon,
            inner - 2 * epsilon,
            cosine - value(epsilon),
        ],
    )
