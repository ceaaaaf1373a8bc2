"""Problem 3(c) at scale: the plain networks on parts of a graph of a million nodes and ten million links.

In the generated graph the target is a property of a node's community, within which most links stay, and the
features are a noisy view of it.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import RandomNodeLoader

from coursework.config import Count, config
from coursework.data.sources import Source
from coursework.experiments.base import Job, Run, presets
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, add_self_loops, normalise_adjacency, sparse_kernels
from coursework.training import engine, seeds

ModelName = Literal["gcn", "gat"]
Parts = Callable[[int], engine.Lazy]  # of an epoch
SOURCE = Source("generated graph", "generated", "", (), "MIT")
FEATURES = 16  # width of the features
NOISE = 2.0  # standard deviation of what hides the community in the features
LOYALTY = 0.8  # share of the links that stay within a community
TRAINING, VALIDATION, TEST = range(3)  # values of ``part``: 80, 10 and 10 % of the nodes


@config
class Config:
    nodes: Annotated[int, Field(ge=1000)] = 1_000_000
    links: Count = 10_000_000  # undirected; the edge index has each in both directions
    communities: Annotated[int, Field(ge=1, le=1000)] = 40  # all of about one size
    parts: Annotated[int, Field(ge=1, le=1000)] = 8  # of an epoch
    hidden: Annotated[int, Field(ge=4, multiple_of=4)] = 32  # the GAT divides it by 4 heads
    plan: engine.Plan = engine.Plan(
        epochs=12, learning_rate=1e-2, schedule="one-cycle", warmup=0.2, monitor="validation_mae",
        precision="32-true",  # as in the recorded runs, on every machine
    )  # fmt: skip


PRESETS = presets(Config(), "large_graph")


def generate(config: Config, seed: int) -> Any:
    """The graph, as PyG's ``Data``: ``x`` `[N, F]`, ``y`` `[N]`, ``edge_index`` `[2, E]`, ``part`` `[N]`."""
    rng = seeds.numpy_generator(seed, "graph")
    n, size = config.nodes, config.nodes / config.communities
    community = (np.arange(n) // size).astype(np.int64)  # [N], members are consecutive
    views = rng.standard_normal((config.communities, FEATURES))
    targets = rng.standard_normal(config.communities)
    x = views[community] + NOISE * rng.standard_normal((n, FEATURES))
    y = targets[community] + 0.1 * rng.standard_normal(n)
    one = rng.integers(n, size=config.links)
    anyone = rng.integers(n, size=config.links)
    first = np.ceil(community[one] * size).astype(np.int64)  # of the community of `one`
    comrade = np.minimum(first + rng.integers(int(size), size=config.links), n - 1)
    other = np.where(rng.random(config.links) < LOYALTY, comrade, anyone)
    distinct = one != other
    pairs = torch.from_numpy(np.stack([one[distinct], other[distinct]]))
    return Data(
        x=torch.from_numpy(x).float(),
        y=torch.from_numpy(y).float(),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        part=torch.from_numpy(rng.choice(3, size=n, p=(0.8, 0.1, 0.1))),
    )


def parts_of(data: Any, count: int, seed: int, epoch: int) -> engine.Lazy:
    """The parts of one epoch, each made when it is asked for, in an order that (seed, epoch) decide."""
    order = seeds.generator(seed, "parts", epoch)
    loader = RandomNodeLoader(data, count, shuffle=True, generator=order)
    # a loader draws one number before it shuffles
    torch.empty((), dtype=torch.int64).random_(generator=order)
    return engine.Lazy(list(loader.batch_sampler), lambda rows: loader.collate_fn(rows).to_dict())


def build(config: Config, name: ModelName) -> nn.Module:
    if name == "gcn":
        return sparse_kernels(GCN(FEATURES, config.hidden, 1, dropout=0.0))
    return GAT(FEATURES, config.hidden, 1, dropout=0.0, alpha=0.2, n_heads=4)


def errors(name: ModelName, model: nn.Module, batch: dict[str, Tensor], part: int) -> Tensor:
    """Absolute errors of a network on those nodes of a batch that are in a part."""
    x, edges = batch["x"], batch["edge_index"]
    graph = (normalise_adjacency if name == "gcn" else add_self_loops)(edges, len(x))
    output = model(x, graph)[:, 0]  # [n]
    return (output - batch["y"])[batch["part"] == part].abs()


def peak_memory() -> float:
    """Peak of the memory of this process so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def fit_network(job: Job, name: ModelName, parts: Parts) -> tuple[float, engine.Fit]:
    """Test error of a network that is trained in parts, and its training."""
    seeds.seed_everything(seeds.derive(job.seed, name) % 2**32)
    model = build(job.config, name)

    def loss(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        found = errors(name, network, batch, TRAINING)
        return found.sum(), len(found)

    @torch.no_grad()
    def mae(network: nn.Module, part: int) -> float:
        device = engine.device_of(network)
        batches = (engine.on_tensors(batch, lambda x: x.to(device)) for batch in parts(-1))
        found = [errors(name, network, batch, part) for batch in batches]
        return sum(float(e.sum()) for e in found) / sum(map(len, found))

    fit = engine.fit(
        model, job.config.plan, batches=parts, loss=loss, shard=False,
        validate=lambda network: {"validation_mae": mae(network, VALIDATION)}, **job.loop(SOURCE),
    )  # fmt: skip
    return mae(model, TEST), fit


def train(job: Job) -> Run:
    """Generate the graph, train each network in parts, and measure what it costs."""
    data = generate(job.config, job.seed)
    training, test = (data.part == TRAINING).numpy(), (data.part == TEST).numpy()
    x, y = data.x.numpy(), data.y.numpy()
    alone = Ridge().fit(x[training], y[training]).predict(x[test])  # without the graph
    metrics = {
        "mean.test_mae": float(np.abs(y[test] - y[training].mean()).mean()),
        "features.test_mae": float(np.abs(y[test] - alone).mean()),
    }
    curves, parts = {}, partial(parts_of, data, job.config.parts, job.seed)
    for name in get_args(ModelName):
        job.say(f"{name}: {data.num_nodes:,} nodes, {data.num_edges:,} directed edges")
        metrics[f"{name}.test_mae"], fit = fit_network(job.part(name), name, parts)
        metrics[f"{name}.epoch_seconds"] = fit.seconds / len(fit.history)
        curves[name] = fit.history
    metrics["peak_gib"] = peak_memory() / 2**30
    return job.run(metrics, SOURCE, curves=curves)
