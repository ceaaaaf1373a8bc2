"""How time and memory grow with the size of the input: points, and the exponent fitted to them.

Every curve is measured to the largest size of the configuration; the curves of the dense formulations
end where a tensor would no longer fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from coursework.theory.cost import log_log_slope
from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import (
    Findings,
    Gauge,
    Memory,
    Step,
    device_of,
    peak_memory,
    repeated,
)
from coursework_tools.bench.work import attention_steps, raw_tweets

TAIL = 3
"""Points at the large end to which the exponent is fitted; at the small end fixed costs rule."""


def gauges(config: BenchConfig) -> Findings:
    """Edges, tokens, pixels, words and rows."""
    findings = Findings()
    device = device_of(config.device)
    fits = [n for n in config.growth_edges if dense_bytes(n) <= config.growth_bytes]
    softmax = [n for n in config.growth_tokens if 4 * 4 * n * n <= config.growth_bytes]
    _curve(findings, "gat_edges", "GAT layer", "edges", config.growth_edges,
           partial(graph_step, "gat", device))  # fmt: skip
    _curve(findings, "gcn_edges", "graph convolution", "edges", config.growth_edges,
           partial(graph_step, "gcn", device))  # fmt: skip
    _curve(findings, "dense_gat_edges", "GAT over all pairs", "edges", _with_steps(fits),
           partial(graph_step, "dense", device))  # fmt: skip
    _curve(findings, "linear_attention_tokens", "linear attention", "tokens", config.growth_tokens,
           partial(_attention, 0, device))  # fmt: skip
    _curve(findings, "softmax_attention_tokens", "softmax attention", "tokens", softmax,
           partial(_attention, 1, device))  # fmt: skip
    _curve(findings, "unet_pixels", "U-Net of the assignment", "pixels",
           [side * side for side in config.growth_pixels], partial(_unet, device))  # fmt: skip
    _curve(findings, "output_words", "output layer and its loss, 256 tokens of width 256", "words",
           config.growth_words, partial(_output, device))  # fmt: skip
    _curve(findings, "cleaning_rows", "cleaning and tokenising", "tweets", config.growth_rows,
           _cleaning, memory="python")  # fmt: skip
    return findings


def _curve(
    findings: Findings,
    name: str,
    what: str,
    of: str,
    sizes: Iterable[int],
    make: Callable[[int], Step],
    memory: Memory = "tensors",
) -> None:
    """Measure one curve and fit both exponents."""
    points = []
    for size in sizes:
        step = make(size)
        low, middle, high = repeated(step, 3)
        peak = peak_memory(step, memory) or 0.0
        points.append(
            {"size": float(size), "seconds": middle, "low": low, "high": high, "bytes": peak}
        )
    findings.curves[name] = points
    tail = points[-TAIL:]
    for kind, unit in (("seconds", "time"), ("bytes", "memory")):
        if len(tail) > 1 and all(point[kind] > 0 for point in tail):
            slope = log_log_slope(
                [int(point["size"]) for point in tail], [point[kind] for point in tail]
            )
            text = f"{what}: {unit} grows with the number of {of} to this power"
            findings.gauges.append(Gauge(f"growth.{name}_{unit}", text, slope, "exponent"))


def _with_steps(sizes: list[int]) -> list[int]:
    """A point between each two, so that a short curve still has a slope."""
    between = [size // 3 for size in sizes]
    return sorted({*sizes, *between})


def dense_bytes(edges: int) -> int:
    """Bytes of the N x N x 8 x 2F' pairs of the graph with that many edges, F' = 2."""
    return 4 * (edges // 4) ** 2 * 8 * 4


def graph_step(kind: str, device: torch.device, edges: int) -> Step:
    """Forward and backward of a layer (16 features to 16) on a graph of ``edges / 4`` nodes."""
    from coursework.models.gat import GraphAttentionLayer, dense_attention_reference
    from coursework.models.gcn import GraphConvolution
    from coursework.models.sparse import sparse_csr

    nodes = edges // 4
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(nodes, 16, generator=generator)
    edge_index = torch.randint(nodes, (2, edges - nodes), generator=generator)
    edge_index = torch.cat([edge_index, torch.arange(nodes).expand(2, -1)], dim=1).to(device)
    x = x.to(device)
    torch.manual_seed(0)
    if kind == "gcn":
        convolution = GraphConvolution(16, 16).to(device)
        values = torch.full((edges,), 0.25, device=device)
        matrix = sparse_csr(edge_index[1], edge_index[0], values, (nodes, nodes))
        return lambda: convolution(x, matrix).sum().backward()
    layer = GraphAttentionLayer(16, 16, 8, dropout=0.0).to(device)
    if kind == "gat":
        return lambda: layer(x, edge_index).sum().backward()
    dense = torch.zeros(nodes, nodes, device=device)
    dense[edge_index[1], edge_index[0]] = 1.0
    return lambda: dense_attention_reference(layer, x, dense).sum().backward()


def _attention(which: int, device: torch.device, n: int) -> Step:
    return attention_steps(n, device)[which]


def _unet(device: torch.device, pixels: int) -> Step:
    from coursework.experiments import segmentation

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
    from coursework.data import text

    texts, _ = raw_tweets(rows)
    return lambda: text.tokenise_many(texts, processes=1)
