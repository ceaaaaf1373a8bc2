"""1.1.1 and 1.1.2: gradients of a deep chain of ReLU units."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coursework.theory import relu_chain

QUICK = settings(max_examples=40, deadline=None, derandomize=True)

SIZES = st.floats(0.1, 3.0).flatmap(lambda size: st.sampled_from([size, -size]))
CHAINS = st.lists(SIZES, min_size=1, max_size=25).map(
    lambda weights: torch.tensor(weights, dtype=torch.float64)
)
#: Chains whose gates from the second layer on are open, so that the bound is within reach.
OPEN_CHAINS = CHAINS.map(lambda weights: torch.cat([weights[:1], weights[1:].abs()]))
BEHAVIOURS = ("vanishes", "stays", "explodes")
INPUTS = st.floats(0.01, 10.0).flatmap(lambda size: st.sampled_from([size, -size]))


@QUICK
@given(st.one_of(CHAINS, OPEN_CHAINS), INPUTS)
def test_bound_holds_for_every_chain(weights: torch.Tensor, x: float) -> None:
    size = abs(relu_chain.gradient(weights, x))
    assert 0.0 <= size <= relu_chain.gradient_bound(weights) * (1 + 1e-12)


@QUICK
@given(st.one_of(CHAINS, OPEN_CHAINS), INPUTS)
def test_formula_equals_autograd(weights: torch.Tensor, x: float) -> None:
    assert relu_chain.gradient(weights, x) == pytest.approx(
        relu_chain.gradient_formula(weights, x), rel=1e-12, abs=0.0
    )


@QUICK
@given(OPEN_CHAINS, st.floats(0.01, 10.0))
def test_bound_is_attained_on_the_open_side(weights: torch.Tensor, size: float) -> None:
    x = math.copysign(size, float(weights[0]))
    assert abs(relu_chain.gradient(weights, x)) == pytest.approx(relu_chain.gradient_bound(weights))


@QUICK
@given(CHAINS, INPUTS)
def test_one_weight_that_is_not_positive_kills_the_chain(weights: torch.Tensor, x: float) -> None:
    assume(bool((weights[1:] < 0).any()))
    assert relu_chain.gradient(weights, x) == 0.0
    assert float(relu_chain.forward(weights, torch.tensor(x, dtype=torch.float64))) == 0.0


@QUICK
@given(st.one_of(CHAINS, OPEN_CHAINS), st.floats(-10, 10), st.floats(-10, 10))
def test_lipschitz_for_every_chain_and_pair(weights: torch.Tensor, x: float, y: float) -> None:
    """Kinks included: x, y and the segment between them may hold 0."""
    values = relu_chain.forward(weights, torch.tensor([x, y], dtype=torch.float64))
    allowed = relu_chain.gradient_bound(weights) * abs(x - y)
    assert float((values[0] - values[1]).abs()) <= allowed * (1 + 1e-9) + 1e-12 * float(
        values.max()
    )


@QUICK
@given(st.floats(-5, 5).filter(lambda x: x != 0.0), st.integers(1, 200))
def test_unit_weights(x: float, depth: int) -> None:
    assert relu_chain.gradient(torch.ones(depth, dtype=torch.float64), x) == float(x > 0)


def test_draws_reach_the_bound_and_zero() -> None:
    """Without open chains among the draws the check of the bound would be empty."""
    assert relu_chain.check_bound().measured == pytest.approx(1.0)
    open_chains = [relu_chain.gradient(w, x) != 0.0 for w, x in relu_chain._draws()]
    assert 100 < sum(open_chains) < 400


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("all 0.8", "vanishes"),
        ("all 1", "stays"),
        ("all 1.25", "explodes"),
        ("2 and 1/2 in turn", "stays"),
        ("mixed, geometric mean 1", "stays"),
        ("all 1.25, one negative", "vanishes"),
    ],
)
def test_neither_is_necessary(name: str, behaviour: str) -> None:
    weights = relu_chain.PROFILES[name](60)
    assert relu_chain.behaviour(relu_chain.growth(weights)) == behaviour


def test_at_the_kink_the_derivative_is_zero() -> None:
    """As PyTorch takes it; the closed form and the slope follow."""
    weights = torch.tensor([2.0, 3.0], dtype=torch.float64)
    assert relu_chain.gradient(weights, 0.0) == relu_chain.gradient_formula(weights, 0.0) == 0.0


def test_families_are_what_their_names_say() -> None:
    families = {name: family(6) for name, family in relu_chain.PROFILES.items()}
    assert families["all 0.8"].tolist() == [0.8] * 6
    assert families["all 1"].tolist() == [1.0] * 6
    assert families["all 1.25"].tolist() == [1.25] * 6
    assert families["2 and 1/2 in turn"].tolist() == [2.0, 0.5] * 3
    assert float(families["mixed, geometric mean 1"].prod()) == pytest.approx(1.0)
    assert families["all 1.25, one negative"].tolist() == [1.25] * 3 + [-1.25] + [1.25] * 2


def test_the_wrong_rule_looks_at_single_weights() -> None:
    for weights, answer in (([0.5, 1.5], "explodes"), ([0.5, 1.0], "vanishes"), ([1, 1], "stays")):
        found = relu_chain.rule_by_single_weights(torch.tensor(weights, dtype=torch.float64))
        assert found == answer


def test_profile_has_the_measured_gradients() -> None:
    assert len(relu_chain.gradient_profile("all 1")) == 60

    assert relu_chain.gradient_profile("all 0.8", 5) == pytest.approx(
        [0.8, 0.64, 0.512, 0.4096, 0.32768]
    )
    assert relu_chain.gradient_profile("all 1.25, one negative", 5)[2:] == [
        pytest.approx(1.953125),
        0.0,
        0.0,
    ]
