"""Seconds in which each data set is there again, once its parsed form is in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coursework.bench.harness import Findings, Gauge, repeated

if TYPE_CHECKING:
    from coursework.bench import BenchConfig


def loaders() -> dict[str, Callable[[], Any]]:
    """Name -> how the experiments load it."""
    from coursework.data import (
        embeddings,
        eng_fra,
        karate,
        m2nist,
        planetoid,
        sentiment140,
        wikipedia,
    )

    some = ["good", "bad", "the", "of"]
    return {
        "sentiment140": sentiment140.load,
        "sentiment140_tokens": sentiment140.load_tokens,
        "eng_fra": eng_fra.load,
        "mnist": m2nist.digit_pools,
        "cora": lambda: planetoid.load("Cora"),
        "citeseer": lambda: planetoid.load("CiteSeer"),
        "chameleon": lambda: wikipedia.load("chameleon"),
        "squirrel": lambda: wikipedia.load("squirrel"),
        "crocodile": lambda: wikipedia.load("crocodile"),
        "karate": karate.load,
        "glove": lambda: embeddings.glove(some),
        "french_vectors": lambda: embeddings.french(some),
    }


def gauges(config: BenchConfig) -> Findings:
    """Median of three loads after one that fills the cache; data sets that are not at hand are left out."""
    found = []
    for name, load in loaders().items():
        source = load().source
        if source.is_standin:
            continue
        low, middle, high = repeated(load, 3, warmup=0)
        what = f"{name.replace('_', ' ')} loaded from the cache"
        found.append(Gauge(f"load.{name}_seconds", what, middle, "s", (low, high)))
    return Findings(found)
