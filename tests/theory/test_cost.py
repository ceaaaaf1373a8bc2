import time

import numpy as np
import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize(
    ("function", "expected"),
    [(attention, 2), (nn.functional.scaled_dot_product_attention, 1), (linear_attention, 1)],
)
def test_memory_of_three_kinds_of_attention(function: object, expected: int) -> None:
    sizes = (512, 1024, 2048)
    peaks = [cost.measure(function, *torch.randn(3, 1, 1, n, 64)).peak for n in sizes]  # type: ignore[arg-type]
    assert cost.log_log_slope(sizes, peaks) == pytest.approx(expected, abs=0.05)


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


def test_measuring_calls_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.measure(lambda: torch.zeros(3, dtype=torch.float64)).peak == 24
    calls: list[int] = []
    cost.seconds(calls.append, 1)
    assert calls == [1, 1, 1]
    cost.measure(torch.matmul, torch.ones(3, 2), torch.ones(2, 5))
    assert capsys.readouterr().out == ""
