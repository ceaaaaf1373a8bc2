"""The LSTM from scratch against PyTorch's: outputs, gradients, weights, and every form of input."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from coursework.models import lstm_backward
from coursework.models.lstm import LSTM, LSTMCell, lstm_update, scan
from coursework.models.lstm_backward import ThroughTime

PROPERTY = settings(max_examples=20, deadline=None, derandomize=True)
TOLERANCE = {torch.float32: (2e-6, 1e-5), torch.float64: (1e-12, 1e-12)}  # forward, gradients
INPUT, HIDDEN = 5, 7


def assert_same(own: Tensor, reference: Tensor, atol: float) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def assert_same_gradients(own: nn.Module, reference: nn.Module, atol: float) -> None:
    expected = dict(reference.named_parameters())
    found = dict(own.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        assert parameter.grad is not None, name
        assert_same(parameter.grad, expected[name].grad, atol)


def leaf(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def twice(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Two leaves with equal values, one for each implementation."""
    return tensor.clone().requires_grad_(), tensor.clone().requires_grad_()


def second_derivatives(module: nn.Module, x: Tensor, state: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Of the squared norm of all gradients, by the inputs and the parameters."""
    inputs = [value.clone().requires_grad_() for value in (x, *state)]
    leaves = [*inputs, *(p for _, p in sorted(module.named_parameters()))]
    out, last = module(inputs[0], (inputs[1], inputs[2]))
    ends = last if isinstance(last, tuple) else (last,)
    value = out.sin().sum() + sum((end * end).sum() for end in ends)
    first = torch.autograd.grad(value, leaves, create_graph=True)
    return list(torch.autograd.grad(sum((g * g).sum() for g in first), leaves))


# --- the cell --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (1,), (4,)])
def test_cell_matches_pytorch(
    batch: tuple[int, ...], bias: bool, with_state: bool, dtype: torch.dtype
) -> None:
    forward, backward = TOLERANCE[dtype]
    reference = nn.LSTMCell(INPUT, HIDDEN, bias=bias, dtype=dtype)
    own = LSTMCell(INPUT, HIDDEN, bias=bias, dtype=dtype)
    own.load_state_dict(reference.state_dict())
    x, x_ref = twice(leaf(*batch, INPUT, dtype=dtype, seed=1))
    h, h_ref = twice(leaf(*batch, HIDDEN, dtype=dtype, seed=2))
    c, c_ref = twice(leaf(*batch, HIDDEN, dtype=dtype, seed=3))
    out = own(x, (h, c) if with_state else None)
    out_ref = reference(x_ref, (h_ref, c_ref) if with_state else None)
    for mine, theirs in zip(out, out_ref, strict=True):
        assert mine.shape == theirs.shape
        assert_same(mine, theirs, forward)
    weight = leaf(*batch, HIDDEN, dtype=dtype, seed=4)
    (out[0] * weight + out[1].sin()).sum().backward()
    (out_ref[0] * weight + out_ref[1].sin()).sum().backward()
    assert_same_gradients(own, reference, backward)
    leaves = [(x, x_ref), (h, h_ref), (c, c_ref)] if with_state else [(x, x_ref)]
    for mine, theirs in leaves:
        assert_same(mine.grad, theirs.grad, backward)


def test_cell_reproduces_the_example_of_the_documentation() -> None:
    generator = torch.Generator().manual_seed(0)
    rnn = nn.LSTMCell(10, 20)
    own = LSTMCell(10, 20)
    own.load_state_dict(rnn.state_dict())
    sequence = torch.randn(2, 3, 10, generator=generator)  # time, batch, input
    hx = torch.randn(3, 20, generator=generator)
    cx = torch.randn(3, 20, generator=generator)
    state, state_ref = (hx, cx), (hx, cx)
    output, output_ref = [], []
    for x in sequence:
        state, state_ref = own(x, state), rnn(x, state_ref)
        output.append(state[0])
        output_ref.append(state_ref[0])
    assert torch.stack(output).shape == (2, 3, 20)
    assert_same(torch.stack(output), torch.stack(output_ref), 2e-6)


@pytest.mark.parametrize("hidden", [HIDDEN, 1, 0])
@pytest.mark.parametrize("bias", [True, False])
def test_cell_weights_move_both_ways_and_start_equal(bias: bool, hidden: int) -> None:
    torch.manual_seed(3)
    reference = nn.LSTMCell(INPUT, hidden, bias=bias)
    torch.manual_seed(3)
    own = LSTMCell(INPUT, hidden, bias=bias)
    assert list(own.state_dict()) == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        assert torch.equal(own.state_dict()[name], value)
    other = nn.LSTMCell(INPUT, hidden, bias=bias)
    other.load_state_dict(own.state_dict())
    assert torch.equal(other.weight_hh, own.weight_hh)


def test_scan_reads_forwards_unless_told_otherwise() -> None:
    x, h, c = (leaf(2, 3, dtype=torch.float64, seed=seed) for seed in range(3))
    weights = [leaf(12, 3, dtype=torch.float64, seed=seed) for seed in (3, 4)]
    default, forwards, backwards = (
        scan(x, [1, 1], *weights, None, (h[:1], c[:1]), *reverse)[0]
        for reverse in ((), (False,), (True,))
    )
    assert torch.equal(default, forwards)
    assert not torch.equal(default, backwards)


def test_update_by_hand() -> None:
    # All gates half open, candidate tanh(0) = 0: c' = c / 2, h' = tanh(c / 2) / 2.
    h, c = lstm_update(torch.zeros(4), torch.tensor([2.0]))
    assert c.item() == 1.0
    assert h.item() == pytest.approx(0.5 * torch.tanh(torch.tensor(1.0)).item())


@pytest.mark.parametrize("bias", [True, False])
def test_cell_can_be_differentiated_twice(bias: bool) -> None:
    reference = nn.LSTMCell(INPUT, HIDDEN, bias=bias, dtype=torch.float64)
    own = LSTMCell(INPUT, HIDDEN, bias=bias, dtype=torch.float64)
    own.load_state_dict(reference.state_dict())
    x, h, c = (leaf(2, n, dtype=torch.float64, seed=n) for n in (INPUT, HIDDEN, HIDDEN))
    mine, theirs = (second_derivatives(module, x, (h, c)) for module in (own, reference))
    assert max(g.abs().max().item() for g in mine) > 1.0
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a, b, 1e-12)


def test_cell_passes_numeric_checks_of_both_derivatives() -> None:
    cell = LSTMCell(2, 3, dtype=torch.float64)
    values = [leaf(2, n, dtype=torch.float64, seed=n).requires_grad_() for n in (2, 3, 3)]
    weights = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    names = [name for name, _ in cell.named_parameters()]

    def call(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(
            cell, dict(zip(names, parameters, strict=True)), (x, (h, c))
        )

    assert torch.autograd.gradcheck(call, (*values, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (*values, *weights), fast_mode=True)


def test_cell_reads_a_view() -> None:
    reference, own = nn.LSTMCell(INPUT, HIDDEN), LSTMCell(INPUT, HIDDEN)
    own.load_state_dict(reference.state_dict())
    x = leaf(INPUT, 4, dtype=torch.float32, seed=1).t()
    state = (leaf(4, 2 * HIDDEN, dtype=torch.float32, seed=2)[:, ::2], torch.ones(1).expand(4, 7))
    assert not x.is_contiguous()
    for mine, theirs in zip(own(x, state), reference(x, state), strict=True):
        assert_same(mine, theirs, 2e-6)


@pytest.mark.parametrize("shape", [(INPUT + 1,), (2, INPUT + 1), (2, 2, INPUT)])
def test_cell_rejects_a_wrong_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="input must have shape"):
        LSTMCell(INPUT, HIDDEN)(torch.zeros(shape))


def test_cell_rejects_a_wrong_state() -> None:
    with pytest.raises(ValueError, match="c must have shape"):
        LSTMCell(INPUT, HIDDEN)(
            torch.zeros(2, INPUT), (torch.zeros(2, HIDDEN), torch.zeros(3, HIDDEN))
        )


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("steps", "batch"), [(6, 3), (1, 1)])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_layer_matches_pytorch(
    options: dict, with_state: bool, steps: int, batch: int, dtype: torch.dtype
) -> None:
    forward, backward = TOLERANCE[dtype]
    torch.manual_seed(0)
    reference = nn.LSTM(INPUT, HIDDEN, dtype=dtype, **options)
    own = LSTM(INPUT, HIDDEN, dtype=dtype, **options)
    own.load_state_dict(reference.state_dict())
    shape = (batch, steps, INPUT) if options.get("batch_first") else (steps, batch, INPUT)
    x, x_ref = twice(leaf(*shape, dtype=dtype, seed=1))
    states = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h, h_ref = twice(leaf(states, batch, HIDDEN, dtype=dtype, seed=2))
    c, c_ref = twice(leaf(states, batch, HIDDEN, dtype=dtype, seed=3))
    out, (h_n, c_n) = own(x, (h, c) if with_state else None)
    out_ref, (h_n_ref, c_n_ref) = reference(x_ref, (h_ref, c_ref) if with_state else None)
    for mine, theirs in ((out, out_ref), (h_n, h_n_ref), (c_n, c_n_ref)):
        assert mine.shape == theirs.shape
        assert_same(mine, theirs, forward)
    weight = leaf(*out.shape, dtype=dtype, seed=4)
    ((out * weight).sum() + h_n.sin().sum() + c_n.cos().sum()).backward()
    ((out_ref * weight).sum() + h_n_ref.sin().sum() + c_n_ref.cos().sum()).backward()
    assert_same_gradients(own, reference, backward)
    leaves = [(x, x_ref), (h, h_ref), (c, c_ref)] if with_state else [(x, x_ref)]
    for mine, theirs in leaves:
        assert_same(mine.grad, theirs.grad, backward)


def test_spans_are_as_long_as_their_numbers_fit_the_cache() -> None:
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
    own = LSTM(INPUT, HIDDEN, bidirectional=True, dtype=torch.float64)
    x = leaf(7, 3, INPUT, dtype=torch.float64, seed=1)
    state = [leaf(2, 3, HIDDEN, dtype=torch.float64, seed=seed).requires_grad_() for seed in (2, 3)]
    leaves = [x.requires_grad_(), *state, *own.parameters()]

    def run() -> list[Tensor]:
        out, (h, c) = own(x, (state[0], state[1]))
        value = (out.sin().sum() + h.square().sum() + c.cos().sum()).sum()
        return [out, h, c, *torch.autograd.grad(value, leaves)]

    whole = run()
    monkeypatch.setattr(lstm_backward, "CHUNK", numbers)
    monkeypatch.setattr(lstm_backward, "FEWEST", 1)
    for one, other in zip(run(), whole, strict=True):
        assert_same(one, other, 1e-12)


@pytest.mark.parametrize("batch_first", [True, False])
def test_layer_without_a_batch(batch_first: bool) -> None:
    reference = nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, batch_first=batch_first)
    own = LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, batch_first=batch_first)
    own.load_state_dict(reference.state_dict())
    x = leaf(4, INPUT, dtype=torch.float32, seed=1)
    state = (
        leaf(4, HIDDEN, dtype=torch.float32, seed=2),
        leaf(4, HIDDEN, dtype=torch.float32, seed=3),
    )
    for hx in (None, state):
        out, (h_n, c_n) = own(x, hx)
        out_ref, (h_ref, c_ref) = reference(x, hx)
        assert out.shape == out_ref.shape == (4, 2 * HIDDEN)
        for mine, theirs in ((out, out_ref), (h_n, h_ref), (c_n, c_ref)):
            assert_same(mine, theirs, 2e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("lengths", "enforce_sorted"),
    [([5, 3, 3, 1], True), ([2, 6, 1, 4], False), ([3, 3], False), ([1], True)],
)
@pytest.mark.parametrize("with_state", [True, False])
def test_layer_reads_packed_sequences(
    lengths: list[int], enforce_sorted: bool, with_state: bool, bidirectional: bool
) -> None:
    dtype = torch.float64
    reference = nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=bidirectional, dtype=dtype)
    own = LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=bidirectional, dtype=dtype)
    own.load_state_dict(reference.state_dict())
    x, x_ref = twice(leaf(max(lengths), len(lengths), INPUT, dtype=dtype, seed=1))
    states = 4 if bidirectional else 2
    h, h_ref = twice(leaf(states, len(lengths), HIDDEN, dtype=dtype, seed=2))
    c, c_ref = twice(leaf(states, len(lengths), HIDDEN, dtype=dtype, seed=3))
    results = []
    for module, sequence, hx in ((own, x, (h, c)), (reference, x_ref, (h_ref, c_ref))):
        packed = pack_padded_sequence(sequence, lengths, enforce_sorted=enforce_sorted)
        output, (h_n, c_n) = module(packed, hx if with_state else None)
        assert isinstance(output, PackedSequence)
        padded, found = pad_packed_sequence(output)
        assert found.tolist() == lengths
        (padded.sin().sum() + h_n.sum() + c_n.square().sum()).backward()
        results.append((output.data, padded, h_n, c_n))
    for mine, theirs in zip(*results, strict=True):
        assert_same(mine, theirs, 1e-12)
    assert_same_gradients(own, reference, 1e-12)
    assert_same(x.grad, x_ref.grad, 1e-12)
    if with_state:
        assert_same(h.grad, h_ref.grad, 1e-12)
        assert_same(c.grad, c_ref.grad, 1e-12)


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_layer_weights_move_both_ways_and_start_equal(options: dict) -> None:
    torch.manual_seed(5)
    reference = nn.LSTM(INPUT, HIDDEN, **options)
    torch.manual_seed(5)
    own = LSTM(INPUT, HIDDEN, **options)
    assert list(own.state_dict()) == list(reference.state_dict())
    assert all(torch.equal(own.state_dict()[k], v) for k, v in reference.state_dict().items())
    nn.LSTM(INPUT, HIDDEN, **options).load_state_dict(own.state_dict())


# The layer has a backward pass of its own for sequences of one length; these tests are for it.


@PROPERTY
@given(
    sizes=st.tuples(*(st.integers(1, 5) for _ in range(4))),
    layers=st.integers(1, 2),
    flags=st.tuples(*(st.booleans() for _ in range(3))),
    seed=st.integers(0, 2**16),
)
def test_any_layer_is_pytorchs(
    sizes: tuple[int, int, int, int], layers: int, flags: tuple[bool, bool, bool], seed: int
) -> None:
    steps, batch, width, hidden = sizes
    torch.manual_seed(seed)
    options = dict(zip(("bias", "batch_first", "bidirectional"), flags, strict=True))
    reference = nn.LSTM(width, hidden, layers, dtype=torch.float64, **options)
    own = LSTM(width, hidden, layers, dtype=torch.float64, **options)
    own.load_state_dict(reference.state_dict())
    x, x_ref = twice(leaf(steps, batch, width, dtype=torch.float64, seed=seed))
    (out, (h, c)), (out_ref, (h_ref, c_ref)) = own(x), reference(x_ref)
    (out.sin().sum() + (h * c).sum()).backward()
    (out_ref.sin().sum() + (h_ref * c_ref).sum()).backward()
    assert_same(out, out_ref, 1e-12)
    assert_same(c, c_ref, 1e-12)
    assert_same(x.grad, x_ref.grad, 1e-12)
    assert_same_gradients(own, reference, 1e-12)


def through_time(*values: Tensor | None, reverse: bool = False) -> tuple[Tensor, Tensor]:
    return ThroughTime.apply(scan, reverse, *values)


def through_time_inputs(bias: bool = True) -> list[Tensor]:
    shapes = [(3, 2, 2), (12, 2), (12, 3), (12,), (2, 3), (2, 3)]  # T 3, B 2, I 2, H 3
    values = [leaf(*shape, dtype=torch.float64, seed=i) for i, shape in enumerate(shapes)]
    return [value.requires_grad_() for i, value in enumerate(values) if bias or i != 3]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_through_time_passes_numeric_checks_of_both_derivatives(reverse: bool, bias: bool) -> None:
    def call(x: Tensor, w_i: Tensor, w_h: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        b, h, c = rest if bias else (None, *rest)
        return through_time(x, w_i, w_h, b, h, c, reverse=reverse)

    assert torch.autograd.gradcheck(call, through_time_inputs(bias))
    assert torch.autograd.gradgradcheck(call, through_time_inputs(bias), fast_mode=True)


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("used", ["output", "c", "both"])
def test_through_time_is_the_plain_loop(used: str, reverse: bool) -> None:
    results = []
    for variant in ("loop", "by hand"):
        x, w_i, w_h, b, h_0, c_0 = leaves = through_time_inputs()
        if variant == "loop":
            rows, (_, c) = scan(x.flatten(0, 1), [2, 2, 2], w_i, w_h, b, (h_0, c_0), reverse)
            output = rows.view(3, 2, 3)
        else:
            output, c = through_time(x, w_i, w_h, b, h_0, c_0, reverse=reverse)
        parts = {"output": output.cos().sum(), "c": c.sin().sum()}
        loss = sum(parts.values()) if used == "both" else parts[used]
        results.append([output, c, *torch.autograd.grad(loss, leaves)])
    for mine, theirs in zip(*results, strict=True):
        assert_same(mine, theirs, 1e-13)


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


def test_layer_trains_with_some_weights_frozen() -> None:
    layer, whole = LSTM(INPUT, HIDDEN, 2), LSTM(INPUT, HIDDEN, 2)
    layer.load_state_dict(whole.state_dict())
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_("hh" in name)
    x = leaf(4, 3, INPUT, dtype=torch.float32, seed=1)
    for module in (layer, whole):
        module(x)[0].square().sum().backward()
    for name, parameter in layer.named_parameters():
        if "hh" in name:
            assert_same(parameter.grad, whole.get_parameter(name).grad, 1e-6)
        else:
            assert parameter.grad is None
    assert not LSTM(INPUT, HIDDEN).requires_grad_(False)(x)[0].requires_grad


@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False}],
    ids=["plain", "stacked", "no bias"],
)
def test_layer_can_be_differentiated_twice(options: dict) -> None:
    reference = nn.LSTM(INPUT, HIDDEN, dtype=torch.float64, **options)
    own = LSTM(INPUT, HIDDEN, dtype=torch.float64, **options)
    own.load_state_dict(reference.state_dict())
    x = leaf(3, 3, INPUT, dtype=torch.float64, seed=1)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    state = tuple(leaf(rows, 3, HIDDEN, dtype=torch.float64, seed=seed) for seed in (2, 3))
    mine, theirs = (second_derivatives(module, x, state) for module in (own, reference))
    assert max(g.abs().max().item() for g in mine) > 1.0
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a, b, 1e-11)  # sums of squared gradients: values up to 1e3


def test_second_derivatives_where_one_input_depends_on_another() -> None:
    # The first state is computed from the recurrent weights: a partial derivative by the weights
    # that follows that path as well counts it twice.
    reference = nn.LSTM(3, 4, dtype=torch.float64)
    own = LSTM(3, 4, dtype=torch.float64)
    own.load_state_dict(reference.state_dict())
    x, found = leaf(3, 2, 3, dtype=torch.float64, seed=1), []
    for module in (own, reference):
        weight = module.weight_hh_l0
        state = weight.sin()[:2].unsqueeze(0)
        (first,) = torch.autograd.grad(
            module(x, (state, state.cos()))[0].sum(), [weight], create_graph=True
        )
        found.append((first, *torch.autograd.grad(first.square().sum(), [weight])))
    for mine, theirs in zip(*found, strict=True):
        assert_same(mine, theirs, 1e-12)


def test_layer_keeps_what_a_second_backward_needs() -> None:
    layer = LSTM(INPUT, HIDDEN, bidirectional=True)
    x = leaf(4, 3, INPUT, dtype=torch.float32, seed=1)
    loss = layer(x)[0].sin().sum()
    leaves = list(layer.parameters())
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for mine, theirs in zip(torch.autograd.grad(loss, leaves), first, strict=True):
        assert torch.equal(mine, theirs)


def test_changing_the_output_in_place_is_noticed() -> None:
    output, _ = LSTM(INPUT, HIDDEN)(leaf(4, 3, INPUT, dtype=torch.float32, seed=1))
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_layer_leaves_its_arguments_alone() -> None:
    layer = LSTM(INPUT, HIDDEN, 2, bidirectional=True)
    values = [leaf(4, 3, n, dtype=torch.float32, seed=n) for n in (INPUT, HIDDEN, HIDDEN)]
    before = [value.clone() for value in values]
    output, (_, c_n) = layer(values[0], (values[1], values[2]))
    (output.sum() + c_n.sum()).backward()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


def test_layer_reads_views() -> None:
    reference = nn.LSTM(INPUT, HIDDEN, batch_first=True, dtype=torch.float64)
    own = LSTM(INPUT, HIDDEN, batch_first=True, dtype=torch.float64)
    own.load_state_dict(reference.state_dict())
    results = []
    for module in (own, reference):
        x = leaf(INPUT, 4, 6, dtype=torch.float64, seed=1).requires_grad_()
        state = leaf(1, HIDDEN, 4, dtype=torch.float64, seed=2).requires_grad_()
        h = state.transpose(1, 2)  # [1, B, H]
        output, _ = module(x.permute(1, 2, 0)[:, ::2], (h, h.flip(-1)))  # [B, T, I] with gaps
        output.select(1, 1).expand(3, -1, -1).sum().backward()
        results.append((output, x.grad, state.grad))
    for mine, theirs in zip(*results, strict=True):
        assert_same(mine, theirs, 1e-12)
    assert_same_gradients(own, reference, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layer_draws_the_dropout_masks_of_pytorch(dtype: torch.dtype) -> None:
    options = {"num_layers": 3, "dropout": 0.5, "bidirectional": True, "dtype": dtype}
    reference, own = nn.LSTM(INPUT, HIDDEN, **options), LSTM(INPUT, HIDDEN, **options)
    own.load_state_dict(reference.state_dict())
    x, outputs = leaf(6, 3, INPUT, dtype=dtype, seed=1), []
    for module in (own, reference):
        torch.manual_seed(7)
        outputs.append(module(x)[0])
    assert_same(*outputs, TOLERANCE[dtype][0])
    plain = own.eval()(x)[0]
    assert (plain - outputs[0]).abs().max() > 0.01
    assert_same(plain, reference.eval()(x)[0], TOLERANCE[dtype][0])


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.7])
def test_dropout_zeroes_its_share_and_scales_the_rest(probability: float) -> None:
    # The second layer is a window on the first: gates i and o open, f shut, g = tanh(unit). So its
    # output is tanh(tanh(unit)) of what dropout left of each unit.
    size, steps, batch = 20, 10, 50
    layer = LSTM(size, size, num_layers=2, dropout=probability, dtype=torch.float64)
    with torch.no_grad():
        for parameter in (layer.weight_ih_l1, layer.weight_hh_l1, layer.bias_hh_l1):
            parameter.zero_()
        layer.weight_ih_l1[2 * size : 3 * size] = torch.eye(size)
        layer.bias_ih_l1.copy_(torch.tensor([1e3, -1e3, 0.0, 1e3]).repeat_interleave(size))
        torch.manual_seed(0)
        x = torch.randn(steps, batch, size, dtype=torch.float64)
        seen = torch.atanh(torch.atanh(layer(x)[0]))
        whole = torch.atanh(torch.atanh(layer.eval()(x)[0]))  # what the first layer sends
    kept = seen != 0
    share = kept.double().mean().item()
    spread = (probability * (1 - probability) / kept.numel()) ** 0.5
    assert abs(share - (1 - probability)) <= 5 * spread
    assert_same(seen[kept], whole[kept] / (1 - probability), 1e-9)


def test_layer_works_under_autocast_and_functional_transforms() -> None:
    layer = LSTM(INPUT, HIDDEN)
    x = leaf(4, 3, INPUT, dtype=torch.float32, seed=1)
    exact, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = layer(x)
    assert_same(rounded.float(), exact, 2e-2)
    assert not torch.equal(rounded.float(), exact)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))[0].sin().sum()

    found = torch.func.grad(loss)(dict(layer.named_parameters()))
    exact.sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert_same(found[name], parameter.grad, 1e-5)


def test_packed_sequences_can_be_differentiated_twice() -> None:
    reference = nn.LSTM(INPUT, HIDDEN, bidirectional=True, dtype=torch.float64)
    own = LSTM(INPUT, HIDDEN, bidirectional=True, dtype=torch.float64)
    own.load_state_dict(reference.state_dict())
    found = []
    for module in (own, reference):
        x = leaf(4, 3, INPUT, dtype=torch.float64, seed=1).requires_grad_()
        packed = pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
        (first,) = torch.autograd.grad(module(packed)[0].data.sin().sum(), [x], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [x, module.weight_hh_l0_reverse]))
    for mine, theirs in zip(*found, strict=True):
        assert_same(mine, theirs, 1e-12)


def test_a_packed_batch_is_each_sequence_alone() -> None:
    layer = LSTM(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64)
    x, lengths = leaf(5, 3, INPUT, dtype=torch.float64, seed=1), [2, 5, 3]
    packed, (h_n, c_n) = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded, _ = pad_packed_sequence(packed)
    for row, length in enumerate(lengths):
        alone, (h, c) = layer(x[:length, row])
        assert_same(padded[:length, row], alone, 1e-12)
        assert_same(h_n[:, row], h, 1e-12)
        assert_same(c_n[:, row], c, 1e-12)
        assert not padded[length:, row].any()


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_empty_batch_has_an_empty_output(batch_first: bool) -> None:
    own = LSTM(INPUT, HIDDEN, 2, batch_first=batch_first)
    reference = nn.LSTM(INPUT, HIDDEN, 2, batch_first=batch_first)
    x = torch.zeros((0, 4, INPUT) if batch_first else (4, 0, INPUT))
    (output, (h_n, c_n)), (expected, (h_ref, _)) = own(x), reference(x)
    assert output.shape == expected.shape
    assert h_n.shape == c_n.shape == h_ref.shape


def test_layer_is_the_cell_over_time() -> None:
    cell = LSTMCell(INPUT, HIDDEN, dtype=torch.float64)
    layer = LSTM(INPUT, HIDDEN, dtype=torch.float64)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x = leaf(4, 2, INPUT, dtype=torch.float64, seed=1)
    output, (h_n, c_n) = layer(x)
    state = None
    for t in range(4):
        state = cell(x[t], state)
        assert_same(output[t], state[0], 1e-12)
    assert_same(h_n[0], state[0], 1e-12)
    assert_same(c_n[0], state[1], 1e-12)


@PROPERTY
@given(steps=st.integers(2, 7), cut=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_layer_is_causal_and_can_be_continued(steps: int, cut: int, seed: int) -> None:
    cut = min(cut, steps - 1)
    layer = LSTM(INPUT, HIDDEN, num_layers=2, dtype=torch.float64)
    x = leaf(steps, 2, INPUT, dtype=torch.float64, seed=seed)
    whole, last = layer(x)
    changed = x.clone()
    changed[cut:] += 1.0
    assert torch.equal(layer(changed)[0][:cut], whole[:cut])
    first, state = layer(x[:cut])
    second, end = layer(x[cut:], state)
    assert_same(torch.cat([first, second]), whole, 1e-12)
    assert_same(end[1], last[1], 1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LSTM(INPUT, HIDDEN)(torch.zeros(3, 2, INPUT + 1)),
            r"input must have shape \[T, B, I\]",
        ),
        (
            lambda: LSTM(INPUT, HIDDEN, batch_first=True)(torch.zeros(3, 2, INPUT + 1)),
            r"input must have shape \[B, T, I\]",
        ),
        (
            lambda: LSTM(INPUT, HIDDEN)(torch.zeros(3, 2, INPUT), (torch.zeros(1, 2, HIDDEN),) * 3),
            "longer",
        ),
        (lambda: LSTM(INPUT, HIDDEN)(torch.zeros(INPUT)), "input must have shape"),
        (lambda: LSTM(INPUT, HIDDEN)(torch.zeros(0, 2, INPUT)), "at least one time step"),
        (lambda: LSTM(INPUT, HIDDEN)(torch.zeros(0, INPUT)), "at least one time step"),
        (
            lambda: LSTM(INPUT, HIDDEN, batch_first=True)(torch.zeros(2, 0, INPUT)),
            "at least one time step",
        ),
        (
            lambda: LSTM(INPUT, HIDDEN)(torch.zeros(3, 2, INPUT), (torch.zeros(1, 3, HIDDEN),) * 2),
            "h_0 must have",
        ),
        (lambda: LSTM(INPUT, HIDDEN, num_layers=0), "num_layers must be at least 1"),
        (lambda: LSTM(INPUT, HIDDEN, dropout=1.5), "dropout must be a probability"),
        (
            lambda: LSTM(INPUT, HIDDEN)(pack_padded_sequence(torch.zeros(3, 1, INPUT + 1), [3])),
            "packed data must have",
        ),
    ],
)
def test_layer_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
