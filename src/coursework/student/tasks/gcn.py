"""Problem 4: the graph convolutional network, beside its formula in dense matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coursework.models import gcn as solution
from coursework.student import remarks as r
from coursework.student.checks import (
    Known,
    Task,
    parameter_gradients,
    quiet_in_eval,
    same,
    scatter,
    take_weights,
)

ADJACENCY = Task(
    "normalise_adjacency", 4, "3.1", "models.gcn", ("add_self_loops", "normalise_adjacency")
)
CONVOLUTION = Task("GraphConvolution", 4, "3.1", "models.gcn", ("GraphConvolution",))
GCN = Task("GCN", 4, "3.2", "models.gcn", ("GCN",))

# 0 - 1 - 2 - 3 and 1 - 3, undirected; in ARROWS only some of the directions
LINKS = torch.tensor([[0, 1, 1, 2, 2, 3, 1, 3], [1, 0, 2, 1, 3, 2, 3, 1]])
ARROWS = torch.tensor([[0, 1, 3, 3, 2], [1, 2, 1, 0, 3]])


def _dense(edges: Tensor, n: int) -> Tensor:
    a = torch.zeros(n, n)
    a[edges[1], edges[0]] = 1
    return a


def _symmetric(a: Tensor, degree: Tensor, power: float = -0.5) -> Tensor:
    scale = degree.clamp(min=1e-12) ** power
    return scale.unsqueeze(1) * a * scale.unsqueeze(0)


@ADJACENCY.check
def loops(m: Any) -> None:
    edges = torch.tensor([[0, 1, 1], [1, 1, 0]])  # node 1 has a loop already
    right = torch.tensor([[0, 1, 0, 1, 2], [1, 0, 0, 1, 2]])

    def matrix(found: Tensor) -> Tensor:
        counted = torch.zeros(3, 3)
        return counted.index_put((found[1], found[0]), torch.ones(found.shape[1]), accumulate=True)

    got = m.add_self_loops(edges, 3)
    all_loops = torch.arange(3).expand(2, -1)
    known = [
        (r.LOOPS_DOUBLED, matrix(torch.cat([edges, all_loops], 1))),
        (r.LOOPS_MISSING, matrix(edges)),
    ]
    same(matrix(got), matrix(right), known, what="the matrix of the edges with self-loops")


@ADJACENCY.check
def undirected(m: Any) -> None:
    _normalised(m, LINKS)


@ADJACENCY.check
def directed(m: Any) -> None:
    _normalised(m, ARROWS)


def _normalised(m: Any, edges: Tensor) -> None:
    n = 5  # node 4 has no edges
    a = _dense(edges, n)
    full = a + torch.eye(n)
    degree = full.sum(1)
    turned = full.mT
    known: Known = [
        (r.LOOPS_MISSING, _symmetric(a, a.sum(1))),
        (r.LOOPS_MISSING, _symmetric(a, degree)),
        (r.LOOPS_MISSING, _without_isolated(a)),
        (r.LOOPS_DOUBLED, _symmetric(full + torch.eye(n), degree + 1)),
        (r.LOOPS_NOT_IN_DEGREE, _symmetric(full, a.sum(1))),
        (r.LOOPS_NOT_IN_DEGREE, _symmetric(full, a.sum(1).clamp(min=1))),
        (r.ROW_NORMALISED, full / degree.unsqueeze(1)),
        (r.COLUMN_NORMALISED, full / degree.unsqueeze(0)),
        (r.NOT_NORMALISED, full),
        (r.ROOT_MISSING, _symmetric(full, degree, -1.0)),
        (r.EDGE_DIRECTION, _symmetric(turned, turned.sum(1))),
        (r.EDGE_DIRECTION, _symmetric(full, degree).mT),
        (r.EDGE_DIRECTION, _symmetric(turned, degree)),
        (r.EDGE_DIRECTION, _symmetric(full, full.sum(0))),
    ]
    same(m.normalise_adjacency(edges, n), _symmetric(full, degree), known, what="the matrix")


def _without_isolated(a: Tensor) -> Tensor:
    scale = a.sum(1).rsqrt()
    scale[scale.isinf()] = 0.0
    return scale.unsqueeze(1) * a * scale.unsqueeze(0)


# --- the layer and the network -----------------------------------------------------------------


def _directed_matrix() -> Tensor:
    full = _dense(ARROWS, 4) + torch.eye(4)
    return _symmetric(full, full.sum(1))


@CONVOLUTION.check
def layer(m: Any) -> None:
    _layer(m, bias_after=False)


@CONVOLUTION.check
def layer_with_bias_after(m: Any) -> None:
    _layer(m, bias_after=True)


def _layer(m: Any, bias_after: bool) -> None:
    trusted = solution.GraphConvolution(6, 3, bias_after=bias_after)
    scatter(trusted)
    own = take_weights(m.GraphConvolution(6, 3, bias_after=bias_after), trusted)
    a, x = _directed_matrix(), torch.randn(4, 6)
    W, b = trusted.linear.weight.t(), trusted.linear.bias
    before, after = a @ (x @ W + b), a @ x @ W + b
    right, other = (after, before) if bias_after else (before, after)
    known: Known = [
        (r.BIAS_PLACE, other),
        (r.BIAS_MISSING, a @ x @ W),
        (r.NOT_PROPAGATED, x @ W + b),
        (r.EDGE_DIRECTION, a.mT @ (x @ W + b)),
        (r.EDGE_DIRECTION, a.mT @ x @ W + b),
        (r.PROPAGATED_TWICE, a @ right),
        (r.LAST_ACTIVATED, right.relu()),
    ]
    what = f"the convolution with bias_after={bias_after}"
    same(own(x, a), right, known, what=what)
    same(own(x, a.to_sparse()), right, known, what="the convolution with a sparse matrix")


@CONVOLUTION.check
def layer_without_bias(m: Any) -> None:
    own = m.GraphConvolution(6, 3, bias=False)
    a, x = _directed_matrix(), torch.randn(4, 6)
    same(own(x, a), a @ x @ own.linear.weight.t(), what="the convolution without a bias")


@CONVOLUTION.check
def layer_gradients(m: Any) -> None:
    trusted = solution.GraphConvolution(6, 3)
    own = take_weights(m.GraphConvolution(6, 3), trusted)
    a, x = _directed_matrix(), torch.randn(4, 6)
    parameter_gradients(own, trusted, lambda module: module(x, a))


def _networks(m: Any, dropout: float) -> tuple[Any, solution.GCN]:
    trusted = solution.GCN(6, 5, 3, dropout)
    scatter(trusted)
    return take_weights(m.GCN(6, 5, 3, dropout), trusted), trusted


@GCN.check
def network(m: Any) -> None:
    own, trusted = _networks(m, 0.0)
    a, x = _directed_matrix(), torch.randn(4, 6)
    first, second = (lambda z, gc=gc: gc(z, a) for gc in (trusted.gc1, trusted.gc2))
    right = second(first(x).relu())
    known: Known = [
        (r.ACTIVATION_MISSING, second(first(x))),
        (r.LAST_ACTIVATED, right.relu()),
        (r.SOFTMAX_AT_END, right.softmax(1)),
        (r.SOFTMAX_AT_END, right.log_softmax(1)),
        (r.SOFTMAX_AT_END, right.softmax(0)),
        (r.NOT_PROPAGATED, trusted.gc2.linear(trusted.gc1.linear(x).relu())),
    ]
    same(own(x, a), right, known, what="the matrix of logits")


@GCN.check
def network_dropout(m: Any) -> None:
    a, x = _directed_matrix(), torch.randn(4, 6)
    own, trusted = _networks(m, 0.5)
    own.eval(), trusted.eval()
    quiet_in_eval(lambda: own(x, a), trusted(x, a))
    own, trusted = _networks(m, 1.0)
    right = trusted.train()(x, a)
    known = [(r.DROPOUT_NEVER, trusted.eval()(x, a))]
    same(own.train()(x, a), right, known, otherwise=r.DROPOUT_PLACE)


@GCN.check
def network_gradients(m: Any) -> None:
    own, trusted = _networks(m, 0.0)
    a, x = _directed_matrix(), torch.randn(4, 6)
    parameter_gradients(own, trusted, lambda module: module(x, a))
