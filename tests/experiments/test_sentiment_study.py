"""The study changes one thing at a time, on the same validation tweets, and leaves the test part alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coursework.data import sentiment140
from coursework.experiments import Job, override, sentiment, sentiment_study
from coursework.experiments.sentiment_study import VARIANTS
from coursework.report import store

SMALL = override(
    sentiment_study.PRESETS["quick"],
    [
        "base.tweets=1000", "base.train_tweets=300", "base.hidden_size=6", "base.embeddings=random",
        "variants=base,no label smoothing",
    ],
)  # fmt: skip


def test_variants_are_valid_and_change_something() -> None:
    base = sentiment_study.BASE
    for name, changes in VARIANTS.items():
        assert (override(base, changes) == base) == (name == "base"), name
    assert len({override(base, changes) for changes in VARIANTS.values()}) == len(VARIANTS)


def test_study_does_not_see_the_test_part(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("sentiment_study", SMALL, "tiny", log=None)
    honest = sentiment_study.train(job)
    assert honest.metrics["base.difference"] == 0
    assert not any("test" in key for key in honest.metrics)
    tweets = sentiment140.load_tokens()
    labels = np.array(tweets.labels)
    rows = sentiment.split_rows(len(labels), SMALL.base).test
    labels[rows] = 1 - labels[rows]
    changed = dataclasses.replace(tweets, labels=labels)
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: changed)
    assert sentiment_study.train(job).metrics == honest.metrics
    store.validate(store.make_record("sentiment_study-tiny", [honest]), "sentiment_study-tiny")
