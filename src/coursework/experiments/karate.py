"""Problem 3(b): connected components of a graph, by breadth-first search."""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from coursework.models.sparse import check_edge_index


def components(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Number of the weakly connected component of each node: `[2, E]` -> `[N]` int64, in O(N + E).

    A queue visits all nodes that a path reaches, whatever the direction of its edges. Components are
    numbered in the order of their smallest node; a node without edges is one of its own.
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


class Subgraph(NamedTuple):
    """Some nodes and the edges between them."""

    nodes: Tensor  # their numbers in the whole graph, sorted, `[n]`
    edge_index: Tensor  # numbered 0 .. n-1 within the subgraph, `[2, e]`


def largest_component(edge_index: Tensor, num_nodes: int) -> Subgraph:
    """The largest connected subgraph; of several of one size, that with the smallest node."""
    # solution:begin the nodes of the largest component, and its edges renumbered | components
    number = components(edge_index, num_nodes)  # [N]
    keep = number == torch.bincount(number).argmax()  # [N]
    position = keep.cumsum(0) - 1  # new number of each kept node
    inside = keep[edge_index[0]] & keep[edge_index[1]]  # [E]
    return Subgraph(keep.nonzero().squeeze(1), position[edge_index[:, inside]])
    # solution:end
