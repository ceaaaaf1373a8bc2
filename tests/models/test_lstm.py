"""The LSTM from scratch against PyTorch's: outputs, gradients, weights, and every form of input."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from coursework.models.lstm import LSTM, BiLSTMClassifier, LSTMCell, lstm_update

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


@pytest.mark.parametrize("bias", [True, False])
def test_cell_weights_move_both_ways_and_start_equal(bias: bool) -> None:
    torch.manual_seed(3)
    reference = nn.LSTMCell(INPUT, HIDDEN, bias=bias)
    torch.manual_seed(3)
    own = LSTMCell(INPUT, HIDDEN, bias=bias)
    assert list(own.state_dict()) == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        assert torch.equal(own.state_dict()[name], value)
    other = nn.LSTMCell(INPUT, HIDDEN, bias=bias)
    other.load_state_dict(own.state_dict())
    assert torch.equal(other.weight_hh, own.weight_hh)


def test_update_by_hand() -> None:
    # All gates half open, candidate tanh(0) = 0: c' = c / 2, h' = tanh(c / 2) / 2.
    h, c = lstm_update(torch.zeros(4), torch.tensor([2.0]))
    assert c.item() == 1.0
    assert h.item() == pytest.approx(0.5 * torch.tanh(torch.tensor(1.0)).item())


@pytest.mark.parametrize("shape", [(INPUT + 1,), (2, INPUT + 1), (2, 2, INPUT)])
def test_cell_rejects_a_wrong_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="LSTMCell expects an input of shape"):
        LSTMCell(INPUT, HIDDEN)(torch.zeros(shape))


def test_cell_rejects_a_wrong_state() -> None:
    with pytest.raises(ValueError, match="state c to have shape"):
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
            "LSTM expects an input of shape",
        ),
        (lambda: LSTM(INPUT, HIDDEN)(torch.zeros(INPUT)), "LSTM expects an input of shape"),
        (lambda: LSTM(INPUT, HIDDEN)(torch.zeros(0, 2, INPUT)), "at least one time step"),
        (
            lambda: LSTM(INPUT, HIDDEN)(torch.zeros(3, 2, INPUT), (torch.zeros(1, 3, HIDDEN),) * 2),
            "h_0 to have",
        ),
        (lambda: LSTM(INPUT, HIDDEN, num_layers=0), "num_layers must be at least 1"),
        (lambda: LSTM(INPUT, HIDDEN, dropout=1.5), "dropout must be a probability"),
        (
            lambda: LSTM(INPUT, HIDDEN)(pack_padded_sequence(torch.zeros(3, 1, INPUT + 1), [3])),
            "packed data of shape",
        ),
    ],
)
def test_layer_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- the classifier --------------------------------------------------------------------------


def sentences(*lengths: int, steps: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 30, (len(lengths), steps), generator=generator)
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
    return tokens


@pytest.mark.parametrize("lengths", [(6, 6, 6), (6, 2, 4)])
def test_classifier_is_the_same_with_either_cell(lengths: tuple[int, ...]) -> None:
    builtin = BiLSTMClassifier(30, 4, 6, num_layers=2).double().eval()
    own = BiLSTMClassifier(30, 4, 6, num_layers=2, cell="own").double().eval()
    own.load_state_dict(builtin.state_dict())
    tokens = sentences(*lengths, steps=6)
    logits, logits_ref = own(tokens), builtin(tokens)
    assert logits.shape == (3,)
    assert_same(logits, logits_ref, 1e-12)
    logits.sin().sum().backward()
    logits_ref.sin().sum().backward()
    assert_same_gradients(own, builtin, 1e-12)


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    extra=st.integers(1, 4),
    cell=st.sampled_from(["builtin", "own"]),
    seed=st.integers(0, 2**16),
)
def test_classifier_does_not_see_padding(
    lengths: list[int], extra: int, cell: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = BiLSTMClassifier(30, 4, 6, cell=cell).double().eval()
    with torch.no_grad():
        model.embedding.table.weight[0] = 100.0  # whatever stands at padding must not matter
    tokens = sentences(*lengths, steps=max(lengths), seed=seed)
    wider = torch.nn.functional.pad(tokens, (0, extra))
    logits = model(tokens)
    assert_same(model(wider), logits, 1e-12)
    assert_same(model(wider, torch.tensor(lengths)), logits, 1e-12)
    for row, length in enumerate(lengths):
        assert_same(model(tokens[row : row + 1, :length]), logits[row : row + 1], 1e-12)


def test_classifier_pools_what_it_says() -> None:
    model = BiLSTMClassifier(30, 4, 6).double().eval()
    tokens = sentences(5, steps=5)
    states, _ = model.lstm(model.embedding(tokens))  # [1, 5, 12]
    expected = torch.cat(
        [states[0].amax(0), states[0].mean(0), states[0, -1, :6], states[0, 0, 6:]]
    )
    assert_same(model.features(tokens)[0], expected, 1e-12)


def test_classifier_survives_an_empty_sentence() -> None:
    model = BiLSTMClassifier(30, 4, 6).eval()
    logits = model(sentences(3, 0, steps=3))
    assert logits.isfinite().all()
    assert_same(logits[1:], model(torch.zeros(1, 1, dtype=torch.int64)), 1e-6)


def test_classifier_starts_from_pretrained_vectors() -> None:
    vectors = torch.randn(30, 4)
    model = BiLSTMClassifier(30, 4, 6, pretrained=vectors, freeze=True)
    assert torch.equal(model.embedding.table.weight[1:], vectors[1:])
    assert not model.embedding.table.weight.requires_grad
    assert model.embedding.projection is None
    narrow = BiLSTMClassifier(30, 4, 6, pretrained=torch.randn(30, 3))
    assert narrow(sentences(4, steps=4)).shape == (1,)


def test_classifier_overfits_one_batch() -> None:
    torch.manual_seed(0)
    model = BiLSTMClassifier(30, 8, 8, dropout=0.0)
    tokens, labels = sentences(5, 3, 4, 5, steps=5), torch.tensor([1.0, 0.0, 0.0, 1.0])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(30):
        loss = nn.functional.binary_cross_entropy_with_logits(model(tokens), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BiLSTMClassifier(30, 4, 6, cell="gru"), "cell must be 'builtin' or 'own'"),
        (lambda: BiLSTMClassifier(30, 4, 6)(sentences(3, steps=3)[0]), "tokens of shape"),
        (
            lambda: BiLSTMClassifier(30, 4, 6)(sentences(3, steps=3), torch.tensor([3, 3])),
            "one entry per sentence",
        ),
    ],
)
def test_classifier_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
