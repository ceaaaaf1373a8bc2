"""How time and memory grow with the size of the input: points, and the exponent fitted to them.

Every curve is measured to the largest size of the configuration; the curves of the dense formulations
end where a tensor would no longer fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from coursework.data import text
from coursework.theory.cost import log_log_slope
from coursework_tools.bench import harness, layers
from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Findings, Gauge, Memory, Step
from coursework_tools.bench.work import attention_steps, raw_tweets

TAIL = 3
"""Points at the large end to which the exponent is fitted; at the small end fixed costs rule."""

Curve = tuple[str, str, str, Sequence[int], Callable[[int], Step]]  # name, what, of, sizes, step


def gauges(config: BenchConfig) -> Findings:
    """Edges, tokens, pixels, words and rows."""
    device = harness.device_of(config.device)
    fits = [n for n in config.growth_edges if dense_bytes(n) <= config.growth_bytes]
    dense = sorted({*fits, *(n // 3 for n in fits)})  # so that a short curve still has a slope
    tokens = config.growth_tokens
    softmax = [n for n in tokens if 4 * 4 * n * n <= config.growth_bytes]
    layer = partial(partial, graph_step)
    curves: list[Curve] = [
        ("gat_edges", "GAT layer", "edges", config.growth_edges, layer("gat", device)),
        ("gcn_edges", "graph convolution", "edges", config.growth_edges, layer("gcn", device)),
        ("dense_gat_edges", "GAT over all pairs", "edges", dense, layer("dense", device)),
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
    findings = Findings()
    for name, what, of, sizes, make in curves:
        memory: Memory = "python" if make is _cleaning else "tensors"
        findings.curves[name] = [_point(size, make(size), memory) for size in sizes]
        tail = findings.curves[name][-TAIL:]
        for kind, unit in (("seconds", "time"), ("bytes", "memory")):
            values = [point[kind] for point in tail]
            if len(tail) > 1 and min(values) > 0:
                slope = log_log_slope(sizes[-TAIL:], values)
                said = f"{what}: {unit} grows with the number of {of} to this power"
                findings.gauges.append(Gauge(f"growth.{name}_{unit}", said, slope, "exponent"))
    return findings


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
    texts, _ = raw_tweets(rows)
    return lambda: text.tokenise_many(texts, processes=1)
