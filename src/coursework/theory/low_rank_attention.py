r"""1.3.2 and 1.3.3: attention with a matrix of rank k costs O(nkd).

1.3.2: with the thin SVD :math:`P = U \Sigma W^T` of the attention matrix, :math:`PV = U(\Sigma(W^T V))`.
1.3.3: for :math:`P = QK^T` of rank k, :math:`PV = Q(CK)^T DV` with :math:`C = D = W^T`. Q, K, V are
``[n, d]``; U and W are ``[n, k]``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coursework.models.attention import attention_weights as softmax_matrix
from coursework.theory.checks import Check, claim, equal, gap, gaussian, wrong
from coursework.theory.cost import Cost, measure

N, RANK, D = 400, 6, 16  # n, k and d of all checks


class ThinSVD(NamedTuple):
    u: Tensor
    s: Tensor
    w: Tensor

    def first(self, rank: int) -> "ThinSVD":
        return ThinSVD(*(part[..., :rank].contiguous() for part in self))


SVDProduct = Callable[[ThinSVD, Tensor], Tensor]
Projections = Callable[[ThinSVD], tuple[Tensor, Tensor]]


def clustered_inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V ``[n, d]`` with k different keys, so that the attention matrix has k different columns."""
    normal = gaussian(seed)
    prototypes, q, v = normal(RANK, D), normal(N, D), normal(N, D)
    return q, prototypes[torch.arange(N) % RANK], v


def low_rank_scores(seed: int = 0, n: int = N, rank: int = RANK) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V ``[n, d]`` such that Q K^T has the given rank (<= d)."""
    normal = gaussian(seed)
    return normal(n, rank) @ normal(rank, D), normal(n, D), normal(n, D)


def thin_svd(matrix: Tensor, rank: int = RANK) -> ThinSVD:
    """The thin SVD that the question takes as given (computing it costs O(n^3))."""
    u, s, wt = torch.linalg.svd(matrix, full_matrices=False)
    return ThinSVD(u, s, wt.T).first(rank)


def right_to_left(svd: ThinSVD, v: Tensor) -> Tensor:
    """U (Sigma (W^T V)): O(nkd)."""
    inner = svd.w.T @ v  # [k, n] [n, d] -> [k, d]: nkd multiply-adds
    return svd.u @ (svd.s[:, None] * inner)  # [n, k] [k, d] -> [n, d]: nkd, and kd for Sigma


def left_to_right(svd: ThinSVD, v: Tensor) -> Tensor:
    """((U Sigma) W^T) V: the same value, but it builds the n x n matrix."""
    return ((svd.u * svd.s) @ svd.w.T) @ v  # [n, k] [k, n] -> [n, n]: n^2 k; then n^2 d


def projected_attention(q: Tensor, k: Tensor, v: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """1.3.3: Q (C K)^T (D V) with C and D ``[k, n]``, each of the four products O(nkd)."""
    keys, values = c @ k, d @ v  # [k, d], [k, d]
    return (q @ keys.T) @ values  # [n, k] [k, d] -> [n, d]


def _relative(found: Tensor, reference: Tensor) -> float:
    return float((found - reference).norm() / reference.norm())


@claim("1.3.2", "premise", "keys of k kinds: softmax matrices of rank at most k, here k")
@wrong("more", "they give rank k + 1", rank=RANK + 1)
def check_rank(rank: int = RANK) -> Check:
    inputs = [clustered_inputs(seed) for seed in range(5)]
    ranks = [torch.linalg.matrix_rank(softmax_matrix(q, k)) for q, k, _ in inputs]
    return equal((float(found) - rank for found in ranks), tolerance=0.0)


@claim("1.3.2", "product", "PV = U(Σ(WᵀV))")
@wrong("truncated", "with k − 1 triples", product=lambda svd, v: right_to_left(svd.first(-1), v))
@wrong("sigma", "without Σ", product=lambda svd, v: svd.u @ (svd.w.T @ v))
@wrong("swapped", "W(Σ(UᵀV))", product=lambda svd, v: svd.w @ (svd.s[:, None] * (svd.u.T @ v)))
def check_svd_product(product: SVDProduct = right_to_left) -> Check:
    cases = [(softmax_matrix(q, k), v) for q, k, v in map(clustered_inputs, range(5))]
    return equal(_relative(product(thin_svd(matrix), v), matrix @ v) for matrix, v in cases)


def row_space(svd: ThinSVD) -> tuple[Tensor, Tensor]:
    return svd.w.T, svd.w.T


def any_projection(svd: ThinSVD) -> tuple[Tensor, Tensor]:
    return row_space(svd._replace(w=torch.linalg.qr(gaussian(0)(*svd.w.shape)).Q))


@claim("1.3.3", "projected", "C = D = Wᵀ gives Q(CK)ᵀDV = PV")
@wrong("left", "C = D = Uᵀ", choose=lambda svd: (svd.u.T, svd.u.T))
@wrong("any", "any projection on k dimensions", choose=any_projection)
def check_projected(choose: Projections = row_space) -> Check:
    def difference(q: Tensor, k: Tensor, v: Tensor) -> float:
        scores = q @ k.T
        return _relative(projected_attention(q, k, v, *choose(thin_svd(scores))), scores @ v)

    return equal(difference(*low_rank_scores(seed)) for seed in range(5))


def svd_cost(product: SVDProduct) -> Cost:
    q, k, v = clustered_inputs()
    return measure(product, thin_svd(softmax_matrix(q, k)), v)


def projected_cost(product: Callable[..., Tensor]) -> Cost:
    q, k, v = low_rank_scores()
    return measure(product, q, k, v, *row_space(thin_svd(q @ k.T)))


PROJECTED: dict[str, Any] = {"cost": projected_cost, "product": projected_attention, "factor": 4}


@claim("1.3.3", "cost", "4nkd multiply-adds, no n × n matrix", **PROJECTED)
@wrong("bracket", "so does ((QKᵀ)Cᵀ)DV", product=lambda q, k, v, c, d: ((q @ k.T) @ c.T) @ (d @ v))
@claim("1.3.2", "cost", "2nkd multiply-adds, no n × n matrix")
@wrong("bracket", "so does (UΣWᵀ)V", product=left_to_right)
def check_cost(cost: Any = svd_cost, product: Any = right_to_left, factor: int = 2) -> Check:
    """Exactly ``factor`` nkd multiply-adds, and no tensor is larger than n max(k, d)."""
    counted = cost(product)
    over = max(0, counted.largest - N * max(RANK, D))
    return equal([counted.multiply_adds - factor * N * RANK * D, over], tolerance=0.0)


@claim("1.3.2", "orthonormal", "UᵀU = I: the columns are orthonormal")
@wrong("orthogonal", "UUᵀ = I: U is an orthogonal matrix", rows=True)
def check_orthonormal(*, rows: bool = False) -> Check:
    q, k, _ = clustered_inputs()
    u = thin_svd(softmax_matrix(q, k)).u
    product = u @ u.T if rows else u.T @ u
    return equal([gap(product, torch.eye(len(product), dtype=u.dtype))])
