from collections.abc import Sequence
from typing import Any

import pytest
import torch
from parity import assert_same, normal
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from coursework.models import lstm_backward
from coursework.models.lstm import LSTM, LSTMCell, lstm_update, scan
from coursework.models.lstm_backward import ThroughTime
from properties import SEED, every, refused

TOLERANCE = {torch.float32: (2e-6, 1e-5), torch.float64: (1e-12, 1e-12)}  # forward, gradients
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
BIAS = pytest.mark.parametrize("bias", [True, False])
STATE = pytest.mark.parametrize("with_state", [True, False])
REVERSE = pytest.mark.parametrize("reverse", [True, False])
INPUT, HIDDEN = 5, 7


OWN = {"LSTM": LSTM, "LSTMCell": LSTMCell}
Modules = tuple[nn.Module, nn.Module]
State = Sequence[Tensor]


def pair(kind: str, *sizes: int, **options: object) -> Modules:
    torch.manual_seed(0)
    own, reference = (
        module(*(sizes or (INPUT, HIDDEN)), **options) for module in (OWN[kind], getattr(nn, kind))
    )
    own.load_state_dict(reference.state_dict())
    return own, reference


def states(options: dict, *batch: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    return [normal(rows, *batch, HIDDEN, seed=k, dtype=dtype) for k in (2, 3)]


def outcome(
    module: nn.Module, x: Tensor, state: State = (), lengths: Any = None
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    leaves = [value.clone().requires_grad_() for value in (x, *state)]
    read: Tensor | PackedSequence = leaves[0]
    if lengths is not None:
        read = pack_padded_sequence(leaves[0], lengths, enforce_sorted=False)
    first, last = module(read, tuple(leaves[1:]) or None)
    if isinstance(first, PackedSequence):
        assert pad_packed_sequence(first)[1].tolist() == list(lengths)
        first = first.data
    outputs = [first, *(last if isinstance(last, tuple) else (last,))]
    loss = sum(((k + 1) * y).sin().sum() for k, y in enumerate(outputs))
    leaves += [p for _, p in sorted(module.named_parameters())]
    return outputs, torch.autograd.grad(loss, leaves)


def assert_parity(
    modules: Modules, x: Tensor, state: State = (), atol: Any = (1e-12, 1e-12), lengths: Any = None
) -> None:
    mine, theirs = (outcome(module, x, state, lengths) for module in modules)
    for own, reference, tolerance in zip(mine, theirs, atol, strict=True):
        assert_same(own, reference, tolerance)


# --- the cell --------------------------------------------------------------------------------


@DTYPES
@STATE
@BIAS
@pytest.mark.parametrize("batch", [(), (1,), (4,)])
def test_cell_matches_pytorch(
    batch: tuple[int, ...], bias: bool, with_state: bool, dtype: torch.dtype
) -> None:
    modules = pair("LSTMCell", bias=bias, dtype=dtype)
    x = normal(*batch, INPUT, seed=1, dtype=dtype)
    state = [normal(*batch, HIDDEN, seed=k, dtype=dtype) for k in (2, 3)] if with_state else []
    assert_parity(modules, x, state, atol=TOLERANCE[dtype])


def test_cell_reproduces_the_example_of_the_documentation() -> None:
    own, rnn = pair("LSTMCell", 10, 20)
    state = expected = (normal(3, 20, seed=1).float(), normal(3, 20, seed=2).float())
    for x in normal(2, 3, 10).float():  # time steps, batch, input size
        state, expected = own(x, state), rnn(x, expected)
        torch.testing.assert_close(state, expected, rtol=0, atol=2e-6)


def test_update_by_hand() -> None:
    # All gates half open, candidate tanh(0) = 0: c' = c / 2, h' = tanh(c / 2) / 2.
    h, c = lstm_update(torch.zeros(4), torch.tensor([2.0]))
    assert c.item() == 1.0
    assert h.item() == pytest.approx(0.5 * torch.tanh(torch.tensor(1.0)).item())


def test_cell_passes_numeric_checks_of_both_derivatives() -> None:
    cell = LSTMCell(2, 3, dtype=torch.float64)
    names, weights = zip(*cell.named_parameters(), strict=True)
    values = [normal(2, n, seed=n).requires_grad_() for n in (2, 3, 3)]

    def call(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(cell, named, (x, (h, c)))

    assert torch.autograd.gradcheck(call, (*values, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (*values, *weights), fast_mode=True)


def test_cell_reads_a_view() -> None:
    x = normal(INPUT, 4, seed=1).t()
    assert not x.is_contiguous()
    state = (normal(4, 2 * HIDDEN, seed=2)[:, ::2], torch.ones(1).double().expand(4, 7))
    own, reference = pair("LSTMCell", dtype=torch.float64)
    assert_same(own(x, state), reference(x, state))


# --- the layer -------------------------------------------------------------------------------

CONFIGURATIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "bidirectional": {"bidirectional": True},
    "two layers": {"num_layers": 2, "batch_first": True},
    "everything": {"num_layers": 3, "bidirectional": True, "bias": False, "batch_first": True},
    # With probability one nothing is random: the second layer reads zeros while training.
    "dropout": {"num_layers": 2, "dropout": 1.0},
}


@DTYPES
@pytest.mark.parametrize("shape", [(6, 3), (1, 1), (4, 0), (4,)])
@STATE
@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_layer_matches_pytorch(
    options: dict, with_state: bool, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    state = states(options, *shape[1:], dtype=dtype) if with_state else ()
    shape = shape[::-1] if options.get("batch_first") else shape
    x = normal(*shape, INPUT, seed=1, dtype=dtype)
    assert_parity(pair("LSTM", dtype=dtype, **options), x, state, TOLERANCE[dtype])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 6, 1, 5], [3, 3], [1]])
@STATE
@DTYPES
def test_layer_reads_packed_sequences(
    lengths: list[int], with_state: bool, bidirectional: bool, dtype: torch.dtype
) -> None:
    options = {"num_layers": 2, "bidirectional": bidirectional}
    modules = pair("LSTM", dtype=dtype, **options)
    x = normal(max(lengths), len(lengths), INPUT, seed=1, dtype=dtype)
    state = states(options, len(lengths), dtype=dtype) if with_state else ()
    assert_parity(modules, x, state, TOLERANCE[dtype], lengths)
    packed = pack_padded_sequence(x, sorted(lengths)[::-1])  # sorted: no order to restore
    (mine, last), (theirs, last_ref) = (module(packed) for module in modules)
    assert_same([mine.data, *last], [theirs.data, *last_ref], TOLERANCE[dtype][0])


def test_a_span_has_as_many_steps_as_the_cache_can_hold() -> None:
    def lengths(steps: int, numbers: int) -> list[int]:
        spans = lstm_backward.spans(steps, numbers, False)
        assert lstm_backward.spans(steps, numbers, True) == spans[::-1]
        assert [t for span in spans for t in range(span.start, span.stop)] == list(range(steps))
        return [span.stop - span.start for span in spans]

    assert lengths(70, 2**12) == [32, 32, 6]  # 2^17 numbers
    assert lengths(18, 2**20) == [8, 8, 2]  # eight steps at least
    assert lengths(2**17, 0) == [2**17]  # of an empty batch


@pytest.mark.parametrize("numbers", [1, 4 * HIDDEN * 3 * 2, 4 * HIDDEN * 3 * 4])
def test_spans_of_steps_change_nothing(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Spans of one, of two and of four of the seven steps, against all in one.
    options = {"bidirectional": True, "dtype": torch.float64}
    given = LSTM(INPUT, HIDDEN, **options), normal(7, 3, INPUT, seed=1), states(options, 3)
    whole = outcome(*given)
    monkeypatch.setattr(lstm_backward, "CHUNK", numbers)
    monkeypatch.setattr(lstm_backward, "FEWEST", 1)
    assert_same(outcome(*given), whole)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("LSTM", options) for options in CONFIGURATIONS.values()),
        *(("LSTMCell", options) for options in ({}, {"bias": False}, {"hidden_size": 0})),
    ],
)
def test_weights_move_both_ways_and_start_equal(kind: str, options: dict) -> None:
    options, modules = {"hidden_size": HIDDEN} | options, []
    for module in (OWN[kind], getattr(nn, kind)):
        torch.manual_seed(5)
        modules.append(module(INPUT, **options))
    own, reference = modules
    assert list(own.state_dict()) == list(reference.state_dict())
    assert_same([*own.parameters()], [*reference.parameters()], 0.0)
    reference.load_state_dict(own.state_dict())
    assert str(own).startswith(f"{kind}({INPUT}, ")


# The layer has a backward pass of its own for sequences of one length; these tests are for it.


def through_time(*values: Tensor | None, reverse: bool = False) -> tuple[Tensor, Tensor]:
    return ThroughTime.apply(scan, reverse, *values)


def through_time_inputs(bias: bool = True) -> list[Tensor]:
    shapes = [(3, 2, 2), (12, 2), (12, 3), (12,), (2, 3), (2, 3)]  # T 3, B 2, I 2, H 3
    values = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    return [value.requires_grad_() for i, value in enumerate(values) if bias or i != 3]


@BIAS
@REVERSE
def test_through_time_passes_numeric_checks_of_both_derivatives(reverse: bool, bias: bool) -> None:
    def call(x: Tensor, w_i: Tensor, w_h: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        b, h, c = rest if bias else (None, *rest)
        return through_time(x, w_i, w_h, b, h, c, reverse=reverse)

    assert torch.autograd.gradcheck(call, through_time_inputs(bias))
    assert torch.autograd.gradgradcheck(call, through_time_inputs(bias), fast_mode=True)


@pytest.mark.parametrize("needed", range(6))
def test_through_time_gives_only_the_gradients_that_are_wanted(needed: int) -> None:
    everything = through_time_inputs()
    full = torch.autograd.grad(through_time(*everything)[0].sum(), everything)
    values = [value.detach() for value in everything]
    values[needed].requires_grad_()
    for again in (False, True):  # by hand, and by the loop
        output, _ = through_time(*values)
        (found,) = torch.autograd.grad(output.sum(), [values[needed]], create_graph=again)
        assert_same(found, full[needed], 1e-13)


def test_second_derivatives_where_one_input_depends_on_another() -> None:
    # The first state is computed from the recurrent weights: a partial derivative by the weights
    # that follows that path as well counts it twice.
    own, reference = pair("LSTM", 3, 4, dtype=torch.float64)
    x, found = normal(3, 2, 3, seed=1), []
    for module in (own, reference):
        weight = module.weight_hh_l0
        state = weight.sin()[:2].unsqueeze(0)
        (first,) = torch.autograd.grad(
            module(x, (state, state.cos()))[0].sum(), [weight], create_graph=True
        )
        found.append((first, *torch.autograd.grad(first.square().sum(), [weight])))
    assert_same(*found, 1e-12)


def test_layer_keeps_what_a_second_backward_needs() -> None:
    layer = LSTM(INPUT, HIDDEN, bidirectional=True)
    loss = layer(normal(4, 3, INPUT, dtype=torch.float32, seed=1))[0].sin().sum()
    leaves = list(layer.parameters())
    first, second = (torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2))
    assert_same(second, first, 0.0)


def test_changing_the_output_in_place_is_noticed() -> None:
    output, _ = LSTM(INPUT, HIDDEN)(normal(4, 3, INPUT, dtype=torch.float32, seed=1))
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@REVERSE
def test_without_gradients_the_layer_keeps_less_and_says_the_same(reverse: bool) -> None:
    layer, x = LSTM(3, 40, bidirectional=reverse), torch.randn(70, 30, 3)  # several spans of steps
    expected, states = layer(x)
    with torch.no_grad():
        output, found = layer(x)
    assert expected.requires_grad
    assert_same([output, *found], [expected, *states], 1e-5)


def test_layer_leaves_its_arguments_alone() -> None:
    layer = LSTM(INPUT, HIDDEN, 2, bidirectional=True)
    values = [normal(4, 3, n, dtype=torch.float32, seed=n) for n in (INPUT, HIDDEN, HIDDEN)]
    before = [value.clone() for value in values]
    output, (_, c_n) = layer(values[0], (values[1], values[2]))
    (output.sum() + c_n.sum()).backward()
    assert_same(values, before, 0.0)


def test_layer_reads_views() -> None:
    own, reference = pair("LSTM", batch_first=True, dtype=torch.float64)
    results = []
    for module in (own, reference):
        x = normal(INPUT, 4, 6, seed=1).requires_grad_()
        state = normal(1, HIDDEN, 4, seed=2).requires_grad_()
        h = state.transpose(1, 2)  # [1, B, H]
        output, _ = module(x.permute(1, 2, 0)[:, ::2], (h, h.flip(-1)))  # [B, T, I] with gaps
        value = output.select(1, 1).expand(3, -1, -1).sum()
        results.append([output, *torch.autograd.grad(value, [x, state, *module.parameters()])])
    assert_same(*results)


@DTYPES
def test_layer_draws_the_dropout_masks_of_pytorch(dtype: torch.dtype) -> None:
    options = {"num_layers": 3, "dropout": 0.5, "bidirectional": True, "dtype": dtype}
    own, reference = pair("LSTM", **options)
    x, outputs = normal(6, 3, INPUT, dtype=dtype, seed=1), []
    for module in (own, reference):
        torch.manual_seed(7)
        outputs.append(module(x)[0])
    assert_same(*outputs, TOLERANCE[dtype][0])
    plain = own.eval()(x)[0]
    assert (plain - outputs[0]).abs().max() > 0.01
    assert_same(plain, reference.eval()(x)[0], TOLERANCE[dtype][0])


def test_layer_works_under_autocast_and_functional_transforms() -> None:
    layer = LSTM(INPUT, HIDDEN)
    x = normal(4, 3, INPUT, dtype=torch.float32, seed=1)
    exact, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = layer(x)
        half = layer(x.bfloat16()), LSTMCell(INPUT, HIDDEN)(x[0].bfloat16())  # from another module
    states = half[0][0], *half[0][1], *half[1]
    assert {state.dtype for state in (rounded, *states)} == {torch.float32}
    assert_same(rounded, exact, 2e-2)
    assert not torch.equal(rounded, exact)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))[0].sin().sum()

    found = torch.func.grad(loss)(dict(layer.named_parameters()))
    exact.sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert_same(found[name], parameter.grad, 1e-5)


@every(steps=(2, 7), cut=(1, 6), seed=SEED)
def test_layer_is_causal_and_can_be_continued(steps: int, cut: int, seed: int) -> None:
    cut = min(cut, steps - 1)
    layer = LSTM(INPUT, HIDDEN, num_layers=2, dtype=torch.float64)
    x = normal(steps, 2, INPUT, seed=seed)
    whole, last = layer(x)
    changed = x.clone()
    changed[cut:] += 1.0
    assert torch.equal(layer(changed)[0][:cut], whole[:cut])
    first, state = layer(x[:cut])
    second, end = layer(x[cut:], state)
    assert_same([torch.cat([first, second]), *end], [whole, *last])


LAYER, FIRST = LSTM(INPUT, HIDDEN), LSTM(INPUT, HIDDEN, batch_first=True)
X, WIDE = torch.zeros(3, 2, INPUT), torch.zeros(3, 2, INPUT + 1)


test_wrong_arguments = refused(
    *((lambda shape=shape: LSTMCell(INPUT, HIDDEN)(torch.zeros(shape)), "input must have shape")
      for shape in ((INPUT + 1,), (2, INPUT + 1), (2, 2, INPUT))),
    (lambda: LSTMCell(INPUT, HIDDEN)(X[0], (torch.zeros(2, HIDDEN), torch.zeros(3, HIDDEN))),
     "c must have shape"),
    (lambda: LAYER(WIDE), r"input must have shape \[T, B, I\]"),
    (lambda: FIRST(WIDE), r"input must have shape \[B, T, I\]"),
    (lambda: LAYER(X[0, 0]), "input must have shape"),
    (lambda: LAYER(X, (torch.zeros(1, 2, HIDDEN),) * 3), "longer"),
    (lambda: LAYER(X, (torch.zeros(1, 3, HIDDEN),) * 2), "h_0 must have"),
    *((lambda layer=layer, x=x: layer(x), "at least one time step")
      for layer, x in ((LAYER, X[:0]), (LAYER, X[:0, 0]), (FIRST, X[:, :0]))),
    (lambda: LSTM(INPUT, HIDDEN, num_layers=0), "num_layers must be at least 1"),
    (lambda: LSTM(INPUT, 0), "hidden_size must be at least 1"),
    (lambda: LSTM(INPUT, HIDDEN, dropout=1.5), "dropout must be a probability"),
    (lambda: LAYER(pack_padded_sequence(WIDE[:, :1], [3])), "packed data must have"),
)  # fmt: skip
