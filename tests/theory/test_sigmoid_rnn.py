import pytest
import torch

from coursework.theory import sigmoid_rnn
from coursework.theory.checks import gaussian
from properties import SEED, every


@every((1, 7), (2, 6), SEED, (0.0, 4.0))
def test_bound_holds_for_every_recurrence(dimension: int, n: int, seed: int, spread: float) -> None:
    weight, x1 = sigmoid_rnn.random_recurrence(dimension, seed, spread=spread)
    sigma = sigmoid_rnn.spectral_norm(sigmoid_rnn.jacobian(weight, x1, n))
    assert 0.0 <= sigma <= sigmoid_rnn.bound(n) * (1 + 1e-9)


@every((1, 6), SEED)
def test_hint_holds_for_every_pair(dimension: int, seed: int) -> None:
    a, b = gaussian(seed)(2, dimension, dimension)
    norm = sigmoid_rnn.spectral_norm
    assert norm(a @ b) <= norm(a) * norm(b) * (1 + 1e-9)


@every((1, 6), (2, 6), SEED, (0.05, 8.0))
def test_chain_rule_for_every_recurrence(dimension: int, n: int, seed: int, sigma: float) -> None:
    weight, x1 = sigmoid_rnn.random_recurrence(dimension, seed, sigma=sigma)
    product = sigmoid_rnn.jacobian_product(weight, x1, n)
    torch.testing.assert_close(product, sigmoid_rnn.jacobian(weight, x1, n), rtol=1e-9, atol=1e-13)


@every((2, 9), (2, 20))
def test_tight_example_attains_the_bound(dimension: int, n: int) -> None:
    assert sigmoid_rnn.check_tight(n=n, dimension=dimension).holds
    for example in (sigmoid_rnn.tight_example, sigmoid_rnn.nilpotent_example):  # within the premise
        assert sigmoid_rnn.spectral_norm(example(dimension)[0]) == pytest.approx(0.25)
