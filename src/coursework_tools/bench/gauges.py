"""Numbers without a peer: rates, seconds to load and to start, and where the time of a training goes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coursework import settings
from coursework.data import (
    embeddings,
    eng_fra,
    karate,
    m2nist,
    planetoid,
    sentiment140,
    text,
    wikipedia,
)
from coursework.experiments import base
from coursework.training.engine import Fit
from coursework_tools.bench import harness
from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Findings, Gauge, Step
from coursework_tools.bench.work import attention_steps, digits


def _seconds(key: str, what: str, step: Step, rounds: int, warmup: int = 1) -> Gauge:
    """Median and quartiles of a step."""
    low, middle, high = harness.repeated(step, rounds, warmup)
    return Gauge(key, what, middle, "s", (low, high))


def work(config: BenchConfig) -> Findings:
    """Canvases a second, the crossover of the two attentions, and the seconds for all tweets."""
    images, labels = digits()
    n = config.canvases
    low, middle, high = harness.repeated(
        lambda: m2nist.compose(images, labels, n, np.random.default_rng(0)), config.rounds
    )
    between = (n / high, n / low)
    what = "canvases composed a second"
    found = [Gauge("canvases.per_second", what, n / middle, "1/s", between)]
    sizes = (64, 128, 256, 512, 1024, 2048)
    steps = [attention_steps(size, harness.device_of(config.device)) for size in sizes]
    times = [[harness.repeated(step, 3)[1] for step in pair] for pair in steps]
    where = crossover(sizes, *zip(*times, strict=True))
    if where is not None:
        what = "length from which linear attention (4 heads of 64) is faster than softmax"
        found.append(Gauge("attention.crossover_tokens", what, where, "tokens"))
    return Findings([*found, *(_all_tweets() if config.all_tweets else [])])


def crossover(sizes: Sequence[int], ours: Sequence[float], peer: Sequence[float]) -> float | None:
    """Size from which ours stays faster, interpolated between two sizes on logarithmic scales.

    None where it never is; the smallest size where it always is.
    """
    ahead = np.log(np.divide(peer, ours))
    behind = np.flatnonzero(ahead < 0)
    if ahead[-1] < 0:
        return None
    if not len(behind):
        return float(sizes[0])
    between = slice(behind[-1], behind[-1] + 2)
    return float(np.exp(np.interp(0, ahead[between], np.log(sizes[between]))))


def _all_tweets() -> list[Gauge]:
    """Seconds for all tweets with as many processes as the machine has cores, if they are available."""
    from coursework.experiments.tweets import as_arrow

    data = sentiment140.load()
    if data.source.is_standin:
        return []
    array = as_arrow(data.texts)
    what = f"cleaning and tokenising all {len(array):,} tweets, all cores"
    seconds = harness.timed(lambda: text.tokenise_many(array))
    return [Gauge("tokens.all_tweets_seconds", what, seconds, "s")]


SOME = ["good", "bad", "the", "of"]
LOADERS: dict[str, Callable[[], Any]] = {
    "sentiment140": lambda: sentiment140.load(),
    "sentiment140_tokens": lambda: sentiment140.load_tokens(),
    "eng_fra": lambda: eng_fra.load(),
    "mnist": lambda: m2nist.digit_pools(),
    "cora": lambda: planetoid.load("Cora"),
    "citeseer": lambda: planetoid.load("CiteSeer"),
    "chameleon": lambda: wikipedia.load("chameleon"),
    "squirrel": lambda: wikipedia.load("squirrel"),
    "crocodile": lambda: wikipedia.load("crocodile"),
    "karate": lambda: karate.load(),
    "glove": lambda: embeddings.glove(SOME),
    "french_vectors": lambda: embeddings.french(SOME),
}
"""Name -> how the experiments load it."""


def load(config: BenchConfig) -> Findings:
    """Median of three loads after one that fills the cache; data sets that are not available are left out."""
    return Findings(
        [
            _seconds(f"load.{name}_seconds", f"{name.replace('_', ' ')} loaded from the cache",
                     load, 3, warmup=0)
            for name, load in LOADERS.items()
            if not load().source.is_standin
        ]
    )  # fmt: skip


IMPORT = (
    "import time; start = time.perf_counter(); import coursework_tools.cli; "
    "print(time.perf_counter() - start)"
)


def start(config: BenchConfig) -> Findings:
    """Import of the command line and its help, in fresh interpreters; the last run of the notebooks."""

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    seconds = [float(python("-c", IMPORT)) for _ in range(config.rounds + 1)]
    low, middle, high = harness.quartiles(seconds[1:])
    what = "import of the command line"
    found = [Gauge("start.import_seconds", what, middle, "s", (low, high))]
    help_ = partial(python, "-m", "coursework_tools.cli", "--help")
    found.append(_seconds("start.help_seconds", "coursework --help", help_, config.rounds))
    return Findings(found + notebooks())


def notebooks() -> list[Gauge]:
    """What ``coursework run`` took when it last ran all notebooks; none if it has not."""
    path = settings.build_dir() / "run.json"
    if not path.is_file():
        return []
    seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    found = [
        Gauge(f"notebook.{name}_seconds", f"notebook {name}, run with its quick preset", value, "s")
        for name, value in seconds.items()
    ]
    whole = sum(seconds.values())
    return [*found, Gauge("notebook.all_seconds", "all notebooks, one by one", whole, "s")]


SHORT: dict[str, tuple[str, ...]] = {
    "sentiment": ("tweets=20000", "plan.epochs=1", "baselines=false"),
    "segmentation": ("plan.epochs=2", "canvases=256"),
}
"""Changes of the quick presets: a rate needs a shorter training than a result."""


def training(config: BenchConfig) -> Findings:
    """A short training of each experiment: samples a second, and the share of its time outside the steps.

    A step is forward, loss, backward and the update. What an epoch takes beside its steps is building
    batches, printing and checkpoints; evaluation is counted apart.
    """
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
    if not steps:
        return []
    samples = "samples of the loss (tweets, tokens, nodes, canvases) a second"
    outside = "share of the training loop outside forward, backward and update"
    return [
        Gauge(f"training.{name}_{key}", f"{name}: {what}", value, unit)
        for key, what, value, unit in (
            ("per_second", samples, sum(fit.samples for fit in fits) / loop, "1/s"),
            ("outside_share", outside, 1 - steps / loop, "share"),
            ("evaluation_share", "share of evaluation between epochs",
             evaluation / (loop + evaluation), "share"),
        )
    ]  # fmt: skip
