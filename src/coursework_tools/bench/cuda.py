"""Rows for a GPU: a training step recorded once as a CUDA graph and then replayed.

The networks of this course are small for a GPU. What their steps wait for is the host, which launches
one kernel after the other; a graph launches all of them at once. Without a GPU there are no such rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from coursework_tools.bench import layers
from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Pair, Step, device_of

WARM_UP = 3
"""Steps before recording: libraries choose their kernels and take their memory in them."""


def captured(step: Step) -> Step:
    """A step as a CUDA graph; calling the result replays it on the same tensors.

    Raises:
        RuntimeError: If the step waits for the GPU, or does something else that a graph cannot hold.
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
    return list(_pairs(config)) if device_of(config.device).type == "cuda" else []


def _pairs(config: BenchConfig) -> Iterator[Pair]:
    for rows in (layers.lstm, layers.encoder, layers.gat, layers.gcn):
        for pair in rows(config):
            name, _, peer = pair.key.rpartition("vs_")
            if peer not in ("builtin", "pyg") or name.endswith("forward_"):
                continue
            try:
                replay = captured(pair.ours)
            except RuntimeError as error:  # says which operation cannot be recorded
                print(f"{pair.key}: not recorded as a CUDA graph ({str(error).splitlines()[0]})")
                torch.cuda.synchronize()
                continue
            what, _, against = pair.what.partition(", against ")
            # the memory of a graph is its own, taken when it was recorded
            graph = replace(pair, ours=replay, memory="none")
            yield replace(
                graph,
                key=f"graphs.{pair.key}",
                what=f"{what}, recorded as a CUDA graph, against {against} (step by step)",
            )
            yield replace(
                graph,
                key=f"graphs.{name}vs_eager",
                what=f"{what}, recorded as a CUDA graph, against the same step by step",
                peer=pair.ours,
            )
