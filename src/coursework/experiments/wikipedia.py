r"""Problem 3(c): how often Wikipedia pages are visited, from their words and their links.

The target of a page is :math:`y = \ln(1 + \text{visits})`; loss and measure are the mean absolute error. A
tenth of the training part is validation: it decides the number of trees and the strength of the penalty, but
not the number of epochs, since a part that keeps groups together can be mostly one group.
Letters: `N` pages, `E` directed edges, `F` features, `S` statistics, `B` pages of a batch.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy import sparse
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from coursework.config import Count, Share, Weight, config
from coursework.data import wikipedia as pages
from coursework.errors import ConfigError
from coursework.experiments import wikipedia_candidates
from coursework.experiments import wikipedia_splits as splits
from coursework.experiments.base import TABLES, Job, Run, named, parameters, presets, restore
from coursework.experiments.wikipedia_candidates import Inputs
from coursework.experiments.wikipedia_splits import SPLITS, SplitKind, Task, boosted, measures
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, add_self_loops, normalise_adjacency, sparse_kernels
from coursework.models.graph_conv import ColumnRegressor, GraphRegressor
from coursework.models.residual_attention import ResidualAttention
from coursework.models.sparse import adjacency
from coursework.training import checkpoints, engine, seeds
from coursework.training.engine import Plan
from coursework.training.parallel import limited_threads

NetworkName = Literal["mlp", "gcn", "gat", "gnn", "sign", "attention", "stacked"]

MODELS: dict[str, str] = TABLES["wikipedia"]["models"]  # name in the metrics -> words for a table
ENSEMBLES = {"attention": "ensemble", "sign": "sign_ensemble", "stacked": "stacked_ensemble"}
CARRIED = ("sign", "stacked")  # networks whose input was carried along the links beforehand
Aggregations = tuple[Literal["mean", "sum"], ...]
PLAN = Plan(
    epochs=20, learning_rate=5e-3, weight_decay=1e-2, schedule="cosine", monitor=None,
    precision="32-true",  # as in the recorded runs, on every machine
)  # fmt: skip


@config
class Config:
    plan: Plan = PLAN
    graph: pages.Name = "chameleon"  # which page network
    splits: Annotated[tuple[SplitKind, ...], Field(min_length=1)] = SPLITS
    networks: tuple[NetworkName, ...] = get_args(NetworkName)[:-1]  # none: the other models alone
    alike: Annotated[float, Field(gt=0, le=1)] = 0.8  # Jaccard index of nearly equal links
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # used of the training part
    refit: bool = True  # fit on training and validation part together
    others: bool = True  # the models that are no networks
    trees: Count = 300  # at most, of the boosting
    # the graph network, its ablations and the plain ones; sign and stacked have hidden and loss, too
    links: bool = True  # its input has the row of A: which pages a page is linked with, as in LINKX
    statistics: bool = True  # its input has the statistics of the graph
    hidden: Annotated[int, Field(ge=4, multiple_of=4)] = 64  # width; the GAT divides it by 4 heads
    layers: Count = 2
    dropout: Share = 0.2  # on hidden states
    input_dropout: Share = 0.5  # on words and links
    jumping_knowledge: bool = True  # the output sees all layers
    aggregations: Annotated[Aggregations, Field(min_length=1)] = ("mean", "sum")
    loss: Literal["l1", "l2"] = "l1"  # l1 aims at the median, l2 at the mean
    steps_per_epoch: Count = 10  # gradient steps, each on the whole graph
    # an MLP on what was carried along the links beforehand, stacked also on the predictions of boosted trees
    sign_plan: Plan = replace(PLAN, epochs=30, schedule="one-cycle", warmup=0.25)
    sign_batch: Count = 256  # pages of a step
    sign_members: Count = 3  # networks of the ensemble
    neighbour_labels: bool = True  # it reads the known targets of the neighbours; trees always do
    shuffled: Literal["no", "links", "pages"] = "no"  # for all models that read links; an ablation
    # residual attention; its numbers were chosen on validation pages of seeds 100 to 109
    attention_plan: Plan = replace(
        PLAN, epochs=40, learning_rate=1e-2, schedule="one-cycle", warmup=0.3, clip_norm=1.0
    )
    attention_batch: Count = 512  # pages of a step
    members: Count = 3  # networks of the ensemble
    candidates: Count = 30  # similar pages of each kind on the list of a page
    residual: bool = True  # the residuals of similar pages may enter, beside their labels
    query: bool = True  # what the two pages are decides on the weight, beside facts on the pair
    hide: Share = 0.2  # share of the known labels hidden in each step
    guess: Weight = 0.3  # weight of the guess alone in the loss

    def __post_init__(self) -> None:
        if self.attention_plan.precision != "32-true":
            raise ConfigError("residual attention needs attention_plan.precision=32-true.")
        if self.refit and any(p.monitor for p in (self.plan, self.sign_plan, self.attention_plan)):
            raise ConfigError("A refit keeps the last epoch; set monitor=none, or refit=false.")

    def training(self, name: NetworkName) -> tuple[Plan, int, int]:
        """Plan, pages of a step (0: the whole graph), and how many networks of this kind."""
        if name == "attention":
            return self.attention_plan, self.attention_batch, self.members
        carried = self.sign_plan, self.sign_batch, self.sign_members
        return carried if name in CARRIED else (self.plan, 0, 1)


PRESETS = presets(Config(), "wikipedia")


def task_of(inputs: Inputs, kind: SplitKind, config: Config, seed: int) -> Task:
    """A split of a graph, and which of its pages are fitted."""
    groups = inputs.groups(kind)
    split = splits.split_of(inputs.graph.num_nodes, groups, seed, config.train_share)
    rows = np.concatenate([split.train, split.validation]) if config.refit else split.train
    if config.shuffled != "no":  # the split stays
        changed = wikipedia_candidates.shuffled(inputs.graph, config.shuffled, seed)
        inputs = Inputs(changed, config.candidates, config.alike)
    return Task(inputs, kind, groups, split, rows)


def twin_lookup(y: np.ndarray, group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Median of the known twins of each page `[N]`, itself included; of all known ones where it has none."""
    medians = pd.Series(y[rows]).groupby(group[rows]).median()
    return medians.reindex(group, fill_value=np.median(y[rows])).to_numpy()


def propagate(a: Tensor, y: np.ndarray, rows: np.ndarray, steps: int = 20) -> np.ndarray:
    r"""Label propagation (Zhu and Ghahramani 2002): :math:`\hat y \leftarrow D^{-1} A \hat y` on other pages.

    These begin with the mean of the known ones, and without a link they stay there.
    """
    known = torch.from_numpy(y[rows])
    values = torch.full((len(y), 1), float(known.mean()), dtype=torch.float64)
    values[rows, 0], a = known, a.double()
    degree = a @ torch.ones_like(values)  # [N, 1]
    for _ in range(steps):
        values = torch.where(degree > 0, a @ values / degree.clamp(min=1), values)
        values[rows, 0] = known
    return values[:, 0].numpy()


def baselines(task: Task, trees: int) -> dict[str, np.ndarray]:
    """Predictions `[N]` of the models that are no networks."""
    y, check = task.graph.y.numpy().astype(np.float64), task.split.validation
    # where groups stay together, each of them has one vote in a choice
    weights = None if task.groups is None else splits.one_per_group(task.groups, check)
    words, x = task.inputs.words, task.inputs.dense.numpy().astype(np.float64)

    def error(predicted: np.ndarray) -> float:
        return float(np.average(np.abs(predicted[check] - y[check]), weights=weights))

    def ridge(penalty: float, rows: np.ndarray) -> np.ndarray:
        model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-3)
        return model.fit(words[rows], y[rows]).predict(words)

    penalties = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    penalty = min(penalties, key=lambda penalty: error(ridge(penalty, task.split.train)))
    staged = boosted(x, y, task.split.train, trees).staged_predict(x)
    return {
        "mean": np.full(len(y), y[task.rows].mean()),
        "median": np.full(len(y), np.median(y[task.rows])),
        "twin": twin_lookup(y, task.graph.twin_group.numpy(), task.rows),
        "ridge": ridge(penalty, task.rows),
        "propagation": propagate(adjacency(task.graph.edge_index, len(y)), y, task.rows),
        "boosting": boosted(x, y, task.rows, int(np.argmin([*map(error, staged)])) + 1).predict(x),
    }


class Fitted(NamedTuple):
    predicted: np.ndarray  # for all pages, `[N]`
    model: Any = None
    history: list[dict[str, float]] = []  # noqa: RUF012 - never written to


Given = Callable[[nn.Module], list[Any]]  # model -> what it is called with, on its device


def network_of(name: NetworkName, task: Task, config: Config) -> tuple[nn.Module, Given]:
    """An untrained network, and what it is called with; seed before."""
    graph, inputs, width, p = task.graph, task.inputs, config.hidden, config.dropout
    n, words = graph.x.shape
    model: nn.Module
    if name == "attention":
        given: list[Any] = [inputs.dense, inputs.candidates, task.groups]
        widths = inputs.dense.shape[1], inputs.candidates.features.shape[1]
        model = ResidualAttention(*widths, residual=config.residual, query=config.query)
    elif name == "gcn":
        given = [graph.x, normalise_adjacency(graph.edge_index, n)]
        model = sparse_kernels(GCN(words, width, 1, p))
    elif name == "gat":
        given = [graph.x, add_self_loops(graph.edge_index, n)]
        model = GAT(words, width, 1, p, alpha=0.2, n_heads=4)
    elif name in CARRIED:  # the links are in their input
        labels, trees = [task.neighbour_labels] * config.neighbour_labels, 2 * (name != "sign")
        x = torch.cat([inputs.propagated, *labels, *[task.boosted] * (trees > 0)], dim=1)
        given = [x]
        model = ColumnRegressor(x.shape[1], width, dropout=0.5, input_dropout=0.4, guesses=trees)
    else:
        x, a, extra = graph.x, None, None
        if name == "gnn":
            a = adjacency(graph.edge_index, n)
            extra = task.statistics if config.statistics else None
            both = sparse.hstack([inputs.words, inputs.links])  # [N, F + N]
            rows, columns = both.nonzero()
            x = pages.sparse_rows(rows, columns, both.shape) if config.links else x
        given = [x, a, extra]
        model = GraphRegressor(
            x.shape[1], width, config.layers, dropout=p, input_dropout=config.input_dropout,
            use_graph=name == "gnn", extra_features=0 if extra is None else extra.shape[1],
            jumping_knowledge=config.jumping_knowledge, aggregations=config.aggregations,
        )  # fmt: skip
    on = functools.cache(lambda device: [x if x is None else x.to(device) for x in given])
    return model, lambda model: on(engine.device_of(model))


def look(
    model: nn.Module, given: Given, labels: Tensor, known: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Standardised prediction and guess of residual attention, by known labels `[N]`: twice `[B]`."""
    dense, candidates, groups = given(model)
    labels, known = labels.to(dense.device), known.to(dense.device)
    return model(dense, candidates, labels, known, rows, group=groups)  # type: ignore[no-any-return]


@torch.no_grad()
def predict(name: NetworkName, model: nn.Module, given: Given, task: Task) -> np.ndarray:
    """Predictions of ln(1 + visits) for all pages, float64 `[N]`."""
    if name == "attention":
        output, _ = look(model, given, task.target, task.known)
    else:
        output = model(*given(model)).flatten()
    mean, spread = task.target_scale
    predicted: np.ndarray = output.cpu().numpy().astype(np.float64) * spread + mean
    return task.inputs.alike_pages @ predicted if name in CARRIED else predicted


def fit_network(job: Job, task: Task, name: NetworkName, member: int = 0) -> Fitted:
    """Train one network: nothing is chosen on the way, the last epoch counts."""
    config, batched = job.config, name in ENSEMBLES
    plan, size, _ = config.training(name)
    rows, y = torch.from_numpy(task.rows), task.graph.y.numpy()
    random = (f"{name}-{member}",) if batched else (name, "refit" if config.refit else "search")
    stream = seeds.derive(job.seed, task.kind, *random)
    seeds.seed_everything(stream % 2**32)
    model, given = network_of(name, task, config)
    distance = torch.abs if config.loss == "l1" else torch.square

    def batches(epoch: int) -> list[Tensor]:
        if not batched:
            return [rows] * config.steps_per_epoch
        order = torch.randperm(len(rows), generator=seeds.generator(stream, "order", epoch))
        return list(rows[order].split(size))

    def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        target = task.target.to(batch.device)[batch]  # [B]
        if name == "attention":
            shown = task.known & (torch.rand(len(task.known)) >= config.hide)  # [N]
            predicted, guess = look(network, given, task.target, shown, batch)  # [B], [B]
            errors = (predicted - target).abs() + config.guess * (guess - target).abs()
        elif name in CARRIED:
            weights = task.weights.to(batch.device)[batch]  # [B]
            errors = distance(network(given(network)[0][batch]) - target) * weights
        else:
            errors = distance(network(*given(network)).flatten()[batch] - target)
        return errors.sum(), len(batch)

    def validate(network: nn.Module) -> dict[str, float]:
        if batched and config.refit:
            return {}  # predicting all pages would take a quarter of the epoch
        parts = {"train": task.rows}
        if not config.refit:
            parts["validation"] = task.split.validation
        error = np.abs(predict(name, network, given, task) - y)
        return {f"{part}_mae_ln": float(error[rows].mean()) for part, rows in parts.items()}

    job.say(f"{task.kind} split, {random[0]}:")
    saving = job.part(random[0]).loop(task.graph.source, split=task.kind, network=name)
    fit = engine.fit(
        model, plan, batches=batches, loss=loss, validate=validate, shard=False,
        log_every=max(1, plan.epochs // 4), **saving,
    )  # fmt: skip
    return Fitted(predict(name, model, given, task), model, fit.history)


@limited_threads(1)  # the products are small, and one thread always sums in the same order
def fit_all(job: Job, task: Task) -> dict[str, Fitted]:
    """Fit every model on one split. No target of a test page is read."""
    config = job.config
    plain = baselines(task, config.trees) if config.others else {}
    fitted = {name: Fitted(p) for name, p in plain.items()}
    for name in config.networks:
        *_, count = config.training(name)
        members = [fit_network(job, task, name, member) for member in range(count)]
        fitted[name] = members[0]
        if name in ENSEMBLES:
            together = np.mean([member.predicted for member in members], axis=0)
            fitted[ENSEMBLES[name]] = Fitted(together)
        if name == "stacked":  # what it corrects
            mean, spread = task.target_scale
            fitted["trees"] = Fitted(task.boosted.double().mean(1).numpy() * spread + mean)
    return fitted


def scores(task: Task, fitted: dict[str, Fitted]) -> dict[str, float]:
    """Errors on the test pages of a split: all measures for the networks, the main ones for the rest."""
    found: dict[str, float] = {}
    test, y = task.split.test, task.graph.y.numpy()
    parts = {"fresh": task.fresh, "copied": np.setdiff1d(test, task.fresh)}  # by equal traffic
    for name, model in fitted.items():
        values = measures(task.graph, model.predicted, test)
        for part, rows in parts.items():
            if len(rows):
                values[f"{part}_mae_ln"] = float(np.abs(model.predicted[rows] - y[rows]).mean())
        if model.model is None and name not in ENSEMBLES.values():
            del values["mae_visits"], values["medae_visits"]
        found |= named(f"{task.kind}.{name}.test_", values)
    return found


def train(job: Job) -> Run:
    """Fit and test every model on every split; artefacts by split: ``tasks`` and ``fitted``."""
    config, graph = job.config, pages.load(job.config.graph)
    inputs = Inputs(graph, config.candidates, config.alike)
    tasks, results, curves = {}, {}, {}
    metrics: dict[str, float] = {}
    notes: dict[str, Any] = {"nodes": graph.num_nodes, "features": graph.x.shape[1]}
    for kind in config.splits:
        tasks[kind] = task = task_of(inputs, kind, config, job.seed)
        results[kind] = fitted = fit_all(job.part(kind), task)
        metrics |= scores(task, fitted) | splits.copies(task)
        notes[f"{kind}.sizes"] = list(task.split.sizes)
        if "ensemble" in fitted:  # of the first seed alone in a recorded result
            test = task.split.test
            predicted = fitted["ensemble"].predicted[test].round(3).tolist()
            notes[f"{kind}.test"] = {"rows": test.tolist(), "ensemble": predicted}
        for name in config.networks:
            predicted, model, curves[f"{kind}.{name}"] = fitted[name]
            notes[f"{name}.parameters"] = parameters(model)
            if not config.refit:
                error = measures(graph, predicted, task.split.validation)["mae_ln"]
                metrics[f"{kind}.{name}.validation_mae_ln"] = error
    if not config.networks:  # then the other splits cost little
        for kind in splits.KINDS:
            metrics |= splits.copies(task_of(inputs, kind, config, job.seed))
    made = {"tasks": tasks, "fitted": results}
    return job.run(metrics, graph.source, curves=curves, notes=notes, artefacts=made)


@limited_threads(1)
def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics of the network in a ``best.pt``, on the test pages of its own split and seed."""
    config, bundle, weights = restore(checkpoint, "wikipedia", Config)
    kind, name = bundle["split"], bundle["network"]
    inputs = Inputs(pages.load(config.graph), config.candidates, config.alike)
    task = task_of(inputs, kind, config, bundle["seed"])
    model, given = network_of(name, task, config)
    with checkpoints.fitting(checkpoint, "wikipedia"):
        model.load_state_dict(weights)
    predicted = predict(name, model.eval(), given, task)
    return named(f"{kind}.{name}.test_", measures(task.graph, predicted, task.split.test))
