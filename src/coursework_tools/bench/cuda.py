"""Rows for a GPU: a training step recorded once as a CUDA graph and then replayed.

The networks of this course are small for a GPU. What their steps wait for is the host, which launches
one kernel after the other; a graph launches all of them at once. Without a GPU there are no such rows.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from coursework_tools.bench import layers
from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Pair, Step, device_of

LAYERS = (layers.lstm, layers.encoder, layers.gat, layers.gcn)
WARM_UP = 3
"""Steps before recording: libraries choose their kernels and take their memory in them."""


def captured(step: Step) -> Step:
    """A step as a CUDA graph; calling the result replays it on the same tensors.

    RuntimeError if the step waits for the GPU, or does something else that a graph cannot hold.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def pairs(config: BenchConfig) -> list[Pair]:
    """Every layer that has a peer, its step recorded, against the peer's and against its own without."""
    found: list[Pair] = []
    if device_of(config.device).type != "cuda":
        return found
    for pair in (p for rows in LAYERS for p in rows(config)):
        name, _, peer = pair.key.rpartition("vs_")
        if peer not in ("builtin", "pyg") or name.endswith("forward_"):
            continue
        try:
            replay = captured(pair.ours)
        except RuntimeError as error:  # says which operation cannot be recorded
            print(f"{pair.key}: not recorded as a CUDA graph ({str(error).splitlines()[0]})")
            torch.cuda.synchronize()
            continue
        # the memory of a graph is its own, taken when it was recorded
        graph = replace(pair, ours=replay, memory="none")
        what, _, against = pair.what.partition(", against ")
        what += ", recorded as a CUDA graph, against "
        theirs = replace(graph, key=f"graphs.{pair.key}", what=f"{what}{against} (step by step)")
        own = replace(graph, key=f"graphs.{name}vs_eager", what=f"{what}the same step by step")
        found += [theirs, replace(own, peer=pair.ours)]
    return found
