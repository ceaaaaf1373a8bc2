"""How a row is measured: pairs in turn, quartiles, peak memory, and the limit that the machine sets."""

from __future__ import annotations

import functools
import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from coursework.errors import ConfigError
from coursework.theory.cost import peak_bytes
from coursework.training.threads import limited_threads

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
    threads: int | None = None  # of PyTorch during the pair; None for those of the config


@dataclass(frozen=True)
class Gauge:
    """A number without a peer: seconds, a rate, an exponent."""

    key: str  # name of the metric
    what: str  # one line
    value: float
    unit: str
    spread: tuple[float, float] | None = None  # quartiles, where it was taken several times


@dataclass
class Findings:
    """What a group of gauges leaves: numbers, and the curves that they were fitted to."""

    gauges: list[Gauge] = field(default_factory=list)
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def device_of(name: str) -> torch.device:
    """``cpu``, ``cuda``, or with ``auto`` the GPU where there is one; ConfigError if it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"There is no device {name!r}; choose from auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("This machine has no CUDA device; leave --device out, or use cpu.")
    return torch.device(name)


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def timed(step: Step) -> float:
    """Seconds of one call, what it left to the GPU included."""
    wait = torch.cuda.synchronize if _on_gpu() else lambda: None
    wait()
    started = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - started


def measure(pair: Pair, rounds: int, warmup: int) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the peer, one pair per round, the order swapped every round."""
    ours: list[float] = []
    peer: list[float] = []
    order = [(pair.peer, peer), (pair.ours, ours)]
    for _ in range(warmup + rounds):
        for step, times in order:
            times.append(timed(step))
        order.reverse()
    return ours[warmup:], peer[warmup:]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return low, middle, high


def repeated(step: Step, rounds: int, warmup: int = 1) -> tuple[float, float, float]:
    """Quartiles of the seconds of a step."""
    for _ in range(warmup):
        timed(step)
    return quartiles([timed(step) for _ in range(rounds)])


def peak_memory(step: Step, how: Memory) -> float | None:
    """Most bytes that one call held at once beyond what was there before."""
    if how == "none":
        return None
    if how == "tensors" and _on_gpu():
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        timed(step)
        return float(torch.cuda.max_memory_allocated() - before)
    if how == "tensors":
        return float(peak_bytes(step))
    tracemalloc.start()
    try:
        step()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@dataclass(frozen=True)
class Limit:
    """What the machine can do, measured on the spot."""

    flops: float  # a second, in a float32 product of two 1024 x 1024 matrices
    bytes: float  # read and written a second by a copy of an array larger than the caches

    def seconds(self, pair: Pair) -> float:
        """The longer of arithmetic and memory traffic at full rate (roofline, Williams et al. 2009)."""
        return max(pair.flops / self.flops, pair.bytes / self.bytes)


@functools.cache
def limit(device: torch.device, count: int) -> Limit:
    """Measure the limit with ``count`` threads."""
    with limited_threads(count), torch.no_grad():
        a, b = (torch.randn(1024, 1024, device=device) for _ in range(2))
        product = torch.empty_like(a)
        source = torch.zeros(2**24, device=device)  # 64 MiB
        target = torch.zeros_like(source)
        fastest = min(timed(lambda: torch.mm(a, b, out=product)) for _ in range(8))
        copying = min(timed(lambda: target.copy_(source)) for _ in range(8))
    return Limit(2 * 1024**3 / fastest, 2 * source.nbytes / copying)
