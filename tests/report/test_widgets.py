import itertools
from unittest.mock import MagicMock

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

from coursework.data.m2nist import Pool
from coursework.errors import ConfigError
from coursework.experiments import canvas, sentiment_errors, translator
from coursework.report import figures, widgets

mpl.use("Agg")


def test_tweet_has_a_bar_for_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sentiment_errors.Saliency(["not", "$bad"], np.array([-1.0, 3.0]), 2.0, 0.0)
    monkeypatch.setattr(sentiment_errors, "saliency", lambda classifier, text: found)
    (ax,) = widgets.tweet(None, "not $bad").axes
    assert [bar.get_height() for bar in ax.patches] == [-1.0, 3.0]
    assert ax.get_title() == "P(positive) = 0.88, positive"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["not", r"\$bad"]
    assert ax.get_ylabel()


def test_attention_shows_weights_words_and_translation() -> None:
    aligned = translator.Alignment(["je", "chante"], ["i", "sing"], np.eye(2))
    trained = MagicMock(return_value=["I sing."])
    trained.align.return_value = aligned
    ax, _ = widgets.attention(trained, "Je chante.").axes
    assert np.array_equal(ax.images[0].get_array(), np.eye(2))
    assert ax.get_title() == "I sing."
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["i", "sing"]


@pytest.fixture
def digits() -> Pool:
    labels = np.arange(10, dtype=np.uint8)
    return Pool(np.tile((10 + labels)[:, None, None], (1, 28, 28)).astype(np.uint8), labels)


@pytest.mark.parametrize("wanted", ["7", "37", "508"])
def test_canvas_holds_the_digits_that_are_asked_for_in_order(digits: Pool, wanted: str) -> None:
    picture = widgets.canvas(digits, wanted, seed=3)
    assert picture.shape == (64, 84)
    assert picture.dtype == np.uint8
    order = [digit for digit, _ in itertools.groupby(picture.T[picture.T > 0] - 10)]
    assert "".join(map(str, order)) == wanted
    assert np.count_nonzero(picture) == len(wanted) * 28 * 28
    assert np.array_equal(picture, widgets.canvas(digits, wanted, seed=3))


@pytest.mark.parametrize("wanted", ["", "x", "1234", "-1", "²", "1 2"])
def test_what_is_no_digit_is_refused(digits: Pool, wanted: str) -> None:
    with pytest.raises(ConfigError, match="one to 3 digits"):
        widgets.canvas(digits, wanted)
    with pytest.raises(ConfigError):
        widgets.canvas(digits, "1", height=20)


def everywhere(digit: int) -> nn.Conv2d:
    network = nn.Conv2d(1, 11, 1)
    nn.init.zeros_(network.weight)
    network.bias = nn.Parameter(torch.eye(11)[digit])
    return network


def test_skips_shows_each_network_in_the_colours_of_the_legend(digits: Pool) -> None:
    networks = {"with skip connections": everywhere(3), "without": everywhere(10)}
    fig = widgets.skips(networks, widgets.canvas(digits, "3"))
    assert [ax.get_title() for ax in fig.axes] == ["canvas", *networks]
    shown = fig.axes[1].images[0].get_array()
    assert np.array_equal(np.unique(shown.reshape(-1, 3), axis=0), canvas.PALETTE[[3]])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["3"]


def test_nothing_interactive_under_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEWORK_PROGRESS", "0")
    shown = widgets.live(lambda text: pytest.fail("was called"), "x", "your text")
    assert "the cell above does the same" in shown.data


def test_a_person_gets_a_box_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEWORK_PROGRESS", "1")
    make = MagicMock(side_effect=[figures.subplots()[0], figures.subplots()[0], ConfigError("No.")])
    box, below = widgets.live(make, "first", "your text").children
    box.value = "second"
    box.value = "bad"
    assert [call.args for call in make.call_args_list] == [("first",), ("second",), ("bad",)]
    assert box.description == "your text"
    assert below is not None
