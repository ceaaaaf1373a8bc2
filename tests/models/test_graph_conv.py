import pytest
import torch
from parity import DTYPES, TOLERANCE, assert_parity, assert_same, normal, random_graph
from torch import Tensor

from coursework.models.graph_conv import (
    ColumnRegressor,
    GraphRegressor,
    PlainGraphConvolution,
    aggregate,
    degrees,
    neighbours,
)
from coursework.models.sparse import adjacency
from properties import refused

# 0 -> 1, 2 -> 1, 1 -> 0, 3 -> 3; nothing ends in 2.
HAND = torch.tensor([[0, 2, 1, 3], [1, 1, 0, 3]])

# --- neighbours and sums ---------------------------------------------------------------------


def test_neighbours_by_hand() -> None:
    assert neighbours(HAND, 1).tolist() == [0, 2]
    assert neighbours(HAND, 0).tolist() == [1]
    assert neighbours(HAND, 2).tolist() == []
    assert neighbours(HAND, 3).tolist() == []  # a loop is no neighbour at distance 1
    assert degrees(HAND, 4).tolist() == [1, 2, 0, 1]


def test_aggregate_by_hand() -> None:
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    assert aggregate(x, HAND, "sum").flatten().tolist() == [2.0, 5.0, 0.0, 8.0]
    for mean in (aggregate(x, HAND, "mean"), aggregate(x, HAND)):
        assert mean.flatten().tolist() == [2.0, 2.5, 0.0, 8.0]


# --- the plain convolution -------------------------------------------------------------------


@pytest.mark.parametrize(("aggregation", "reference"), [("mean", "mean"), ("sum", "add")])
@DTYPES
def test_plain_convolution_matches_pyg(
    aggregation: str, reference: str, dtype: torch.dtype
) -> None:
    from torch_geometric.nn import GraphConv

    conv = GraphConv(5, 4, aggr=reference, bias=False).to(dtype)
    own = PlainGraphConvolution(5, 4, aggregation, activation=None).to(dtype)
    own.W_1.load_state_dict(conv.lin_rel.state_dict())
    own.W_2.load_state_dict(conv.lin_root.state_dict())
    edge_index, x = random_graph(9, 40), normal(9, 5, dtype=dtype).requires_grad_()
    assert_parity(own(x, edge_index), conv(x, edge_index), [x], atol=TOLERANCE[dtype])


def test_identity_weights_are_a_sum_over_the_closed_neighbourhood() -> None:
    x = normal(4, 3)
    own = PlainGraphConvolution(3, 3, "sum", identity=True, activation=None).double()
    assert_same(own(x, HAND), aggregate(x, HAND, "sum") + x)


# --- the regression network ------------------------------------------------------------------


def regressor(**options: object) -> GraphRegressor:
    torch.manual_seed(0)
    return GraphRegressor(5, 4, **options).double().eval()


@pytest.mark.parametrize(
    "aggregations", [("mean", "sum"), ("sum", "mean"), ("mean",), ("sum",), ("sum", "sum")]
)
@pytest.mark.parametrize("jumping", [True, False])
def test_regressor_is_its_equations(aggregations: tuple[str, ...], jumping: bool) -> None:
    model = regressor(num_layers=2, aggregations=aggregations, jumping_knowledge=jumping)
    terms = list(dict.fromkeys(aggregations))
    x, edge_index = normal(7, 5), random_graph(7, 20)
    degree = degrees(edge_index, 7).double().unsqueeze(1)

    def layer(own: Tensor, index: int) -> Tensor:
        z, *parts = own.chunk(1 + len(terms), dim=1)
        for term, part in zip(terms, parts, strict=True):
            scale = degree.clamp(min=1).sqrt() if term == "sum" else 1.0
            z = z + aggregate(part, edge_index, term) / scale
        return torch.relu(model.norms[index](z))

    first = layer(model.features(x) + model.columns(degree.log1p()), 0)
    second = first + layer(model.layers[0](first), 1)
    states = torch.cat([first, second], dim=1) if jumping else second
    assert_same(model(x, adjacency(edge_index, 7).double()), model.head(states).squeeze(1))


@pytest.mark.parametrize("jumping", [True, False])
def test_regressor_takes_sparse_features_and_gives_the_same(jumping: bool) -> None:
    model = regressor(num_layers=3, jumping_knowledge=jumping, extra_features=2)
    dense = normal(7, 5) * (normal(7, 5, seed=1) > 0)
    graph, extra = adjacency(random_graph(7, 20), 7).double(), normal(7, 2, seed=2)
    assert model.columns.bias is None  # the features have one already
    found, expected = (model(x, graph, extra) for x in (dense.to_sparse_csr(), dense))
    assert_parity(found, expected, [*model.parameters()])


def test_dropout_of_the_features() -> None:
    model = GraphRegressor(5, 4, dropout=0.0, input_dropout=1.0).double()
    x, graph = normal(7, 5), adjacency(random_graph(7, 20), 7).double()
    assert_same(model.train()(x, graph), model.eval()(torch.zeros_like(x), graph))


def test_without_the_graph_nodes_do_not_meet() -> None:
    model, x = regressor(use_graph=False, num_layers=2), normal(6, 5)
    assert_same(model(x)[2:3], model(x[2:3]))
    assert_same(model(x, random_graph(6, 20)), model(x))


GRAPH = adjacency(HAND, 4).double()
test_wrong_arguments = refused(
    (lambda: aggregate(normal(4, 1), HAND, "max"), "'mean' or 'sum'"),  # type: ignore[arg-type]
    (lambda: PlainGraphConvolution(3, 2, "max"), "'mean' or 'sum'"),  # type: ignore[arg-type]
    (lambda: PlainGraphConvolution(3, 2, identity=True), "Identity weights need equal"),
    (lambda: PlainGraphConvolution(3, 2)(torch.zeros(4, 2), HAND), "x must have shape"),
    (lambda: regressor()(normal(4, 6), GRAPH), "x must have shape"),
    (lambda: regressor()(normal(4, 5)), "The graph is missing"),
    (lambda: regressor()(normal(4, 5), torch.eye(3)), "graph must have shape"),
    (lambda: regressor()(normal(4, 5), GRAPH, normal(4, 1)), "extra must have shape"),
    (lambda: regressor(extra_features=1)(normal(4, 5), GRAPH), "extra must be a tensor"),
)


def test_column_regressor_by_hand() -> None:
    model = ColumnRegressor(3, 4, 0.5, 0.4)
    x = torch.randn(5, 3)
    assert not torch.equal(model(x), model(x))  # dropout
    model.eval()
    h = (x @ model.W_1.weight.T + model.W_1.bias).relu()
    h = h + (h @ model.W_2.weight.T + model.W_2.bias).relu()
    assert_same(model(x), h @ model.w.weight[0] + model.w.bias, 1e-6)
    assert_same(model(x[[2, 0]]), model(x)[[2, 0]], 1e-6)
    guess = ColumnRegressor(3, 4, 0.5, 0.4, guesses=2).eval()  # at first their mean, and a constant
    assert_same(guess(x), x[:, 1:].mean(dim=1) + guess.w.bias, 1e-6)
