r"""Problem 2(a): attention between ten target digits and ten source digits, one image per class.

.. math:: A = \mathrm{softmax}(c\, T S^\top), \qquad O = A S

Nothing is learned: images :math:`t_i, s_j \in [0, 1]^{784}` are queries, and keys and values.
Letters: `R` draws, `C` = 10 classes, `P` = 784 pixels.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from coursework.data.mnist import MNIST
from coursework.errors import ConfigError, DataError
from coursework.models.attention import attention
from coursework.training import seeds

CLASSES = 10


class Variant(NamedTuple):
    """How the similarity of two images is measured."""

    formula: str  # in LaTeX
    similarity: Literal["dot", "cosine"] = "dot"
    scale: float | None = None  # factor of the scores; None is 1 / sqrt(784)
    centred: bool = False  # subtract the average of the ten sources from sources and targets first
    # take c |s|^2 / 2 off the scores: the Gaussian kernel, but for a factor that the softmax cancels
    rbf: bool = False


VARIANTS: Mapping[str, Variant] = {  # the factor 20 spreads cosines, which lie in [-1, 1]
    "scaled": Variant(r"$t^\top s / \sqrt{784}$"),
    "unscaled": Variant(r"$t^\top s$", scale=1.0),
    "cosine": Variant(r"$20\,\cos(t, s)$", "cosine", 20.0),
    "centred cosine": Variant(r"$20\,\cos(t - \bar s, s - \bar s)$", "cosine", 20.0, centred=True),
    "RBF kernel": Variant(r"$-\|t - s\|^2 / (2\sqrt{784})$", rbf=True),
}


class Draw(NamedTuple):
    """Ten sources and ten other images as targets; position i holds an image of the digit i."""

    sources: Tensor  # [..., C, 28, 28], pixels in [0, 1]
    targets: Tensor


class Attended(NamedTuple):
    outputs: Tensor  # [..., C, 28, 28], the weighted sums of the sources
    weights: Tensor  # [..., C targets, C sources]; rows sum to one


class Measured(NamedTuple):
    """One similarity over many draws, each with ten rows of weights."""

    own_class: float  # share of rows whose largest weight is on the own class (0.1 by chance)
    largest_weight: float  # average of the largest weight of a row (0.1 diffuse, 1 one-hot)
    effective_sources: float  # average of exp(entropy) of a row: how many sources share the weight
    longest_picked: float  # share of rows that pick the source with the largest norm
    # correlation of how often a source is picked by targets of other classes with its relative norm
    norm_correlation: float


def _draws(data: MNIST, rng: np.random.Generator, draws: int) -> Draw:
    """``draws`` draws as one, ``[R, C, ...]``."""
    by_class = [np.flatnonzero(data.train_labels == digit) for digit in range(CLASSES)]
    for digit, rows in enumerate(by_class):
        if len(rows) < 2:
            raise DataError(f"There are {len(rows)} images of the digit {digit}, but 2 are needed.")
    chosen = [[rng.choice(rows, 2, replace=False) for rows in by_class] for _ in range(draws)]
    rows = np.array(chosen).transpose(2, 0, 1)  # [2, R, C]
    return Draw(*torch.from_numpy(data.train_images[rows].astype(np.float32) / 255.0))


def draw(data: MNIST, seed: int = 0) -> Draw:
    """One image of each class as source, and one other image of each class as target."""
    many = _draws(data, seeds.numpy_generator(seed, "digits"), 1)
    return Draw(many.sources[0], many.targets[0])


def attend(images: Draw, variant: str = "scaled") -> Attended:
    """Attention of the targets to the sources of each draw."""
    if variant not in VARIANTS:
        raise ConfigError(f"There is no similarity {variant!r}; choose from {', '.join(VARIANTS)}.")
    chosen, values = VARIANTS[variant], images.sources.flatten(-2)  # [..., C, P]
    queries, keys = images.targets.flatten(-2), values
    if chosen.centred:
        mean = values.mean(dim=-2, keepdim=True)  # [..., 1, P]
        queries, keys = queries - mean, keys - mean
    options = {"scale": chosen.scale, "similarity": chosen.similarity}
    if chosen.rbf:
        half = -0.5 * keys.shape[-1] ** -0.5
        options["mask"] = half * keys.square().sum(dim=-1).unsqueeze(-2)  # [..., 1, C]
    output, weights = attention(queries, keys, values, **options)
    return Attended(output.view_as(images.sources), weights)


def measure(data: MNIST, draws: int = 500, seed: int = 0) -> dict[str, Measured]:
    """Every variant on the same many draws."""
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least one draw is needed.")
    drawn = _draws(data, seeds.numpy_generator(seed, "digits", "many"), draws)
    norms = drawn.sources.flatten(2).norm(dim=2)  # [R, C]
    relative = (norms - norms.mean(1, keepdim=True)) / norms.std(1, keepdim=True)  # [R, C]
    result = {}
    for name in VARIANTS:
        weights = attend(drawn, name).weights  # [R, C, C]
        picked = weights.argmax(dim=2)  # [R, C], source picked by each target
        one_hot = torch.nn.functional.one_hot(picked, CLASSES).float()  # [R, C, C]
        by_others = one_hot.sum(1) - one_hot.diagonal(dim1=1, dim2=2)  # [R, C]
        correlation = torch.corrcoef(torch.stack([by_others, relative]).flatten(1).double())[0, 1]
        result[name] = Measured(
            own_class=float((picked == torch.arange(CLASSES)).float().mean()),
            largest_weight=float(weights.amax(dim=2).mean()),
            effective_sources=float(torch.special.entr(weights).sum(2).exp().mean()),
            longest_picked=float((picked == norms.argmax(1, keepdim=True)).float().mean()),
            norm_correlation=float(correlation.nan_to_num()),  # of what does not vary: nan
        )
    return result
