import copy
import inspect
import pickle
import tomllib
from collections.abc import Callable
from importlib import import_module
from itertools import product
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursework.models.attention import MultiHeadAttention
from coursework.models.beam_search import beam_search
from coursework.models.bert import Bert
from coursework.models.bilstm import BiLSTMClassifier
from coursework.models.checks import expect, expect_words, probability
from coursework.models.gat import DenseGraphAttentionLayer, GraphAttentionLayer
from coursework.models.gcn import (
    GCNII,
    DeepGCN,
    GCNIIConvolution,
    SparseGraphConvolution,
    normalise_adjacency,
)
from coursework.models.grand import GRAND, consistency_loss
from coursework.models.graph_conv import GraphRegressor, aggregate, degrees, neighbours
from coursework.models.lstm import LSTM, LSTMCell
from coursework.models.seq2seq import Seq2Seq
from coursework.models.sparse import adjacency, sparse_csr
from coursework.models.transformer import EncoderLayer, Transformer
from coursework.models.unet import UNet

NODES = torch.randn(3, 5)
EDGES = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 0]])  # the edge from 1 to 0 is listed twice
A = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": Tensor.clone, "coo": Tensor.to_sparse_coo, "csr": Tensor.to_sparse_csr,
}  # fmt: skip
DTYPES = (torch.bool, torch.int32, torch.int64, torch.uint8, torch.float64)
SENTENCES = {"recurrent": Seq2Seq(9, 9, 4, 4).eval(), "transformer": Transformer(9, 9, 8, 2).eval()}
WORDS = torch.ones(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(("form", "dtype"), list(product(FORMS, DTYPES)))
def test_a_graph_of_any_type_and_layout_is_the_same_graph(form: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    adjacency(EDGES, 3)  # where PyTorch's warning about CSR, which comes once, is silenced
    graph = FORMS[form](A.to(dtype))
    for layer in (SparseGraphConvolution(5, 4), GraphRegressor(5, 4), GRAND(5, 4, 2)):
        layer.eval()
        torch.testing.assert_close(layer(NODES, graph), layer(NODES, A))


def test_an_edge_that_is_listed_twice() -> None:
    once = EDGES.unique(dim=1)
    layer = GraphAttentionLayer(5, 4, 2).eval()
    torch.testing.assert_close(layer(NODES, EDGES), layer(NODES, once))
    first, second = (normalise_adjacency(e, 3).to_dense() for e in (EDGES, once))
    assert torch.equal(first, second)
    both = adjacency(EDGES, 3)
    torch.testing.assert_close(aggregate(NODES, EDGES, "sum"), both.to_dense() @ NODES)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: normalise_adjacency(e, 3),
        lambda e: adjacency(e, 3),
        lambda e: degrees(e, 3),
        lambda e: neighbours(e, 1),
        lambda e: aggregate(NODES, e),
        lambda e: GraphAttentionLayer(5, 4, 2)(NODES, e),
    ],
)
def test_edges_of_another_kind_end_in_one_sentence(call: Callable[[Tensor], object]) -> None:
    for edges in (EDGES.int(), EDGES.float(), EDGES.to("meta"), EDGES.numpy(), EDGES[:1]):
        with pytest.raises(ValueError, match="must|meta"):
            call(edges)  # type: ignore[arg-type]
    call(EDGES[:, :0])


@pytest.mark.parametrize("name", SENTENCES)
def test_an_empty_batch_is_fine_and_wrong_sentences_are_refused(name: str) -> None:
    model = SENTENCES[name]
    assert BiLSTMClassifier(10, 4, 3).eval()(WORDS[:0]).shape == (0,)
    assert model(WORDS[:0], WORDS[:0]).shape == (0, 3, 9)
    search = {"width": 2, "max_length": 3, "sos": 1, "eos": 2}
    assert beam_search(model, WORDS[:0], **search).words.shape == (0, 1)
    for words in (WORDS[:, :0], WORDS.float(), torch.tensor([[0, 1, 2]])):
        with pytest.raises(ValueError, match="src"):
            beam_search(model, words, **search)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_lstm_without_values_and_without_gradients(gradients: bool) -> None:
    with torch.set_grad_enabled(gradients):
        layer = LSTM(3, 4, 2, bidirectional=True, device="meta")
        assert layer(torch.zeros(5, 2, 3, device="meta"))[0].shape == (5, 2, 8)
        assert LSTM(3, 4)(torch.zeros(5, 0, 3))[0].shape == (5, 0, 4)
    with pytest.raises(ValueError, match="floating point"):
        LSTM(3, 4)(torch.zeros(5, 2, 3).long())


@pytest.mark.filterwarnings("ignore")  # of the tracer: the guards look at shapes
@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (LSTMCell(3, 4), (torch.ones(2, 3),)),
        (LSTM(3, 4, bidirectional=True), (torch.ones(2, 2, 3),)),
        (EncoderLayer(4, 2, 8, fused=True).eval(), (torch.ones(2, 3, 4),)),
    ],
)
def test_a_layer_of_pytorchs_kind_can_be_exported_traced_copied_and_pickled(
    layer: torch.nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    copies = [
        torch.export.export(layer, inputs).module(),
        torch.jit.trace(layer, inputs, check_trace=False),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ]
    for again in copies:
        torch.testing.assert_close(again(*inputs), layer(*inputs))


def test_a_guard_names_the_argument_what_was_expected_and_what_came() -> None:
    assert expect("h", torch.zeros(2, 3, 4), "... N F", F=4) == {"N": 3, "F": 4}
    with pytest.raises(
        ValueError, match=r"^h must have shape \[N, F\] with F = 3, but has \[2, 4\].$"
    ):
        expect("h", torch.zeros(2, 4), "N F", F=3)
    with pytest.raises(ValueError, match=r"A must have shape \[N, N\]"):
        expect("A", torch.zeros(2, 4), "N N")
    with pytest.raises(ValueError, match="h must be a tensor, but is a list"):
        expect("h", [1, 2], "N")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: DeepGCN(4, 4, 2, 1, 0.5, 0.0), "layers must be at least 2, but is 1"),
        (lambda: DeepGCN(4, 4, 2, 2, 0.5, 1.0), "initial"),
        (lambda: GCNII(4, 4, 2, 0, 0.5), "layers must be at least 1, but is 0"),
        (lambda: GCNII(4, 4, 2, 1, 0.5, alpha=-0.1), "alpha"),
        (lambda: GCNII(4, 4, 2, 1, 0.5, strength=0.0), r"strength \(lambda\) must be positive"),
        (lambda: GRAND(4, 4, 2, order=-1), "order must not be negative"),
        (lambda: GRAND(4, 4, 2, dropnode=1.0), "dropnode"),
        (lambda: GRAND(4, 4, 2, input_dropout=1.0), "input_dropout"),
        (lambda: consistency_loss(torch.zeros(2, 3, 4), 0.0), "temperature must be positive"),
        (lambda: DenseGraphAttentionLayer(4, 4, 2)(torch.ones(3, 4), torch.ones(1, 3)), "adj_mat"),
        (lambda: GraphRegressor(4, num_layers=0), "num_layers must be at least 1"),
        (lambda: GraphRegressor(4, aggregations=("max",)), "choose from mean and sum"),
        (lambda: GCNIIConvolution(4, 0, 0.1, 0.5), "layer and strength"),
        (lambda: GraphAttentionLayer(4, 4, 0), "multiple of n_heads"),
        (lambda: UNet()(torch.zeros(1, 1, 4, 0)), "must have pixels"),
        (lambda: probability("p", 1.0, open_end=True), r"in \[0, 1\), but is 1.0"),
        (lambda: probability("p", 1.5), r"in \[0, 1\], but is 1.5"),
        (lambda: expect("h", torch.zeros(3), "... N F"), r"h must have shape \[..., N, F\]"),
        (lambda: expect_words("src", torch.tensor([[5, 0, 6]]), "B T", 0), "in front of a word"),
    ],
)
def test_what_cannot_be_is_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_the_smallest_sizes_and_the_ends_of_ranges_are_allowed() -> None:
    probability("p", 0.0, open_end=True)
    probability("p", 1.0)
    words = torch.tensor([[5, 6, 0, 0], [7, 0, 0, 0], [5, 6, 7, 8]])
    assert expect_words("src", words, "B T", 0).tolist() == [2, 1, 4]
    assert expect_words("src", words[:, :1], "B T", 0).tolist() == [1, 1, 1]
    assert Bert(9, 4, 2, 8, 1, max_length=4)(words).shape == (3, 4, 4)
    assert GraphRegressor(5, 4, num_layers=1)(NODES, A).shape == (3,)
    assert MultiHeadAttention(1, 1)(torch.ones(1, 2, 1))[0].shape == (1, 2, 1)
    assert LSTMCell(1, 1).weight_ih.any()
    assert LSTM(1, 1).weight_ih_l0.any()
    assert UNet(down=(4,), up=(4,)).eval()(torch.ones(1, 1, 2, 2)).shape == (1, 11, 2, 2)
    first, values = torch.tensor([0, 0]), torch.tensor([2.0, 3.0])
    assert sparse_csr(torch.tensor([0, 1]), first, values, (2, 1)).to_dense().tolist() == [[2], [3]]


DEFAULTS = tomllib.loads(Path(__file__).with_name("defaults.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("path", "expected"), DEFAULTS.items())
def test_defaults_are_those_of_the_recorded_trainings(path: str, expected: str) -> None:
    module, _, name = path.partition(".")
    built = attrgetter(name)(import_module(f"coursework.models.{module}"))
    defaults = {k: p.default for k, p in inspect.signature(built).parameters.items()}
    said = (
        f"{k}={getattr(value, '__name__', repr(value))}"
        for k, value in defaults.items()
        if value is not inspect.Parameter.empty
    )
    assert ", ".join(said) == expected
