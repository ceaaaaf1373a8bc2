"""Calibration, groups, saliency and label noise, each against a plain computation."""

from typing import Any

import numpy as np
import pytest
import torch

from coursework.data import sentiment140
from coursework.data.sources import Source
from coursework.errors import ConfigError
from coursework.experiments import Job, sentiment, sentiment_errors
from coursework.experiments.sentiment_errors import (
    by_feature,
    by_length,
    confident_errors,
    expected_ceiling,
    noise_from_copies,
    reliability,
    saliency,
)
from coursework.training.engine import Plan

TINY = sentiment.Config(
    tweets=600, min_count=1, embeddings="random", embedding_dim=8, hidden_size=6, batch_size=64,
    baselines=False,
    plan=Plan(epochs=2, learning_rate=0.02, monitor="validation_accuracy", mode="max"),
)  # fmt: skip


def copies(texts: list[int] | np.ndarray, labels: list[int] | np.ndarray) -> Any:
    """Tweets of one word each."""
    return sentiment140.TokenisedTweets(
        np.array(texts, np.int32), np.arange(len(texts) + 1), [f"w{i}" for i in range(max(texts) + 1)],
        np.array(labels, np.int8), Source("made", "package", "", (), "MIT"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        return sentiment.train(Job("sentiment", TINY, log=None)), sentiment.prepare(TINY)


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
    undecided = expected_ceiling(np.array([0.0, 0.0]), np.array([0, 1]))  # taken for negative
    assert undecided == {"expected_accuracy": 0.5, "accuracy": 0.5}
    assert expected_ceiling(np.array([0.0]), np.array([0]))["accuracy"] == 1.0


def test_calibrated_predictions_have_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, 200_000)
    labels = (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    assert reliability(logits, labels).error < 0.005
    ceiling = expected_ceiling(logits, labels)
    assert ceiling["accuracy"] == pytest.approx(ceiling["expected_accuracy"], abs=0.005)
    assert reliability(3 * logits, labels).error > 0.05
    sure = expected_ceiling(3 * logits, labels)
    assert sure["expected_accuracy"] > sure["accuracy"] + 0.05


def test_lengths_partition_the_tweets(trained: Any) -> None:
    run, corpus = trained
    groups = by_length(run.artefacts["logits"], corpus.test)
    assert sum(group.tweets for group in groups) == len(corpus.test)
    right = sum(group.accuracy * group.tweets for group in groups if group.tweets)
    assert right / len(corpus.test) == pytest.approx(run.metrics["test_accuracy"])
    for group in groups:
        assert not group.tweets or group.low <= group.accuracy <= group.high


def test_features_against_a_plain_loop(trained: Any) -> None:
    run, corpus = trained
    rows, logits = corpus.split.test, run.artefacts["logits"]
    found = {g.name: g for g in by_feature(logits, corpus.test, corpus.tweets, rows, rows[:5])}
    hits = (logits > 0) == (corpus.test.labels > 0.5)
    tweets = corpus.tweets
    words = [
        [tweets.types[i] for i in tweets.tokens[tweets.offsets[r] : tweets.offsets[r + 1]]]
        for r in rows
    ]
    for name, test in {
        "mentions a user": lambda w: w == "<user>",
        "has an exclamation mark": lambda w: w[0] == "!",
        "has a negation": lambda w: w in sentiment_errors.NEGATIONS,
        "has an unknown word": lambda w: w not in corpus.vocabulary,
    }.items():
        mask = np.array([any(test(w) for w in row[: TINY.max_length]) for row in words])
        assert found[name].tweets == mask.sum(), name
        if mask.any():
            assert found[name].accuracy == pytest.approx(hits[mask].mean())
    assert found["all"].accuracy == pytest.approx(run.metrics["test_accuracy"])
    assert found["text is also a training text"].tweets >= 5


def test_saliency_is_complete_and_sees_the_words(trained: Any) -> None:
    classifier = trained[0].artefacts["classifier"]
    text = "i love this wonderful song but i hate the rain"
    found = saliency(classifier, text, steps=200)
    assert found.tokens == text.split() or len(found.tokens) == len(text.split())
    assert found.gap < 1e-3
    assert np.abs(found.scores).max() > 10 * found.gap
    probability = classifier.predict(text)[0]
    assert 1 / (1 + np.exp(-found.logit)) == pytest.approx(probability, abs=1e-6)
    # plain gradient times input does not add up: the reason for integrating
    assert saliency(classifier, text, steps=1).gap > found.gap
    with pytest.raises(ConfigError, match="no word"):
        saliency(classifier, "   ")


def test_confident_errors_come_first() -> None:
    logits = np.array([3.0, -2.0, 0.5, -4.0, 1.0])
    labels = np.array([0, 1, 1, 0, 0])
    assert confident_errors(logits, labels, 2).tolist() == [0, 1]
    assert confident_errors(logits, labels, 10).tolist() == [0, 1, 4]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_noise_of_copies_is_recovered(noise: float) -> None:
    rng = np.random.default_rng(0)
    texts = 4000
    labels = np.repeat(rng.integers(0, 2, texts), 3)
    flipped = np.where(rng.random(len(labels)) < noise, 1 - labels, labels)
    tweets = copies(np.repeat(np.arange(texts), 3), flipped)
    found = noise_from_copies(tweets, np.arange(len(labels)))
    assert found["texts"] == texts
    assert found["pairs"] == 3 * texts
    assert found["noise"] == pytest.approx(noise, abs=0.015)


@pytest.mark.parametrize(
    ("texts", "labels", "expected"),
    [
        ([0, 0, 1], [0, 1, 1], {"texts": 1, "pairs": 1, "disagree": 1.0, "noise": 0.5}),
        ([0, 0, 1, 1], [0, 1, 1, 1], {"texts": 2, "pairs": 2, "disagree": 0.5, "noise": 0.5}),
        ([0, 1, 2], [0, 1, 1], {"texts": 0, "pairs": 0, "disagree": 0.0, "noise": 0.0}),
    ],
    ids=["a pair", "two pairs", "no copies"],
)
def test_noise_by_hand(texts: list[int], labels: list[int], expected: dict[str, float]) -> None:
    found = noise_from_copies(copies(texts, labels), np.arange(len(texts)))
    assert found == pytest.approx(expected)
