"""The LSTM from scratch against PyTorch's: outputs, gradients, weights, and every form of input."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import PROPERTY, assert_all_same, assert_same, normal, refused
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from coursework.models import lstm_backward
from coursework.models.lstm import LSTM, LSTMCell, lstm_update, scan
from coursework.models.lstm_backward import ThroughTime

TOLERANCE = {torch.float32: (2e-6, 1e-5), torch.float64: (1e-12, 1e-12)}  # forward, gradients
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
BIAS = pytest.mark.parametrize("bias", [True, False])
STATE = pytest.mark.parametrize("with_state", [True, False])
REVERSE = pytest.mark.parametrize("reverse", [True, False])
INPUT, HIDDEN = 5, 7


def pair(kind: str, *sizes: int, **options: object) -> tuple[nn.Module, nn.Module]:
    """Our module and PyTorch's, with the same weights."""
    torch.manual_seed(0)
    reference = getattr(nn, kind)(*(sizes or (INPUT, HIDDEN)), **options)
    own = {"LSTM": LSTM, "LSTMCell": LSTMCell}[kind](*(sizes or (INPUT, HIDDEN)), **options)
    own.load_state_dict(reference.state_dict())
    return own, reference


def outcome(
    module: nn.Module,
    x: Tensor,
    state: Sequence[Tensor] = (),
    lengths: Sequence[int] | None = None,
    twice: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and last states; gradients of them by input, states and weights, of both orders if `twice`."""
    leaves = [value.clone().requires_grad_() for value in (x, *state)]
    read: Tensor | PackedSequence = leaves[0]
    if lengths is not None:
        read = pack_padded_sequence(leaves[0], lengths, enforce_sorted=False)
    first, last = module(read, tuple(leaves[1:]) or None)
    if isinstance(first, PackedSequence):
        assert pad_packed_sequence(first)[1].tolist() == list(lengths or ())
        first = first.data
    outputs = [first, *(last if isinstance(last, tuple) else (last,))]
    loss = sum(((k + 1) * y).sin().sum() for k, y in enumerate(outputs))
    leaves += [p for _, p in sorted(module.named_parameters())]
    found = torch.autograd.grad(loss, leaves, create_graph=twice)
    second = torch.autograd.grad(sum(g.square().sum() for g in found), leaves) if twice else ()
    return outputs, [*found, *second]


def assert_parity(
    modules: tuple[nn.Module, nn.Module], *given: object, atol: tuple[float, float] = (1e-12, 1e-12),
    **options: object,
) -> None:  # fmt: skip
    mine, theirs = (outcome(module, *given, **options) for module in modules)  # type: ignore[arg-type]
    for own, reference, tolerance in zip(mine, theirs, atol, strict=True):
        assert_all_same(own, reference, tolerance)


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
    rnn, own = nn.LSTMCell(10, 20), LSTMCell(10, 20)
    own.load_state_dict(rnn.state_dict())
    hx, cx = normal(3, 20, seed=1), normal(3, 20, seed=2)
    state, expected = (hx.float(), cx.float()), (hx.float(), cx.float())
    for x in normal(2, 3, 10, seed=0).float():  # time steps, batch, input size
        state, expected = own(x, state), rnn(x, expected)
        for mine, theirs in zip(state, expected, strict=True):
            assert mine.shape == (3, 20)
            torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("hidden", [HIDDEN, 1, 0])
@BIAS
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
    x, h, c = (normal(2, 3, seed=seed) for seed in range(3))
    weights = [normal(12, 3, seed=seed) for seed in (3, 4)]
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


@BIAS
def test_cell_can_be_differentiated_twice(bias: bool) -> None:
    modules = pair("LSTMCell", bias=bias, dtype=torch.float64)
    x, h, c = (normal(2, n, seed=n) for n in (INPUT, HIDDEN, HIDDEN))
    assert_parity(modules, x, (h, c), twice=True)


def test_cell_passes_numeric_checks_of_both_derivatives() -> None:
    cell = LSTMCell(2, 3, dtype=torch.float64)
    values = [normal(2, n, seed=n).requires_grad_() for n in (2, 3, 3)]
    weights = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    names = [name for name, _ in cell.named_parameters()]

    def call(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(
            cell, dict(zip(names, parameters, strict=True)), (x, (h, c))
        )

    assert torch.autograd.gradcheck(call, (*values, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (*values, *weights), fast_mode=True)


def test_cell_reads_a_view() -> None:
    x = normal(INPUT, 4, seed=1).t()
    assert not x.is_contiguous()
    state = (normal(4, 2 * HIDDEN, seed=2)[:, ::2], torch.ones(1).double().expand(4, 7))
    own, reference = pair("LSTMCell", dtype=torch.float64)
    assert_all_same(own(x, state), reference(x, state))


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
    modules = pair("LSTM", dtype=dtype, **options)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    state = [normal(rows, *shape[1:], HIDDEN, seed=k, dtype=dtype) for k in (2, 3)]
    shape = shape[::-1] if options.get("batch_first") else shape
    x = normal(*shape, INPUT, seed=1, dtype=dtype)
    assert_parity(modules, x, state if with_state else (), atol=TOLERANCE[dtype])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 6, 1, 4], [3, 3], [1]])
@STATE
def test_layer_reads_packed_sequences(
    lengths: list[int], with_state: bool, bidirectional: bool
) -> None:
    options = {"num_layers": 2, "bidirectional": bidirectional, "dtype": torch.float64}
    modules = pair("LSTM", **options)
    x = normal(max(lengths), len(lengths), INPUT, seed=1)
    state = [normal(2 + 2 * bidirectional, len(lengths), HIDDEN, seed=k) for k in (2, 3)]
    assert_parity(modules, x, state if with_state else (), lengths=lengths)
    packed = pack_padded_sequence(x, sorted(lengths)[::-1])  # sorted: no order to restore
    (mine, last), (theirs, last_ref) = (module(packed) for module in modules)
    assert_all_same([mine.data, *last], [theirs.data, *last_ref])


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
    given = (own, normal(7, 3, INPUT, seed=1), [normal(2, 3, HIDDEN, seed=k) for k in (2, 3)])
    whole = outcome(*given)
    monkeypatch.setattr(lstm_backward, "CHUNK", numbers)
    monkeypatch.setattr(lstm_backward, "FEWEST", 1)
    for cut, expected in zip(outcome(*given), whole, strict=True):
        assert_all_same(cut, expected)


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_layer_weights_move_both_ways_and_start_equal(options: dict) -> None:
    torch.manual_seed(5)
    reference = nn.LSTM(INPUT, HIDDEN, **options)
    torch.manual_seed(5)
    own = LSTM(INPUT, HIDDEN, **options)
    assert list(own.state_dict()) == list(reference.state_dict())
    assert all(torch.equal(own.state_dict()[k], v) for k, v in reference.state_dict().items())
    nn.LSTM(INPUT, HIDDEN, **options).load_state_dict(own.state_dict())
    mine, theirs = ([[w.shape for w in row] for row in m.all_weights] for m in (own, reference))
    assert mine == theirs
    own.flatten_parameters()  # what code for nn.LSTM calls changes nothing
    assert str(own).removeprefix("LSTM(").startswith(f"{INPUT}, {HIDDEN}, num_layers=")


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
    options = dict(zip(("bias", "batch_first", "bidirectional"), flags, strict=True))
    modules = pair("LSTM", width, hidden, layers, dtype=torch.float64, **options)
    assert_parity(modules, normal(steps, batch, width, seed=seed))


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


@REVERSE
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
    assert_all_same(*results, 1e-13)


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
    x = normal(4, 3, INPUT, dtype=torch.float32, seed=1)
    for module in (layer, whole):
        module(x)[0].square().sum().backward()
    for name, parameter in layer.named_parameters():
        if "hh" in name:
            assert_same(parameter.grad, whole.get_parameter(name).grad, 1e-6)
        else:
            assert parameter.grad is None
    assert not LSTM(INPUT, HIDDEN).requires_grad_(False)(x)[0].requires_grad


@pytest.mark.parametrize("lengths", [None, [2, 4, 1]])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_layer_can_be_differentiated_twice(options: dict, lengths: list[int] | None) -> None:
    modules = pair("LSTM", dtype=torch.float64, **options)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    given = normal(4, 3, INPUT, seed=1), [normal(rows, 3, HIDDEN, seed=k) for k in (2, 3)]
    atol = (1e-12, 1e-11)  # sums of squared gradients: values up to 1e3
    assert_parity(modules, *given, lengths=lengths, twice=True, atol=atol)


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
    assert_all_same(*found, 1e-12)


def test_layer_keeps_what_a_second_backward_needs() -> None:
    layer = LSTM(INPUT, HIDDEN, bidirectional=True)
    x = normal(4, 3, INPUT, dtype=torch.float32, seed=1)
    loss = layer(x)[0].sin().sum()
    leaves = list(layer.parameters())
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for mine, theirs in zip(torch.autograd.grad(loss, leaves), first, strict=True):
        assert torch.equal(mine, theirs)


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
    assert_all_same([output, *found], [expected, *states], 1e-5)


def test_layer_leaves_its_arguments_alone() -> None:
    layer = LSTM(INPUT, HIDDEN, 2, bidirectional=True)
    values = [normal(4, 3, n, dtype=torch.float32, seed=n) for n in (INPUT, HIDDEN, HIDDEN)]
    before = [value.clone() for value in values]
    output, (_, c_n) = layer(values[0], (values[1], values[2]))
    (output.sum() + c_n.sum()).backward()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


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
    assert_all_same(*results)


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
    assert_same(rounded.float(), exact, 2e-2)
    assert not torch.equal(rounded.float(), exact)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))[0].sin().sum()

    found = torch.func.grad(loss)(dict(layer.named_parameters()))
    exact.sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert_same(found[name], parameter.grad, 1e-5)


@PROPERTY
@given(steps=st.integers(2, 7), cut=st.integers(1, 6), seed=st.integers(0, 2**16))
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
    assert_same(torch.cat([first, second]), whole, 1e-12)
    assert_same(end[1], last[1], 1e-12)


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
    (lambda: LSTM(INPUT, HIDDEN, dropout=1.5), "dropout must be a probability"),
    (lambda: LAYER(pack_padded_sequence(WIDE[:, :1], [3])), "packed data must have"),
)  # fmt: skip
