import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GraphConv
from torch_geometric.transforms import LargestConnectedComponents

from coursework.errors import ConfigError
from coursework.experiments import karate, roads
from coursework.models.graph_conv import Aggregation, PlainGraphConvolution, neighbours
from coursework.models.sparse import adjacency


@pytest.fixture(scope="module")
def club() -> Data:
    return KarateClub()[0]


def test_neighbours_of_node_10(club: Data) -> None:
    assert neighbours(club.edge_index, 10).tolist() == [0, 4, 5]
    assert neighbours(club.edge_index, 9).tolist() == [2, 33]


def same_as_the_library(edges: torch.Tensor, n: int) -> karate.Subgraph:
    own = karate.largest_component(edges, n)
    whole = Data(edge_index=edges, num_nodes=n, node=torch.arange(n))
    library = LargestConnectedComponents(connection="weak")(whole)
    assert torch.equal(own.nodes, library.node)
    assert torch.equal(own.edge_index, library.edge_index)
    return own


def test_largest_component_is_the_whole_club_and_the_largest_of_three_without_its_leaders(
    club: Data,
) -> None:
    own = same_as_the_library(club.edge_index, 34)
    assert (len(own.nodes), own.edge_index.shape[1]) == (34, 156)
    stay = torch.tensor([node not in (0, 33) for node in range(34)])
    inside = club.edge_index[:, stay[club.edge_index].all(0)]
    rest = (stay.cumsum(0) - 1)[inside]
    assert sorted(torch.bincount(karate.components(rest, 32)).tolist()) == [1, 5, 26]
    assert len(same_as_the_library(rest, 32).nodes) == 26


@settings(max_examples=60)
@given(st.integers(1, 25), st.integers(0, 40), st.integers(0, 10_000))
def test_components_match_scipy(num_nodes: int, num_edges: int, seed: int) -> None:
    edges = np.random.default_rng(seed).integers(0, num_nodes, (2, num_edges))
    a = coo_matrix((np.ones(num_edges), tuple(edges)), shape=(num_nodes, num_nodes))
    count, labels = connected_components(a, directed=True, connection="weak")
    own = karate.components(torch.from_numpy(edges), num_nodes)
    assert int(own.max()) + 1 == count
    _, first = np.unique(labels, return_index=True)  # numbered by the smallest node, as ours
    assert own.tolist() == np.argsort(np.argsort(first))[labels].tolist()


def convolve(x: torch.Tensor, edges: torch.Tensor, aggregation: Aggregation) -> torch.Tensor:
    """Our layer with identity matrices, beside PyG's, and beside one matrix product."""
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
def test_convolution_equals_library_and_matrix(club: Data, aggregation: Aggregation) -> None:
    own, only = convolve(club.x, club.edge_index, aggregation), torch.eye(34)
    neighbour = only[[0, 4, 5]].mean(0) if aggregation == "mean" else only[[0, 4, 5]].sum(0)
    assert torch.allclose(own[10], only[10] + neighbour)
    # information flows from source to target only, in our layer as in the library's
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    own = convolve(x, torch.tensor([[0, 1, 2, 4], [1, 2, 1, 0]]), aggregation)
    assert torch.equal(own[5], x[5])  # no neighbours: only itself


def test_road_task_is_as_described() -> None:
    task, again, other = (roads.road_task(s, num_sensors=30, num_times=50) for s in (0, 0, 1))
    assert task.x.shape == (50, 30, 4)
    assert task.y.shape == (50, 30)
    source, target = task.edge_index.numpy()
    assert (task.positions[source, 0] > task.positions[target, 0]).all()
    assert int(karate.components(task.edge_index, 30).max()) == 0  # Gabriel graphs are connected
    train, validation, test = task.split.train, task.split.validation, task.split.test
    reach = roads.AHEAD + roads.READINGS - 1
    assert train.max() + reach < validation.min()
    assert validation.max() + reach < test.min()
    assert torch.equal(task.x, again.x)
    assert not torch.equal(task.x, other.x)


def test_graph_helps_on_the_roads() -> None:
    plan = dataclasses.replace(roads.PLAN, epochs=12, learning_rate=2e-2)
    errors = roads.road_comparison(roads.road_task(1), plan=plan, hidden=8)
    assert errors["with the graph"] < errors["sensor alone"] < errors["no change"]


def test_road_comparison_repeats() -> None:
    task = roads.road_task(0, num_sensors=2, num_times=30)  # both have the same limit
    plan = dataclasses.replace(roads.PLAN, epochs=2)
    assert roads.road_comparison(task, plan=plan) == roads.road_comparison(task, plan=plan)
    constant = roads.road_task(5, num_sensors=2, num_times=23)  # its training targets are
    assert roads.road_comparison(constant, plan=plan)["sensor alone"] == 0
    with pytest.raises(ConfigError, match="num_times 22"):
        roads.road_task(0, num_times=22)


def test_repeated_graph_has_no_edges_between_copies() -> None:
    repeated = roads.repeat_graph(torch.tensor([[0, 1], [1, 2]]), 3, 4)
    assert repeated.shape == (2, 8)
    assert (repeated[0] // 3 == repeated[1] // 3).all()
    assert int(karate.components(repeated, 12).max()) == 3
