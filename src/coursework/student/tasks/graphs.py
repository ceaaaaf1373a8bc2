"""Problem 3: neighbours, components and one plain convolution, beside definitions written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coursework.models import graph_conv as solution
from coursework.student import remarks as r
from coursework.student.checks import (
    Finding,
    Known,
    Task,
    parameter_gradients,
    same,
    scatter,
    surely,
    take_weights,
)

NEIGHBOURS = Task("neighbours", 3, "3(b)", "models.graph_conv", ("neighbours",))
COMPONENTS = Task("components", 3, "3(b)", "experiments.karate", ("components",))
LARGEST = Task("largest_component", 3, "3(b)", "experiments.karate", ("largest_component",))
AGGREGATE = Task("aggregate", 3, "3(b)", "models.graph_conv", ("aggregate",))
CONVOLUTION = Task(
    "PlainGraphConvolution", 3, "3(b)", "models.graph_conv", ("PlainGraphConvolution",)
)

# Directed, with a loop at 2, the edge 3 -> 2 twice, and node 6 without edges.
EDGES = torch.tensor([[5, 3, 3, 0, 2, 2, 1, 4, 0], [2, 2, 2, 2, 2, 1, 3, 1, 5]])


def _of(edges: Tensor, node: int, into: bool) -> Tensor:
    """Neighbours with repetitions and the node itself, sorted."""
    here, there = (edges[1], edges[0]) if into else (edges[0], edges[1])
    return there[here == node].sort().values


@NEIGHBOURS.check
def neighbours_in(m: Any) -> None:
    _neighbours(m, "in")


@NEIGHBOURS.check
def neighbours_out(m: Any) -> None:
    _neighbours(m, "out")


def _neighbours(m: Any, direction: str) -> None:
    for node in (2, 1, 6):
        found = _of(EDGES, node, into=direction == "in")
        other = _of(EDGES, node, into=direction == "out")
        right = found[found != node].unique()
        known: Known = [
            (r.EDGE_DIRECTION, other[other != node].unique()),
            (r.EDGE_DIRECTION, other.unique()),
            (r.DUPLICATES, found[found != node]),
            (r.DUPLICATES, found),
            (r.ITSELF, found.unique()),
            (r.NOT_SORTED, right.flip(0)),
        ]
        got = m.neighbours(EDGES, node, direction)
        if _unordered(got, right):
            raise Finding(r.NOT_SORTED)
        if _unordered(got, found[found != node]) or _unordered(got, found):
            raise Finding(r.DUPLICATES)
        what = f"the list of neighbours with direction={direction!r}"
        same(got, right, known, what=what)


def _unordered(got: Any, right: Tensor) -> bool:
    """Whether the numbers are the right ones in another order."""
    return (
        isinstance(got, Tensor)
        and got.shape == right.shape
        and not torch.equal(got, right)
        and torch.equal(got.sort().values, right)
        and len(right.unique()) > 1
    )


@NEIGHBOURS.check
def neighbours_both(m: Any) -> None:
    edges = torch.tensor([[0, 1, 3], [1, 2, 1]])
    one = [(r.ONE_DIRECTION_ONLY, torch.tensor(found)) for found in ([0, 3], [2])]
    got = m.neighbours(edges, 1, "both")
    same(got, torch.tensor([0, 2, 3]), one, what="the list of neighbours with direction='both'")


# --- components --------------------------------------------------------------------------------

# 0 -> 4 <- 2, then 1 alone, then 3 -> 5 -> 6; no node reaches its whole component along the arrows
PIECES = torch.tensor([[0, 2, 5, 3], [4, 4, 6, 5]])
NUMBERS = torch.tensor([0, 1, 0, 2, 0, 2, 2])


@COMPONENTS.check
def components(m: Any) -> None:
    got = m.components(PIECES, 7)
    if isinstance(got, Tensor) and got.shape == (7,):
        if got.dtype.is_floating_point:
            raise Finding(r.Remark("shape", f"The numbers should be int64, but are {got.dtype}."))
        if torch.equal(got, _directed(PIECES, 7)):
            raise Finding(r.DIRECTED_SEARCH)
        together = got[:, None] == got[None, :]
        right = NUMBERS[:, None] == NUMBERS[None, :]
        if bool((together & ~right).any()):
            raise Finding(r.COMPONENTS_MERGED)
        if bool((right & ~together).any()):
            raise Finding(r.COMPONENTS_SPLIT)
        if not torch.equal(got, NUMBERS):
            raise Finding(r.NUMBERING)
    same(got, NUMBERS, what="the list of components")


def _directed(edges: Tensor, num_nodes: int) -> Tensor:
    """Numbers of a search that follows the arrows only."""
    number = [-1] * num_nodes
    found = 0
    for start in range(num_nodes):
        if number[start] < 0:
            number[start], stack = found, [start]
            while stack:
                node = stack.pop()
                for a, b in edges.t().tolist():
                    if a == node and number[b] < 0:
                        number[b] = found
                        stack.append(b)
            found += 1
    return torch.tensor(number)


@COMPONENTS.check
def components_without_edges(m: Any) -> None:
    none = torch.empty(2, 0, dtype=torch.int64)
    same(m.components(none, 3), torch.arange(3), what="the list of components without edges")


@COMPONENTS.check
def components_of_a_long_path(m: Any) -> None:
    path = torch.stack([torch.arange(1, 3000), torch.arange(2999)])
    try:
        got = m.components(path, 3000)
    except (RecursionError, MemoryError) as error:
        raise Finding(r.SEARCH_TOO_DEEP) from error
    same(got, torch.zeros(3000), what="the list of components of a long path")


@LARGEST.check
def largest(m: Any) -> None:
    edges = torch.tensor([[0, 2, 6, 3, 6], [1, 5, 2, 4, 5]])  # {0, 1}, {2, 5, 6}, {3, 4}
    part = m.largest_component(edges, 7)
    known = [(r.NOT_RENUMBERED, torch.tensor([[2, 6, 6], [5, 2, 5]]))]
    surely(part.nodes, torch.tensor([2, 5, 6]), r.LARGEST_NODES)
    same(part.edge_index, torch.tensor([[0, 2, 2], [1, 0, 1]]), known, what="the list of edges")


@LARGEST.check
def largest_of_equal_size(m: Any) -> None:
    part = m.largest_component(torch.tensor([[1, 0], [3, 2]]), 4)
    same(part.nodes, torch.tensor([0, 2]), [(r.LARGEST_TIE, torch.tensor([1, 3]))])


# --- one plain convolution ---------------------------------------------------------------------


def _matrix(edges: Tensor, n: int) -> Tensor:
    """Entry (target, source) counts the edges."""
    a = torch.zeros(n, n)
    for source, target in edges.t().tolist():
        a[target, source] += 1
    return a


def _mean(a: Tensor, x: Tensor) -> Tensor:
    return (a @ x) / a.sum(1, keepdim=True).clamp(min=1)


@AGGREGATE.check
def mean_of_neighbours(m: Any) -> None:
    a, x = _matrix(EDGES, 7), torch.randn(7, 3)
    leaving = a.sum(0).unsqueeze(1)
    last = torch.zeros(7, 3)
    last[EDGES[1]] = x[EDGES[0]]
    count = a.sum(1, keepdim=True).clamp(min=1)
    known: Known = [
        (r.EDGE_DIRECTION, _mean(a.mT, x)),
        (r.NOT_DIVIDED, a @ x),
        (r.DIVIDED_BY_OUT_DEGREE, (a @ x) / leaving.clamp(min=1)),
        (r.DIVIDED_BY_NODES, (a @ x) / 7),
        (r.OVERWRITTEN, last),
        (r.OVERWRITTEN, last / count),
        (r.OWN_MESSAGES, (a.sum(1, keepdim=True) > 0) * x),
    ]
    got = m.aggregate(x, EDGES, "mean")
    if isinstance(got, Tensor) and got.shape == x.shape and bool(got.isnan().any()):
        raise Finding(r.ISOLATED)
    same(got, _mean(a, x), known, what="the mean over the neighbours")


@AGGREGATE.check
def sum_of_neighbours(m: Any) -> None:
    a, x = _matrix(EDGES, 7), torch.randn(7, 3)
    known = [(r.EDGE_DIRECTION, a.mT @ x), (r.DIVIDED_ALWAYS, _mean(a, x))]
    same(m.aggregate(x, EDGES, "sum"), a @ x, known, what="the sum over the neighbours")


@CONVOLUTION.check
def convolution(m: Any) -> None:
    a, x = _matrix(EDGES, 7), torch.randn(7, 4)
    for reduction, gathered in (("mean", _mean(a, x)), ("sum", a @ x)):
        own, W_1, W_2 = _convolutions(m, reduction)
        right = W_1(gathered) + W_2(x)
        turned = _mean(a.mT, x) if reduction == "mean" else a.mT @ x
        other = a @ x if reduction == "mean" else _mean(a, x)
        known: Known = [
            (r.NOT_ACTIVATED, right),
            (r.OWN_TERM_MISSING, W_1(gathered).relu()),
            (r.NEIGHBOURS_MISSING, W_2(x).relu()),
            (r.WEIGHTS_SWAPPED, (W_2(gathered) + W_1(x)).relu()),
            (r.EDGE_DIRECTION, (W_1(turned) + W_2(x)).relu()),
            (
                r.NOT_DIVIDED if reduction == "mean" else r.DIVIDED_ALWAYS,
                (W_1(other) + W_2(x)).relu(),
            ),
        ]
        same(own(x, EDGES), right.relu(), known, what="the convolution")


def _convolutions(m: Any, reduction: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    trusted = solution.PlainGraphConvolution(4, 4, reduction)  # type: ignore[arg-type]
    scatter(trusted)
    own = take_weights(m.PlainGraphConvolution(4, 4, reduction), trusted)
    return own, trusted.W_1, trusted.W_2


@CONVOLUTION.check
def convolution_without_activation(m: Any) -> None:
    own = m.PlainGraphConvolution(3, 3, identity=True, activation=None)
    x = -torch.rand(7, 3)
    same(own(x, EDGES), _mean(_matrix(EDGES, 7), x) + x, what="the convolution without activation")


@CONVOLUTION.check
def convolution_gradients(m: Any) -> None:
    own, _, _ = _convolutions(m, "mean")
    trusted = take_weights(solution.PlainGraphConvolution(4, 4, "mean"), own)
    x = torch.randn(7, 4)
    parameter_gradients(own, trusted, lambda module: module(x, EDGES))
