r"""Problem 3(b): four tasks on Zachary's karate club.

Nothing here is trained. The karate club shows the parts of a graph network to the eye: neighbours, connected
components, and one plain convolution with identity matrices.

Letters: `N` nodes, `E` directed edges, `F` features.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from coursework.models.graph_conv import Aggregation, PlainGraphConvolution
from coursework.models.sparse import check_edge_index


def components(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Weakly connected components by breadth-first search.

    From every node that has no number yet, a queue visits all nodes that a path reaches, whatever the
    direction of its edges. Every node enters the queue once and every edge is looked at twice, so the
    time is O(N + E). Nodes without edges are components of their own.

    Shapes:
        - edge_index: `[2, E]`
        - output: `[N]` int64, numbered from 0 in the order of their smallest node
    """
    check_edge_index(edge_index, num_nodes)
    # solution:begin number the nodes, one breadth-first search for each component | collections.deque
    reach: list[list[int]] = [[] for _ in range(num_nodes)]
    for source, target in edge_index.t().tolist():
        reach[source].append(target)
        reach[target].append(source)
    number = [-1] * num_nodes
    found = 0
    for start in range(num_nodes):
        if number[start] >= 0:
            continue
        number[start] = found
        queue = deque([start])
        while queue:
            for other in reach[queue.popleft()]:
                if number[other] < 0:
                    number[other] = found
                    queue.append(other)
        found += 1
    return torch.tensor(number, dtype=torch.int64)
    # solution:end


@dataclass(frozen=True)
class Subgraph:
    """Some nodes and the edges between them."""

    nodes: Tensor  # their numbers in the whole graph, sorted, `[n]`
    edge_index: Tensor  # numbered 0 .. n-1 within the subgraph, `[2, e]`

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of nodes and of directed edges."""
        return len(self.nodes), self.edge_index.shape[1]


def largest_component(edge_index: Tensor, num_nodes: int) -> Subgraph:
    """The largest connected subgraph, by our own breadth-first search.

    Of several components of the same size the one with the smallest node is taken.

    Shapes:
        - edge_index: `[2, E]`
    """
    # solution:begin the nodes of the largest component, and its edges renumbered | components
    number = components(edge_index, num_nodes)  # [N]
    keep = number == torch.bincount(number).argmax()  # [N]
    position = keep.cumsum(0) - 1  # new number of each kept node
    inside = keep[edge_index[0]] & keep[edge_index[1]]  # [E]
    return Subgraph(keep.nonzero().squeeze(1), position[edge_index[:, inside]])
    # solution:end


def convolve(x: Tensor, edge_index: Tensor, aggregation: Aggregation = "mean") -> Tensor:
    r"""One layer of plain graph convolution with both weight matrices the identity.

    .. math:: h_v' = I \operatorname*{agg}_{u \in \mathcal{N}(v)} h_u + I h_v

    without an activation; a ReLU would change nothing for features that are not negative.

    Shapes:
        - x: `[N, F]`, edge_index: `[2, E]`
        - output: `[N, F]`
    """
    layer = PlainGraphConvolution(
        x.shape[1], x.shape[1], aggregation=aggregation, identity=True, activation=None
    )
    with torch.no_grad():
        features: Tensor = layer(x, edge_index)  # [N, F]
    return features


def alikeness(features: Tensor, y: Tensor) -> tuple[float, float, float]:
    """How far features `[N, F]` tell communities `[N]` apart, without training.

    Mean cosine of two nodes of one community, mean cosine of two nodes of different ones, and the share
    of nodes whose most similar other node is of their own community.
    """
    unit = features / features.norm(dim=1, keepdim=True)
    cosine = unit @ unit.t()  # [N, N]
    same, itself = y[:, None] == y[None, :], torch.eye(len(y), dtype=torch.bool)
    nearest = cosine.masked_fill(itself, -torch.inf).argmax(1)  # [N]
    return (
        float(cosine[same & ~itself].mean()),
        float(cosine[~same].mean()),
        float((y[nearest] == y).float().mean()),
    )
