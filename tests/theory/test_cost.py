"""Counting arithmetic and memory: on functions whose cost is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from coursework.models import attention, linear_attention
from coursework.theory import cost


@pytest.mark.parametrize(
    ("function", "held"),
    [
        (lambda x: x + 1, 1),
        (lambda x: (x + 1) * 2, 2),  # the sum is there until the product is
        (lambda x: ((x + 1) * 2) * 3, 2),  # and gone when the next product begins
        (lambda x: (x + 1, x * 2, x * 3), 3),
        (lambda x: x.view(10, 100).T, 0),  # views take nothing
        (lambda x: x.add_(1), 0),
    ],
)
def test_peak_counts_what_is_alive_at_once(function: object, held: int) -> None:
    counted = cost.measure(function, torch.zeros(1000))  # type: ignore[arg-type]
    assert counted.peak == held * 4000
    assert counted.multiply_adds == 0


def test_products_and_the_largest_tensor() -> None:
    counted = cost.measure(torch.matmul, torch.ones(30, 20), torch.ones(20, 50))
    assert (counted.multiply_adds, counted.largest, counted.peak) == (30_000, 1500, 6000)


def test_memory_of_three_kinds_of_attention() -> None:
    def softmax(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        return attention(Q, K, V)[0]

    def fused(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(Q, K, V)

    def slope(function: object, sizes: tuple[int, ...]) -> float:
        peaks = [
            cost.measure(function, *torch.randn(3, 1, 1, n, 64)).peak  # type: ignore[arg-type]
            for n in sizes
        ]
        return cost.log_log_slope(sizes, peaks)

    sizes = (512, 1024, 2048)
    assert slope(softmax, sizes) == pytest.approx(2, abs=0.05)
    assert slope(fused, sizes) == pytest.approx(1, abs=0.05)
    assert slope(linear_attention, sizes) == pytest.approx(1, abs=0.05)
