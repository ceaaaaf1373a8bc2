"""What depth and missing citations do to a graph network, read on the validation nodes of the public split.

* **Depth.** The same GCN with 2 to 32 layers, with and without the initial residual connection: its
  accuracy, and how far the hidden rows of two nodes still differ.
* **Missing citations.** GCN and GAT trained on the graph without a random share of its links; without
  any, both are networks on the words alone.

The test nodes are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.data import planetoid
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import cora
from coursework.experiments.base import Run, as_record
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, DeepGCN, add_self_loops, normalise_adjacency, spread
from coursework.models.graph_conv import feature_dropout
from coursework.report.tables import Table
from coursework.training import engine, seeds
from coursework.training.threads import limited_threads

_PLAN = engine.Plan(
    epochs=300,
    learning_rate=0.01,
    weight_decay=5e-4,
    optimizer="adam",
    patience=100,
    monitor="validation_loss",
    mode="min",
    precision="32-true",
)


@dataclass(frozen=True)
class Config:
    """Every number but the seed.

    Attributes:
        dataset: ``Cora`` or ``CiteSeer``.
        depths: Numbers of layers.
        initial: Weight of the first layer in each later one, for the deep networks with it.
        removed: Shares of the links that are taken away.
        hidden: Hidden width of all networks.
        heads: Heads of the GAT.
        dropout: Of words and hidden units.
        plan: Optimisation.
    """

    dataset: Literal["Cora", "CiteSeer"] = "Cora"
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    initial: float = 0.2
    removed: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    hidden: int = 64
    heads: int = 8
    dropout: float = 0.5
    plan: engine.Plan = field(default_factory=lambda: _PLAN)

    def __post_init__(self) -> None:
        if self.dataset not in ("Cora", "CiteSeer"):
            raise ConfigError(f"dataset is {self.dataset!r}; choose Cora or CiteSeer.")
        if any(depth < 2 for depth in self.depths):
            raise ConfigError(f"depths is {self.depths}; each must be at least 2.")
        if any(not 0 <= share <= 1 for share in self.removed):
            raise ConfigError(f"removed is {self.removed}; each must be a share in [0, 1].")
        if self.hidden < 1 or self.heads < 1 or self.hidden % self.heads:
            raise ConfigError(
                f"hidden is {self.hidden} and heads {self.heads}; the first must be a multiple of the second."
            )
        if not 0 <= self.dropout < 1 or not 0 < self.initial < 1:
            raise ConfigError(
                f"dropout is {self.dropout} and initial {self.initial}; they must be in [0, 1) and (0, 1)."
            )


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(
        depths=(2, 8), removed=(0.0, 1.0), hidden=16, plan=replace(_PLAN, epochs=30, patience=None)
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


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train every network once.

    Args:
        config: The numbers.
        preset: Name of the preset that they came from.
        seed: Seed of the weights, the dropout and the links that are removed.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints, one sub-folder for each network.
        log: Where the lines go, None for silence.

    Returns:
        The run. Metrics are ``depth.L.plain.validation_accuracy``, ``depth.L.initial...`` and the same with
        ``spread``, and ``removed.P.gcn.validation_accuracy`` and ``removed.P.gat...`` with P in per cent.
    """
    started = time.perf_counter()
    graph = planetoid.load(config.dataset)
    inputs = cora.prepare(graph)
    nodes = {
        part: torch.from_numpy(np.flatnonzero(mask.numpy()))
        for part, mask in (("train", graph.train_mask), ("validation", graph.val_mask))
    }
    words, classes, n = inputs.x.shape[1], inputs.num_classes, len(graph.y)
    metrics: dict[str, float] = {}

    def fit(name: str, make: Callable[[], nn.Module], structure: Tensor) -> nn.Module:
        seeds.seed_everything(seeds.derive(seed, name) % 2**32)
        model = make()

        def loss(network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
            x = feature_dropout(batch["x"], config.dropout, training=True)
            logits = network(x, batch["graph"])[batch["nodes"]]  # [n, C]
            target = batch["y"][batch["nodes"]]
            return F.cross_entropy(logits, target, reduction="sum"), len(target)

        def validate(network: nn.Module) -> dict[str, float]:
            found = cora.score(network, structure, inputs, nodes["validation"].numpy())
            return {
                "validation_loss": found["loss"],
                "validation_accuracy": found["accuracy"],
            }

        fitted = engine.fit(
            model,
            config.plan,
            batches=lambda _: [
                {"x": inputs.x, "graph": structure, "y": inputs.y, "nodes": nodes["train"]}
            ],
            loss=loss,
            validate=validate,
            run_dir=None if run_dir is None else run_dir / name,
            resume=resume,
            identity={
                "experiment": "cora_study",
                "config": as_record(config),
                "seed": seed,
                "network": name,
            },
            shard=False,
            log=None,
        )
        metrics[f"{name}.validation_accuracy"] = fitted.best["validation_accuracy"]
        if log is not None:
            log(f"{name}: validation accuracy {fitted.best['validation_accuracy']:.4f}")
        return model

    with limited_threads(1):
        for depth in config.depths:
            for kind, initial in (("plain", 0.0), ("initial", config.initial)):
                deep = partial(
                    DeepGCN, words, config.hidden, classes, depth, config.dropout, initial
                )
                model = fit(f"depth.{depth}.{kind}", deep, inputs.adj)
                assert isinstance(model, DeepGCN)
                with torch.no_grad():
                    metrics[f"depth.{depth}.{kind}.spread"] = float(
                        spread(model.hidden(inputs.x, inputs.adj))
                    )
        for share in config.removed:
            rest = without_links(graph.edge_index, share, seed)
            fit(
                f"removed.{share:.0%}.gcn".replace("%", ""),
                lambda: GCN(words, config.hidden, classes, config.dropout),
                normalise_adjacency(rest, n),
            )
            fit(
                f"removed.{share:.0%}.gat".replace("%", ""),
                lambda: GAT(words, config.hidden, classes, config.dropout, 0.2, config.heads),
                add_self_loops(rest, n),
            )
    return Run(
        experiment="cora_study",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=graph.source,
        seconds=time.perf_counter() - started,
        notes={"links": graph.edge_index.shape[1] // 2},
    )


def table(record: Mapping[str, Any]) -> tuple[Table, Table]:
    """A recorded study: the table of depths, and that of missing links.

    Args:
        record: A record of this experiment from the results store.
    """
    m, config = record["metrics"], record["config"]

    def accuracy(name: str) -> str:
        summary = m[f"{name}.validation_accuracy"]
        return f"{summary['mean']:.1%}" + (f" ± {summary['std']:.1%}" if summary["std"] else "")

    seeds_used = f"mean and standard deviation over {len(record['seeds'])} seed(s)"
    deep = Table(
        [
            "layers",
            "plain GCN",
            "difference of rows",
            "with the first layer",
            "difference of rows ",
        ],
        [
            (
                depth,
                *(
                    cell
                    for kind in ("plain", "initial")
                    for cell in (
                        accuracy(f"depth.{depth}.{kind}"),
                        f"{m[f'depth.{depth}.{kind}.spread']['mean']:.3f}",
                    )
                ),
            )
            for depth in config["depths"]
        ],
        caption=f"Validation accuracy, {config['dataset']}, {seeds_used}",
    )
    fewer = Table(
        ["links removed", "GCN", "GAT"],
        [
            (f"{share:.0%}", *(accuracy(f"removed.{100 * share:.0f}.{k}") for k in ("gcn", "gat")))
            for share in config["removed"]
        ],
        caption=f"Validation accuracy, {config['dataset']}, {seeds_used}",
    )
    return deep, fewer


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Not offered: the study reads validation nodes, and reports them itself.

    Raises:
        TrainingError: Always.
    """
    raise TrainingError(
        f"{checkpoint} cannot be evaluated alone; train cora_study reports validation accuracies itself."
    )
