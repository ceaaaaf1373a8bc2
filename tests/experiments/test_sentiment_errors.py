"""Calibration, surest errors and saliency, each against a plain computation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coursework.errors import ConfigError
from coursework.experiments import Job, sentiment
from coursework.experiments.sentiment_errors import confident_errors, reliability, saliency
from coursework.training.engine import Plan

TINY = sentiment.Config(
    tweets=600, min_count=1, embeddings="random", embedding_dim=8, hidden_size=6, batch_size=64,
    baselines=False,
    plan=Plan(epochs=2, learning_rate=0.02, monitor="validation_accuracy", mode="max"),
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier(standins: Path) -> Any:
    return sentiment.train(Job("sentiment", TINY, log=None)).artefacts["classifier"]


def test_reliability_against_torchmetrics() -> None:
    from torchmetrics.classification import BinaryCalibrationError

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-0.5 * logits))).astype(np.float32)
    found = reliability(logits, labels, bins=15)
    assert found.count.sum() == 4000
    # torchmetrics bins by confidence max(p, 1 - p) only for two classes; here it bins p
    metric = BinaryCalibrationError(n_bins=15, norm="l1")
    expected = metric(torch.sigmoid(torch.tensor(logits)), torch.tensor(labels).long())
    assert found.error == pytest.approx(float(expected), abs=1e-5)


def test_certain_predictions_fall_into_the_outer_bins() -> None:
    found = reliability(np.array([80.0, -800.0]), np.array([1, 1]))
    assert found.count.tolist() == [1, *[0] * 13, 1]
    assert found.error == pytest.approx(0.5)
    assert reliability(np.array([0.0]), np.array([1])).error == pytest.approx(0.5)


def test_calibrated_predictions_have_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, 200_000)
    labels = (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    assert reliability(logits, labels).error < 0.005
    assert reliability(3 * logits, labels).error > 0.05


def test_saliency_is_complete_and_sees_the_words(classifier: Any) -> None:
    text = "i love this wonderful song but i hate the rain"
    found = saliency(classifier, text, steps=200)
    assert len(found.tokens) == len(text.split())
    assert found.gap < 1e-3
    assert np.abs(found.scores).max() > 10 * found.gap
    # plain gradient times input does not add up: the reason for integrating
    assert saliency(classifier, text, steps=1).gap > found.gap
    with pytest.raises(ConfigError, match="No word of 'zxqv' is known"):
        saliency(classifier, "zxqv")


@pytest.mark.parametrize(
    "text", ["i love this", "i love this :( \N{FIRE}", ":) \N{HEAVY BLACK HEART}", ":) :("]
)
def test_parts_of_a_text_add_up_to_its_probability(classifier: Any, text: str) -> None:
    found = saliency(classifier, text, steps=200)
    assert found.gap < 1e-3
    assert 1 / (1 + np.exp(-found.logit)) == pytest.approx(classifier.predict(text)[0], abs=1e-6)
    assert [":(" in found.tokens, "love" in found.tokens] == [":(" in text, "love" in text]
    assert str(found).startswith(f"(start) {found.baseline:+.2f}, {found.tokens[0]} ")


def test_confident_errors_come_first() -> None:
    logits = np.array([3.0, -2.0, 0.5, -4.0, 1.0])
    labels = np.array([0, 1, 1, 0, 0])
    assert confident_errors(logits, labels, 2).tolist() == [0, 1]
    assert confident_errors(logits, labels, 10).tolist() == [0, 1, 4]
