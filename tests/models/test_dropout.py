import math
import sys
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from coursework.models import bert, bilstm, gat, gcn, grand, graph_conv, seq2seq, transformer
from coursework.models.dropout import Dropout, dropout
from properties import every


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_share_of_zeros_and_scale(p: float) -> None:
    torch.manual_seed(0)
    n = 400_001  # no multiple of four
    y = dropout(torch.ones(n), p)
    assert abs(float((y == 0).double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / n)
    kept = y[y != 0]
    assert torch.all(kept == kept[0])
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_entries_are_independent() -> None:
    """Neighbours share a draw of 64 bits; none may tell anything about another."""
    torch.manual_seed(0)
    n = 400_000
    zeros = (dropout(torch.ones(n), 0.4) == 0).double().view(-1, 4)
    assert float((torch.corrcoef(zeros.t()) - torch.eye(4)).abs().max()) < 5 / math.sqrt(n / 4)
    rows = torch.bincount((zeros * torch.tensor([1.0, 2.0, 4.0, 8.0])).sum(1).long(), minlength=16)
    expected = [0.4 ** bin(i).count("1") * 0.6 ** (4 - bin(i).count("1")) for i in range(16)]
    error = (rows.double() / len(zeros) - torch.tensor(expected)).abs()
    assert float(error.max()) < 5 * 0.5 / math.sqrt(len(zeros))


@every(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    p=(0.0, 1.0),
    dtype=[torch.float32, torch.float64, torch.bfloat16],
)
def test_gradient_is_the_mask(shape: list[int], p: float, dtype: torch.dtype) -> None:
    x = torch.rand(shape, dtype=dtype).add_(0.5).requires_grad_()
    y = dropout(x, p)
    assert y.shape == x.shape
    assert y.dtype == dtype
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient * x, y)


def test_off_in_evaluation_and_at_zero() -> None:
    x = torch.rand(3, 4)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert Dropout(0.7).eval()(x) is x
    assert torch.equal(dropout(x, 1.0), torch.zeros_like(x))


WORDS = torch.tensor([[1, 2, 3]])
NODES, LINKS = torch.rand(3, 5), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
ADJ = gcn.normalise_adjacency(LINKS, 3)
BERT = bert.Bert(9, 8, 2, 16, 1, dropout=0.25)
# model, its input, how often each probability is met in one pass: what the paper or docstring says
ACTING: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...], dict[float, int]]] = {
    # embeddings; per layer: attention weights, inside the feed-forward network, each sub-layer
    "Transformer": (transformer.Transformer(9, 9, 8, 2, 1, 1, 16, 0.25), (WORDS, WORDS), {0.25: 2 + 4 + 6}),
    "Seq2Seq": (seq2seq.Seq2Seq(9, 9, 8, 8, 0.25), (WORDS, WORDS), {0.25: 2}),
    "BiLSTM": (
        bilstm.BiLSTMClassifier(9, 8, 8, 1, 0.25, embedding_dropout=0.125), (WORDS,), {0.25: 1, 0.125: 1}
    ),
    "BERT": (bert.BertClassifier(BERT, 0.5), (WORDS,), {0.25: 1 + 4, 0.5: 1}),
    "GCN": (gcn.GCN(5, 8, 2, 0.25), (NODES, ADJ), {0.25: 1}),
    "DeepGCN": (gcn.DeepGCN(5, 8, 2, 3, 0.25, 0.1), (NODES, ADJ), {0.25: 2}),
    "GRAND": (grand.GRAND(5, 8, 2, 3, 0.5, 0.5, 0.25), (NODES, ADJ), {0.5: 1, 0.25: 1}),
    "GAT": (gat.GAT(5, 8, 2, 0.25, 0.2, 2), (NODES, LINKS), {0.25: 4}),
    "GCNII": (gcn.GCNII(5, 8, 2, 3, 0.25), (NODES, ADJ), {0.25: 4}),
    "GraphRegressor": (graph_conv.GraphRegressor(5, 8, 2, 0.25, 0.5), (NODES, ADJ), {0.25: 3, 0.5: 1}),
    "columns": (graph_conv.ColumnRegressor(5, 8, 0.25, 0.5), (NODES,), {0.25: 2, 0.5: 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTING)
def test_every_dropout_of_a_network_acts_in_training_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, expected = ACTING[name]
    met: Counter[float] = Counter()

    def counted(x: torch.Tensor, p: float = 0.5, training: bool = True, *_: object) -> torch.Tensor:
        met.update([p] * (training and p > 0))
        return x

    for module in [*sys.modules.values()]:
        if module.__name__.startswith("coursework.models.") and hasattr(module, "dropout"):
            monkeypatch.setattr(module, "dropout", counted)
    monkeypatch.setattr(F, "dropout", counted)
    model.train()(*inputs)
    assert met == expected
    met.clear()
    model.eval()(*inputs)
    assert not met


def test_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        dropout(torch.ones(2), 1.5)
