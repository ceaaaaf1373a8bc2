"""1.2.1: the largest singular value of the Jacobian of a sigmoid recurrence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.theory import sigmoid_rnn

#: The same examples in every run: a failure here is a failure everywhere.
QUICK = settings(max_examples=40, deadline=None, derandomize=True)

SEEDS = st.integers(0, 2**31)


@QUICK
@given(st.integers(1, 7), st.integers(2, 6), SEEDS, st.floats(0.0, 4.0))
def test_bound_holds_for_every_recurrence(dimension: int, n: int, seed: int, spread: float) -> None:
    weight, x1 = sigmoid_rnn.random_recurrence(dimension, seed, spread=spread)
    sigma = sigmoid_rnn.spectral_norm(sigmoid_rnn.jacobian(weight, x1, n))
    assert 0.0 <= sigma <= sigmoid_rnn.bound(n) * (1 + 1e-9)


@QUICK
@given(st.integers(1, 6), SEEDS)
def test_hint_holds_for_every_pair(dimension: int, seed: int) -> None:
    assert sigmoid_rnn.check_hint(dimension, draws=1, seed=seed).holds


@QUICK
@given(st.integers(1, 6), st.integers(2, 6), SEEDS, st.floats(0.05, 8.0))
def test_chain_rule_for_every_recurrence(dimension: int, n: int, seed: int, sigma: float) -> None:
    """The product does not need the premise: any sigma_max(W)."""
    weight, x1 = sigmoid_rnn.random_recurrence(dimension, seed, sigma=sigma)
    torch.testing.assert_close(
        sigmoid_rnn.jacobian_product(weight, x1, n),
        sigmoid_rnn.jacobian(weight, x1, n),
        rtol=1e-9,
        atol=1e-13,
    )


@QUICK
@given(st.floats(-700, 700))
def test_slope_for_every_input(z: float) -> None:
    s = float(torch.sigmoid(torch.tensor(z, dtype=torch.float64)))
    assert 0.0 <= s * (1.0 - s) <= 0.25


@QUICK
@given(st.integers(2, 9), st.integers(2, 20))
def test_tight_example_attains_the_bound(dimension: int, n: int) -> None:
    assert sigmoid_rnn.check_tight(n, dimension).holds
    weight, _ = sigmoid_rnn.tight_example(dimension)
    assert sigmoid_rnn.spectral_norm(weight) == pytest.approx(0.25)


def test_every_check_holds() -> None:
    assert sigmoid_rnn.check_hint().holds
    assert sigmoid_rnn.check_chain_rule().holds
    for n in (2, 4, 6):
        assert sigmoid_rnn.check_bound(n, draws=100).holds


def test_hint_as_equality_is_caught() -> None:
    assert not sigmoid_rnn.check_hint_as_equality().holds
    assert not sigmoid_rnn.check_hint_as_equality(draws=0).holds  # the counter-example alone
    a, b = sigmoid_rnn.hint_counterexample()
    assert sigmoid_rnn.spectral_norm(a) == sigmoid_rnn.spectral_norm(b) == 1.0
    assert sigmoid_rnn.spectral_norm(a @ b) == 0.0


def test_hint_is_about_singular_values_not_eigenvalues() -> None:
    """A planted wrong version: the eigenvalue of largest size is not submultiplicative."""
    a = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert float(torch.linalg.eigvals(a).abs().max()) == 0.0
    assert float(torch.linalg.eigvals(a @ a.T).abs().max()) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 4])
def test_wrong_bounds_are_caught(n: int) -> None:
    """One factor too many, and a slope of at most 1/5: both too small."""
    assert not sigmoid_rnn.check_bound(n, draws=40, limit=lambda n: 16.0**-n).holds
    assert not sigmoid_rnn.check_tight(n, limit=lambda n: 16.0**-n).holds
    assert not sigmoid_rnn.check_tight(n, limit=lambda n: 20.0 ** (1 - n)).holds
    assert not sigmoid_rnn.check_tight(n, limit=lambda n: 4.0 ** (1 - n)).holds


def test_bound_needs_the_premise() -> None:
    assert not sigmoid_rnn.check_bound(2, draws=40, sigma=0.3).holds


def test_factors_in_the_wrong_order_are_caught() -> None:
    def wrong_order(weight: torch.Tensor, x1: torch.Tensor, n: int) -> torch.Tensor:
        product = torch.eye(len(x1), dtype=x1.dtype)
        for state in sigmoid_rnn.trajectory(weight, x1, n)[1:]:
            product = product @ ((state * (1 - state))[:, None] * weight)
        return product

    def slopes_on_the_wrong_side(weight: torch.Tensor, x1: torch.Tensor, n: int) -> torch.Tensor:
        product = torch.eye(len(x1), dtype=x1.dtype)
        for state in sigmoid_rnn.trajectory(weight, x1, n)[1:]:
            product = (weight * (state * (1 - state))[None, :]) @ product
        return product

    assert not sigmoid_rnn.check_chain_rule(product=wrong_order).holds
    assert not sigmoid_rnn.check_chain_rule(product=slopes_on_the_wrong_side).holds


def test_a_singular_value_can_be_zero() -> None:
    """Why the lower bound is "not negative" and not "positive"."""
    zero = torch.zeros(3, 3, dtype=torch.float64)
    jacobian = sigmoid_rnn.jacobian(zero, torch.ones(3, dtype=torch.float64), 3)
    assert sigmoid_rnn.spectral_norm(jacobian) == 0.0


def test_tight_example_needs_two_dimensions() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        sigmoid_rnn.tight_example(1)


def test_nilpotent_example_meets_the_premise_and_dies_at_the_third_step() -> None:
    for dimension in (2, 3):
        weight, x1 = sigmoid_rnn.nilpotent_example(dimension)
        assert sigmoid_rnn.spectral_norm(weight) == pytest.approx(0.25)
        assert float((weight @ weight).abs().max()) == 0.0
        assert float(sigmoid_rnn.jacobian(weight, x1, 2).abs().max()) > 0.0
    with pytest.raises(ValueError, match="two dimensions"):
        sigmoid_rnn.nilpotent_example(1)


def test_positive_is_claimed_of_one_step_and_refuted_for_more() -> None:
    assert sigmoid_rnn.check_lower(2, strict=True).holds
    assert not sigmoid_rnn.check_lower(3, strict=True).holds
    assert "> 0" in sigmoid_rnn.check_lower(strict=True).claim
    assert ">= 0" in sigmoid_rnn.check_lower().claim
