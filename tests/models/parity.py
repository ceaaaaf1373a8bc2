"""What the tests of the models share: tensors, comparisons, short trainings."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float32: (5e-6, 2e-5), torch.float64: (1e-12, 1e-12)}  # outputs, gradients


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(own: Tensor, reference: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def assert_all_same(
    own: Iterable[Tensor], reference: Iterable[Tensor], atol: float = 1e-12
) -> None:
    for mine, theirs in zip(own, reference, strict=True):
        assert_same(mine, theirs, atol)


def gradients(output: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output.sin().sum(), leaves, retain_graph=True)


def padding_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)


def words(vocabulary: int, *lengths: int, seed: int = 0) -> Tensor:
    """Sentences of words from 3 on, padded with 0."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, vocabulary, (len(lengths), max(lengths)), generator=generator)
    return tokens.masked_fill(padding_mask(*lengths), 0)


def train(model: nn.Module, loss: Callable[[], Tensor], steps: int, lr: float) -> float:
    """The loss before the last of some steps of Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return value.item()


def shake(module: nn.Module) -> None:
    """Random biases and normalisation weights, so that no parameter can be forgotten."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)


def random_graph(n: int, edges: int, seed: int = 0) -> Tensor:
    """Distinct directed edges, self-loops possible."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (2, edges), generator=generator).unique(dim=1)
