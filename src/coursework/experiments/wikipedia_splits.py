r"""Problem 3(c): which pages are tested, what the models may see of a split, and how they are measured.

Letters: `N` pages, `S` statistics.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from coursework.data import wikipedia as pages
from coursework.data.splits import Split
from coursework.data.wikipedia import WikipediaGraph
from coursework.experiments import wikipedia_candidates
from coursework.models.residual_attention import Candidates
from coursework.models.sparse import adjacency

SplitKind = Literal["random", "grouped"]
SPLITS: tuple[SplitKind, ...] = get_args(SplitKind)


def groups_of(graph: WikipediaGraph, kind: SplitKind) -> Tensor | None:
    """Number of the group of each page `[N]`, if the split keeps groups together.

    ``random`` is what the assignment asks for. ``grouped`` keeps pages with the same set of neighbours
    together (redirects to one article, nearly always with the same traffic), so that the answer to a
    test page cannot be looked up in the training part.
    """
    return {"random": None, "grouped": graph.twin_group}[kind]


def split_of(graph: WikipediaGraph, kind: SplitKind, seed: int, train_share: float = 1.0) -> Split:
    """Training, validation and test pages; depends on the links and the seed, never on the targets."""
    groups, n = groups_of(graph, kind), graph.num_nodes
    split = pages.split_random(n, seed) if groups is None else pages.split_grouped(groups, seed)
    used = round(train_share * len(split.train))  # the rows are in random order
    return dataclasses.replace(split, train=split.train[:used])


@dataclass(frozen=True)
class Inputs:
    """What the models read of a graph, made when it is first asked for; no target is in it."""

    graph: WikipediaGraph
    top: int = 30  # candidates of each kind

    @cached_property
    def adjacency(self) -> Tensor:  # `[N, N]`, sparse
        return adjacency(self.graph.edge_index, self.graph.num_nodes)

    @cached_property
    def statistics(self) -> np.ndarray:  # float64 `[N, S]`
        return wikipedia_candidates.graph_statistics(self.graph)

    @cached_property
    def dense(self) -> Tensor:  # `[N, F]`: statistics, words, neighbours' words
        return wikipedia_candidates.node_features(self.graph, self.statistics)

    @cached_property
    def candidates(self) -> Candidates:  # the pages that each page may look at
        return wikipedia_candidates.candidates(self.graph, self.top)


def scale(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over some pages; 1 in place of a deviation of 0."""
    spread = values[rows].std(0)
    return values[rows].mean(0), np.where(spread > 0, spread, 1)


@dataclass(frozen=True)
class Task:
    """One split of a graph, as the models see it."""

    inputs: Inputs
    kind: SplitKind
    split: Split
    rows: np.ndarray  # pages that the final models are fitted on

    @property
    def graph(self) -> WikipediaGraph:
        return self.inputs.graph

    @property
    def groups(self) -> Tensor | None:
        return groups_of(self.graph, self.kind)

    @cached_property
    def target_scale(self) -> tuple[float, float]:
        mean, spread = scale(self.graph.y.numpy().astype(np.float64), self.rows)
        return float(mean), float(spread)

    @cached_property
    def target(self) -> Tensor:
        """Standardised targets of the fitted pages, NaN elsewhere: no model sees those of test pages."""
        mean, spread = self.target_scale
        target = torch.full((self.graph.num_nodes,), torch.nan)
        target[self.rows] = ((self.graph.y[self.rows].double() - mean) / spread).float()
        return target

    @cached_property
    def known(self) -> Tensor:
        """Which targets a model may look at, `[N]`."""
        return ~self.target.isnan()

    @cached_property
    def statistics(self) -> Tensor:
        """The statistics of the graph, standardised, float32 `[N, S]`."""
        values = self.inputs.statistics.astype(np.float32)
        mean, spread = (v.astype(np.float32) for v in scale(values, self.rows))
        return torch.from_numpy((values - mean) / spread)


# ------------------------------------------------------------------------------------------- measures


def one_per_group(groups: Tensor, rows: np.ndarray) -> np.ndarray:
    """Weights that give every group among the pages ``rows`` the same weight."""
    _, group, size = np.unique(groups.numpy()[rows], return_inverse=True, return_counts=True)
    return 1 / size[group]


def measures(graph: WikipediaGraph, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    r"""Errors of predictions `[N]` of :math:`\ln(1 + \text{visits})` on the pages ``rows``.

    ``mae_ln`` and ``mae_log10`` differ in the base of the logarithm; in ``group_mae_ln`` every group of
    twins counts once; ``r2`` is that of y (where all y are equal 1 if all are met, else 0). A prediction
    that minimises the absolute error is a median, and the median of the visits is :math:`e^{\hat y} - 1`:
    that is what ``mae_visits`` and ``medae_visits`` (the median absolute error) compare.
    """
    y, p = graph.y.numpy()[rows].astype(np.float64), predicted[rows].astype(np.float64)
    errors, visits = np.abs(p - y), np.abs(np.expm1(p) - graph.traffic.numpy()[rows])
    left, whole = float(((p - y) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    mae, weights = float(errors.mean()), one_per_group(graph.twin_group, rows)
    return {
        "mae_ln": mae,
        "mae_log10": mae / float(np.log(10)),
        "group_mae_ln": float(np.average(errors, weights=weights)),
        "r2": 1 - left / whole if whole > 0 else float(left == 0),
        "mae_visits": float(visits.mean()),
        "medae_visits": float(np.median(visits)),
    }


def twin_share(graph: WikipediaGraph, known: np.ndarray, asked: np.ndarray) -> float:
    """Share of the pages ``asked`` that have a twin among the pages ``known``."""
    group = graph.twin_group.numpy()
    return float(np.isin(group[asked], group[known]).mean())
