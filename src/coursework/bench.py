"""Speed, as ratios from one run: pairs of variants timed alternately on the same input.

A ratio above one means that ours is faster. Seconds depend on the machine and are stored beside it;
ratios of interleaved pairs survive other load better, and nothing here is a pass/fail test.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coursework.errors import ConfigError

if TYPE_CHECKING:
    from coursework.experiments.base import Run

Step = Callable[[], Any]
LSTM_SIZE = 256
"""The hidden size for which the LSTM's rows have the plain keys and its variants are compared."""


@dataclass(frozen=True)
class BenchConfig:
    """Sizes and repetitions.

    Attributes:
        rounds: Timed rounds; each times both variants once.
        warmup: Rounds before, not timed.
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
    """

    rounds: int = 15
    warmup: int = 3
    nodes: int = 2708
    edges: int = 5278
    features: int = 1433
    dense_nodes: int = 2708
    lstm_sizes: tuple[int, ...] = (64, 128, 256, 512)
    lstm_batch: int = 64
    lstm_steps: int = 32
    decode_batch: int = 16
    decode_words: int = 60


PRESETS = {
    "full": BenchConfig(),
    "quick": BenchConfig(
        rounds=5, warmup=1, dense_nodes=700, lstm_sizes=(64, 128, 256), decode_words=40
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two ways to do the same thing.

    Attributes:
        key: ``row.vs_peer``.
        what: One line.
        ours: Our step.
        peer: The step that it is compared with.
    """

    key: str
    what: str
    ours: Step
    peer: Step


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
    return x, torch.unique(edge_index, dim=1)


def lstm(config: BenchConfig) -> list[Pair]:
    """Our LSTM against ``nn.LSTM`` at several sizes, and against slower versions of itself.

    For H = 256, the keys are without the size. There, the naive loop calls :class:`LSTMCell` at every
    step, and the plain loop (:func:`scan`) has its input products hoisted out of the recurrence and
    autograd's backward pass; what :class:`LSTM` has beyond is the backward pass written by hand.
    """
    from coursework.models.lstm import LSTM, LSTMCell, scan

    pairs: list[Pair] = []
    batch, steps = config.lstm_batch, config.lstm_steps
    for size in config.lstm_sizes:
        torch.manual_seed(0)
        peer = nn.LSTM(size // 2, size)
        ours = LSTM(size // 2, size)
        ours.load_state_dict(peer.state_dict())
        x = torch.randn(steps, batch, size // 2)
        prefix = "lstm." if size == LSTM_SIZE else f"lstm.h{size}_"
        what = f"LSTM layer, H {size}, I {size // 2}, B {batch}, T {steps},"
        pairs += [
            Pair(
                f"{prefix}vs_builtin",
                f"{what} forward and backward, against nn.LSTM",
                _train_step(ours, x),
                _train_step(peer, x),
            ),
            Pair(
                f"{prefix}forward_vs_builtin",
                f"{what} forward, against nn.LSTM",
                _forward(ours, x),
                _forward(peer, x),
            ),
        ]
        if size != LSTM_SIZE:
            continue
        cell = LSTMCell(size // 2, size)
        weights = {name.removesuffix("_l0"): w for name, w in peer.state_dict().items()}
        cell.load_state_dict(weights)
        zeros = torch.zeros(batch, size)

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


def encoder(config: BenchConfig) -> list[Pair]:
    """Our encoder layer against PyTorch's: batch 64, 32 tokens, width 256, 8 heads, 1,024 hidden."""
    from coursework.models.transformer import EncoderLayer

    torch.manual_seed(0)
    peer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, batch_first=True)
    ours = EncoderLayer(256, 8, 1024, dropout=0.0)
    x = torch.randn(64, 32, 256)
    return [
        Pair(
            "encoder.vs_builtin",
            "encoder layer, forward and backward, against nn.TransformerEncoderLayer",
            _train_step(ours, x),
            _train_step(peer, x),
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
    transformer = model
    src = torch.randint(4, sizes.vocabulary, (config.decode_batch, config.decode_words // 2))

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
        )
        for name, width in (("greedy", 1), ("beam5", 5))
    ]


def gat(config: BenchConfig) -> list[Pair]:
    """Our GAT layer against the dense formulation and against PyG's ``GATConv``."""
    from torch_geometric.nn import GATConv

    from coursework.models.gat import GraphAttentionLayer, dense_attention_reference

    torch.manual_seed(0)
    x, edge_index = _graph(config, config.nodes)
    ours = GraphAttentionLayer(config.features, 16, 8, dropout=0.0)
    peer = GATConv(config.features, 2, 8, dropout=0.0, add_self_loops=False, bias=False)
    small_x, small_edges = _graph(config, config.dense_nodes)
    dense = torch.zeros(config.dense_nodes, config.dense_nodes)
    dense[small_edges[1], small_edges[0]] = 1.0
    reference = copy.deepcopy(ours)
    return [
        Pair(
            "gat.vs_pyg",
            f"GAT layer on {config.nodes:,} nodes, forward and backward, against PyG's GATConv",
            _train_step(ours, x, edge_index),
            _train_step(peer, x, edge_index),
        ),
        Pair(
            "gat.vs_dense",
            f"GAT layer on {config.dense_nodes:,} nodes, against the N x N x heads x 2F' formulation",
            _train_step(ours, small_x, small_edges),
            _train_step(lambda h, a: dense_attention_reference(reference, h, a), small_x, dense),
        ),
    ]


def gcn(config: BenchConfig) -> list[Pair]:
    """Our graph convolution against PyG's ``GCNConv`` with cached normalisation."""
    from torch_geometric.nn import GCNConv

    from coursework.models.gcn import GraphConvolution, normalise_adjacency

    torch.manual_seed(0)
    x, edge_index = _graph(config, config.nodes)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    ours = GraphConvolution(config.features, 16)
    peer = GCNConv(config.features, 16, cached=True)
    adjacency = normalise_adjacency(edge_index, config.nodes)
    return [
        Pair(
            "gcn.vs_pyg",
            f"graph convolution on {config.nodes:,} nodes, forward and backward, against GCNConv",
            _train_step(ours, x, adjacency),
            _train_step(peer, x, edge_index),
        )
    ]


BENCHES: dict[str, Callable[[BenchConfig], list[Pair]]] = {
    "lstm": lstm,
    "encoder": encoder,
    "decode": decode,
    "gat": gat,
    "gcn": gcn,
}


def measure(pair: Pair, rounds: int, warmup: int) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the peer, one pair per round, the order swapped every round."""
    ours: list[float] = []
    peer: list[float] = []
    for index in range(warmup + rounds):
        order = [(pair.ours, ours), (pair.peer, peer)]
        for step, times in order if index % 2 else reversed(order):
            started = time.perf_counter()
            step()
            elapsed = time.perf_counter() - started
            if index >= warmup:
                times.append(elapsed)
    return ours, peer


def run(names: list[str], preset: str, on_pair: Callable[[str], None] = lambda what: None) -> Run:
    """Measure the named rows.

    Returns:
        A run whose metrics are the median ratios, with both medians in seconds in its notes.

    Raises:
        ConfigError: If a row does not exist.
    """
    from coursework.data.sources import Source
    from coursework.experiments.base import Run

    for name in names:
        if name not in BENCHES:
            raise ConfigError(f"There is no benchmark {name!r}; choose from {', '.join(BENCHES)}.")
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    config = PRESETS[preset]
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    rows: list[list[Any]] = []
    for name in names or list(BENCHES):
        for pair in BENCHES[name](config):
            on_pair(pair.what)
            rounds = config.rounds
            if pair.key.startswith("decode.") or (
                pair.key == "gat.vs_dense" and config.dense_nodes > 1500
            ):
                rounds = min(rounds, 3)  # each takes tens of seconds
            ours, peer = measure(pair, rounds, min(config.warmup, rounds))
            ratios = [b / a for a, b in zip(ours, peer, strict=True)]
            metrics[pair.key] = statistics.median(ratios)
            rows.append(
                [
                    pair.key,
                    pair.what,
                    statistics.median(ours),
                    statistics.median(peer),
                    min(ratios),
                    max(ratios),
                ]
            )
    return Run(
        experiment="bench",
        preset=preset,
        config=config,
        seed=0,
        metrics=metrics,
        source=Source("generated tensors", "package", "", (), "MIT"),
        seconds=time.perf_counter() - started,
        notes={"rows": rows},
    )
