"""The classifier of sentences: either cell, padding, pooling."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coursework.models.bilstm import BiLSTMClassifier
from coursework.models.lstm import LSTM

PROPERTY = settings(max_examples=20, deadline=None, derandomize=True)


def assert_same(own: Tensor, reference: Tensor, atol: float) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


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
    for mine, theirs in zip(own.parameters(), builtin.parameters(), strict=True):
        assert_same(mine.grad, theirs.grad, 1e-12)


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


def test_classifier_has_the_layers_that_are_asked_for() -> None:
    assert type(BiLSTMClassifier(30, 4, 6).lstm) is nn.LSTM
    assert type(BiLSTMClassifier(30, 4, 6, cell="own").lstm) is LSTM
    assert BiLSTMClassifier(30, 4, 6).lstm.num_layers == 1
    for layers, between in ((1, 0.0), (2, 0.4), (3, 0.4)):
        model = BiLSTMClassifier(30, 4, 6, layers, dropout=0.4)
        assert (model.lstm.num_layers, model.lstm.dropout) == (layers, between)
        assert model.dropout.p == 0.4


@pytest.mark.parametrize("layers", [1, 2])
def test_classifier_pools_what_it_says(layers: int) -> None:
    model = BiLSTMClassifier(30, 4, 6, layers).double().eval()
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
    model = BiLSTMClassifier(30, 4, 6, pretrained=vectors)
    assert torch.equal(model.embedding.table.weight[1:], vectors[1:])
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
        (lambda: BiLSTMClassifier(30, 4, 6)(sentences(3, steps=3)[0]), "tokens must have shape"),
        (
            lambda: BiLSTMClassifier(30, 4, 6)(sentences(3, steps=3), torch.tensor([3, 3])),
            "lengths must have shape",
        ),
    ],
)
def test_classifier_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
