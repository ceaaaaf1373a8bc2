"""Sizes and goals of the benchmark, and how a row is measured: pairs in turn, with peak memory."""

import fnmatch
import functools
import gc
import operator
import time
import tomllib
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from coursework.config import Count, Index, config
from coursework.errors import ConfigError
from coursework.theory.cost import peak_bytes
from coursework.training.parallel import limited_threads

Sizes = tuple[Count, ...]
Device = Literal["auto", "cpu", "cuda"]


@config
class BenchConfig:
    """Sizes and repetitions."""

    rounds: Count = 15  # timed rounds; each times both variants once
    warmup: Index = 3  # rounds before, not timed
    device: Device = "auto"  # where the networks run
    nodes: Count = 2708  # of the generated graph; nodes, edges and features as Cora has
    edges: Count = 5278  # undirected
    features: Count = 1433
    dense_nodes: Count = 2708  # for the dense attention, which takes 2.6 GB at 2,708 nodes
    lstm_sizes: Sizes = (64, 128, 256, 512)  # hidden sizes H, on H / 2 inputs
    lstm_batch: Count = 64  # sequences of its batch
    lstm_steps: Count = 32  # time steps of each
    decode_batch: Count = 16  # sentences translated side by side
    decode_words: Count = 60  # words that every hypothesis is made to have
    attention_tokens: Count = 8192  # length at which linear and softmax attention are compared
    tweets: Count = 400_000  # tweets that are cleaned by ours and by pandas
    all_tweets: bool = True  # whether all tweets are cleaned, for the seconds that it takes
    canvases: Count = 2000  # canvases that are composed
    looped_canvases: Count = 500  # canvases that a loop over pixels composes
    buckets: Count = 8  # batches of a sentiment training with and without padding
    bucket_size: Count = 512  # most tweets of one
    growth: dict[str, Sizes] = field(default_factory=dict)  # sizes of the curves
    trainings: tuple[str, ...] = ()  # experiments whose training is taken apart


TOML = tomllib.loads(Path(__file__).with_name("bench.toml").read_text(encoding="utf-8"))
PRESETS = {name: BenchConfig(**TOML[name]) for name in ("full", "quick")}


def judged(key: str, value: float) -> dict[str, Any]:
    """What a row of the full benchmark should reach, and whether it does; None where there is no goal."""
    for kind, sign, met in (("at_least", "≥", operator.ge), ("at_most", "≤", operator.le)):
        for pattern, bound in TOML[kind].items():
            if fnmatch.fnmatchcase(key, pattern):
                return {"goal": f"{sign} {bound:g}", "met": met(value, bound)}
    return {"goal": None, "met": None}


Step = Callable[[], Any]
Memory = Literal["tensors", "python", "none"]


@dataclass(frozen=True)
class Pair:
    """Two ways to do the same thing."""

    key: str  # ``row.vs_peer``
    what: str  # one line
    ours: Step
    peer: Step  # what ours is compared with
    most_rounds: int | None = None  # where a step takes long; None for as many as the config says
    flops: float = 0.0  # operations in the matrix products of one of our steps; 0 if it has none
    bytes: float = 0.0  # what one of our steps must read and write; 0 if that says nothing
    memory: Memory = "tensors"  # what is counted: PyTorch's, "python"'s and NumPy's, or "none"
    threads: int = 1  # of PyTorch during the pair


class Gauge(NamedTuple):
    """A number without a peer: seconds, a rate, an exponent."""

    key: str  # name of the metric
    what: str  # one line
    value: float
    unit: str
    spread: tuple[float, float] | None = None  # quartiles, where it was taken several times


# name; size, seconds (median, quartiles) and bytes of each point
Curve = tuple[str, list[dict[str, float]]]


def device_of(name: Device) -> Device:
    """``cpu`` or ``cuda``: with ``auto`` the GPU where there is one."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("This machine has no CUDA device; leave --device out, or use cpu.")
    return name if name != "auto" else "cuda" if there else "cpu"


def timed(step: Step) -> float:
    """Seconds of one call, what it left to the GPU included."""
    wait = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    wait()
    started = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - started


def measure(pair: Pair, rounds: int, warmup: int) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the peer, one pair per round, the order swapped every round."""
    ours, peer = list[float](), list[float]()
    order = [(pair.peer, peer), (pair.ours, ours)]
    for _ in range(warmup + rounds):
        for step, times in order:
            times.append(timed(step))
        order.reverse()
    return ours[warmup:], peer[warmup:]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    return tuple(np.quantile(values, [0.25, 0.5, 0.75]).tolist())


def repeated(step: Step, rounds: int, warmup: int = 1) -> tuple[float, float, float]:
    """Quartiles of the seconds of a step."""
    return quartiles([timed(step) for _ in range(warmup + rounds)][warmup:])


def peak_memory(step: Step, how: Memory) -> float | None:
    """Most bytes that one call held at once beyond what was there before."""
    if how == "none":
        return None
    if how == "python":
        tracemalloc.start()
        step()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return float(peak)
    if not torch.cuda.is_initialized():
        return float(peak_bytes(step))
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    timed(step)
    return float(torch.cuda.max_memory_allocated() - before)


@functools.cache
def limit(device: str, count: int) -> tuple[float, float]:
    """What the machine can do with ``count`` threads: operations a second in a float32 product, and
    bytes a second, read and written, by a copy of an array larger than the caches."""
    with limited_threads(count), torch.no_grad():
        a, b = (torch.randn(1024, 1024, device=device) for _ in range(2))
        product, source = torch.empty_like(a), torch.zeros(2**24, device=device)  # 64 MiB
        target = torch.zeros_like(source)
        fastest = min(timed(lambda: torch.mm(a, b, out=product)) for _ in range(8))
        copying = min(timed(lambda: target.copy_(source)) for _ in range(8))
    return 2 * 1024**3 / fastest, 2 * source.nbytes / copying
