import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coursework.data import wikipedia as pages
from coursework.data.wikipedia import WikipediaGraph
from coursework.experiments import wikipedia_candidates
from coursework.experiments.wikipedia_candidates import Inputs, neighbour_labels, shuffled
from coursework.models.residual_attention import Candidates

TOP = 4


@pytest.fixture(scope="module")
def graph(standins: Path) -> WikipediaGraph:
    return pages.load()


@pytest.fixture
def unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia_candidates, "_standardised", torch.from_numpy)


def linked(graph: WikipediaGraph, *pairs: tuple[int, int]) -> WikipediaGraph:
    edges = torch.tensor(pairs).t()
    both = torch.cat([edges, edges.flip(0)], dim=1)
    return dataclasses.replace(graph, edge_index=both, y=torch.zeros(6))


def owners(candidates: Candidates) -> torch.Tensor:
    """Page of every pair, ``[E]``."""
    return torch.arange(len(candidates.pointers) - 1).repeat_interleave(candidates.pointers.diff())


@pytest.mark.usefixtures("unscaled")
def test_pairs_are_what_they_say(graph: WikipediaGraph) -> None:
    found = Inputs(graph, TOP).candidates
    columns = found.features.numpy()
    assert columns.shape[1] == 13
    page, other = owners(found).numpy(), found.nodes.numpy()
    assert (page != other).all()  # else its label would be its own prediction
    source, target = graph.edge_index.numpy()
    near = [set(source[target == i].tolist()) for i in range(graph.num_nodes)]
    for e in range(0, len(page), max(1, len(page) // 150)):
        a, b = near[page[e]], near[other[e]]
        both, own, theirs = len(a & b), np.log1p(len(a)), np.log1p(len(b))
        expected = (
            both / max(len(a | b), 1), both / max(min(len(a), len(b)), 1),
            float(a == b), float(other[e] in a),
            np.log1p(both), own, theirs, own - theirs, abs(own - theirs),
        )  # fmt: skip
        assert columns[e, 4:] == pytest.approx(expected, abs=1e-5)
    assert np.abs(columns[:, :4]).max() < 1 + 1e-5  # four cosines


def test_graph_statistics_by_networkx(graph: WikipediaGraph) -> None:
    import networkx

    columns, n = Inputs(graph).statistics, graph.num_nodes
    reference = networkx.Graph()
    reference.add_nodes_from(range(n))
    reference.add_edges_from(graph.edge_index.t().tolist())
    log_degree = np.log1p([reference.degree[v] for v in range(n)])
    around = [[log_degree[u] for u in reference[v]] or [0.0] for v in range(n)]
    clustering = networkx.clustering(reference)
    rank = networkx.pagerank(reference, tol=1e-12, max_iter=500)
    expected = (
        log_degree, [np.mean(near) for near in around], [max(near) for near in around],
        [clustering[v] for v in range(n)], np.log([n * rank[v] for v in range(n)]),
        np.log(np.bincount(graph.twin_group)[graph.twin_group]),
    )  # fmt: skip
    np.testing.assert_allclose(columns, np.stack(expected, axis=1), atol=1e-3)
    np.testing.assert_allclose(columns[:, :4], np.stack(expected[:4], axis=1), atol=1e-12)


def test_lists_are_short_and_hold_the_twins(graph: WikipediaGraph) -> None:
    found = Inputs(graph, TOP).candidates
    length = found.pointers.diff()
    assert int(length.min()) >= TOP - 1
    assert int(length.max()) <= 5 * TOP
    group, page = graph.twin_group, owners(found)
    alone = torch.bincount(group)[group] == 1
    looks_at_twin = torch.zeros(graph.num_nodes, dtype=torch.bool)
    looks_at_twin[page[group[page] == group[found.nodes]]] = True
    assert not looks_at_twin[alone].any()
    assert float(looks_at_twin[~alone].float().mean()) > 0.99


def test_targets_are_not_read(graph: WikipediaGraph) -> None:
    blind = dataclasses.replace(
        graph, y=torch.full_like(graph.y, torch.nan), traffic=torch.zeros_like(graph.traffic)
    )
    one, two = Inputs(graph, TOP), Inputs(blind, TOP)
    assert torch.equal(one.candidates.nodes, two.candidates.nodes)
    assert torch.equal(one.candidates.features, two.candidates.features)
    assert torch.equal(one.dense, two.dense)
    assert torch.equal(one.propagated, two.propagated)


def test_columns_are_standardised(graph: WikipediaGraph) -> None:
    inputs = Inputs(graph, TOP)
    for columns in (inputs.candidates.features, inputs.dense):
        assert bool(columns.isfinite().all())
        assert float(columns.mean(0).abs().max()) < 1e-3
        spread = columns.std(0, correction=0)
        assert bool(((spread - 1).abs() < 1e-3).logical_or(spread < 1e-3).all())


def test_neighbours_with_the_fewest_links_come_first(graph: WikipediaGraph) -> None:
    # 0 is linked with 1, 2, 3; 1 has three links, 2 has two, 3 has one
    small = linked(graph, (0, 1), (0, 2), (0, 3), (1, 2), (1, 4))
    kept = wikipedia_candidates._least_linked(Inputs(small).links, 2)
    assert set(kept[0].indices) == {3, 2}
    assert set(kept[1].indices) == {4, 2}
    assert kept[5].nnz == 0


def test_propagated_columns_follow_their_pages(graph: WikipediaGraph) -> None:
    inputs, n = Inputs(graph), graph.num_nodes
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    edges, x = order.argsort()[graph.edge_index], graph.x.to_dense()[order].to_sparse_csr()
    other = dataclasses.replace(
        graph, edge_index=edges, x=x, y=graph.y[order], twin_group=graph.twin_group[order]
    )
    moved = Inputs(other)
    vars(moved).update(dense=inputs.dense[order], statistics=inputs.statistics[order])
    torch.testing.assert_close(moved.propagated, inputs.propagated[order], atol=1e-3, rtol=0)


@pytest.mark.usefixtures("unscaled")
def test_labels_of_neighbours_by_hand(graph: WikipediaGraph) -> None:
    star = linked(graph, (0, 1), (0, 2), (0, 3), (0, 4))
    target = torch.tensor([3.0, 1.0, 2.0, torch.nan, 3.0, 5.0])
    found = neighbour_labels(star, target, ~target.isnan(), torch.tensor([0, 1, 2, 3, 0, 5]))
    # page 0 may read 1 and 2: 3 is not known and 4 of its own group, so 4 may not read 0
    assert found[0, :2].tolist() == pytest.approx([(1 + 2) / (2 + 1), np.log(3)])
    assert found[1, :2].tolist() == pytest.approx([3 / (1 + 1), np.log(2)])
    assert found[4:].abs().max() == 0
    # page 0 has four links, those around it one: five weights that are read
    one = (2 + 3 / 4) / 5
    assert found[1, 4:].tolist() == pytest.approx([0.75 / (0.25 + one), np.log1p(0.25 / one)])


@pytest.mark.usefixtures("unscaled")
@pytest.mark.parametrize("groups", [True, False])
def test_no_page_reads_its_own_label(graph: WikipediaGraph, groups: bool) -> None:
    known = torch.ones(graph.num_nodes) > 0
    group = graph.twin_group if groups else torch.arange(graph.num_nodes)
    y, given = graph.y - graph.y.mean(), group if groups else None
    before = neighbour_labels(graph, y, known, given)
    for chosen in group.unique()[:20].tolist():
        after = neighbour_labels(graph, y + 9.0 * (group == chosen), known, given)
        assert torch.equal(after[group == chosen], before[group == chosen])


@pytest.mark.parametrize("what", ["links", "pages"])
def test_shuffled_graphs(graph: WikipediaGraph, what: Any) -> None:
    other, n = shuffled(graph, what, 3), graph.num_nodes
    edges = {*map(tuple, other.edge_index.t().tolist())}
    assert edges == {(b, a) for a, b in edges}
    assert all(a != b for a, b in edges)
    before, after = (torch.bincount(g.edge_index[1], minlength=n) for g in (graph, other))
    if what == "links":
        assert bool((after <= before).all())  # two links may fall on one
        assert int(after.sum()) > 0.8 * int(before.sum())
    else:
        assert torch.equal(after.sort().values, before.sort().values)
    assert len(edges & {*map(tuple, graph.edge_index.t().tolist())}) < 0.5 * len(edges)


def test_pages_with_the_same_links_get_one_prediction(graph: WikipediaGraph) -> None:
    inputs, values = Inputs(graph), np.arange(graph.num_nodes, dtype=float)
    averaged, group = inputs.alike_pages @ values, graph.twin_group.numpy()
    for page in range(0, graph.num_nodes, 20):
        near = np.unique([*np.flatnonzero(group == group[page]), *inputs.near[page].indices])
        assert averaged[page] == pytest.approx(values[near].mean())
