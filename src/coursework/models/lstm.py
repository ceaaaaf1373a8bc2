r"""Long short-term memory from scratch: the cell, the (stacked, bidirectional) layer, a classifier.

The cell is the one of PyTorch's documentation, which is Hochreiter & Schmidhuber (1997) with the
forget gate of Gers et al. (2000) and without peepholes:

.. math::

    i_t &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \quad\text{(1) input gate} \\
    f_t &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \quad\text{(2) forget gate} \\
    g_t &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})  \quad\text{(3) candidate} \\
    o_t &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \quad\text{(4) output gate} \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t                     \quad\text{(5) cell state} \\
    h_t &= o_t \odot \tanh(c_t)                                  \quad\text{(6) hidden state}

The four matrices are kept as the row blocks **i, f, g, o** of one matrix, with PyTorch's names, so
a `state_dict` moves between these modules and `nn.LSTMCell` / `nn.LSTM` in both directions.

Letters: `B` batch, `T` time steps, `I` input size, `H` hidden size, `L` layers, `D` directions
(1 or 2), `R` rows of a packed sequence (the sum of all lengths), `V` vocabulary, `E` embedding
size.
"""

from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from coursework.models.embedding import WordEmbedding

State = tuple[Tensor, Tensor]
"""Hidden state `h` and cell state `c`."""


def lstm_update(gates: Tensor, c: Tensor) -> State:
    """One step from the pre-activations of the four gates: equations (1) to (6).

    Args:
        gates: The sums inside the activations, blocks i, f, g, o, `[..., 4H]`.
        c: The cell state before the step, `[..., H]`.

    Returns:
        The states `(h, c)` after the step, each `[..., H]`.
    """
    # solution:begin cut the sums into the gates, then equations (1) to (6) | torch.sigmoid, torch.tanh
    i, f, g, o = gates.chunk(4, dim=-1)  # 4 x [..., H]
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # [..., H]  (5)
    h = torch.sigmoid(o) * torch.tanh(c)  # [..., H]  (6)
    return h, c
    # solution:end


class LSTMCell(nn.Module):
    r"""One LSTM step, equations (1) to (6) of this module; a drop-in for `torch.nn.LSTMCell`.

    Args:
        input_size: :math:`I`, the number of features of :math:`x_t`.
        hidden_size: :math:`H`, the number of features of :math:`h_t` and :math:`c_t`.
        bias: Whether the layer has :math:`b_{i\cdot}` and :math:`b_{h\cdot}`.
        device: Where the parameters are created.
        dtype: Type of the parameters.

    Names and shapes of the parameters, the order of their blocks and their initialisation
    :math:`U(-1/\sqrt{H}, 1/\sqrt{H})` are PyTorch's:

    - `weight_ih`: `[4H, I]`, `weight_hh`: `[4H, H]`, rows :math:`i, f, g, o`
    - `bias_ih`, `bias_hh`: `[4H]`

    Shapes:
        - input: `[B, I]`, or `[I]` for one sample
        - hx: optional pair `(h, c)` of `[B, H]` (or `[H]`); zeros if left out
        - output: the pair `(h', c')`, as `hx`

    Raises:
        ValueError: The shape of the input or of a state does not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = 4 * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size, device=device, dtype=dtype))
        if bias:
            self.bias_ih = nn.Parameter(torch.empty(rows, device=device, dtype=dtype))
            self.bias_hh = nn.Parameter(torch.empty(rows, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Draw every parameter from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`."""
        _uniform_(self, self.hidden_size)

    def extra_repr(self) -> str:
        """The sizes, for `print(cell)`."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Advance one time step: `(x_t, (h_{t-1}, c_{t-1})) -> (h_t, c_t)`."""
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"LSTMCell expects an input of shape [B, {self.input_size}] or "
                f"[{self.input_size}], but got {list(input.shape)}."
            )
        state_shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            h = c = input.new_zeros(state_shape)  # [B, H]
        else:
            h, c = hx
            for name, state in (("h", h), ("c", c)):
                if state.shape != state_shape:
                    raise ValueError(
                        f"LSTMCell expects the state {name} to have shape {list(state_shape)}, "
                        f"but got {list(state.shape)}."
                    )
        # solution:begin the sums inside the gates, then one step | use lstm_update
        gates = F.linear(input, self.weight_ih, self.bias_ih)  # [B, 4H]
        gates = gates + F.linear(h, self.weight_hh, self.bias_hh)  # [B, 4H]
        return lstm_update(gates, c)
        # solution:end


def scan(
    rows: Tensor,
    sizes: list[int],
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    state: State,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """One layer in one direction as a plain loop: the cell over time, with `W_i x_t` hoisted.

    Rows of a packed sequence are sorted by length, longest first, so at step t the first
    `sizes[t]` sequences are alive. Forwards, sequences leave at the end of the batch; backwards
    they join there, each with its initial state.

    Args:
        rows: The inputs, step after step, `[R, I]`.
        sizes: Sequences that are alive at each step, non-increasing, `T` numbers with sum `R`.
        weight_ih: `[4H, I]`.
        weight_hh: `[4H, H]`.
        bias: The sum of both bias vectors, `[4H]`.
        state: The initial states, 2 x `[B, H]`.
        reverse: Whether to read from the last step to the first.

    Returns:
        output: The hidden states `[R, H]`, in the order of the rows.
        state: The last states `(h, c)`, 2 x `[B, H]`.
    """
    # The input half of the gates, for all steps at once.
    steps = F.linear(rows, weight_ih, bias).split(sizes)  # T x [B_t, 4H]
    weight_hh_t = weight_hh.t()  # [H, 4H]
    outputs: list[Tensor] = []
    if reverse:
        h, c = state[0][: sizes[-1]], state[1][: sizes[-1]]  # [B_T, H]
        for t in reversed(range(len(sizes))):
            if len(h) < sizes[t]:
                h = torch.cat([h, state[0][len(h) : sizes[t]]])  # [B_t, H]
                c = torch.cat([c, state[1][len(c) : sizes[t]]])  # [B_t, H]
            h, c = lstm_update(torch.addmm(steps[t], h, weight_hh_t), c)  # [B_t, H]
            outputs.append(h)
        outputs.reverse()
        return torch.cat(outputs), (h, c)
    h, c = state  # [B, H]
    finished: list[State] = []
    for t, size in enumerate(sizes):
        if len(h) > size:
            finished.append((h[size:], c[size:]))
            h, c = h[:size], c[:size]  # [B_t, H]
        h, c = lstm_update(torch.addmm(steps[t], h, weight_hh_t), c)  # [B_t, H]
        outputs.append(h)
    if finished:
        h = torch.cat([h, *(last[0] for last in reversed(finished))])  # [B, H]
        c = torch.cat([c, *(last[1] for last in reversed(finished))])  # [B, H]
    return torch.cat(outputs), (h, c)


class ThroughTime(torch.autograd.Function):
    r"""One layer in one direction, with backpropagation through time written out.

    Forward it is :func:`scan` for sequences of one length, in preallocated memory. Backward, let
    :math:`\bar v` be the derivative of the loss by :math:`v`, and :math:`a_t = [a^i_t, a^f_t,
    a^g_t, a^o_t]` what stands inside the activations. From the last step to the first (the full
    gradient of Graves & Schmidhuber, 2005; the paper of 1997 truncates it):

    .. math::

        \bar h_t &= \bar y_t + W_h^\top \bar a_{t+1}
            &&\text{(7) from above, and from the next step} \\
        \bar c_t &= f_{t+1} \odot \bar c_{t+1} + \bar h_t \odot o_t \odot (1 - \tanh^2 c_t)
            &&\text{(8) neither a matrix nor a slope between } \bar c_{t+1} \text{ and } \bar c_t \\
        \bar a^i_t &= \bar c_t \odot g_t \odot i_t (1 - i_t), \quad
        \bar a^f_t = \bar c_t \odot c_{t-1} \odot f_t (1 - f_t) &&\text{(9)} \\
        \bar a^g_t &= \bar c_t \odot i_t \odot (1 - g_t^2), \quad
        \bar a^o_t = \bar h_t \odot \tanh(c_t) \odot o_t (1 - o_t) &&\text{(10)}

    with :math:`y_t` the output. Whatever :math:`\bar c_t` and :math:`\bar h_t` are multiplied by is
    known beforehand and computed for many steps at once, and so are the gradients that nothing waits
    for, each as a product over many steps instead of a sum of :math:`T` small ones:

    .. math::

        \bar W_i = \sum_t \bar a_t x_t^\top, \quad \bar W_h = \sum_t \bar a_t h_{t-1}^\top, \quad
        \bar b = \sum_t \bar a_t, \quad \bar x_t = W_i^\top \bar a_t \qquad\text{(11)}

    "Many" is as many as stay in the processor's cache (:data:`CHUNK`): what one operation has written,
    the next finds there, and the backward pass needs memory for the gates of so many steps only.

    Where the gradient is to be differentiated again (`create_graph=True`), it is taken of the plain
    loop instead, which autograd can follow to any order.

    Shapes:
        - x: `[T, B, I]`; weight_ih: `[4H, I]`; weight_hh: `[4H, H]`; bias: `[4H]` or None
        - h_0, c_0: `[B, H]`
        - output: hidden states `[T, B, H]` and the last cell state `[B, H]`
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None,
        h_0: Tensor,
        c_0: Tensor,
        reverse: bool,
    ) -> tuple[Tensor, Tensor]:
        """Equations (1) to (6) for all steps."""
        size = h_0.shape[-1]
        gates = x.new_empty(*x.shape[:2], 4 * size)  # [T, B, 4H]: sums, then i, f, g, o in place
        output, cells, squashed = (x.new_empty(*x.shape[:2], size) for _ in range(3))
        both, g, o = gates.split([2 * size, size, size], dim=-1)  # i and f side by side
        i, f = both.split(size, dim=-1)
        buffers = (gates, both, i, f, g, o, cells, squashed, output)
        steps = list(zip(*(buffer.unbind() for buffer in buffers), strict=True))
        weight_hh_t = weight_hh.t().contiguous()  # [H, 4H], packed sooner in each of T products
        h, c = h_0, c_0  # [B, H]
        for span in _spans(len(x), gates[0].numel(), reverse):
            sums = gates[span].flatten(0, 1)  # [S*B, 4H]
            torch.mm(x[span].flatten(0, 1), weight_ih.t(), out=sums)
            if bias is not None:
                sums += bias
            part = steps[span]
            for a_t, both_t, i_t, f_t, g_t, o_t, c_t, s_t, h_t in part[::-1] if reverse else part:
                a_t.addmm_(h, weight_hh_t)  # [B, 4H]
                both_t.sigmoid_()  # (1), (2)
                c = torch.mul(f_t, c, out=c_t).addcmul_(i_t, g_t.tanh_())  # [B, H]  (3), (5)
                h = torch.mul(o_t.sigmoid_(), torch.tanh(c, out=s_t), out=h_t)  # [B, H]  (4), (6)
        ctx.reverse = reverse
        ctx.save_for_backward(
            x, weight_ih, weight_hh, bias, h_0, c_0, gates, cells, squashed, output
        )
        return output, c.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Equations (7) to (11)."""
        *inputs, gates, cells, squashed, output = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_gradients_of_scan(inputs, gradients, ctx), None)
        x, weight_ih, weight_hh, _, h_0, c_0 = inputs
        i, f, g, o = gates.chunk(4, dim=-1)  # 4 x [T, B, H]
        spans = _spans(len(x), gates[0].numel(), not ctx.reverse)
        most = max(span.stop - span.start for span in spans)
        # First the factors of (8) to (10) for the steps of a span, then, in place, the gradient itself.
        flat = gates.new_empty(most, *gates.shape[1:])  # [S, B, 4H]
        da = flat.unflatten(-1, (4, -1))  # the same memory, [S, B, 4, H]
        through = squashed.new_empty(most, *squashed.shape[1:])  # dh_t / dc_t, [S, B, H]
        buffers = (flat, da[:, :, :3], da[:, :, 3], through)
        room = list(zip(*(buffer.unbind() for buffer in buffers), strict=True))
        above, forget = gradients[0].unbind(), f.unbind()
        beside = gradients[1].unsqueeze(1).clone()  # [B, 1, H]: dc beside i, f and g
        dc = beside[:, 0]  # the same memory, [B, H]
        dh = torch.zeros_like(h_0)  # what comes from the next step, [B, H]
        dx, d_ih, d_hh, d_bias = (
            torch.zeros_like(value) if needed else None
            for value, needed in zip(inputs[:4], ctx.needs_input_grad[:4], strict=True)
        )
        for span in spans:
            start, length = span.start, span.stop - span.start
            c_before, h_before = (
                _before(states, first, span, ctx.reverse)
                for states, first in ((cells, c_0), (output, h_0))
            )  # 2 x [S, B, H]
            part = da[:length]
            _times_slope(g[span], i[span], "sigmoid", out=part[:, :, 0])
            _times_slope(c_before, f[span], "sigmoid", out=part[:, :, 1])
            _times_slope(i[span], g[span], "tanh", out=part[:, :, 2])
            _times_slope(squashed[span], o[span], "sigmoid", out=part[:, :, 3])
            _times_slope(o[span], squashed[span], "tanh", out=through[:length])
            order = range(start, span.stop)
            for t in order if ctx.reverse else reversed(order):
                a_t, ifg_t, o_t, through_t = room[t - start]
                dh = dh + above[t]  # (7)
                dc.addcmul_(dh, through_t)  # (8)
                ifg_t *= beside  # [B, 3, H]  (9), (10)
                o_t *= dh  # [B, H]  (10)
                dc *= forget[t]
                dh = torch.mm(a_t, weight_hh)  # [B, H]
            rows = flat[:length].flatten(0, 1)  # [S*B, 4H]
            if dx is not None:  # (11)
                torch.mm(rows, weight_ih, out=dx[span].flatten(0, 1))
            if d_ih is not None:
                d_ih.addmm_(rows.t(), x[span].flatten(0, 1))
            if d_hh is not None:
                d_hh.addmm_(rows.t(), h_before.flatten(0, 1))
            if d_bias is not None:
                d_bias += rows.sum(0)
        return dx, d_ih, d_hh, d_bias, dh, dc, None


CHUNK = 2**17
"""Numbers (half a megabyte in float32) that the gates of as many time steps take as are worked on
together. Between a quarter and four times of it the speed hardly changes."""

FEWEST = 8
"""Time steps that are worked on together at least: each span adds to the gradients of all weights."""


def _spans(steps: int, numbers: int, backwards: bool) -> list[slice]:
    """Time steps in spans of :data:`CHUNK` numbers, `numbers` for each step, in the order of reading."""
    length = max(FEWEST, CHUNK // max(numbers, 1))
    spans = [slice(start, min(start + length, steps)) for start in range(0, steps, length)]
    return spans[::-1] if backwards else spans


def _times_slope(factor: Tensor, value: Tensor, kind: str, *, out: Tensor) -> Tensor:
    """`factor` times the slope at `value`: `y (1 - y)` of the sigmoid, `1 - y^2` of tanh.

    The kernels are those by which autograd differentiates `torch.sigmoid` and `torch.tanh`.
    """
    kernel = torch.ops.aten.sigmoid_backward if kind == "sigmoid" else torch.ops.aten.tanh_backward
    return kernel.grad_input(factor, value, grad_input=out)


def _before(states: Tensor, first: Tensor, span: slice, reverse: bool) -> Tensor:
    """The state before each step of a span, from those after each step: `[S, B, H]`."""
    if reverse:
        if span.stop < len(states):
            return states[span.start + 1 : span.stop + 1]
        return torch.cat([states[span.start + 1 :], first.unsqueeze(0)])
    if span.start > 0:
        return states[span.start - 1 : span.stop - 1]
    return torch.cat([first.unsqueeze(0), states[: span.stop - 1]])


def _gradients_of_scan(
    inputs: list[Tensor | None], gradients: tuple[Tensor, ...], ctx: Any
) -> list[Tensor | None]:
    """The gradients of :class:`ThroughTime` by the plain loop, as a graph of their own."""
    # Aliases: where one input was computed from another, each is to be varied with the other fixed.
    fixed: list[Any] = [None if value is None else value.view_as(value) for value in inputs]
    x, weight_ih, weight_hh, bias, h_0, c_0 = fixed
    rows, (_, c) = scan(
        x.flatten(0, 1), [x.shape[1]] * len(x), weight_ih, weight_hh, bias, (h_0, c_0), ctx.reverse
    )
    wanted = [k for k, needed in enumerate(ctx.needs_input_grad) if needed]
    found = torch.autograd.grad(
        (rows.view_as(gradients[0]), c),
        [fixed[k] for k in wanted],
        gradients,
        create_graph=True,
    )
    by_index = dict(zip(wanted, found, strict=True))
    return [by_index.get(k) for k in range(len(inputs))]


class LSTM(nn.Module):
    r"""Layers of :class:`LSTMCell` run over time; a drop-in for `torch.nn.LSTM` (no `proj_size`).

    Layer :math:`l > 1` reads the hidden states of layer :math:`l - 1`, with dropout between them. A
    second direction reads time backwards and its states are appended to the features. The products
    :math:`W_{i\cdot} x_t` do not wait for the recurrence, so each layer computes them for all
    steps in one matrix product, and a step only adds :math:`W_{h\cdot} h_{t-1}`.

    A batch of padded sequences is best passed as a `PackedSequence`; a plain tensor is the packed
    sequence whose batch never shrinks, so one loop (:func:`scan`) serves both. Where it does not
    shrink, :class:`ThroughTime` runs the same steps faster, with the backward pass written by hand.

    Args:
        input_size: :math:`I`.
        hidden_size: :math:`H`.
        num_layers: :math:`L`.
        bias: Whether there are bias vectors.
        batch_first: Whether the batch is the first axis of input and output (never of the states).
        dropout: Dropout probability between layers, while training.
        bidirectional: Whether to add the backward direction (:math:`D = 2`).
        device: Where the parameters are created.
        dtype: Type of the parameters.

    Shapes:
        - input: `[T, B, I]`, `[B, T, I]` if `batch_first`, `[T, I]`, or a `PackedSequence`
        - hx: optional pair of `[L*D, B, H]` (or `[L*D, H]`)
        - output: `(output, (h_n, c_n))` with `output` `[T, B, D*H]` in the layout of the input and
          `h_n`, `c_n` `[L*D, B, H]`, ordered layer by layer, forward then backward

    Raises:
        ValueError: The shape of the input or of a state does not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, but is {num_layers}.")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout must be a probability in [0, 1], but is {dropout}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.num_directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (4 * hidden_size, width),
                    "weight_hh": (4 * hidden_size, hidden_size),
                }
                if bias:
                    shapes |= {"bias_ih": (4 * hidden_size,), "bias_hh": (4 * hidden_size,)}
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name + suffix, parameter)
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        """:math:`D`: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        """Endings of the parameter names of one layer, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def reset_parameters(self) -> None:
        r"""Draw every parameter from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`."""
        _uniform_(self, self.hidden_size)

    def extra_repr(self) -> str:
        """The sizes, for `print(lstm)`."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bias={self.bias}, batch_first={self.batch_first}, dropout={self.dropout}, "
            f"bidirectional={self.bidirectional}"
        )

    @overload
    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: State | None = None
    ) -> tuple[PackedSequence, State]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run the sequence(s) through all layers; see the class for shapes."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            layout = "[B, T, I]" if self.batch_first else "[T, B, I]"
            raise ValueError(
                f"LSTM expects an input of shape {layout} or [T, I] with I = {self.input_size}, "
                f"but got {list(input.shape)}."
            )
        batched = input.ndim == 3
        if not batched:
            x = input.unsqueeze(1)  # [T, 1, I]
            hx = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))  # [L*D, 1, H]
        else:
            x = input.transpose(0, 1) if self.batch_first else input  # [T, B, I]
        steps, batch = x.shape[:2]
        if steps == 0:
            raise ValueError("LSTM expects at least one time step, but the sequence is empty.")
        rows, (h_n, c_n) = self._run(
            x.reshape(steps * batch, self.input_size),  # [T*B, I]
            [batch] * steps,
            self._initial(hx, batch, x),
        )
        output = rows.view(steps, batch, rows.shape[-1])  # [T, B, D*H]
        if not batched:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return (output.transpose(0, 1) if self.batch_first else output), (h_n, c_n)

    def _forward_packed(
        self, packed: PackedSequence, hx: State | None
    ) -> tuple[PackedSequence, State]:
        """Run a packed batch: its rows are sorted by length, the states come in batch order."""
        if packed.data.ndim != 2 or packed.data.shape[-1] != self.input_size:
            raise ValueError(
                f"LSTM expects packed data of shape [R, {self.input_size}], "
                f"but got {list(packed.data.shape)}."
            )
        sizes: list[int] = packed.batch_sizes.tolist()
        h_0, c_0 = self._initial(hx, sizes[0], packed.data)  # [L*D, B, H]
        if packed.sorted_indices is not None:
            h_0 = h_0.index_select(1, packed.sorted_indices)
            c_0 = c_0.index_select(1, packed.sorted_indices)
        rows, (h_n, c_n) = self._run(packed.data, sizes, (h_0, c_0))
        if packed.unsorted_indices is not None:
            h_n = h_n.index_select(1, packed.unsorted_indices)
            c_n = c_n.index_select(1, packed.unsorted_indices)
        output = PackedSequence(
            rows, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        return output, (h_n, c_n)

    def _initial(self, hx: State | None, batch: int, like: Tensor) -> State:
        """The given initial states after a check of their shape, or zeros: 2 x `[L*D, B, H]`."""
        shape = (self.num_layers * self.num_directions, batch, self.hidden_size)
        if hx is None:
            zeros = like.new_zeros(shape)
            return zeros, zeros
        for name, state in zip(("h_0", "c_0"), hx, strict=True):
            if state.shape != shape:
                raise ValueError(
                    f"LSTM expects {name} to have shape {list(shape)} "
                    f"[layers * directions, batch, hidden], but got {list(state.shape)}."
                )
        return hx

    def _run(self, rows: Tensor, sizes: list[int], initial: State) -> tuple[Tensor, State]:
        """All layers and directions over packed rows `[R, I]` -> `[R, D*H]`, 2 x `[L*D, B, H]`."""
        # solution:begin all layers, each in its directions | self._scan runs one of them
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
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
        """One layer in one direction, `[R, I]` -> `[R, H]`: by :class:`ThroughTime` where it can."""
        weight_ih: Tensor = getattr(self, f"weight_ih{suffix}")  # [4H, I]
        weight_hh: Tensor = getattr(self, f"weight_hh{suffix}")  # [4H, H]
        bias: Tensor | None = None
        if self.bias:
            bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}")  # [4H]
        # Unequal lengths shrink the batch, autocast chooses the type of each operation, and the
        # transforms of `torch.func` want to see them: all three are left to the loop.
        if (
            sizes[0] != sizes[-1]
            or torch.is_autocast_enabled(rows.device.type)
            or torch._C._are_functorch_transforms_active()
        ):
            return scan(rows, sizes, weight_ih, weight_hh, bias, state, reverse)
        x = rows.view(len(sizes), sizes[0], rows.shape[-1])  # [T, B, I]
        # solution:begin the cell over the steps of x, from the last to the first if reverse | lstm_update
        output, c = ThroughTime.apply(x, weight_ih, weight_hh, bias, *state, reverse)
        return output.flatten(0, 1), (output[0 if reverse else -1], c)
        # solution:end


class BiLSTMClassifier(nn.Module):
    r"""A bidirectional LSTM that reads a sentence and gives one logit (binary classification).

    .. math::

        h_{1..T} &= \mathrm{BiLSTM}(E_{w_1}, \dots, E_{w_T}) \\
        z &= [\max_t h_t \,\Vert\, \tfrac1T \sum_t h_t \,\Vert\, \overrightarrow{h}_T \,\Vert\,
              \overleftarrow{h}_1], \qquad \text{logit} = w^\top z + b

    Maximum, mean and end states see different things (one strong word, the general tone, the whole
    in order), and `z` costs nothing next to the recurrence.

    Padding never changes the result: sequences of unequal length are packed and pooled over
    their own steps only. Batches of equal length take the plain path, without packing.

    Args:
        vocab_size: :math:`V`.
        embedding_dim: :math:`E`.
        hidden_size: :math:`H`, of each direction.
        num_layers: :math:`L`, stacked BiLSTM layers.
        dropout: Dropout probability between layers and before the output layer.
        padding_idx: Id of the padding word, to the right of the sentence.
        cell: `"builtin"` runs `nn.LSTM` (fused kernel), `"own"` runs :class:`LSTM`; the parameters
            have the same names, so a checkpoint of one loads into the other.
        embedding_dropout: Dropout probability on the embedded words.
        pretrained: Optional embedding matrix `[V, w]` to start from; see :class:`WordEmbedding`.
        freeze: Keep the pre-trained vectors fixed.

    Shapes:
        - tokens: `[B, T]` int64
        - lengths: optional `[B]`; counted from the padding word if left out
        - output: logits `[B]`
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.3,
        padding_idx: int = 0,
        cell: Literal["builtin", "own"] = "builtin",
        *,
        embedding_dropout: float = 0.0,
        pretrained: Tensor | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if cell not in ("builtin", "own"):
            raise ValueError(f"cell must be 'builtin' or 'own', but is {cell!r}.")
        self.padding_idx = padding_idx
        self.embedding = WordEmbedding(vocab_size, embedding_dim, padding_idx, pretrained, freeze)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        recurrent = nn.LSTM if cell == "builtin" else LSTM
        self.lstm = recurrent(
            embedding_dim,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(6 * hidden_size, 1)

    def features(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The pooled representation `z` of each sentence: `[B, T]` -> `[B, 6H]`."""
        if tokens.ndim != 2 or tokens.shape[1] == 0:
            raise ValueError(
                f"BiLSTMClassifier expects tokens of shape [B, T] with T > 0, "
                f"but got {list(tokens.shape)}."
            )
        if lengths is None:
            lengths = (tokens != self.padding_idx).sum(dim=1)  # [B]
        elif lengths.shape != tokens.shape[:1]:
            raise ValueError(
                f"lengths must have one entry per sentence, [{len(tokens)}], "
                f"but has shape {list(lengths.shape)}."
            )
        embedded = self.embedding_dropout(self.embedding(tokens))  # [B, T, E]
        return self.pool(embedded, lengths)

    def pool(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The representation `z` of embedded sentences: `[B, T, E]`, `[B]` -> `[B, 6H]`."""
        steps = embedded.shape[1]
        # A sentence without a single word is read as one padding word: a zero vector.
        lengths = lengths.cpu().clamp(min=1)  # [B]
        if bool((lengths == steps).all()):
            states, (h_n, _) = self.lstm(embedded)  # [B, T, 2H], [2L, B, H]
            highest = states.amax(dim=1)  # [B, 2H]
            mean = states.mean(dim=1)  # [B, 2H]
        else:
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            packed_states, (h_n, _) = self.lstm(packed)  # [2L, B, H]
            states, _ = pad_packed_sequence(  # [B, T, 2H], zeros behind the end
                packed_states, batch_first=True, total_length=steps
            )
            lengths = lengths.to(embedded.device)
            padded = torch.arange(steps, device=embedded.device) >= lengths.unsqueeze(1)  # [B, T]
            highest = states.masked_fill(padded.unsqueeze(2), -torch.inf).amax(dim=1)  # [B, 2H]
            mean = states.sum(dim=1) / lengths.unsqueeze(1)  # [B, 2H]
        return torch.cat([highest, mean, h_n[-2], h_n[-1]], dim=1)  # [B, 6H]

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logit of the positive class for each sentence: `[B, T]` -> `[B]`."""
        return self.score(self.features(tokens, lengths))  # [B]

    def score(self, pooled: Tensor) -> Tensor:
        """Logits of the representation: `[B, 6H]` -> `[B]`."""
        logits: Tensor = self.output(self.dropout(pooled))  # [B, 1]
        return logits.squeeze(1)  # [B]


def _uniform_(module: nn.Module, hidden_size: int) -> None:
    """Initialise as PyTorch does, in the same order, so that equal seeds give equal weights."""
    bound = hidden_size**-0.5 if hidden_size > 0 else 0.0
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)
