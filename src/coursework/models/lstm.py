r"""Long short-term memory from scratch: the cell and the (stacked, bidirectional) layer.

The cell is Hochreiter & Schmidhuber's (1997) with the forget gate of Gers et al. (2000):

.. math::

    i_t &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \quad\text{(1) input gate} \\
    f_t &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \quad\text{(2) forget gate} \\
    g_t &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})  \quad\text{(3) candidate} \\
    o_t &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \quad\text{(4) output gate} \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t                     \quad\text{(5) cell state} \\
    h_t &= o_t \odot \tanh(c_t)                                  \quad\text{(6) hidden state}

The four matrices are the row blocks **i, f, g, o** of one matrix, under PyTorch's names: a
`state_dict` moves between these modules and `nn.LSTMCell` / `nn.LSTM`.

Letters: `B` batch, `T` time steps, `I` input size, `H` hidden size, `L` layers, `D` directions
(1 or 2), `R` rows of a packed sequence (the sum of all lengths).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from coursework.models.checks import expect, probability, require
from coursework.models.lstm_backward import through_time

State = tuple[Tensor, Tensor]  # hidden state h and cell state c


def lstm_update(gates: Tensor, c: Tensor) -> State:
    """One step by equations (1) to (6): gates `[..., 4H]`, c `[..., H]` -> `(h, c)`, each `[..., H]`.

    `gates` are the sums inside the activations, in blocks i, f, g, o.
    """
    # solution:begin cut the sums into the gates, then equations (1) to (6) | torch.sigmoid, torch.tanh
    i, f, g, o = gates.chunk(4, dim=-1)  # 4 x [..., H]
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # [..., H]  (5)
    h = torch.sigmoid(o) * torch.tanh(c)  # [..., H]  (6)
    return h, c
    # solution:end


def register_weights(
    module: nn.Module, suffix: str, inputs: int, hidden: int, bias: bool, **kind: Any
) -> None:
    """Add the parameters of one cell, drawn as PyTorch does: equal seeds give equal weights."""
    rows, bound = 4 * hidden, hidden**-0.5 if hidden > 0 else 0.0
    shapes: dict[str, tuple[int, ...]]
    shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden)}
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    for name, shape in shapes.items():
        values = torch.empty(shape, **kind).uniform_(-bound, bound)
        module.register_parameter(name + suffix, nn.Parameter(values))


class LSTMCell(nn.Module):
    r"""One LSTM step, equations (1) to (6) of this module.

    Arguments, results, parameters and their start, :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`, are those of
    `torch.nn.LSTMCell`: `weight_ih` `[4H, I]`, `weight_hh` `[4H, H]`, `bias_ih` and `bias_hh` `[4H]`. The
    input is `[B, I]` or `[I]`; `hx`, zero if left out, and the output are pairs of `[B, H]` or `[H]`.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **kind: Any) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        if not bias:
            self.bias_ih = self.bias_hh = None
        register_weights(self, "", input_size, hidden_size, bias, **kind)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Advance one time step: `(x_t, (h_{t-1}, c_{t-1})) -> (h_t, c_t)`."""
        sizes = expect("input", input, "B I", "I", I=self.input_size)
        zeros = self.weight_hh.new_zeros(*input.shape[:-1], self.hidden_size)
        h, c = (zeros, zeros) if hx is None else hx  # [B, H]
        for name, state in (("h", h), ("c", c)):
            expect(name, state, "B H" if input.ndim == 2 else "H", **sizes, H=self.hidden_size)
        # solution:begin the sums inside the gates, then one step | use lstm_update
        gates = F.linear(input, self.weight_ih, self.bias_ih)  # [B, 4H]
        gates = gates + F.linear(h, self.weight_hh, self.bias_hh)  # [B, 4H]
        return lstm_update(gates, c)
        # solution:end


class LSTM(nn.Module):
    r"""Layers of :class:`LSTMCell` run over time; parameters, shapes and order are `torch.nn.LSTM`'s.

    There is no `proj_size`, and under autocast the states stay in float32 where PyTorch rounds them.
    The products :math:`W_{i\cdot} x_t` do not wait for the recurrence, so each layer computes them for
    many steps at once. A plain tensor is the packed sequence whose batch never shrinks, so one loop
    (:func:`scan`) serves both; where it does not shrink, :mod:`.lstm_backward` is faster.

    The input is `[T, B, I]`, `[B, T, I]` if `batch_first`, `[T, I]`, or a `PackedSequence`, the output
    `[T, B, D*H]` in its layout. States are pairs of `[L*D, B, H]` (or `[L*D, H]`), ordered layer by layer,
    forward then backward.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, **kind: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        require(num_layers > 0, f"num_layers must be at least 1, but is {num_layers}.")
        require(hidden_size > 0, f"hidden_size must be at least 1, but is {hidden_size}.")
        probability("dropout", dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.num_directions = bidirectional, 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.num_directions
            for suffix in self._suffixes(layer):
                register_weights(self, suffix, width, hidden_size, bias, **kind)

    def _suffixes(self, layer: int) -> list[str]:
        """Endings of the parameter names of one layer, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def extra_repr(self) -> str:
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{self.input_size}, {self.hidden_size}, {options}"

    def forward(
        self, input: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        if isinstance(input, PackedSequence):
            # its rows are sorted by length, the states come in batch order
            expect("packed data", input.data, "R I", I=self.input_size)
            sizes, order = input.batch_sizes.tolist(), input.sorted_indices
            rows, state = self._run(input.data, sizes, hx, order)
            return PackedSequence(rows, *input[1:]), _in_order(state, input.unsorted_indices)
        layout = "B T I" if self.batch_first else "T B I"
        steps = expect("input", input, layout, "T I", I=self.input_size)["T"]
        require(steps > 0, "LSTM expects at least one time step, but the sequence is empty.")
        require(input.is_floating_point(), f"LSTM expects floating point, not {input.dtype}.")
        if input.ndim == 2:  # a batch of one
            at = 0 if self.batch_first else 1
            hx = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))  # [L*D, 1, H]
            output, (h_n, c_n) = self(input.unsqueeze(at), hx)
            return output.squeeze(at), (h_n.squeeze(1), c_n.squeeze(1))
        x = input.transpose(0, 1) if self.batch_first else input  # [T, B, I]
        batch = x.shape[1]
        flat = x.reshape(steps * batch, self.input_size)  # [T*B, I]
        rows, state = self._run(flat, [batch] * steps, hx)
        output = rows.view(steps, batch, rows.shape[-1])  # [T, B, D*H]
        return (output.transpose(0, 1) if self.batch_first else output), state

    def _run(
        self, rows: Tensor, sizes: list[int], hx: State | None, order: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """All layers and directions over packed rows `[R, I]` -> `[R, D*H]`, 2 x `[L*D, B, H]`."""
        shape = {"L*D": self.num_layers * self.num_directions, "B": sizes[0], "H": self.hidden_size}
        hx = (next(self.parameters()).new_zeros(*shape.values()),) * 2 if hx is None else hx
        for name, state in zip(("h_0", "c_0"), hx, strict=True):
            expect(name, state, "L*D B H", **shape)
        initial = _in_order(hx, order)
        # solution:begin all layers, each in its directions | self._scan runs one of them
        h_n, c_n = [], []
        for layer in range(self.num_layers):
            if layer > 0:
                rows = F.dropout(rows, self.dropout, self.training)  # [R, D*H]
            outputs: list[Tensor] = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                index = layer * self.num_directions + direction
                output, (h, c) = self._scan(
                    rows, sizes, suffix, (initial[0][index], initial[1][index]), direction == 1
                )
                outputs.append(output)  # [R, H]
                h_n.append(h)  # [B, H]
                c_n.append(c)  # [B, H]
            rows = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]  # [R, D*H]
        return rows, (torch.stack(h_n), torch.stack(c_n))
        # solution:end

    def _scan(
        self, rows: Tensor, sizes: list[int], suffix: str, state: State, reverse: bool
    ) -> tuple[Tensor, State]:
        """One layer in one direction, `[R, I]` -> `[R, H]`: by :class:`.ThroughTime` where it can."""
        weight_ih: Tensor = getattr(self, f"weight_ih{suffix}")  # [4H, I]
        weight_hh: Tensor = getattr(self, f"weight_hh{suffix}")  # [4H, H]
        bias: Tensor | None = None
        if self.bias:
            bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}")  # [4H]
        # The plain loop runs where unequal lengths shrink the batch, under autocast, which chooses the
        # type of each operation, and under functorch, tracing, export and compile, which must see them.
        if (
            sizes[0] != sizes[-1]
            or (not rows.is_meta and torch.is_autocast_enabled(rows.device.type))
            or torch._C._are_functorch_transforms_active()
            or torch.jit.is_tracing()
            or torch.compiler.is_compiling()
        ):
            return scan(rows, sizes, weight_ih, weight_hh, bias, state, reverse)
        x = rows.view(len(sizes), sizes[0], rows.shape[-1])  # [T, B, I]
        # solution:begin the cell over the steps of x, from the last to the first if reverse | lstm_update
        output, c = through_time(scan, reverse, x, weight_ih, weight_hh, bias, *state)
        return output.flatten(0, 1), (output[0 if reverse else -1], c)
        # solution:end


def scan(
    rows: Tensor,  # the inputs, step after step, [R, I]
    sizes: list[int],  # T non-increasing numbers with sum R
    weight_ih: Tensor,  # [4H, I]
    weight_hh: Tensor,  # [4H, H]
    bias: Tensor | None,  # [4H], the sum of both
    state: State,  # 2 x [B, H]
    reverse: bool,
) -> tuple[Tensor, State]:
    """One layer in one direction as a plain loop: the cell over time, with `W_i x_t` hoisted.

    Rows of a packed sequence are sorted by length, so at step t the first `sizes[t]` sequences are
    alive. The output are the hidden states `[R, H]` and the last states, 2 x `[B, H]`.
    """
    steps = F.linear(rows, weight_ih, bias).split(sizes)  # T x [B_t, 4H]
    weight_hh_t = weight_hh.t()  # [H, 4H]
    order = range(len(sizes))[::-1] if reverse else range(len(sizes))
    h, c = (initial[: sizes[order[0]]] for initial in state)  # [B_t, H]
    outputs: list[Tensor] = []
    finished: list[State] = []
    for t in order:
        size, alive = sizes[t], len(h)
        if alive > size:  # forwards, sequences leave at the end of the batch
            finished.append((h[size:], c[size:]))
            h, c = h[:size], c[:size]  # [B_t, H]
        elif alive < size:  # backwards they join there, each with its initial state
            h, c = (torch.cat([s, s_0[alive:size]]) for s, s_0 in zip((h, c), state, strict=True))
        h, c = lstm_update(torch.addmm(steps[t], h, weight_hh_t), c)  # [B_t, H]
        outputs.append(h)
    if finished:
        parts = zip((h, c), *reversed(finished), strict=True)
        h, c = (torch.cat(part) for part in parts)  # [B, H]
    return torch.cat(outputs[::-1] if reverse else outputs), (h, c)


def _in_order(state: State, order: Tensor | None) -> State:
    """The states of the sequences in this order."""
    if order is None:
        return state
    return state[0].index_select(1, order), state[1].index_select(1, order)
