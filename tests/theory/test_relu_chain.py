import math

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from coursework.theory import relu_chain
from properties import every

SIZES = st.floats(0.1, 3.0).flatmap(lambda size: st.sampled_from([size, -size]))
CHAINS = st.lists(SIZES, min_size=1, max_size=25).map(
    lambda weights: torch.tensor(weights, dtype=torch.float64)
)
#: Chains whose gates from the second layer on are open, so that the bound is within reach.
OPEN_CHAINS = CHAINS.map(lambda weights: torch.cat([weights[:1], weights[1:].abs()]))
INPUTS = st.floats(0.01, 10.0).flatmap(lambda size: st.sampled_from([size, -size]))


@every(st.one_of(CHAINS, OPEN_CHAINS), INPUTS)
def test_bound_holds_for_every_chain(weights: torch.Tensor, x: float) -> None:
    size = abs(relu_chain.gradient(weights, x))
    assert 0.0 <= size <= relu_chain.gradient_bound(weights) * (1 + 1e-12)


@every(st.one_of(CHAINS, OPEN_CHAINS), INPUTS)
def test_formula_equals_autograd(weights: torch.Tensor, x: float) -> None:
    assert relu_chain.gradient(weights, x) == pytest.approx(
        relu_chain.gradient_formula(weights, x), rel=1e-12, abs=0.0
    )


@every(OPEN_CHAINS, (0.01, 10.0))
def test_bound_is_attained_on_the_open_side(weights: torch.Tensor, size: float) -> None:
    x = math.copysign(size, float(weights[0]))
    assert abs(relu_chain.gradient(weights, x)) == pytest.approx(relu_chain.gradient_bound(weights))


@every(CHAINS, INPUTS)
def test_one_weight_that_is_not_positive_kills_the_chain(weights: torch.Tensor, x: float) -> None:
    assume(bool((weights[1:] < 0).any()))
    assert relu_chain.gradient(weights, x) == 0.0
    assert float(relu_chain.forward(weights, torch.tensor(x, dtype=torch.float64))) == 0.0


@every(st.one_of(CHAINS, OPEN_CHAINS), (-10.0, 10.0), (-10.0, 10.0))
def test_lipschitz_for_every_chain_and_pair(weights: torch.Tensor, x: float, y: float) -> None:
    values = relu_chain.forward(weights, torch.tensor([x, y], dtype=torch.float64))
    allowed = relu_chain.gradient_bound(weights) * abs(x - y)
    rounding = 1e-12 * float(values.max())
    assert float((values[0] - values[1]).abs()) <= allowed * (1 + 1e-9) + rounding


@every(st.floats(-5, 5).filter(lambda x: x != 0.0), (1, 200))
def test_unit_weights(x: float, depth: int) -> None:
    assert relu_chain.gradient(torch.ones(depth, dtype=torch.float64), x) == float(x > 0)


def test_neither_is_necessary() -> None:
    found = [
        relu_chain.behaviour(relu_chain.gradient_profile(name)) for name in relu_chain.PROFILES
    ]
    assert found == ["vanishes", "stays", "explodes", "stays", "stays", "is 0"]
    assert found == [relu_chain.rule_by_product(of(60)) for of in relu_chain.PROFILES.values()]
    assert [relu_chain.behaviour(s) for s in ([1, 2.5], [1, 9, 0.2])] == ["explodes", "vanishes"]


def test_at_the_kink_the_derivative_is_zero() -> None:
    weights = torch.tensor([2.0, 3.0], dtype=torch.float64)
    assert relu_chain.gradient(weights, 0.0) == relu_chain.gradient_formula(weights, 0.0) == 0.0


def test_profile_has_the_measured_gradients() -> None:
    assert len(relu_chain.gradient_profile("all 1")) == 60
    for name, expected in (
        ("all 0.8", [0.8, 0.64, 0.512, 0.4096, 0.32768]),
        ("all 1.25", [1.25, 1.5625, 1.953125]),
        ("2 and 1/2 in turn", [2.0, 1.0, 2.0, 1.0]),
        ("all 1.25, one negative", [1.25, 1.5625, 1.953125, 0.0, 0.0]),
    ):
        assert relu_chain.gradient_profile(name, len(expected)) == pytest.approx(expected)
    assert relu_chain.PROFILES["all 1.25, one negative"](5).tolist() == [1.25] * 3 + [-1.25, 1.25]
