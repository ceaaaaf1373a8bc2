r"""How far back the gradient of a recurrent network reaches: vanilla RNN against LSTM.

Every gradient through the recurrence :math:`s_t = F(s_{t-1}, x_t)` passes the product of Jacobians

.. math:: \frac{\partial h_T}{\partial s_t} = \frac{\partial h_T}{\partial s_T}\,
          \frac{\partial s_T}{\partial s_{T-1}} \cdots \frac{\partial s_{t+1}}{\partial s_t}.

For a vanilla RNN, :math:`h_t = \tanh(W h_{t-1} + U x_t)`, each factor is
:math:`\mathrm{diag}(1 - h_t^2)\, W`, so the norm is at most :math:`\sigma_{\max}(W)^{T-t}` (Pascanu et
al., 2013, section 2.1). Between the cell states of an LSTM the direct path has the factor :math:`f_t` and
nothing else (Hochreiter & Schmidhuber, 1997; Gers et al., 2000), and the bias of :math:`f_t` sets how far
it reaches.

Letters: `T` steps, `I` inputs, `H` hidden units, `S` entries of a state (H of the RNN, 2H of the
LSTM), `N` seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from coursework.models.lstm import LSTMCell
from coursework.training import seeds

Cell = nn.RNNCell | LSTMCell


def vanilla_cell(input_size: int, hidden_size: int, radius: float, seed: int) -> nn.RNNCell:
    """A tanh cell with `W = radius * Q`, Q a random orthogonal matrix: all singular values are equal."""
    generator = seeds.generator(seed, "cell")
    cell = nn.RNNCell(input_size, hidden_size, bias=False, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih.normal_(0, input_size**-0.5, generator=generator)
        nn.init.orthogonal_(cell.weight_hh, gain=radius, generator=generator)
    return cell


def gated_cell(input_size: int, hidden_size: int, forget_bias: float, seed: int) -> LSTMCell:
    """Our LSTM cell at its usual initialisation, but for the biases: zero, f's `forget_bias`."""
    generator = seeds.generator(seed, "cell")
    cell = LSTMCell(input_size, hidden_size, dtype=torch.float64)
    bound = hidden_size**-0.5
    with torch.no_grad():
        cell.weight_ih.normal_(0, input_size**-0.5, generator=generator)
        cell.weight_hh.uniform_(-bound, bound, generator=generator)
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
        cell.bias_ih[hidden_size : 2 * hidden_size] = forget_bias
    return cell


def _step(cell: Cell, x: Tensor, state: Tensor) -> Tensor:
    """`s_{t-1} -> s_t`, `[B, S]`; of an LSTM, `s = [h, c]`."""
    if isinstance(cell, LSTMCell):
        return torch.cat(cell(x, state.chunk(2, dim=-1)), dim=-1)
    return cell(x, state)


def states(cell: Cell, x: Tensor, copies: int = 1) -> list[Tensor]:
    """The states :math:`s_1, ..., s_T` from :math:`s_0 = 0` for inputs `[T, I]`: `T` x `[copies, S]`.

    The `copies` all compute the same.
    """
    size = cell.hidden_size * (2 if isinstance(cell, LSTMCell) else 1)
    state = x.new_zeros(copies, size)
    found: list[Tensor] = []
    for x_t in x:
        state = _step(cell, x_t.expand(copies, -1), state)
        found.append(state)
    return found


def jacobians(cell: Cell, x: Tensor) -> Tensor:
    """`dh_T / ds_{T-lag}` for lag 0, ..., T - 1, `[T, H, S]`, from one backward pass; `x` is `[T, I]`.

    Row k of a batch of H equal sequences gives the gradient of its unit k.
    """
    found = states(cell, x, copies=cell.hidden_size)  # T x [H, S]
    last = found[-1][:, : cell.hidden_size]  # h_T, [H, H]
    return torch.stack(torch.autograd.grad(last.diagonal().sum(), found[::-1]))


def gradient_flow(
    radii: Sequence[float], forget_biases: Sequence[float], steps: int = 80, hidden_size: int = 32,
    repeats: int = 5,
) -> dict[str, np.ndarray]:  # fmt: skip
    r"""Norms of :math:`\partial h_T / \partial s_{T-\text{lag}}` of untrained cells, float64 `[N, T]` each.

    `RNN 0.8` has the spectral radius 0.8 (which is its :math:`\sigma_{\max}` too), `LSTM 1` the forget
    bias 1. All cells of one of the `N` repeats read the same Gaussian inputs.
    """
    inputs = 8
    curves = defaultdict[str, list[np.ndarray]](list)
    for repeat in range(repeats):
        generator = seeds.generator(repeat, "inputs")
        x = torch.randn(steps, inputs, generator=generator, dtype=torch.float64) * 0.2
        cells: dict[str, Cell] = {
            f"RNN {r:g}": vanilla_cell(inputs, hidden_size, r, repeat) for r in radii
        }
        cells |= {f"LSTM {b:g}": gated_cell(inputs, hidden_size, b, repeat) for b in forget_biases}
        for name, cell in cells.items():
            norms = torch.linalg.matrix_norm(jacobians(cell, x), ord=2)
            curves[name].append(norms.numpy())
    return {name: np.stack(rows) for name, rows in curves.items()}


def decay(norms: np.ndarray, start: int = 10) -> float:
    """Factor per step of norms `[N, T]`: the slope of their mean logarithm from lag `start` on."""
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny)).mean(axis=0)[start:]  # [T - start]
    return float(np.exp(np.polyfit(np.arange(len(logs)), logs, 1)[0]))
