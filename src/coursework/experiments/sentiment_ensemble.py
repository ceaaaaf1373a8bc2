"""Several networks and a linear model, averaged: what is the best that the training tweets allow here?

The members are the networks of :mod:`.sentiment`, which differ in their seed alone. Their mean logit and
the log odds of the n-gram model see different things (order; rare phrases). A logistic regression with
two weights, fitted on *validation* tweets, mixes the two; the test tweets are looked at once, at the end.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from coursework.experiments import sentiment
from coursework.experiments.base import Run, as_record
from coursework.report.store import wilson
from coursework.training import engine


def mix(validation: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights of the columns, fitted on validation tweets without an offset.

    Args:
        validation: Log odds of each part, ``[n, parts]``.
        labels: 0 or 1, ``[n]``.

    Returns:
        float64 ``[parts]``; ``scores @ weights`` are log odds again.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, fit_intercept=False).fit(validation, labels > 0.5)
    return np.asarray(model.coef_[0], dtype=np.float64)


def train(
    config: sentiment.Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train the members (finished ones are taken from their folders), mix, test once.

    Args:
        config: Every number; ``members`` says how many networks.
        preset: Name of the preset that the config started from.
        seed: Seed of the first member.
        resume: Go on from the folders of the members; they are those of ``coursework train sentiment
            --preset full``, so what was trained there is not trained again.
        log: Where the lines go, None for silence.
    """
    started = time.perf_counter()
    single = dataclasses.replace(config, members=1)
    name = "full" if single == sentiment.PRESETS["full"] else f"{preset}-member"
    corpus = sentiment.prepare(single)
    validation, test = corpus.validation, corpus.test
    logits: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
    curves: dict[str, list[dict[str, float]]] = {}
    seconds = 0.0
    for number in range(seed, seed + config.members):
        identity = {"config": as_record(single), "seed": number}
        folder = engine.fresh_run_dir(f"sentiment-{name}-seed{number}", identity, resume=resume)
        if log is not None:
            log(f"member with seed {number}")
        model, fit, _ = sentiment.fit_network(
            single, corpus, seed=number, resume=resume, run_dir=folder, log=log
        )
        logits["validation"].append(sentiment.device_logits(model, validation))
        logits["test"].append(sentiment.device_logits(model, test))
        curves[f"seed {number}"] = fit.history
        seconds += fit.seconds
    linear = sentiment.fit_linear(corpus.tweets, corpus.split.train)
    parts = {
        part: np.stack(
            [np.mean(logits[part], axis=0), linear.scores(getattr(corpus.split, part))["linear"]],
            axis=1,
        )
        for part in logits
    }
    weights = mix(parts["validation"], validation.labels)
    steps: dict[str, Callable[[str], np.ndarray]] = {
        "mean_of_members": lambda part: parts[part][:, 0],
        "": lambda part: parts[part] @ weights,
    }
    metrics: dict[str, float] = {}
    for step, score in steps.items():
        prefix = f"{step}." if step else ""
        for part, data in (("validation", validation), ("test", test)):
            result = sentiment.scores(score(part), data.labels)
            metrics |= {f"{prefix}{part}_{key}": value for key, value in result.items()}
    notes: dict[str, Any] = {
        "members": config.members,
        "member_validation_accuracy": [
            sentiment.scores(z, validation.labels)["accuracy"] for z in logits["validation"]
        ],
        "weights": dict(zip(("networks", "linear"), weights.tolist(), strict=True)),
        "sizes": dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True)),
        "confusion": sentiment.confusion(steps[""]("test"), test.labels).tolist(),
        "training_seconds": seconds,
        "intervals": {
            key: (
                *wilson(round(value * len(test)), len(test)),
                f"Wilson, {len(test):,} test tweets",
            )
            for key, value in metrics.items()
            if key.endswith("test_accuracy")
        },
    }
    return Run(
        experiment="sentiment",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=corpus.tweets.source,
        seconds=time.perf_counter() - started,
        curves=curves,
        notes=notes,
        artefacts={"logits": steps[""]("test"), "labels": test.labels, "split": corpus.split},
    )
