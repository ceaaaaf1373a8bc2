r"""1.3.2 and 1.3.3: attention with a matrix of rank k costs O(nkd).

1.3.2: given the thin SVD :math:`P = U \Sigma W^T` of the attention matrix,
:math:`PV = U(\Sigma(W^T V))`. 1.3.3: for :math:`P = QK^T` of rank k there are
:math:`C, D \in \mathbb R^{k \times n}` with :math:`PV = Q(CK)^T DV`; :math:`C = D = W^T` does it.

Sizes: Q, K, V are ``[n, d]``; U and W are ``[n, k]`` with orthonormal columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from coursework.theory.checks import Check, claim, equal, wrong
from coursework.theory.cost import measure


@dataclass(frozen=True)
class ThinSVD:
    """The first k singular triples of a matrix."""

    u: Tensor  # left singular vectors as columns, ``[n, k]``
    s: Tensor  # singular values, ``[k]``
    w: Tensor  # right singular vectors as columns, ``[n, k]``


SVDProduct = Callable[[ThinSVD, Tensor], Tensor]


def softmax_matrix(q: Tensor, k: Tensor) -> Tensor:
    """The attention matrix softmax(Q K^T / sqrt(d)), ``[n, n]``."""
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1)


def clustered_inputs(
    n: int = 400, rank: int = 6, d: int = 16, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V ``[n, d]`` whose softmax attention matrix has the given rank.

    The keys take only ``rank`` different values (think of repeated words). Equal keys give equal
    columns of the attention matrix, so its rank is at most ``rank``.
    """
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(rank, d, generator=generator, dtype=torch.float64)
    q = torch.randn(n, d, generator=generator, dtype=torch.float64)
    v = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return q, prototypes[torch.arange(n) % rank], v


def low_rank_scores(
    n: int = 400, rank: int = 6, d: int = 16, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V ``[n, d]`` such that Q K^T has the given rank (<= d)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(n, rank) @ normal(rank, d), normal(n, d), normal(n, d)


def thin_svd(matrix: Tensor, rank: int) -> ThinSVD:
    """The thin SVD that the question takes as given (computing it costs O(n^3))."""
    u, s, wt = torch.linalg.svd(matrix, full_matrices=False)
    return ThinSVD(u[:, :rank].contiguous(), s[:rank].contiguous(), wt[:rank].T.contiguous())


def right_to_left(svd: ThinSVD, v: Tensor) -> Tensor:
    """U (Sigma (W^T V)): O(nkd)."""
    inner = svd.w.T @ v  # [k, n] [n, d] -> [k, d]: nkd multiply-adds
    scaled = svd.s[:, None] * inner  # Sigma scales the k rows: kd
    return svd.u @ scaled  # [n, k] [k, d] -> [n, d]: nkd


def left_to_right(svd: ThinSVD, v: Tensor) -> Tensor:
    """((U Sigma) W^T) V: the same value, but it builds the n x n matrix."""
    matrix = (svd.u * svd.s) @ svd.w.T  # [n, n]: n^2 k
    return matrix @ v  # n^2 d


def projected_attention(q: Tensor, k: Tensor, v: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """1.3.3: Q (C K)^T (D V), each of the four products O(nkd).

    Args:
        q: Queries ``[n, d]``.
        k: Keys ``[n, d]``.
        v: Values ``[n, d]``.
        c: Projection of the keys ``[k, n]``.
        d: Projection of the values ``[k, n]``.
    """
    keys, values = c @ k, d @ v  # [k, d], [k, d]
    return (q @ keys.T) @ values  # [n, k] [k, d] -> [n, d]


def unprojected_attention(q: Tensor, k: Tensor, v: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """((Q K^T) C^T) (D V): the same value as 1.3.3, bracketed the wrong way."""
    return ((q @ k.T) @ c.T) @ (d @ v)  # [n, n] comes into being


def _relative(difference: Tensor, reference: Tensor) -> float:
    return float(torch.linalg.matrix_norm(difference) / torch.linalg.matrix_norm(reference))


@claim("1.3.2", "premise", "keys of k kinds give a softmax matrix of rank k", rank=6)
@wrong("more", "of rank k + 1", claimed=7)
def check_rank(rank: int = 6, claimed: int | None = None, draws: int = 5) -> Check:
    """The premise is met by a real softmax: clustered keys give a matrix of rank ``rank``."""
    expected = rank if claimed is None else claimed
    differences = []
    for seed in range(draws):
        q, k, _ = clustered_inputs(rank=rank, seed=seed)
        differences.append(float(torch.linalg.matrix_rank(softmax_matrix(q, k))) - expected)
    return equal(f"rank of softmax(QK^T/sqrt(d)) = {expected}", differences, tolerance=0.0)


def one_triple_too_few(svd: ThinSVD, v: Tensor) -> Tensor:
    return right_to_left(ThinSVD(svd.u[:, :-1], svd.s[:-1], svd.w[:, :-1]), v)


@claim("1.3.2", "product", "PV = U(Σ(WᵀV))")
@wrong("truncated", "with k − 1 triples", product=one_triple_too_few)
@wrong("sigma", "without Σ", product=lambda svd, v: svd.u @ (svd.w.T @ v))
@wrong("swapped", "W(Σ(UᵀV))", product=lambda svd, v: svd.w @ (svd.s[:, None] * (svd.u.T @ v)))
def check_svd_product(
    n: int = 400, rank: int = 6, draws: int = 5, product: SVDProduct = right_to_left
) -> Check:
    """1.3.2: U (Sigma (W^T V)) equals softmax attention (relative error)."""
    differences = []
    for seed in range(draws):
        q, k, v = clustered_inputs(n, rank, seed=seed)
        matrix = softmax_matrix(q, k)
        reference = matrix @ v
        differences.append(_relative(product(thin_svd(matrix, rank), v) - reference, reference))
    return equal(f"U (S (W^T V)) = softmax attention, n = {n}, k = {rank}", differences)


def any_projection(svd: ThinSVD) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(svd.w.shape, generator=generator, dtype=torch.float64)
    rows = torch.linalg.qr(normal).Q.T
    return rows, rows


@claim("1.3.3", "projected", "C = D = Wᵀ gives Q(CK)ᵀDV = PV")
@wrong("left", "C = D = Uᵀ", choose=lambda svd: (svd.u.T, svd.u.T))
@wrong("any", "any projection on k dimensions", choose=any_projection)
def check_projected(
    n: int = 400,
    rank: int = 6,
    draws: int = 5,
    choose: Callable[[ThinSVD], tuple[Tensor, Tensor]] = lambda svd: (svd.w.T, svd.w.T),
) -> Check:
    """1.3.3: with C = D = W^T, Q (CK)^T DV equals (QK^T)V (relative error)."""
    differences = []
    for seed in range(draws):
        q, k, v = low_rank_scores(n, rank, seed=seed)
        scores = q @ k.T
        c, d = choose(thin_svd(scores, rank))
        reference = scores @ v
        differences.append(_relative(projected_attention(q, k, v, c, d) - reference, reference))
    return equal(f"Q (CK)^T DV = QK^T V, n = {n}, k = {rank}", differences)


@claim("1.3.2", "cost", "2nkd multiply-adds, no n × n matrix")
@wrong("bracket", "so does (UΣWᵀ)V", product=left_to_right)
def check_cost(
    n: int = 400, rank: int = 6, d: int = 16, product: SVDProduct = right_to_left
) -> Check:
    """1.3.2: exactly 2nkd multiply-adds are counted, and no tensor is larger than n max(k, d)."""
    q, k, v = clustered_inputs(n, rank, d)
    cost = measure(product, thin_svd(softmax_matrix(q, k), rank), v)
    over = max(0, cost.largest - n * max(rank, d))
    return equal(
        "multiply-adds = 2nkd, no n x n matrix",
        [cost.multiply_adds - 2 * n * rank * d, over],
        tolerance=0.0,
    )


@claim("1.3.3", "cost", "4nkd multiply-adds, no n × n matrix")
@wrong("bracket", "so does ((QKᵀ)Cᵀ)DV", product=unprojected_attention)
def check_projected_cost(
    n: int = 400,
    rank: int = 6,
    d: int = 16,
    product: Callable[..., Tensor] = projected_attention,
) -> Check:
    """1.3.3: exactly 4nkd multiply-adds are counted, and no tensor is larger than n max(k, d)."""
    q, k, v = low_rank_scores(n, rank, d)
    svd = thin_svd(q @ k.T, rank)
    cost = measure(product, q, k, v, svd.w.T, svd.w.T)
    over = max(0, cost.largest - n * max(rank, d))
    return equal(
        "projected: multiply-adds = 4nkd, no n x n matrix",
        [cost.multiply_adds - 4 * n * rank * d, over],
        tolerance=0.0,
    )


def check_rows_orthonormal(n: int = 400, rank: int = 6) -> Check:
    """U U^T = I_n, as "U is an orthogonal matrix" would say. False for k < n: its rank is k."""
    q, k, _ = clustered_inputs(n, rank)
    u = thin_svd(softmax_matrix(q, k), rank).u
    gap = u @ u.T - torch.eye(n, dtype=u.dtype)
    return equal("U U^T = I (n x n)", [float(gap.abs().max())])


@claim("1.3.2", "orthonormal", "UᵀU = I: the columns are orthonormal")
@wrong("orthogonal", "UUᵀ = I", check=check_rows_orthonormal)
def check_columns_orthonormal(n: int = 400, rank: int = 6) -> Check:
    """U^T U = I_k: the columns of U are orthonormal."""
    q, k, _ = clustered_inputs(n, rank)
    u = thin_svd(softmax_matrix(q, k), rank).u
    gap = u.T @ u - torch.eye(rank, dtype=u.dtype)
    return equal("U^T U = I (k x k)", [float(gap.abs().max())])
