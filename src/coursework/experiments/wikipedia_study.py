"""What is each part of the two networks of problem 3(c) worth? One change at a time, read on validation.

Each variant differs from its base in one thing and has the same splits and seeds. Nothing is fitted again
on the validation part, and the test pages are not looked at; the seeds are none of those that are
reported. ``training pages ...`` variants change the size of the training part alone: the learning curve.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coursework.data import wikipedia as pages
from coursework.errors import ConfigError
from coursework.experiments import wikipedia
from coursework.experiments.base import Run, override
from coursework.report.tables import Table
from coursework.training.threads import limited_threads

BASE = dataclasses.replace(
    wikipedia.PRESETS["full"], refit=False, members=1, networks=("gnn", "attention")
)
FIRST_SEED = 100
"""Seed 0 of this experiment takes the splits of this seed: the reported ones stay unseen."""

VARIANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "graph network": ("gnn", "all parts", ()),
    "no graph": ("mlp", "features alone", ()),
    "one transform for all": ("gcn", "plain GCN: own and neighbours' features are mixed", ()),
    "mean alone": ("gnn", "no sum over neighbours", ("aggregations=mean",)),
    "sum alone": ("gnn", "no mean over neighbours", ("aggregations=sum",)),
    "no statistics": ("gnn", "no column but the log-degree", ("statistics=false",)),
    "no links": ("gnn", "not told which pages it is linked with", ("links=false",)),
    "no jumping knowledge": ("gnn", "the head sees the last layer", ("jumping_knowledge=false",)),
    "one layer": ("gnn", "neighbours, not theirs", ("layers=1",)),
    "squared error": ("gnn", "L2 loss: aims at the mean", ("loss=l2",)),
    "residual attention": ("attention", "all parts", ()),
    "labels alone": ("attention", "no residuals of look-alikes", ("residual=false",)),
    "pair features alone": ("attention", "no query and key", ("query=false",)),
    "no label hidden": ("attention", "all known labels in every step", ("hide=0",)),
    "half of the labels hidden": ("attention", "in every step", ("hide=0.5",)),
    "ten candidates a kind": ("attention", "shorter lists", ("candidates=10",)),
    "graph network, training pages 25 %": ("gnn", "learning curve", ("train_share=0.25",)),
    "graph network, training pages 50 %": ("gnn", "learning curve", ("train_share=0.5",)),
    "residual attention, training pages 25 %": (
        "attention",
        "learning curve",
        ("train_share=0.25",),
    ),
    "residual attention, training pages 50 %": (
        "attention",
        "learning curve",
        ("train_share=0.5",),
    ),
}
"""Name -> network, in words, and what it changes of the base, as ``key=value``."""

BASES = {"gnn": "graph network", "attention": "residual attention"}
"""Network -> the variant that its others are compared with; ``mlp`` and ``gcn`` with the first."""


@dataclass(frozen=True)
class Config:
    """The base, and which variants of it are trained.

    Attributes:
        base: What all variants share.
        variants: Names of :data:`VARIANTS`, with the bases of those that are there.
    """

    base: wikipedia.Config = field(default_factory=lambda: BASE)
    variants: tuple[str, ...] = tuple(VARIANTS)

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise ConfigError(
                    f"There is no variant {name!r}; choose from {', '.join(VARIANTS)}."
                )
        for name in self.variants:
            if base_of(name) not in self.variants:
                raise ConfigError(f"variants has {name!r}, so it needs {base_of(name)!r} as well.")
        if not self.variants:
            raise ConfigError("variants is empty; name at least one.")


def base_of(variant: str) -> str:
    """The variant that this one is compared with."""
    return BASES.get(VARIANTS[variant][0], BASES["gnn"])


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(
        base=dataclasses.replace(
            wikipedia.PRESETS["quick"],
            splits=("random",),
            plan=dataclasses.replace(wikipedia.PRESETS["quick"].plan, epochs=3),
            attention_epochs=4,
        ),
        variants=("graph network", "mean alone", "residual attention", "labels alone"),
    ),
}


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train every variant once on the same splits.

    Args:
        config: The base and the variants.
        preset: Name of the preset that the config started from.
        seed: Seed of every variant; the splits are those of :data:`FIRST_SEED` more.
        resume: Go on from the folders of the variants.
        run_dir: One folder in it for each variant.
        log: Where the lines go, None for silence.

    Returns:
        The run. Metrics are ``VARIANT.SPLIT.validation_mae_ln`` and ``VARIANT.SPLIT.difference`` from its
        base, with underscores for blanks.
    """
    started = time.perf_counter()
    seed = seed + FIRST_SEED
    graph = pages.load(config.base.graph)
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    prepared: dict[tuple[Any, ...], wikipedia.Inputs] = {}
    for name in config.variants:
        network, words, changes = VARIANTS[name]
        variant = override(config.base, changes)
        if log is not None:
            log(f"{name}: {', '.join(changes) or words}")
        key = (variant.links, variant.statistics, variant.candidates)
        if key not in prepared:
            prepared[key] = wikipedia.prepare(graph, variant)
        begin = time.perf_counter()
        parameters = 0
        for kind in variant.splits:
            split = wikipedia.split_of(graph, kind, variant, seed)
            folder = None if run_dir is None else run_dir / _plain(name) / kind
            with limited_threads(variant.threads):
                if network == "attention":
                    fitted = wikipedia.fit_attention(
                        graph, prepared[key], split, kind, 0, variant,
                        seed=seed, resume=resume, run_dir=folder,
                    )  # fmt: skip
                else:
                    fitted = wikipedia.fit_network(
                        graph, prepared[key], split, kind, network, variant,
                        seed=seed, resume=resume, run_dir=folder,
                    )  # fmt: skip
            metrics[f"{_plain(name)}.{kind}.validation_mae_ln"] = fitted.validation["mae_ln"]
            parameters = sum(p.numel() for p in fitted.model.parameters())
        rows.append(
            {
                "variant": name,
                "what": words,
                "changes": list(changes),
                "parameters": parameters,
                "seconds": time.perf_counter() - begin,
            }
        )
    for name in config.variants:
        for kind in config.base.splits:
            mine, base = (
                metrics[f"{_plain(n)}.{kind}.validation_mae_ln"] for n in (name, base_of(name))
            )
            metrics[f"{_plain(name)}.{kind}.difference"] = mine - base
    return Run(
        experiment="wikipedia_study",
        preset=preset,
        config=config,
        seed=seed - FIRST_SEED,
        metrics=metrics,
        source=graph.source,
        seconds=time.perf_counter() - started,
        notes={"rows": rows},
    )


def _plain(name: str) -> str:
    return name.replace(" ", "_").replace(",", "").replace("%", "percent")


def error(record: Mapping[str, Any], variant: str, kind: str) -> dict[str, Any]:
    """Summary of the validation error of one variant on one split of a recorded study."""
    summary: dict[str, Any] = record["metrics"][f"{_plain(variant)}.{kind}.validation_mae_ln"]
    return summary


def table(record: Mapping[str, Any]) -> Table:
    """A recorded study: the error of each variant, and what it differs from its base.

    Args:
        record: A record of this experiment from the results store.
    """
    metrics, splits = record["metrics"], record["config"]["base"]["splits"]
    rows: list[tuple[Any, ...]] = []
    for entry in record["notes"]["rows"]:
        name = entry["variant"]
        cells: list[str] = []
        for kind in splits:
            change = metrics[f"{_plain(name)}.{kind}.difference"]
            half = (change["high"] - change["low"]) / 2 if "low" in change else np.nan
            compared = "" if name == base_of(name) else f"{change['mean']:+.3f} ± {half:.3f}"
            cells += [f"{error(record, name, kind)['mean']:.3f}", compared]
        rows.append((name, entry["what"], *cells))
    columns = ["variant", "what"]
    columns += [c for kind in splits for c in (f"{kind}: MAE", "change")]
    graph, seeds = record["config"]["base"]["graph"], len(record["seeds"])
    caption = (
        f"Validation error of ln(1 + visits), {graph}, mean over {seeds} seeds; paired change from the base "
        "with half of its 95 % interval"
    )
    return Table(columns, rows, caption)


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Test metrics of one variant's network; see :func:`.wikipedia.evaluate`."""
    return wikipedia.evaluate(checkpoint)
