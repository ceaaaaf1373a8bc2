"""Plain graph convolution and the regression network: against PyG, by hand, and properties."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coursework.models import sparse as sparse_module
from coursework.models.graph_conv import (
    GraphRegressor,
    PlainGraphConvolution,
    aggregate,
    degrees,
    neighbours,
)
from coursework.models.sparse import (
    FeatureLinear,
    adjacency,
    check_edge_index,
    edges_and_weights,
    feature_dropout,
    is_edge_index,
    multiply,
    sparse_csr,
)

PROPERTY = settings(max_examples=20, deadline=None, derandomize=True)


def assert_same(own: Tensor, reference: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def random_graph(n: int, edges: int, seed: int = 0) -> Tensor:
    """Distinct directed edges, self-loops possible."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(n, (2, edges), generator=generator)
    return pairs.unique(dim=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# 0 -> 1, 2 -> 1, 1 -> 0, 3 -> 3; nothing ends in 2.
HAND = torch.tensor([[0, 2, 1, 3], [1, 1, 0, 3]])


# --- neighbours and sums ---------------------------------------------------------------------


def test_neighbours_by_hand() -> None:
    assert neighbours(HAND, 1).tolist() == [0, 2]
    assert neighbours(HAND, 1, "out").tolist() == [0]
    assert neighbours(HAND, 0, "both").tolist() == [1]
    assert neighbours(HAND, 2).tolist() == []
    assert neighbours(HAND, 3).tolist() == []  # a loop is no neighbour at distance 1
    assert degrees(HAND, 4).tolist() == [1, 2, 0, 1]
    with pytest.raises(ValueError, match="direction must be"):
        neighbours(HAND, 1, "up")


def test_neighbours_of_the_karate_club() -> None:
    from torch_geometric.datasets import KarateClub
    from torch_geometric.utils import k_hop_subgraph

    edge_index = KarateClub()[0].edge_index
    assert neighbours(edge_index, 10).tolist() == [0, 4, 5]
    for node in range(34):
        subset = k_hop_subgraph(node, 1, edge_index)[0].tolist()
        assert sorted([*neighbours(edge_index, node).tolist(), node]) == subset


def test_aggregate_by_hand() -> None:
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    assert aggregate(x, HAND, "sum").flatten().tolist() == [2.0, 5.0, 0.0, 8.0]
    assert aggregate(x, HAND, "mean").flatten().tolist() == [2.0, 2.5, 0.0, 8.0]
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        aggregate(x, HAND, "max")


def test_adjacency_has_targets_as_rows_and_adds_duplicates() -> None:
    dense = adjacency(torch.cat([HAND, HAND[:, :1]], dim=1), 4).to_dense()
    expected = torch.tensor([[0.0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert torch.equal(dense, expected)


@PROPERTY
@given(n=st.integers(1, 8), edges=st.integers(0, 30), seed=st.integers(0, 2**16))
def test_matrix_and_edge_list_agree(n: int, edges: int, seed: int) -> None:
    edge_index, x = random_graph(n, edges, seed), normal(n, 3, seed=seed)
    matrix = adjacency(edge_index, n).double()
    assert matrix.layout == torch.sparse_csr
    assert_same(multiply(matrix, x), aggregate(x, edge_index, "sum"))
    assert_same(multiply(matrix.to_dense(), x), aggregate(x, edge_index, "sum"))


# --- the plain convolution -------------------------------------------------------------------


@pytest.mark.parametrize(("aggregation", "reference"), [("mean", "mean"), ("sum", "add")])
@pytest.mark.parametrize("bias", [True, False])
def test_plain_convolution_matches_pyg(aggregation: str, reference: str, bias: bool) -> None:
    from torch_geometric.nn import GraphConv

    conv = GraphConv(5, 4, aggr=reference, bias=bias).double()
    own = PlainGraphConvolution(5, 4, aggregation, bias=bias, activation=None).double()
    own.W_1.load_state_dict(conv.lin_rel.state_dict())
    own.W_2.load_state_dict(conv.lin_root.state_dict())
    edge_index, x = random_graph(9, 40), normal(9, 5).requires_grad_()
    output, expected = own(x, edge_index), conv(x, edge_index)
    assert_same(output, expected)
    (found,) = torch.autograd.grad(output.sin().sum(), x)
    assert_same(found, torch.autograd.grad(expected.sin().sum(), x)[0])


def test_identity_weights_on_the_karate_club() -> None:
    from torch_geometric.datasets import KarateClub

    data = KarateClub()[0]
    mean = PlainGraphConvolution(34, 34, "mean", identity=True)(data.x, data.edge_index)
    total = PlainGraphConvolution(34, 34, "sum", identity=True)(data.x, data.edge_index)
    matrix = adjacency(data.edge_index, 34).to_dense()
    expected = matrix / matrix.sum(dim=1, keepdim=True) + torch.eye(34)
    assert_same(mean, expected, 1e-6)
    assert_same(total, matrix + torch.eye(34), 1e-6)
    assert_same(mean.sum(dim=1), torch.full((34,), 2.0), 1e-6)
    assert mean[10].nonzero().flatten().tolist() == [0, 4, 5, 10]


@PROPERTY
@given(
    n=st.integers(1, 8),
    edges=st.integers(0, 30),
    aggregation=st.sampled_from(["mean", "sum"]),
    seed=st.integers(0, 2**16),
)
def test_plain_convolution_commutes_with_renumbering(
    n: int, edges: int, aggregation: str, seed: int
) -> None:
    torch.manual_seed(seed)
    own = PlainGraphConvolution(3, 2, aggregation).double()
    edge_index, x = random_graph(n, edges, seed), normal(n, 3, seed=seed)
    order = torch.randperm(n)  # new node k is old node order[k]
    renumbered = order.argsort()[edge_index]
    assert_same(own(x[order], renumbered), own(x, edge_index)[order])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PlainGraphConvolution(3, 2, "max"), "'mean' or 'sum'"),
        (lambda: PlainGraphConvolution(3, 2, identity=True), "Identity weights need equal"),
        (lambda: PlainGraphConvolution(3, 2)(torch.zeros(4, 2), HAND), "x must have shape"),
        (lambda: check_edge_index(HAND.T, 4), "shape \\[2, E\\]"),
        (lambda: check_edge_index(HAND.float(), 4), "int64"),
        (lambda: check_edge_index(HAND, 3), "nodes 0 to 3, but the graph has nodes 0 to 2"),
        (lambda: check_edge_index(HAND - 1, 4), "nodes -1 to 2"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_ids_are_looked_for_again_after_every_write() -> None:
    check_edge_index(HAND[:, :0], 1)  # no edge names no node
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            edge_index = HAND.clone()
            check_edge_index(edge_index, 4)
            check_edge_index(edge_index, 4)
            edge_index[0, 1] = 7
            with pytest.raises(ValueError, match="nodes 0 to 7"):
                check_edge_index(edge_index, 4)
            edge_index[0, 1] = -2
            with pytest.raises(ValueError, match="nodes -2 to 3"):
                check_edge_index(edge_index, 4)


def test_ids_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counted proxy of the time that a layer waits for its edges."""
    looked = []
    real = torch.aminmax
    monkeypatch.setattr(torch, "aminmax", lambda x: (looked.append(1), real(x))[1])
    edge_index = HAND.clone()
    for _ in range(3):
        check_edge_index(edge_index, 4)
    assert len(looked) == 1


@pytest.mark.parametrize("bias", [True, False])
def test_identity_weights_are_a_sum_over_the_closed_neighbourhood(bias: bool) -> None:
    x = normal(4, 3)
    own = PlainGraphConvolution(3, 3, "sum", identity=True, bias=bias, activation=None).double()
    assert_same(own(x, HAND), aggregate(x, HAND, "sum") + x)
    fresh = PlainGraphConvolution(3, 3)
    assert fresh.aggregation == "mean"
    assert fresh.W_1.bias is None
    assert not torch.equal(fresh.W_1.weight, torch.eye(3))


# --- graphs as matrices ----------------------------------------------------------------------


def test_only_integers_in_two_rows_are_edges() -> None:
    pair = torch.tensor([[0, 1], [1, 0]])
    assert is_edge_index(pair)
    assert is_edge_index(HAND)
    assert not is_edge_index(HAND.t())
    assert not is_edge_index(pair.float())
    assert not is_edge_index(pair.to_sparse_coo())
    assert not is_edge_index(torch.ones(3, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    "form", [Tensor.clone, Tensor.to_sparse_coo, Tensor.to_sparse_csr, Tensor.to_sparse_csc]
)
def test_entries_of_a_matrix_are_its_edges(form: Callable[[Tensor], Tensor]) -> None:
    matrix = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    edges, weights = edges_and_weights(form(matrix), 3)
    assert edges.dtype == torch.int64
    found = dict(zip(map(tuple, edges.t().tolist()), weights.tolist(), strict=True))
    assert found == {(1, 0): 2.0, (0, 1): -1.0, (1, 1): 3.0}  # source, target
    assert_same(adjacency(edges, 3).to_dense() != 0, matrix != 0)
    with pytest.raises(ValueError, match="adj must be a matrix \\[4, 4\\]"):
        edges_and_weights(form(matrix), 4)


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_stored_zeros_are_no_edges_and_narrow_ids_are_widened(layout: torch.layout) -> None:
    crow, column = (
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.tensor([1, 0], dtype=torch.int32),
    )
    values = torch.tensor([0.0, 4.0])
    matrix = torch.sparse_csr_tensor(crow, column, values, (2, 2), check_invariants=True)
    matrix = matrix if layout == torch.sparse_csr else matrix.to_sparse_coo()
    edges, weights = edges_and_weights(matrix, 2)
    assert edges.dtype == torch.int64
    assert edges.tolist() == [[0], [1]]
    assert weights.tolist() == [4.0]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_products_with_a_matrix_that_was_rounded(half: torch.dtype, layout: torch.layout) -> None:
    matrix = adjacency(HAND, 4)
    matrix = matrix if layout == torch.sparse_csr else matrix.to_sparse_coo()
    x = normal(4, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        product = multiply(matrix.to(half), x.to(half))
    assert product.dtype == torch.float32
    assert_same(product, aggregate(x.to(half).float(), HAND, "sum"), 1e-6)


def test_a_matrix_that_is_learned_gets_its_gradient() -> None:
    a, b = normal(4, 4), normal(4, 3)
    sparse = a.to_sparse_csr().requires_grad_()
    (found,) = torch.autograd.grad(multiply(sparse, b).sin().sum(), sparse)
    dense = a.clone().requires_grad_()
    (expected,) = torch.autograd.grad((dense @ b).sin().sum(), dense)
    assert_same(found.to_dense(), expected)


# --- sparse features -------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_linear_layer_takes_sparse_features(layout: torch.layout) -> None:
    dense = normal(6, 5) * (normal(6, 5, seed=1) > 0)
    row, column = dense.nonzero(as_tuple=True)
    sparse = sparse_csr(row, column, dense[row, column], (6, 5))
    sparse = sparse if layout == torch.sparse_csr else sparse.to_sparse_coo()
    for bias in (True, False):
        linear = FeatureLinear(5, 3, bias=bias).double()
        assert_same(linear(sparse), linear(dense))
        (found,) = torch.autograd.grad(linear(sparse).sin().sum(), linear.weight)
        (expected,) = torch.autograd.grad(linear(dense).sin().sum(), linear.weight)
        assert_same(found, expected)
    assert torch.equal(feature_dropout(sparse, 0.5, training=False).to_dense(), dense)
    dropped = feature_dropout(sparse, 0.5, training=True).to_dense()
    assert ((dropped == 0) | (dropped == 2 * dense)).all()
    assert feature_dropout(sparse, 1.0, training=True).to_dense().abs().sum() == 0


# --- the regression network ------------------------------------------------------------------


def regressor(**options: object) -> GraphRegressor:
    torch.manual_seed(0)
    return GraphRegressor(5, 4, **options).double().eval()


@pytest.mark.parametrize(
    "aggregations", [("mean", "sum"), ("sum", "mean"), ("mean",), ("sum",), ("sum", "sum")]
)
def test_regressor_is_its_equations(aggregations: tuple[str, ...]) -> None:
    model = regressor(num_layers=2, aggregations=aggregations)
    terms = list(dict.fromkeys(aggregations))
    x, edge_index = normal(7, 5), random_graph(7, 20)
    degree = degrees(edge_index, 7).double().unsqueeze(1)
    columns = degree.log1p()

    def layer(own: Tensor, index: int) -> Tensor:
        z, *parts = own.chunk(1 + len(terms), dim=1)
        for term, part in zip(terms, parts, strict=True):
            scale = degree.clamp(min=1).sqrt() if term == "sum" else 1.0
            z = z + aggregate(part, edge_index, term) / scale
        return torch.relu(model.norms[index](z))

    first = layer(model.features(x) + model.columns(columns), 0)
    second = first + layer(model.layers[0](first), 1)
    expected = model.head(torch.cat([first, second], dim=1)).squeeze(1)
    assert_same(model(x, edge_index), expected)
    assert_same(model(x, adjacency(edge_index, 7).double()), expected)


@pytest.mark.parametrize("jumping_knowledge", [True, False])
def test_regressor_takes_sparse_features_and_gives_the_same(jumping_knowledge: bool) -> None:
    model = regressor(num_layers=3, jumping_knowledge=jumping_knowledge, extra_features=2)
    dense = normal(7, 5) * (normal(7, 5, seed=1) > 0)
    row, column = dense.nonzero(as_tuple=True)
    sparse = sparse_csr(row, column, dense[row, column], (7, 5))
    edge_index, extra = random_graph(7, 20), normal(7, 2, seed=2)
    gradients = []
    for x in (dense, sparse):
        output = model(x, adjacency(edge_index, 7).double(), extra)
        gradients.append(torch.autograd.grad(output.sin().sum(), list(model.parameters())))
    for mine, theirs in zip(*gradients, strict=True):
        assert_same(mine, theirs)


@PROPERTY
@given(n=st.integers(2, 7), edges=st.integers(0, 25), seed=st.integers(0, 2**16))
def test_regressor_commutes_with_renumbering(n: int, edges: int, seed: int) -> None:
    model = regressor()
    edge_index, x = random_graph(n, edges, seed), normal(n, 5, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    expected = model(x, adjacency(edge_index, n).double())[order]
    renumbered = adjacency(order.argsort()[edge_index], n).double()
    assert_same(model(x[order], renumbered), expected)


def test_defaults_of_the_regressor() -> None:
    model = GraphRegressor(5)
    assert (model.hidden, len(model.norms), model.dropout.p, model.input_dropout) == (
        128,
        2,
        0.5,
        0,
    )
    assert (model.use_graph, model.jumping_knowledge, model.extra_features) == (True, True, 0)
    assert model.aggregations == ("mean", "sum")
    assert model.columns is not None
    assert model.columns.bias is None  # the features have one already
    assert GraphRegressor(5, use_graph=False).columns is None
    assert GraphRegressor(5, num_layers=1)(torch.ones(4, 5), HAND).shape == (4,)


def test_dropout_of_the_features() -> None:
    model = GraphRegressor(5, 4, dropout=0.0, input_dropout=1.0).double()
    x, edge_index = normal(7, 5), random_graph(7, 20)
    assert_same(model.train()(x, edge_index), model.eval()(torch.zeros_like(x), edge_index))
    sparse = x.to_sparse_csr()
    assert feature_dropout(sparse, 0.0, training=True) is sparse


def test_without_the_graph_nodes_do_not_meet() -> None:
    model = regressor(use_graph=False, num_layers=2)
    x = normal(6, 5)
    assert_same(model(x)[2:3], model(x[2:3]))
    assert_same(model(x, random_graph(6, 20)), model(x))


def test_regressor_fits_the_degree() -> None:
    torch.manual_seed(0)
    edge_index = random_graph(30, 90)
    target = degrees(edge_index, 30).float()
    model, x = GraphRegressor(2, 16, dropout=0.0), torch.ones(30, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        loss = (model(x, edge_index) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regressor(num_layers=0), "num_layers must be at least 1"),
        (lambda: regressor(aggregations=()), "choose from mean and sum"),
        (lambda: regressor(aggregations=("mean", "max")), "choose from mean and sum"),
        (lambda: regressor()(normal(4, 6), HAND), "x must have shape"),
        (lambda: regressor()(normal(4, 5)), "The graph is missing"),
        (lambda: regressor()(normal(4, 5), torch.eye(3)), "graph must have shape"),
        (lambda: regressor()(normal(4, 5), HAND, normal(4, 1)), "extra must have shape"),
        (lambda: regressor(extra_features=1)(normal(4, 5), HAND), "extra must be a tensor"),
    ],
)
def test_regressor_rejects_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- the product with a constant sparse matrix -----------------------------------------------


@PROPERTY
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 40), st.integers(0, 99))
def test_gradient_of_a_sparse_product_is_that_of_the_dense_one(
    n: int, m: int, entries: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(n, (entries,), generator=generator)
    column = torch.randint(m, (entries,), generator=generator)
    a = sparse_csr(row, column, normal(entries, seed=seed), (n, m))
    b, weight = normal(m, 3, seed=1).requires_grad_(), normal(n, 3, seed=2)
    for _ in range(2):  # the second time from what the first one kept
        (sparse,) = torch.autograd.grad((multiply(a, b) * weight).sum(), b)
        (dense,) = torch.autograd.grad(((a.to_dense() @ b) * weight).sum(), b)
        assert_same(sparse, dense)


def test_dropped_features_keep_their_own_values_in_the_backward_pass() -> None:
    edges = random_graph(30, 200)
    x = sparse_csr(edges[0], edges[1], normal(edges.shape[1]), (30, 30))
    b = normal(30, 4).requires_grad_()
    torch.manual_seed(0)
    first, second = (feature_dropout(x, 0.5, True) for _ in range(2))
    assert not torch.equal(first.to_dense(), second.to_dense())
    for dropped in (first, second):
        (sparse,) = torch.autograd.grad(multiply(dropped, b).square().sum(), b)
        (dense,) = torch.autograd.grad((dropped.to_dense() @ b).square().sum(), b)
        assert_same(sparse, dense)


def test_the_transposition_has_the_form_of_a_matrix() -> None:
    a = sparse_csr(torch.tensor([0, 0, 2]), torch.tensor([1, 3, 1]), normal(3), (3, 5))
    crow, column, order = sparse_module._transposition(a)
    transposed = torch.sparse_csr_tensor(
        crow, column, a.values()[order], (5, 3), check_invariants=True
    )
    assert torch.equal(transposed.to_dense(), a.to_dense().t())


def test_only_sparse_features_meet_the_sparse_product(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Tensor] = []
    real = sparse_module.multiply
    monkeypatch.setattr(sparse_module, "multiply", lambda a, b: (met.append(a), real(a, b))[1])
    dense, linear = normal(6, 5), FeatureLinear(5, 3).double()
    linear(dense)
    assert met == []
    sparse = dense.to_sparse_csr()
    linear(sparse)
    assert met[0] is sparse


def test_the_transposition_is_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counted proxy of the time of a backward pass: one sort for any number of steps."""
    sorts = []
    real = Tensor.argsort
    monkeypatch.setattr(
        Tensor, "argsort", lambda *given, **named: (sorts.append(1), real(*given, **named))[1]
    )
    a = adjacency(random_graph(20, 60), 20).double()
    layer = FeatureLinear(20, 4).double()
    for _ in range(5):
        multiply(a, layer(feature_dropout(a, 0.5, True))).sum().backward()
    assert len(sorts) == 1
