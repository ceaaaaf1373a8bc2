"""Depth and missing citations: accuracy on validation nodes, and how far hidden rows of two nodes differ."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from coursework.config import Count, Positive, Share, config
from coursework.data import planetoid
from coursework.errors import ConfigError
from coursework.experiments import cora
from coursework.experiments.base import Job, Run, presets
from coursework.models import gcn
from coursework.models.gat import GAT
from coursework.training import seeds
from coursework.training.engine import Plan
from coursework.training.parallel import limited_threads


@config
class Config:
    dataset: Literal["Cora", "CiteSeer"] = "Cora"
    depths: tuple[Annotated[int, Field(ge=2)], ...] = (2, 4, 8, 16, 32, 64)  # numbers of layers
    initial: Annotated[float, Field(gt=0, lt=1)] = 0.2  # weight of the first layer in later ones
    strength: Positive = 0.5  # lambda of GCNII
    removed: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)  # links
    hidden: Count = 64  # width of all networks
    heads: Count = 8  # of the GAT
    dropout: Share = 0.5  # of words and hidden units
    plan: Plan = replace(cora.ASSIGNMENT, epochs=300, patience=100, monitor="validation_loss")

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ConfigError(f"hidden is {self.hidden}, no multiple of heads, {self.heads}.")


PRESETS = presets(Config(), "cora_study")


def without_links(edge_index: Tensor, share: float, seed: int) -> Tensor:
    """The graph ``[2, E]`` without a random share of its links, both directions of a link together."""
    one, other = edge_index
    pairs = edge_index[:, one < other]
    order = torch.randperm(pairs.shape[1], generator=seeds.generator(seed, "links"))
    kept = pairs[:, order[round(share * pairs.shape[1]) :]]
    return torch.cat([kept, kept.flip(0)], dim=1)


@limited_threads(1)
def train(job: Job) -> Run:
    """Train every network: ``depth.L.KIND.validation_accuracy``, ``.spread``, ``removed.PERCENT.gcn...``."""
    config: Config = job.config
    graph = planetoid.load(config.dataset)
    inputs = cora.prepare(graph)
    split = cora.split_nodes(graph, cora.Config(protocol="planetoid"), seed=0)
    sizes = (inputs.x.shape[1], config.hidden, inputs.num_classes)
    metrics: dict[str, float] = {}
    numbers = cora.GCNConfig(config.hidden, config.dropout, config.dropout, config.plan)
    once = replace(numbers, input_dropout=0.0)  # the GAT drops words itself

    def fit(name: str, make: Callable[[], nn.Module], structure: Tensor, numbers: Any) -> Any:
        part = job.part(name, seed=seeds.derive(job.seed, name) % 2**32, log=None)
        model, found = cora.fit_network(part, name, make, numbers, structure, inputs, split)
        metrics[f"{name}.validation_accuracy"] = accuracy = found.best["validation_accuracy"]
        job.say(f"{name}: validation accuracy {accuracy:.4f}")
        return model

    plain = partial(numbers.build, sizes[0], sizes[2])
    gat = partial(GAT, *sizes, config.dropout, 0.2, config.heads)
    for depth in config.depths:
        deep = (*sizes, depth, config.dropout)
        for kind, make in (
            ("plain", partial(gcn.DeepGCN, *deep, 0.0)),
            ("initial", partial(gcn.DeepGCN, *deep, config.initial)),
            ("gcnii", partial(gcn.GCNII, *deep, config.initial, config.strength)),
        ):
            model = fit(f"depth.{depth}.{kind}", make, inputs.adj, numbers)
            with torch.no_grad():
                rows = model.hidden(inputs.x, inputs.adj)
                metrics[f"depth.{depth}.{kind}.spread"] = float(gcn.spread(rows))
    for share in config.removed:
        rest = without_links(graph.edge_index, share, job.seed)
        name = f"removed.{100 * share:g}"
        fit(f"{name}.gcn", plain, gcn.normalise_adjacency(rest, len(graph.y)), numbers)
        fit(f"{name}.gat", gat, gcn.add_self_loops(rest, len(graph.y)), once)
    return job.run(metrics, graph.source, notes={"links": graph.edge_index.shape[1] // 2})
