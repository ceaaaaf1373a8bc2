r"""Problem 2(a): attention between ten target digits and ten source digits, one image per class.

No parameter is learned here. The images are vectors :math:`t_i, s_j \in [0, 1]^{784}`; the queries
are the targets, keys and values are the sources:

.. math:: A = \mathrm{softmax}(c\, T S^\top), \qquad O = A S

with :math:`c = 1/\sqrt{784}` (:data:`VARIANTS`: ``scaled``), :math:`c = 1` (``unscaled``), and
variants that take the length of the vectors out of the comparison. One draw shows little, so
:func:`measure` repeats it many times and counts how often the largest weight of a row belongs to
the target's own class, and how much the choice depends on the norm of the source.

Letters: `R` draws, `C` = 10 classes, `P` = 784 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from coursework.errors import ConfigError, DataError
from coursework.models.attention import attention
from coursework.report.tables import Table
from coursework.training import seeds

if TYPE_CHECKING:
    from coursework.data.mnist import MNIST

CLASSES = 10


@dataclass(frozen=True)
class Variant:
    """How the similarity of two images is measured.

    Attributes:
        name: Key in :data:`VARIANTS`.
        formula: The score, in LaTeX.
        similarity: Passed to :func:`coursework.models.attention.attention`.
        scale: Factor of the scores; None is :math:`1/\\sqrt{784}`.
        centred: Subtract the average of the ten sources from sources and targets first.
        rbf: Take :math:`c |s|^2 / 2` off the scores, which leaves the Gaussian kernel
            :math:`e^{-c |t - s|^2 / 2}` up to a factor that the softmax cancels.
    """

    name: str
    formula: str
    similarity: Literal["dot", "cosine"] = "dot"
    scale: float | None = None
    centred: bool = False
    rbf: bool = False


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("scaled", r"$t^\top s / \sqrt{784}$"),
        Variant("unscaled", r"$t^\top s$", scale=1.0),
        Variant("cosine", r"$20\,\cos(t, s)$", similarity="cosine", scale=20.0),
        Variant(
            "centred cosine",
            r"$20\,\cos(t - \bar s, s - \bar s)$",
            similarity="cosine",
            scale=20.0,
            centred=True,
        ),
        Variant("RBF kernel", r"$-\|t - s\|^2 / (2\sqrt{784})$", rbf=True),
    )
}
"""The similarities that are compared; the factor 20 spreads cosines, which lie in [-1, 1]."""


@dataclass(frozen=True)
class Draw:
    """Ten sources and ten targets; position i holds an image of the digit i.

    Attributes:
        sources: `[C, 28, 28]`, pixels in [0, 1].
        targets: The same shape, other images.
        source_rows: Row of each source among the training images, `[C]`.
        target_rows: Row of each target, `[C]`.
    """

    sources: Tensor
    targets: Tensor
    source_rows: np.ndarray
    target_rows: np.ndarray


@dataclass(frozen=True)
class Attended:
    """What attention made of a draw.

    Attributes:
        outputs: The weighted sums of the sources as images, `[C, 28, 28]`.
        weights: The attention matrix, `[C targets, C sources]`; rows sum to one.
    """

    outputs: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Measured:
    """One similarity over many draws.

    Attributes:
        variant: Its name.
        draws: Number of draws; each has ten rows.
        own_class: Share of rows whose largest weight is on the target's own class (0.1 by chance).
        own_weight: Average weight on the own class (0.1 if all weights were equal).
        largest_weight: Average of the largest weight of a row (0.1 diffuse, 1 one-hot).
        effective_sources: Average of exp(entropy) of a row: how many sources share the weight.
        longest_picked: Share of rows that pick the source with the largest norm.
        norm_correlation: Correlation, over all draws and sources, of how often a source is picked
            by targets of *other* classes and its norm relative to the other nine.
    """

    variant: str
    draws: int
    own_class: float
    own_weight: float
    largest_weight: float
    effective_sources: float
    longest_picked: float
    norm_correlation: float


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    rows = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    for digit, of_class in enumerate(rows):
        if len(of_class) < 2:
            raise DataError(
                f"There are {len(of_class)} images of the digit {digit}; a source and another "
                "target need two."
            )
    return rows


def _draw_rows(by_class: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Rows of ten sources and of ten other images as targets."""
    pairs = np.array([rng.choice(rows, size=2, replace=False) for rows in by_class])  # [C, 2]
    return pairs[:, 0], pairs[:, 1]


def _images(data: MNIST, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(data.train_images[rows].astype(np.float32) / 255.0)  # [..., 28, 28]


def draw(data: MNIST, seed: int = 0) -> Draw:
    """Draw one image of each class as source and one other image of each class as target.

    Args:
        data: MNIST, or its stand-in.
        seed: Seed of the draw.

    Raises:
        DataError: If a class has fewer than two images.
    """
    rng = seeds.numpy_generator(seed, "digits")
    source_rows, target_rows = _draw_rows(_rows_by_class(data.train_labels), rng)
    return Draw(_images(data, source_rows), _images(data, target_rows), source_rows, target_rows)


def _variant(name: str) -> Variant:
    if name not in VARIANTS:
        raise ConfigError(f"There is no similarity {name!r}; choose from {', '.join(VARIANTS)}.")
    return VARIANTS[name]


def attend_vectors(targets: Tensor, sources: Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Attention of vectorised targets to vectorised sources.

    Shapes:
        - targets, sources: `[..., C, P]`
        - output: `[..., C, P]`, weights: `[..., C, C]`

    Raises:
        ConfigError: If there is no such variant.
    """
    chosen = _variant(variant)
    queries, keys = targets, sources
    if chosen.centred:
        mean = sources.mean(dim=-2, keepdim=True)  # [..., 1, P]
        queries, keys = targets - mean, sources - mean
    bias = None
    if chosen.rbf:
        scale = keys.shape[-1] ** -0.5 if chosen.scale is None else chosen.scale
        bias = -0.5 * scale * keys.square().sum(dim=-1).unsqueeze(-2)  # [..., 1, C]
    # The values stay the images themselves.
    return attention(
        queries, keys, sources, mask=bias, scale=chosen.scale, similarity=chosen.similarity
    )


def attend(images: Draw, variant: str = "scaled") -> Attended:
    """Attention of the ten targets to the ten sources of a draw.

    Args:
        images: From :func:`draw`.
        variant: Key in :data:`VARIANTS`.

    Raises:
        ConfigError: If there is no such variant.
    """
    T, S = images.targets.flatten(1), images.sources.flatten(1)  # [C, P]
    output, weights = attend_vectors(T, S, variant)  # [C, P], [C, C]
    return Attended(output.reshape(images.sources.shape), weights)


def measure(data: MNIST, draws: int = 500, seed: int = 0) -> dict[str, Measured]:
    """Every similarity on the same many draws.

    Args:
        data: MNIST, or its stand-in.
        draws: Number of draws, R.
        seed: Seed of the draws.

    Returns:
        Variant -> what was measured, in the order of :data:`VARIANTS`.

    Raises:
        ConfigError: If ``draws`` is not positive.
        DataError: If a class has fewer than two images.
    """
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least one draw is needed.")
    rng = seeds.numpy_generator(seed, "digits", "many")
    by_class = _rows_by_class(data.train_labels)
    rows = np.array([_draw_rows(by_class, rng) for _ in range(draws)])  # [R, 2, C]
    S = _images(data, rows[:, 0]).flatten(2)  # [R, C, P]
    T = _images(data, rows[:, 1]).flatten(2)  # [R, C, P]
    norms = S.norm(dim=2)  # [R, C]
    relative = (norms - norms.mean(1, keepdim=True)) / norms.std(1, keepdim=True)  # [R, C]
    own = torch.arange(CLASSES)  # [C]
    result = {}
    for name in VARIANTS:
        _, weights = attend_vectors(T, S, name)  # [R, C, C]
        picked = weights.argmax(dim=2)  # [R, C], source picked by each target
        # How often a source is picked by the targets of the nine other classes: [R, C].
        one_hot = torch.nn.functional.one_hot(picked, CLASSES).float()  # [R, C, C]
        by_others = one_hot.sum(1) - one_hot.diagonal(dim1=1, dim2=2)  # [R, C]
        entropy = torch.special.entr(weights).sum(2)  # [R, C]
        result[name] = Measured(
            variant=name,
            draws=draws,
            own_class=float((picked == own).float().mean()),
            own_weight=float(weights.diagonal(dim1=1, dim2=2).mean()),
            largest_weight=float(weights.amax(dim=2).mean()),
            effective_sources=float(entropy.exp().mean()),
            longest_picked=float((picked == norms.argmax(1, keepdim=True)).float().mean()),
            norm_correlation=_correlation(by_others, relative),
        )
    return result


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of all entries; zero where one of them does not vary."""
    a, b = a.flatten().double() - a.double().mean(), b.flatten().double() - b.double().mean()
    length = float(a.norm() * b.norm())
    return float(a @ b) / length if length > 0 else 0.0


def table(measured: Mapping[str, Measured], caption: str = "") -> Table:
    """What :func:`measure` found, one row for each similarity."""
    columns = [
        "similarity",
        "own class has the largest weight",
        "weight on the own class",
        "largest weight",
        "effective number of sources",
        "longest source picked",
        "correlation with the norm",
    ]
    rows = [
        (
            one.variant,
            f"{one.own_class:.1%}",
            f"{one.own_weight:.2f}",
            f"{one.largest_weight:.2f}",
            f"{one.effective_sources:.1f}",
            f"{one.longest_picked:.1%}",
            f"{one.norm_correlation:+.2f}",
        )
        for one in measured.values()
    ]
    return Table(columns, rows, caption)


def observations(images: Draw, measured: Mapping[str, Measured]) -> str:
    """What there is to see in the attention matrix, in words (Markdown) computed from the numbers.

    Args:
        images: The draw that is shown.
        measured: From :func:`measure`.
    """
    weights = attend(images, "scaled").weights  # [C targets, C sources]
    norms = images.sources.flatten(1).norm(dim=1)  # [C]
    own = int((weights.argmax(dim=1) == torch.arange(CLASSES)).sum())
    favourite = int(weights.sum(dim=0).argmax())
    rank = int((norms > norms[favourite]).sum()) + 1
    scaled, unscaled, cosine, rbf = (
        measured[name] for name in ("scaled", "unscaled", "cosine", "RBF kernel")
    )
    better = "better" if min(cosine.own_class, rbf.own_class) > scaled.own_class else "not better"
    lines = [
        f"*Diagonal.* In the draw shown, {own} of 10 targets give their largest weight to their own "
        f"class; over {scaled.draws} draws it is {scaled.own_class:.0%} of the rows (10 % by chance). "
        "Overlap of ink says something about the class, but not enough for a clean diagonal.",
        f"*Columns.* The source that collects most weight in this draw is the {favourite}, whose norm "
        f"is number {rank} of 10. Over all draws {scaled.longest_picked:.0%} of the rows pick the "
        "source with the **largest norm** (10 % by chance), and being picked by other classes has a "
        f"correlation of {scaled.norm_correlation:+.2f} with the norm (cosine: "
        f"{cosine.norm_correlation:+.2f}). Pixels are never negative, so $t^\\top s$ grows with the "
        "ink of $s$ whatever its shape: sources with much ink make dark *columns*.",
        "*Sharpness.* The factor $1/\\sqrt{784}$ changes no arg max, only how sharp the rows are: "
        f"their largest weight is {scaled.largest_weight:.2f} on average with it (the weight is "
        f"spread like over {scaled.effective_sources:.1f} sources) and {unscaled.largest_weight:.2f} "
        f"without ({unscaled.effective_sources:.1f} sources). So the scaled sums are blurred mixtures "
        "of many digits, and the unscaled ones are nearly copies of one source, often of another "
        "class.",
        f"*Length taken out.* The cosine finds the own class in {cosine.own_class:.0%} of the rows, "
        f"the Gaussian kernel in {rbf.own_class:.0%}: {better} than the dot product. The rest would "
        "be for learned projections $W^Q$ and $W^K$, which this exercise does not have.",
    ]
    return "**Observed.**\n\n" + "\n".join(f"* {line}" for line in lines)
