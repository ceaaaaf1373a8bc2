"""Numbers without a peer: rates, seconds to load and to start, where the time of a training goes, and
how time and memory grow with the size of the input."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

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
from coursework.experiments import base, segmentation
from coursework.experiments.tweets import as_arrow
from coursework.theory.cost import log_log_slope
from coursework.training.engine import Fit
from coursework_tools.bench import harness, layers
from coursework_tools.bench.harness import BenchConfig, Curve, Gauge, Memory, Step
from coursework_tools.bench.work import attention_steps, digits, raw_tweets


def _seconds(key: str, what: str, step: Step, rounds: int, warmup: int = 1) -> Gauge:
    """Median and quartiles of a step."""
    low, middle, high = harness.repeated(step, rounds, warmup)
    return Gauge(key, what, middle, "s", (low, high))


def work(config: BenchConfig) -> Iterator[Gauge]:
    """Canvases a second, the crossover of the two attentions, and the seconds for all tweets."""
    images, labels = digits()
    n = config.canvases
    low, middle, high = harness.repeated(
        lambda: m2nist.compose(images, labels, n, np.random.default_rng(0)), config.rounds
    )
    rates, what = (n / high, n / low), "canvases composed a second"
    yield Gauge("canvases.per_second", what, n / middle, "1/s", rates)
    sizes = (64, 128, 256, 512, 1024, 2048)
    steps = [attention_steps(size, harness.device_of(config.device)) for size in sizes]
    times = [[harness.repeated(step, 3)[1] for step in pair] for pair in steps]
    where = crossover(sizes, *zip(*times, strict=True))
    if where is not None:
        what = "length from which linear attention (4 heads of 64) is faster than softmax"
        yield Gauge("attention.crossover_tokens", what, where, "tokens")
    if config.all_tweets and not (tweets := sentiment140.load()).source.is_standin:
        array = as_arrow(tweets.texts)
        what = f"cleaning and tokenising all {len(array):,} tweets, all cores"
        seconds = harness.timed(lambda: text.tokenise_many(array))
        yield Gauge("tokens.all_tweets_seconds", what, seconds, "s")


def crossover(sizes: Sequence[int], ours: Sequence[float], peer: Sequence[float]) -> float | None:
    """Size from which ours stays faster, interpolated on logarithmic scales; None where it never is."""
    ahead = np.log(np.divide(peer, ours))
    if ahead[-1] < 0:
        return None
    last = max(np.flatnonzero(ahead < 0).tolist(), default=None)
    if last is None:  # faster everywhere
        return float(sizes[0])
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
    "karate": karate.load,
    "glove": partial(embeddings.glove, SOME),
    "french_vectors": partial(embeddings.french, SOME),
}


def load(config: BenchConfig) -> Iterator[Gauge]:
    """Median of three loads after one that fills the cache; data sets that are not available are left out."""
    for name, step in LOADERS.items():
        if not step().source.is_standin:
            what = f"{name.replace('_', ' ')} loaded from the cache"
            yield _seconds(f"load.{name}_seconds", what, step, 3, warmup=0)


IMPORT = (
    "import time; start = time.perf_counter(); import coursework_tools.cli; "
    "print(time.perf_counter() - start)"
)


def start(config: BenchConfig) -> Iterator[Gauge]:
    """Import of the command line and its help, in fresh interpreters; the last run of the notebooks."""

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    seconds = [float(python("-c", IMPORT)) for _ in range(config.rounds + 1)]
    low, middle, high = harness.quartiles(seconds[1:])
    what = "import of the command line"
    yield Gauge("start.import_seconds", what, middle, "s", (low, high))
    help_ = partial(python, "-m", "coursework_tools.cli", "--help")
    yield _seconds("start.help_seconds", "coursework --help", help_, config.rounds)
    yield from notebooks()


def notebooks() -> Iterator[Gauge]:
    """What ``coursework run`` took when it last ran all notebooks; none if it has not."""
    path = settings.build_dir() / "run.json"
    if path.is_file():
        seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        for name, value in seconds.items():
            what = f"notebook {name}, run with its quick preset"
            yield Gauge(f"notebook.{name}_seconds", what, value, "s")
        whole = sum(seconds.values())
        yield Gauge("notebook.all_seconds", "all notebooks, one by one", whole, "s")


# Changes of the quick presets: a rate needs a shorter training than a result.
SHORT: dict[str, tuple[str, ...]] = {
    "sentiment": ("tweets=20000", "plan.epochs=1", "baselines=false"),
    "segmentation": ("plan.epochs=2", "canvases=256"),
}


def training(config: BenchConfig) -> Iterator[Gauge]:
    """A short training of each experiment: samples a second, and what it takes beside its steps
    (forward, loss, backward, update): batches, printing, checkpoints; evaluation is counted apart."""
    for name in config.trainings:
        short = base.override(base.preset_of(name, "quick"), SHORT.get(name, ()))
        with tempfile.TemporaryDirectory() as folder:
            job = base.Job(name, short, "quick", folder=Path(folder), log=None)
            fits = base.get(name).train(job).artefacts["fits"]
        yield from shares(name, list(fits.values()))


def shares(name: str, fits: list[Fit]) -> Iterator[Gauge]:
    """The trainings of an experiment taken together."""
    steps = sum(fit.step_seconds for fit in fits)
    loop = sum(fit.seconds for fit in fits)
    evaluation = sum(fit.validation_seconds for fit in fits)
    rows = {
        "per_second": ("samples of the loss (tweets, tokens, nodes, canvases) a second",
                       sum(fit.samples for fit in fits) / loop, "1/s"),
        "outside_share": ("share of the training loop outside forward, backward and update",
                          1 - steps / loop, "share"),
        "evaluation_share": ("share of evaluation between epochs",
                             evaluation / (loop + evaluation), "share"),
    }  # fmt: skip
    for key, (what, value, unit) in rows.items():
        yield Gauge(f"training.{name}_{key}", f"{name}: {what}", value, unit)


TAIL = 3  # points to which the exponent is fitted; at the small end fixed costs rule


def growth(config: BenchConfig) -> Iterator[Gauge | Curve]:
    """Edges, tokens, pixels, words and rows."""
    device = harness.device_of(config.device)
    # the curves of the dense formulations end where a tensor would no longer fit
    fits = [n for n in config.growth_edges if dense_bytes(n) <= config.growth_bytes]
    dense = sorted({*fits, *(n // 3 for n in fits)})  # so that a short curve still has a slope
    tokens = config.growth_tokens
    softmax = [n for n in tokens if 4 * 4 * n * n <= config.growth_bytes]

    def layer(kind: str) -> Callable[[int], Step]:
        return partial(graph_step, kind, device)

    curves: list[tuple[str, str, str, Sequence[int], Callable[[int], Step]]] = [
        ("gat_edges", "GAT layer", "edges", config.growth_edges, layer("gat")),
        ("gcn_edges", "graph convolution", "edges", config.growth_edges, layer("gcn")),
        ("dense_gat_edges", "GAT over all pairs", "edges", dense, layer("dense")),
        ("linear_attention_tokens", "linear attention", "tokens", tokens,
         lambda n: attention_steps(n, device)[0]),
        ("softmax_attention_tokens", "softmax attention", "tokens", softmax,
         lambda n: attention_steps(n, device)[1]),
        ("unet_pixels", "U-Net of the assignment", "pixels",
         [side * side for side in config.growth_pixels], partial(_unet, device)),
        ("output_words", "output layer and its loss, 256 tokens of width 256", "words",
         config.growth_words, partial(_output, device)),
        ("cleaning_rows", "cleaning and tokenising", "tweets", config.growth_rows, _cleaning),
    ]  # fmt: skip
    for name, what, of, sizes, make in curves:
        memory: Memory = "python" if make is _cleaning else "tensors"
        points = [_point(size, make(size), memory) for size in sizes]
        yield Curve(name, points)
        tail = points[-TAIL:]
        for kind, unit in (("seconds", "time"), ("bytes", "memory")):
            values = [point[kind] for point in tail]
            if len(tail) > 1 and min(values) > 0:
                slope = log_log_slope(sizes[-TAIL:], values)
                said = f"{what}: {unit} grows with the number of {of} to this power"
                yield Gauge(f"growth.{name}_{unit}", said, slope, "exponent")


def _point(size: int, step: Step, memory: Memory) -> dict[str, float]:
    low, middle, high = harness.repeated(step, 3)
    peak = harness.peak_memory(step, memory) or 0.0
    return {"size": float(size), "seconds": middle, "low": low, "high": high, "bytes": peak}


def dense_bytes(edges: int) -> int:
    """Bytes of the N x N x 8 x 2F' pairs of the graph with that many edges, F' = 2."""
    return 4 * (edges // 4) ** 2 * 8 * 4


def graph_step(kind: str, device: torch.device, edges: int) -> Step:
    """Forward and backward of a layer (16 features to 16) on a graph of ``edges / 4`` nodes."""
    nodes = edges // 4
    sizes = BenchConfig(
        device=device.type, nodes=nodes, edges=(edges - nodes) // 2, features=16,
        dense_nodes=nodes if kind == "dense" else 1,
    )  # fmt: skip
    if kind == "gcn":
        return layers.gcn(sizes)[0].ours
    sparse, dense = layers.gat(sizes)
    return dense.peer if kind == "dense" else sparse.ours


def _unet(device: torch.device, pixels: int) -> Step:
    side = round(pixels**0.5)
    torch.manual_seed(0)
    model = segmentation.build(segmentation.PRESETS["full"], skip=True).to(device)
    image = torch.rand(1, 1, side, side, device=device)
    return lambda: model(image).sum().backward()


def _output(device: torch.device, words: int) -> Step:
    torch.manual_seed(0)
    layer = nn.Linear(256, words).to(device)
    states = torch.randn(256, 256, device=device)
    target = torch.randint(words, (256,), device=device)
    return lambda: F.cross_entropy(layer(states), target).backward()


def _cleaning(rows: int) -> Step:
    texts, _ = raw_tweets(rows)
    return lambda: text.tokenise_many(texts, processes=1)
