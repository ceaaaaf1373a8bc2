"""Problem 4 (3.1 to 3.6 of the second set): topics of papers from their words and citations, by GCN and GAT.

``random140`` is the assignment's protocol: 140 random nodes, all others for test, nothing to choose with (its
"val" are the test nodes). ``planetoid`` is the public split, whose validation nodes decide when to stop.
Letters: ``N`` nodes, ``E`` edges with self-loops, ``F`` words, ``C`` classes, ``n`` of a part, ``S`` views.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from coursework.config import Count, Index, Positive, Share, Weight, config
from coursework.data import planetoid
from coursework.data.sources import Source
from coursework.data.splits import Split
from coursework.errors import ConfigError
from coursework.experiments.base import TABLES, Job, Run, named, presets, restore
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, GCNII, add_self_loops, normalise_adjacency, sparse_kernels
from coursework.models.grand import GRAND, consistency_loss
from coursework.models.sparse import feature_dropout, sparse_csr
from coursework.stats import paired as paired_interval
from coursework.stats import wilson
from coursework.training import checkpoints, engine, seeds
from coursework.training.engine import Plan
from coursework.training.parallel import limited_threads

LAST = 10  # epochs that the assignment wants to see
EVERY = 10  # epochs between two looks, or two points of a curve, in a long training
Model = Literal[
    "gcn", "gcn_glorot", "gcn_elu", "gcn_both", "gat", "gat_linear", "uniform", "grand", "gcnii"
]
Batch = dict[str, Tensor]
ASSIGNMENT = Plan(
    epochs=100, learning_rate=0.01, weight_decay=5e-4, optimizer="adam", precision="32-true",
    monitor=None,  # the last epoch is kept: nothing is chosen on the test nodes
)  # fmt: skip


class Network:
    """What the networks below have in common, beside the numbers of each."""

    graph = "adj"  # what it takes of :class:`.cora.Inputs`

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy, summed over the training nodes, and their logits ``[n, C]``."""
        dropped = getattr(self, "input_dropout", 0.0)  # the GAT drops words itself
        x = feature_dropout(batch["x"], dropped, training=True)  # [N, F]
        logits = network(x, batch["graph"])[batch["nodes"]]  # [n, C]
        return F.cross_entropy(logits, batch["y"][batch["nodes"]], reduction="sum"), logits

    def parameters(self, network: Any) -> Any:
        return network.parameters()


@config
class GCNConfig(Network):
    """The graph convolutional network; the defaults are the assignment's."""

    hidden: Count = 16
    dropout: Share = 0.5  # of the hidden units
    input_dropout: Share = 0.0  # of the words; Kipf & Welling drop them, the assignment does not
    plan: Plan = ASSIGNMENT

    def build(self, words: int, classes: int, elu: bool = False, glorot: bool = False) -> nn.Module:
        """The GCN, if wanted with two things of the GAT: its activation, its first weights."""
        network = GCN(words, self.hidden, classes, self.dropout)
        if elu:
            network.relu = nn.ELU()  # type: ignore[assignment]
        for layer in (network.gc1, network.gc2) if glorot else ():
            nn.init.xavier_uniform_(layer.linear.weight)
        return sparse_kernels(network)


@config
class GATConfig(Network):
    """The graph attention network; the defaults are the assignment's."""

    hidden: Count = 16  # units of all heads together
    heads: Count = 8  # of the first layer; the second has one
    alpha: float = 0.2  # slope of the leaky ReLU below zero
    dropout: Share = 0.5  # of the words, the hidden units and the attention weights
    share_attention: bool = True  # one vector for all heads, as the assignment has it
    bias: bool = False  # as in the authors' code; the equations have none
    drop_messages: bool = False  # also drop what is summed, as in the authors' code
    plan: Plan = ASSIGNMENT
    graph = "edge_index"

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            sizes = f"gat.hidden is {self.hidden}"
            raise ConfigError(f"{sizes}, which is not a multiple of gat.heads, {self.heads}.")

    def build(self, words: int, classes: int, learned: bool = True, linear: bool = False) -> GAT:
        """The GAT; if wanted with equal weights, or starting like ``nn.Linear``, as the assignment's does."""
        network = GAT(
            words, self.hidden, classes, self.dropout, self.alpha, self.heads,
            self.share_attention, self.bias, self.drop_messages,
        )  # fmt: skip
        for layer in (network.layer1, network.layer2):
            if linear:
                layer.W.reset_parameters()
            for vector in (layer.a_l, layer.a_r):
                if not learned:
                    nn.init.zeros_(vector).requires_grad_(False)
                elif linear:
                    bound = (2 * layer.n_hidden) ** -0.5
                    nn.init.uniform_(vector, -bound, bound)
        return network


@config
class GRANDConfig(Network):
    """The graph random neural network of Feng et al.; the defaults are the paper's for Cora."""

    hidden: Count = 32
    order: Index = 8  # steps over which the signal is averaged
    dropnode: Share = 0.5  # share of the nodes that a view drops
    input_dropout: Share = 0.5  # of the words
    dropout: Share = 0.5  # of the hidden units
    samples: Count = 4  # views in a step
    temperature: Positive = 0.5  # of the sharpened mean that the views should agree with
    consistency: Weight = 1.0  # of their disagreement in the loss
    balance: Weight = 0.0  # labelled nodes weigh 1 / frequency of their class to this power
    plan: Plan = ASSIGNMENT

    def build(self, words: int, classes: int) -> nn.Module:
        dropouts = (self.dropnode, self.input_dropout, self.dropout)
        return GRAND(words, self.hidden, classes, self.order, *dropouts)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean of the views' cross entropies, and how much the views of all nodes disagree."""
        target = batch["y"][batch["nodes"]]  # [n]
        views = network(batch["x"], batch["graph"], self.samples)  # [S, N, C]
        labelled = views[:, batch["nodes"]]  # [S, n, C]
        weight = class_weights(target, views.shape[2], self.balance)  # [C]
        given = labelled.flatten(0, 1), target.repeat(len(views)), weight
        total = F.cross_entropy(*given, reduction="sum") / len(views)
        disagreement = consistency_loss(views, self.temperature)
        return total + self.consistency * len(target) * disagreement, labelled.mean(dim=0)


@config
class GCNIIConfig(Network):
    """The deep network of Chen et al.; the defaults are the paper's for Cora."""

    hidden: Count = 64
    layers: Count = 64
    alpha: Share = 0.1  # weight of the first layer in each later one
    strength: Positive = 0.5  # lambda: layer l has the identity with weight 1 - log(1 + lambda / l)
    dropout: Share = 0.6  # of the hidden units
    input_dropout: Share = 0.6  # of the words
    decay: Weight = 0.01  # weight decay of the convolutions; that of the plan is for the rest
    plan: Plan = ASSIGNMENT

    def build(self, words: int, classes: int) -> nn.Module:
        rest = (self.layers, self.dropout, self.alpha, self.strength)
        return GCNII(words, self.hidden, classes, *rest)

    def parameters(self, network: Any) -> list[Any]:
        rest = [*network.first.parameters(), *network.last.parameters()]
        convolutions = list(network.convolutions.parameters())
        return [{"params": convolutions, "weight_decay": self.decay}, {"params": rest}]


def class_weights(y: Tensor, num_classes: int, balance: float) -> Tensor:
    """Inverse frequencies ``[num_classes]`` of labels ``[n]`` to a power, with mean one over the nodes."""
    weight = torch.bincount(y, minlength=num_classes).clamp(min=1).float() ** -balance  # [C]
    return weight / weight[y].mean()


@config
class Config:
    dataset: Literal["Cora", "CiteSeer"] = "Cora"
    protocol: Literal["random140", "planetoid"] = "random140"
    train_nodes: Count = 140  # of random140
    validation_nodes: Index = 0  # of random140; the assignment has none
    models: Annotated[tuple[Model, ...], Field(min_length=1)] = ("gcn", "gat")
    epochs_long: Count | None = None  # train long_models once more for that many epochs
    long_models: tuple[Model, ...] = ("gcn", "gat")
    watch: Count = 1  # the watched nodes are measured every so many epochs, and in the last ten
    gcn: GCNConfig = GCNConfig()
    gat: GATConfig = GATConfig()
    grand: GRANDConfig = GRANDConfig()
    gcnii: GCNIIConfig = GCNIIConfig()

    def __post_init__(self) -> None:
        for name in ("models", "long_models"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)}, which has one twice.")
        if self.protocol == "planetoid" and (self.validation_nodes or self.train_nodes != 140):
            what = "train_nodes and validation_nodes belong to random140"
            raise ConfigError(f"{what}; leave them out, or set protocol=random140.")
        if self.validates and (self.watch > 1 or self.epochs_long):
            raise ConfigError("watch and epochs_long are for random140 without validation nodes.")
        if not self.validates and any(self.numbers(name).plan.monitor for name in self.models):
            raise ConfigError("There are no validation nodes for a monitor; set validation_nodes.")

    @property
    def validates(self) -> bool:
        """Whether there are nodes to choose an epoch with."""
        return self.protocol == "planetoid" or self.validation_nodes > 0

    def variants(self) -> list[str]:
        """What one run trains: ``gcn``, ``gat``, ``gcn.long``, ..."""
        long = [name for name in self.long_models if self.epochs_long and name in self.models]
        return [*self.models, *(f"{name}.long" for name in long)]

    def numbers(self, variant: str) -> Any:
        """The group of this config that a variant is built and trained by."""
        name, _, long = variant.partition(".")
        found = getattr(self, "gat" if name == "uniform" else name.split("_")[0])
        return replace(found, plan=replace(found.plan, epochs=self.epochs_long)) if long else found


PRESETS = presets(Config(), "cora")
COMPARED: list[list[str]] = TABLES["cora"]["compared"]  # metric, of a variant, minus of another
OPTIONS: dict[str, dict[str, bool]] = TABLES["cora"]["options"]  # of ``build``, by model


class Inputs(NamedTuple):
    """A citation graph as the models take it."""

    x: Tensor  # words, each row divided by its sum; sparse CSR float32 [N, F]
    adj: Tensor  # normalised adjacency with self-loops; sparse CSR float32 [N, N]
    edge_index: Tensor  # the same edges; int64 [2, E], row 0 sources j, row 1 targets i
    y: Tensor  # classes, int64 [N]
    num_classes: int
    source: Source


def prepare(graph: planetoid.CitationGraph) -> Inputs:
    """Normalise words and adjacency; a paper without words or citations keeps zeros and a self-loop."""
    total = graph.x.sum(dim=1, keepdim=True)  # [N, 1]
    x = graph.x / total.where(total > 0, 1.0)  # [N, F]
    paper, word = x.nonzero(as_tuple=True)  # 2 x [number of words in all papers]
    words = sparse_csr(paper, word, x[paper, word], (len(x), x.shape[1]))
    given = graph.edge_index, len(graph.y)
    adj, edges = normalise_adjacency(*given), add_self_loops(*given)
    return Inputs(words, adj, edges, graph.y, graph.num_classes, graph.source)


def split_nodes(graph: planetoid.CitationGraph, config: Config, seed: int) -> Split:
    """Training (the same for any number of validation nodes), validation and test nodes."""
    if config.protocol == "planetoid":
        masks = (graph.train_mask, graph.val_mask, graph.test_mask)
        return Split(*(np.flatnonzero(mask.numpy()) for mask in masks))
    n = len(graph.y)
    first, second = config.train_nodes, config.train_nodes + config.validation_nodes
    if second >= n:
        sizes = f"train_nodes is {first} and validation_nodes {second - first}"
        raise ConfigError(f"{sizes}, but the graph has {n} nodes; leave some for the test.")
    order = torch.randperm(n, generator=seeds.generator(seed, "split")).numpy()
    return Split(order[:first], order[first:second], order[second:])


def build(variant: str, config: Config, inputs: Inputs) -> nn.Module:
    """A model with fresh weights; seed before."""
    sizes, options = (inputs.x.shape[1], inputs.num_classes), OPTIONS.get(variant.split(".")[0], {})
    return config.numbers(variant).build(*sizes, **options)  # type: ignore[no-any-return]


@torch.no_grad()
def score(
    model: nn.Module, structure: Tensor, inputs: Inputs, nodes: np.ndarray
) -> tuple[dict[str, float], Tensor]:
    """Loss and accuracy on some nodes, and which of them are correct, bool ``[n]``."""
    device = engine.device_of(model)
    where = torch.from_numpy(nodes).to(device)
    model.eval()
    logits = model(inputs.x.to(device), structure.to(device))[where]  # [n, C]
    target = inputs.y.to(device)[where]  # [n]
    correct = logits.argmax(dim=1) == target  # [n]
    found = {"accuracy": correct.double().mean(), "loss": F.cross_entropy(logits, target)}
    return {name: float(value) for name, value in found.items()}, correct.cpu()


def fit_network(
    job: Job, variant: str, make: Callable[[], nn.Module], numbers: Any, structure: Tensor,
    inputs: Inputs, split: Split, every: int = 1,
) -> tuple[nn.Module, engine.Fit]:  # fmt: skip
    """One network on the full graph: one batch, one step an epoch, validated in every ``every``-th epoch."""
    seeds.seed_everything(job.seed)
    model, plan, nodes = make(), numbers.plan, torch.from_numpy(split.train)
    batch: Batch = {"x": inputs.x, "graph": structure, "y": inputs.y, "nodes": nodes}
    watched = split.validation if len(split.validation) else split.test
    epoch = 0

    def batches(number: int) -> list[Batch]:
        nonlocal epoch
        epoch = number + 1
        return [batch]

    def counted(network: nn.Module, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        total, logits = numbers.loss(network, batch)
        hits = logits.argmax(dim=1) == batch["y"][batch["nodes"]]  # [n]
        return total, len(hits), {"accuracy": float(hits.sum())}

    def validate(network: nn.Module) -> dict[str, float]:
        started, found = time.perf_counter(), {}
        if epoch % every == 0 or epoch > plan.epochs - LAST:
            found = named("validation_", score(network, structure, inputs, watched)[0])
        return found | {"watching_seconds": time.perf_counter() - started}

    fit = engine.fit(
        model, plan, batches=batches, loss=counted, validate=validate, shard=False,
        parameters=numbers.parameters(model), line=lambda row, _: f"{variant:<12} {epoch_line(row)}",
        log_every=max(1, plan.epochs // 5), **job.loop(inputs.source, variant=variant),
    )  # fmt: skip
    return model, fit


@limited_threads(1)
def train(job: Job) -> Run:
    """Train all models on one split: ``gcn.test_accuracy``, ``gat.long.test_loss``, ... and COMPARED."""
    config: Config = job.config
    graph = planetoid.load(config.dataset)
    inputs, split = prepare(graph), split_nodes(graph, config, job.seed)
    models, fits, correct, intervals = {}, {}, {}, {}
    metrics: dict[str, float] = {}
    for variant in config.variants():
        numbers = config.numbers(variant)
        # A long training is there for its end; watching every tenth epoch is enough for its curve.
        every = max(config.watch, EVERY) if variant.endswith(".long") else config.watch
        make, structure = partial(build, variant, config, inputs), getattr(inputs, numbers.graph)
        given = variant, make, numbers, structure, inputs, split, every
        models[variant], fits[variant] = model, fit = fit_network(job.part(variant), *given)
        found, correct[variant] = score(model, structure, inputs, split.test)
        metrics |= named(f"{variant}.test_", found)
        if config.validates:
            for key in ("validation_accuracy", "validation_loss"):
                metrics[f"{variant}.{key}"] = fit.best[key]
            metrics[f"{variant}.best_epoch"] = float(fit.best_epoch)
        interval = wilson(int(correct[variant].sum()), len(split.test))
        intervals[f"{variant}.test_accuracy"] = (*interval, "Wilson, test nodes")
    for title, one, other in COMPARED:
        if one in correct and other in correct:
            metrics[title] = metrics[f"{one}.test_accuracy"] - metrics[f"{other}.test_accuracy"]
            _, low, high = paired_interval(correct[one].numpy(), correct[other].numpy())
            intervals[title] = (low, high, "normal, paired over test nodes of one split")
    notes = {
        "intervals": intervals,
        "parameters": {
            name: sum(p.numel() for p in models[name].parameters() if p.requires_grad)
            for name in config.models
        },
        "nodes": dict(zip(("train", "validation", "test"), split.sizes, strict=True)),
        "last_epochs": {v: [epoch_line(row) for row in f.history[-LAST:]] for v, f in fits.items()},
        "training_seconds": {variant: _seconds(*fit.history) for variant, fit in fits.items()},
        "precision": next(iter(fits.values())).precision,
    }
    curves = {variant: _curve(fit.history) for variant, fit in fits.items()}
    made = {"models": models, "fits": fits, "correct": correct, "inputs": inputs, "split": split}
    return job.run(metrics, graph.source, notes=notes, curves=curves, artefacts=made)


def paired(job: Job, splits: int, first: Run | None = None) -> list[Run]:
    """Runs on ``splits`` splits with all models on each, those after ``first`` without ``epochs_long``."""
    first = first if first is not None else train(job)
    short = replace(job.config, epochs_long=None, watch=1 if job.config.validates else EVERY)
    later = range(first.seed + 1, first.seed + splits)
    return [first, *(train(Job(job.experiment, short, job.preset, s, log=job.log)) for s in later)]


def _curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Every tenth epoch, rounded: what a figure needs, in a results file of reasonable size."""
    keys = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    rows = [row for row in history if row["epoch"] % EVERY == 0 or row is history[-1]]
    return [{key: round(row[key], 4) for key in keys if key in row} for row in rows]


def _seconds(*rows: Mapping[str, float]) -> float:
    """Training and watching, as the assignment counts the time of its epochs."""
    return sum(row["seconds"] + row["watching_seconds"] for row in rows)


def epoch_line(row: Mapping[str, float]) -> str:
    """A line as the assignment prints it; ``val`` are the watched nodes of the protocol."""
    text = f"Epoch: {int(row['epoch']):04d} loss_train: {row['train_loss']:.4f} "
    text += f"acc_train: {row['train_accuracy']:.4f} "
    if "validation_loss" in row:
        text += f"loss_val: {row['validation_loss']:.4f} acc_val: {row['validation_accuracy']:.4f} "
    return text + f"time: {_seconds(row):.4f}s"


def training_log(run: Run, variant: str) -> str:
    """The last ten epochs and the test results of a training, as the assignment asks for them."""
    loss, accuracy = (run.metrics[f"{variant}.test_{key}"] for key in ("loss", "accuracy"))
    end = f"Total time elapsed: {run.notes['training_seconds'][variant]:.4f}s"
    results = f"Test set results: loss= {loss:.4f} accuracy= {accuracy:.4f}"
    return "\n".join([*run.notes["last_epochs"][variant], "Optimization Finished!", end, results])


@limited_threads(1)
def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics of a ``best.pt``, named as in :func:`train`."""
    config, bundle, weights = restore(checkpoint, "cora", Config)
    graph = planetoid.load(config.dataset)
    inputs = prepare(graph)
    with checkpoints.fitting(checkpoint, "cora"):  # the stand-in, for example, has other words
        variant, seed = str(bundle["variant"]), int(bundle["seed"])
        model = build(variant, config, inputs)
        model.load_state_dict(weights)
    structure, test = config.numbers(variant).graph, split_nodes(graph, config, seed).test
    return named(f"{variant}.test_", score(model, getattr(inputs, structure), inputs, test)[0])
