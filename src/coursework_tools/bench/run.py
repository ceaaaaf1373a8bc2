"""Run the benchmark: rows with a peer as median ratios, gauges as numbers, with the machine's limit."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from coursework.data.sources import Source
from coursework.errors import ConfigError
from coursework.experiments.base import Run
from coursework.training.parallel import limited_threads
from coursework_tools.bench import gauges, harness, layers, work
from coursework_tools.bench.harness import PRESETS, BenchConfig, Curve, Gauge, Pair, judged

# name of a row -> what measures it
ROWS: dict[str, Callable[[BenchConfig], Iterable[Pair | Gauge | Curve]]] = {
    make.__name__: make
    for make in (
        layers.lstm, layers.encoder, layers.decode, layers.gat, layers.gcn, work.cora, work.attention,
        work.tokens, work.canvases, work.buckets, layers.cores, layers.graphs,
        gauges.work, gauges.growth, gauges.load, gauges.start, gauges.training,
    )
}  # fmt: skip


def run(
    names: Sequence[str],
    preset: str,  # of PRESETS
    say: Callable[[str], object] = lambda what: None,
    **changes: Any,  # of its config
) -> Run:
    """Measure the named rows (all by default); the notes hold quartiles, memory and the limit."""
    if wrong := [name for name in names if name not in ROWS]:
        raise ConfigError(f"There is no benchmark {wrong[0]!r}; choose from {', '.join(ROWS)}.")
    config = replace(PRESETS[preset], **changes)
    config = replace(config, device=harness.device_of(config.device))
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[dict[str, float]]] = {}
    for name in names or ROWS:
        say(f"{name} ...")
        found = ROWS[name](config)
        with limited_threads(1):
            for one in found:
                if isinstance(one, Pair):
                    rows.append(_timed(one, config))
                elif isinstance(one, Gauge):
                    rows.append(one._asdict())
                else:
                    curves.update([one])
    values: dict[str, float] = {}
    for row in rows:
        key = row["key"]
        values[key] = float(row["ratio"][1] if "ratio" in row else row["value"])
        # the goals are set for the sizes of the full preset
        row |= judged(key if preset == "full" else "", values[key])
    flops, moved = harness.limit(config.device, 1)
    gigas = {"matrix products, GFLOP/s": flops / 1e9, "memory, GB/s": moved / 1e9}
    source = Source("generated tensors", "generated", "", (), "MIT")
    notes, seconds = {"rows": rows, "limit": gigas}, time.perf_counter() - started
    return Run("bench", preset, config, 0, values, source, seconds, curves=curves, notes=notes)


def _timed(pair: Pair, config: BenchConfig) -> dict[str, Any]:
    """Time a pair and take its memory; its limit is that of a roofline (Williams et al. 2009)."""
    rounds, warmup = config.rounds, config.warmup
    if pair.most_rounds is not None:
        rounds, warmup = min(rounds, pair.most_rounds), min(warmup, 1)
    with limited_threads(pair.threads):
        ours, peer = harness.measure(pair, rounds, warmup)
        memory = [harness.peak_memory(step, pair.memory) for step in (pair.ours, pair.peer)]
    times = {"ours": ours, "peer": peer, "ratio": [b / a for a, b in zip(ours, peer, strict=True)]}
    measured: dict[str, Any] = {name: harness.quartiles(values) for name, values in times.items()}
    measured |= {"rounds": rounds, "threads": pair.threads, "memory": memory}
    flops, moved = harness.limit(config.device, pair.threads)
    shortest = max(pair.flops / flops, pair.bytes / moved) or None
    share = shortest / measured["ours"][1] if shortest else None
    return {"key": pair.key, "what": pair.what, **measured, "limit": shortest, "share": share}
