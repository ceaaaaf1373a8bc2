"""Problem 3(c) at scale: the plain networks on a graph that no full-graph step would fit comfortably.

A generated graph of a million nodes and ten million links. Each node belongs to a community, linked
nodes mostly to the same one; the target is a property of the community, the features are a noisy view
of it, and neighbours therefore know what the node's own features hide. GCN and GAT learn from parts of
the graph that PyG's own loaders hand out:

* ``NeighborLoader`` where pyg-lib or torch-sparse is installed: some nodes with a sample of their
  neighbourhood;
* ``RandomNodeLoader`` otherwise: a random part of the nodes with the links among them. A part of 1/P
  of the nodes keeps 1/P of the links of each, so the parts should be few and large.

What is measured is the cost: seconds of an epoch and the peak of the memory of the process.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from coursework.data.sources import Source
from coursework.errors import ConfigError, TrainingError
from coursework.experiments.base import Run, as_record
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, add_self_loops, normalise_adjacency
from coursework.training import engine, seeds

ModelName = Literal["gcn", "gat"]

_PLAN = engine.Plan(
    epochs=12,
    learning_rate=1e-2,
    schedule="one-cycle",
    warmup=0.2,
    monitor="validation_mae",
    mode="min",
    precision="32-true",  # sparse products
)


@dataclass(frozen=True)
class Config:
    """Every number but the seed.

    Attributes:
        models: What is trained.
        nodes: Nodes N.
        links: Undirected links; the edge index has each in both directions.
        communities: Communities, all of about one size.
        loyalty: Share of the links that stay within a community.
        features: Width F of the features.
        noise: Standard deviation of what hides the community in the features.
        parts: Parts of an epoch P.
        neighbours: Neighbours that ``NeighborLoader`` samples in each layer.
        hidden: Hidden width of both networks.
        heads: Heads of the GAT.
        plan: Optimisation.
    """

    models: tuple[ModelName, ...] = get_args(ModelName)
    nodes: int = 1_000_000
    links: int = 10_000_000
    communities: int = 40
    loyalty: float = 0.8
    features: int = 16
    noise: float = 2.0
    parts: int = 8
    neighbours: int = 10
    hidden: int = 32
    heads: int = 4
    plan: engine.Plan = _PLAN

    def __post_init__(self) -> None:
        known = get_args(ModelName)
        if not self.models or not set(self.models) <= set(known):
            raise ConfigError(f"models is {self.models!r}; choose from {', '.join(known)}.")
        for name in ("nodes", "links", "communities", "features", "parts", "hidden", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.loyalty <= 1:
            raise ConfigError(f"loyalty is {self.loyalty}; it is a share in [0, 1].")
        if self.communities > self.nodes or self.parts > self.nodes:
            raise ConfigError("communities and parts cannot be more than the nodes.")
        if self.hidden % self.heads:
            raise ConfigError(f"hidden is {self.hidden}, no multiple of the {self.heads} heads.")


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(
        nodes=20_000,
        links=200_000,
        parts=4,
        plan=dataclasses.replace(_PLAN, epochs=4),
    ),
}


def generate(config: Config, seed: int) -> Any:
    """The graph, as PyG's ``Data``: ``x`` `[N, F]`, ``y`` `[N]`, ``edge_index`` `[2, 2 links]`, ``part``.

    ``part`` is 0 for training, 1 for validation and 2 for test nodes (80, 10 and 10 %).
    """
    from torch_geometric.data import Data

    rng = seeds.numpy_generator(seed, "graph")
    n, size = config.nodes, config.nodes / config.communities
    community = (np.arange(n) // size).astype(np.int64)  # [N], members are consecutive
    views = rng.standard_normal((config.communities, config.features))
    targets = rng.standard_normal(config.communities)
    x = views[community] + config.noise * rng.standard_normal((n, config.features))
    y = targets[community] + 0.1 * rng.standard_normal(n)
    one = rng.integers(n, size=config.links)
    anyone = rng.integers(n, size=config.links)
    first = np.ceil(community[one] * size).astype(np.int64)  # of the community of `one`
    comrade = np.minimum(first + rng.integers(int(size), size=config.links), n - 1)
    other = np.where(rng.random(config.links) < config.loyalty, comrade, anyone)
    distinct = one != other
    pairs = torch.from_numpy(np.stack([one[distinct], other[distinct]]))
    return Data(
        x=torch.from_numpy(x).float(),
        y=torch.from_numpy(y).float(),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        part=torch.from_numpy(rng.choice(3, size=n, p=(0.8, 0.1, 0.1))),
    )


def can_sample_neighbours() -> bool:
    """Whether PyG can sample neighbourhoods here (pyg-lib or torch-sparse is installed)."""
    from torch_geometric import typing

    return bool(typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE)


def loader(data: Any, config: Config, seed: int, epoch: int) -> Any:
    """PyG's loader of the parts of one epoch, in an order that (seed, epoch) decide."""
    from torch_geometric.loader import NeighborLoader, RandomNodeLoader

    order = seeds.generator(seed, "parts", epoch)
    if can_sample_neighbours():
        return NeighborLoader(
            data,
            [config.neighbours] * 2,
            batch_size=-(-data.num_nodes // config.parts),
            shuffle=True,
            generator=order,
        )
    return RandomNodeLoader(data, config.parts, shuffle=True, generator=order)


class Parts(Sequence[dict[str, Tensor]]):
    """The parts of an epoch, made one after the other as they are asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.length = len(make())
        self.parts: Iterator[Any] = iter(())
        self.next = self.length  # as at the end, so that the first part asked for begins anew

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if index < self.next:
            self.parts, self.next = iter(self.make()), 0
        while True:  # a resumed run asks for a later part first
            part = next(self.parts)
            self.next += 1
            if self.next > index:
                break
        asked = getattr(part, "batch_size", part.num_nodes)  # sampled neighbours come behind
        return {
            "x": part.x,
            "y": part.y[:asked],
            "part": part.part[:asked],
            "edge_index": part.edge_index,
        }


def build(config: Config, name: ModelName) -> nn.Module:
    """An untrained network with one output."""
    if name == "gcn":
        return GCN(config.features, config.hidden, 1, dropout=0.0)
    return GAT(config.features, config.hidden, 1, dropout=0.0, alpha=0.2, n_heads=config.heads)


def predict(model: nn.Module, name: ModelName, batch: dict[str, Tensor]) -> Tensor:
    """Predictions for the nodes of a part that are asked for."""
    x, edges = batch["x"], batch["edge_index"]
    graph = (normalise_adjacency if name == "gcn" else add_self_loops)(edges, len(x))
    output: Tensor = model(x, graph)  # [n, 1]
    return output[: len(batch["y"]), 0]


def peak_memory() -> float:
    """Peak of the memory of this process so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Generate the graph, train each network in parts, and measure what it costs.

    Args:
        config: The numbers.
        preset: Name of the preset that they came from.
        seed: Seed of the graph, the parts and the weights.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints, one sub-folder for each network.
        log: Where the lines go, None for silence.

    Returns:
        The run. Metrics are ``MODEL.test_mae``, ``MODEL.epoch_seconds``, ``mean.test_mae``,
        ``features.test_mae`` (ridge regression without the graph) and ``peak_gib``.
    """
    from sklearn.linear_model import Ridge

    started = time.perf_counter()
    data = generate(config, seed)
    training, test = (data.part == 0).numpy(), (data.part == 2).numpy()
    x, y = data.x.numpy(), data.y.numpy()
    alone = Ridge().fit(x[training], y[training]).predict(x[test])
    metrics = {
        "mean.test_mae": float(np.abs(y[test] - y[training].mean()).mean()),
        "features.test_mae": float(np.abs(y[test] - alone).mean()),
    }
    curves: dict[str, list[dict[str, float]]] = {}

    def parts(epoch: int) -> Parts:
        return Parts(lambda: loader(data, config, seed, epoch))

    for name in config.models:
        seeds.seed_everything(seeds.derive(seed, name) % 2**32)
        model = build(config, name)

        def loss(
            network: nn.Module, batch: dict[str, Tensor], name: ModelName = name
        ) -> tuple[Tensor, int]:
            chosen = batch["part"] == 0
            error = (predict(network, name, batch) - batch["y"])[chosen]
            return error.abs().sum(), int(chosen.sum())

        def mae(network: nn.Module, part: int, name: ModelName = name) -> float:
            total, count = 0.0, 0
            device = next(network.parameters()).device
            for batch in parts(-1):
                batch = engine.on_tensors(batch, lambda x: x.to(device))
                chosen = batch["part"] == part
                error = (predict(network, name, batch) - batch["y"])[chosen]
                total, count = total + float(error.abs().sum()), count + int(chosen.sum())
            return total / count

        def validate(network: nn.Module, mae: Callable[..., float] = mae) -> dict[str, float]:
            return {"validation_mae": mae(network, 1)}

        if log is not None:
            log(f"{name}: {data.num_nodes:,} nodes, {data.num_edges:,} directed edges")
        fitted = engine.fit(
            model,
            config.plan,
            batches=parts,
            loss=loss,
            validate=validate,
            run_dir=None if run_dir is None else run_dir / name,
            resume=resume,
            identity={
                "experiment": "large_graph",
                "config": as_record(config),
                "seed": seed,
                "network": name,
            },
            shard=False,
            log=log,
        )
        with torch.no_grad():
            metrics[f"{name}.test_mae"] = mae(model, 2)
        metrics[f"{name}.epoch_seconds"] = fitted.seconds / len(fitted.history)
        curves[name] = fitted.history
    metrics["peak_gib"] = peak_memory() / 2**30
    return Run(
        experiment="large_graph",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=Source("generated graph", "package", "", (), "MIT"),
        seconds=time.perf_counter() - started,
        curves=curves,
        notes={
            "nodes": data.num_nodes,
            "directed_edges": data.num_edges,
            "edges_in_the_parts_of_an_epoch": sum(p["edge_index"].shape[1] for p in parts(0)),
            "loader": "NeighborLoader" if can_sample_neighbours() else "RandomNodeLoader",
            "threads": torch.get_num_threads(),
        },
    )


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Not offered: the graph is generated anew for each run, which tests its own networks.

    Raises:
        TrainingError: Always.
    """
    raise TrainingError(
        f"{checkpoint} cannot be evaluated alone; train large_graph reports the test error itself."
    )
