"""Run the benchmark: rows with a peer as median ratios, gauges as numbers, with the machine's limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from coursework.data.sources import Source
from coursework.errors import ConfigError
from coursework.experiments.base import Run
from coursework.training.threads import limited_threads
from coursework_tools.bench import cuda, gauges, growth, harness, layers, work
from coursework_tools.bench.config import PRESETS, BenchConfig, judged
from coursework_tools.bench.harness import Findings, Pair

PAIRS: dict[str, Callable[[BenchConfig], list[Pair]]] = {
    "lstm": layers.lstm,
    "encoder": layers.encoder,
    "decode": layers.decode,
    "gat": layers.gat,
    "gcn": layers.gcn,
    "cora": work.cora,
    "attention": work.attention,
    "tokens": work.tokens,
    "canvases": work.canvases,
    "buckets": work.buckets,
    "cores": layers.cores,
    "graphs": cuda.pairs,
}
GAUGES: dict[str, Callable[[BenchConfig], Findings]] = {
    "work": gauges.work,
    "growth": growth.gauges,
    "load": gauges.load,
    "start": gauges.start,
    "training": gauges.training,
}


def run(
    names: list[str],
    preset: str,
    on_pair: Callable[[str], None] = lambda what: None,
    *,
    device: str | None = None,
    threads: int | None = None,
) -> Run:
    """Measure the named rows of :data:`PAIRS` and :data:`GAUGES`; all where none is named.

    The run's metrics are the median ratios and the gauges. Its notes have the rows with quartiles,
    medians in seconds, peak memory, the limit that was measured and the share of it.
    """
    config = _config(names, preset, device, threads)
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[dict[str, float]]] = {}
    for name in names or [*PAIRS, *GAUGES]:
        if name in PAIRS:
            for pair in PAIRS[name](config):
                on_pair(pair.what)
                rows.append(_timed(pair, config))
        else:
            on_pair(f"{name} ...")
            with limited_threads(config.threads):
                findings = GAUGES[name](config)
            curves |= findings.curves
            rows += map(asdict, findings.gauges)
    for row in rows:
        # the goals are set for the sizes of the full preset
        row |= judged(row["key"] if preset == "full" else "", _value(row))
    machine = harness.limit(torch.device(config.device), config.threads)
    gigas = {"matrix products, GFLOP/s": machine.flops / 1e9, "memory, GB/s": machine.bytes / 1e9}
    return Run(
        experiment="bench",
        preset=preset,
        config=config,
        seed=0,
        metrics={row["key"]: _value(row) for row in rows},
        source=Source("generated tensors", "package", "", (), "MIT"),
        seconds=time.perf_counter() - started,
        curves=curves,
        notes={"rows": rows, "limit": gigas},
    )


def _config(names: list[str], preset: str, device: str | None, threads: int | None) -> BenchConfig:
    known = [*PAIRS, *GAUGES]
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no benchmark {name!r}; choose from {', '.join(known)}.")
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    config = PRESETS[preset]
    where = harness.device_of(device or config.device).type
    return replace(config, device=where, threads=config.threads if threads is None else threads)


def _value(row: dict[str, Any]) -> float:
    value: float = row["ratio"][1] if "ratio" in row else row["value"]
    return value


def _timed(pair: Pair, config: BenchConfig) -> dict[str, Any]:
    """Time a pair and take its peak memory."""
    count = pair.threads or config.threads
    rounds, warmup = config.rounds, config.warmup
    if pair.most_rounds is not None:
        rounds, warmup = min(rounds, pair.most_rounds), min(warmup, 1)
    with limited_threads(count):
        ours, peer = harness.measure(pair, rounds, warmup)
        memory = [harness.peak_memory(step, pair.memory) for step in (pair.ours, pair.peer)]
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    times = {"ours": ours, "peer": peer, "ratio": ratios}
    measured: dict[str, Any] = {name: harness.quartiles(values) for name, values in times.items()}
    measured |= {"rounds": rounds, "threads": count, "memory": memory}
    shortest = harness.limit(torch.device(config.device), count).seconds(pair) or None
    share = shortest / harness.quartiles(ours)[1] if shortest else None
    return {"key": pair.key, "what": pair.what, **measured, "limit": shortest, "share": share}
