import itertools
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import karate, planetoid, sources, wikipedia
from coursework.data.sources import Source
from coursework.errors import DataError

NODE = st.integers(0, 11)
EDGES = st.lists(st.tuples(NODE, NODE), max_size=30)


@given(EDGES)
def test_symmetric_edges(edges: list[tuple[int, int]]) -> None:
    expected = sorted({(a, b) for a, b in edges if a != b} | {(b, a) for a, b in edges if a != b})
    ours = planetoid.symmetric_edges(np.array(edges), 12)
    assert [*map(tuple, ours.T.tolist())] == expected


@given(EDGES)
def test_twins_have_the_same_neighbours(edges: list[tuple[int, int]]) -> None:
    edge_index = planetoid.symmetric_edges(np.array(edges), 12)
    groups = wikipedia.twin_groups(edge_index, 12)
    neighbours = [frozenset(edge_index[1][edge_index[0] == v].tolist()) for v in range(12)]
    for a, b in itertools.combinations(range(12), 2):
        assert (groups[a] == groups[b]) == (neighbours[a] == neighbours[b])


def test_files_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few, more = np.zeros((2, 3)), np.zeros((4, 3))
    parts: dict[str, Any] = {"x": few, "tx": few, "allx": more}
    parts |= {"y": np.eye(2), "ty": np.eye(2), "ally": np.zeros((4, 2))}
    files = {part: tmp_path / part for part in (*parts, "graph", "test.index")}
    monkeypatch.setattr(planetoid, "_unpickle", lambda path: parts[path.name])

    def read(index: str, last: int = 5) -> Any:
        parts["graph"] = defaultdict(list, {0: [1, last], 1: [0]})
        files["test.index"].write_text(index)
        return planetoid._read("Cora", files)

    x, _, y, train, test = read("5\n4\n")
    assert x.shape == (6, 3)
    assert y[[5, 4]].tolist() == [0, 1]  # the test papers stand in the order of the index
    assert (train.tolist(), test.tolist()) == ([0, 1], [5, 4])
    with pytest.raises(DataError, match="an edge names a paper that is not there"):
        read("5\n4\n", last=9)
    with pytest.raises(DataError, match="do not follow"):
        read("7\n6\n")
    with pytest.raises(DataError, match="fetch them again"):
        read("4\nfive\n")


def test_parts_of_the_public_split_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    x, edges, y = np.zeros((44, 3), np.float32), np.array([[0, 1]]), np.arange(44) % 2
    read = x, edges, y, np.arange(40), np.array([43, 42])
    monkeypatch.setattr(planetoid, "_read", lambda name, files: read)
    monkeypatch.setattr(sources, "find", lambda name: Source(name, "cache", "x", (), ""))
    monkeypatch.setattr(planetoid, "_N_VALIDATION", 2)
    graph = planetoid.load("Cora")
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    found = [mask.nonzero()[:, 0].tolist() for mask in masks]
    assert found == [[*range(40)], [40, 41], [42, 43]]


def test_archive_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "wikipedia.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (
            ("edges.csv", "id1,id2\n0,1\n1,0\n2,2\n2,0\n"),
            ("target.csv", "id,target\n0,10\n1,200\n2,3000\n"),
            ("features.json", '{"0": [1, 4], "2": [0], "1": []}'),
        ):
            file.writestr(f"wikipedia/chameleon/musae_chameleon_{name}", content)
    source = Source("wikipedia", "cache", "x", (path,), "")
    monkeypatch.setattr(sources, "find", lambda name: source)
    graph = wikipedia.load("chameleon")
    assert graph.edge_index.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]
    assert graph.traffic.tolist() == [10, 200, 3000]
    torch.testing.assert_close(graph.y, torch.log1p(graph.traffic).float())
    assert graph.x.to_dense().tolist() == [[0, 1, 0, 0, 1], [0] * 5, [1, 0, 0, 0, 0]]
    torch.testing.assert_close(graph.x @ torch.ones(5, 1), torch.tensor([[2.0], [0], [1]]))
    assert graph.twin_group.tolist() == [0, 1, 1]


def test_page_splits() -> None:
    assert wikipedia.split_random(1000, 3).sizes == (720, 80, 200)
    split = wikipedia.split_grouped(np.arange(1000) // 4, 3)
    assert abs(len(split.test) - 200) <= 4
    sides = [set(part // 4) for part in (split.train, split.validation, split.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_karate_club(monkeypatch: pytest.MonkeyPatch) -> None:
    club = karate.load()
    torch.testing.assert_close(club.x, torch.eye(34))
    assert club.edge_index.shape == (2, 156)
    assert club.y.unique().tolist() == [0, 1, 2, 3]
    assert sorted(club.edge_index[1][club.edge_index[0] == 10].tolist()) == [0, 4, 5]
    assert club.source.label == "real (package)"
    entry = sources.info("karate")
    assert entry.package is not None
    changed = replace(entry, package=replace(entry.package, sha256="1" * 64))
    monkeypatch.setitem(sources.REGISTRY, "karate", changed)
    with pytest.raises(DataError, match="pip install torch-geometric"):
        karate.load()
