r"""One LSTM layer in one direction in preallocated memory, with its backward pass written by hand.

Letters: `B` batch, `T` time steps, `S` time steps of a span, `I` input size, `H` hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Scan = Callable[..., tuple[Tensor, tuple[Tensor, Tensor]]]
Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor]
"""x `[T, B, I]`, weight_ih `[4H, I]`, weight_hh `[4H, H]`, bias `[4H]`, h_0 and c_0 `[B, H]`."""

# Numbers of the gates that are worked on together: half a megabyte in float32 stays in the cache.
CHUNK = 2**17
FEWEST = 8  # steps of a span at least: each span costs one addition to all weight gradients
# A factor times the slope at a value, by the kernels of autograd.
_SIGMOID = torch.ops.aten.sigmoid_backward.grad_input
_TANH = torch.ops.aten.tanh_backward.grad_input


def spans(steps: int, numbers: int, backwards: bool) -> list[slice]:
    """Time steps in spans of :data:`CHUNK` numbers, `numbers` for each step, in reading order."""
    length = max(FEWEST, CHUNK // max(numbers, 1))
    found = [slice(start, min(start + length, steps)) for start in range(0, steps, length)]
    return found[::-1] if backwards else found


def run(inputs: Inputs, reverse: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Equations (1) to (6) of :mod:`.lstm` for sequences of one length, in preallocated memory.

    Hidden states `[T, B, H]`, gates `[T, B, 4H]`, cell states and their tanh `[T, B, H]`. Without `keep`
    a span writes over the gates of the one before, and a step over the cell state: both stay in the cache.
    """
    x, weight_ih, weight_hh, bias, h, c = inputs
    (steps, batch), size = x.shape[:2], weight_hh.shape[1]
    parts = spans(steps, batch * 4 * size, reverse)
    longest = max(span.stop - span.start for span in parts)
    gates = x.new_empty(steps if keep else longest, batch, 4 * size)
    output = x.new_empty(steps, batch, size)  # [T, B, H]
    cells, squashed = (x.new_empty(steps if keep else 1, batch, size) for _ in range(2))
    both, g, o = gates.split([2 * size, size, size], dim=-1)  # i and f side by side
    i, f = both.split(size, dim=-1)
    by_step = list(zip(*(part.unbind() for part in (gates, both, i, f, g, o)), strict=True))
    c_rows, s_rows, h_rows = cells.unbind(), squashed.unbind(), output.unbind()
    weight_hh_t = weight_hh.t().contiguous()  # [H, 4H], packed sooner in each of T products
    for span in parts:
        first = span.start if keep else 0  # row of the gates of the first step
        sums = gates[first : first + span.stop - span.start].flatten(0, 1)  # [S*B, 4H]
        torch.mm(x[span].flatten(0, 1), weight_ih.t(), out=sums)
        if bias is not None:
            sums += bias
        order = range(span.start, span.stop)
        for t in reversed(order) if reverse else order:
            a_t, both_t, i_t, f_t, g_t, o_t = by_step[first + t - span.start]
            row = t if keep else 0
            a_t.addmm_(h, weight_hh_t)  # [B, 4H]
            both_t.sigmoid_()  # (1), (2)
            c = torch.mul(f_t, c, out=c_rows[row]).addcmul_(i_t, g_t.tanh_())  # [B, H]  (3), (5)
            squash = torch.tanh(c, out=s_rows[row])  # [B, H]
            h = torch.mul(o_t.sigmoid_(), squash, out=h_rows[t])  # [B, H]  (4), (6)
    return output, gates, cells, squashed


def through_time(scan: Scan, reverse: bool, *inputs: Any) -> tuple[Tensor, Tensor]:
    """Hidden states `[T, B, H]` and last cell state `[B, H]`, with a graph if gradients are wanted."""
    if torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in inputs):
        return ThroughTime.apply(scan, reverse, *inputs)
    output, _, cells, _ = run(inputs, reverse, keep=False)
    return output, cells[0]


class ThroughTime(torch.autograd.Function):
    r"""One layer in one direction, with backpropagation through time written out.

    Let :math:`\bar v` be the derivative of the loss by :math:`v`, :math:`y_t` the output, and :math:`a_t`
    what stands inside the activations. From the last step to the first (the paper of 1997 truncates this):

    .. math::

        \bar h_t &= \bar y_t + W_h^\top \bar a_{t+1}
            &&\text{(7) from above, and from the next step} \\
        \bar c_t &= f_{t+1} \odot \bar c_{t+1} + \bar h_t \odot o_t \odot (1 - \tanh^2 c_t)
            &&\text{(8) } \bar c_{t+1} \text{ is only multiplied by a gate} \\
        \bar a^i_t &= \bar c_t \odot g_t \odot i_t (1 - i_t), \quad
        \bar a^f_t = \bar c_t \odot c_{t-1} \odot f_t (1 - f_t) &&\text{(9)} \\
        \bar a^g_t &= \bar c_t \odot i_t \odot (1 - g_t^2), \quad
        \bar a^o_t = \bar h_t \odot \tanh(c_t) \odot o_t (1 - o_t) &&\text{(10)} \\
        \bar W_i &= \sum_t \bar a_t x_t^\top, \quad \bar W_h = \sum_t \bar a_t h_{t-1}^\top, \quad
        \bar b = \sum_t \bar a_t, \quad \bar x_t = W_i^\top \bar a_t &&\text{(11)}

    The factors of :math:`\bar c_t` and :math:`\bar h_t` are known beforehand and computed for a span of
    steps at once, and so are the sums of (11). For `create_graph=True` the gradient is that of `scan`.
    """

    @staticmethod
    def forward(ctx: Any, scan: Scan, reverse: bool, *inputs: Any) -> tuple[Tensor, Tensor]:
        output, *kept = run(inputs, reverse, keep=True)
        ctx.scan, ctx.reverse = scan, reverse
        ctx.save_for_backward(*inputs, *kept, output)
        return output, kept[1][0 if reverse else -1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, gates, cells, squashed, output = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            return None, None, *_gradients_of_scan(ctx.scan, ctx.reverse, inputs, needed, gradients)
        x, weight_ih, weight_hh, _, h_0, c_0 = inputs
        i, f, g, o = gates.chunk(4, dim=-1)  # 4 x [T, B, H]
        parts = spans(len(x), gates[0].numel(), not ctx.reverse)
        most = max(span.stop - span.start for span in parts)
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
            torch.zeros_like(value) if wanted else None
            for value, wanted in zip(inputs[:4], needed[:4], strict=True)
        )
        for span in parts:
            start, length = span.start, span.stop - span.start
            c_before = _before(cells, c_0, span, ctx.reverse)  # [S, B, H]
            h_before = _before(output, h_0, span, ctx.reverse)
            di, df, dg, do = da[:length].unbind(2)  # 4 x [S, B, H]
            _SIGMOID(g[span], i[span], grad_input=di)
            _SIGMOID(c_before, f[span], grad_input=df)
            _TANH(i[span], g[span], grad_input=dg)
            _SIGMOID(squashed[span], o[span], grad_input=do)
            _TANH(o[span], squashed[span], grad_input=through[:length])
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
            for weights, read in ((d_ih, x[span]), (d_hh, h_before)):
                if weights is not None:
                    weights.addmm_(rows.t(), read.flatten(0, 1))
            if d_bias is not None:
                d_bias += rows.sum(0)
        return None, None, dx, d_ih, d_hh, d_bias, dh, dc


def _before(states: Tensor, first: Tensor, span: slice, reverse: bool) -> Tensor:
    """The state before each step of a span, from those after each step: `[S, B, H]`."""
    step = 1 if reverse else -1
    found = states[max(span.start + step, 0) : span.stop + step]
    if len(found) < span.stop - span.start:
        found = torch.cat([found, first[None]] if reverse else [first[None], found])
    return found


def _gradients_of_scan(
    scan: Scan, reverse: bool, inputs: list[Any], needed: tuple[bool, ...], gradients: Any
) -> list[Tensor | None]:
    """The gradients of :class:`ThroughTime` by the plain loop, as a graph of their own."""
    # Aliases: where one input was computed from another, each is to be varied with the other fixed.
    fixed: list[Any] = [None if value is None else value.view_as(value) for value in inputs]
    x, weight_ih, weight_hh, bias, h_0, c_0 = fixed
    steps, sizes = x.flatten(0, 1), [x.shape[1]] * len(x)
    rows, (_, c) = scan(steps, sizes, weight_ih, weight_hh, bias, (h_0, c_0), reverse)
    wanted = [k for k, is_needed in enumerate(needed) if is_needed]
    leaves, ends = [fixed[k] for k in wanted], (rows.view_as(gradients[0]), c)
    found = iter(torch.autograd.grad(ends, leaves, gradients, create_graph=True))
    return [next(found) if is_needed else None for is_needed in needed]
