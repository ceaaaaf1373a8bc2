"""Arithmetic and memory of a computation, counted while it runs: they do not depend on the machine."""

import functools
import math
import statistics
import time
import timeit
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    multiply_adds: int  # multiply-adds in matrix products (half of the floating point operations)
    largest: int  # number of elements of the largest tensor that was created
    # most bytes that the tensors it created held at once, its result included. What a fused
    # kernel takes for itself while it runs (blocks of a fixed size) is not seen
    peak: int


def _with_memory(tree: Any) -> dict[int, Tensor]:
    """Tensors with entries of their own, by address (parts of a sparse matrix are tensors themselves)."""
    leaves = (t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided)
    return {leaf.untyped_storage().data_ptr(): leaf for leaf in leaves}


class _Tensors(TorchDispatchMode):
    """Sees the size of every tensor that is made, and when its memory is released."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.peak = self._held = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # a view (a transpose, a slice) lies in the memory of its argument and takes none
        made, given = _with_memory(result), _with_memory((args, kwargs))
        for address in made.keys() - given.keys():
            self.largest = max(self.largest, made[address].numel())
            storage = made[address].untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._alive:
                self._alive.add(key)
                self._held += size
                self.peak = max(self.peak, self._held)
                weakref.finalize(storage, self._release, key, size)
        return result

    def _release(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._held -= size


def measure(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Run ``function(*arguments)`` once and count what it did."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _Tensors() as tensors, counter:
        function(*arguments)
    return Cost(counter.get_total_flops() // 2, tensors.largest, tensors.peak)


def peak_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """Most bytes that the tensors of ``function(*arguments)`` held at once, gradients included."""
    with _Tensors() as tensors:
        function(*arguments)
    return tensors.peak


def seconds(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> float:
    """Processor time of one call, the best of several: what other programs do does not count."""
    call = functools.partial(function, *arguments)
    with torch.no_grad():
        return min(timeit.repeat(call, timer=time.process_time, number=1, repeat=repeats))


def log_log_slope(sizes: Sequence[int], amounts: Sequence[float]) -> float:
    """Least-squares slope of ``log(amount)`` against ``log(size)``: the exponent of growth."""
    logs = ([math.log(value) for value in values] for values in (sizes, amounts))
    return statistics.linear_regression(*logs).slope
