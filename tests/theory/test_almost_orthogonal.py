import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import strategies as st

from coursework.theory import almost_orthogonal as ao
from coursework.theory.checks import Check
from properties import SEED, every


@every((1, 60), (2, 30), SEED, (0.5, 1.5))
def test_steps_hold_for_every_map(n: int, size: int, seed: int, scale: float) -> None:
    matrix = scale * ao.gaussian_map(n, size, seed)
    assert ao.check_squared_norms([matrix]).holds
    assert ao.check_inner_products([matrix]).holds
    if ao.distortion(matrix) < 1.0:
        assert ao.check_cosines([matrix]).holds
    # all images in one point: epsilon is one, and there is no direction
    assert ao.check_cosines([torch.zeros(3, 2, dtype=torch.float64)]).cases == 0
    assert math.isnan(ao.largest_cosine(torch.zeros(3, 2)))


@pytest.mark.parametrize(
    ("check", "cases"),
    [
        (ao.check_epsilon, st.floats(1e-3, 0.999)),
        (ao.check_constants, st.floats(math.log(4.0), 40.0)),  # from ln 4 on, 1/2 is good enough
        (ao.check_hoeffding, st.tuples(st.integers(1, 400), st.floats(0.01, 0.99))),
        (ao.check_cosh, st.floats(-30.0, 30.0)),
    ],
)
@every(st.data())
def test_bounds_hold_for_every_case(
    check: Callable[[list], Check], cases: st.SearchStrategy, data: st.DataObject
) -> None:
    assert check([data.draw(cases)]).holds


@every((8, 128), (0.3, 0.6), SEED)
def test_a_set_is_found_at_every_size_that_is_promised(n: int, delta: float, seed: int) -> None:
    if ao.hoeffding_size(n, delta) > 3000:
        return
    assert ao.check_set(ao.draw_set(n, delta, seed=seed, draws=200), delta).holds


def test_distortion_by_loops() -> None:
    matrix = ao.gaussian_map(30, 6)
    points = [torch.zeros(6, dtype=torch.float64), *torch.eye(6, dtype=torch.float64)]
    worst = 0.0
    for i, x in enumerate(points):
        for y in points[:i]:
            ratio = float(((matrix @ (x - y)) ** 2).sum() / ((x - y) ** 2).sum())
            worst = max(worst, abs(ratio - 1.0))
    assert ao.distortion(matrix) == pytest.approx(worst)


@pytest.mark.parametrize(("n", "delta"), [(500, 0.5), (3000, 0.5), (2000, 0.9)])
def test_constants_follow_from_the_lemma(n: int, delta: float) -> None:
    """c = 72: at the promised size the lemma asks for no more than n dimensions."""
    vectors = math.floor(math.exp(n * delta**2 / 72)) - 1
    assert 8 * math.log(vectors + 1) / (delta / 3) ** 2 <= n
    assert vectors >= 0.5 * math.exp(n * delta**2 / 72)


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 1 / 3])
def test_normalising_makes_the_inner_product_larger(epsilon: float) -> None:
    plane = ao.extreme_map(epsilon)
    squared = (plane**2).sum(dim=0)
    gap = float(((plane[:, 0] - plane[:, 1]) ** 2).sum())
    torch.testing.assert_close(squared, torch.full_like(squared, 1.0 - epsilon))
    assert gap == pytest.approx(2.0 * (1.0 + epsilon))
    cosine = float(plane[:, 0] @ plane[:, 1]) / (1.0 - epsilon)
    assert cosine == pytest.approx(-2.0 * epsilon / (1.0 - epsilon))


def test_a_gaussian_map_keeps_squared_norms_on_average() -> None:
    size = 400
    for n in (50, 200):
        squared = (ao.gaussian_map(n, size) ** 2).sum(dim=0)
        assert float(squared.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / (n * size)))
    assert torch.equal(ao.gaussian_map(3, 4), ao.gaussian_map(3, 4, 0))


def test_tail_by_enumeration() -> None:
    n, delta = 8, 0.4
    signs = 1 - 2 * ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1)
    share = float((signs.sum(dim=1).abs() >= delta * n).double().mean())
    assert ao.sign_tail(n, delta) == pytest.approx(share)
    assert ao.sign_tail(50, 0.28) == ao.sign_tail(50, 0.27)  # 0.28 * 50 is a little above 14
    assert ao.sign_tail(50, 0.28) > ao.sign_tail(50, 0.29)


def test_a_set_that_no_draw_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ao, "hoeffding_size", lambda n, delta: 200)
    with pytest.raises(ValueError, match="no set in dimension 16 met 0.3 in 20 draws"):
        ao.draw_set(16, 0.3)
