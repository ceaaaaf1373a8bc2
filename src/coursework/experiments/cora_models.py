"""The networks of the Cora experiment: their numbers, how they are built, and their losses.

Another network is a group of numbers, a function that builds it, an entry in MODELS, its name in
``Model``, and a field of :class:`.cora.Config` where its numbers stand.

Letters: ``N`` nodes, ``F`` words, ``n`` training nodes, ``C`` classes, ``S`` views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.config import Count, Dropout, Index, Positive, Weight, config
from coursework.errors import ConfigError
from coursework.models.gat import GAT
from coursework.models.gcn import GCN
from coursework.models.grand import GRAND, consistency_loss
from coursework.models.sparse import feature_dropout
from coursework.training.engine import Plan

Model = Literal["gcn", "gat", "uniform", "grand"]
Batch = dict[str, Tensor]
ASSIGNMENT = Plan(
    epochs=100, learning_rate=0.01, weight_decay=5e-4, optimizer="adam", precision="32-true",
    monitor=None,  # the last epoch is kept: nothing is chosen on the test nodes
)  # fmt: skip


@config
class GCNConfig:
    """The graph convolutional network; the defaults are the assignment's."""

    hidden: Count = 16
    dropout: Dropout = 0.5  # of the hidden units
    input_dropout: Dropout = 0.0  # of the words; Kipf & Welling drop them, the assignment does not
    plan: Plan = ASSIGNMENT


@config
class GATConfig:
    """The graph attention network; the defaults are the assignment's."""

    hidden: Count = 16  # units of all heads together
    heads: Count = 8  # of the first layer; the second has one
    alpha: float = 0.2  # slope of the leaky ReLU below zero
    dropout: Dropout = 0.5  # of the words, the hidden units and the attention weights
    share_attention: bool = (
        True  # one vector for all heads, as in the starter code, or one per head
    )
    bias: bool = False  # as in the authors' code; the equations have none
    drop_messages: bool = False  # also drop what is summed, as in the authors' code
    plan: Plan = ASSIGNMENT

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ConfigError(
                f"gat.hidden is {self.hidden}, which is not a multiple of gat.heads, {self.heads}."
            )


@config
class GRANDConfig:
    """The graph random neural network of Feng et al.; the defaults are the paper's for Cora."""

    hidden: Count = 32
    order: Index = 8  # steps over which the signal is averaged
    dropnode: Dropout = 0.5  # share of the nodes that a view drops
    input_dropout: Dropout = 0.5  # of the words
    dropout: Dropout = 0.5  # of the hidden units
    samples: Count = 4  # views in a step
    temperature: Positive = 0.5  # of the sharpened mean that the views should agree with
    consistency: Weight = 1.0  # of their disagreement in the loss
    balance: Weight = 0.0  # labelled nodes weigh 1 / frequency of their class to this power
    plan: Plan = ASSIGNMENT


def gcn(numbers: GCNConfig, words: int, classes: int) -> nn.Module:
    return GCN(words, numbers.hidden, classes, numbers.dropout)


def gat(numbers: GATConfig, words: int, classes: int) -> GAT:
    return GAT(
        words, numbers.hidden, classes, numbers.dropout, numbers.alpha, numbers.heads,
        numbers.share_attention, numbers.bias, numbers.drop_messages,
    )  # fmt: skip


def uniform(numbers: GATConfig, words: int, classes: int) -> GAT:
    model = gat(numbers, words, classes)
    for layer in (model.layer1, model.layer2):
        for vector in (layer.a_l, layer.a_r):  # equal scores: each neighbour has the same weight
            nn.init.zeros_(vector)
            vector.requires_grad_(False)
    return model


def grand(numbers: GRANDConfig, words: int, classes: int) -> nn.Module:
    return GRAND(
        words, numbers.hidden, classes, numbers.order, numbers.dropnode, numbers.input_dropout,
        numbers.dropout,
    )  # fmt: skip


def plain_loss(
    numbers: Any, network: nn.Module, batch: Batch, input_dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross entropy, summed over the training nodes, and their logits ``[n, C]``."""
    x = feature_dropout(batch["x"], input_dropout, training=True)  # [N, F]
    logits = network(x, batch["graph"])[batch["nodes"]]  # [n, C]
    return F.cross_entropy(logits, batch["y"][batch["nodes"]], reduction="sum"), logits


def gcn_loss(numbers: GCNConfig, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The same with dropped words; the other networks drop words themselves."""
    return plain_loss(numbers, network, batch, numbers.input_dropout)


def grand_loss(numbers: GRANDConfig, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The mean of the views' cross entropies, and how much the views of all nodes disagree."""
    target = batch["y"][batch["nodes"]]  # [n]
    views = network(batch["x"], batch["graph"], numbers.samples)  # [S, N, C]
    labelled = views[:, batch["nodes"]]  # [S, n, C]
    weight = class_weights(target, views.shape[2], numbers.balance)  # [C]
    total = F.cross_entropy(
        labelled.flatten(0, 1), target.repeat(len(views)), weight=weight, reduction="sum"
    ) / len(views)
    disagreement = consistency_loss(views, numbers.temperature)
    return total + numbers.consistency * len(target) * disagreement, labelled.mean(dim=0)


class Kind(NamedTuple):
    """How a model is built and trained."""

    group: str  # of the config, with its numbers and its plan
    graph: Literal["adj", "edge_index"]  # the form of the graph that it takes
    make: Callable[[Any, int, int], nn.Module]  # (numbers, words, classes) -> network
    loss: Callable[[Any, nn.Module, Batch], tuple[Tensor, Tensor]] = plain_loss


MODELS: dict[Model, Kind] = {
    "gcn": Kind("gcn", "adj", gcn, gcn_loss),
    "gat": Kind("gat", "edge_index", gat),
    "uniform": Kind("gat", "edge_index", uniform),
    "grand": Kind("grand", "adj", grand, grand_loss),
}


def class_weights(y: Tensor, num_classes: int, balance: float) -> Tensor | None:
    """Weights of the classes, their inverse frequency to a power; the mean over the nodes is one.

    Where few nodes of a class are labelled, views that must agree agree on the common classes.

    Shapes:
        - y: labels ``[n]``
        - output: ``[num_classes]``, or None where ``balance`` is 0; a class without a node counts as
          if it had one
    """
    if balance == 0:
        return None
    weight = torch.bincount(y, minlength=num_classes).clamp(min=1).float() ** -balance  # [C]
    return weight / weight[y].mean()
