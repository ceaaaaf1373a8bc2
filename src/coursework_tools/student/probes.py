"""How each object that is asked for is tried, in the order of the problems.

A probe is a function of a module and of random numbers (their shapes stand as defaults). Its name is how
its values are called in a remark, behind the kind of the remark unless that is "value".
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coursework_tools.student.engine import PROBES, Call

LATER = "leakage: the difference that later positions make to earlier ones"
Build = Callable[[Any], Any]
Shape = tuple[int, ...]


def made(name: str, *sizes: Any, **usual: Any) -> Callable[..., Build]:
    """Variants of an object: for each set of options a function that builds it from a module."""
    return lambda **options: lambda m: getattr(m, name)(*sizes, **usual | options)


def output(build: Build, shape: Shape, *rest: Any, **options: Any) -> Call:
    """What the object makes of random numbers, and of what comes beside them."""
    return lambda m, input=shape: build(m)(input, *rest, **options)


def drops(variant: Callable[..., Build], shape: Shape, *rest: Any) -> dict[str, Call]:
    """Dropout is off in eval mode; with probability one, what is left shows where it acts."""
    half = variant(dropout=0.5)

    def call(own: Any, x: Tensor) -> Tensor:
        found = own(x, *rest)
        return found[0] if isinstance(found, tuple) else found

    def twice(m: Any, input: Any = shape) -> Tensor:
        own = half(m).eval()
        return call(own, input) - call(own, input)

    return {
        "dropout: the difference of two runs in eval mode": twice,
        "dropout: the output in eval mode": lambda m, x=shape: call(half(m).eval(), x),
        "dropout: the output with dropout": lambda m, x=shape: call(variant(dropout=1.0)(m), x),
    }


def later(call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """How the first three positions change with what comes after them."""
    changed = [torch.cat([x[:, :3], 5.0 + x[:, 3:]], 1) for x in inputs]
    return call(*changed)[:, :3] - call(*inputs)[:, :3]


def weights(m: Any, Q: Tensor, K: Tensor, mask: Tensor | None = None) -> Tensor:
    return m.attention_weights(Q, K, scale=1.0, mask=mask)


def both_ways(**masks: Any) -> Call:
    return lambda m, x=SEQUENCE: [heads(fused=f)(m)(x, **masks)[0] for f in (False, True)]


def translating(call: Callable[[Any], Tensor]) -> Call:
    return lambda m: call(transformer()(m))


def steps_up(m: Any) -> Tensor:
    """Whether each number that is new is the next one: 0, 1, 2, ..."""
    highest = m.components(PIECES, 7).cummax(0).values
    return highest.diff(prepend=torch.tensor([-1])) < 2


def joined(m: Any) -> Tensor:
    number = m.components(PIECES, 7)
    return number[:, None] == number[None, :]


def counted(edges: Tensor) -> Tensor:
    return torch.zeros(3, 3).index_put((edges[1], edges[0]), torch.ones(len(edges[0])), True)


def strangers(m: Any, h: Any = (5, 6)) -> Tensor:
    """How the nodes without an edge from node 0 change with its features."""
    own = layer()(m)
    return (own(torch.cat([h[:1] + 7, h[1:]]), GRAPH) - own(h, GRAPH))[2:]


def large(m: Any, scores: Any = (10, 2)) -> Tensor:
    return m.edge_softmax(2000 * scores, GRAPH[1], 5)


def runs(own: nn.Module, x: Tensor) -> list[Tensor]:
    """How often each normalisation saw the batch in one pass."""
    own(x)
    return [value for name, value in own.state_dict().items() if "num_batches" in name]


# objects with their usual arguments
lstm = made("LSTM", 4, 4, num_layers=2)
heads = made("MultiHeadAttention", 12, 3)
encoder = made("EncoderLayer", 8, 2, 12, dropout=0.0)
decoder = made("DecoderLayer", 8, 2, 12, dropout=0.0)
forward = made("FeedForward", 8, 10)
plain = made("PlainGraphConvolution", 4, 4)
convolution = made("GraphConvolution", 6, 3)
gcn = made("GCN", 6, 5, 3, dropout=0.0)
all_pairs = made("DenseGraphAttentionLayer", 6, 12, 3, dropout=0.0)
layer = made("GraphAttentionLayer", 6, 12, 3, dropout=0.0)
gat = made("GAT", 6, 12, 4, dropout=0.0, alpha=0.2, n_heads=3)
transformer = made("Transformer", 11, 13, 8, 2, 1, 1, 12, 0.0)
unet = made("UNet", 1, 3, down=(4, 4), bottleneck=4, up=(4, 4))

PROBES["LSTMCell"] = {
    "the pair of states": lambda m, x=(3, 5), h=(3, 4), c=(3, 4): m.LSTMCell(5, 4)(x, (h, c)),
    "what lstm_update returns": lambda m, gates=(3, 16), c=(3, 4): m.lstm_update(gates, c),
    "the states without a bias": lambda m, x=(3, 5): m.LSTMCell(5, 4, bias=False)(x),
    "the pair of states for a single sample": lambda m, x=(5,): m.LSTMCell(5, 4)(x),
}
PROBES["LSTM"] = {
    "the output of one layer": lambda m, x=(6, 3, 4), h=(1, 3, 4): m.LSTM(4, 4)(x, (h, h / 2)),
    "the output of two layers": output(lstm(), (6, 3, 4)),
    "the output of two directions": output(made("LSTM", 5, 4, bidirectional=True)(), (6, 3, 5)),
    "the output of two layers and directions": lambda m, x=(6, 3, 4), h=(4, 3, 4): lstm(
        bidirectional=True
    )(m)(x, (h, h / 2)),
    **drops(lstm, (6, 3, 4)),
}

QUERIES, KEYS, VALUES, SEQUENCE, HEADS = (2, 4, 7), (2, 5, 7), (2, 5, 6), (2, 5, 12), (2, 4, 12)
SOME = torch.tensor([[1, 0, 1, 1, 0], [1, 0, 0, 1, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1]]).bool()
NONE = SOME & torch.tensor([True, True, False, True]).unsqueeze(1)  # the third may see nothing
SQUARE = SOME[[0, 1, 2, 3, 0]] | torch.eye(5, dtype=torch.bool)
PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
# with a scale, so that a wrong default is not counted in every probe
CAUSAL: Any = {"causal": True, "scale": 1.0}

PROBES["causal_mask"] = {
    "the mask": lambda m: (m.causal_mask(5, 5), m.causal_mask(3, 5)),
    "the mask without a second number": lambda m: m.causal_mask(4),
}
PROBES["attention"] = {
    "the matrix of weights": lambda m, Q=QUERIES, K=KEYS: m.attention_weights(Q, K),
    "the pair (output, weights)": lambda m, Q=QUERIES, K=KEYS, V=VALUES: m.attention(Q, K, V),
    "the weights with scale=0.3": lambda m, Q=QUERIES, K=KEYS: m.attention_weights(Q, K, scale=0.3),
    "masking: the weights with a mask": lambda m, Q=QUERIES, K=KEYS: weights(m, Q, K, SOME),
    "masking: the weights with a mask of numbers to add": lambda m, Q=QUERIES, K=KEYS, mask=(4, 5): (
        weights(m, Q, K, mask)
    ),
    "masking: the weights of a query that may attend to nothing": lambda m, Q=QUERIES, K=KEYS: (
        weights(m, Q, K, NONE)[:, 2]
    ),
    LATER: lambda m, K=KEYS, V=VALUES: later(lambda K, V: m.attention(K, K, V, **CAUSAL)[0], K, V),
    "leakage: the weights with causal=True": lambda m, K=KEYS: m.attention_weights(K, K, **CAUSAL),
}
PROBES["MultiHeadAttention"] = {
    "the output of all heads": lambda m, x=HEADS, y=SEQUENCE: heads()(m)(x, y)[0],
    "the weights of all heads": lambda m, x=HEADS, y=SEQUENCE: heads()(m)(x, y)[1],
    "the output with fused=True": lambda m, x=HEADS, y=SEQUENCE: heads(fused=True)(m)(x, y)[0],
    "masking: the output with padding": both_ways(key_padding_mask=PADDING),
    "masking: the output with masks": both_ways(mask=SQUARE, key_padding_mask=PADDING, causal=True),
    **drops(heads, SEQUENCE),
}
PROBES["PositionalEncoding"] = {
    "the encoding": lambda m: m.PositionalEncoding(8, max_length=20).encoding,
    "the encoding of an odd width": lambda m: m.PositionalEncoding(7, max_length=20).encoding,
    "the output from position 3 on": output(made("PositionalEncoding", 12)(), SEQUENCE, 3),
}
# as many positions as features: a norm over the wrong axis runs
SQUARES, WORDS = (2, 8, 8), (2, 5, 8)
MEMORY = torch.arange(80.0).double().sin().view(WORDS)
PROBES["EncoderLayer"] = {
    "the feed-forward network": output(forward(), WORDS),
    "the feed-forward network with gelu": output(forward(activation="gelu"), WORDS),
    "the layer's output (post-norm)": output(encoder(), SQUARES),
    "the layer's output (pre-norm)": output(encoder(norm_first=True), SQUARES),
    "masking: the output with padding": lambda m, x=WORDS: encoder()(m)(
        x, key_padding_mask=PADDING
    )[~PADDING],
    "masking: the output with a mask": output(encoder(), WORDS, mask=SQUARE),
    "leakage: the output with causal=True": output(encoder(), WORDS, causal=True),
    **drops(encoder, WORDS),
}
PROBES["DecoderLayer"] = {
    "the output (post-norm)": lambda m, x=SQUARES, y=WORDS: decoder()(m)(x, y),
    "the output (pre-norm)": lambda m, x=SQUARES, y=WORDS: decoder(norm_first=True)(m)(x, y),
    "masking: the output with padding": lambda m, x=SQUARES, y=WORDS: decoder()(m)(
        x, y, memory_key_padding_mask=PADDING
    ),
    LATER: lambda m, x=WORDS, y=WORDS: later(functools.partial(decoder()(m), memory=y), x),
    **drops(decoder, WORDS, MEMORY),
}
SOURCE = torch.tensor([[3, 4, 5, 6, 2], [7, 8, 2, 0, 0]])
TARGET = torch.tensor([[1, 5, 6, 7], [1, 9, 10, 12]])
CHANGED = torch.tensor([[1, 5, 3, 3], [1, 9, 3, 3]])

PROBES["Transformer"] = {
    "the matrix of logits": lambda m: transformer()(m)(SOURCE, TARGET),
    "masking: the difference that padding makes": translating(
        lambda model: model(SOURCE, TARGET)[1:] - model(SOURCE[1:, :3], TARGET[1:])
    ),
    LATER: translating(lambda model: (model(SOURCE, CHANGED) - model(SOURCE, TARGET))[:, :2]),
    "the logits of one word after the other": translating(
        lambda model: torch.stack([*map(model.start(SOURCE).step, TARGET.t())], 1)
    ),
}

# Directed, with a loop at 2, the edge 3 -> 2 twice, and node 6 without edges.
EDGES = torch.tensor([[5, 3, 3, 0, 2, 2, 1, 4, 0], [2, 2, 2, 2, 2, 1, 3, 1, 5]])
# 0 -> 4 <- 2, then 1 alone, then 3 -> 5 -> 6; no node reaches its whole component along the arrows
PIECES, NUMBERS = torch.tensor([[0, 2, 5, 3], [4, 4, 6, 5]]), torch.tensor([0, 1, 0, 2, 0, 2, 2])
TOGETHER = NUMBERS[:, None] == NUMBERS[None, :]
LONG_PATH = torch.stack([torch.arange(1, 3000), torch.arange(2999)])
SIZES = torch.tensor([[0, 2, 6, 3, 6], [1, 5, 2, 4, 5]])  # {0, 1}, {2, 5, 6}, {3, 4}
EQUAL = torch.tensor([[1, 0], [3, 2]])

PROBES["neighbours"] = {
    "the list of neighbours": lambda m: [m.neighbours(EDGES, node) for node in (2, 1, 6)],
    "whether the list is sorted": lambda m: (m.neighbours(EDGES, 2).diff() >= 0).all(),
    "the number of repetitions": lambda m: (m.neighbours(EDGES, 2).bincount() - 1).clamp(0).sum(),
}
PROBES["components"] = {
    "the list of components": lambda m: m.components(PIECES, 7),
    "whether nodes without a path are together": lambda m: joined(m)[~TOGETHER],
    "whether nodes with a path are together": lambda m: joined(m)[TOGETHER],
    "whether the numbers ascend": steps_up,
    "the list without edges": lambda m: m.components(torch.empty(2, 0, dtype=torch.int64), 3),
    "the list of components of a long path": lambda m: m.components(LONG_PATH, 3000),
}
PROBES["largest_component"] = {
    "the list of nodes": lambda m: m.largest_component(SIZES, 7).nodes,
    "the list of edges": lambda m: m.largest_component(SIZES, 7).edge_index,
    "the list of nodes of one of two components of equal size": lambda m: (
        m.largest_component(EQUAL, 4).nodes
    ),
}
PROBES["aggregate"] = {
    "the mean over the neighbours": lambda m, x=(7, 3): m.aggregate(x, EDGES, "mean"),
    "the sum over the neighbours": lambda m, x=(7, 3): m.aggregate(x, EDGES, "sum"),
    "whether a mean is NaN": lambda m, x=(7, 3): m.aggregate(x, EDGES, "mean").isnan(),
}
PROBES["PlainGraphConvolution"] = {
    "the mean's convolution": output(plain(aggregation="mean"), (7, 4), EDGES),
    "the sum's convolution": output(plain(aggregation="sum"), (7, 4), EDGES),
    "the convolution without activation": output(plain(activation=None), (7, 4), EDGES),
}

# 0 - 1 - 2 - 3 and 1 - 3, undirected; in ARROWS only some of the directions; node 4 has no edges
LINKS = torch.tensor([[0, 1, 1, 2, 2, 3, 1, 3], [1, 0, 2, 1, 3, 2, 3, 1]])
ARROWS = torch.tensor([[0, 1, 3, 3, 2], [1, 2, 1, 0, 3]])
LOOPED = torch.tensor([[0, 1, 1], [1, 1, 0]])  # node 1 has a loop already
GRAPH = torch.cat([ARROWS, torch.arange(5).expand(2, -1)], 1)  # a loop at every node
MATRIX = torch.zeros(5, 5).double().index_put((GRAPH[1], GRAPH[0]), torch.ones(()).double())
# not symmetric, and sums to one in no direction
PROPAGATION = MATRIX.sum(1).rsqrt().unsqueeze(1) * MATRIX * MATRIX.sum(1).rsqrt()

PROBES["normalise_adjacency"] = {
    "the matrix of the edges with self-loops": lambda m: counted(m.add_self_loops(LOOPED, 3)),
    "the matrix of an undirected graph": lambda m: m.normalise_adjacency(LINKS, 5),
    "the matrix of a directed graph": lambda m: m.normalise_adjacency(ARROWS, 5),
}
PROBES["GraphConvolution"] = {
    "the convolution": output(convolution(), (5, 6), PROPAGATION),
    "the convolution with a sparse matrix": output(convolution(), (5, 6), PROPAGATION.to_sparse()),
    "the convolution without a bias": output(convolution(bias=False), (5, 6), PROPAGATION),
}
PROBES["GCN"] = {
    "the matrix of logits": output(gcn(), (5, 6), PROPAGATION),
    **drops(gcn, (5, 6), PROPAGATION),
}

PROBES["DenseGraphAttentionLayer"] = {
    "the layer's output": output(all_pairs(), (5, 6), MATRIX),
    "the output with is_concat=False": output(all_pairs(is_concat=False), (5, 6), MATRIX),
    "the output for another slope": output(all_pairs(alpha=0.7), (5, 6), MATRIX),
    **drops(all_pairs, (5, 6), MATRIX),
}
PROBES["GraphAttentionLayer"] = {
    "the softmax over the edges": lambda m, scores=(10, 2): m.edge_softmax(scores, GRAPH[1], 5),
    "whether the softmax of large scores is finite": lambda m, s=(10, 2): large(m, s).isfinite(),
    "the softmax of large scores": large,
    "the weights of the edges": lambda m, s=(5, 3, 4): layer()(m).edge_attention(s, GRAPH),
    "the layer's output": output(layer(), (5, 6), GRAPH),
    "the output with is_concat=False": output(layer(is_concat=False), (5, 6), GRAPH),
    "the output with share_attention=True": output(layer(share_attention=True), (5, 6), GRAPH),
    "leakage: the difference that strangers make": strangers,
    **drops(layer, (5, 6), GRAPH),
}
PROBES["GAT"] = {
    "the matrix of logits": output(gat(), (5, 6), GRAPH),
    "the matrix of logits for another slope": output(gat(alpha=0.7), (5, 6), GRAPH),
    **drops(gat, (5, 6), GRAPH),
}

IMAGES, COLOURS = (2, 1, 8, 12), (2, 3, 6, 8)
PROBES["Down"] = {
    "the output of Block": lambda m, x=COLOURS: m.Block(3, 4)(x),
    "the output of a Block of two convolutions": lambda m, x=COLOURS: m.Block(3, 4, 2)(x),
    "the pair (down, skip_connection)": lambda m, x=COLOURS: m.Down(3, 4)(x),
    "the number of runs in one pass": lambda m, x=COLOURS: runs(m.Down(3, 4), x),
}
PROBES["Up"] = {
    "the output of Up": lambda m, x=(2, 4, 3, 4), skip=(2, 4, 6, 8): m.Up(4, 4, 5)(x, skip),
}
PROBES["UNet"] = {
    "the output of UNet": output(unet(), IMAGES),
    "the output without skip connections": output(unet(disable_skip_connections=True), IMAGES),
    "the output for sides that are no multiples of 4": output(unet(), (2, 1, 7, 10)),
    "the number of runs in one pass": lambda m, x=IMAGES: runs(unet()(m), x),
    "the number of parameters": lambda m: torch.tensor(
        sum(map(torch.numel, m.UNet().parameters()))
    ),
}
