"""1.3.1: attention with a kernel similarity in linear time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coursework.theory import kernel_attention as ka

#: The same examples in every run: a failure here is a failure everywhere.
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@QUICK
@given(
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(0, 2**31),
    st.sampled_from([ka.elu_plus_one, ka.squares]),
)
def test_factored_form_equals_the_definition(
    n: int, d: int, d_v: int, seed: int, phi: ka.FeatureMap
) -> None:
    q, k, v = ka.random_inputs(n, d, d_v, seed)
    expected, found = ka.quadratic(q, k, v, phi), ka.linear(q, k, v, phi)
    assert found.shape == (n, d_v)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@QUICK
@given(st.integers(1, 24), st.integers(1, 4), st.integers(0, 2**31))
def test_rank_is_at_most_the_number_of_features(n: int, d: int, seed: int) -> None:
    q, k, _ = ka.random_inputs(n, d, 1, seed)
    assert int(torch.linalg.matrix_rank(ka.factored_similarities(q, k))) <= d


def test_definition_by_loops() -> None:
    """The vectorised definition against the sums of the question, written out."""
    q, k, v = ka.random_inputs(5, 3, 2)
    found = ka.quadratic(q, k, v, ka.elu_plus_one)
    for i in range(5):
        sims = [float(ka.elu_plus_one(q[i]) @ ka.elu_plus_one(k[j])) for j in range(5)]
        expected = sum(sims[j] * v[j] for j in range(5)) / sum(sims)
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("phi", [ka.elu_plus_one, ka.squares])
def test_check_holds(phi: ka.FeatureMap) -> None:
    assert ka.check_equal(phi=phi).holds


def test_transposed_bracket_is_caught() -> None:
    """S must be sum phi(K_j) V_j^T; with d = d_v its transpose has the right shape as well."""
    assert not ka.check_equal(d=8, d_v=8, candidate=ka.transposed).holds


def test_elementwise_bracket_is_caught() -> None:
    """phi(K_j) V_j read as a product of two vectors place by place."""

    def elementwise(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
        queries, keys = phi(q), phi(k)
        return queries * (keys * v).sum(dim=0) / (queries @ keys.sum(dim=0))[:, None]

    assert not ka.check_equal(d=8, d_v=8, candidate=elementwise).holds


def test_missing_denominator_is_caught() -> None:
    def unnormalised(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
        return phi(q) @ (phi(k).T @ v)

    assert not ka.check_equal(candidate=unnormalised).holds


def test_exponents() -> None:
    assert ka.check_exponent(ka.linear, 1).holds
    assert ka.check_exponent(ka.quadratic, 2).holds
    assert not ka.check_exponent(ka.quadratic, 1).holds


def test_wrong_bracket_is_quadratic() -> None:
    """The same factors multiplied from the left: right values, wrong cost."""

    def from_the_left(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
        queries, keys = phi(q), phi(k)
        return ((queries @ keys.T) @ v) / (queries @ keys.sum(dim=0))[:, None]

    assert ka.check_equal(candidate=from_the_left).holds
    assert not ka.check_exponent(from_the_left, 1).holds


def test_counted_cost_is_the_formula() -> None:
    n, d = 128, 8
    linear, quadratic = (ka.growth(f, [n], d)[0] for f in (ka.linear, ka.quadratic))
    assert (linear.multiply_adds, linear.largest) == (n * d * (2 * d + 1), n * d)
    assert (quadratic.multiply_adds, quadratic.largest) == (2 * n * n * d, n * n)
    assert quadratic.peak >= 4 * n * n > linear.peak


def test_examples_are_of_the_sizes_that_are_named() -> None:
    assert ka.growth(ka.linear, [128])[0].multiply_adds == 128 * 8 * 17
    for found, expected in zip(
        ka.random_inputs(3, 2, 4), ka.random_inputs(3, 2, 4, 0), strict=True
    ):
        assert torch.equal(found, expected)
    seen: list[tuple[int, ...]] = []

    def spy(q: Tensor, k: Tensor, v: Tensor, phi: ka.FeatureMap) -> Tensor:
        seen.append((*q.shape, v.shape[1]))
        return ka.linear(q, k, v, phi)

    assert ka.check_equal(candidate=spy).holds
    assert seen == [(512, 16, 24)] * 5
    seen.clear()
    assert ka.check_exponent(spy).holds
    assert seen == [(n, 8, 8) for n in (256, 512, 1024, 2048)]


def test_not_every_kernel_is_non_negative() -> None:
    assert ka.check_non_negative(ka.elu_plus_one).holds
    assert ka.check_non_negative(ka.squares).holds
    assert not ka.check_non_negative(ka.identity).holds


def test_linear_kernel_can_divide_by_zero() -> None:
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    k = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    v = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    assert not bool(torch.isfinite(ka.quadratic(q, k, v, ka.identity)).any())


def test_the_exponential_is_the_similarity_of_softmax_attention() -> None:
    q, k, _ = ka.random_inputs(6, 9, 1)
    similarities = ka.exponential(q, k)
    weights = similarities / similarities.sum(dim=1, keepdim=True)
    torch.testing.assert_close(weights, torch.softmax(q @ k.T / 3.0, dim=1))


def test_no_finite_map_gives_softmax() -> None:
    """The rank of the similarities is at most m; the exponential has full rank."""
    assert ka.similarity_rank(ka.elu_plus_one) == 4
    assert ka.similarity_rank(lambda x: torch.eye(len(x), dtype=x.dtype)) == 64  # as many features
    assert ka.exponential_similarity_rank() == 64
    assert ka.similarity_rank(ka.elu_plus_one, n=64, d=4) == 4
    assert ka.similarity_rank(ka.squares, n=64, d=4) <= 16
    assert ka.exponential_similarity_rank(n=64, d=4) == 64
