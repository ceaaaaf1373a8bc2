import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import planetoid, sources, wikipedia
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_broken_files_of_a_citation_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = Source("cora", "cache", "x", (tmp_path / "ind.cora.x",), "")
    monkeypatch.setattr(sources, "find", lambda name: source)
    for content in (b"", b"\x80\x02s."):  # what else a checksum would not have let through
        source.files[0].write_bytes(content)
        with pytest.raises(DataError, match="cannot be read .*; fetch it again"):
            planetoid.load("Cora")


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
