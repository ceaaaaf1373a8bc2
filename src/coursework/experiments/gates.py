r"""What the gates of an LSTM do, and how far back its gradient reaches.

Two looks at the recurrence :math:`s_t = F(s_{t-1}, x_t)`:

1. :func:`trace` recomputes the forward direction of a trained classifier token by token, with the
   equations of :mod:`coursework.models.lstm`, and keeps what `nn.LSTM` hides: the gates.
2. :func:`gradient_flow` measures the product of Jacobians through which every gradient has to pass,

   .. math:: \frac{\partial h_T}{\partial s_t} = \frac{\partial h_T}{\partial s_T}\,
             \frac{\partial s_T}{\partial s_{T-1}} \cdots \frac{\partial s_{t+1}}{\partial s_t}.

   For a vanilla RNN, :math:`h_t = \tanh(W h_{t-1} + U x_t)`, each factor is
   :math:`\mathrm{diag}(1 - h_t^2)\, W`, so the norm is at most :math:`(\sigma_{\max}(W) \max_z
   |\tanh' z|)^{T-t} = \sigma_{\max}(W)^{T-t}` (Pascanu et al., 2013, section 2.1). Between the cell
   states of an LSTM the direct path has the factor :math:`f_t` and nothing else (Hochreiter &
   Schmidhuber, 1997; Gers et al., 2000), and the bias of :math:`f_t` sets how far it reaches.

Letters: `T` steps, `I` inputs, `H` hidden units, `S` entries of a state (H of the RNN, 2H of the
LSTM), `N` seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coursework.data.text import clean_tweet, tokenise
from coursework.errors import ConfigError
from coursework.models.lstm import LSTMCell
from coursework.training import seeds

if TYPE_CHECKING:
    from coursework.experiments.sentiment import Classifier

# --------------------------------------------------------------------------------- gates along a text


class Trace(NamedTuple):
    """One text as the forward direction of the first layer reads it."""

    tokens: list[str]  # T words
    values: dict[str, np.ndarray]  # i, f, g, o (activated), c and h after each token, [T, H] each
    probability: float  # P(positive) by the whole network


def unroll(lstm: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The first layer of an `nn.LSTM` or our `LSTM`, forward in time over `x` `[T, I]`, nothing hidden.

    Returns `i`, `f`, `g`, `o`, `c` and `h` of equations (1) to (6), `[T, H]` each.
    """
    parameters = dict(lstm.named_parameters())
    w_i, w_h = parameters["weight_ih_l0"], parameters["weight_hh_l0"]  # [4H, I], [4H, H]
    steps = x @ w_i.t()  # [T, 4H]
    for name in ("bias_ih_l0", "bias_hh_l0"):
        if name in parameters:
            steps = steps + parameters[name]
    h = c = x.new_zeros(w_h.shape[1])  # [H]
    rows: dict[str, list[Tensor]] = {name: [] for name in "ifgoch"}
    for step in steps:
        a = (step + w_h @ h).chunk(4)  # 4 x [H]
        i, f, g, o = a[0].sigmoid(), a[1].sigmoid(), a[2].tanh(), a[3].sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in zip(rows, (i, f, g, o, c, h), strict=True):
            rows[name].append(value)
    return {name: torch.stack(values) for name, values in rows.items()}


@torch.no_grad()
def trace(classifier: Classifier, text: str) -> Trace:
    """The gates of a trained classifier along a text, which is cleaned as its tweets were."""
    tokens = tokenise(clean_tweet(text))
    if not tokens:
        raise ConfigError(f"No word is left of {text!r} after cleaning; give a text with words.")
    ids = torch.tensor([classifier.vocabulary.encode(tokens)])  # [1, T]
    values = unroll(classifier.model.lstm, classifier.model.embedding(ids)[0])
    arrays = {name: value.float().numpy() for name, value in values.items()}
    return Trace(tokens, arrays, float(classifier.predict(text)[0]))


def moving_units(traces: Sequence[Trace], count: int) -> np.ndarray:
    """The (at most) `count` units whose cell state has the largest deviation over all tokens, sorted."""
    cells = np.concatenate([found.values["c"] for found in traces])  # [sum of T, H]
    return np.argsort(-cells.std(axis=0), kind="stable")[:count]


def memory(forget: np.ndarray) -> np.ndarray:
    r"""Steps after which each unit has kept :math:`1/e` of its cell state: :math:`-1 / \ln f`, `[H]`.

    :math:`f` is the geometric mean of a unit's forget gate over the steps `[T, H]`.
    """
    with np.errstate(divide="ignore"):
        return -1.0 / np.log(forget.astype(np.float64)).mean(axis=0)


# --------------------------------------------------------------------------- gradient through time


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


def _step(cell: nn.RNNCell | LSTMCell, x: Tensor, state: Tensor) -> Tensor:
    """`s_{t-1} -> s_t`, `[B, S]`; of an LSTM, `s = [h, c]`."""
    if isinstance(cell, LSTMCell):
        return torch.cat(cell(x, state.chunk(2, dim=-1)), dim=-1)
    return cell(x, state)


def states(cell: nn.RNNCell | LSTMCell, x: Tensor, copies: int = 1) -> list[Tensor]:
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


def jacobians(cell: nn.RNNCell | LSTMCell, x: Tensor) -> Tensor:
    """`dh_T / ds_{T-lag}` for lag 0, ..., T - 1, `[T, H, S]`, from one backward pass; `x` is `[T, I]`.

    Row k of a batch of H equal sequences gives the gradient of its unit k.
    """
    found = states(cell, x, copies=cell.hidden_size)  # T x [H, S]
    last = found[-1][:, : cell.hidden_size]  # h_T, [H, H]
    return torch.stack(torch.autograd.grad(last.diagonal().sum(), found[::-1]))


def rnn_bound(cell: nn.RNNCell, x: Tensor) -> np.ndarray:
    r"""Upper bound of :math:`\|\partial h_T / \partial h_{T-\text{lag}}\|_2` for every lag, `[T]`.

    :math:`\prod_{s = t+1}^{T} \sigma_{\max}(W) \max_k (1 - h_{s,k}^2)`: the bound of the module
    with the slopes that occurred in place of the largest there is, so it is at most
    :math:`\sigma_{\max}(W)^\text{lag}`.
    """
    with torch.no_grad():
        h = torch.cat(states(cell, x))  # [T, H]
        slopes = (1 - h * h).amax(dim=1)  # [T]
        factors = torch.linalg.matrix_norm(cell.weight_hh, ord=2) * slopes  # of steps 1, ..., T
        return np.cumprod(np.append(1.0, factors.flip(0)[:-1].numpy()))


def gradient_flow(
    radii: Sequence[float],
    forget_biases: Sequence[float],
    steps: int = 80,
    hidden_size: int = 32,
    repeats: int = 5,
) -> dict[str, np.ndarray]:
    r"""Norms of :math:`\partial h_T / \partial s_{T-\text{lag}}` for untrained cells of both kinds.

    Vanilla RNNs have the spectral `radii` (which are their :math:`\sigma_{\max}` too), LSTMs the biases
    of the forget gate. All cells of one of the `N` repeats read the same Gaussian inputs.

    Returns `lag`, int64 `[T]`, and for each cell (`RNN 0.8`, ..., `LSTM 0`, ...) the spectral norms,
    float64 `[N, T]`; for each RNN also its bounds (`RNN 0.8 bound`).
    """
    inputs = 8
    curves = defaultdict[str, list[np.ndarray]](list)
    for repeat in range(repeats):
        generator = seeds.generator(repeat, "inputs")
        x = torch.randn(steps, inputs, generator=generator, dtype=torch.float64) * 0.2
        for radius in radii:
            cell = vanilla_cell(inputs, hidden_size, radius, repeat)
            curves[f"RNN {radius:g}"].append(spectral_norms(jacobians(cell, x)))
            curves[f"RNN {radius:g} bound"].append(rnn_bound(cell, x))
        for bias in forget_biases:
            gated = gated_cell(inputs, hidden_size, bias, repeat)
            curves[f"LSTM {bias:g}"].append(spectral_norms(jacobians(gated, x)))
    return {"lag": np.arange(steps)} | {name: np.stack(rows) for name, rows in curves.items()}


def spectral_norms(matrices: Tensor) -> np.ndarray:
    """The largest singular value of each matrix, `[T, H, S]` -> float64 `[T]`."""
    return torch.linalg.matrix_norm(matrices.detach(), ord=2).double().numpy()


def decay(norms: np.ndarray, start: int = 10) -> float:
    """Factor per step by which norms `[N, T]` shrink or grow: the slope of their mean logarithm.

    The first lags differ from the rest, so the fit begins at `start`.
    """
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny)).mean(axis=0)[start:]  # [T - start]
    return float(np.exp(np.polyfit(np.arange(len(logs)), logs, 1)[0]))
