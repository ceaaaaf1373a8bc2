import math
from dataclasses import replace

import pytest
import torch
from hypothesis import strategies as st

from coursework.theory import convolution_attention as ca
from properties import every

TOKENS = st.lists(st.floats(-100, 100), min_size=2, max_size=30).map(
    lambda x: torch.tensor(x, dtype=torch.float64)
)
WEIGHT = st.one_of(st.just(0.0), st.floats(0.01, 10.0))


def kernel_of(weight: st.SearchStrategy[float]) -> st.SearchStrategy[torch.Tensor]:
    sizes = st.sampled_from([1, 3, 5, 7])
    return sizes.flatmap(lambda n: st.lists(weight, min_size=n, max_size=n)).map(
        lambda w: torch.tensor(w, dtype=torch.float64)
    )


@every(TOKENS)
def test_answer_for_every_sequence(x: torch.Tensor) -> None:
    padded = [0.0, *x.tolist(), 0.0]
    expected = [2 * padded[i - 1] + padded[i + 1] for i in range(1, len(padded) - 1)]
    found = ca.attention_convolution(x, ca.ASSIGNMENT)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-10)


@every(TOKENS, kernel_of(WEIGHT).filter(lambda w: float(w.sum()) > 0))
def test_one_head_for_every_kernel_without_negative_weights(
    x: torch.Tensor, kernel: torch.Tensor
) -> None:
    found = ca.attention_convolution(x, ca.head_for_kernel(kernel), len(kernel) // 2)
    torch.testing.assert_close(found, ca.convolution(x, kernel), rtol=1e-9, atol=1e-9)


@every(TOKENS, kernel_of(st.one_of(WEIGHT, st.floats(-10.0, -0.01))))
def test_two_heads_for_every_kernel(x: torch.Tensor, kernel: torch.Tensor) -> None:
    found = ca.signed_convolution(x, kernel)
    torch.testing.assert_close(found, ca.convolution(x, kernel), rtol=1e-9, atol=1e-9)


SMALL = (-5.0, 5.0)


@every(st.lists(st.floats(-5, 5), min_size=3, max_size=3), SMALL, SMALL, SMALL, [-math.inf, -2.0])
def test_no_single_head_has_weights_of_both_signs(
    bias: list[float], w_q: float, w_k: float, w_v: float, elsewhere: float
) -> None:
    head = ca.HeadParameters(
        w_v, dict(zip((-1, 0, 1), bias, strict=True)), elsewhere, w_q=w_q, w_k=w_k
    )
    for token in torch.eye(5, dtype=torch.float64):
        assert float((ca.attend(token, head)[0] * w_v).min()) >= 0.0


@every(TOKENS.filter(lambda x: len(x) > 2))
def test_ends_without_padding_for_every_sequence(x: torch.Tensor) -> None:
    gap = ca.attend(x, ca.ASSIGNMENT)[0] - ca.convolution(x)
    torch.testing.assert_close(gap, ca.end_errors(x), rtol=1e-9, atol=1e-9)


def test_kernels_that_no_head_computes_and_tokens_of_the_default_type() -> None:
    for kernel in ([2.0, 1.0], [1.0, -2.0, 3.0], [0.0]):
        with pytest.raises(ValueError, match="A kernel has 2r"):
            ca.head_for_kernel(torch.tensor(kernel))
    x = torch.tensor([1.0, 2.0, 3.0])
    assert ca.attention_convolution(x, ca.ASSIGNMENT).tolist() == ca.convolution(x).tolist()


def test_the_general_recipe_gives_the_answer() -> None:
    head = ca.head_for_kernel(ca.KERNEL)
    assert head.w_v == 3.0
    assert head.bias[0] == -math.inf
    assert head.bias[1] == pytest.approx(math.log(2 / 3))
    assert head.bias[-1] == pytest.approx(math.log(1 / 3))


def test_only_differences_of_the_bias_count() -> None:
    assert ca.check_kernel(replace(ca.ASSIGNMENT, bias={1: math.log(2.0) + 7.0, -1: 7.0})).holds


@every(TOKENS, (0.0, 30.0))
def test_finite_bias_meets_its_bound(x: torch.Tensor, size: float) -> None:
    largest = float(x.abs().max())
    limit = ca.finite_bias_limit(len(x) + 2, size) * largest
    assert ca.finite_bias_error(x, size) <= limit + 1e-12 * (1 + largest)


def test_reference_is_the_formula_of_the_question() -> None:
    """conv1d does not flip its kernel; numpy's convolve does: x_{i-1} + 2 x_{i+1}."""
    x = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    assert ca.convolution(x).tolist() == [10.0, 102.0, 20.0]
    assert ca.convolution(x, ca.KERNEL.flip(0)).tolist() != [10.0, 102.0, 20.0]
