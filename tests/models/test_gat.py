import pytest
import torch
from parity import assert_same, gradients, normal, random_graph
from torch import Tensor, nn

from coursework.models.gat import GAT, DenseGraphAttentionLayer, GraphAttentionLayer, edge_softmax
from coursework.models.gcn import add_self_loops
from properties import SEED, every, refused


def dense(edge_index: Tensor, n: int) -> Tensor:
    adj = torch.zeros(n, n, dtype=torch.float64)
    adj[edge_index[1], edge_index[0]] = 0.5
    return adj


def layer(*args: object, **options: object) -> GraphAttentionLayer:
    torch.manual_seed(0)
    return GraphAttentionLayer(*args, **options).double().eval()


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
    mine = [own.W.weight, own.a_l, own.a_r]
    theirs = [reference.lin.weight, reference.att_dst, reference.att_src]
    if bias:
        mine, theirs = [*mine, nn.init.normal_(own.bias)], [*theirs, reference.bias]
    with torch.no_grad():
        for weight, peer in zip(mine, theirs, strict=True):
            peer.copy_(weight.view_as(peer))
    h = normal(9, 5).requires_grad_()
    output = own(h, add_self_loops(edge_index, 9) if loops else edge_index)
    expected = reference(h, edge_index)
    # PyG adds 1e-16 to the denominator.
    assert_same(output, expected)
    found, wanted = gradients(output, [h, *mine]), gradients(expected, [h, *theirs])
    assert_same(found, [peer.view_as(own) for own, peer in zip(found, wanted, strict=True)])


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("is_concat", [True, False])
def test_edges_even_if_repeated_give_the_dense_formulation(
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
    wanted = gradients(expected, [h, *dense_layer.parameters()])
    for graph in (edge_index, torch.cat([edge_index, edge_index[:, :3]], dim=1)):
        output = own(h, graph)
        assert output.shape == (9, 6)
        assert_same(output, expected, atol)
        *found, left, right = gradients(output, [h, own.W.weight, own.a_l, own.a_r])
        assert_same([*found, torch.cat([left, right], dim=1)], list(wanted), atol)


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
    plain = GAT(5, 6, 2, 0.4, 0.1, 3)
    for part in (network.layer1, network.layer2):
        assert (part.dropout, part.message_dropout, part.alpha) == (0.4, 0.4, 0.1)
        assert not part.bias.any()
    for part in (plain.layer1, plain.layer2):
        assert (part.bias, part.message_dropout, len(part.a_l)) == (None, 0.0, part.n_heads)


@every(n=(1, 8), edges=(0, 30), seed=SEED)
def test_weights_sum_to_one_at_every_target(n: int, edges: int, seed: int) -> None:
    edge_index = random_graph(n, edges, seed)
    huge = 1e6 * normal(edge_index.shape[1], 2, seed=seed)  # overflows where it is not shifted
    weights = edge_softmax(huge, edge_index[1], n)
    assert (weights >= 0).all()
    sums = torch.zeros(n, 2, dtype=torch.float64).index_add(0, edge_index[1], weights)
    expected = (torch.bincount(edge_index[1], minlength=n) > 0).double()
    assert_same(sums, expected.unsqueeze(1).expand(-1, 2))


@every(n=(2, 8), edges=(0, 25), seed=SEED)
def test_layer_commutes_with_renumbering(n: int, edges: int, seed: int) -> None:
    own, edge_index, h = layer(3, 4, 2), random_graph(n, edges, seed), normal(n, 3, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert_same(own(h[order], order.argsort()[edge_index]), own(h, edge_index)[order])


@every(n=(2, 7), edges=(0, 20), seed=SEED)
def test_no_edge_no_influence(n: int, edges: int, seed: int) -> None:
    own, edge_index = layer(3, 4, 2), random_graph(n, edges, seed)
    h = normal(n, 3, seed=seed).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: own(x, edge_index), h)
    influence = jacobian.abs().sum(dim=(1, 3))  # [N, N], row: output, column: input
    allowed = dense(edge_index, n) != 0
    # A node with edges also depends on itself, through the scores.
    allowed |= torch.diag(allowed.any(dim=1))
    assert (influence[~allowed] == 0).all()


def test_attention_dropout_acts_while_training() -> None:
    own, edge_index, h = layer(3, 4, 2, dropout=1.0), random_graph(5, 12), normal(5, 3)
    assert own(h, edge_index).abs().sum() > 0
    own.train()
    assert own(h, edge_index).abs().sum() == 0


def test_network_shapes_and_forms_of_input() -> None:
    torch.manual_seed(0)
    model = GAT(6, 8, 3, dropout=0.6, alpha=0.2, n_heads=4).double().eval()
    assert model.layer1.n_hidden == 2  # 8 is the concatenated width
    assert model.layer2.n_heads == 1
    edge_index = add_self_loops(random_graph(9, 30), 9)
    x = normal(9, 6) * (normal(9, 6, seed=1) > 0)
    logits = model(x, edge_index)
    assert logits.shape == (9, 3)
    assert_same(model(x.to_sparse_coo(), edge_index), logits)


test_wrong_arguments = refused(
    (lambda: layer(3, 5, 2), "multiple of n_heads"),
    (lambda: DenseGraphAttentionLayer(3, 4, 2)(normal(5, 3), torch.zeros(5, 5)), "row of zeros"),
    (lambda: layer(3, 4, 2)(normal(5, 2), random_graph(5, 9)), "h must have shape"),
    (lambda: layer(3, 4, 2)(normal(5, 3), torch.eye(4)), "edge_index must"),
    (lambda: layer(3, 4, 2)(normal(5, 3), random_graph(5, 9) + 5), "edge_index names nodes"),
)
