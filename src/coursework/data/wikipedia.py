"""Wikipedia page networks (Rozemberczki, Allen and Sarkar, 2019): predict how often a page is visited.

Nodes are pages, edges mutual links, features the informative nouns of a page. Many pages,
probably redirects, have the neighbours and the traffic of another one, which a random split parts.
"""

import io
import itertools
import json
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coursework.data import archives, sources, standins
from coursework.data.planetoid import distinct, symmetric_edges
from coursework.data.sources import Source
from coursework.data.splits import group_split, random_split
from coursework.errors import ConfigError

Name = Literal["chameleon", "squirrel", "crocodile"]
NAMES: tuple[Name, ...] = ("chameleon", "squirrel", "crocodile")
PARTS = ("edges.csv", "target.csv", "features.json")
FRACTIONS = (0.8 * 0.9, 0.8 * 0.1, 0.2)  # 80 : 20, and a tenth of the first held back


@dataclass(frozen=True)
class WikipediaGraph:
    name: str
    x: Tensor  # nouns of each page, a sparse CSR matrix of ones [N, F]
    edge_index: Tensor  # int64 [2, E]: links made symmetric, duplicates merged, self-loops removed
    traffic: Tensor  # average monthly visits, float64 [N]
    y: Tensor  # ln(1 + traffic), float32 [N]
    twin_group: Tensor  # int64 [N]: the same number for pages with the same set of neighbours
    source: Source

    @property
    def num_nodes(self) -> int:
        return len(self.y)


def twin_groups(edge_index: np.ndarray, n: int) -> np.ndarray:
    """Number of each node's set of neighbours, int64 ``[n]``; edges ``[2, E]`` are sorted by row."""
    bounds = np.searchsorted(edge_index[0], np.arange(n + 1))
    numbers: dict[bytes, int] = {}
    neighbours = np.ascontiguousarray(edge_index[1])
    sets = [neighbours[a:b].tobytes() for a, b in itertools.pairwise(bounds)]
    return np.array([numbers.setdefault(s, len(numbers)) for s in sets], dtype=np.int64)


def sparse_rows(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """A float32 CSR matrix with ones at the given places (each place once)."""
    keys = distinct(np.asarray(rows, np.int64) * shape[1] + np.asarray(columns, np.int64))
    starts = np.searchsorted(keys, np.arange(shape[0] + 1) * shape[1])
    parts = torch.from_numpy(starts), torch.from_numpy(keys % shape[1]), torch.ones(len(keys))
    with warnings.catch_warnings():  # torch says once per process that its CSR format is young
        warnings.filterwarnings("ignore", message=".*[Ss]parse.*")
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=True)


def _read_archive(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(page, noun) places ``[W, 2]``, edges ``[m, 2]`` and traffic ``[n]``."""
    with archives.reading(path):
        members = (archives.member(path, f"wikipedia/{name}/musae_{name}_{p}") for p in PARTS)
        links, visits, words = members
        tables = (io.BytesIO(raw) for raw in (links, visits))
        edges, target = (np.loadtxt(t, np.int64, delimiter=",", skiprows=1) for t in tables)
        nouns = json.loads(words)
    places = [(page, noun) for page in range(len(target)) for noun in nouns[str(page)]]
    return np.array(places, np.int64), edges, target[:, 1].astype(np.float64)


def load(name: Name = "chameleon") -> WikipediaGraph:
    """Load a page network; the self-loops of the files (50, 140 and 145; PyG keeps them) are removed."""
    if name not in NAMES:
        raise ConfigError(f"There is no page network {name!r}; choose one of {', '.join(NAMES)}.")
    source = sources.find("wikipedia")
    real = not source.is_standin
    words, edges, traffic = _read_archive(source.files[0], name) if real else standins.pages(name)
    n, width = len(traffic), int(words[:, 1].max()) + 1
    x = sparse_rows(words[:, 0], words[:, 1], (n, width))
    edge_index = symmetric_edges(edges, n)
    arrays = edge_index, traffic, np.log1p(traffic).astype(np.float32), twin_groups(edge_index, n)
    links, visits, target, twins = map(torch.from_numpy, arrays)
    return WikipediaGraph(name, x, links, visits, target, twins, source)


split_random = partial(random_split, fractions=FRACTIONS)
split_grouped = partial(group_split, fractions=FRACTIONS)  # no twin in another part
