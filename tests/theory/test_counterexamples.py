import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coursework.theory import almost_orthogonal as ao
from coursework.theory import convolution_attention as conv
from coursework.theory import kernel_attention as ka
from coursework.theory import low_rank_attention as lr
from coursework.theory import pooling_attention as pool
from coursework.theory import relu_chain, self_attention, sigmoid_rnn


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_large_weights_with_one_negative_do_not_explode() -> None:
    """From the second layer on. The first may be negative: then the path opens for x < 0."""
    for layer in range(30):
        weights = torch.full((30,), 1.25, dtype=torch.float64)
        weights[layer] = -1.25
        sizes = [abs(relu_chain.gradient(weights, x)) for x in (-3.0, -0.1, 0.1, 3.0)]
        explodes = pytest.approx(1.25**30)
        assert sizes == ([explodes, explodes, 0.0, 0.0] if layer == 0 else [0.0] * 4)


def test_a_zero_weight_attains_the_bound_with_a_closed_gate() -> None:
    """Why "attained exactly when every gate is open" needs weights that are not zero."""
    weights = torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert relu_chain.gradient(weights, 1.0) == relu_chain.gradient_bound(weights) == 0.0


def test_absolute_values_of_matrices_are_not_multiplicative() -> None:
    a, b = matrix([1.0, 1.0], [0.0, 0.0]), matrix([1.0, 0.0], [-1.0, 0.0])
    assert (a @ b).abs().max() == 0.0
    assert torch.equal(a.abs() @ b.abs(), matrix([2.0, 0.0], [0.0, 0.0]))


def test_norms_of_a_product_can_vanish() -> None:
    a, b = sigmoid_rnn.hint_counterexample()
    assert sigmoid_rnn.spectral_norm(a) == sigmoid_rnn.spectral_norm(b) == 1.0
    assert sigmoid_rnn.spectral_norm(a @ b) == 0.0


@pytest.mark.parametrize("n", [3, 4, 8])
def test_a_recurrence_within_the_premises_can_have_a_zero_jacobian(n: int) -> None:
    weight, x1 = sigmoid_rnn.nilpotent_example(5)
    assert sigmoid_rnn.spectral_norm(weight) == 0.25
    assert sigmoid_rnn.spectral_norm(sigmoid_rnn.jacobian(weight, x1 + 0.3, n)) == 0.0


def test_one_factor_too_many_is_off_by_sixteen() -> None:
    for n in (2, 5):
        sigma = sigmoid_rnn.spectral_norm(sigmoid_rnn.jacobian(*sigmoid_rnn.tight_example(4), n))
        assert sigma / 16.0**-n == pytest.approx(16.0)


def test_product_place_by_place_is_not_the_outer_product() -> None:
    ones, value = matrix([1.0, 1.0]), matrix([1.0, 0.0])
    assert torch.equal(ka.linear(ones, ones, value, lambda x: x), value)
    assert torch.equal(ka.elementwise(ones, ones, value, lambda x: x), matrix([0.5, 0.0]))


def test_opposite_keys_make_the_denominator_zero() -> None:
    x = matrix([1.0, 2.0])
    keys = torch.cat([x, -x])
    assert float((x @ keys.T).sum()) == 0.0


def test_orthonormal_columns_are_no_orthogonal_matrix() -> None:
    u = matrix([1.0], [0.0])
    assert torch.equal(u.T @ u, matrix([1.0]))
    assert torch.equal(u @ u.T, matrix([1.0, 0.0], [0.0, 0.0]))


def test_left_singular_vectors_do_not_project_the_rows() -> None:
    p = matrix([0.0, 1.0], [0.0, 0.0])
    svd = lr.thin_svd(p, 1)
    assert float((p @ svd.u @ svd.u.T).abs().max()) == 0.0
    torch.testing.assert_close(p @ svd.w @ svd.w.T, p)


def test_content_changes_the_weights_of_the_convolution() -> None:
    x = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    _, weights = conv.attend(x, replace(conv.ASSIGNMENT, w_q=1.0))
    ratio = float(weights[1, 0] / weights[1, 2])
    assert ratio == pytest.approx(2.0 * math.e / math.exp(-1.0))


def test_first_output_without_padding() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert float(conv.attend(x, conv.ASSIGNMENT)[0][0]) == pytest.approx(3.0)
    assert float(conv.convolution(x)[0]) == 1.0


def test_query_from_a_token_that_is_zero() -> None:
    x = torch.tensor([0.0, 5.0], dtype=torch.float64)
    assert pool.hard_attention(pool.content_query_scores(x, 1), x, "first")[0] == 0.0
    assert pool.hard_attention(pool.constant_query_scores(x, 1), x, "first")[0] == 5.0


@pytest.mark.parametrize("picked", [0, 1, 2])
def test_in_a_window_of_three_a_fixed_choice_misses_the_maximum(picked: int) -> None:
    """The step of 1.4.2: put the maximum on a neighbour other than the place that is picked."""
    x = torch.zeros(3, dtype=torch.float64)
    x[2 if picked == 0 else 0] = 1.0
    assert float(x[picked]) == 0.0
    assert float(pool.max_pool(x, 1)[1]) == 1.0


def test_a_tie_has_no_single_largest_score() -> None:
    x = torch.tensor([5.0, 5.0], dtype=torch.float64)
    scores = pool.constant_query_scores(x, 1)
    assert bool((scores == 5.0).all())
    for rule in ("first", "last", "mean"):
        assert pool.hard_attention(scores, x, rule).tolist() == [5.0, 5.0]


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 1 / 3])
def test_normalising_makes_the_inner_product_larger(epsilon: float) -> None:
    plane = ao.extreme_map(epsilon)
    squared = (plane**2).sum(dim=0)
    gap = float(((plane[:, 0] - plane[:, 1]) ** 2).sum())
    torch.testing.assert_close(squared, torch.full_like(squared, 1.0 - epsilon))
    assert gap == pytest.approx(2.0 * (1.0 + epsilon))
    cosine = float(plane[:, 0] @ plane[:, 1]) / (1.0 - epsilon)
    assert cosine == pytest.approx(-2.0 * epsilon / (1.0 - epsilon))


def test_permuting_rows_alone_is_not_enough() -> None:
    scores, swap = matrix([0.0, 1.0], [0.0, 0.0]), torch.tensor([1, 0])
    found = self_attention.permuted_both(scores, swap).softmax(dim=1)
    e = math.e
    torch.testing.assert_close(found, matrix([0.5, 0.5], [e / (e + 1), 1 / (e + 1)]))
    rows_only = scores.softmax(dim=1)[swap]
    torch.testing.assert_close(rows_only, matrix([0.5, 0.5], [1 / (1 + e), e / (1 + e)]))
