"""Problem 3(c): what each part of the networks is worth, one change at a time, on validation pages."""

import dataclasses
import time
from typing import Any

from coursework.config import config
from coursework.data import wikipedia as pages
from coursework.errors import ConfigError
from coursework.experiments import study, wikipedia
from coursework.experiments.base import TABLES, Job, Run, parameters, presets
from coursework.experiments.wikipedia_candidates import Inputs
from coursework.experiments.wikipedia_splits import measures
from coursework.training.parallel import limited_threads

BASE = dataclasses.replace(wikipedia.Config(), refit=False)
FIRST_SEED = 100  # seed s has the splits of seed 100 + s; those of the reported results are 0 to 9
# Name -> network, in words, and what it changes of the base, as ``key=value``.
VARIANTS: dict[str, list[Any]] = TABLES["wikipedia_study"]["variants"]


def base_of(variant: str) -> str:
    """The variant that this one is compared with."""
    bases = {"attention": "residual attention", "sign": "propagation network"}
    return bases.get(VARIANTS[variant][0], "graph network")


@config
class Config:
    base: wikipedia.Config = BASE
    variants: tuple[str, ...] = tuple(name for name in VARIANTS if VARIANTS[name][0] != "sign")

    def __post_init__(self) -> None:
        study.check(self.variants, VARIANTS, base_of)
        if self.base.refit:
            raise ConfigError("A study is read on validation pages; set base.refit=false.")


PRESETS = presets(Config(), "wikipedia_study")


def train(job: Job) -> Run:
    """Train every variant once: ``VARIANT.SPLIT.validation_mae_ln`` and its ``.difference`` from the base."""
    graph = pages.load(job.config.base.graph)
    inputs: dict[tuple[int, float], Inputs] = {}

    @limited_threads(1)
    def fit(name: str, part: Job) -> study.Trained:
        network, words, *_ = VARIANTS[name]
        config, begin, metrics = part.config, time.perf_counter(), {}
        made_by = config.candidates, config.alike
        given = inputs.setdefault(made_by, Inputs(graph, *made_by))
        for kind in config.splits:
            task = wikipedia.task_of(given, kind, config, part.seed)
            one = part.part(kind, experiment="wikipedia", log=None)
            fitted = wikipedia.fit_network(one, task, network)
            found = measures(graph, fitted.predicted, task.split.validation)
            metrics[f"{kind}.validation_mae_ln"] = found["mae_ln"]
        seconds = time.perf_counter() - begin
        row = {"what": words, "parameters": parameters(fitted.model), "seconds": seconds}
        return study.Trained(metrics, row)

    chosen = {name: VARIANTS[name][2:] for name in job.config.variants}
    shifted = dataclasses.replace(job, seed=job.seed + FIRST_SEED)
    found = study.run(shifted, job.config.base, chosen, fit, base_of)
    return job.run(source=graph.source, **found)


evaluate = wikipedia.evaluate  # of one variant's network
