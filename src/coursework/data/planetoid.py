"""Cora and CiteSeer in the Planetoid form: citation graphs with words as features and a fixed split."""

import io
import pickle
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from coursework.data import archives, sources, standins
from coursework.data.sources import Source
from coursework.errors import ConfigError

Name = Literal["Cora", "CiteSeer"]
_N_VALIDATION = 500


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


class _Unpickler(pickle.Unpickler):  # pickles can run code: nothing but arrays is known here
    def find_class(self, module: str, name: str) -> Any:
        from numpy._core.multiarray import _reconstruct  # type: ignore[attr-defined]

        known = {
            ("scipy.sparse.csr", "csr_matrix"): csr_matrix,  # the module's name of then
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("collections", "defaultdict"): defaultdict,
            ("__builtin__", "list"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]


def _unpickle(path: Path) -> Any:
    with archives.reading(path, Exception):  # a broken pickle may raise anything
        value = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return value.toarray() if isinstance(value, csr_matrix) else value


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


def _read(name: str, files: dict[str, Path]) -> tuple[np.ndarray, ...]:
    """Words, edges, classes, training and test papers; ``tx`` is in the order of ``test.index``."""
    parts = "allx", "tx", "ally", "ty", "y", "graph"
    allx, tx, ally, ty, y, graph = (_unpickle(files[part]) for part in parts)
    unfit = f"The files of {name} do not fit together"
    try:
        test = np.array(files["test.index"].read_text(encoding="utf-8").split(), dtype=np.int64)
        first = len(allx)
        if test.min() != first or len(test) != len(tx):
            raise archives.wrong(f"{unfit} (the test papers do not follow the others)", "them")
        # CiteSeer lacks some papers in the test range: they have no words and class 0
        n = int(test.max()) + 1
        x = np.zeros((n, allx.shape[1]), np.float32)
        labels = np.zeros((n, ally.shape[1]), np.float32)
        x[:first], labels[:first] = allx, ally
        x[test], labels[test] = tx, ty
        edges = np.array([(a, b) for a, others in graph.items() for b in others], dtype=np.int64)
        if edges.min() < 0 or edges.max() >= n:
            raise archives.wrong(f"{unfit} (an edge names a paper that is not there)", "them")
        train = np.arange(len(y))  # the training papers come first
    except (ValueError, AttributeError, IndexError, TypeError, OverflowError) as error:
        raise archives.wrong(f"{unfit} (numbers or rows are missing)", "them") from error
    return x, edges, labels.argmax(axis=1).astype(np.int64), train, test


def load(name: Name = "Cora") -> CitationGraph:
    """A citation graph with its public split, edge by edge what PyG's ``Planetoid`` gives."""
    if name not in ("Cora", "CiteSeer"):
        raise ConfigError(f"There is no citation graph {name!r}; choose Cora or CiteSeer.")
    source = sources.find(name.lower())
    if source.is_standin:
        x, edges, y = standins.citations(name.lower())
        order = np.random.default_rng(0).permutation(len(y))
        train = np.concatenate([order[y[order] == c][:20] for c in range(y.max() + 1)])
        rest = order[~np.isin(order, train)]
        parts = train, rest[:150], rest[150:]
    else:
        files = {path.name.split(".", 2)[2]: path for path in source.files}
        x, edges, y, train, test = _read(name, files)
        parts = (train, np.arange(len(train), len(train) + _N_VALIDATION), test)
    n, classes = len(x), int(y.max()) + 1
    masks = torch.zeros(3, n, dtype=torch.bool)
    for mask, part in zip(masks, parts, strict=True):
        mask[torch.from_numpy(part)] = True
    arrays = x.astype(np.float32), symmetric_edges(edges, n)[::-1].copy(), y
    (words, links, labels), (train, validation, test) = map(torch.from_numpy, arrays), masks
    return CitationGraph(name, words, links, labels, train, validation, test, classes, source)
