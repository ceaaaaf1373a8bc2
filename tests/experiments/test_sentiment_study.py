"""The study changes one thing at a time, on the same validation tweets, and leaves the test part alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coursework.data import sentiment140
from coursework.errors import ConfigError
from coursework.experiments import preset_of, sentiment, sentiment_study
from coursework.experiments.base import override
from coursework.experiments.sentiment_study import VARIANTS, Config, paired_difference
from coursework.report import store

SMALL = dataclasses.replace(
    preset_of("sentiment_study", "quick"),
    base=dataclasses.replace(
        preset_of("sentiment_study", "quick").base,
        tweets=1000,
        train_tweets=300,
        hidden_size=6,
        embedding_dim=50,
        embeddings="random",
    ),
    variants=("base", "no label smoothing"),
)


def test_variants_are_valid_and_change_something() -> None:
    base = preset_of("sentiment_study", "full").base
    for name, changes in VARIANTS.items():
        assert (override(base, changes) == base) == (name == "base"), name
    assert len({override(base, changes) for changes in VARIANTS.values()}) == len(VARIANTS)


def test_paired_difference_by_hand() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(5000) < 0.82, rng.random(5000) < 0.80
    difference, low, high = paired_difference(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert low < difference < high
    assert paired_difference(a, a) == (0.0, 0.0, 0.0)
    # differences 1, 0, 0, -1: variance 2 / 3, so the half width is z sqrt(2 / 3 / 4)
    few = paired_difference(np.array([1, 1, 0, 0]), np.array([0, 1, 0, 1]))
    assert few[2] == -few[1] == pytest.approx(1.959964 * np.sqrt(1 / 6))
    # paired is sharper than unpaired where the two mostly agree
    c = a.copy()
    c[:50] = ~c[:50]
    assert paired_difference(c, a)[2] - paired_difference(c, a)[1] < (high - low) / 3


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        both = rng.random(500) < 0.7
        a, b = both | (rng.random(500) < 0.2), both | (rng.random(500) < 0.1)
        _, low, high = paired_difference(a, b)
        covered += low <= 0.3 * (0.2 - 0.1) <= high
    assert 0.91 < covered / 400 < 0.985


def test_study_does_not_see_the_test_part(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sentiment_study.train(SMALL, preset="tiny", log=None)
    assert honest.metrics["base.difference"] == 0
    assert not any("test" in key for key in honest.metrics)
    tweets = sentiment140.load_tokens()
    labels = np.array(tweets.labels)
    rows = sentiment.split_rows(len(labels), SMALL.base).test
    labels[rows] = 1 - labels[rows]
    changed = dataclasses.replace(tweets, labels=labels)
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: changed)
    assert sentiment_study.train(SMALL, preset="tiny", log=None).metrics == honest.metrics
    store.validate(store.make_record("sentiment_study-tiny", [honest]), "sentiment_study-tiny")


def test_refuses_unknown_variants() -> None:
    with pytest.raises(ConfigError, match="no variant 'magic'"):
        Config(variants=("base", "magic"))
    with pytest.raises(ConfigError, match="begin with base"):
        Config(variants=("two layers",))
