"""1.3.2 and 1.3.3: attention of rank k in time O(nkd)."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coursework.theory import low_rank_attention as lr
from coursework.theory.cost import measure

#: The same examples in every run: a failure here is a failure everywhere.
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@QUICK
@given(st.integers(8, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_any_matrix_of_rank_k(n: int, rank: int, seed: int) -> None:
    """The claim holds for every matrix of rank k, attention or not."""
    generator = torch.Generator().manual_seed(seed)
    left, right, v = (
        torch.randn(n, width, generator=generator, dtype=torch.float64) for width in (rank, rank, 5)
    )
    matrix = left @ right.T
    found = lr.right_to_left(lr.thin_svd(matrix, rank), v)
    torch.testing.assert_close(found, matrix @ v, rtol=1e-9, atol=1e-9)


@QUICK
@given(st.integers(20, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_projections_for_any_scores_of_rank_k(n: int, rank: int, seed: int) -> None:
    q, k, v = lr.low_rank_scores(n, rank, seed=seed)
    svd = lr.thin_svd(q @ k.T, rank)
    found = lr.projected_attention(q, k, v, svd.w.T, svd.w.T)
    expected = q @ k.T @ v
    assert float((found - expected).norm() / expected.norm()) < 1e-9


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_premise_is_met(rank: int) -> None:
    assert lr.check_rank(rank).holds
    assert not lr.check_rank(rank, claimed=rank + 1).holds
    q, k, _ = lr.clustered_inputs(rank=rank)
    matrix = lr.softmax_matrix(q, k)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(q), dtype=torch.float64))


def test_examples_are_of_the_sizes_that_are_named() -> None:
    for make in (lr.clustered_inputs, lr.low_rank_scores):
        for found, expected in zip(make(), make(400, 6, 16, 0), strict=True):
            assert found.shape == (400, 16)
            assert torch.equal(found, expected)
    q, k, _ = lr.low_rank_scores()
    assert int(torch.linalg.matrix_rank(q @ k.T)) == 6
    assert len(lr.clustered_inputs()[1].unique(dim=0)) == 6
    svd = lr.thin_svd(torch.eye(3), 2)
    with pytest.raises(FrozenInstanceError):
        svd.s = svd.s * 2  # type: ignore[misc]


def test_every_check_holds() -> None:
    assert lr.check_svd_product().holds
    assert lr.check_projected().holds
    assert lr.check_cost().holds
    assert lr.check_columns_orthonormal().holds


def test_left_to_right_has_the_value_and_not_the_cost() -> None:
    assert lr.check_svd_product(product=lr.left_to_right).holds
    assert not lr.check_cost(product=lr.left_to_right).holds


def test_counted_cost_is_the_formula() -> None:
    n, rank, d = 100, 5, 16
    q, k, v = lr.clustered_inputs(n, rank, d)
    svd = lr.thin_svd(lr.softmax_matrix(q, k), rank)
    assert measure(lr.right_to_left, svd, v).multiply_adds == 2 * n * rank * d
    assert measure(lr.left_to_right, svd, v).multiply_adds == n * n * rank + n * n * d
    cost = measure(lr.projected_attention, q, k, v, svd.w.T, svd.w.T)
    assert cost.multiply_adds == 4 * n * rank * d
    assert cost.largest <= n * max(rank, d)


def test_truncating_below_the_rank_is_caught() -> None:
    def one_too_few(svd: lr.ThinSVD, v: Tensor) -> Tensor:
        return lr.right_to_left(lr.ThinSVD(svd.u[:, :-1], svd.s[:-1], svd.w[:, :-1]), v)

    assert not lr.check_svd_product(product=one_too_few).holds


def test_forgotten_singular_values_are_caught() -> None:
    assert not lr.check_svd_product(product=lambda svd, v: svd.u @ (svd.w.T @ v)).holds


def test_swapped_factors_are_caught() -> None:
    def swapped(svd: lr.ThinSVD, v: Tensor) -> Tensor:
        return svd.w @ (svd.s[:, None] * (svd.u.T @ v))

    assert not lr.check_svd_product(product=swapped).holds
    assert not lr.check_projected(choose=lambda svd: (svd.u.T, svd.u.T)).holds
    assert not lr.check_projected(choose=lambda svd: (svd.u.T, svd.w.T)).holds


def test_thin_factors_are_not_orthogonal_matrices() -> None:
    assert not lr.check_rows_orthonormal().holds
