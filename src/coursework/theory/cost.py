"""Arithmetic and memory of a computation, counted while it runs.

Seconds depend on the machine and on what else it does. Multiply-adds and tensor sizes do not, so
claims about complexity are checked on them: PyTorch's flop counter sees every matrix product, and a
dispatch mode sees the size of every tensor that comes into being.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Cost", "log_log_slope", "measure", "seconds"]


@dataclass(frozen=True)
class Cost:
    """What one call took.

    Attributes:
        multiply_adds: Multiply-adds in matrix products (half of the floating point operations).
        largest: Number of elements of the largest tensor that was created.
    """

    multiply_adds: int
    largest: int


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            # a view (a transpose, a slice) lies in the memory of its argument and takes none
            if isinstance(leaf, Tensor) and _address(leaf) not in given:
                self.largest = max(self.largest, leaf.numel())
        return result


def measure(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Run ``function(*arguments)`` once and count what it did."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _LargestTensor() as tensors, counter:
        function(*arguments)
    return Cost(counter.get_total_flops() // 2, tensors.largest)


def seconds(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> float:
    """Wall time of one call, the best of several (the others waited for something else)."""
    best = math.inf
    with torch.no_grad():
        for _ in range(repeats):
            start = time.perf_counter()
            function(*arguments)
            best = min(best, time.perf_counter() - start)
    return best


def log_log_slope(sizes: Sequence[int], amounts: Sequence[float]) -> float:
    """Least-squares slope of ``log(amount)`` against ``log(size)``: the exponent of growth."""
    xs = [math.log(size) for size in sizes]
    ys = [math.log(amount) for amount in amounts]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)
