import pytest
import torch
from hypothesis import strategies as st
from parity import assert_parity, assert_same, words
from torch import nn

from coursework.models.bilstm import BiLSTMClassifier
from coursework.models.lstm import LSTM
from properties import SEED, every, refused


@pytest.mark.parametrize("lengths", [(6, 6, 6), (6, 2, 4)])
def test_classifier_is_the_same_with_either_cell(lengths: tuple[int, ...]) -> None:
    builtin = BiLSTMClassifier(30, 4, 6, num_layers=2).double().eval()
    own = BiLSTMClassifier(30, 4, 6, num_layers=2, cell="own").double().eval()
    own.load_state_dict(builtin.state_dict())
    tokens = words(30, *lengths)
    logits = own(tokens)
    assert logits.shape == (3,)
    assert_parity(logits, builtin(tokens), [*own.parameters()], [*builtin.parameters()])


@every(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    extra=(1, 4),
    cell=["builtin", "own"],
    seed=SEED,
)
def test_classifier_does_not_see_padding(
    lengths: list[int], extra: int, cell: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = BiLSTMClassifier(30, 4, 6, cell=cell).double().eval()
    with torch.no_grad():
        model.embedding.table.weight[0] = 100.0  # whatever stands at padding must not matter
    tokens = words(30, *lengths, seed=seed)
    wider = torch.nn.functional.pad(tokens, (0, extra))
    logits = model(tokens)
    assert_same(model(wider), logits)
    assert_same(model(wider, torch.tensor(lengths)), logits)
    for row, length in enumerate(lengths):
        assert_same(model(tokens[row : row + 1, :length]), logits[row : row + 1])


@pytest.mark.parametrize(("cell", "kind"), [("builtin", nn.LSTM), ("own", LSTM)])
@pytest.mark.parametrize(("layers", "between"), [(1, 0.0), (2, 0.4)])
def test_classifier_has_the_layers_that_are_asked_for(
    cell: str, kind: type, layers: int, between: float
) -> None:
    model = BiLSTMClassifier(30, 4, 6, layers, dropout=0.4, cell=cell)
    assert type(model.lstm) is kind
    assert (model.lstm.num_layers, model.lstm.dropout, model.dropout.p) == (layers, between, 0.4)


@pytest.mark.parametrize("layers", [1, 2])
def test_classifier_pools_what_it_says(layers: int) -> None:
    model = BiLSTMClassifier(30, 4, 6, layers).double().eval()
    embedded = model.embedding(words(30, 5))
    states, _ = model.lstm(embedded)  # [1, 5, 12]
    expected = torch.cat(
        [states[0].amax(0), states[0].mean(0), states[0, -1, :6], states[0, 0, 6:]]
    )
    assert_parity(model.pool(embedded, torch.tensor([5]))[0], expected, [*model.lstm.parameters()])


def test_classifier_survives_an_empty_sentence() -> None:
    model = BiLSTMClassifier(30, 4, 6).eval()
    logits = model(words(30, 3, 0))
    assert logits.isfinite().all()
    assert_same(logits[1:], model(torch.zeros(1, 1, dtype=torch.int64)), 1e-6)


def test_classifier_starts_from_pretrained_vectors() -> None:
    vectors = torch.randn(30, 4)
    model = BiLSTMClassifier(30, 4, 6, pretrained=vectors)
    assert torch.equal(model.embedding.table.weight[1:], vectors[1:])
    assert model.embedding.projection is None
    assert BiLSTMClassifier(30, 4, 6, pretrained=torch.randn(30, 3))(words(30, 4)).shape == (1,)


TOKENS, MODEL = words(30, 3), BiLSTMClassifier(30, 4, 6)


test_wrong_arguments = refused(
    (lambda: BiLSTMClassifier(30, 4, 6, cell="gru"), "cell must be 'builtin' or 'own'"),  # type: ignore[arg-type]
    (lambda: MODEL(TOKENS[0]), "tokens must have shape"),
    (lambda: MODEL(torch.tensor([[0, 0, 3], [1, 2, 3]])), "in front of a word"),
    (lambda: MODEL(TOKENS, torch.tensor([3, 3])), "lengths must have shape"),
    (lambda: MODEL(TOKENS, torch.tensor([4])), "lengths must be whole, from 1 to 3"),
    (lambda: MODEL(TOKENS, torch.tensor([0])), "lengths must be whole, from 1 to 3"),
    (lambda: MODEL(TOKENS, torch.tensor([1.9])), "lengths must be whole"),
    (lambda: BiLSTMClassifier(30, 4, 6, padding_idx=-1)(TOKENS), "id of the padding is -1"),
)
