"""What helps on tweets? One change at a time on a part of the training tweets, read on validation.

Each variant differs from ``base`` in one thing, has the same seed and validation tweets, and its own
vocabulary and word vectors. The test tweets are not looked at. ``size-...`` variants change the number
of training tweets and nothing else: the learning curve.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coursework.errors import ConfigError
from coursework.experiments import sentiment
from coursework.experiments.base import Run, override

BASE = dataclasses.replace(
    sentiment.PRESETS["full"],
    tweets=300_000,
    train_tweets=120_000,
    hidden_size=96,
    baselines=False,
    plan=dataclasses.replace(sentiment.PRESETS["full"].plan, epochs=2),
)

VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "random vectors": ("embeddings=random",),
    "GloVe vectors": ("embeddings=glove",),
    "no label smoothing": ("label_smoothing=0",),
    "no dropout": ("dropout=0", "embedding_dropout=0"),
    "word dropout 0.1": ("word_dropout=0.1",),
    "two layers": ("layers=2",),
    "hidden size 48": ("hidden_size=48",),
    "words seen 10 times": ("min_count=10",),
    "size-15000": ("train_tweets=15000",),
    "size-30000": ("train_tweets=30000",),
    "size-60000": ("train_tweets=60000",),
}
"""Name -> what it changes of the base, as ``key=value``."""


@dataclass(frozen=True)
class Config:
    """The base, and which variants of it are trained.

    Attributes:
        base: What all variants share.
        variants: Names of :data:`VARIANTS`, ``base`` first.
    """

    base: sentiment.Config = field(default_factory=lambda: BASE)
    variants: tuple[str, ...] = tuple(VARIANTS)

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise ConfigError(
                    f"There is no variant {name!r}; choose from {', '.join(VARIANTS)}."
                )
        if not self.variants or self.variants[0] != "base":
            raise ConfigError("variants must begin with base, which the others are compared with.")


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(
        base=dataclasses.replace(
            BASE,
            tweets=20_000,
            train_tweets=6_000,
            hidden_size=32,
            embedding_dim=50,
            batch_size=64,
            plan=dataclasses.replace(BASE.plan, epochs=1),
        ),
        variants=("base", "random vectors", "no label smoothing"),
    ),
}


def paired_difference(
    hits: np.ndarray, base_hits: np.ndarray, z: float = 1.959964
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same tweets, with its 95 % interval.

    Tweets on which both are right, or both wrong, cancel; the variance is that of the mean of the
    differences -1, 0, 1 (McNemar's setting).

    Returns:
        The difference, and the ends of the interval.
    """
    d = hits.astype(np.float64) - base_hits.astype(np.float64)
    half = z * d.std(ddof=1) / np.sqrt(len(d))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train every variant once, with the same seed.

    Args:
        config: The base and the variants.
        preset: Name of the preset that the config started from.
        seed: Seed of every variant.
        resume: Go on from the folders of the variants.
        run_dir: One folder in it for each variant.
        log: Where the lines go, None for silence.
    """
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    rows: list[dict[str, Any]] = []
    base_hits: np.ndarray | None = None
    source = None
    for name in config.variants:
        variant = override(config.base, VARIANTS[name])
        if log is not None:
            log(f"{name}: {', '.join(VARIANTS[name]) or 'nothing changed'}")
        corpus = sentiment.prepare(variant)
        source = corpus.tweets.source
        folder = None if run_dir is None else run_dir / name.replace(" ", "-")
        model, fit, _ = sentiment.fit_network(
            variant, corpus, seed=seed, resume=resume, run_dir=folder, log=log
        )
        logits = sentiment.device_logits(model, corpus.validation)
        hits = (logits > 0) == (corpus.validation.labels > 0.5)
        base_hits = hits if base_hits is None else base_hits
        difference = paired_difference(hits, base_hits)
        key = f"{name.replace(' ', '_')}.validation_accuracy"
        metrics[key] = float(hits.mean())
        metrics[f"{name.replace(' ', '_')}.difference"] = difference[0]
        intervals[f"{name.replace(' ', '_')}.difference"] = (
            *difference[1:],
            f"paired, {len(hits):,} validation tweets",
        )
        curves[name] = fit.history
        rows.append(
            {
                "variant": name,
                "changes": list(VARIANTS[name]),
                "train": len(corpus.training),
                "validation": len(corpus.validation),
                "parameters": sum(p.numel() for p in model.parameters()),
                "seconds": fit.seconds,
            }
        )
    assert source is not None
    return Run(
        experiment="sentiment_study",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=source,
        seconds=time.perf_counter() - started,
        curves=curves,
        notes={"rows": rows, "intervals": intervals},
    )


def evaluate(checkpoint: Path | str, *, limit: int | None = None) -> Mapping[str, float]:
    """Test metrics of one variant's ``best.pt``; see :func:`.sentiment.evaluate`."""
    return sentiment.evaluate(checkpoint, limit=limit)
