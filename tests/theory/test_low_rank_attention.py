import torch

from coursework.theory import low_rank_attention as lr
from properties import SEED, every


@every((8, 40), (1, 6), SEED)
def test_any_matrix_of_rank_k(n: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right, v = (
        torch.randn(n, width, generator=generator, dtype=torch.float64) for width in (rank, rank, 5)
    )
    matrix = left @ right.T
    found = lr.right_to_left(lr.thin_svd(matrix, rank), v)
    torch.testing.assert_close(found, matrix @ v, rtol=1e-9, atol=1e-9)


@every((20, 40), (1, 6), SEED)
def test_projections_for_any_scores_of_rank_k(n: int, rank: int, seed: int) -> None:
    q, k, v = lr.low_rank_scores(seed, n, rank)
    svd = lr.thin_svd(q @ k.T, rank)
    found = lr.projected_attention(q, k, v, svd.w.T, svd.w.T)
    expected = q @ k.T @ v
    assert float((found - expected).norm() / expected.norm()) < 1e-9


def test_other_brackets_have_the_same_value() -> None:
    assert lr.check_svd_product(lr.left_to_right).holds
    assert not lr.check_projected(lambda svd: (svd.u.T, svd.w.T)).holds  # nor does one right of two


def test_counted_cost_is_the_formula() -> None:
    n, k, d = lr.N, lr.RANK, lr.D
    assert lr.svd_cost(lr.right_to_left).multiply_adds == 2 * n * k * d
    assert lr.svd_cost(lr.left_to_right).multiply_adds == n * n * k + n * n * d
    cost = lr.projected_cost(lr.projected_attention)
    assert cost.multiply_adds == 4 * n * k * d
    assert cost.largest <= n * max(k, d)
