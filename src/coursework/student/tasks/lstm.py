"""Problem 1: the LSTM cell and the LSTM, beside PyTorch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from coursework.student import remarks as r
from coursework.student.checks import (
    Known,
    Task,
    gradients,
    parameter_gradients,
    quiet_in_eval,
    same,
    take_weights,
)

CELL = Task("LSTMCell", 1, "1(a)", "models.lstm", ("lstm_update", "LSTMCell"))
LSTM = Task("LSTM", 1, "1(c)", "models.lstm", ("LSTM",))


def _step(
    sums: Tensor,
    c: Tensor,
    order: str = "ifgo",
    forget: Callable[[Tensor], Tensor] = torch.sigmoid,
    candidate: Callable[[Tensor], Tensor] = torch.tanh,
) -> tuple[Tensor, Tensor]:
    """A step as the equations say, or with one thing wrong."""
    gate = dict(zip(order, sums.chunk(4, dim=-1), strict=True))
    new = forget(gate["f"]) * c + torch.sigmoid(gate["i"]) * candidate(gate["g"])
    return torch.sigmoid(gate["o"]) * torch.tanh(new), new


def _cells(m: Any, bias: bool = True) -> tuple[nn.Module, nn.LSTMCell]:
    trusted = nn.LSTMCell(5, 4, bias=bias)
    return take_weights(m.LSTMCell(5, 4, bias=bias), trusted), trusted


def _wrong_cells(cell: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> Known:
    from_x, from_h = F.linear(x, cell.weight_ih), F.linear(h, cell.weight_hh)
    sums = from_x + from_h + cell.bias_ih + cell.bias_hh
    right = _step(sums, c)
    out = torch.sigmoid(sums.chunk(4, dim=-1)[3])
    orders = ["".join(p) for p in itertools.permutations("ifgo")][1:]
    return [
        *((r.GATE_ORDER, _step(sums, c, order)) for order in orders),
        (r.FORGET_INVERTED, _step(sums, c, forget=lambda f: 1 - torch.sigmoid(f))),
        (r.CANDIDATE_SIGMOID, _step(sums, c, candidate=torch.sigmoid)),
        (r.STATE_NOT_SQUASHED, (out * right[1], right[1])),
        (r.OLD_STATE_SHOWN, (out * torch.tanh(c), right[1])),
        (r.STATES_SWAPPED, right[::-1]),
        *((r.BIAS_SHARED, _step(from_x + from_h + 2 * b, c)) for b in (cell.bias_ih, cell.bias_hh)),
        *(
            (r.BIAS_MISSING, _step(from_x + from_h + b, c))
            for b in (cell.bias_ih, cell.bias_hh, torch.zeros(()))
        ),
        (r.HIDDEN_IGNORED, _step(from_x + cell.bias_ih + cell.bias_hh, c)),
        (r.HIDDEN_IGNORED, _step(from_x + cell.bias_ih, c)),
        (r.STATE_IGNORED, cell(x)),
    ]


@CELL.check
def cell_values(m: Any) -> None:
    own, trusted = _cells(m)
    x, h, c = torch.randn(3, 5), torch.randn(3, 4), torch.randn(3, 4)
    same(
        own(x, (h, c)),
        trusted(x, (h, c)),
        _wrong_cells(trusted, x, h, c),
        what="the pair of states",
    )


@CELL.check
def cell_update_alone(m: Any) -> None:
    sums, c = torch.randn(3, 16), torch.randn(3, 4)
    orders = ["".join(p) for p in itertools.permutations("ifgo")][1:]
    known = [(r.GATE_ORDER, _step(sums, c, order)) for order in orders]
    same(m.lstm_update(sums, c), _step(sums, c), known, what="what lstm_update returns")


@CELL.check
def cell_without_state_and_bias(m: Any) -> None:
    own, trusted = _cells(m, bias=False)
    x = torch.randn(3, 5)
    same(own(x), trusted(x), what="the pair of states without a bias and an initial state")
    same(own(x[0]), trusted(x[0]), what="the pair of states for a single sample")


@CELL.check
def cell_gradients(m: Any) -> None:
    own, trusted = _cells(m)
    names = [name for name, _ in trusted.named_parameters()]

    def run(module: nn.Module) -> Callable[..., Any]:
        def call(x: Tensor, h: Tensor, c: Tensor, **weights: Tensor) -> Any:
            return torch.func.functional_call(module, weights, (x, (h, c)))

        return call

    leaves = {name: getattr(trusted, name) for name in names}
    gradients(run(own), run(trusted), x=torch.randn(3, 5), h=torch.randn(3, 4),
              c=torch.randn(3, 4), **leaves)  # fmt: skip


# --- the layer ---------------------------------------------------------------------------------


def _layers(m: Any, input_size: int = 4, **options: Any) -> tuple[nn.Module, nn.LSTM]:
    trusted = nn.LSTM(input_size, 4, **options)
    return take_weights(m.LSTM(input_size, 4, **options), trusted), trusted


def _part(lstm: nn.LSTM, suffix: str, bias_only: str | None = None) -> nn.LSTM:
    """One layer in one direction, cut out of a larger LSTM."""
    part = nn.LSTM(getattr(lstm, f"weight_ih{suffix}").shape[1], lstm.hidden_size)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(part, f"{name}_l0").data = getattr(lstm, f"{name}{suffix}").data.clone()
    for name in ("bias_ih_l0", "bias_hh_l0"):
        if bias_only is not None and name != bias_only:
            getattr(part, name).data.zero_()
    return part


@LSTM.check
def one_layer(m: Any) -> None:
    own, trusted = _layers(m, 5)
    x, h, c = torch.randn(6, 3, 5), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    one_bias = [_part(trusted, "_l0", name) for name in ("bias_ih_l0", "bias_hh_l0", "")]
    known: Known = [
        (r.STATE_IGNORED, trusted(x)),
        (r.STATES_SWAPPED, (trusted(x, (h, c))[0], trusted(x, (h, c))[1][::-1])),
        *((r.BIAS_MISSING, part(x, (h, c))) for part in one_bias),
    ]
    same(own(x, (h, c)), trusted(x, (h, c)), known, what="output, h_n and c_n of one layer")


@LSTM.check
def two_layers(m: Any) -> None:
    own, trusted = _layers(m, num_layers=2)
    x = torch.randn(6, 3, 4)
    bottom, top = _part(trusted, "_l0")(x), _part(trusted, "_l1")(x)
    known: Known = [
        (
            r.LAYERS_READ_INPUT,
            (top[0], *(torch.cat(pair) for pair in zip(bottom[1], top[1], strict=True))),
        )
    ]
    same(own(x), trusted(x), known, what="output, h_n and c_n of two layers")


@LSTM.check
def two_directions(m: Any) -> None:
    own, trusted = _layers(m, 5, bidirectional=True)
    x = torch.randn(6, 3, 5)
    forward, back = _part(trusted, "_l0"), _part(trusted, "_l0_reverse")
    ahead, (h, c) = forward(x)
    behind, (h_back, c_back) = back(x.flip(0))
    wrong, (h_wrong, c_wrong) = back(x)
    last = torch.cat([h, h_back]), torch.cat([c, c_back])
    known: Known = [
        (r.BACKWARD_NOT_TURNED, (torch.cat([ahead, behind], dim=2), *last)),
        (
            r.BACKWARD_READS_FORWARDS,
            (
                torch.cat([ahead, wrong], dim=2),
                torch.cat([h, h_wrong]),
                torch.cat([c, c_wrong]),
            ),
        ),
        (r.DIRECTIONS_SWAPPED, (torch.cat([behind.flip(0), ahead], dim=2), *last)),
    ]
    same(own(x), trusted(x), known, what="output, h_n and c_n of two directions")


@LSTM.check
def unequal_lengths(m: Any) -> None:
    own, trusted = _layers(m, 5, num_layers=2, bidirectional=True)
    packed = pack_padded_sequence(torch.randn(6, 3, 5), [2, 6, 3], enforce_sorted=False)
    try:
        output, state = own(packed)
    except NotImplementedError:
        raise
    except Exception:  # sizes that no longer fit are what the remark is about
        output, state = packed, ()
    right, right_state = trusted(packed)
    same(
        (pad_packed_sequence(output)[0], *state),
        (pad_packed_sequence(right)[0], *right_state),
        [(r.UNEQUAL_LENGTHS, (pad_packed_sequence(packed)[0],))],
        otherwise=r.UNEQUAL_LENGTHS,
    )


@LSTM.check
def dropout_between_layers(m: Any) -> None:
    own, trusted = _layers(m, num_layers=2, dropout=0.9)
    x = torch.randn(6, 3, 4)
    full = trusted.eval()(x)
    own.eval()
    quiet_in_eval(lambda: own(x), full)
    own, again = _layers(m, num_layers=2, dropout=1.0)
    trusted = again
    own.train()
    same(
        own(x)[0],
        trusted(x)[0],
        [
            (r.DROPOUT_NEVER, trusted.eval()(x)[0]),
            (r.DROPOUT_LAST, torch.zeros(6, 3, 4)),
        ],
        otherwise=r.DROPOUT_PLACE,
    )


@LSTM.check
def layer_gradients(m: Any) -> None:
    own, trusted = _layers(m, 5, num_layers=2, bidirectional=True)

    def run(module: nn.Module) -> Callable[..., Any]:
        def call(x: Tensor, h: Tensor, c: Tensor) -> Any:
            return module(x, (h, c))

        return call

    state = torch.randn(4, 3, 4)
    gradients(run(own), run(trusted), x=torch.randn(6, 3, 5), h=state, c=state / 2)
    x = torch.randn(4, 2, 5)
    parameter_gradients(own, trusted, lambda module: module(x)[0])
