"""What the tests of the models share: tensors, graphs, sentences, comparisons."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOLERANCE = {torch.float32: (5e-6, 2e-5), torch.float64: (1e-12, 1e-12)}  # outputs, gradients
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(own: Any, reference: Any, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def gradients(output: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output.sin().sum(), leaves, retain_graph=True)


def assert_parity(
    own: Tensor,
    reference: Tensor,
    leaves: Sequence[Tensor],
    theirs: Sequence[Tensor] | None = None,
    atol: tuple[float, float] = (1e-12, 1e-12),
) -> None:
    """Equal outputs, and equal gradients by the leaves: those of the reference in the same order."""
    assert_same(own, reference, atol[0])
    assert_same(gradients(own, leaves), gradients(reference, theirs or leaves), atol[1])


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def padding_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)


def words(vocabulary: int, *lengths: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, vocabulary, (len(lengths), max(lengths)), generator=generator)
    return tokens.masked_fill(padding_mask(*lengths), 0)


def random_graph(n: int, edges: int, seed: int = 0) -> Tensor:
    return torch.randint(n, (2, edges), generator=torch.Generator().manual_seed(seed)).unique(dim=1)


def undirected(n: int, edges: int, seed: int = 0) -> Tensor:
    pairs = random_graph(n, edges, seed)
    return torch.cat([pairs, pairs.flip(0)], dim=1).unique(dim=1)


# --- translation models: (src, tgt) -> logits, and model.start(src) decodes word by word -----


def check_future(model: nn.Module, steps: int, cut: int, seed: int) -> None:
    cut = min(cut, steps - 1)
    src, tgt = words(11, 4, seed=seed), words(13, steps, seed=seed)
    changed = tgt.clone()
    changed[:, cut:] = (changed[:, cut:] - 3 + 1) % 10 + 3
    before, after = model(src, tgt), model(src, changed)
    assert_same(after[:, :cut], before[:, :cut])
    assert not torch.allclose(after[:, cut], before[:, cut])


def check_padding(model: nn.Module, lengths: list[int], extra: int, seed: int) -> None:
    src, tgt = words(11, *lengths, seed=seed), words(13, *([4] * len(lengths)), seed=seed)
    logits = model(src, tgt)
    assert logits.shape == (len(lengths), 4, 13)
    assert_same(model(F.pad(src, (0, extra)), tgt), logits)
    assert_same(model(src, F.pad(tgt, (0, extra)))[:, :4], logits)
    for row, length in enumerate(lengths):
        assert_same(model(src[row : row + 1, :length], tgt[row : row + 1])[0], logits[row])


def check_steps(model: Any, state: Any, src: Tensor) -> None:
    tgt, rows = words(13, 4, 4), torch.tensor([1, 1, 0])
    whole = model(src, tgt)
    for t in range(3):
        assert_same(state.step(tgt[:, t]), whole[:, t])
    state.select(rows)
    assert_same(state.step(tgt[rows, 3]), whole[rows, 3])
