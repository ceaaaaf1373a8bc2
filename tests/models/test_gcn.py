"""The graph convolutional network: normalisation, parity with PyG, dense and sparse."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import PROPERTY, assert_same, normal, undirected

from coursework.models.gcn import (
    GCN,
    DeepGCN,
    GraphConvolution,
    SparseGraphConvolution,
    add_self_loops,
    normalise_adjacency,
    sparse_kernels,
    spread,
)


def test_normalisation_by_hand() -> None:
    # A path 0 - 1 - 2: degrees with loops 2, 3, 2.
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    third, mixed = 1 / 3, 6**-0.5
    expected = torch.tensor([[0.5, mixed, 0.0], [mixed, third, mixed], [0.0, mixed, 0.5]])
    matrix = normalise_adjacency(edge_index, 3)
    assert matrix.layout == torch.sparse_csr
    assert_same(matrix.to_dense(), expected, 1e-6)


@PROPERTY
@given(n=st.integers(1, 9), edges=st.integers(0, 25), seed=st.integers(0, 2**16))
def test_normalisation_matches_the_dense_formula(n: int, edges: int, seed: int) -> None:
    edge_index = undirected(n, edges, seed)
    a = torch.zeros(n, n)
    a[edge_index[1], edge_index[0]] = 1.0
    a.fill_diagonal_(1.0)  # loops that are there already are not doubled
    scale = a.sum(dim=1).rsqrt()
    matrix = normalise_adjacency(edge_index, n).to_dense()
    assert_same(matrix, scale[:, None] * a * scale[None, :], 1e-6)
    assert_same(matrix, matrix.T, 1e-7)
    assert torch.linalg.eigvalsh(matrix.double()).abs().max().item() <= 1 + 1e-6


@PROPERTY
@given(n=st.integers(1, 9), edges=st.integers(0, 25), seed=st.integers(0, 2**16))
def test_normalisation_takes_every_form_of_the_graph(n: int, edges: int, seed: int) -> None:
    edge_index = undirected(n, edges, seed)
    a = torch.zeros(n, n)
    a[edge_index[1], edge_index[0]] = 1.0
    expected = normalise_adjacency(edge_index, n).to_dense()
    for form in (a, a.to_sparse_coo(), a.to_sparse_csr()):
        assert torch.equal(normalise_adjacency(form, n).to_dense(), expected)


def test_weights_of_edges_enter_sums_and_degrees() -> None:
    weights = torch.tensor([[5.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # Loops weigh one: the degrees are 4, 4 and 1, and node 2, without neighbours, keeps its loop.
    expected = torch.tensor([[0.25, 0.75, 0.0], [0.75, 0.25, 0.0], [0.0, 0.0, 1.0]])
    assert_same(normalise_adjacency(weights, 3).to_dense(), expected, 1e-6)
    light = torch.tensor([[0.0, 0.25], [0.25, 0.0]])
    expected = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    assert_same(normalise_adjacency(light, 2).to_dense(), expected, 1e-6)


def test_a_stored_zero_is_no_edge() -> None:
    places, values = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0.0, 0.0])
    adj = torch.sparse_coo_tensor(places, values, (2, 2), check_invariants=True)
    assert_same(normalise_adjacency(adj, 2).to_dense(), torch.eye(2), 1e-6)
    assert_same(normalise_adjacency(adj.to_sparse_csr(), 2).to_dense(), torch.eye(2), 1e-6)


@pytest.mark.parametrize("entry", [-1.0, float("nan"), float("inf")])
def test_entries_without_a_root_are_refused(entry: float) -> None:
    adj = torch.eye(3)
    adj[0, 1] = entry
    for form in (adj, adj.to_sparse_csr()):
        with pytest.raises(ValueError, match="negative, infinite or NaN"):
            normalise_adjacency(form, 3)


def test_an_asymmetric_graph_counts_what_ends_in_a_node() -> None:
    # 0 -> 1 only: degrees with loops 1 and 2, and nothing flows from 1 to 0.
    adj = normalise_adjacency(torch.tensor([[0], [1]]), 2).to_dense()
    assert_same(adj, torch.tensor([[1.0, 0.0], [0.5**0.5, 0.5]]), 1e-6)


def test_self_loops_are_added_once() -> None:
    edge_index = torch.tensor([[0, 1], [0, 2]])
    assert add_self_loops(edge_index, 3).tolist() == [[1, 0, 1, 2], [2, 0, 1, 2]]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directed", [True, False])
def test_convolution_matches_pyg(bias: bool, directed: bool) -> None:
    from torch_geometric.nn import GCNConv

    edge_index = undirected(10, 20)
    edge_index = edge_index[:, ::3] if directed else edge_index
    reference = GCNConv(5, 4, bias=bias).double()
    own = GraphConvolution(5, 4, bias=bias).double()
    with torch.no_grad():
        own.linear.weight.copy_(reference.lin.weight)
        if bias:
            torch.nn.init.normal_(reference.bias)
            own.linear.bias.copy_(reference.bias)
    x = normal(10, 5).requires_grad_()
    # In double precision from the start, as PyG computes the weights in the type of x.
    torch.set_default_dtype(torch.float64)
    try:
        adj = normalise_adjacency(edge_index, 10)
    finally:
        torch.set_default_dtype(torch.float32)
    output, expected = own(x, adj), reference(x, edge_index)
    if bias:  # PyG adds it after the propagation
        output = output - (adj.to_dense().sum(dim=1, keepdim=True) - 1.0) * own.linear.bias
    assert_same(output, expected)
    (found,) = torch.autograd.grad(output.sin().sum(), x)
    assert_same(found, torch.autograd.grad(expected.sin().sum(), x)[0])


def test_dense_and_sparse_agree() -> None:
    model = GCN(6, 8, 3, dropout=0.5).double().eval()
    adj = normalise_adjacency(undirected(10, 20), 10).double()
    x = normal(10, 6) * (normal(10, 6, seed=1) > 0)
    expected = model(x, adj.to_dense())
    assert_same(model(x, adj), expected)
    assert_same(model(x, adj.to_sparse_coo()), expected)
    assert_same(model(x.to_sparse_csr(), adj), expected)
    fast = sparse_kernels(copy.deepcopy(model))
    assert type(model.gc1) is GraphConvolution
    assert type(fast.gc1) is SparseGraphConvolution
    for features in (x, x.to_sparse_coo(), x.to_sparse_csr()):
        assert_same(fast(features, adj), expected)
    gradients = [
        torch.autograd.grad(network(features, graph).sin().sum(), list(network.parameters()))
        for network, features, graph in ((model, x, adj.to_dense()), (fast, x.to_sparse_coo(), adj))
    ]
    for mine, theirs in zip(*gradients, strict=True):
        assert_same(mine, theirs)


def test_network_is_its_equation() -> None:
    model = GCN(6, 8, 3, dropout=0.5, bias=False).double().eval()
    adj, x = normalise_adjacency(undirected(10, 20), 10).double().to_dense(), normal(10, 6)
    w0, w1 = model.gc1.linear.weight.T, model.gc2.linear.weight.T
    assert_same(model(x, adj), adj @ torch.relu(adj @ x @ w0) @ w1)
    model.train()
    assert not torch.equal(model(x, adj), model(x, adj))


@PROPERTY
@given(n=st.integers(2, 8), edges=st.integers(0, 15), seed=st.integers(0, 2**16))
def test_network_commutes_with_renumbering(n: int, edges: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = GCN(3, 4, 2, dropout=0.5).double().eval()
    edge_index, x, order = undirected(n, edges, seed), normal(n, 3, seed=seed), torch.randperm(n)
    expected = model(x, normalise_adjacency(edge_index, n).double())[order]
    renumbered = normalise_adjacency(order.argsort()[edge_index], n).double()
    assert_same(model(x[order], renumbered), expected, 1e-7)


def test_only_the_neighbourhood_counts() -> None:
    # 0 - 1 - 2 - 3: two layers reach distance two, so node 3 has no influence on node 0.
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    model, x = GCN(3, 8, 2, dropout=0.0), torch.randn(4, 3, requires_grad=True)
    model(x, normalise_adjacency(edge_index, 4))[0].sum().backward()
    assert x.grad[3].abs().sum() == 0
    assert x.grad[2].abs().sum() > 0


def test_wrong_arguments() -> None:
    adj = normalise_adjacency(undirected(4, 5), 4)
    with pytest.raises(ValueError, match="input must have shape"):
        GraphConvolution(3, 2)(torch.zeros(4, 2), adj)
    with pytest.raises(ValueError, match="N = 5"):
        GraphConvolution(3, 2)(torch.zeros(5, 3), adj)
    with pytest.raises(ValueError, match="adj must be a matrix"):
        normalise_adjacency(torch.eye(4), 5)


# --- depth -----------------------------------------------------------------------------------


def test_two_layers_are_the_gcn() -> None:
    torch.manual_seed(0)
    deep, plain = DeepGCN(5, 4, 3, 2, 0.0).double(), GCN(5, 4, 3, 0.0).double()
    plain.gc1.load_state_dict(deep.first.state_dict())
    plain.gc2.load_state_dict(deep.last.state_dict())
    x, adj = normal(9, 5), normalise_adjacency(undirected(9, 12), 9).double()
    assert_same(deep(x, adj), plain(x, adj))


@pytest.mark.parametrize("initial", [0.0, 0.3])
def test_more_layers_are_their_equation(initial: float) -> None:
    torch.manual_seed(0)
    model = DeepGCN(5, 4, 3, 4, 0.0, initial).double()
    assert len(model.between) == 2
    x, adj = normal(9, 5), normalise_adjacency(undirected(9, 12), 9).double()
    first = h = torch.relu(model.first(x, adj))
    for layer in model.between:
        h = (1 - initial) * torch.relu(layer(h, adj)) + initial * first
    assert_same(model(x, adj), model.last(h, adj))


def test_depth_makes_rows_alike_and_the_first_layer_keeps_them_apart() -> None:
    torch.manual_seed(0)
    n = 60
    adj = normalise_adjacency(undirected(n, 300), n).double()
    x = normal(n, 8)
    far: dict[float, float] = {}
    for initial in (0.0, 0.5):
        model = DeepGCN(8, 16, 3, 32, 0.0, initial).double().eval()
        for layer in model.between:
            torch.nn.init.eye_(layer.linear.weight)
            torch.nn.init.zeros_(layer.linear.bias)
        with torch.no_grad():
            far[initial] = float(spread(model.hidden(x, adj)))
            near = float(spread(torch.relu(model.first(x, adj))))
    assert far[0.0] < 1e-3
    assert 0.2 * near < far[0.5] <= near


@PROPERTY
@given(n=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_spread_is_the_mean_cosine_distance(n: int, seed: int) -> None:
    h = normal(n, 4, seed=seed)
    unit = torch.nn.functional.normalize(h, dim=1)
    assert_same(spread(h), 1 - (unit @ unit.t()).mean())


@pytest.mark.parametrize(
    ("layers", "initial", "message"), [(1, 0.0, "layers"), (3, 1.0, "initial")]
)
def test_deep_options(layers: int, initial: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepGCN(3, 2, 2, layers, 0.0, initial)
