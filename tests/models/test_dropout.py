import math

import pytest
import torch
from hypothesis import strategies as st

from coursework.models.dropout import Dropout, dropout
from properties import every


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_share_of_zeros_and_scale(p: float) -> None:
    torch.manual_seed(0)
    n = 400_001  # no multiple of four
    y = dropout(torch.ones(n), p)
    share = float((y == 0).double().mean())
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)
    kept = y[y != 0]
    assert torch.all(kept == kept[0])
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_entries_are_independent() -> None:
    """Neighbours share a draw of 64 bits; none may tell anything about another."""
    torch.manual_seed(0)
    n = 400_000
    zeros = (dropout(torch.ones(n), 0.4) == 0).double().view(-1, 4)
    correlation = torch.corrcoef(zeros.t()) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / math.sqrt(n / 4)
    rows = torch.bincount((zeros * torch.tensor([1.0, 2.0, 4.0, 8.0])).sum(1).long(), minlength=16)
    expected = [0.4 ** bin(i).count("1") * 0.6 ** (4 - bin(i).count("1")) for i in range(16)]
    error = (rows.double() / len(zeros) - torch.tensor(expected)).abs()
    assert float(error.max()) < 5 * 0.5 / math.sqrt(len(zeros))


@every(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    p=(0.0, 1.0),
    dtype=[torch.float32, torch.float64, torch.bfloat16],
)
def test_gradient_is_the_mask(shape: list[int], p: float, dtype: torch.dtype) -> None:
    x = torch.rand(shape, dtype=dtype).add_(0.5).requires_grad_()
    y = dropout(x, p)
    assert y.shape == x.shape
    assert y.dtype == dtype
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient * x, y)


def test_off_in_evaluation_and_at_zero() -> None:
    x = torch.rand(3, 4)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert Dropout(0.7).eval()(x) is x
    assert torch.equal(dropout(x, 1.0), torch.zeros_like(x))


def test_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        dropout(torch.ones(2), 1.5)
