import copy

import pytest
import torch
from parity import (
    DTYPES,
    TOLERANCE,
    assert_parity,
    assert_same,
    double,
    gradients,
    normal,
    random_graph,
    undirected,
)
from torch import Tensor

from coursework.models.gcn import (
    GCN,
    GCNII,
    DeepGCN,
    GCNIIConvolution,
    GraphConvolution,
    SparseGraphConvolution,
    add_self_loops,
    normalise_adjacency,
    sparse_kernels,
    spread,
)
from coursework.models.grand import GRAND, consistency_loss, propagate
from properties import SEED, every, refused


def graph(n: int, edges: int = 20, seed: int = 0) -> Tensor:
    with double():
        return normalise_adjacency(undirected(n, edges, seed), n)


def words(n: int, width: int) -> Tensor:
    return normal(n, width) * (normal(n, width, seed=1) > 0)


# --- normalisation ---------------------------------------------------------------------------


@every(n=(1, 9), edges=(0, 25), seed=SEED)
def test_normalisation_matches_the_dense_formula(n: int, edges: int, seed: int) -> None:
    edge_index = random_graph(n, edges, seed)
    a = torch.zeros(n, n)
    a[edge_index[1], edge_index[0]] = 1.0  # a node counts what ends in it
    looped = a.clone().fill_diagonal_(1.0)  # loops that are there already are not doubled
    scale = looped.sum(dim=1).rsqrt()
    matrix = normalise_adjacency(edge_index, n)
    assert matrix.layout == torch.sparse_csr
    assert_same(matrix.to_dense(), scale[:, None] * looped * scale[None, :], 1e-6)


def test_self_loops_are_added_once() -> None:
    edge_index = torch.tensor([[0, 1], [0, 2]])
    assert add_self_loops(edge_index, 3).tolist() == [[1, 0, 1, 2], [2, 0, 1, 2]]


# --- the network -----------------------------------------------------------------------------


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
    with double():  # from the start, as PyG computes the weights in the type of x
        adj = normalise_adjacency(edge_index, 10)
    output = own(x, adj)
    if bias:  # PyG adds it after the propagation
        output = output - (adj.to_dense().sum(dim=1, keepdim=True) - 1.0) * own.linear.bias
    assert_parity(output, reference(x, edge_index), [x])


def test_dense_and_sparse_agree() -> None:
    model, adj, x = GCN(6, 8, 3, dropout=0.5).double().eval(), graph(10), words(10, 6)
    expected = model(x, adj.to_dense())
    fast = sparse_kernels(copy.deepcopy(model))
    assert type(model.gc1) is GraphConvolution
    assert type(fast.gc1) is SparseGraphConvolution
    slow_weights, fast_weights = [*model.parameters()], [*fast.parameters()]
    for form in (adj, adj.to_sparse_coo()):
        assert_parity(model(x, form), expected, slow_weights)
    assert_same(model(x.to_sparse_csr(), adj), expected)
    for features in (x, x.to_sparse_coo(), x.to_sparse_csr()):
        assert_parity(fast(features, adj), expected, fast_weights, slow_weights)


def test_network_is_its_equation() -> None:
    model = GCN(6, 8, 3, dropout=0.5, bias=False).double().eval()
    adj, x = graph(10).to_dense(), normal(10, 6)
    w0, w1 = model.gc1.linear.weight.T, model.gc2.linear.weight.T
    assert_same(model(x, adj), adj @ torch.relu(adj @ x @ w0) @ w1)
    model.train()
    assert not torch.equal(model(x, adj), model(x, adj))


@every(n=(2, 8), edges=(0, 15), seed=SEED)
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


# --- depth -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "initial"), [(2, 0.0), (4, 0.0), (4, 0.3)])
def test_more_layers_are_their_equation(layers: int, initial: float) -> None:
    model, adj, x = DeepGCN(5, 4, 3, layers, 0.0, initial).double(), graph(9), normal(9, 5)
    assert len(model.between) == layers - 2
    first = h = torch.relu(model.first(x, adj))
    for layer in model.between:
        h = (1 - initial) * torch.relu(layer(h, adj)) + initial * first
    assert_same(model(x, adj), model.last(h, adj))


def test_depth_makes_rows_alike_and_the_first_layer_keeps_them_apart() -> None:
    torch.manual_seed(0)
    adj, x, far = graph(60, 300), normal(60, 8), {}
    for initial in (0.0, 0.5):
        model = DeepGCN(8, 16, 3, 32, 0.0, initial).double().eval()
        for layer in model.between:
            torch.nn.init.eye_(layer.linear.weight)
            torch.nn.init.zeros_(layer.linear.bias)
        far[initial] = spread(model.hidden(x, adj)).item()
        near = spread(torch.relu(model.first(x, adj))).item()
    assert far[0.0] < 1e-3
    assert 0.2 * near < far[0.5] <= near


@every(n=(1, 12), seed=SEED)
def test_spread_is_the_mean_cosine_distance(n: int, seed: int) -> None:
    h = normal(n, 4, seed=seed)
    unit = torch.nn.functional.normalize(h, dim=1)
    assert_same(spread(h), 1 - (unit @ unit.t()).mean())


# --- GCNII -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "alpha", "strength"), [(1, 0.1, 0.5), (64, 0.3, 1.5)])
@DTYPES
def test_gcnii_convolution_matches_pyg(
    layer: int, alpha: float, strength: float, dtype: torch.dtype
) -> None:
    from torch_geometric.nn import GCN2Conv

    own = GCNIIConvolution(4, layer, alpha, strength).to(dtype)
    peer = GCN2Conv(4, alpha, strength, layer).to(dtype)
    with torch.no_grad():
        peer.weight1.copy_(own.linear.weight.t())
    h, first = (normal(10, 4, seed=i, dtype=dtype).requires_grad_() for i in (0, 1))
    output, expected = own(h, first, graph(10).to(dtype)), peer(h, first, undirected(10, 20))
    assert_parity(output, expected, [h, first], atol=TOLERANCE[dtype])
    (found,) = gradients(output, [own.linear.weight])
    assert_same((found.t(),), gradients(expected, [peer.weight1]), TOLERANCE[dtype][1])


def test_gcnii_is_its_equation() -> None:
    torch.manual_seed(0)
    model, adj, x = GCNII(5, 4, 3, 3, dropout=0.6).double().eval(), graph(10), normal(10, 5)
    first = h = torch.relu(x @ model.first.weight.t() + model.first.bias)
    for number, layer in enumerate(model.convolutions, start=1):
        beta = torch.log(torch.tensor(1 + 0.5 / number, dtype=torch.float64))
        mixed = 0.9 * (adj.to_dense() @ h) + 0.1 * first
        h = torch.relu((1 - beta) * mixed + beta * mixed @ layer.linear.weight.t())
    assert number == 3
    expected = h @ model.last.weight.t() + model.last.bias
    for features in (x, x.to_sparse_csr()):
        assert_same(model(features, adj), expected)
    model.train()
    assert not torch.equal(model(x, adj), model(x, adj))


# --- GRAND -----------------------------------------------------------------------------------


@every(n=(1, 9), order=(0, 6), seed=(0, 99))
def test_propagation_is_the_mean_of_powers(n: int, order: int, seed: int) -> None:
    adj, h = graph(n, 2 * n, seed), normal(n, 3, seed=seed)
    powers = [torch.linalg.matrix_power(adj.to_dense(), k) for k in range(order + 1)]
    assert_same(propagate(h, adj, order), torch.stack(powers).mean(dim=0) @ h)


def test_grand_is_its_equation_and_without_randomness_so_are_all_views() -> None:
    model = GRAND(7, 5, 3, 4, dropnode=0.0, input_dropout=0.0, dropout=0.0).double()
    model.bias1.data.normal_()
    adj, x = graph(6), words(6, 7)
    hidden = torch.relu(propagate(x, adj, 4) @ model.linear1.weight.t() + model.bias1)
    expected = hidden @ model.linear2.weight.t() + model.linear2.bias
    assert_same(model(x, adj, 3), expected.expand(3, 6, 3))
    random = GRAND(7, 5, 3, 4).double().eval()
    random.load_state_dict(model.state_dict())
    for features in (x, x.to_sparse_csr()):
        assert_same(random(features, adj), expected)


def test_dropping_nodes_keeps_the_mean_signal() -> None:
    torch.manual_seed(0)
    model = GRAND(4, 4, 4, order=0, dropnode=0.3, input_dropout=0.0, dropout=0.0).double()
    with torch.no_grad():
        model.linear1.weight.copy_(torch.eye(4))
        model.linear2.weight.copy_(torch.eye(4))
        model.linear2.bias.zero_()
        x = torch.rand(500, 4, dtype=torch.float64) + 0.5
        views = model(x, graph(500), 400)
    dropped = (views == 0).all(dim=2)
    assert torch.equal(dropped, (views == 0).any(dim=2))
    assert float(dropped.double().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(views.mean(dim=0), x, atol=0.25, rtol=0.15)
    assert_same(model.eval()(x, graph(500)), x)


def test_consistency_by_hand() -> None:
    p = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]], dtype=torch.float64)  # [2, 1, 2], mean .7 .3
    sharp = torch.tensor([0.49, 0.09], dtype=torch.float64) / 0.58
    assert_same(consistency_loss(p.log(), 0.5), ((p[:, 0] - sharp) ** 2).sum(dim=1).mean())
    assert float(consistency_loss(torch.zeros(2, 3, 47), 0.05)) < 1e-9  # all views agree


def test_the_target_of_the_consistency_gets_no_gradient() -> None:
    logits = normal(3, 4, 5).requires_grad_()
    p = logits.softmax(dim=2)
    target = p.detach().mean(dim=0) ** 2
    target = target / target.sum(dim=1, keepdim=True)
    assert_parity(consistency_loss(logits, 0.5), (p - target).square().sum(dim=2).mean(), [logits])


ADJ = normalise_adjacency(undirected(4, 5), 4)

test_wrong_arguments = refused(
    (lambda: GraphConvolution(3, 2)(torch.zeros(4, 2), ADJ), "input must have shape"),
    (lambda: GraphConvolution(3, 2)(torch.zeros(5, 3), ADJ), "N = 5"),
    (lambda: normalise_adjacency(torch.eye(4), 5), "edge_index must"),
)  # fmt: skip
