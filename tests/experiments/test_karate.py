"""Components and convolution on the karate club, beside SciPy's and PyTorch Geometric's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import coursework  # noqa: F401
from coursework.data import karate as data
from coursework.experiments import karate
from coursework.models.graph_conv import Aggregation, PlainGraphConvolution, neighbours
from coursework.models.sparse import adjacency


@pytest.fixture(scope="module")
def club() -> data.KarateClub:
    return data.load()


def test_neighbours_of_node_10(club: data.KarateClub) -> None:
    assert neighbours(club.edge_index, 10).tolist() == [0, 4, 5]
    assert neighbours(club.edge_index, 9).tolist() == [2, 33]


def same_as_the_library(edges: torch.Tensor, n: int) -> karate.Subgraph:
    from torch_geometric.data import Data
    from torch_geometric.transforms import LargestConnectedComponents

    own = karate.largest_component(edges, n)
    whole = Data(edge_index=edges, num_nodes=n, node=torch.arange(n))
    library = LargestConnectedComponents(connection="weak")(whole)
    assert torch.equal(own.nodes, library.node)
    assert torch.equal(own.edge_index, library.edge_index)
    return own


def test_largest_component_is_the_whole_club(club: data.KarateClub) -> None:
    own = same_as_the_library(club.edge_index, 34)
    assert (len(own.nodes), own.edge_index.shape[1]) == (34, 156)


def test_largest_component_after_a_cut(club: data.KarateClub) -> None:
    """Without its two leaders the club falls into three components, as the text says."""
    stay = torch.tensor([node not in (0, 33) for node in range(34)])
    inside = club.edge_index[:, stay[club.edge_index].all(0)]
    rest = (stay.cumsum(0) - 1)[inside]
    assert sorted(torch.bincount(karate.components(rest, 32)).tolist()) == [1, 5, 26]
    assert len(same_as_the_library(rest, 32).nodes) == 26


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(0, 40), st.integers(0, 10_000))
def test_components_match_scipy(num_nodes: int, num_edges: int, seed: int) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.random.default_rng(seed).integers(0, num_nodes, (2, num_edges))
    a = coo_matrix((np.ones(num_edges), tuple(edges)), shape=(num_nodes, num_nodes))
    count, labels = connected_components(a, directed=True, connection="weak")
    own = karate.components(torch.from_numpy(edges), num_nodes)
    assert int(own.max()) + 1 == count
    _, first = np.unique(labels, return_index=True)  # numbered by the smallest node, as ours
    assert own.tolist() == np.argsort(np.argsort(first))[labels].tolist()


def test_components_reject_unknown_nodes() -> None:
    with pytest.raises(ValueError, match="nodes"):
        karate.components(torch.tensor([[0], [7]]), 3)


def convolve(x: torch.Tensor, edges: torch.Tensor, aggregation: Aggregation) -> torch.Tensor:
    """Our layer with identity matrices, beside PyG's, and beside one matrix product."""
    from torch_geometric.nn import GraphConv

    width = x.shape[1]
    own = PlainGraphConvolution(width, width, aggregation, identity=True, activation=None)(x, edges)
    layer = GraphConv(width, width, {"mean": "mean", "sum": "add"}[aggregation], False)
    for linear in (layer.lin_rel, layer.lin_root):
        torch.nn.init.eye_(linear.weight)
    assert torch.allclose(own, layer(x, edges), atol=1e-7)
    a = adjacency(edges, len(x)).to_dense()
    a = a / a.sum(1, keepdim=True).clamp(min=1) if aggregation == "mean" else a
    assert torch.allclose(own, a @ x + x, atol=1e-6)
    return own


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_convolution_equals_library_and_matrix(
    club: data.KarateClub, aggregation: Aggregation
) -> None:
    convolve(club.x, club.edge_index, aggregation)
    # information flows from source to target only, in our layer as in the library's
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    own = convolve(x, torch.tensor([[0, 1, 2, 4], [1, 2, 1, 0]]), aggregation)
    assert torch.equal(own[5], x[5])  # no neighbours: only itself


def test_convolution_by_hand(club: data.KarateClub) -> None:
    mean = convolve(club.x, club.edge_index, "mean")
    expected = torch.zeros(34)
    expected[10] = 1
    expected[[0, 4, 5]] = 1 / 3
    assert torch.allclose(mean[10], expected)
    assert torch.allclose(mean.sum(1), torch.full((34,), 2.0))
    total = convolve(club.x, club.edge_index, "sum")
    degree = torch.bincount(club.edge_index[1], minlength=34)
    assert torch.equal(total.sum(1), 1.0 + degree)
