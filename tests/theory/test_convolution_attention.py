"""1.4.1: self-attention with a position bias that equals a convolution."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.theory import convolution_attention as ca

#: The same examples in every run: a failure here is a failure everywhere.
QUICK = settings(max_examples=40, deadline=None, derandomize=True)

TOKENS = st.lists(st.floats(-100, 100), min_size=2, max_size=30).map(
    lambda x: torch.tensor(x, dtype=torch.float64)
)
WEIGHT = st.one_of(st.just(0.0), st.floats(0.01, 10.0))
ODD = st.sampled_from([1, 3, 5, 7])


def kernel_of(weight: st.SearchStrategy[float]) -> st.SearchStrategy[torch.Tensor]:
    return ODD.flatmap(lambda size: st.lists(weight, min_size=size, max_size=size)).map(
        lambda w: torch.tensor(w, dtype=torch.float64)
    )


@QUICK
@given(TOKENS)
def test_answer_for_every_sequence(x: torch.Tensor) -> None:
    padded = [0.0, *x.tolist(), 0.0]
    expected = [2 * padded[i - 1] + padded[i + 1] for i in range(1, len(padded) - 1)]
    found = ca.attention_convolution(x, ca.ASSIGNMENT, 1)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-10)


@QUICK
@given(TOKENS, kernel_of(WEIGHT).filter(lambda w: float(w.sum()) > 0))
def test_one_head_for_every_kernel_without_negative_weights(
    x: torch.Tensor, kernel: torch.Tensor
) -> None:
    found = ca.attention_convolution(x, ca.head_for_kernel(kernel), len(kernel) // 2)
    torch.testing.assert_close(found, ca.convolution(x, kernel), rtol=1e-9, atol=1e-9)


@QUICK
@given(TOKENS, kernel_of(st.one_of(st.just(0.0), st.floats(-10, -0.01), st.floats(0.01, 10))))
def test_two_heads_for_every_kernel(x: torch.Tensor, kernel: torch.Tensor) -> None:
    """The kernel of zeros included."""
    found = ca.signed_convolution(x, kernel)
    torch.testing.assert_close(found, ca.convolution(x, kernel), rtol=1e-9, atol=1e-9)


@QUICK
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9), st.floats(-10, 10))
def test_weights_of_one_head_have_one_sign(bias: list[float], w_v: float) -> None:
    found = ca.head_weights(torch.tensor(bias, dtype=torch.float64), w_v)
    assert float(torch.outer(found, found).min()) >= 0.0


@QUICK
@given(TOKENS.filter(lambda x: len(x) > 2))
def test_ends_without_padding_for_every_sequence(x: torch.Tensor) -> None:
    kernel = torch.tensor(ca.ASSIGNMENT_KERNEL, dtype=torch.float64)
    gap = ca.attend(x, ca.ASSIGNMENT)[0] - ca.convolution(x, kernel)
    torch.testing.assert_close(gap, ca.end_errors(x), rtol=1e-9, atol=1e-9)


def test_every_check_holds() -> None:
    assert ca.check_kernel().holds
    assert ca.check_general(signed=False).holds
    assert ca.check_general(signed=True).holds
    assert ca.check_boundary().holds
    assert ca.check_finite_bias().holds


def test_the_general_recipe_gives_the_answer() -> None:
    head = ca.head_for_kernel(torch.tensor(ca.ASSIGNMENT_KERNEL, dtype=torch.float64))
    assert head.w_v == 3.0
    assert head.bias[0] == -math.inf
    assert head.bias[1] == pytest.approx(math.log(2 / 3))
    assert head.bias[-1] == pytest.approx(math.log(1 / 3))
    with pytest.raises(FrozenInstanceError):
        head.w_v = 1.0  # type: ignore[misc]


def test_what_is_drawn_by_default() -> None:
    assert torch.equal(ca.random_tokens(), ca.random_tokens(64, 0))
    assert all(bool((kernel >= 0).all()) for kernel in ca.kernels(40))
    assert any(bool((kernel < 0).any()) for kernel in ca.kernels(40, signed=True))
    assert {len(kernel) for kernel in ca.kernels(8)} == {1, 3, 5, 7}


def test_weights_of_one_head_sum_to_its_value_weight() -> None:
    found = ca.head_weights(torch.tensor([0.0, math.log(3.0)], dtype=torch.float64), -8.0)
    assert found.tolist() == pytest.approx([-2.0, -6.0])


def test_attention_matrix_of_the_answer() -> None:
    _, weights = ca.attend(ca.random_tokens(6), ca.ASSIGNMENT)
    inner = weights[1:-1]
    for row, i in zip(inner, range(1, 5), strict=True):
        assert row[i - 1].item() == pytest.approx(2 / 3)
        assert row[i + 1].item() == pytest.approx(1 / 3)
        assert float(row.sum()) == pytest.approx(1.0)


def test_infinite_biases_are_caught() -> None:
    """P = 2 inf and inf: softmax is NaN, and a NaN does not hold."""
    head = ca.HeadParameters(3.0, {1: 2 * math.inf, -1: math.inf})
    check = ca.check_kernel(head)
    assert math.isnan(check.measured)
    assert not check.holds


@pytest.mark.parametrize("size", [1.0, 5.0, 50.0])
def test_finite_biases_in_the_ratio_two_are_caught(size: float) -> None:
    head = ca.HeadParameters(3.0, {1: 2 * size, -1: size})
    assert not ca.check_kernel(head).holds


def test_limit_of_large_biases() -> None:
    assert ca.check_large_bias_limit().holds
    assert not ca.check_large_bias_limit(target=ca.ASSIGNMENT_KERNEL).holds


def test_only_differences_of_the_bias_count() -> None:
    shifted = replace(ca.ASSIGNMENT, bias={1: math.log(2.0) + 7.0, -1: 7.0})
    assert ca.check_kernel(shifted).holds


def test_query_that_is_not_switched_off_is_caught() -> None:
    assert not ca.check_kernel(replace(ca.ASSIGNMENT, w_q=1.0)).holds
    assert ca.check_kernel(replace(ca.ASSIGNMENT, w_k=5.0)).holds  # W_K is free once W_Q = 0


def test_other_wrong_answers_are_caught() -> None:
    assert not ca.check_kernel(replace(ca.ASSIGNMENT, w_v=1.0)).holds
    assert not ca.check_kernel(replace(ca.ASSIGNMENT, bias={-1: math.log(2.0), 1: 0.0})).holds
    assert not ca.check_kernel(replace(ca.ASSIGNMENT, bias={1: 2.0, -1: 1.0})).holds
    open_middle = {1: math.log(2.0), 0: 0.0, -1: 0.0}
    assert not ca.check_kernel(replace(ca.ASSIGNMENT, bias=open_middle)).holds


def test_without_padding_the_ends_are_wrong() -> None:
    x = ca.random_tokens(10)
    kernel = torch.tensor(ca.ASSIGNMENT_KERNEL, dtype=torch.float64)
    gap = ca.attend(x, ca.ASSIGNMENT)[0] - ca.convolution(x, kernel)
    assert (gap.abs() > 1e-9).nonzero()[:, 0].tolist() == [0, 9]


@QUICK
@given(TOKENS, st.floats(0.0, 30.0))
def test_finite_bias_meets_its_bound(x: torch.Tensor, size: float) -> None:
    error, limit = ca.finite_bias_error(x, size)
    assert error <= limit + 1e-12 * (1 + float(x.abs().max()))


def test_one_head_cannot_have_a_negative_weight() -> None:
    with pytest.raises(ValueError, match="two heads"):
        ca.head_for_kernel(torch.tensor([1.0, -1.0, 0.0]))
    # softmax weights times one number all have one sign: the positive part alone is not enough
    assert not ca.check_general(
        signed=True,
        candidate=lambda x, kernel: ca.signed_convolution(x, kernel.clamp(min=0.0)),
    ).holds


def test_kernels_that_have_no_head() -> None:
    with pytest.raises(ValueError, match="odd"):
        ca.head_for_kernel(torch.ones(4))
    with pytest.raises(ValueError, match="zeros"):
        ca.head_for_kernel(torch.zeros(3))


def test_reference_is_the_formula_of_the_question() -> None:
    """conv1d does not flip its kernel; numpy's convolve does: x_{i-1} + 2 x_{i+1}."""
    x = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    kernel = torch.tensor(ca.ASSIGNMENT_KERNEL, dtype=torch.float64)
    assert ca.convolution(x, kernel).tolist() == [10.0, 102.0, 20.0]
    assert ca.convolution(x, kernel.flip(0)).tolist() != [10.0, 102.0, 20.0]
