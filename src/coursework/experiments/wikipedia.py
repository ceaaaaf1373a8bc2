r"""Problem 3(c): how often Wikipedia pages are visited, from their words and their links.

A :class:`~coursework.models.graph_conv.GraphRegressor` predicts :math:`y = \ln(1 + \text{visits})` of every
page; its loss and its measure are the mean absolute error. One run does everything for one seed:

* two splits 80 : 20, one at random as the assignment asks, one **grouped**: pages with the same set of
  neighbours (redirects to the same article, nearly always with the same traffic) stay on one side, so
  that the answer to a test page cannot be looked up in the training part;
* on each of them the models of :data:`MODELS`: baselines, plain networks, the graph network without
  labels, and residual attention.

The protocol is the same for every model. A tenth of the training part is validation: it decides the
number of trees and the strength of the penalty, and on it the networks are watched where that is asked
for. With ``refit`` every model is then fitted anew on the whole training part. Means, standard deviations
and lookup tables of targets come from the rows that are fitted; targets of test pages are read once, to
be compared with the predictions.

The number of epochs is fixed beforehand, from the validation curves of chameleon. It is not chosen for each
seed, because a validation part that keeps twins together is small in another way than in pages: a
single group of twins can make up half of it.

Letters: `N` pages, `E` directed edges, `F` features, `S` statistics.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from coursework.data import wikipedia as pages
from coursework.data.splits import Split
from coursework.data.wikipedia import WikipediaGraph
from coursework.errors import ConfigError, TrainingError
from coursework.experiments.base import Run, as_record
from coursework.experiments.wikipedia_candidates import candidates, node_features
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, add_self_loops, normalise_adjacency
from coursework.models.graph_conv import GraphRegressor, adjacency, degrees, sparse_csr
from coursework.models.residual_attention import Candidates, ResidualAttention
from coursework.training import checkpoints, engine, seeds
from coursework.training.threads import limited_threads

EXPERIMENT = "wikipedia"
SplitKind = Literal["random", "grouped"]
NetworkName = Literal["mlp", "gcn", "gat", "gnn", "attention"]
SPLITS: tuple[SplitKind, ...] = ("random", "grouped")

MODELS: dict[str, str] = {
    "mean": "mean of the training part",
    "median": "median of the training part",
    "twin": "lookup: a twin's traffic, else the median",
    "ridge": "ridge regression on the features",
    "propagation": "label propagation along the links",
    "boosting": "gradient boosting on graph statistics and words",
    "mlp": "the network without the graph (features only)",
    "gcn": "plain GCN, two layers",
    "gat": "plain GAT, two layers of four heads and one",
    "gnn": "the graph network, no label as input",
    "attention": "residual attention, one network",
    "ensemble": "residual attention, ensemble",
}
"""Name in the metrics -> words for a table."""

STATISTICS = (
    "ln(1 + degree)",
    "mean ln(1 + degree) of neighbours",
    "largest ln(1 + degree) of neighbours",
    "clustering coefficient",
    "ln(N PageRank)",
    "ln(pages with the same neighbours)",
)
"""Columns of :func:`graph_statistics`."""

_DONE = re.compile(r"  epochs done [\d.]+")  # a metric for the engine, no news for a reader
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True)
class Config:
    """Every number of a run but its seed.

    Attributes:
        graph: Which page network.
        features: ``nouns`` (sparse bag of words) or ``embedding`` (128 dense columns, chameleon only).
        splits: Which splits to run.
        test_share: Share of the pages that are tested.
        validation_share: Share of the training part that makes the choices.
        refit: Fit again on training and validation part together, once the choices are made.
        links: Also give the first layer the row of the adjacency matrix, that is *which* pages a page is
            linked with, as LINKX does (Lim et al. 2021, https://arxiv.org/abs/2110.14446).
        statistics: Also give it the columns of :data:`STATISTICS`.
        hidden: Hidden width H.
        layers: Number of graph layers L.
        dropout: Dropout on hidden states.
        input_dropout: Dropout on words and links.
        steps_per_epoch: Gradient steps (each on the whole graph) between two looks at the validation part.
        trees: Largest number of boosted trees.
        networks: Which to train: ``mlp``, ``gcn``, ``gat``, ``gnn``, ``attention``.
        watch: Whether to train the networks on the training part first and watch the validation part. With
            ``refit`` and a fixed number of epochs it decides nothing and only draws the curves.
        jumping_knowledge: Whether the head of the graph network sees all layers.
        aggregations: Its neighbour terms.
        loss: ``l1``, whose optimum is the median, or ``l2``, whose optimum is the mean.
        train_share: Share of the training part that is used, for learning curves.
        residual: Whether the residuals of look-alikes may enter, beside their labels.
        query: Whether the features of the two pages decide on the weight, beside those of the pair.
        members: Networks of the ensemble of residual attention.
        candidates: Look-alikes of each kind on the list of a page.
        attention_epochs: Passes of a member over the fitted pages, in batches of ``attention_batch``.
        attention_batch: Pages in a step.
        hide: Share of the known labels hidden from a member in each step.
        threads: Threads to compute with. The products are small: a second thread gains little on an idle
            machine and costs tenfold on a busy one, and one thread always sums in the same order.
        plan: Optimisation.
    """

    plan: engine.Plan
    graph: pages.Name = "chameleon"
    features: str = "nouns"
    splits: tuple[SplitKind, ...] = SPLITS
    test_share: float = 0.2
    validation_share: float = 0.1
    refit: bool = True
    links: bool = True
    statistics: bool = True
    hidden: int = 64
    layers: int = 2
    dropout: float = 0.2
    input_dropout: float = 0.5
    steps_per_epoch: int = 10
    trees: int = 300
    networks: tuple[NetworkName, ...] = get_args(NetworkName)
    watch: bool = False
    jumping_knowledge: bool = True
    aggregations: tuple[Literal["mean", "sum"], ...] = ("mean", "sum")
    loss: Literal["l1", "l2"] = "l1"
    train_share: float = 1.0
    residual: bool = True
    query: bool = True
    members: int = 3
    candidates: int = 30
    attention_epochs: int = 40
    attention_batch: int = 512
    hide: float = 0.2
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ConfigError(
                f"splits is {self.splits!r}; choose one or both of {', '.join(SPLITS)}."
            )
        if self.graph not in pages.NAMES:
            raise ConfigError(f"graph is {self.graph!r}; choose one of {', '.join(pages.NAMES)}.")
        for name, known in (
            ("networks", get_args(NetworkName)),
            ("aggregations", ("mean", "sum")),
            ("loss", ("l1", "l2")),
        ):
            chosen = getattr(self, name)
            if not chosen or not set((chosen,) if isinstance(chosen, str) else chosen) <= {*known}:
                raise ConfigError(f"{name} is {chosen!r}; choose from {', '.join(known)}.")
        if not 0 < self.train_share <= 1:
            raise ConfigError(
                f"train_share is {self.train_share}; it is a share above 0 and up to 1."
            )
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it is a share between 0 and 1."
                )
        for name in ("dropout", "input_dropout", "hide"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it is a probability in [0, 1)."
                )
        for name in (
            "hidden", "layers", "steps_per_epoch", "trees", "threads", "members", "candidates",
            "attention_epochs", "attention_batch",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if "gat" in self.networks and self.hidden % 4:
            raise ConfigError(
                f"hidden is {self.hidden}; the four heads of the plain GAT need a multiple of 4."
            )
        if self.plan.precision != "32-true":
            raise ConfigError(
                f"plan.precision is {self.plan.precision!r}; sparse products need 32-true."
            )


_PLAN = engine.Plan(
    epochs=20,
    learning_rate=5e-3,
    weight_decay=1e-2,
    schedule="cosine",
    monitor="epochs_done",  # the last epoch counts; see the head of this module
    mode="max",
    precision="32-true",
)
_FULL = Config(plan=_PLAN)
_PLAIN: tuple[NetworkName, ...] = ("mlp", "gcn", "gat")
_DESIGNED: tuple[NetworkName, ...] = ("gnn", "attention")
_SQUIRREL = dataclasses.replace(
    _FULL,
    graph="squirrel",
    networks=_DESIGNED,
    plan=dataclasses.replace(_PLAN, learning_rate=1e-2),
    steps_per_epoch=5,
)
_CROCODILE = dataclasses.replace(
    _FULL,
    graph="crocodile",
    networks=_DESIGNED,
    plan=dataclasses.replace(_PLAN, epochs=12, learning_rate=1e-2),
    steps_per_epoch=5,
    members=2,
    attention_epochs=16,
)
PRESETS: dict[str, Config] = {
    "full": _FULL,
    "quick": dataclasses.replace(
        _FULL,
        plan=dataclasses.replace(_PLAN, epochs=10, learning_rate=1e-2),
        steps_per_epoch=8,
        hidden=48,
        refit=False,
        trees=100,
        members=1,
        candidates=10,
        attention_epochs=12,
    ),
    # larger graphs: fewer and longer steps, so that a seed stays within three minutes
    "squirrel": _SQUIRREL,
    "crocodile": _CROCODILE,
    # networks that take longest there and come to least: fewer seeds
    "squirrel-plain": dataclasses.replace(_SQUIRREL, networks=_PLAIN),
    "crocodile-plain": dataclasses.replace(_CROCODILE, networks=_PLAIN),
}


# --- the graph, as the models see it ---------------------------------------------------------


def split_of(graph: WikipediaGraph, kind: SplitKind, config: Config, seed: int) -> Split:
    """Training, validation and test pages; depends on the links and the seed, never on the targets."""
    shares = {"test": config.test_share, "validation": config.validation_share}
    if kind == "random":
        split = pages.split_random(graph.num_nodes, seed, **shares)
    else:
        split = pages.split_grouped(graph.twin_group, seed, **shares)
    used = round(config.train_share * len(split.train))  # the rows are in random order
    return dataclasses.replace(split, train=split.train[:used])


def graph_statistics(graph: WikipediaGraph) -> np.ndarray:
    """What can be said of a page from the links alone: float64 `[N, S]`, columns :data:`STATISTICS`."""
    from scipy import sparse

    n = graph.num_nodes
    source, target = graph.edge_index.numpy()
    a = sparse.csr_matrix((np.ones(len(source)), (target, source)), shape=(n, n))
    degree = np.asarray(a.sum(1)).ravel()  # [N]
    log_degree, at_least_one = np.log1p(degree), np.maximum(degree, 1)
    largest = np.zeros(n)
    np.maximum.at(largest, target, log_degree[source])
    closed = np.concatenate(  # ordered pairs of linked neighbours; in blocks, A^2 is nearly dense
        [
            np.asarray((a[i : i + 1000] @ a).multiply(a[i : i + 1000]).sum(1)).ravel()
            for i in range(0, n, 1000)
        ]
    )
    rank = np.full(n, 1 / n)
    for _ in range(50):  # power iteration; the error falls by 0.85 a step
        rank = 0.15 / n + 0.85 * (a @ (rank / at_least_one) + rank[degree == 0].sum() / n)
    _, group, size = np.unique(graph.twin_group.numpy(), return_inverse=True, return_counts=True)
    columns = [
        log_degree,
        a @ log_degree / at_least_one,
        largest,
        closed / np.maximum(degree * (degree - 1), 1),
        np.log(n * rank),
        np.log(size[group]),
    ]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Inputs:
    """What the networks read; no target is in it.

    Attributes:
        features: Features of the pages, `[N, F]`.
        wide: The same, with the rows of the adjacency matrix appended, `[N, F]` or `[N, F + N]`.
        adjacency: `[N, N]`, sparse.
        statistics: :func:`graph_statistics`, `[N, S]` float32.
        normalised: :math:`\\hat A` of the GCN, `[N, N]`, sparse.
        links: Edge index of the GAT, self-loops included, `[2, E + N]`.
        dense: :func:`~coursework.experiments.wikipedia_candidates.node_features`, `[N, F']`.
        candidates: Whom each page may look at.
    """

    features: Tensor
    wide: Tensor
    adjacency: Tensor
    statistics: Tensor
    normalised: Tensor
    links: Tensor
    dense: Tensor
    candidates: Candidates

    def to(self, device: torch.device) -> Inputs:
        """The same on another device."""
        if self.adjacency.device == device:
            return self
        return Inputs(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


def load_with_pyg() -> Any | None:
    """Chameleon as PyTorch Geometric's own class ``WikipediaNetwork`` loads it, for a comparison.

    ``geom_gcn_preprocess=False`` is what makes it a regression: the default replaces the traffic by five
    classes. PyG writes beside what it reads, so it gets a copy of the file in a folder of its own.

    Returns:
        PyG's ``Data``, or None where only the stand-in is there.
    """
    import contextlib
    import io
    import shutil
    import tempfile

    from torch_geometric.datasets import WikipediaNetwork

    from coursework.data import sources

    source = sources.find("wikipedia-embedding")
    if source.is_standin:
        return None
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "chameleon", "raw")
        raw.mkdir(parents=True)
        shutil.copy(source.files[0], raw / "chameleon.npz")
        with contextlib.redirect_stderr(io.StringIO()):  # "Processing..."
            return WikipediaNetwork(folder, "chameleon", geom_gcn_preprocess=False)[0]


def _rows_of(matrix: Tensor) -> Tensor:
    """Row of every stored entry of a CSR matrix."""
    counts = matrix.crow_indices().diff()
    return torch.arange(len(counts)).repeat_interleave(counts)


def _side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """`[N, F]` (sparse or dense) and sparse `[N, M]` -> sparse `[N, F + M]`."""
    if left.layout == torch.strided:
        left = left.to_sparse_csr()
    return sparse_csr(
        torch.cat([_rows_of(left), _rows_of(right)]),
        torch.cat([left.col_indices(), right.col_indices() + left.shape[1]]),
        torch.cat([left.values(), right.values()]),
        (left.shape[0], left.shape[1] + right.shape[1]),
    )


def prepare(graph: WikipediaGraph, config: Config) -> Inputs:
    """Turn a page network into what the models read."""
    a = adjacency(graph.edge_index, graph.num_nodes)
    statistics = graph_statistics(graph)
    with limited_threads(config.threads):
        dense = node_features(graph, statistics)
        looks = candidates(graph, config.candidates)
    return Inputs(
        features=graph.x,
        wide=_side_by_side(graph.x, a) if config.links else graph.x,
        adjacency=a,
        statistics=torch.from_numpy(statistics).float(),
        normalised=normalise_adjacency(graph.edge_index, graph.num_nodes),
        links=add_self_loops(graph.edge_index, graph.num_nodes),
        dense=dense,
        candidates=looks,
    )


def twin_facts(graph: WikipediaGraph) -> dict[str, float]:
    """How far pages are copies of each other.

    Returns:
        ``with_twin``: share of pages that share their set of neighbours with another page;
        ``equal_traffic``: share of those whose whole group has one traffic;
        ``distinct_traffic``: number of different targets.
    """
    group = graph.twin_group.numpy()
    traffic = graph.traffic.numpy()
    size = np.bincount(group)
    low = np.full(len(size), np.inf)
    high = np.full(len(size), -np.inf)
    np.minimum.at(low, group, traffic)
    np.maximum.at(high, group, traffic)
    twins = size[group] > 1
    return {
        "with_twin": float(twins.mean()),
        "equal_traffic": float((low == high)[group][twins].mean()) if twins.any() else 0.0,
        "distinct_traffic": float(len(np.unique(traffic))),
    }


def twin_share(graph: WikipediaGraph, known: np.ndarray, asked: np.ndarray) -> float:
    """Share of the pages ``asked`` that have a twin among the pages ``known``."""
    group = graph.twin_group.numpy()
    return float(np.isin(group[asked], group[known]).mean())


def _one_per_group(graph: WikipediaGraph, rows: np.ndarray) -> np.ndarray:
    """Weights that give every group of twins among the pages ``rows`` the same weight."""
    _, group, size = np.unique(
        graph.twin_group.numpy()[rows], return_inverse=True, return_counts=True
    )
    return 1 / size[group]


# --- measures --------------------------------------------------------------------------------


def measures(graph: WikipediaGraph, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Errors of predictions of :math:`\\ln(1 + \\text{visits})` on some pages.

    A prediction that minimises the absolute error is a median, and the median of the visits is
    :math:`e^{\\hat y} - 1`: that is what ``mae_visits`` and ``medae_visits`` compare.

    Args:
        graph: The pages.
        predicted: Prediction of every page, `[N]`.
        rows: Pages to judge.

    Returns:
        ``mae_ln``, ``mae_log10`` (the same in powers of ten), ``group_mae_ln`` (every group of twins counts
        once), ``r2`` (of y; where all y are equal, 1 if all are met, else 0), ``mae_visits``,
        ``medae_visits`` (median absolute error).
    """
    y = graph.y.numpy()[rows].astype(np.float64)
    p = predicted[rows].astype(np.float64)
    visits = np.abs(np.expm1(p) - graph.traffic.numpy()[rows])
    errors = np.abs(p - y)
    mae = float(errors.mean())
    left, whole = float(((p - y) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    return {
        "mae_ln": mae,
        "mae_log10": mae / float(np.log(10)),
        "group_mae_ln": float(np.average(errors, weights=_one_per_group(graph, rows))),
        "r2": 1 - left / whole if whole > 0 else float(left == 0),
        "mae_visits": float(visits.mean()),
        "medae_visits": float(np.median(visits)),
    }


# --- baselines -------------------------------------------------------------------------------


def twin_lookup(y: np.ndarray, group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Median of the known twins of each page, and the median of all known pages where it has none.

    Args:
        y: Targets, `[N]`; only ``y[rows]`` is read.
        group: Twin group of each page, `[N]`.
        rows: Pages whose target is known.

    Returns:
        A prediction for every page, `[N]`; for a known page its own target is among those looked up.
    """
    known = y[rows]
    table: dict[int, list[float]] = {}
    for key, value in zip(group[rows].tolist(), known.tolist(), strict=True):
        table.setdefault(key, []).append(value)
    medians = {key: float(np.median(values)) for key, values in table.items()}
    otherwise = float(np.median(known))
    return np.array([medians.get(key, otherwise) for key in group.tolist()])


def propagate(a: Tensor, y: np.ndarray, rows: np.ndarray, steps: int = 20) -> np.ndarray:
    r"""Label propagation: every page takes the mean of its neighbours, known pages keep their target.

    Zhu and Ghahramani 2002, with :math:`\hat y \leftarrow D^{-1} A \hat y` on the unknown pages; these
    begin with the mean of the known ones, and pages without a link stay there.

    Args:
        a: Adjacency matrix, `[N, N]` sparse.
        y: Targets, `[N]`; only ``y[rows]`` is read.
        rows: Pages whose target is known.
        steps: How often the labels move on.
    """
    known = torch.from_numpy(y[rows])
    values = torch.full((len(y),), float(known.mean()), dtype=torch.float64)
    values[rows] = known
    b = a.double()
    degree = b @ torch.ones(len(y), 1, dtype=torch.float64)  # [N, 1]
    for _ in range(steps):
        mean = (b @ values.unsqueeze(1) / degree.clamp(min=1)).squeeze(1)
        values = torch.where(degree.squeeze(1) > 0, mean, values)
        values[rows] = known
    return values.numpy()


def _ridge(
    features: Tensor, y: np.ndarray, split: Split, rows: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Linear regression with the penalty that is best on the validation part."""
    from scipy import sparse
    from sklearn.linear_model import Ridge

    x: Any = features.numpy() if features.layout == torch.strided else None
    if x is None:
        x = sparse.csr_matrix(
            (features.values().numpy(), features.col_indices().numpy(), features.crow_indices().numpy()),
            shape=tuple(features.shape),
        )  # fmt: skip

    def fitted(penalty: float, on: np.ndarray) -> np.ndarray:
        solver = "sparse_cg" if sparse.issparse(x) else "auto"
        return Ridge(alpha=penalty, solver=solver, tol=1e-3).fit(x[on], y[on]).predict(x)

    check = split.validation
    errors = [
        np.average(np.abs(fitted(p, split.train)[check] - y[check]), weights=weights)
        for p in _PENALTIES
    ]
    return fitted(_PENALTIES[int(np.argmin(errors))], rows)


def _boosting(
    statistics: np.ndarray,
    y: np.ndarray,
    split: Split,
    rows: np.ndarray,
    weights: np.ndarray,
    trees: int,
) -> np.ndarray:
    """Boosted trees for the absolute error, as many as are best on the validation part."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def model(iterations: int) -> Any:
        return HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=iterations, learning_rate=0.1, min_samples_leaf=5,
            early_stopping=False, random_state=0,
        )  # fmt: skip

    check = split.validation
    search = model(trees).fit(statistics[split.train], y[split.train])
    errors = [
        np.average(np.abs(p - y[check]), weights=weights)
        for p in search.staged_predict(statistics[check])
    ]
    best = int(np.argmin(errors)) + 1
    return model(best).fit(statistics[rows], y[rows]).predict(statistics)


def baselines(
    graph: WikipediaGraph,
    inputs: Inputs,
    split: Split,
    kind: SplitKind,
    rows: np.ndarray,
    config: Config,
) -> dict[str, np.ndarray]:
    """Predictions `[N]` of the models that are no networks.

    Args:
        graph: The pages; only targets of ``rows`` and of the validation part are read.
        inputs: What the models read.
        split: Its training part fits and its validation part chooses.
        kind: Where twins stay together, each group of them has one vote in the choice.
        rows: Pages that the final models are fitted on.
        config: The run's config.
    """
    y = graph.y.numpy().astype(np.float64)
    described = inputs.dense.numpy().astype(np.float64)  # statistics, words, neighbours' words
    check = split.validation
    weights = _one_per_group(graph, check) if kind == "grouped" else np.ones(len(check))
    return {
        "mean": np.full(len(y), y[rows].mean()),
        "median": np.full(len(y), np.median(y[rows])),
        "twin": twin_lookup(y, graph.twin_group.numpy(), rows),
        "ridge": _ridge(graph.x, y, split, rows, weights),
        "propagation": propagate(inputs.adjacency, y, rows),
        "boosting": _boosting(described, y, split, rows, weights, config.trees),
    }


# --- the network -----------------------------------------------------------------------------


def build(config: Config, inputs: Inputs, name: str) -> nn.Module:
    """The network of a name: ``gnn``, ``mlp`` (the same without the graph), ``gcn`` or ``gat``."""
    width = inputs.features.shape[1]
    if name == "gcn":
        return GCN(width, config.hidden, 1, config.dropout)
    if name == "gat":
        return GAT(width, config.hidden, 1, config.dropout, alpha=0.2, n_heads=4)
    uses_graph = name == "gnn"
    return GraphRegressor(
        (inputs.wide if uses_graph else inputs.features).shape[1],
        config.hidden,
        config.layers,
        dropout=config.dropout,
        input_dropout=config.input_dropout,
        extra_features=inputs.statistics.shape[1] if uses_graph and config.statistics else 0,
        use_graph=uses_graph,
        jumping_knowledge=config.jumping_knowledge,
        aggregations=config.aggregations,
    )


@dataclass(frozen=True)
class Scale:
    """Means and standard deviations over the fitted pages: of the target, and of the statistics `[S]`."""

    target: tuple[float, float]
    statistics: tuple[list[float], list[float]]

    @classmethod
    def of(cls, graph: WikipediaGraph, inputs: Inputs, rows: np.ndarray) -> Scale:
        """Measure them on the pages ``rows``."""
        y, s = graph.y.numpy()[rows].astype(np.float64), inputs.statistics.numpy()[rows]
        spread = s.std(0)
        return cls(
            (float(y.mean()), float(y.std())),
            (s.mean(0).tolist(), np.where(spread > 0, spread, 1).tolist()),
        )


def predict_standardised(
    model: nn.Module, inputs: Inputs, scale: Scale, config: Config, name: str
) -> Tensor:
    """Output of a network for all pages, in standard deviations of the target: `[N]`."""
    if name == "mlp":
        return model(inputs.features)
    if name in ("gcn", "gat"):
        return model(inputs.features, inputs.normalised if name == "gcn" else inputs.links).squeeze(
            1
        )
    extra = None
    if config.statistics:
        mean, spread = (inputs.statistics.new_tensor(v) for v in scale.statistics)  # [S]
        extra = (inputs.statistics - mean) / spread  # [N, S]
    return model(inputs.wide, inputs.adjacency, extra)


def predict(
    model: nn.Module, inputs: Inputs, scale: Scale, config: Config, name: str
) -> np.ndarray:
    """Predictions of :math:`\\ln(1 + \\text{visits})` for all pages, float64 `[N]`."""
    mean, spread = scale.target
    with torch.no_grad():
        output = predict_standardised(model, inputs, scale, config, name)
    return output.cpu().numpy().astype(np.float64) * spread + mean


@dataclass
class Network:
    """A trained network.

    Attributes:
        model: With the weights that made the predictions.
        search: The training that was watched on the validation part.
        predicted: Predictions for all pages, `[N]`.
        validation: Measures of the watched training on the validation part.
    """

    model: nn.Module
    search: engine.Fit
    predicted: np.ndarray
    validation: dict[str, float]


def fit_network(
    graph: WikipediaGraph,
    inputs: Inputs,
    split: Split,
    kind: SplitKind,
    name: str,
    config: Config,
    *,
    seed: int,
    watch: bool = True,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = None,
) -> Network:
    """Train while watching the validation part, then fit anew on the whole training part.

    With ``plan.monitor = "validation_mae_ln"`` and ``plan.mode = "min"`` the first training chooses the
    number of epochs, and the refit goes through the same schedule, shortened to that number.

    Args:
        graph: The pages; targets of test pages are not read.
        inputs: What the network reads.
        split: Parts of the pages.
        kind: Name of the split.
        name: ``gnn``, ``mlp``, ``gcn`` or ``gat``.
        config: The run's config.
        seed: Seed of weights and dropout.
        watch: False to leave out the first training. It decides nothing where the number of epochs is fixed.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder of this split.
        log: Where the lines go.
    """

    def once(
        plan: engine.Plan, rows: np.ndarray, stage: str
    ) -> tuple[nn.Module, engine.Fit, Scale]:
        final = stage == "refit"
        scale = Scale.of(graph, inputs, rows)
        mean, spread = scale.target
        # Only the targets that may be seen are handed on: test targets are not even in the tensor.
        visible = np.union1d(rows, split.validation)
        target = torch.full((graph.num_nodes,), float("nan"))
        target[visible] = ((graph.y[visible].double() - mean) / spread).float()
        seeds.seed_everything(seeds.derive(seed, kind, name, stage) % 2**32)
        model = build(config, inputs, name)
        current = {"epoch": 0}

        def batches(epoch: int) -> list[Tensor]:
            current["epoch"] = epoch
            return [torch.from_numpy(rows)] * config.steps_per_epoch

        def errors(network: nn.Module, chosen: Tensor) -> Tensor:
            here = inputs.to(chosen.device)
            output = predict_standardised(network, here, scale, config, name)  # [N]
            return (output[chosen] - target.to(chosen.device)[chosen]).abs()  # [rows]

        def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
            absolute = errors(network, batch)
            return (absolute if config.loss == "l1" else absolute**2).sum(), len(batch)

        def validate(network: nn.Module) -> dict[str, float]:
            device = next(network.parameters()).device
            seen = torch.from_numpy(np.concatenate([rows, split.validation])).to(device)
            error = errors(network, seen) * spread  # in ln
            done = {
                "train_mae_ln": float(error[: len(rows)].mean()),
                "epochs_done": float(current["epoch"] + 1),
            }
            if final:  # the validation part is fitted as well
                return done
            return {**done, "validation_mae_ln": float(error[len(rows) :].mean())}

        if log is not None:
            log(f"{kind} split, {name}{', fitted on the whole training part' if final else ''}:")
        record = engine.fit(
            model,
            plan,
            batches=batches,
            loss=loss,
            validate=validate,
            run_dir=None if run_dir is None else run_dir / (f"{name}-{stage}"),
            resume=resume,
            identity={
                "experiment": EXPERIMENT,
                "config": as_record(config),
                "seed": seed,
                "network": f"{kind}/{name}/{stage}",
                "epochs": plan.epochs,
            },
            bundle={
                "experiment": EXPERIMENT,
                "config": as_record(config),
                "seed": seed,
                "split": kind,
                "network": name,
                "target": list(scale.target),
                "statistics": list(scale.statistics),
            },
            shard=False,
            log=None if log is None else lambda line: log(_DONE.sub("", line)),
            log_every=max(1, plan.epochs // 4),
        )
        return model, record, scale

    if not watch:
        model, fitted, scale = once(config.plan, _fitted_rows(split, config), "refit")
        return Network(model, fitted, predict(model, inputs, scale, config, name), {})
    model, search, scale = once(config.plan, split.train, "search")
    validation = measures(graph, predict(model, inputs, scale, config, name), split.validation)
    if config.refit:
        plan = dataclasses.replace(
            config.plan, epochs=search.best_epoch, monitor="epochs_done", mode="max", patience=None
        )
        model, _, scale = once(plan, _fitted_rows(split, config), "refit")
    return Network(model, search, predict(model, inputs, scale, config, name), validation)


def _attention(config: Config, inputs: Inputs) -> ResidualAttention:
    return ResidualAttention(
        inputs.dense.shape[1],
        inputs.candidates.features.shape[1],
        residual=config.residual,
        query=config.query,
    )


def _look(
    model: nn.Module,
    inputs: Inputs,
    target: Tensor,
    known: Tensor,
    group: Tensor | None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Prediction and guess in standard deviations, on the device of the model: twice `[B]`."""
    device = next(model.parameters()).device
    here = inputs.to(device)
    return model(
        here.dense, here.candidates, target.to(device), known.to(device),
        None if rows is None else rows.to(device),
        group=None if group is None else group.to(device),
    )  # fmt: skip


def fit_attention(
    graph: WikipediaGraph,
    inputs: Inputs,
    split: Split,
    kind: SplitKind,
    member: int,
    config: Config,
    *,
    seed: int,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = None,
) -> Network:
    """Train one member of the ensemble of residual attention on the fitted pages.

    Its loss is the absolute error of the prediction plus 0.3 of that of the guess, so that the guess alone
    makes sense too. On the grouped split no page may look at its own group: test pages cannot either. All
    numbers were chosen on validation parts of splits that are not reported (seeds 100 to 109).

    Args:
        graph: The pages; targets of test pages are not read.
        inputs: What the network reads.
        split: Parts of the pages.
        kind: Name of the split.
        member: Number of the member, part of the seed.
        config: The run's config.
        seed: Seed of weights, batches and dropout.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder of this split.
        log: Where the lines go.
    """
    name = f"attention-{member}"
    rows = _fitted_rows(split, config)
    scale = Scale.of(graph, inputs, rows)
    mean, spread = scale.target
    target = torch.full((graph.num_nodes,), float("nan"))
    target[rows] = ((graph.y[rows].double() - mean) / spread).float()
    known = torch.zeros(graph.num_nodes, dtype=torch.bool)
    known[rows] = True
    group = graph.twin_group if kind == "grouped" else None
    seeds.seed_everything(seeds.derive(seed, kind, name) % 2**32)
    model = _attention(config, inputs)
    current = {"epoch": 0}

    def batches(epoch: int) -> list[Tensor]:
        current["epoch"] = epoch
        order = seeds.generator(seeds.derive(seed, kind, name), "order", epoch)
        shuffled = torch.from_numpy(rows)[torch.randperm(len(rows), generator=order)]
        return list(shuffled.split(config.attention_batch))

    def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        shown = known & (torch.rand(len(known)) >= config.hide)
        prediction, guess = _look(network, inputs, target, shown, group, batch)
        y = target[batch].to(prediction.device)
        return ((prediction - y).abs() + 0.3 * (guess - y).abs()).sum(), len(batch)

    def predicted(network: nn.Module) -> np.ndarray:
        with torch.no_grad():
            output, _ = _look(network, inputs, target, known, group)
        return output.cpu().numpy().astype(np.float64) * spread + mean

    def validate(network: nn.Module) -> dict[str, float]:
        done = {"epochs_done": float(current["epoch"] + 1)}
        if config.refit:  # nothing is chosen, and all pages take a quarter of an epoch
            return done
        error = np.abs(predicted(network) - graph.y.numpy())
        return {
            **done,
            "train_mae_ln": float(error[rows].mean()),
            "validation_mae_ln": float(error[split.validation].mean()),
        }

    if log is not None:
        log(f"{kind} split, residual attention, member {member + 1} of {config.members}:")
    plan = engine.Plan(
        epochs=config.attention_epochs,
        learning_rate=1e-2,
        weight_decay=1e-2,
        schedule="one-cycle",
        warmup=0.3,
        clip_norm=1.0,
        monitor="epochs_done",
        mode="max",
        precision="32-true",
    )
    identity = {
        "experiment": EXPERIMENT,
        "config": as_record(config),
        "seed": seed,
        "network": f"{kind}/{name}",
    }
    fitted = engine.fit(
        model,
        plan,
        batches=batches,
        loss=loss,
        validate=validate,
        run_dir=None if run_dir is None else run_dir / name,
        resume=resume,
        identity=identity,
        bundle=identity,
        shard=False,
        log=None if log is None else lambda line: log(_DONE.sub("", line)),
        log_every=max(1, plan.epochs // 4),
    )
    model.eval()
    found = predicted(model)
    validation = {} if config.refit else measures(graph, found, split.validation)
    return Network(model, fitted, found, validation)


def attention_shares(
    graph: WikipediaGraph, inputs: Inputs, result: SplitResult
) -> dict[str, float]:
    """Where the first member of the ensemble looks for a test page, on average.

    Returns:
        ``twins``, ``linked pages``, ``other look-alikes`` and ``nobody``: shares of the weight, which sum to
        one.
    """
    model = result.networks["attention"].model
    assert isinstance(model, ResidualAttention)
    known = torch.zeros(graph.num_nodes, dtype=torch.bool)
    known[torch.from_numpy(result.rows)] = True
    rows = torch.from_numpy(result.split.test)
    group = graph.twin_group if result.kind == "grouped" else None
    with torch.no_grad():
        h = model.rest(model.linear1(inputs.dense))
        pairs, place, weights, nobody = model.attend(h, inputs.candidates, known, rows, group)
    page, other = rows[place].numpy(), inputs.candidates.nodes[pairs].numpy()
    source, target = graph.edge_index.numpy()
    linked = np.isin(page * graph.num_nodes + other, target * graph.num_nodes + source)
    twins = graph.twin_group.numpy()[page] == graph.twin_group.numpy()[other]
    weight = weights.numpy().astype(np.float64) / len(rows)
    return {
        "twins": float(weight[twins].sum()),
        "linked pages": float(weight[linked & ~twins].sum()),
        "other look-alikes": float(weight[~linked & ~twins].sum()),
        "nobody": float(nobody.mean()),
    }


def _fitted_rows(split: Split, config: Config) -> np.ndarray:
    return np.concatenate([split.train, split.validation]) if config.refit else split.train


# --- one run ---------------------------------------------------------------------------------


@dataclass
class SplitResult:
    """Everything that one split came to.

    Attributes:
        kind: ``random`` or ``grouped``.
        split: Parts of the pages.
        rows: Pages that the final models were fitted on.
        predictions: Model -> predictions for all pages, `[N]`.
        networks: ``gnn``, ``mlp``, ``gcn``, ``gat``, and ``attention``, the first member of the ensemble.
    """

    kind: SplitKind
    split: Split
    rows: np.ndarray
    predictions: dict[str, np.ndarray]
    networks: dict[str, Network] = field(default_factory=dict)


def run_split(
    graph: WikipediaGraph,
    inputs: Inputs,
    kind: SplitKind,
    config: Config,
    *,
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = None,
) -> SplitResult:
    """Fit every model on one split. No target of a test page is read."""
    split = split_of(graph, kind, config, seed)
    if min(split.sizes) == 0:
        raise ConfigError(
            f"The {kind} split of {graph.num_nodes} pages has an empty part {split.sizes}; "
            "change test_share or validation_share."
        )
    rows = _fitted_rows(split, config)
    with limited_threads(config.threads):
        result = SplitResult(kind, split, rows, baselines(graph, inputs, split, kind, rows, config))
        for name in config.networks:
            if name == "attention":
                continue
            network = fit_network(
                graph, inputs, split, kind, name, config,
                seed=seed, watch=config.watch or not config.refit,
                resume=resume, run_dir=run_dir, log=log,
            )  # fmt: skip
            result.networks[name] = network
            result.predictions[name] = network.predicted
        members = [
            fit_attention(
                graph, inputs, split, kind, member, config,
                seed=seed, resume=resume, run_dir=run_dir, log=log,
            )
            for member in range(config.members if "attention" in config.networks else 0)
        ]  # fmt: skip
        if not members:
            return result
        result.networks["attention"] = members[0]
        result.predictions["attention"] = members[0].predicted
        result.predictions["ensemble"] = np.mean([m.predicted for m in members], axis=0)
    return result


def test_metrics(graph: WikipediaGraph, result: SplitResult) -> dict[str, float]:
    """Errors on the test pages of a split: all measures for the networks, the main ones for the rest."""
    found: dict[str, float] = {}
    traffic, test = graph.traffic.numpy(), result.split.test
    # the strictest view: pages whose very traffic nobody in the training part has
    fresh = test[~np.isin(traffic[test], traffic[result.rows])]
    for name, predicted in result.predictions.items():
        values = measures(graph, predicted, result.split.test)
        full = name in result.networks or name == "ensemble"
        wanted = values if full else ("mae_ln", "mae_log10", "group_mae_ln", "r2")
        found |= {f"{result.kind}.{name}.test_{key}": values[key] for key in wanted}
        if len(fresh):
            error = np.abs(predicted[fresh] - graph.y.numpy()[fresh])
            found[f"{result.kind}.{name}.test_fresh_mae_ln"] = float(error.mean())
    return found


test_metrics.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks


def comparison(
    value: Callable[[str], Any], splits: Sequence[str] = SPLITS
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of the table of models, for a run or a recorded result.

    Args:
        value: Name of a metric -> what to show for it.
        splits: Splits to show.

    Returns:
        Headings, and one row for each of :data:`MODELS`: its words, then MAE and R² on each split.
    """
    shown = [
        (kind, key, word) for kind in splits for key, word in (("mae_ln", "MAE"), ("r2", "R²"))
    ]
    columns = ["model", *(f"{kind}: {word}" for kind, _, word in shown)]
    rows = [
        (words, *(value(f"{kind}.{model}.test_{key}") for kind, key, _ in shown))
        for model, words in MODELS.items()
    ]
    return columns, rows


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train and test every model on every split of the config, for one seed.

    Args:
        config: The numbers of the run.
        preset: Name of the preset that they came from.
        seed: Seed of splits, weights and dropout.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints, one sub-folder per split and network.
        log: Where the lines go, None for silence.

    Returns:
        The run; ``artefacts`` has ``graph``, ``inputs``, and ``results``: split -> :class:`SplitResult`.

    Raises:
        ConfigError: If graph and features do not go together.
        DataError: If the data cannot be read.
    """
    started = time.perf_counter()
    graph = pages.load(config.graph)
    inputs = prepare(graph, config)
    results: dict[str, SplitResult] = {}
    metrics: dict[str, float] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    notes: dict[str, Any] = {
        "nodes": graph.num_nodes,
        "directed_edges": graph.edge_index.shape[1],
        "features": graph.x.shape[1],
        "largest_degree": int(degrees(graph.edge_index, graph.num_nodes).max()),
        "fitted_on": "training and validation part" if config.refit else "training part",
    }
    for kind in config.splits:
        result = run_split(
            graph, inputs, kind, config,
            seed=seed, resume=resume, run_dir=None if run_dir is None else run_dir / kind, log=log,
        )  # fmt: skip
        results[kind] = result
        metrics |= test_metrics(graph, result)
        metrics[f"{kind}.test_share_with_twin"] = twin_share(graph, result.rows, result.split.test)
        notes[f"{kind}.sizes"] = list(result.split.sizes)
        if "ensemble" in result.predictions:  # of the first seed alone in a recorded result
            test = result.split.test
            notes[f"{kind}.test"] = {
                "rows": test.tolist(),
                "ensemble": result.predictions["ensemble"][test].round(3).tolist(),
            }
        for name, network in result.networks.items():
            if network.validation:
                metrics[f"{kind}.{name}.validation_mae_ln"] = network.validation["mae_ln"]
            curves[f"{kind}.{name}"] = network.search.history
            notes[f"{name}.parameters"] = sum(p.numel() for p in network.model.parameters())
    return Run(
        experiment=EXPERIMENT,
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=graph.source,
        seconds=time.perf_counter() - started,
        curves=curves,
        notes=notes,
        artefacts={"graph": graph, "inputs": inputs, "results": results},
    )


# --- checkpoints -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """A network from a checkpoint, with what is needed to use it."""

    model: nn.Module
    config: Config
    seed: int
    split: SplitKind
    network: str
    scale: Scale
    graph: WikipediaGraph
    inputs: Inputs

    def predict(self) -> np.ndarray:
        """Predictions of ln(1 + visits) for all pages, `[N]`."""
        return predict(self.model, self.inputs, self.scale, self.config, self.network)


def config_of(record: Mapping[str, Any]) -> Config:
    """The config that :func:`~coursework.experiments.base.as_record` wrote down."""
    tuples = {name: tuple(record[name]) for name in ("splits", "networks", "aggregations")}
    return Config(**{**record, "plan": engine.Plan(**record["plan"]), **tuples})


def load(checkpoint: Path) -> Loaded:
    """Load a ``best.pt`` of this experiment.

    Raises:
        TrainingError: If there is none, or it is of another experiment or another version of it.
    """
    state = checkpoints.load(checkpoint)
    bundle = state.get("bundle")
    if not isinstance(bundle, Mapping) or bundle.get("experiment") != EXPERIMENT:
        raise TrainingError(
            f"{checkpoint} is no finished checkpoint of {EXPERIMENT}; "
            "name the best.pt of one of its networks."
        )
    try:
        config = config_of(bundle["config"])
        scale = Scale(tuple(bundle["target"]), tuple(bundle["statistics"]))
        graph = pages.load(config.graph)
        inputs = prepare(graph, config)
        model = build(config, inputs, bundle["network"])
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ConfigError) as error:
        raise TrainingError(
            f"{checkpoint} does not fit this version or this data; train again."
        ) from error
    model.eval()
    return Loaded(
        model, config, bundle["seed"], bundle["split"], bundle["network"], scale, graph, inputs
    )


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Test metrics of the network in a ``best.pt``, on the test pages of its own split and seed."""
    loaded = load(checkpoint)
    split = split_of(loaded.graph, loaded.split, loaded.config, loaded.seed)
    with limited_threads(loaded.config.threads):
        predicted = loaded.predict()
    values = measures(loaded.graph, predicted, split.test)
    prefix = f"{loaded.split}.{loaded.network}.test_"
    return {prefix + key: value for key, value in values.items()}
