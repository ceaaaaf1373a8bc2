"""GRAND: the propagation and the loss by hand, the equations, and what its randomness must keep."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import PROPERTY, assert_same, refused, undirected
from torch import Tensor

from coursework.models.gcn import normalise_adjacency
from coursework.models.grand import GRAND, consistency_loss, propagate


def graph(n: int, seed: int = 0) -> Tensor:
    return normalise_adjacency(undirected(n, 2 * n, seed), n).double()


@PROPERTY
@given(st.integers(1, 9), st.integers(0, 6), st.integers(0, 99))
def test_propagation_is_the_mean_of_powers(n: int, order: int, seed: int) -> None:
    adj = graph(n, seed)
    h = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    dense = adj.to_dense()
    powers = [torch.linalg.matrix_power(dense, k) for k in range(order + 1)]
    expected = torch.stack(powers).mean(dim=0) @ h
    assert_same(propagate(h, adj, order), expected)


def test_network_is_its_equation() -> None:
    torch.manual_seed(0)
    model = GRAND(7, 5, 3, order=4).double().eval()
    model.bias1.data.normal_()
    adj, x = graph(6), torch.rand(6, 7, dtype=torch.float64)
    mean = torch.stack([torch.linalg.matrix_power(adj.to_dense(), k) for k in range(5)]).mean(0)
    hidden = torch.relu(mean @ x @ model.linear1.weight.t() + model.bias1)
    expected = hidden @ model.linear2.weight.t() + model.linear2.bias
    assert_same(model(x, adj), expected)
    sparse = model(x.to_sparse_csr(), adj)
    assert_same(sparse, expected)


def test_defaults_are_the_settings_of_the_paper_for_cora() -> None:
    model = GRAND(6, 8, 3)
    assert (model.order, model.dropnode, model.input_dropout) == (8, 0.5, 0.5)
    assert model.dropout.p == 0.5


def test_without_randomness_all_views_are_the_network() -> None:
    torch.manual_seed(0)
    model = GRAND(7, 5, 3, dropnode=0.0, input_dropout=0.0, dropout=0.0).double()
    adj, x = graph(6), torch.rand(6, 7, dtype=torch.float64)
    views = model(x, adj, 3)
    assert views.shape == (3, 6, 3)
    for view in views:
        torch.testing.assert_close(view, model.eval()(x, adj))


def test_dropping_nodes_keeps_the_mean_signal() -> None:
    """Whole rows go, and the rest is scaled so that the expectation is the undropped network's."""
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
    torch.testing.assert_close(model.eval()(x, graph(500)), x)


def test_consistency_by_hand() -> None:
    p = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]], dtype=torch.float64)  # [2, 1, 2], mean .7 .3
    sharp = torch.tensor([0.49, 0.09]) / 0.58
    expected = ((p[:, 0] - sharp) ** 2).sum(dim=1).mean()
    torch.testing.assert_close(consistency_loss(p.log(), 0.5), expected)
    assert float(consistency_loss(p[:1].repeat(3, 1, 1).log(), 1.0)) == pytest.approx(0, abs=1e-12)


def test_the_target_of_the_consistency_gets_no_gradient() -> None:
    logits = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(consistency_loss(logits, 0.5), logits)
    p = logits.softmax(dim=2)
    target = p.detach().mean(dim=0) ** 2
    target = target / target.sum(dim=1, keepdim=True)
    (expected,) = torch.autograd.grad((p - target).square().sum(dim=2).mean(), logits)
    torch.testing.assert_close(found, expected)


test_wrong_arguments = refused(
    (lambda: GRAND(3, 2, 2, order=-1), "order"),
    (lambda: GRAND(3, 2, 2, dropnode=1.0), "dropnode"),
    (lambda: GRAND(3, 2, 2, input_dropout=-0.1), "input"),
    (lambda: consistency_loss(torch.zeros(1, 1, 2), 0.0), "temperature"),
)
