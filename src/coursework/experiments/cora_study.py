"""What depth and missing citations do to a graph network, read on the validation nodes of the public split.

* **Depth.** The same GCN with 2 to 32 layers, with and without the initial residual connection: its
  accuracy, and how far the hidden rows of two nodes still differ.
* **Missing citations.** GCN and GAT trained on the graph without a random share of its links; without
  any, both are networks on the words alone.

The test nodes are not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from coursework.config import Count, Dropout, config
from coursework.data import planetoid
from coursework.errors import ConfigError
from coursework.experiments import cora
from coursework.experiments.base import Job, Run
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, DeepGCN, add_self_loops, normalise_adjacency, spread
from coursework.models.sparse import feature_dropout
from coursework.training import engine, seeds
from coursework.training.engine import Plan
from coursework.training.threads import limited_threads

PLAN = replace(cora.EARLY_STOP, epochs=300)


@config
class Config:
    """Every number but the seed."""

    dataset: Literal["Cora", "CiteSeer"] = "Cora"
    depths: tuple[Annotated[int, Field(ge=2)], ...] = (2, 4, 8, 16, 32)  # numbers of layers
    initial: Annotated[float, Field(gt=0, lt=1)] = (
        0.2  # weight of the first layer in each later one
    )
    removed: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
    )  # of links
    hidden: Count = 64  # width of all networks
    heads: Count = 8  # of the GAT
    dropout: Dropout = 0.5  # of words and hidden units
    plan: Plan = PLAN

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden is {self.hidden} and heads {self.heads}; the first must be a multiple of the second."
            )


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(
        depths=(2, 8), removed=(0.0, 1.0), hidden=16, plan=replace(PLAN, epochs=30, patience=None)
    ),
}


def without_links(edge_index: Tensor, share: float, seed: int) -> Tensor:
    """The graph without a random share of its links, both directions of a link together.

    Shapes:
        - edge_index: `[2, E]`, each link in both directions
        - output: `[2, E']`
    """
    one, other = edge_index
    pairs = edge_index[:, one < other]
    order = torch.randperm(pairs.shape[1], generator=seeds.generator(seed, "links"))
    kept = pairs[:, order[round(share * pairs.shape[1]) :]]
    return torch.cat([kept, kept.flip(0)], dim=1)


def fit_network(
    job: Job,
    model: nn.Module,
    structure: Tensor,
    inputs: cora.Inputs,
    graph: planetoid.CitationGraph,
) -> float:
    """Train one network on the public split; its accuracy on the validation nodes."""
    config: Config = job.config
    validation = np.flatnonzero(graph.val_mask.numpy())
    batch: cora.Batch = {
        "x": inputs.x,
        "graph": structure,
        "y": inputs.y,
        "train": graph.train_mask,
    }

    def loss(network: nn.Module, batch: cora.Batch) -> tuple[Tensor, int]:
        x = feature_dropout(batch["x"], config.dropout, training=True)
        logits = network(x, batch["graph"])[batch["train"]]  # [n, C]
        target = batch["y"][batch["train"]]  # [n]
        return F.cross_entropy(logits, target, reduction="sum"), len(target)

    def validate(network: nn.Module) -> dict[str, float]:
        found = cora.score(network, structure, inputs, validation)
        return {f"validation_{key}": found[key] for key in ("loss", "accuracy")}

    fit = engine.fit(
        model, config.plan, batches=lambda _: [batch], loss=loss, validate=validate, shard=False,
        **job.loop() | {"log": None},
    )  # fmt: skip
    return fit.best["validation_accuracy"]


def train(job: Job) -> Run:
    """Train every network once; the seed decides weights, dropout and the links that are removed.

    Metrics are ``depth.L.plain.validation_accuracy``, ``depth.L.initial...`` and the same with ``spread``,
    and ``removed.P.gcn.validation_accuracy`` and ``removed.P.gat...`` with P in per cent.
    """
    config: Config = job.config
    graph = planetoid.load(config.dataset)
    inputs = cora.prepare(graph)
    words, classes, n = inputs.x.shape[1], inputs.num_classes, len(graph.y)
    metrics: dict[str, float] = {}

    def fit(name: str, model: nn.Module, structure: Tensor) -> None:
        accuracy = fit_network(job.part(name), model, structure, inputs, graph)
        metrics[f"{name}.validation_accuracy"] = accuracy
        job.say(f"{name}: validation accuracy {accuracy:.4f}")

    def seed(name: str) -> None:
        seeds.seed_everything(seeds.derive(job.seed, name) % 2**32)

    with limited_threads(1):
        for depth in config.depths:
            for kind, initial in (("plain", 0.0), ("initial", config.initial)):
                name = f"depth.{depth}.{kind}"
                seed(name)
                deep = DeepGCN(words, config.hidden, classes, depth, config.dropout, initial)
                fit(name, deep, inputs.adj)
                with torch.no_grad():
                    rows = deep.hidden(inputs.x, inputs.adj)
                    metrics[f"{name}.spread"] = float(spread(rows))
        for share in config.removed:
            rest = without_links(graph.edge_index, share, job.seed)
            name = f"removed.{100 * share:.0f}"
            seed(f"{name}.gcn")
            gcn = GCN(words, config.hidden, classes, config.dropout)
            fit(f"{name}.gcn", gcn, normalise_adjacency(rest, n))
            seed(f"{name}.gat")
            gat = GAT(words, config.hidden, classes, config.dropout, 0.2, config.heads)
            fit(f"{name}.gat", gat, add_self_loops(rest, n))
    return job.run(metrics, graph.source, notes={"links": graph.edge_index.shape[1] // 2})
