"""Our layers against the libraries', forward and backward."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Pair, Step, device_of

LSTM_SIZE = 256  # the hidden size whose rows have plain keys, and whose variants are compared


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


def graph(config: BenchConfig, nodes: int) -> tuple[Tensor, Tensor]:
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
    from coursework.experiments import translation, translation_all
    from coursework.models.beam_search import beam_search
    from coursework.models.transformer import Transformer, TransformerDecoding

    sizes = translation_all.PRESETS["full"]
    torch.manual_seed(0)
    model = translation.build(sizes, "transformer", (sizes.vocabulary,) * 2).eval()
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
    x, edge_index = graph(config, config.nodes)
    ours = GraphAttentionLayer(config.features, 16, 8, dropout=0.0).to(device)
    peer = GATConv(config.features, 2, 8, dropout=0.0, add_self_loops=False, bias=False).to(device)
    small_x, small_edges = graph(config, config.dense_nodes)
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
    x, edge_index = graph(config, config.nodes)
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
