"""Where the time of a training goes: the steps, the data and the log between them, the evaluation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coursework.bench.harness import Findings, Gauge

if TYPE_CHECKING:
    from coursework.bench import BenchConfig
    from coursework.training.engine import Fit

SHORT: dict[str, tuple[str, ...]] = {
    "sentiment": ("tweets=20000", "plan.epochs=1", "baselines=false"),
    "segmentation": ("plan.epochs=2", "canvases=256"),
}
"""Changes of the quick presets: the rate of a step shows itself sooner than the result of a training."""


def gauges(config: BenchConfig) -> Findings:
    """A short training of each experiment: samples a second, and the share of its time outside the steps.

    A step is forward, loss, backward and the update. What an epoch takes beside its steps is building
    batches, printing and checkpoints; evaluation is counted apart.
    """
    from coursework.experiments import base

    found: list[Gauge] = []
    for name in config.trainings:
        short = base.override(base.preset_of(name, "quick"), SHORT.get(name, ()))
        with tempfile.TemporaryDirectory() as folder:
            job = base.Job(name, short, "quick", folder=Path(folder), log=None)
            fits = base.get(name).train(job).artefacts["fits"]
        found += shares(name, list(fits.values()))
    return Findings(found)


def shares(name: str, fits: list[Fit]) -> list[Gauge]:
    """The trainings of an experiment taken together."""
    steps = sum(fit.step_seconds for fit in fits)
    loop = sum(fit.seconds for fit in fits)
    evaluation = sum(fit.validation_seconds for fit in fits)
    samples = sum(fit.samples_per_second * fit.seconds for fit in fits)
    if not steps:
        return []
    return [
        Gauge(f"training.{name}_per_second", f"{name}: samples of the loss (tweets, tokens, nodes, "
              "canvases) a second", samples / loop, "1/s"),
        Gauge(f"training.{name}_outside_share", f"{name}: share of the training loop outside forward, "
              "backward and update", 1 - steps / loop, "share"),
        Gauge(f"training.{name}_evaluation_share", f"{name}: share of evaluation between epochs",
              evaluation / (loop + evaluation), "share"),
    ]  # fmt: skip
