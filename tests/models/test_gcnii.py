"""GCNII: the layer against PyG, and the network against its equation."""

import pytest
import torch
from parity import normal, undirected
from torch import Tensor

from coursework.models.gcn import normalise_adjacency
from coursework.models.gcnii import GCNII, GCNIIConvolution


@pytest.fixture
def graph() -> tuple[Tensor, Tensor]:
    """Edges of ten nodes in both directions, and their propagation matrix in float64."""
    edges = undirected(10, 20)
    torch.set_default_dtype(torch.float64)
    try:
        return edges, normalise_adjacency(edges, 10)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("layer", "alpha", "strength"), [(1, 0.1, 0.5), (64, 0.3, 1.5)])
def test_convolution_matches_pyg(
    graph: tuple[Tensor, Tensor], layer: int, alpha: float, strength: float
) -> None:
    from torch_geometric.nn import GCN2Conv

    edges, adj = graph
    own = GCNIIConvolution(4, layer, alpha, strength).double()
    peer = GCN2Conv(4, alpha, strength, layer).double()
    with torch.no_grad():
        peer.weight1.copy_(own.linear.weight.t())
    h, first = normal(10, 4).requires_grad_(), normal(10, 4, seed=1).requires_grad_()
    output, expected = own(h, first, adj), peer(h, first, edges)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    found = torch.autograd.grad(output.sin().sum(), [h, first, own.linear.weight])
    wanted = torch.autograd.grad(expected.sin().sum(), [h, first, peer.weight1])
    for mine, theirs in zip(found, (*wanted[:2], wanted[2].t()), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


def test_network_is_its_equation(graph: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model, (_, adj), x = GCNII(5, 4, 3, 3, dropout=0.6).double().eval(), graph, normal(10, 5)
    first = h = torch.relu(x @ model.first.weight.t() + model.first.bias)
    for number, layer in enumerate(model.convolutions, start=1):
        beta = torch.log(torch.tensor(1 + 0.5 / number, dtype=torch.float64))
        mixed = 0.9 * (adj.to_dense() @ h) + 0.1 * first
        h = torch.relu((1 - beta) * mixed + beta * mixed @ layer.linear.weight.t())
    expected = h @ model.last.weight.t() + model.last.bias
    for features in (x, x.to_sparse_csr()):
        torch.testing.assert_close(model(features, adj), expected, atol=1e-12, rtol=1e-12)
    model.train()
    assert not torch.equal(model(x, adj), model(x, adj))


@pytest.mark.parametrize(
    ("options", "message"),
    [((0, 0.0), "layers"), ((2, 0.0, 1.5), "alpha"), ((2, 0.0, 0.1, 0.0), "lambda")],
)
def test_options(options: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GCNII(3, 2, 2, *options)  # type: ignore[arg-type]
