"""Problem 3(c): what the links and words of a page say, and which pages are similar to it.

Letters: `N` pages, `F` columns, `S` statistics, `E` pairs of pages.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import networkx as nx
import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import QuantileTransformer, normalize
from torch import Tensor

from coursework.data.planetoid import symmetric_edges
from coursework.data.wikipedia import WikipediaGraph, twin_groups
from coursework.models.residual_attention import Candidates
from coursework.training import seeds

FEWEST_LINKS = 3  # that two pages need: sets of fewer are similar by chance


def _idf(m: Any) -> np.ndarray:
    """ln(rows / rows that have the column), `[F]`."""
    return np.log(m.shape[0] / np.maximum(m.getnnz(0), 1)).astype(np.float32)


def _equal(keys: np.ndarray) -> Any:
    """Pairs of pages with the same key, each page with itself: CSR `[N, N]`."""
    _, group = np.unique(keys, return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(keys), bool), (np.arange(len(keys)), group)))
    return member @ member.T


def _reduced(m: Any, width: int) -> np.ndarray:
    """Rows in the directions of the largest singular values: `[N, width]`."""
    return TruncatedSVD(min(width, min(m.shape) - 1), random_state=0).fit_transform(m)


def _standardised(columns: np.ndarray) -> Tensor:
    """Each column with mean 0 and standard deviation 1 (0 where all values are equal), float32."""
    columns = columns.astype(np.float64)
    spread = columns.std(0)
    scaled = (columns - columns.mean(0)) / np.where(spread > 1e-9, spread, 1)
    return torch.from_numpy(scaled).float()


def neighbour_labels(
    graph: WikipediaGraph, target: Tensor, known: Tensor, groups: Tensor | None
) -> Tensor:
    """Mean (drawn to 0 where there are few) and number of the known targets of a page's neighbours: `[N, 6]`.

    With three weights of a neighbour of degree d: 1, 1/sqrt(d), 1/d. Own target and, where a split keeps
    groups together, own group are not read.
    """
    source, to = graph.edge_index
    degree = torch.bincount(to, minlength=graph.num_nodes).clamp(min=1).double()
    seen = known[source] & (source != to)
    if groups is not None:
        seen &= groups[source] != groups[to]
    source, to, columns = source[seen], to[seen], []
    for power in (0.0, -0.5, -1.0):
        weights = degree[source] ** power
        one = float(weights.mean()) if len(weights) else 1.0
        zero = torch.zeros(graph.num_nodes, dtype=torch.float64)
        total = zero.index_add(0, to, weights)
        mean = zero.index_add(0, to, weights * target[source].double()) / (total + one)
        columns += [mean, (total / one).log1p()]
    return _standardised(torch.stack(columns, dim=1).numpy()).clamp(-4, 4)


def shuffled(graph: WikipediaGraph, what: Literal["links", "pages"], seed: int) -> WikipediaGraph:
    """The graph with links that lead elsewhere, about as many of each page, or with those of another page."""
    random, (source, target) = seeds.generator(seed, "shuffled"), graph.edge_index
    if what == "links":
        source, target = source[source < target], target[source < target]
        target = target[torch.randperm(len(target), generator=random)]
    else:
        place = torch.randperm(graph.num_nodes, generator=random)
        source, target = place[source], place[target]
    edges = symmetric_edges(torch.stack([source, target], dim=1).numpy(), graph.num_nodes)
    twins = torch.from_numpy(twin_groups(edges, graph.num_nodes))
    return dataclasses.replace(graph, edge_index=torch.from_numpy(edges), twin_group=twins)


def _nearest(m: Any, k: int) -> Any:
    """Ones at the ``k`` rows most similar to each row of unit length, itself excluded: CSR `[N, N]`."""
    n, found = m.shape[0], []
    other = m.T.tocsr() if sparse.issparse(m) else m.T
    for begin in range(0, n, 512):  # these rows of the similarities are dense at a time
        block = m[begin : begin + 512] @ other
        similar = torch.from_numpy(block.toarray() if sparse.issparse(block) else block)
        similar[:, begin:].fill_diagonal_(-1)
        found.append(similar.topk(min(k, n - 1), dim=1).indices)
    near = torch.cat(found).numpy()  # [N, k]
    pointers = np.arange(n + 1) * near.shape[1]
    return sparse.csr_matrix((np.ones(near.size, np.float32), near.ravel(), pointers), shape=(n, n))


def _least_linked(links: Any, k: int) -> Any:
    """Ones at the ``k`` neighbours with the fewest links of their own: CSR `[N, N]`."""
    degree, (rows, columns) = np.diff(links.indptr), links.nonzero()
    order = np.lexsort((columns, degree[columns], rows))
    rows, columns = rows[order], columns[order]
    kept = np.arange(len(rows)) - np.searchsorted(rows, np.arange(links.shape[0]))[rows] < k
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_matrix((ones, (rows[kept], columns[kept])), shape=links.shape)


def _products(m: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Scalar products of pairs of rows, `[E]`."""
    if not sparse.issparse(m):
        return np.einsum("ef,ef->e", m[rows], m[columns])
    blocks = (slice(i, i + 50_000) for i in range(0, len(rows), 50_000))
    found = [m[rows[block]].multiply(m[columns[block]]).sum(1).A1 for block in blocks]
    return np.concatenate([np.zeros(0, np.float32), *found])


@dataclass(frozen=True)
class Inputs:
    """What the models read of a graph, made when first asked for; targets only for the strict groups."""

    graph: WikipediaGraph
    top: int = 30  # candidates of each kind
    alike: float = 0.8  # Jaccard index of nearly equal links

    @cached_property
    def links(self) -> Any:
        """The adjacency matrix for SciPy, float32 `[N, N]`."""
        n, (source, target) = self.graph.num_nodes, self.graph.edge_index.numpy()
        return sparse.csr_matrix((np.ones(len(source), np.float32), (target, source)), shape=(n, n))

    @cached_property
    def words(self) -> Any:
        """The words of the pages for SciPy, float32 `[N, F]`."""
        x = self.graph.x
        parts = x.values(), x.col_indices(), x.crow_indices()
        return sparse.csr_matrix(tuple(map(Tensor.numpy, parts)), shape=tuple(x.shape))

    @cached_property
    def weighted_words(self) -> Any:
        """The words, rare ones count more, `[N, F]`."""
        return self.words @ sparse.diags(_idf(self.words))

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of links, float32 `[N]`."""
        return np.diff(self.links.indptr).astype(np.float32)

    @cached_property
    def row_mean(self) -> Any:
        """The matrix that takes the mean over the neighbours, `[N, N]`."""
        return sparse.diags(1 / np.maximum(self.degree, 1)) @ self.links

    @cached_property
    def statistics(self) -> np.ndarray:
        """What can be said of a page from the links alone: float64 `[N, S]`."""
        n, (source, target) = self.graph.num_nodes, self.graph.edge_index.numpy()
        a, degree = self.links.astype(np.float64), self.degree.astype(np.float64)  # [N, N], [N]
        log_degree, at_least_one = np.log1p(degree), np.maximum(degree, 1)
        largest = np.zeros(n)
        np.maximum.at(largest, target, log_degree[source])
        common = _products(self.links, target, source)  # neighbours of both ends of a link
        closed = np.bincount(target, common, n)  # ordered pairs of linked neighbours
        rank = np.full(n, 1 / n)
        for _ in range(50):  # power iteration; the error falls by 0.85 a step
            rank = 0.15 / n + 0.85 * (a @ (rank / at_least_one) + rank[degree == 0].sum() / n)
        group = self.graph.twin_group.numpy()
        columns = [
            log_degree,
            a @ log_degree / at_least_one,  # mean over the neighbours
            largest,  # of the neighbours
            closed / np.maximum(degree * (degree - 1), 1),  # clustering coefficient
            np.log(n * rank),
            np.log(np.bincount(group)[group]),  # pages with the same neighbours
        ]
        return np.stack(columns, axis=1)

    @cached_property
    def dense(self) -> Tensor:
        """Singular vectors of words, neighbours' words and links, and statistics: float32 `[N, F]`."""
        own = _reduced(self.weighted_words, 64)
        by_root = _reduced(self.links @ sparse.diags(1 / np.sqrt(np.maximum(self.degree, 1))), 32)
        return _standardised(np.hstack([own, self.row_mean @ own, by_root, self.statistics]))

    @cached_property
    def propagated(self) -> Tensor:
        """What is known of a page and of its neighbours without a target: float32 `[N, F']`.

        Carried along the links once, before any training, as in SGC (https://arxiv.org/abs/1902.07153) and
        SIGN (https://arxiv.org/abs/2004.11198); statistics of page and neighbours as normal quantiles.
        """
        links, mean = self.links, self.row_mean
        blocks = (links[i : i + 1000] for i in range(0, links.shape[0], 1000))
        core = nx.core_number(nx.from_scipy_sparse_array(links))
        more = (
            [core[page] for page in range(len(core))],
            self.near.sum(1).A1,  # pages with nearly the same links
            np.concatenate([(block @ links).getnnz(1) for block in blocks]),  # a walk of two links
            self.words.getnnz(1),
        )
        logs = [np.log1p(np.asarray(column, float)) for column in more]
        own = np.column_stack([self.statistics, *logs])
        average = mean @ own
        spread = np.sqrt(np.maximum(mean @ own**2 - average**2, 0))
        source, target = self.graph.edge_index
        values, none = torch.from_numpy(own)[source], torch.zeros(own.shape, dtype=torch.float64)
        place = target[:, None].expand_as(values)
        extreme = partial(none.scatter_reduce, 0, place, values, include_self=False)
        scale = QuantileTransformer(
            n_quantiles=min(500, len(own)), output_distribution="normal", random_state=0
        )
        # rounded, so that what is equal but for the order of a sum has equal quantiles
        columns = [own, average, spread, extreme("amax").numpy(), extreme("amin").numpy()]
        quantiles = scale.fit_transform(np.hstack(columns).round(6)).clip(-3, 3)
        others = self.dense[:, : -self.statistics.shape[1]]
        return torch.cat([others, torch.from_numpy(quantiles).float()], dim=1)

    @cached_property
    def near(self) -> Any:
        """Pairs of pages whose links, if not few, have a Jaccard index of at least ``alike``: `[N, N]`."""
        links, degree, pairs = self.links, self.degree, list[np.ndarray]()
        for begin in range(0, len(degree), 1000):  # the common links of all pairs are nearly dense
            common = (links[begin : begin + 1000] @ links).tocoo()
            a, b = common.row + begin, common.col
            union = degree[a] + degree[b] - common.data
            near = (common.data >= self.alike * union - 1e-6) & (a != b)
            near &= np.minimum(degree[a], degree[b]) >= FEWEST_LINKS
            pairs.append(np.stack([a[near], b[near]]))
        place = np.hstack(pairs)
        return sparse.csr_matrix((np.ones(place.shape[1], bool), place), shape=links.shape)

    @cached_property
    def alike_pages(self) -> Any:
        """The mean of a page and those with nearly its links: CSR `[N, N]`."""
        alike = (self.near + _equal(self.graph.twin_group.numpy())).astype(np.float64)
        return sparse.diags(1 / alike.getnnz(1)) @ alike

    @cached_property
    def strict(self) -> Tensor:
        """Group of each page `[N]`: equal or nearly equal links, equal traffic, or a chain of such pairs."""
        graph, pairs = self.graph, self.near
        for key in (graph.twin_group.numpy(), graph.traffic.numpy()):
            pairs = pairs + _equal(key)
        return torch.from_numpy(connected_components(pairs, directed=False)[1].astype(np.int64))

    def groups(self, kind: str) -> Tensor | None:
        """Group of each page `[N]`, if the split keeps groups together."""
        if kind == "strict":
            return self.strict
        return self.graph.twin_group if kind == "grouped" else None

    @cached_property
    def candidates(self) -> Candidates:
        """What residual attention looks at: ``top`` pages of each kind, and 13 features of each pair."""
        top, links, degree, group = self.top, self.links, self.degree, self.graph.twin_group.numpy()
        words, itself = self.weighted_words, sparse.eye(len(degree), dtype=np.float32)
        spaces = [  # of links, links and the page itself, words, neighbours' words
            normalize(links @ sparse.diags(np.sqrt(_idf(links)) + 1e-3)),
            normalize((links + itself).tocsr()),
            normalize(words),
            normalize(_reduced(self.row_mean @ words, 64).astype(np.float32)),
        ]
        union = (sum(_nearest(space, top) for space in spaces) + _least_linked(links, top)).tocsr()
        union.setdiag(0)
        union.eliminate_zeros()
        union.sort_indices()
        page, other = np.repeat(np.arange(len(degree)), np.diff(union.indptr)), union.indices
        common, mine, theirs = _products(links, page, other), degree[page], degree[other]
        own, its = np.log1p(mine), np.log1p(theirs)
        columns = [
            *(_products(space, page, other) for space in spaces),  # four cosines
            common / np.maximum(mine + theirs - common, 1),  # Jaccard index
            common / np.maximum(np.minimum(mine, theirs), 1),  # share of the smaller set
            group[page] == group[other],
            np.asarray(links[page, other]).ravel(),  # whether they are linked
            *(np.log1p(common), own, its, own - its, np.abs(own - its)),
        ]
        return Candidates(
            torch.from_numpy(union.indptr.astype(np.int64)),
            torch.from_numpy(other.astype(np.int64)),
            _standardised(np.stack(columns, axis=1)),
        )
