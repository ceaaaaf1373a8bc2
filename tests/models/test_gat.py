"""The graph attention network: against PyG, against the dense formulation, and properties."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import PROPERTY, assert_same, normal, random_graph, refused
from torch import Tensor, nn

from coursework.models.gat import (
    GAT,
    DenseGraphAttentionLayer,
    GraphAttentionLayer,
    edge_softmax,
    edges_of,
)
from coursework.models.gcn import add_self_loops
from coursework.models.sparse import sparse_csr


def dense(edge_index: Tensor, n: int) -> Tensor:
    """The matrix of the assignment: (i, j) not zero where i attends to j."""
    adj = torch.zeros(n, n, dtype=torch.float64)
    adj[edge_index[1], edge_index[0]] = 0.5
    return adj


def layer(*args: object, **options: object) -> GraphAttentionLayer:
    torch.manual_seed(0)
    return GraphAttentionLayer(*args, **options).double().eval()


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("is_concat", [True, False])
@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_matches_pyg(is_concat: bool, loops: bool, bias: bool) -> None:
    from torch_geometric.nn import GATConv

    edge_index = random_graph(9, 30)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    own = layer(5, 6, 3, is_concat=is_concat, bias=bias)
    reference = GATConv(
        5, own.n_hidden, 3, concat=is_concat, bias=bias, add_self_loops=loops
    ).double()
    with torch.no_grad():
        if own.bias is not None:
            reference.bias.copy_(nn.init.normal_(own.bias))
        reference.lin.weight.copy_(own.W.weight)
        reference.att_dst.copy_(own.a_l.unsqueeze(0))
        reference.att_src.copy_(own.a_r.unsqueeze(0))
    h = normal(9, 5).requires_grad_()
    output = own(h, add_self_loops(edge_index, 9) if loops else edge_index)
    expected = reference(h, edge_index)
    # PyG adds 1e-16 to the denominator.
    assert_same(output, expected)
    mine_all = [h, own.W.weight, own.a_l, own.a_r]
    theirs_all = [h, reference.lin.weight, reference.att_dst, reference.att_src]
    if bias:
        mine_all, theirs_all = [*mine_all, own.bias], [*theirs_all, reference.bias]
    found = torch.autograd.grad(output.sin().sum(), mine_all)
    gradients = torch.autograd.grad(expected.sin().sum(), theirs_all)
    for mine, theirs in zip(found, gradients, strict=True):
        assert_same(mine, theirs.view_as(mine))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("is_concat", [True, False])
def test_every_form_of_the_graph_gives_the_dense_formulation(
    is_concat: bool, dtype: torch.dtype, atol: float
) -> None:
    own = layer(5, 6, 3, is_concat=is_concat, share_attention=True).to(dtype)
    dense_layer = DenseGraphAttentionLayer(5, 6, 3, is_concat).to(dtype).eval()
    with torch.no_grad():
        dense_layer.W.weight.copy_(own.W.weight)
        dense_layer.attention.weight.copy_(torch.cat([own.a_l, own.a_r], dim=1))
    edge_index = add_self_loops(random_graph(9, 30), 9)
    adj, h = dense(edge_index, 9).to(dtype), normal(9, 5).to(dtype).requires_grad_()
    expected = dense_layer(h, adj)
    wanted = torch.autograd.grad(expected.sin().sum(), [h, *dense_layer.parameters()])
    i, j = adj.nonzero(as_tuple=True)
    csr = sparse_csr(i, j, adj[i, j], (9, 9))
    for graph in (edge_index, adj, adj != 0, adj.to_sparse_coo(), csr):
        output = own(h, graph)
        assert output.shape == (9, 6)
        assert_same(output, expected, atol)
        found = torch.autograd.grad(output.sin().sum(), [h, own.W.weight, own.a_l, own.a_r])
        for mine, theirs in zip((*found[:2], torch.cat(found[2:], dim=1)), wanted, strict=True):
            assert_same(mine, theirs, atol)


def test_dense_layer_drops_weights_and_attends_to_neighbours_only() -> None:
    own = DenseGraphAttentionLayer(3, 4, 2, dropout=1.0).double().eval()
    adj, h = torch.eye(5, dtype=torch.float64), normal(5, 3)
    assert_same(own(h, adj), own.W(h))  # each node sees itself alone
    assert own.train()(h, adj).abs().sum() == 0


def test_dropped_messages_leave_the_weights_alone() -> None:
    own = layer(5, 6, 3, dropout=0.0, bias=True, message_dropout=1.0).train()
    edge_index = add_self_loops(random_graph(9, 30), 9)
    h = normal(9, 5)
    assert_same(own(h, edge_index), own.bias.expand(9, 6))  # nothing is left to be summed
    own.message_dropout = 0.5
    torch.manual_seed(0)
    with torch.no_grad():
        mean = torch.stack([own(h, edge_index) for _ in range(4000)]).mean(dim=0)
    whole = own.eval()(h, edge_index).detach()
    assert_same(whole, own.eval()(h, edge_index).detach())
    # Dropping is unbiased as long as the weights are those of all s_j: far off if they were dropped too.
    assert float((mean - whole).abs().max()) < 0.1 * float(whole.abs().max())


def test_network_hands_its_options_on() -> None:
    network = GAT(5, 6, 2, 0.4, 0.1, 3, bias=True, drop_messages=True)
    for part in (network.layer1, network.layer2):
        assert (part.dropout, part.message_dropout, part.alpha) == (0.4, 0.4, 0.1)
        assert part.bias is not None
        assert not part.bias.any()


def test_what_the_paper_does_not_have_is_off_unless_asked_for() -> None:
    network = GAT(5, 6, 2, 0.4, 0.1, 3)
    for part in (GraphAttentionLayer(5, 6, 3), network.layer1, network.layer2):
        assert part.bias is None
        assert part.message_dropout == 0.0
        assert len(part.a_l) == part.n_heads


def test_a_shared_vector_is_the_linear_layer_of_the_assignment() -> None:
    own = layer(5, 6, 3, share_attention=True)
    assert own.a_l.numel() + own.a_r.numel() == 2 * own.n_hidden
    full = layer(5, 6, 3)
    full.W.load_state_dict(own.W.state_dict())
    with torch.no_grad():
        full.a_l.copy_(own.a_l.expand(3, -1))
        full.a_r.copy_(own.a_r.expand(3, -1))
    edge_index = random_graph(9, 30)
    assert_same(full(normal(9, 5), edge_index), own(normal(9, 5), edge_index))


def test_edges_of_drops_stored_zeros() -> None:
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 0.0]), (3, 3), check_invariants=True
    )
    assert edges_of(sparse, 3).tolist() == [[1], [0]]


@PROPERTY
@given(n=st.integers(1, 8), edges=st.integers(0, 30), seed=st.integers(0, 2**16))
def test_weights_sum_to_one_at_every_target(n: int, edges: int, seed: int) -> None:
    edge_index = random_graph(n, edges, seed)
    weights = edge_softmax(100 * normal(edge_index.shape[1], 2, seed=seed), edge_index[1], n)
    assert (weights >= 0).all()
    sums = torch.zeros(n, 2, dtype=torch.float64).index_add(0, edge_index[1], weights)
    expected = (torch.bincount(edge_index[1], minlength=n) > 0).double()
    assert_same(sums, expected.unsqueeze(1).expand(-1, 2))


@PROPERTY
@given(n=st.integers(2, 8), edges=st.integers(0, 25), seed=st.integers(0, 2**16))
def test_layer_commutes_with_renumbering(n: int, edges: int, seed: int) -> None:
    own, edge_index, h = layer(3, 4, 2), random_graph(n, edges, seed), normal(n, 3, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert_same(own(h[order], order.argsort()[edge_index]), own(h, edge_index)[order])


@PROPERTY
@given(n=st.integers(2, 7), edges=st.integers(0, 20), seed=st.integers(0, 2**16))
def test_no_edge_no_influence(n: int, edges: int, seed: int) -> None:
    own, edge_index = layer(3, 4, 2), random_graph(n, edges, seed)
    h = normal(n, 3, seed=seed).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: own(x, edge_index), h)
    influence = jacobian.abs().sum(dim=(1, 3))  # [N, N], row: output, column: input
    allowed = dense(edge_index, n) != 0
    # A node with edges also depends on itself, through the scores.
    allowed |= torch.diag(allowed.any(dim=1))
    assert (influence[~allowed] == 0).all()


def test_a_node_without_edges_gets_zeros() -> None:
    edge_index = torch.tensor([[0, 1], [1, 0]])
    output = layer(3, 4, 2)(normal(3, 3), edge_index)
    assert output[2].abs().sum() == 0
    assert layer(3, 4, 2)(normal(3, 3), edge_index[:, :0]).abs().sum() == 0


def test_huge_scores_do_not_overflow() -> None:
    own = layer(3, 4, 2)
    h = (1e6 * normal(5, 3)).requires_grad_()
    output = own(h, random_graph(5, 12))
    output.sum().backward()
    assert output.isfinite().all()
    assert h.grad is not None
    assert h.grad.isfinite().all()


def test_attention_dropout_acts_while_training() -> None:
    own, edge_index, h = layer(3, 4, 2, dropout=1.0), random_graph(5, 12), normal(5, 3)
    assert own(h, edge_index).abs().sum() > 0
    own.train()
    assert own(h, edge_index).abs().sum() == 0


@pytest.mark.usefixtures("deterministic")
def test_network_trains_deterministically_with_sparse_features() -> None:
    edge_index = add_self_loops(random_graph(20, 60), 20)
    x = normal(20, 6).float() * (normal(20, 6, seed=1) > 0)
    labels = torch.arange(20) % 3

    def losses(features: Tensor) -> list[float]:
        torch.manual_seed(0)
        model = GAT(6, 8, 3, dropout=0.3, alpha=0.2, n_heads=4)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        history = []
        for _ in range(5):
            loss = torch.nn.functional.cross_entropy(model(features, edge_index), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history.append(loss.item())
        return history

    assert losses(x) == losses(x)
    assert losses(x.to_sparse_coo()) == losses(x.to_sparse_coo())


def test_network_shapes_and_forms_of_input() -> None:
    torch.manual_seed(0)
    model = GAT(6, 8, 3, dropout=0.6, alpha=0.2, n_heads=4).double().eval()
    assert model.layer1.n_hidden == 2  # 8 is the concatenated width
    assert model.layer2.n_heads == 1
    edge_index = add_self_loops(random_graph(9, 30), 9)
    x = normal(9, 6) * (normal(9, 6, seed=1) > 0)
    logits = model(x, edge_index)
    assert logits.shape == (9, 3)
    assert_same(model(x, dense(edge_index, 9)), logits)
    assert_same(model(x.to_sparse_coo(), edge_index), logits)


test_wrong_arguments = refused(
    (lambda: layer(3, 5, 2), "multiple of n_heads"),
    (lambda: layer(3, 4, 2)(normal(5, 2), random_graph(5, 9)), "h must have shape"),
    (lambda: layer(3, 4, 2)(normal(5, 3), torch.eye(4)), "adj must be a matrix \\[5, 5\\]"),
    (lambda: layer(3, 4, 2)(normal(5, 3), random_graph(5, 9) + 5), "edge_index names nodes"),
    (lambda: layer(3, 4, 2)(normal(5, 3), torch.full((5, 5), torch.nan)), "NaN entries"),
)
