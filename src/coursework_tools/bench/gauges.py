"""Numbers without a peer: rates, seconds, the shares of a training, how time and memory grow."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from coursework import settings
from coursework.data import embeddings, eng_fra, m2nist, planetoid, sentiment140, wikipedia
from coursework.data.text import tokenise_many
from coursework.experiments import base, segmentation
from coursework.theory.cost import log_log_slope
from coursework.training import engine
from coursework_tools.bench import harness, layers
from coursework_tools.bench.harness import BenchConfig, Curve, Gauge, Step, repeated
from coursework_tools.bench.work import attention_steps, compose, raw_tweets


def work(config: BenchConfig) -> Iterator[Gauge]:
    """Canvases a second, the crossover of the two attentions, and the seconds for all tweets."""
    n = config.canvases
    low, middle, high = repeated(lambda: compose(n), config.rounds)
    spread = n / high, n / low
    yield Gauge("canvases.per_second", "canvases composed a second", n / middle, "1/s", spread)
    sizes = (64, 128, 256, 512, 1024, 2048)
    pairs = (attention_steps(size, config.device) for size in sizes)
    times = [[repeated(step, 3)[1] for step in pair] for pair in pairs]
    where = crossover(sizes, *zip(*times, strict=True))
    if where is not None:
        what = "length from which linear attention (4 heads of 64) is faster than softmax"
        yield Gauge("attention.crossover_tokens", what, where, "tokens")
    if config.all_tweets and not (tweets := sentiment140.load()).source.is_standin:
        what = f"cleaning and tokenising all {len(tweets.texts):,} tweets, all cores"
        took = harness.timed(lambda: tokenise_many(tweets.texts))
        yield Gauge("tokens.all_tweets_seconds", what, took, "s")


def crossover(sizes: Sequence[int], ours: Sequence[float], peer: Sequence[float]) -> float | None:
    """Size from which ours stays faster, interpolated on logarithmic scales; None where it never is."""
    ahead = np.log(np.divide(peer, ours))
    if ahead[-1] < 0:
        return None
    # faster everywhere: from the first size on
    last = max(np.flatnonzero(ahead < 0).tolist(), default=0)
    between = slice(last, last + 2)
    return float(np.exp(np.interp(0, ahead[between], np.log(sizes[between]))))


SOME = ["good", "bad", "the", "of"]
# name -> how the experiments load it
LOADERS: dict[str, Callable[[], Any]] = {
    "sentiment140": sentiment140.load,
    "sentiment140_tokens": sentiment140.load_tokens,
    "eng_fra": eng_fra.load,
    "mnist": m2nist.digit_pools,
    **{name.lower(): partial(planetoid.load, name) for name in ("Cora", "CiteSeer")},
    **{name: partial(wikipedia.load, name) for name in ("chameleon", "squirrel", "crocodile")},
    "glove": partial(embeddings.glove, SOME),
    "french_vectors": partial(embeddings.french, SOME),
}


def load(config: BenchConfig) -> Iterator[Gauge]:
    """Median of three loads after one that fills the cache; data sets that are not available are left out."""
    for name, step in LOADERS.items():
        if not step().source.is_standin:
            what = f"{name.replace('_', ' ')}: load"
            yield seconds(f"load.{name}", what, repeated(step, 3, warmup=0))


def seconds(key: str, what: str, quartiles: tuple[float, float, float]) -> Gauge:
    low, middle, high = quartiles
    return Gauge(f"{key}_seconds", what, middle, "s", (low, high))


IMPORT = "import time; t = time.time(); import coursework_tools.cli; print(time.time() - t)"


def start(config: BenchConfig) -> Iterator[Gauge]:
    """Import of the command line and its help, in fresh interpreters; the last run of the notebooks."""
    command = [sys.executable, "-c", IMPORT]
    imports = [float(subprocess.check_output(command)) for _ in range(config.rounds + 1)]
    yield seconds("start.import", "import of the command line", harness.quartiles(imports[1:]))
    command = [sys.executable, "-m", "coursework_tools.cli", "--help"]
    helped = repeated(lambda: subprocess.check_output(command), config.rounds)
    yield seconds("start.help", "coursework --help", helped)
    yield from notebooks()


def notebooks() -> Iterator[Gauge]:
    """What ``coursework run`` took when it last ran all notebooks; none if it has not."""
    path = settings.build_dir() / "run.json"
    if path.is_file():
        took = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        for name, value in took.items():
            yield Gauge(
                f"notebook.{name}_seconds", f"notebook {name}, in the last run of all", value, "s"
            )
        yield Gauge("notebook.all_seconds", "all notebooks, the sum", sum(took.values()), "s")


def training(config: BenchConfig) -> Iterator[Gauge]:
    """Samples a second of a short training of each experiment, and what it does beside its steps."""
    fits, fit = list[engine.Fit](), engine.fit

    def kept(*args: Any, **options: Any) -> engine.Fit:
        fits.append(fit(*args, **options))
        return fits[-1]

    for name in config.trainings:
        fits.clear()
        short = base.override(base.preset_of(name, "quick"), harness.TOML["short"].get(name, ()))
        with tempfile.TemporaryDirectory() as folder, patch.object(engine, "fit", kept):
            base.get(name).train(base.Job(name, short, "quick", folder=Path(folder), log=None))
        yield from shares(name, fits)


def shares(name: str, fits: list[engine.Fit]) -> Iterator[Gauge]:
    """The trainings of an experiment taken together."""
    names = ("step_seconds", "seconds", "validation_seconds", "samples")
    steps, loop, evaluation, samples = (sum(getattr(f, name) for f in fits) for name in names)
    values = samples / loop, 1 - steps / loop, evaluation / (loop + evaluation)
    for (key, what), value in zip(harness.TOML["training"].items(), values, strict=True):
        unit = "1/s" if key == "per_second" else "share"
        yield Gauge(f"training.{name}_{key}", f"{name}: {what}", value, unit)


TAIL = 3  # points to which the exponent is fitted; at the small end fixed costs rule


def growth(config: BenchConfig) -> Iterator[Gauge | Curve]:
    """Edges, tokens, pixels, words and rows."""
    device = config.device
    curves: dict[str, Callable[[int], Step]] = {
        "gat_edges": partial(graph_step, "gat", device),
        "gcn_edges": partial(graph_step, "gcn", device),
        "dense_gat_edges": partial(graph_step, "dense", device),
        "linear_attention_tokens": lambda n: attention_steps(n, device)[0],
        "softmax_attention_tokens": lambda n: attention_steps(n, device)[1],
        "unet_pixels": partial(_unet, device),
        "output_words": partial(_output, device),
        "cleaning_rows": _cleaning,
    }
    for name, make in curves.items():
        what, of = harness.TOML["growth"][name]
        sizes = config.growth.get(name, config.growth[of])
        points = []
        for size in sizes:
            step = make(size)
            low, middle, high = repeated(step, 3)
            peak = harness.peak_memory(step, "python" if make is _cleaning else "tensors") or 0.0
            times = {"seconds": middle, "low": low, "high": high}
            points.append({"size": float(size), **times, "bytes": peak})
        yield name, points
        for kind, unit in (("seconds", "time"), ("bytes", "memory")):
            values = [point[kind] for point in points[-TAIL:]]
            if len(values) > 1 and min(values) > 0:
                slope = log_log_slope(sizes[-TAIL:], values)
                said = f"{what}: {unit} grows with the number of {of} to this power"
                yield Gauge(f"growth.{name}_{unit}", said, slope, "exponent")


def _cleaning(rows: int) -> Step:
    return partial(tokenise_many, raw_tweets(rows)[0], processes=1)


def graph_step(kind: str, device: harness.Device, edges: int) -> Step:
    """Forward and backward of a layer (16 features to 16) on a graph of ``edges / 4`` nodes."""
    nodes = edges // 4
    sizes = BenchConfig(
        device=device, nodes=nodes, edges=(edges - nodes) // 2, features=16,
        dense_nodes=nodes if kind == "dense" else 1,
    )  # fmt: skip
    if kind == "gcn":
        return next(layers.gcn(sizes)).ours
    sparse, dense = layers.gat(sizes)
    return dense.peer if kind == "dense" else sparse.ours


def _unet(device: str, pixels: int) -> Step:
    side = round(pixels**0.5)
    torch.manual_seed(0)
    model = segmentation.build(segmentation.PRESETS["full"], skip=True).to(device)
    image = torch.rand(1, 1, side, side, device=device)
    return lambda: model(image).sum().backward()


def _output(device: str, words: int) -> Step:
    torch.manual_seed(0)
    layer = nn.Linear(256, words).to(device)
    states = torch.randn(256, 256, device=device)
    target = torch.randint(words, (256,), device=device)
    return lambda: F.cross_entropy(layer(states), target).backward()
