"""Counting arithmetic and memory: on functions whose cost is known."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coursework.models.attention import attention, linear_attention
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
    assert counted == cost.Cost(30_000, 1500, 6000)
    # a transposed tensor is a view: it takes no memory of its own
    assert cost.measure(lambda x: x.T, torch.ones(3, 5)).largest == 0
    assert cost.measure(lambda x: (x[:, None] * x[None]).sum(), torch.ones(3, 5)).largest == 45


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


def test_seconds_is_the_best_of_several_in_processor_time() -> None:
    def work(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    loads = iter([0.03, 0.0, 0.03])
    assert 0.0 <= cost.seconds(lambda: work(next(loads))) < 0.03
    assert cost.seconds(lambda: time.sleep(0.02), repeats=1) < 0.02  # waiting does not count


def test_slope_is_that_of_least_squares() -> None:
    sizes, amounts = [3, 5, 40, 700], [2.0, 9.0, 11.0, 4000.0]
    expected = np.polyfit(np.log(sizes), np.log(amounts), 1)[0]
    assert cost.log_log_slope(sizes, amounts) == pytest.approx(expected)
    with pytest.raises(ValueError, match="same number"):
        cost.log_log_slope(sizes, amounts[:3])


def test_measuring_hands_everything_on_and_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = cost.measure(lambda: torch.zeros(3, dtype=torch.float64))
    assert counted.peak == 24
    calls: list[int] = []
    cost.seconds(calls.append, 1)
    assert calls == [1, 1, 1]
    cost.measure(torch.matmul, torch.ones(3, 2), torch.ones(2, 5))
    assert capsys.readouterr().out == ""
    with pytest.raises(FrozenInstanceError):
        counted.peak = 0  # type: ignore[misc]
