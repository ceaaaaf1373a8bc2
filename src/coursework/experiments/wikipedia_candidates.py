"""Problem 3(c): for each page, the pages that may tell something about its traffic.

:class:`~coursework.models.residual_attention.ResidualAttention` looks at a short list of look-alikes. The
list is made from links and words alone, never from targets: the pages that are nearest by cosine
similarity

* of the **links**, each weighted down by how many pages have it (inverse document frequency),
* of the **links and the page itself**, so that two pages that link to each other have something in common,
* of the **words**, weighted likewise,
* of the **neighbours' words**, in the space of their largest singular vectors,

and the **neighbours** with the fewest links. Redirects to one article have equal links, so they are on each
other's lists; in a grouped split the model leaves them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from coursework.data.wikipedia import WikipediaGraph
from coursework.models.residual_attention import Candidates

__all__ = ["PAIR_FEATURES", "candidates", "node_features"]

PAIR_FEATURES = (
    "cosine of the links",
    "cosine of the links and the page",
    "cosine of the words",
    "cosine of the neighbours' words",
    "Jaccard index of the neighbours",
    "share of the smaller neighbourhood in common",
    "equal neighbourhoods",
    "linked",
    "ln(1 + common neighbours)",
    "ln(1 + degree), page",
    "ln(1 + degree), candidate",
    "difference of the two",
    "absolute difference of the two",
)
"""Columns of the pair features, before they are standardised over the pairs of the graph."""

_BLOCK = 512  # rows of a similarity matrix that are dense at a time


def _links(graph: WikipediaGraph) -> Any:
    from scipy import sparse

    n = graph.num_nodes
    source, target = graph.edge_index.numpy()
    a = sparse.csr_matrix((np.ones(len(source), np.float32), (target, source)), shape=(n, n))
    a.data[:] = 1  # an edge listed twice is one edge
    return a


def _words(graph: WikipediaGraph) -> Any:
    """Words of the pages, weighted by inverse document frequency: CSR `[N, F]`."""
    from scipy import sparse

    x = graph.x
    if x.layout == torch.strided:
        return sparse.csr_matrix(x.numpy())
    values, columns, rows = x.values(), x.col_indices(), x.crow_indices()
    words = sparse.csr_matrix(
        (values.numpy(), columns.numpy(), rows.numpy()), shape=tuple(x.shape), dtype=np.float32
    )
    return words @ sparse.diags(_idf(words))


def _idf(m: Any) -> np.ndarray:
    """ln(rows / rows that have the column), `[columns]`."""
    return np.log(m.shape[0] / np.maximum(np.asarray((m != 0).sum(0)).ravel(), 1)).astype(
        np.float32
    )


def _unit(m: Any) -> Any:
    """Rows of length one; rows of zeros stay."""
    from sklearn.preprocessing import normalize

    return normalize(m)


def _nearest(m: Any, k: int) -> np.ndarray:
    """Numbers of the ``k`` rows most similar to each row of unit length, itself excluded: `[N, k]`."""
    from scipy import sparse

    n, found = m.shape[0], []
    other = m.T.tocsr() if sparse.issparse(m) else m.T
    for begin in range(0, n, _BLOCK):
        block = m[begin : begin + _BLOCK] @ other
        similar = torch.from_numpy(block.toarray() if sparse.issparse(block) else block)
        rows = torch.arange(len(similar))
        similar[rows, rows + begin] = -1
        found.append(similar.topk(min(k, n - 1), dim=1).indices)
    return torch.cat(found).numpy()


def _products(m: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Scalar products of pairs of rows, `[E]`."""
    from scipy import sparse

    if not sparse.issparse(m):
        return np.einsum("ef,ef->e", m[rows], m[columns])
    found = [
        np.asarray(m[rows[i : i + 50_000]].multiply(m[columns[i : i + 50_000]]).sum(1)).ravel()
        for i in range(0, len(rows), 50_000)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _neighbour_words(links: Any, words: Any, width: int) -> np.ndarray:
    """Mean words of the neighbours in their largest singular directions: `[N, width]`."""
    from sklearn.decomposition import TruncatedSVD

    mean = _row_mean(links) @ words
    width = min(width, min(mean.shape) - 1)
    return TruncatedSVD(width, random_state=0).fit_transform(mean).astype(np.float32)


def _row_mean(links: Any) -> Any:
    from scipy import sparse

    return sparse.diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links


def candidates(graph: WikipediaGraph, top: int = 30) -> Candidates:
    """The list of every page.

    Args:
        graph: The pages; no target is read.
        top: How many pages each kind of similarity puts on the list (fewer where they agree).

    Returns:
        Candidates with :data:`PAIR_FEATURES`, each column with mean 0 and standard deviation 1.
    """
    from scipy import sparse

    n = graph.num_nodes
    links, words = _links(graph), _words(graph)
    degree = np.asarray(links.sum(1)).ravel()
    spaces = [
        _unit(links @ sparse.diags(np.sqrt(_idf(links)) + 1e-3)),
        _unit((links + sparse.eye(n, format="csr", dtype=np.float32)).tocsr()),
        _unit(words),
        _unit(_neighbour_words(links, words, 64)),
    ]
    listed = [
        sparse.csr_matrix(
            (np.ones(near.size, np.float32), near.ravel(), np.arange(n + 1) * near.shape[1]),
            shape=(n, n),
        )
        for near in (_nearest(space, top) for space in spaces)
    ]
    union = (sum(listed[1:], listed[0]) + _least_linked(links, top)).tocsr()
    union.setdiag(0)
    union.eliminate_zeros()
    union.sort_indices()
    page = np.repeat(np.arange(n), np.diff(union.indptr))
    other = union.indices
    common = _products(links, page, other)
    # the candidates of a kind may have nothing in common at all: cosine 0 is no similarity
    log_degree, group = np.log1p(degree), graph.twin_group.numpy()
    columns = [
        *(_products(space, page, other) for space in spaces),
        common / np.maximum(degree[page] + degree[other] - common, 1),
        common / np.maximum(np.minimum(degree[page], degree[other]), 1),
        group[page] == group[other],
        np.asarray(links[page, other]).ravel(),
        np.log1p(common),
        log_degree[page],
        log_degree[other],
        log_degree[page] - log_degree[other],
        np.abs(log_degree[page] - log_degree[other]),
    ]
    return Candidates(
        torch.from_numpy(union.indptr.astype(np.int64)),
        torch.from_numpy(other.astype(np.int64)),
        _standardised(np.stack(columns, axis=1)),
    )


def _least_linked(links: Any, k: int) -> Any:
    """For each page its ``k`` neighbours with the fewest links of their own, as a CSR matrix."""
    from scipy import sparse

    degree = np.asarray(links.sum(1)).ravel()
    rows, columns = links.nonzero()
    order = np.lexsort((columns, degree[columns], rows))
    rows, columns = rows[order], columns[order]
    begin = np.searchsorted(rows, np.arange(links.shape[0]))
    kept = np.arange(len(rows)) - begin[rows] < k
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_matrix((ones, (rows[kept], columns[kept])), shape=links.shape)


def node_features(graph: WikipediaGraph, statistics: np.ndarray) -> Tensor:
    """What :class:`ResidualAttention` reads of a page: float32 `[N, F]`, each column standardised.

    Singular vectors of the words, of the neighbours' words and of the links, and the ``statistics`` `[N, S]`.
    """
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD

    links, words = _links(graph), _words(graph)

    def reduced(m: Any, width: int) -> np.ndarray:
        return TruncatedSVD(min(width, min(m.shape) - 1), random_state=0).fit_transform(m)

    own = reduced(words, 64)
    scaled = links @ sparse.diags(1 / np.sqrt(np.maximum(np.asarray(links.sum(1)).ravel(), 1)))
    columns = [own, _row_mean(links) @ own, reduced(scaled, 32), statistics]
    return _standardised(np.hstack(columns))


def _standardised(columns: np.ndarray) -> Tensor:
    columns = columns.astype(np.float64)
    spread = columns.std(0) if len(columns) else np.ones(columns.shape[1])
    mean = columns.mean(0) if len(columns) else np.zeros(columns.shape[1])
    return torch.from_numpy((columns - mean) / np.where(spread > 1e-9, spread, 1)).float()
