"""Things to try with a text or a canvas of one's own: plain functions, and the same with a box to type in,
which a runner (``coursework run``, tests) does not show: a stored widget is a dead one."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.special import expit
from torch import nn

from coursework import settings
from coursework.data.m2nist import SIDE, Pool
from coursework.errors import ConfigError, CourseworkError
from coursework.experiments import canvas as canvases
from coursework.experiments import segmentation, sentiment_errors, sentiment_signs
from coursework.experiments.sentiment import Classifier
from coursework.experiments.translator import Translator
from coursework.report import figures


def tweet(classifier: Classifier, text: str) -> Figure:
    """How a classifier judges a tweet, and the part of its logit that each word contributes."""
    found = sentiment_errors.saliency(classifier, text)
    fig, ax = figures.subplots(figsize=(max(5.0, 0.7 * len(found.tokens)), 2.8))
    places = range(len(found.tokens))
    ax.bar(places, found.scores, color=["C0" if s > 0 else "C1" for s in found.scores])
    ax.axhline(0, color="grey", linewidth=0.8)
    labels = [token.replace("$", r"\$") for token in found.tokens]
    ax.set_xticks(places, labels, rotation=45, ha="right")
    probability = expit(found.logit)
    verdict = sentiment_signs.verdict(probability)
    ax.set(ylabel="part of the logit", title=f"P(positive) = {probability:.2f}, {verdict}")
    return fig


def attention(translator: Translator, sentence: str) -> Figure:
    """The translation of one French sentence, and where the decoder looked while it wrote."""
    found = translator.align(sentence)
    width, height = (0.45 * len(words) + 2.2 for words in (found.source, found.output))
    fig, ax = figures.subplots(figsize=(max(4.0, width), max(3.0, height)))
    picture = ax.imshow(found.weights, vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(found.source)), found.source, rotation=45, ha="right")
    ax.set_yticks(range(len(found.output)), found.output)
    (english,) = translator([sentence])
    ax.set(xlabel="source subword", ylabel="subword written", title=english.replace("$", r"\$"))
    ax.grid(False)
    fig.colorbar(picture, ax=ax, label="weight", shrink=0.8)
    return fig


def canvas(digits: Pool, wanted: str, seed: int = 0, *, height: int = 64) -> np.ndarray:
    """A canvas ``[height, 84]`` with one to three digits (``"37"``), side by side as in M2NIST."""
    if not re.fullmatch("[0-9]{1,3}", wanted) or height < SIDE:
        remedy = "give one to 3 digits, such as 37"
        raise ConfigError(f"{wanted!r} cannot be put on the canvas; {remedy}.")
    rng = np.random.default_rng(seed)
    picture, room = np.zeros((height, 84), np.uint8), 84 // len(wanted)
    for place, digit in enumerate(wanted):
        image = digits.images[rng.choice(np.flatnonzero(digits.labels == int(digit)))]
        top = int(rng.integers(0, height - SIDE + 1))
        left = place * room + int(rng.integers(0, room - SIDE + 1))
        picture[top : top + SIDE, left : left + SIDE] = image
    return picture


def skips(networks: Mapping[str, nn.Module], picture: np.ndarray) -> Figure:
    """What networks (title -> trained network) see on the same canvas ``[H, W]``."""
    masks = [segmentation.predict_masks(one, picture[None])[0] for one in networks.values()]
    shown = [picture, *(canvases.PALETTE[mask] for mask in masks)]
    fig, axes = figures.subplots(1, len(shown), figsize=(2.6 * len(shown), 2.8))
    for ax, title, image in zip(axes, ["canvas", *networks], shown, strict=True):
        ax.imshow(image)
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    colours, found = canvases.PALETTE / 255, np.unique(masks)
    if patches := [Patch(color=colours[n], label=str(n)) for n in found[found < 10]]:
        fig.legend(handles=patches, loc="outside lower center", ncols=10, fontsize=9)
    return fig


def live(make: Callable[[str], Figure], text: str, label: str) -> Any:
    """A box to type into, and below it what ``make`` returns; under a runner a sentence in its place."""
    if not settings.progress():
        place = "appears here in JupyterLab; the cell above does the same"
        return Markdown(f"*A box to type in ({label}) {place}.*")
    import ipywidgets
    import matplotlib.pyplot as plt

    look = {"layout": {"width": "95%"}, "style": {"description_width": "initial"}}
    box = ipywidgets.Text(value=text, description=label, continuous_update=False, **look)
    below = ipywidgets.Output()

    def show(_: Any = None) -> None:
        with below:
            below.clear_output(wait=True)
            try:
                fig = make(box.value)
            except CourseworkError as error:  # a wrong text is answered, not thrown
                print(error)
                return
            display(fig)
            plt.close(fig)

    box.observe(show, names="value")
    show()
    return ipywidgets.VBox([box, below])
