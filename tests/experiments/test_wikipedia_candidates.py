"""Whom a page may look at: checked by hand, blind to targets, and the same whatever the order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from coursework.data import wikipedia as pages
from coursework.data.wikipedia import WikipediaGraph
from coursework.experiments import wikipedia, wikipedia_candidates
from coursework.experiments.wikipedia_candidates import PAIR_FEATURES, candidates, node_features

TOP = 4


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> WikipediaGraph:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEWORK_DATA", "")
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COURSEWORK_OFFLINE", "1")
        return pages.load("chameleon")


def raw_columns(graph: WikipediaGraph, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr(wikipedia_candidates, "_standardised", torch.from_numpy)
    return candidates(graph, TOP).features.numpy()


def test_pairs_are_what_they_say(graph: WikipediaGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = raw_columns(graph, monkeypatch)
    assert columns.shape[1] == len(PAIR_FEATURES)
    found = candidates(graph, TOP)
    page, other = found.owners().numpy(), found.nodes.numpy()
    source, target = graph.edge_index.numpy()
    near = [set(source[target == i].tolist()) for i in range(graph.num_nodes)]
    for e in range(0, len(page), max(1, len(page) // 150)):
        a, b = near[page[e]], near[other[e]]
        both = len(a & b)
        expected = {
            "Jaccard index of the neighbours": both / max(len(a | b), 1),
            "share of the smaller neighbourhood in common": both / max(min(len(a), len(b)), 1),
            "equal neighbourhoods": float(a == b),
            "linked": float(other[e] in a),
            "ln(1 + common neighbours)": np.log1p(both),
            "ln(1 + degree), candidate": np.log1p(len(b)),
            "absolute difference of the two": abs(np.log1p(len(a)) - np.log1p(len(b))),
        }
        for name, value in expected.items():
            assert columns[e, PAIR_FEATURES.index(name)] == pytest.approx(value, abs=1e-5), name
    assert columns[:, :4].min() > -1 - 1e-5
    assert columns[:, :4].max() < 1 + 1e-5


def test_lists_are_short_and_hold_the_twins(graph: WikipediaGraph) -> None:
    found = candidates(graph, TOP)
    length = found.pointers.diff()
    assert int(length.min()) >= TOP - 1
    assert int(length.max()) <= 5 * TOP
    group, page = graph.twin_group, found.owners()
    alone = torch.bincount(group)[group] == 1
    looks_at_twin = torch.zeros(graph.num_nodes, dtype=torch.bool)
    looks_at_twin[page[group[page] == group[found.nodes]]] = True
    assert not looks_at_twin[alone].any()
    assert float(looks_at_twin[~alone].float().mean()) > 0.99


def test_targets_are_not_read(graph: WikipediaGraph) -> None:
    blind = dataclasses.replace(
        graph, y=torch.full_like(graph.y, torch.nan), traffic=torch.zeros_like(graph.traffic)
    )
    one, two = candidates(graph, TOP), candidates(blind, TOP)
    assert torch.equal(one.nodes, two.nodes)
    assert torch.equal(one.features, two.features)
    statistics = wikipedia.graph_statistics(graph)
    assert torch.equal(node_features(graph, statistics), node_features(blind, statistics))


def test_columns_are_standardised(graph: WikipediaGraph) -> None:
    for columns in (
        candidates(graph, TOP).features,
        node_features(graph, wikipedia.graph_statistics(graph)),
    ):
        assert bool(columns.isfinite().all())
        assert float(columns.mean(0).abs().max()) < 1e-3
        spread = columns.std(0, correction=0)
        assert bool(((spread - 1).abs() < 1e-3).logical_or(spread < 1e-3).all())


def test_neighbours_with_the_fewest_links_come_first() -> None:
    from scipy import sparse

    # 0 is linked with 1, 2, 3; 1 has three links, 2 has two, 3 has one
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 4)]
    rows = [a for a, b in pairs] + [b for a, b in pairs]
    columns = [b for a, b in pairs] + [a for a, b in pairs]
    links = sparse.csr_matrix((np.ones(10, np.float32), (rows, columns)), shape=(6, 6))
    kept = wikipedia_candidates._least_linked(links, 2)
    assert set(kept[0].indices) == {3, 2}
    assert set(kept[1].indices) == {4, 2}
    assert kept[5].nnz == 0
