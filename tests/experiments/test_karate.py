"""Components, convolution and drawing on the karate club; the generated road task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import coursework  # noqa: F401
from coursework.data import karate as data
from coursework.errors import ConfigError
from coursework.experiments import karate
from coursework.training import engine


@pytest.fixture(scope="module")
def club() -> data.KarateClub:
    return data.load()


def random_graph(num_nodes: int, num_edges: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, num_nodes, (2, num_edges)))


def test_neighbours_of_node_10(club: data.KarateClub) -> None:
    assert karate.neighbours(club.edge_index, 10).tolist() == [0, 4, 5]
    assert karate.neighbours(club.edge_index, 9).tolist() == [2, 33]


def test_largest_component_is_the_whole_club(club: data.KarateClub) -> None:
    own = karate.largest_component(club.edge_index, 34)
    library = karate.library_largest_component(club.edge_index, 34)
    assert own.sizes == library.sizes == (34, 156)
    assert torch.equal(own.nodes, library.nodes)
    assert torch.equal(own.edge_index, library.edge_index)


def test_largest_component_after_a_cut(club: data.KarateClub) -> None:
    """Without the two leaders the club falls apart; search and library agree on the rest."""
    ends = club.edge_index
    kept = ends[:, ~((ends == 0) | (ends == 33)).any(0)]
    own = karate.largest_component(kept, 34)
    library = karate.library_largest_component(kept, 34)
    assert 1 < own.sizes[0] < 32
    assert torch.equal(own.nodes, library.nodes)
    assert torch.equal(own.edge_index, library.edge_index)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(0, 40), st.integers(0, 10_000))
def test_components_match_scipy(num_nodes: int, num_edges: int, seed: int) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = random_graph(num_nodes, num_edges, seed)
    a = coo_matrix((np.ones(num_edges), tuple(edges.numpy())), shape=(num_nodes, num_nodes))
    count, labels = connected_components(a, directed=True, connection="weak")
    own = karate.components(edges, num_nodes)
    assert int(own.max()) + 1 == count
    assert karate.same_components(own, torch.from_numpy(labels))


def test_same_components_sees_a_difference() -> None:
    a, b = torch.tensor([0, 0, 1]), torch.tensor([5, 5, 2])
    assert karate.same_components(a, b)
    assert not karate.same_components(a, torch.tensor([0, 1, 1]))
    assert not karate.same_components(a, torch.tensor([0, 0, 0]))


def test_components_reject_unknown_nodes() -> None:
    with pytest.raises(ValueError, match="nodes"):
        karate.components(torch.tensor([[0], [7]]), 3)


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_convolution_equals_library_and_matrix(club: data.KarateClub, aggregation: str) -> None:
    own = karate.convolve(club.x, club.edge_index, aggregation)
    assert torch.equal(own, karate.library_convolve(club.x, club.edge_index, aggregation))
    assert torch.allclose(own, karate.matrix_convolve(club.x, club.edge_index, aggregation))


def test_convolution_by_hand(club: data.KarateClub) -> None:
    mean = karate.convolve(club.x, club.edge_index, "mean")
    expected = torch.zeros(34)
    expected[10] = 1
    expected[[0, 4, 5]] = 1 / 3
    assert torch.allclose(mean[10], expected)
    assert torch.allclose(mean.sum(1), torch.full((34,), 2.0))
    total = karate.convolve(club.x, club.edge_index, "sum")
    degree = torch.bincount(club.edge_index[1], minlength=34)
    assert torch.equal(total.sum(1), 1.0 + degree)


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_convolution_on_a_directed_graph(aggregation: str) -> None:
    """Information flows from source to target only, in our layer as in the library's."""
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    edges = torch.tensor([[0, 1, 2, 4], [1, 2, 1, 0]])
    own = karate.convolve(x, edges, aggregation)
    assert torch.allclose(own, karate.library_convolve(x, edges, aggregation))
    assert torch.allclose(own, karate.matrix_convolve(x, edges, aggregation))
    assert torch.equal(own[5], x[5])  # no neighbours: only itself


def test_drawing(club: data.KarateClub) -> None:
    import matplotlib

    matplotlib.use("agg")
    from coursework.report import figures

    fig, ax = figures.subplots(figsize=(3, 3))
    positions = karate.layout(club.edge_index, 34)
    assert positions.shape == (34, 2)
    karate.draw(
        ax,
        positions,
        club.edge_index,
        club.y.numpy(),
        labels=[*map(str, range(34))],
        highlight=[10],
    )
    assert len(ax.collections[0].get_segments()) == 78
    assert len(ax.texts) == 34
    figures.show(fig, "test_karate")


def test_road_task_is_as_described() -> None:
    task = karate.road_task(0, num_sensors=30, num_times=50)
    assert task.x.shape == (50, 30, 4)
    assert task.y.shape == (50, 30)
    source, target = task.edge_index.numpy()
    assert (task.positions[source, 0] > task.positions[target, 0]).all()
    assert int(karate.components(task.edge_index, 30).max()) == 0  # Gabriel graphs are connected
    train, validation, test = task.split.train, task.split.validation, task.split.test
    reach = karate.AHEAD + karate.READINGS - 1
    assert train.max() + reach < validation.min()
    assert validation.max() + reach < test.min()
    again = karate.road_task(0, num_sensors=30, num_times=50)
    assert torch.equal(task.x, again.x)
    assert not torch.equal(task.x, karate.road_task(1, num_sensors=30, num_times=50).x)


def test_graph_helps_on_the_roads() -> None:
    task = karate.road_task(1)
    plan = engine.Plan(
        epochs=12, learning_rate=2e-2, schedule="cosine", monitor="mae", precision="32-true"
    )
    errors = karate.road_comparison(task, plan=plan, hidden=8)
    assert errors["with the graph"] < errors["sensor alone"] < errors["no change"]


def test_road_comparison_repeats() -> None:
    task = karate.road_task(0, num_sensors=10, num_times=30)
    plan = engine.Plan(epochs=2, learning_rate=1e-2, monitor="mae", precision="32-true")
    assert karate.road_comparison(task, plan=plan) == karate.road_comparison(task, plan=plan)


def test_road_task_refuses_too_little() -> None:
    with pytest.raises(ConfigError, match="num_times 5"):
        karate.road_task(0, num_times=5)


def test_repeated_graph_has_no_edges_between_copies() -> None:
    edges = torch.tensor([[0, 1], [1, 2]])
    repeated = karate.repeat_graph(edges, 3, 4)
    assert repeated.shape == (2, 8)
    assert (repeated[0] // 3 == repeated[1] // 3).all()
    assert int(karate.components(repeated, 12).max()) == 3
