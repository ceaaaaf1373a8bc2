"""Speed, as ratios from one run: pairs of variants timed alternately on the same input.

A ratio above one means that ours is faster. Seconds depend on the machine and are stored beside it;
ratios of interleaved pairs survive other load better, and nothing here is a pass/fail test.

Rows with a peer are :class:`Pair` s (this module and :mod:`coursework.bench.work`); numbers without one
(growth, loading, starting, training) are :class:`Gauge` s.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coursework.bench.harness import (
    Findings,
    Gauge,
    Goal,
    Pair,
    Step,
    device_of,
    limit,
    measure,
    peak_memory,
    quartiles,
    with_threads,
)
from coursework.errors import ConfigError

if TYPE_CHECKING:
    from coursework.experiments.base import Run

__all__ = [
    "BENCHES",
    "GAUGES",
    "GOALS",
    "LSTM_SIZE",
    "PRESETS",
    "BenchConfig",
    "Findings",
    "Gauge",
    "Goal",
    "Pair",
    "measure",
    "run",
]

LSTM_SIZE = 256
"""The hidden size for which the LSTM's rows have the plain keys and its variants are compared."""


@dataclass(frozen=True)
class BenchConfig:
    """Sizes and repetitions.

    Attributes:
        rounds: Timed rounds; each times both variants once.
        warmup: Rounds before, not timed.
        threads: Threads of every row that does not say otherwise.
        device: Where the networks run: ``auto``, ``cpu`` or ``cuda``.
        nodes: Nodes of the generated graph (Cora has 2,708).
        edges: Undirected edges of it (Cora has 5,278).
        features: Width of its features (Cora has 1,433).
        dense_nodes: Nodes of the graph on which the dense N x N x 2F' attention is timed; its cost
            grows with the square, 7.6 GB at 2,708 nodes.
        lstm_sizes: Hidden sizes H at which the LSTM is timed, on H / 2 inputs.
        lstm_batch: Sequences of its batch.
        lstm_steps: Time steps of each.
        decode_batch: Sentences translated side by side.
        decode_words: Words that every hypothesis is made to have.
        attention_tokens: Length at which linear and softmax attention are compared.
        tweets: Tweets that are cleaned by ours and by pandas.
        all_tweets: Whether all tweets are cleaned, for the seconds that it takes.
        canvases: Canvases that are composed.
        looped_canvases: Canvases that a loop over pixels composes.
        buckets: Batches of a sentiment training with and without padding.
        bucket_size: Most tweets of one.
        growth_edges: Numbers of edges of the growth curve of the graph layers.
        growth_bytes: Largest tensor of the dense curves; they end before it.
        growth_tokens: Lengths of the growth curve of attention.
        growth_pixels: Sides of the images of the growth curve of the U-Net.
        growth_words: Vocabularies of the growth curve of the output layer.
        growth_rows: Numbers of tweets of the growth curve of cleaning.
        trainings: Experiments whose training is taken apart.
    """

    rounds: int = 15
    warmup: int = 3
    threads: int = 1
    device: str = "auto"
    nodes: int = 2708
    edges: int = 5278
    features: int = 1433
    dense_nodes: int = 2708
    lstm_sizes: tuple[int, ...] = (64, 128, 256, 512)
    lstm_batch: int = 64
    lstm_steps: int = 32
    decode_batch: int = 16
    decode_words: int = 60
    attention_tokens: int = 8192
    tweets: int = 400_000
    all_tweets: bool = True
    canvases: int = 2000
    looped_canvases: int = 500
    buckets: int = 8
    bucket_size: int = 512
    growth_edges: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    growth_bytes: int = 2**31
    growth_tokens: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    growth_pixels: tuple[int, ...] = (32, 64, 128, 256, 512)
    growth_words: tuple[int, ...] = (1000, 4000, 16_000, 64_000)
    growth_rows: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    trainings: tuple[str, ...] = ("sentiment", "translation", "wikipedia", "cora", "segmentation")


PRESETS = {
    "full": BenchConfig(),
    "quick": BenchConfig(
        rounds=5,
        warmup=1,
        dense_nodes=700,
        lstm_sizes=(64, 128, 256),
        decode_batch=8,
        decode_words=30,
        attention_tokens=4096,
        tweets=20_000,
        all_tweets=False,
        canvases=500,
        looped_canvases=100,
        buckets=6,
        bucket_size=128,
        growth_edges=(10_000, 100_000, 1_000_000),
        growth_bytes=2**28,
        growth_tokens=(256, 512, 1024, 2048),
        growth_pixels=(32, 64, 128),
        growth_words=(1000, 4000, 16_000),
        growth_rows=(1000, 10_000, 100_000),
        trainings=(),
    ),
}

GOALS: dict[str, Goal] = {
    "lstm.h64_vs_builtin": Goal(0.75),
    "lstm.h128_vs_builtin": Goal(0.75),
    "lstm.vs_builtin": Goal(0.75),
    "lstm.h512_vs_builtin": Goal(0.75),
    "encoder.vs_builtin": Goal(1.0),
    "decode.beam5_vs_uncached": Goal(5.0),
    "gat.vs_pyg": Goal(1.0),
    "gat.vs_dense": Goal(500.0),
    "gcn.vs_pyg": Goal(1.0),
    "tokens.vs_apply": Goal(5.0),
    "tokens.all_tweets_seconds": Goal(15.0, at_most=True),
    "canvases.vs_pixel_loop": Goal(20.0),
    "canvases.per_second": Goal(5000.0),
    "buckets.vs_padded": Goal(4.0),
    "start.import_seconds": Goal(0.3, at_most=True),
    "start.help_seconds": Goal(0.5, at_most=True),
}
"""What the rows should reach. Loading (2 s) and the share of a training that is neither forward nor
backward (10 %) have one goal for all their rows, see :func:`goal_of`."""


def goal_of(key: str) -> Goal | None:
    """The goal of a metric, if it has one."""
    if key.startswith("load."):
        return Goal(2.0, at_most=True)
    if key.startswith("training.") and key.endswith("_outside_share"):
        return Goal(0.1, at_most=True)
    return GOALS.get(key)


def _train_step(module: Callable[..., Any], *inputs: Any) -> Step:
    """Forward and backward, gradients of parameters included."""

    def step() -> None:
        output = module(*inputs)
        first: Tensor = output[0] if isinstance(output, tuple) else output
        first.sum().backward()

    return step


def _forward(module: Callable[..., Any], *inputs: Any) -> Step:
    """Forward only, nothing recorded."""

    def step() -> None:
        with torch.no_grad():
            module(*inputs)

    return step


def _graph(config: BenchConfig, nodes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    edges = int(config.edges * nodes / config.nodes)
    pairs = torch.randint(nodes, (2, edges), generator=generator)
    pairs = pairs[:, pairs[0] != pairs[1]]
    loops = torch.arange(nodes).expand(2, -1)
    edge_index = torch.cat([pairs, pairs.flip(0), loops], dim=1)
    x = torch.rand(nodes, config.features, generator=generator)
    device = device_of(config.device)
    return x.to(device), torch.unique(edge_index, dim=1).to(device)


def lstm(config: BenchConfig) -> list[Pair]:
    """Our LSTM against ``nn.LSTM`` at several sizes, and against slower versions of itself.

    For H = 256, the keys are without the size. There, the naive loop calls :class:`LSTMCell` at every
    step, and the plain loop (:func:`scan`) has its input products hoisted out of the recurrence and
    autograd's backward pass; what :class:`LSTM` has beyond is the backward pass written by hand.
    """
    from coursework.models.lstm import LSTM, LSTMCell, scan

    pairs: list[Pair] = []
    batch, steps, device = config.lstm_batch, config.lstm_steps, device_of(config.device)
    for size in config.lstm_sizes:
        torch.manual_seed(0)
        peer = nn.LSTM(size // 2, size).to(device)
        ours = LSTM(size // 2, size).to(device)
        ours.load_state_dict(peer.state_dict())
        x = torch.randn(steps, batch, size // 2, device=device)
        forward, backward, moved = _lstm_cost(steps, batch, size // 2, size)
        prefix = "lstm." if size == LSTM_SIZE else f"lstm.h{size}_"
        what = f"LSTM layer, H {size}, I {size // 2}, B {batch}, T {steps},"
        pairs += [
            Pair(
                f"{prefix}vs_builtin",
                f"{what} forward and backward, against nn.LSTM",
                _train_step(ours, x),
                _train_step(peer, x),
                flops=forward + backward,
                bytes=3 * moved,
            ),
            Pair(
                f"{prefix}forward_vs_builtin",
                f"{what} forward, against nn.LSTM",
                _forward(ours, x),
                _forward(peer, x),
                flops=forward,
                bytes=moved,
            ),
        ]
        if size != LSTM_SIZE:
            continue
        cell = LSTMCell(size // 2, size).to(device)
        weights = {name.removesuffix("_l0"): w for name, w in peer.state_dict().items()}
        cell.load_state_dict(weights)
        zeros = torch.zeros(batch, size, device=device)

        def naive(x: Tensor, cell: LSTMCell = cell, zeros: Tensor = zeros) -> Tensor:
            state, outputs = (zeros, zeros), []
            for x_t in x:
                state = cell(x_t, state)
                outputs.append(state[0])
            return torch.stack(outputs)

        def hoisted(x: Tensor, cell: LSTMCell = cell, zeros: Tensor = zeros) -> Tensor:
            rows, sizes, bias = x.flatten(0, 1), [x.shape[1]] * len(x), cell.bias_ih + cell.bias_hh
            return scan(rows, sizes, cell.weight_ih, cell.weight_hh, bias, (zeros, zeros))[0]

        against = "forward and backward, against a loop of LSTMCell"
        pairs += [
            Pair(
                "lstm.hoisted_vs_naive",
                f"{what.replace('layer', 'loop with hoisted inputs')} {against}",
                _train_step(hoisted, x),
                _train_step(naive, x),
            ),
            Pair("lstm.vs_naive", f"{what} {against}", _train_step(ours, x), _train_step(naive, x)),
        ]
    return pairs


def _lstm_cost(steps: int, batch: int, inputs: int, hidden: int) -> tuple[float, float, float]:
    """Operations of the forward and the backward pass (the inputs need no gradient), and the bytes of
    inputs, outputs and weights."""
    rows = 2.0 * steps * batch * 4 * hidden
    weights = 4 * hidden * (inputs + hidden)
    moved = 4.0 * (steps * batch * (inputs + hidden) + weights)
    return rows * (inputs + hidden), rows * (inputs + 2 * hidden), moved


def cores(config: BenchConfig) -> list[Pair]:
    """The layers whose kernels share work between threads, with all cores of the machine."""
    count = torch.get_num_threads() if config.threads == 1 else config.threads
    size = config.lstm_sizes[-1]
    (pair,) = (p for p in lstm(config) if p.key == _lstm_key(size))
    pairs = [replace(pair, key="cores.lstm_vs_builtin"), *encoder(config)]
    pairs[1] = replace(pairs[1], key="cores.encoder_vs_builtin")
    return [replace(p, what=f"{p.what}, {count} threads", threads=count) for p in pairs]


def _lstm_key(size: int) -> str:
    return "lstm.vs_builtin" if size == LSTM_SIZE else f"lstm.h{size}_vs_builtin"


def encoder(config: BenchConfig) -> list[Pair]:
    """Our encoder layer against PyTorch's: batch 64, 32 tokens, width 256, 8 heads, 1,024 hidden."""
    from coursework.models.transformer import EncoderLayer

    torch.manual_seed(0)
    device = device_of(config.device)
    peer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, batch_first=True).to(device)
    ours = EncoderLayer(256, 8, 1024, dropout=0.0).to(device)
    x = torch.randn(64, 32, 256, device=device)
    weights = 4 * 256**2 + 2 * 256 * 1024
    products = 2.0 * x.shape[0] * x.shape[1] * (weights + 2 * x.shape[1] * 256)
    return [
        Pair(
            "encoder.vs_builtin",
            "encoder layer, forward and backward, against nn.TransformerEncoderLayer",
            _train_step(ours, x),
            _train_step(peer, x),
            flops=3 * products,
            bytes=3.0 * 4 * (weights + 2 * x.numel()),
        )
    ]


def decode(config: BenchConfig) -> list[Pair]:
    """Beam search with keys and values kept, against running the decoder over all words at each step.

    The model is the Transformer of ``translation_all`` with random weights. No word counts as the end,
    so that all hypotheses have the same length and both variants do the same work.
    """
    from coursework.experiments import translation_all
    from coursework.models.beam_search import beam_search
    from coursework.models.transformer import Transformer, TransformerDecoding

    sizes = translation_all.PRESETS["full"]
    torch.manual_seed(0)
    model = translation_all.build(sizes, sizes.vocabulary).eval()
    assert isinstance(model, Transformer)
    transformer = model.to(device_of(config.device))
    shape = (config.decode_batch, config.decode_words // 2)
    src = torch.randint(4, sizes.vocabulary, shape, device=device_of(config.device))
    # every new word meets every weight of the decoder and of the output layer once
    weights = sum(p.numel() for name, p in model.named_parameters() if "encoder" not in name)

    class Uncached:
        def start(self, src: Tensor) -> TransformerDecoding:
            return transformer.start(src, cached=False)

    def search(searched: Any, width: int) -> Step:
        return lambda: beam_search(
            searched, src, width=width, max_length=config.decode_words, sos=2, eos=-1
        )

    what = f"{config.decode_words} words for {config.decode_batch} sentences, "
    return [
        Pair(
            f"decode.{name}_vs_uncached",
            f"{what}{name.replace('beam', 'beam of ')}, against no key-value cache",
            search(model, width),
            search(Uncached(), width),
            most_rounds=3,  # each takes seconds
            flops=2.0 * weights * config.decode_words * config.decode_batch * width,
            bytes=4.0 * weights * config.decode_words,
            memory="none",
        )
        for name, width in (("greedy", 1), ("beam5", 5))
    ]


def gat(config: BenchConfig) -> list[Pair]:
    """Our GAT layer against the dense formulation and against PyG's ``GATConv``."""
    from torch_geometric.nn import GATConv

    from coursework.models.gat import GraphAttentionLayer, dense_attention_reference

    torch.manual_seed(0)
    device = device_of(config.device)
    x, edge_index = _graph(config, config.nodes)
    ours = GraphAttentionLayer(config.features, 16, 8, dropout=0.0).to(device)
    peer = GATConv(config.features, 2, 8, dropout=0.0, add_self_loops=False, bias=False).to(device)
    small_x, small_edges = _graph(config, config.dense_nodes)
    dense = torch.zeros(config.dense_nodes, config.dense_nodes, device=device)
    dense[small_edges[1], small_edges[0]] = 1.0
    reference = copy.deepcopy(ours)
    return [
        Pair(
            "gat.vs_pyg",
            f"GAT layer on {config.nodes:,} nodes, forward and backward, against PyG's GATConv",
            _train_step(ours, x, edge_index),
            _train_step(peer, x, edge_index),
            **_graph_cost(x, edge_index),
        ),
        Pair(
            "gat.vs_dense",
            f"GAT layer on {config.dense_nodes:,} nodes, against the N x N x heads x 2F' formulation",
            _train_step(ours, small_x, small_edges),
            _train_step(lambda h, a: dense_attention_reference(reference, h, a), small_x, dense),
            most_rounds=3 if config.dense_nodes > 1500 else None,  # each takes tens of seconds
            **_graph_cost(small_x, small_edges),
        ),
    ]


def gcn(config: BenchConfig) -> list[Pair]:
    """Our graph convolution against PyG's ``GCNConv`` with cached normalisation."""
    from torch_geometric.nn import GCNConv

    from coursework.models.gcn import GraphConvolution, normalise_adjacency

    torch.manual_seed(0)
    device = device_of(config.device)
    x, edge_index = _graph(config, config.nodes)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    ours = GraphConvolution(config.features, 16).to(device)
    peer = GCNConv(config.features, 16, cached=True).to(device)
    adjacency = normalise_adjacency(edge_index, config.nodes)
    return [
        Pair(
            "gcn.vs_pyg",
            f"graph convolution on {config.nodes:,} nodes, forward and backward, against GCNConv",
            _train_step(ours, x, adjacency),
            _train_step(peer, x, edge_index),
            **_graph_cost(x, edge_index),
        )
    ]


def _graph_cost(x: Tensor, edge_index: Tensor, width: int = 16) -> dict[str, Any]:
    """Forward and backward of a layer on dense features: the product with the weights and its
    gradient, the features read twice, the messages and their ends once each way."""
    moved = 2 * x.nbytes + 2 * (edge_index.nbytes + 4 * edge_index.shape[1] * width)
    return {"flops": 4.0 * x.numel() * width, "bytes": float(moved)}


def _later(module: str, function: str) -> Callable[[BenchConfig], Any]:
    """A function of a module of this package, which is imported when it is called."""

    def call(config: BenchConfig) -> Any:
        import importlib

        return getattr(importlib.import_module(f"coursework.bench.{module}"), function)(config)

    return call


BENCHES: dict[str, Callable[[BenchConfig], list[Pair]]] = {
    "lstm": lstm,
    "encoder": encoder,
    "decode": decode,
    "gat": gat,
    "gcn": gcn,
    "cora": _later("work", "cora"),
    "attention": _later("work", "attention"),
    "tokens": _later("work", "tokens"),
    "canvases": _later("work", "canvases"),
    "buckets": _later("work", "buckets"),
    "cores": cores,
    "graphs": _later("cuda", "pairs"),
}
"""Rows with a peer."""

GAUGES: dict[str, Callable[[BenchConfig], Findings]] = {
    "work": _later("work", "gauges"),
    "growth": _later("growth", "gauges"),
    "load": _later("load", "gauges"),
    "start": _later("start", "gauges"),
    "training": _later("training", "gauges"),
}
"""Rows without one."""


def run(
    names: list[str],
    preset: str,
    on_pair: Callable[[str], None] = lambda what: None,
    *,
    device: str | None = None,
    threads: int | None = None,
) -> Run:
    """Measure the named rows.

    Args:
        names: Rows, of :data:`BENCHES` and :data:`GAUGES`; all by default.
        preset: ``quick`` or ``full``.
        on_pair: Told what is measured next.
        device: ``auto``, ``cpu`` or ``cuda`` instead of the preset's.
        threads: Threads instead of the preset's.

    Returns:
        A run whose metrics are the median ratios and the gauges. Its notes have the rows with quartiles,
        medians in seconds, peak memory, the limit that was measured and the share of it.

    Raises:
        ConfigError: If a row, the preset or the device does not exist.
    """
    from coursework.data.sources import Source
    from coursework.experiments.base import Run

    known = [*BENCHES, *GAUGES]
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no benchmark {name!r}; choose from {', '.join(known)}.")
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    config = PRESETS[preset]
    config = replace(
        config,
        device=device_of(device or config.device).type,
        threads=config.threads if threads is None else threads,
    )
    if config.threads < 1:
        raise ConfigError(f"threads is {config.threads}; it must be at least 1.")
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[dict[str, float]]] = {}
    for name in names or known:
        if name in BENCHES:
            for pair in BENCHES[name](config):
                on_pair(pair.what)
                row = _measured(pair, config)
                row |= _judged(pair.key, row["ratio"][1], preset)
                metrics[pair.key] = row["ratio"][1]
                rows.append(row)
        if name in GAUGES:
            on_pair(f"{name} ...")
            with with_threads(config.threads):
                findings = GAUGES[name](config)
            curves |= findings.curves
            for gauge in findings.gauges:
                metrics[gauge.key] = gauge.value
                rows.append(
                    {
                        "key": gauge.key,
                        "what": gauge.what,
                        "value": gauge.value,
                        "unit": gauge.unit,
                        "spread": gauge.spread,
                    }
                    | _judged(gauge.key, gauge.value, preset)
                )
    machine = limit(torch.device(config.device), config.threads)
    return Run(
        experiment="bench",
        preset=preset,
        config=config,
        seed=0,
        metrics=metrics,
        source=Source("generated tensors", "package", "", (), "MIT"),
        seconds=time.perf_counter() - started,
        curves=curves,
        notes={
            "rows": rows,
            "limit": {
                "matrix products, GFLOP/s": machine.flops / 1e9,
                "memory, GB/s": machine.bytes / 1e9,
            },
        },
    )


def _measured(pair: Pair, config: BenchConfig) -> dict[str, Any]:
    """Time a pair and take its peak memory."""
    count = pair.threads or config.threads
    rounds, warmup = config.rounds, config.warmup
    if pair.most_rounds is not None:
        rounds, warmup = min(rounds, pair.most_rounds), min(warmup, 1)
    with with_threads(count):
        ours, peer = measure(pair, rounds, warmup)
        memory = [peak_memory(step, pair.memory) for step in (pair.ours, pair.peer)]
    ratio = quartiles([b / a for a, b in zip(ours, peer, strict=True)])
    shortest = limit(torch.device(config.device), count).seconds(pair)
    return {
        "key": pair.key,
        "what": pair.what,
        "ours": quartiles(ours),
        "peer": quartiles(peer),
        "ratio": ratio,
        "rounds": rounds,
        "threads": count,
        "memory": memory,
        "limit": shortest or None,
        "share": shortest / statistics.median(ours) if shortest else None,
    }


def _judged(key: str, value: float, preset: str) -> dict[str, Any]:
    """The goal of a row and whether it is met; goals are set for the sizes of the full benchmark."""
    goal = goal_of(key) if preset == "full" else None
    return {
        "goal": None if goal is None else str(goal),
        "met": None if goal is None else goal.met(value),
    }
