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
from coursework.data import embeddings, eng_fra, karate, m2nist, planetoid, sentiment140, wikipedia
from coursework.data.text import tokenise_many
from coursework.experiments import base, segmentation
from coursework.theory.cost import log_log_slope
from coursework.training.engine import Fit
from coursework_tools.bench import harness, layers
from coursework_tools.bench.harness import BenchConfig, Curve, Gauge, Step, repeated
from coursework_tools.bench.work import attention_steps, compose, raw_tweets


def work(config: BenchConfig) -> Iterator[Gauge]:
    """Canvases a second, the crossover of the two attentions, and the seconds for all tweets."""
    n = config.canvases
    low, middle, high = repeated(lambda: compose(n), config.rounds)
    what = "canvases composed a second"
    yield Gauge("canvases.per_second", what, n / middle, "1/s", (n / high, n / low))
    sizes = (64, 128, 256, 512, 1024, 2048)
    steps = [attention_steps(size, config.device) for size in sizes]
    times = [[repeated(step, 3)[1] for step in pair] for pair in steps]
    where = crossover(sizes, *zip(*times, strict=True))
    if where is not None:
        what = "length from which linear attention (4 heads of 64) is faster than softmax"
        yield Gauge("attention.crossover_tokens", what, where, "tokens")
    if config.all_tweets and not (tweets := sentiment140.load()).source.is_standin:
        what = f"cleaning and tokenising all {len(tweets.texts):,} tweets, all cores"
        seconds = harness.timed(lambda: tokenise_many(tweets.texts))
        yield Gauge("tokens.all_tweets_seconds", what, seconds, "s")


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
    "karate": karate.load,
    "glove": partial(embeddings.glove, SOME),
    "french_vectors": partial(embeddings.french, SOME),
}


def load(config: BenchConfig) -> Iterator[Gauge]:
    """Median of three loads after one that fills the cache; data sets that are not available are left out."""
    for name, step in LOADERS.items():
        if not step().source.is_standin:
            low, middle, high = repeated(step, 3, warmup=0)
            what = f"{name.replace('_', ' ')} loaded from the cache"
            yield Gauge(f"load.{name}_seconds", what, middle, "s", (low, high))


IMPORT = (
    "from time import perf_counter as now; t = now(); import coursework_tools.cli; print(now() - t)"
)


def start(config: BenchConfig) -> Iterator[Gauge]:
    """Import of the command line and its help, in fresh interpreters; the last run of the notebooks."""

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    seconds = [float(python("-c", IMPORT)) for _ in range(config.rounds + 1)]
    for key, what, (low, middle, high) in (
        ("import", "import of the command line", harness.quartiles(seconds[1:])),
        ("help", "coursework --help",
         repeated(lambda: python("-m", "coursework_tools.cli", "--help"), config.rounds)),
    ):  # fmt: skip
        yield Gauge(f"start.{key}_seconds", what, middle, "s", (low, high))
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


def training(config: BenchConfig) -> Iterator[Gauge]:
    """A short training of each experiment: samples a second, and what it takes beside its steps
    (forward, loss, backward, update): batches, printing, checkpoints; evaluation is counted apart."""
    for name in config.trainings:
        short = base.override(base.preset_of(name, "quick"), harness.TOML["short"].get(name, ()))
        with tempfile.TemporaryDirectory() as folder:
            job = base.Job(name, short, "quick", folder=Path(folder), log=None)
            fits = base.get(name).train(job).artefacts["fits"]
        yield from shares(name, list(fits.values()))


def shares(name: str, fits: list[Fit]) -> Iterator[Gauge]:
    """The trainings of an experiment taken together."""
    names = ("step_seconds", "seconds", "validation_seconds", "samples")
    steps, loop, evaluation, samples = (sum(getattr(f, name) for f in fits) for name in names)
    for key, what, value, unit in (
        ("per_second", "samples of the loss (tweets, tokens, nodes, canvases) a second",
         samples / loop, "1/s"),
        ("outside_share", "share of the training loop outside forward, backward and update",
         1 - steps / loop, "share"),
        ("evaluation_share", "share of evaluation between epochs",
         evaluation / (loop + evaluation), "share"),
    ):  # fmt: skip
        yield Gauge(f"training.{name}_{key}", f"{name}: {what}", value, unit)


TAIL = 3  # points to which the exponent is fitted; at the small end fixed costs rule


def growth(config: BenchConfig) -> Iterator[Gauge | Curve]:
    """Edges, tokens, pixels, words and rows."""
    device, tokens = config.device, config.growth_tokens
    # the curves of the dense formulations end where a tensor would no longer fit
    fits = [n for n in config.growth_edges if dense_bytes(n) <= config.growth_bytes]
    dense = sorted({*fits, *(n // 3 for n in fits)})  # so that a short curve still has a slope
    softmax = [n for n in tokens if 4 * 4 * n * n <= config.growth_bytes]
    curves: dict[str, tuple[Sequence[int], Callable[[int], Step]]] = {
        "gat_edges": (config.growth_edges, partial(graph_step, "gat", device)),
        "gcn_edges": (config.growth_edges, partial(graph_step, "gcn", device)),
        "dense_gat_edges": (dense, partial(graph_step, "dense", device)),
        "linear_attention_tokens": (tokens, lambda n: attention_steps(n, device)[0]),
        "softmax_attention_tokens": (softmax, lambda n: attention_steps(n, device)[1]),
        "unet_pixels": ([side * side for side in config.growth_pixels], partial(_unet, device)),
        "output_words": (config.growth_words, partial(_output, device)),
        "cleaning_rows": (config.growth_rows, _cleaning),
    }
    for name, (sizes, make) in curves.items():
        what, of = harness.TOML["growth"][name]
        points = []
        for size in sizes:
            step = make(size)
            low, middle, high = repeated(step, 3)
            peak = harness.peak_memory(step, "python" if make is _cleaning else "tensors") or 0.0
            row = {"size": float(size), "seconds": middle, "low": low, "high": high}
            points.append(row | {"bytes": peak})
        yield name, points
        for kind, unit in (("seconds", "time"), ("bytes", "memory")):
            values = [point[kind] for point in points[-TAIL:]]
            if len(values) > 1 and min(values) > 0:
                slope = log_log_slope(sizes[-TAIL:], values)
                said = f"{what}: {unit} grows with the number of {of} to this power"
                yield Gauge(f"growth.{name}_{unit}", said, slope, "exponent")


def _cleaning(rows: int) -> Step:
    return partial(tokenise_many, raw_tweets(rows)[0], processes=1)


def dense_bytes(edges: int) -> int:
    """Bytes of the N x N x 8 x 2F' pairs of the graph with that many edges, F' = 2."""
    return 4 * (edges // 4) ** 2 * 8 * 4


def graph_step(kind: str, device: str, edges: int) -> Step:
    """Forward and backward of a layer (16 features to 16) on a graph of ``edges / 4`` nodes."""
    nodes = edges // 4
    sizes = BenchConfig(
        device=device, nodes=nodes, edges=(edges - nodes) // 2, features=16,
        dense_nodes=nodes if kind == "dense" else 1,
    )  # fmt: skip
    if kind == "gcn":
        return layers.gcn(sizes)[0].ours
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
