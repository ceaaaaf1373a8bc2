"""Cora and CiteSeer in the Planetoid form: citation graphs with words as features and a fixed split."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coursework.data import archives, sources, standins
from coursework.data.sources import Source

Name = Literal["Cora", "CiteSeer"]


@dataclass(frozen=True)
class CitationGraph:
    name: str
    x: Tensor  # words of each paper, float32 [N, F], as in the file (not normalised)
    edge_index: Tensor  # int64 [2, E], both directions of each edge, no duplicates, no self-loops
    y: Tensor  # class of each paper, int64 [N]
    train_mask: Tensor  # 20 papers of each class, bool [N]
    val_mask: Tensor
    test_mask: Tensor
    num_classes: int
    source: Source


def distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct numbers, sorted. Without counts ``np.unique`` hashes them first: ten times as long."""
    return np.unique(keys, return_counts=True)[0]


def symmetric_edges(edges: np.ndarray, n: int) -> np.ndarray:
    """Both directions of each pair of ``edges`` ``[m, 2]``, once each, no loops: int64 ``[2, E]``."""
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    edges = edges[edges[:, 0] != edges[:, 1]]
    first, second = np.concatenate([edges, edges[:, ::-1]]).T
    keys = distinct(first * n + second)  # sorted by the first node
    return np.stack([keys // n, keys % n])


def load(name: Name = "Cora") -> CitationGraph:
    """A citation graph with its public split, as PyG reads it."""
    source = sources.find(name.lower())
    if not source.is_standin:
        from torch_geometric.io import read_planetoid_data  # takes a second, so here

        folder = source.files[0].parent  # of pickles, which are safe: find compared their checksums
        with archives.reading(folder, Exception), warnings.catch_warnings():  # they are of 2016
            warnings.simplefilter("ignore")
            data = read_planetoid_data(str(folder), name.lower())
        words, links, labels = data.x, data.edge_index, data.y
        masks = [data.train_mask, data.val_mask, data.test_mask]
    else:
        x, edges, y = standins.citations(name.lower())
        order = np.random.default_rng(0).permutation(len(y))
        known = np.concatenate([order[y[order] == c][:20] for c in range(y.max() + 1)])
        rest = order[~np.isin(order, known)]
        masks = [*torch.zeros(3, len(y), dtype=torch.bool)]
        for mask, part in zip(masks, (known, rest[:150], rest[150:]), strict=True):
            mask[torch.from_numpy(part)] = True
        arrays = x.astype(np.float32), symmetric_edges(edges, len(y))[::-1].copy(), y
        words, links, labels = map(torch.from_numpy, arrays)
    train, validation, test = masks
    classes = int(labels.max()) + 1
    return CitationGraph(name, words, links, labels, train, validation, test, classes, source)
