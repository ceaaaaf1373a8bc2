from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coursework.data import mnist
from coursework.errors import ConfigError, DataError
from coursework.experiments import digits

pytestmark = pytest.mark.usefixtures("standin")


@pytest.fixture
def drawn(standin: Path) -> digits.Draw:
    return digits.draw(mnist.load())


def test_one_image_of_each_class_and_no_image_twice() -> None:
    data = mnist.load()
    drawn, again, other = (digits.draw(data, seed=seed) for seed in (3, 3, 4))
    known = {
        image.tobytes(): int(label)
        for image, label in zip(data.train_images, data.train_labels, strict=True)
    }
    for images in (drawn.sources, drawn.targets):
        pixels = (images * 255).round().numpy().astype(np.uint8)
        assert [known[image.tobytes()] for image in pixels] == list(range(10))
    assert not any(torch.equal(*pair) for pair in zip(drawn.sources, drawn.targets, strict=True))
    assert drawn.sources.shape == (10, 28, 28)
    assert drawn.sources.aminmax() == (0, 1)
    assert torch.equal(drawn.sources, again.sources)
    assert torch.equal(drawn.targets, again.targets)
    assert not torch.equal(drawn.sources, other.sources)


def test_attention_is_softmax_of_scaled_dot_products_or_a_gaussian_kernel(
    drawn: digits.Draw,
) -> None:
    exact = drawn._replace(targets=drawn.targets.double(), sources=drawn.sources.double())
    T, S = exact.targets.flatten(1), exact.sources.flatten(1)
    weights = digits.attend(exact, "scaled").weights
    torch.testing.assert_close(weights, (T @ S.T / 28).softmax(dim=1))
    kernel = torch.exp(-torch.cdist(T, S).square() / (2 * 28))
    weights = digits.attend(exact, "RBF kernel").weights
    torch.testing.assert_close(weights, kernel / kernel.sum(1, keepdim=True))


@pytest.mark.parametrize("variant", list(digits.VARIANTS))
def test_outputs_are_convex_combinations_of_the_sources(drawn: digits.Draw, variant: str) -> None:
    made = digits.attend(drawn, variant)
    torch.testing.assert_close(made.weights.sum(1), torch.ones(10))
    assert made.weights.min() >= 0
    torch.testing.assert_close(made.outputs.flatten(1), made.weights @ drawn.sources.flatten(1))
    assert made.outputs.min() >= 0
    assert made.outputs.max() <= 1 + 1e-6


def test_a_longer_source_draws_the_dot_product_but_not_the_cosine(drawn: digits.Draw) -> None:
    louder = drawn.sources.clone()
    louder[1] *= 20
    changed = drawn._replace(sources=louder)
    assert digits.attend(changed, "unscaled").weights.argmax(1).eq(1).all()
    before, after = (digits.attend(one, "cosine").weights for one in (drawn, changed))
    torch.testing.assert_close(before, after)


def test_many_draws() -> None:
    data = mnist.load()
    measured = digits.measure(data, draws=60, seed=1)
    assert list(measured) == list(digits.VARIANTS)
    assert measured == digits.measure(data, draws=60, seed=1)
    scaled, unscaled = measured["scaled"], measured["unscaled"]
    # A positive factor changes how sharp the weights are, never which is the largest.
    assert scaled.own_class == unscaled.own_class
    assert scaled.norm_correlation == unscaled.norm_correlation
    assert scaled.largest_weight < unscaled.largest_weight
    assert scaled.effective_sources > unscaled.effective_sources
    assert measured["cosine"].own_class > 0.2  # twice as often as by chance
    for one in measured.values():
        assert 0 <= one.own_class <= 1
        assert 1 <= one.effective_sources <= 10 + 1e-5
        assert -1 <= one.norm_correlation <= 1


def test_perfect_sources_are_found() -> None:
    """With disjoint one-pixel images every similarity must pick the own class."""
    images = np.zeros((20, 28, 28), np.uint8)
    for digit in range(10):
        images[[digit, digit + 10], digit, :] = 255
    labels = np.tile(np.arange(10), 2).astype(np.uint8)
    data = replace(mnist.load(), train_images=images, train_labels=labels)
    for name, one in digits.measure(data, draws=5).items():
        assert one.own_class == 1, name


def test_bad_input(standin: Path) -> None:
    data = mnist.load()
    with pytest.raises(ConfigError, match="no similarity 'euclid'; choose from scaled"):
        digits.attend(digits.draw(data), "euclid")
    with pytest.raises(ConfigError, match="draws is 0"):
        digits.measure(data, draws=0)
    few = replace(data, train_labels=np.where(data.train_labels == 7, 1, data.train_labels))
    with pytest.raises(DataError, match="0 images of the digit 7"):
        digits.draw(few)
