"""Our layers against the libraries', forward and backward."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from coursework.experiments import preset_of, translation
from coursework.models.beam_search import beam_search
from coursework.models.gat import DenseGraphAttentionLayer, GraphAttentionLayer
from coursework.models.gcn import GCNIIConvolution, SparseGraphConvolution, normalise_adjacency
from coursework.models.lstm import LSTM, LSTMCell, scan
from coursework.models.transformer import EncoderLayer
from coursework_tools.bench.harness import BenchConfig, Pair, Step

LSTM_SIZE = 256  # the hidden size whose rows have plain keys, and whose variants are compared


def _train_step(module: Callable[..., Any], *inputs: Any) -> Step:
    """Forward and backward, gradients of parameters included."""

    def step() -> None:
        output = module(*inputs)
        (output[0] if isinstance(output, tuple) else output).sum().backward()

    return step


def _pair(key: str, what: str, ours: Sequence[Any], peer: Sequence[Any], **rest: Any) -> Pair:
    """Training steps of two modules, each with its inputs behind it."""
    return Pair(key, what, _train_step(*ours), _train_step(*peer), **rest)


def graph(config: BenchConfig, nodes: int) -> tuple[Tensor, Tensor]:
    """Features ``[N, F]`` and edges ``[2, E]`` of a random graph, both ways and with self-loops."""
    generator = torch.Generator().manual_seed(0)
    edges = int(config.edges * nodes / config.nodes)
    pairs = torch.randint(nodes, (2, edges), generator=generator)
    pairs = pairs[:, pairs[0] != pairs[1]]
    loops = torch.arange(nodes).expand(2, -1)
    edge_index = torch.cat([pairs, pairs.flip(0), loops], dim=1)
    x = torch.rand(nodes, config.features, generator=generator)
    return x.to(config.device), torch.unique(edge_index, dim=1).to(config.device)


def lstm(config: BenchConfig) -> Iterator[Pair]:
    """Our LSTM against ``nn.LSTM`` at several sizes, at H = 256 against slower versions of itself too."""
    batch, steps, device = config.lstm_batch, config.lstm_steps, config.device
    for size in config.lstm_sizes:
        torch.manual_seed(0)
        peer = nn.LSTM(size // 2, size).to(device)
        ours = LSTM(size // 2, size).to(device)
        ours.load_state_dict(peer.state_dict())
        x = torch.randn(steps, batch, size // 2, device=device)
        weights = 4 * size * (size // 2 + size)
        forward = 2.0 * steps * batch * weights
        backward = forward + 2.0 * steps * batch * 4 * size * size  # the inputs need no gradient
        moved = 4.0 * (steps * batch * (size // 2 + size) + weights)
        prefix = "lstm." if size == LSTM_SIZE else f"lstm.h{size}_"
        what = f"LSTM layer, H {size}, I {size // 2}, B {batch}, T {steps}, forward"
        cost = {"flops": forward + backward, "bytes": 3 * moved}
        both = f"{what} and backward, against nn.LSTM"
        yield _pair(f"{prefix}vs_builtin", both, (ours, x), (peer, x), **cost)
        mine, theirs = (partial(torch.no_grad()(one), x) for one in (ours, peer))
        key, said = f"{prefix}forward_vs_builtin", f"{what}, against nn.LSTM"
        yield Pair(key, said, mine, theirs, flops=forward, bytes=moved)
        if size == LSTM_SIZE:
            against = "and backward, against a loop of LSTMCell"
            plain = what.replace("layer", "loop with hoisted inputs")
            naive, hoisted = _loops(ours, x)
            yield _pair("lstm.hoisted_vs_naive", f"{plain} {against}", (hoisted, x), (naive, x))
            yield _pair("lstm.vs_naive", f"{what} {against}", (ours, x), (naive, x))


def _loops(ours: LSTM, x: Tensor) -> tuple[Callable[[Tensor], Tensor], ...]:
    """A naive loop over :class:`LSTMCell`, and one with its input products hoisted out (:func:`scan`)."""
    cell = LSTMCell(ours.input_size, ours.hidden_size).to(x.device)
    cell.load_state_dict({k.removesuffix("_l0"): w for k, w in ours.state_dict().items()})
    zeros = torch.zeros(x.shape[1], ours.hidden_size, device=x.device)

    def naive(x: Tensor) -> Tensor:
        states = [(zeros, zeros)]
        for x_t in x:
            states.append(cell(x_t, states[-1]))
        return torch.stack([h for h, _ in states[1:]])

    def hoisted(x: Tensor) -> Tensor:
        w, sizes = dict(cell.named_parameters()), [x.shape[1]] * len(x)
        bias, state = w["bias_ih"] + w["bias_hh"], (zeros, zeros)
        return scan(x.flatten(0, 1), sizes, w["weight_ih"], w["weight_hh"], bias, state, False)[0]

    return naive, hoisted


def cores(config: BenchConfig) -> list[Pair]:
    """The layers whose kernels share work between threads, with all cores of the machine."""
    count = os.cpu_count() or 1
    one_size = replace(config, lstm_sizes=config.lstm_sizes[-1:])
    pairs = {"lstm": next(lstm(one_size)), "encoder": next(encoder(config))}
    return [
        replace(p, key=f"cores.{name}_vs_builtin", what=f"{p.what}, {count} threads", threads=count)
        for name, p in pairs.items()
    ]


def encoder(config: BenchConfig) -> Iterator[Pair]:
    """Our encoder layer (fused) against PyTorch's: batch 64, 32 tokens, width 256, 8 heads, 1,024 hidden."""
    torch.manual_seed(0)
    device = config.device
    peer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, batch_first=True).to(device)
    ours = EncoderLayer(256, 8, 1024, dropout=0.0, fused=True).to(device)
    x = torch.randn(64, 32, 256, device=device)
    weights = 4 * 256**2 + 2 * 256 * 1024
    products = 2.0 * x.shape[0] * x.shape[1] * (weights + 2 * x.shape[1] * 256)
    what = "encoder layer (fused), forward and backward, against nn.TransformerEncoderLayer"
    cost = {"flops": 3 * products, "bytes": 3.0 * 4 * (weights + 2 * x.numel())}
    yield _pair("encoder.vs_builtin", what, (ours, x), (peer, x), **cost)


def decode(config: BenchConfig) -> Iterator[Pair]:
    """Beam search with keys and values kept, against running the decoder over all words at each step."""
    sizes = preset_of("translation_all", "full")
    torch.manual_seed(0)
    model: Any = translation.build(sizes, "transformer", (sizes.vocabulary,) * 2)
    model = model.eval().to(config.device)
    uncached = SimpleNamespace(start=partial(model.start, cached=False))
    words, count = config.decode_words, config.decode_batch
    src = torch.randint(4, sizes.vocabulary, (count, words // 2), device=config.device)
    # every new word meets every weight of the decoder and of the output layer once
    weights = sum(p.numel() for name, p in model.named_parameters() if "encoder" not in name)

    # random weights; no word counts as the end, so that both variants do the same work
    search = partial(beam_search, src=src, max_length=words, sos=2, eos=-1)
    what = f"{words} words for {count} sentences, {{}}, against no key-value cache"
    for name, how, width in (("greedy", "greedy", 1), ("beam5", "beam of 5", 5)):
        yield Pair(f"decode.{name}_vs_uncached", what.format(how),
                   partial(search, model, width=width), partial(search, uncached, width=width),
                   most_rounds=3,  # each takes seconds
                   flops=2.0 * weights * words * count * width, bytes=4.0 * weights * words,
                   memory="none")  # fmt: skip


def gat(config: BenchConfig) -> Iterator[Pair]:
    """Our GAT layer against the dense formulation and against PyG's ``GATConv``."""
    from torch_geometric.nn import GATConv

    torch.manual_seed(0)
    device, small = config.device, config.dense_nodes
    x, edges = graph(config, config.nodes)
    ours = GraphAttentionLayer(config.features, 16, 8, dropout=0.0).to(device)
    peer = GATConv(config.features, 2, 8, dropout=0.0, add_self_loops=False, bias=False).to(device)
    small_x, small_edges = graph(config, small)
    dense = torch.zeros(small, small, device=device)
    dense[small_edges[1], small_edges[0]] = 1.0
    literal = DenseGraphAttentionLayer(config.features, 16, 8, dropout=0.0).to(device)
    what = f"GAT layer on {config.nodes:,} nodes, forward and backward, against PyG's GATConv"
    against = f"GAT layer on {small:,} nodes, against the N x N x heads x 2F' formulation"
    rounds = 3 if small > 1500 else None  # each takes seconds
    yield _pair("gat.vs_pyg", what, (ours, x, edges), (peer, x, edges), **_graph_cost(x, edges))
    cost = _graph_cost(small_x, small_edges) | {"most_rounds": rounds}
    pairs = (ours, small_x, small_edges), (literal, small_x, dense)
    yield _pair("gat.vs_dense", against, *pairs, **cost)


def gcn(config: BenchConfig) -> Iterator[Pair]:
    """Our graph convolutions against PyG's, which keep the normalised matrix too."""
    from torch_geometric.nn import GCN2Conv, GCNConv

    torch.manual_seed(0)
    x, edges = graph(config, config.nodes)
    edges = edges[:, edges[0] != edges[1]]
    ours = SparseGraphConvolution(config.features, 16).to(x.device)
    peer = GCNConv(config.features, 16, cached=True).to(x.device)
    deep = GCNIIConvolution(64, 1, 0.1, 0.5).to(x.device)
    deep_peer = GCN2Conv(64, 0.1, 0.5, 1, cached=True).to(x.device)
    h, adj = torch.rand(len(x), 64, device=x.device), normalise_adjacency(edges, config.nodes)
    what = f"{{}} on {config.nodes:,} nodes, forward and backward, against {{}}"
    plain, cost = what.format("graph convolution", "GCNConv"), _graph_cost(x, edges)
    yield _pair("gcn.vs_pyg", plain, (ours, x, adj), (peer, x, edges), **cost)
    what, cost = what.format("GCNII layer", "GCN2Conv"), _graph_cost(h, edges, 64)
    yield _pair("gcnii.vs_pyg", what, (deep, h, h, adj), (deep_peer, h, h, edges), **cost)


def _graph_cost(x: Tensor, edge_index: Tensor, width: int = 16) -> dict[str, Any]:
    """Forward and backward of a layer on dense features: the product with the weights and its
    gradient, the features read twice, the messages and their ends once each way."""
    moved = 2 * x.nbytes + 2 * (edge_index.nbytes + 4 * edge_index.shape[1] * width)
    return {"flops": 4.0 * x.numel() * width, "bytes": float(moved)}


# The networks of this course are small for a GPU. What their steps wait for is the host, which launches
# one kernel after the other; a CUDA graph, recorded once, launches all of them at once when replayed.
def captured(step: Step) -> Step:
    """A step as a CUDA graph, replayed when it is called; RuntimeError if a graph cannot hold it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose kernels and take their memory in the first steps
            step()
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay


def graphs(config: BenchConfig) -> Iterator[Pair]:
    """Every layer that has a peer, its step recorded, against the peer's and against its own without."""
    layers = (lstm, encoder, gat, gcn) if config.device == "cuda" else ()
    for pair in (p for rows in layers for p in rows(config)):
        name, _, peer = pair.key.rpartition("vs_")
        if peer not in ("builtin", "pyg") or name.endswith("forward_"):
            continue
        try:
            # the memory of a graph is its own, taken when it was recorded
            recorded = replace(pair, ours=captured(pair.ours), memory="none")
        except RuntimeError as error:  # says which operation cannot be recorded
            print(f"{pair.key}: not recorded as a CUDA graph ({str(error).splitlines()[0]})")
            torch.cuda.synchronize()
            continue
        what, against = pair.what.split(", against ")
        for key, peer_step, how in (
            (pair.key, pair.peer, f"{against} (step by step)"),
            (f"{name}vs_eager", pair.ours, "the same step by step"),
        ):
            said = f"{what}, recorded as a CUDA graph, against {how}"
            yield replace(recorded, key=f"graphs.{key}", what=said, peer=peer_step)
