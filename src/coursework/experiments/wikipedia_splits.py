"""Problem 3(c): which pages are tested, what models may see of a split, and how they are measured."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold
from torch import Tensor

from coursework.data import wikipedia as pages
from coursework.data.splits import Split, group_split
from coursework.data.wikipedia import WikipediaGraph
from coursework.errors import ConfigError
from coursework.experiments.wikipedia_candidates import Inputs, neighbour_labels

SplitKind = Literal["random", "grouped", "strict"]
# random: as the assignment asks; grouped: pages with equal links stay together; strict: also pages with
# nearly equal links or equal traffic
KINDS: tuple[SplitKind, ...] = get_args(SplitKind)
SPLITS = KINDS[:2]  # the default
TEST, VALIDATION = 0.2, 0.08  # shares of all pages


def split_of(n: int, groups: Tensor | None, seed: int, train_share: float = 1.0) -> Split:
    """Training, validation and test pages, 72 : 8 : 20, with every group on one side.

    A group that would fill the validation part, a chain of many pages in the strict split, always trains.
    """
    if groups is None:
        split = pages.split_random(n, seed)
    else:
        large = (torch.bincount(groups) > VALIDATION * n)[groups].numpy()
        split = _beside(large, groups, seed) if large.any() else pages.split_grouped(groups, seed)
    used = round(train_share * len(split.train))  # the rows are in random order
    if used == 0:
        pages_left = f"train_share is {train_share}, which leaves no page to train on"
        raise ConfigError(f"{pages_left}; take more than {0.5 / len(split.train):.2g}.")
    return dataclasses.replace(split, train=split.train[:used])


def _beside(large: np.ndarray, groups: Tensor, seed: int) -> Split:
    """Split the other pages; those of ``large`` groups train."""
    rest, chains = np.flatnonzero(~large), np.flatnonzero(large)
    if len(rest) <= (VALIDATION + TEST) * len(large):
        raise ConfigError("Nearly all pages are chained by similar links; raise alike.")
    held, test = (share * len(large) / len(rest) for share in (VALIDATION, TEST))
    found = group_split(groups.numpy()[rest], seed, fractions=(1 - (held + test), held, test))
    train = np.random.default_rng(seed).permutation([*rest[found.train], *chains])
    return Split(train, rest[found.validation], rest[found.test])


def scale(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over some pages; 1 in place of a deviation of 0."""
    spread = values[rows].std(0)
    return values[rows].mean(0), np.where(spread > 0, spread, 1)


def boosted(x: np.ndarray, y: np.ndarray, rows: np.ndarray, trees: int) -> Any:
    """``trees`` boosted trees for the absolute error, fitted on some rows of x `[N, F]` and y `[N]`."""
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=trees, learning_rate=0.1, min_samples_leaf=5,
        early_stopping=False, random_state=0,
    )  # fmt: skip
    return model.fit(x[rows], y[rows])


def out_of_fold(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, groups: Tensor | None, trees: int = 200
) -> np.ndarray:
    """Predictions `[N]` of trees that did not see the page (stacked generalisation, Wolpert 1992).

    The known rows are cut into five folds, a group in one of them: trees fitted on four predict the
    fifth, and a page that is not known has the mean of all five.
    """
    group = rows if groups is None else groups.numpy()[rows]
    known, found = np.full(len(y), np.nan), []
    for four, fifth in GroupKFold(5, shuffle=True, random_state=0).split(rows, groups=group):
        found.append(boosted(x, y, rows[four], trees).predict(x))
        known[rows[fifth]] = found[-1][rows[fifth]]
    return np.where(np.isnan(known), np.mean(found, axis=0), known)


@dataclass(frozen=True)
class Task:
    """One split of a graph, as the models see it."""

    inputs: Inputs
    kind: SplitKind
    groups: Tensor | None  # `[N]`, where the split keeps groups together
    split: Split
    rows: np.ndarray  # pages that the final models are fitted on

    @property
    def graph(self) -> WikipediaGraph:
        return self.inputs.graph

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
    def weights(self) -> Tensor:
        """Weight of each page in a loss, mean 1: pages of large groups weigh less, `[N]`."""
        if self.groups is None:
            return torch.ones(self.graph.num_nodes)
        weights = torch.bincount(self.groups)[self.groups].float().rsqrt()
        return weights / weights[self.rows].mean()

    @cached_property
    def neighbour_labels(self) -> Tensor:
        """What the neighbours' known targets say, `[N, 6]`."""
        return neighbour_labels(self.graph, self.target, self.known, self.groups)

    @cached_property
    def boosted(self) -> Tensor:
        """Out-of-fold predictions of trees, by page and neighbours, and by all that was carried: `[N, 2]`."""
        carried = torch.cat([self.inputs.propagated, self.neighbour_labels], dim=1)
        y, *read = (x.double().numpy() for x in (self.target, self.inputs.dense, carried))
        columns = [out_of_fold(x, y, self.rows, self.groups) for x in read]
        return torch.from_numpy(np.stack(columns, axis=1)).float()

    @cached_property
    def statistics(self) -> Tensor:
        """The statistics of the graph, standardised, float32 `[N, S]`."""
        values = self.inputs.statistics.astype(np.float32)
        mean, spread = (v.astype(np.float32) for v in scale(values, self.rows))
        return torch.from_numpy((values - mean) / spread)

    @property
    def fresh(self) -> np.ndarray:
        """Test pages whose exact traffic no fitted page has."""
        test, traffic = self.split.test, self.graph.traffic.numpy()
        return test[~np.isin(traffic[test], traffic[self.rows])]


def copies(task: Task) -> dict[str, float]:
    """Shares of the test pages that have a copy of each kind among the fitted pages."""
    graph, known, asked = task.graph, task.rows, task.split.test
    group, traffic = graph.twin_group.numpy(), graph.traffic.numpy()
    twin = np.isin(group[asked], group[known])
    shares = {
        "test_share_with_twin": twin,
        "test_share_with_near_twin": twin | (task.inputs.near[asked][:, known].getnnz(1) > 0),
        "test_share_with_equal_traffic": np.isin(traffic[asked], traffic[known]),
    }
    if task.groups is not None:
        shares["share_of_largest_group"] = (task.groups == task.groups.mode().values).numpy()
    return {f"{task.kind}.{name}": float(share.mean()) for name, share in shares.items()}


def one_per_group(groups: Tensor, rows: np.ndarray) -> np.ndarray:
    """Weights that give every group among the pages ``rows`` the same weight."""
    _, group, size = np.unique(groups.numpy()[rows], return_inverse=True, return_counts=True)
    return 1 / size[group]


def measures(graph: WikipediaGraph, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    r"""Errors of predictions `[N]` on the pages ``rows``; in ``group_mae_ln`` a group of twins counts once.

    What minimises the absolute error is a median, and the median of the visits is :math:`e^{\hat y} - 1`.
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
