"""Studies: a base config and variants that change it by ``key=value``, compared on validation data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coursework.config import override
from coursework.errors import ConfigError
from coursework.experiments.base import Job
from coursework.stats import paired


@dataclass
class Trained:
    """What the training of one variant yields."""

    metrics: dict[str, float]  # on validation data, such as "validation_accuracy"
    row: dict[str, Any] = field(default_factory=dict)  # plain values worth recording
    items: np.ndarray | None = None  # score of each validation item, for a paired interval
    history: list[dict[str, float]] = field(default_factory=list)


def check(chosen: Sequence[str], known: Mapping[str, Any], base_of: Callable[[str], str]) -> None:
    """Refuse a choice of variants that is empty, unknown, or lacks what it is compared with."""
    if not chosen:
        raise ConfigError("variants is empty; name at least one.")
    for name in chosen:
        if name not in known:
            raise ConfigError(f"There is no variant {name!r}; choose from {', '.join(known)}.")
        if base_of(name) not in chosen:
            raise ConfigError(f"variants has {name!r}, so it needs {base_of(name)!r} as well.")


def key_of(variant: str) -> str:
    """A variant's name as the beginning of its metrics' names."""
    return variant.replace(" ", "_").replace(",", "").replace("%", "percent")


def run(
    job: Job, base: Any, variants: Mapping[str, Sequence[str]], fit: Callable[[str, Job], Trained],
    base_of: Callable[[str], str],
) -> dict[str, Any]:  # fmt: skip
    """Train every variant once: curves, notes, and the metrics ``VARIANT.METRIC``, ``VARIANT.difference``."""
    trained: dict[str, Trained] = {}
    for name, changes in variants.items():
        job.say(f"{name}: {', '.join(changes) or 'nothing changed'}")
        trained[name] = fit(name, job.part(name.replace(" ", "-"), config=override(base, changes)))
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    for name, mine in trained.items():
        theirs = trained[base_of(name)]
        for metric, value in mine.metrics.items():
            metrics[f"{key_of(name)}.{metric}"] = value
            *path, _ = metric.split(".")
            difference = ".".join([key_of(name), *path, "difference"])
            metrics[difference] = value - theirs.metrics[metric]
            if mine.items is not None and theirs.items is not None:
                metrics[difference], low, high = paired(mine.items, theirs.items)
                intervals[difference] = (low, high, f"paired, {len(mine.items):,} validation items")
    rows = [{"variant": k, "changes": list(variants[k]), **v.row} for k, v in trained.items()]
    curves = {name: mine.history for name, mine in trained.items() if mine.history}
    return {"metrics": metrics, "curves": curves, "notes": {"rows": rows, "intervals": intervals}}
