"""The networks of the Cora experiment: their numbers, how they are built, and their losses.

Letters: ``N`` nodes, ``F`` words, ``n`` training nodes, ``C`` classes, ``S`` views.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.config import Count, Dropout, Index, Positive, Weight, config
from coursework.errors import ConfigError
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, GCNII, sparse_kernels
from coursework.models.grand import GRAND, consistency_loss
from coursework.models.sparse import feature_dropout
from coursework.training.engine import Plan

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
    dropout: Dropout = 0.5  # of the hidden units
    input_dropout: Dropout = 0.0  # of the words; Kipf & Welling drop them, the assignment does not
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
    dropout: Dropout = 0.5  # of the words, the hidden units and the attention weights
    share_attention: bool = True  # one vector for all heads, as the assignment has it
    bias: bool = False  # as in the authors' code; the equations have none
    drop_messages: bool = False  # also drop what is summed, as in the authors' code
    plan: Plan = ASSIGNMENT
    graph = "edge_index"

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            sizes = f"gat.hidden is {self.hidden}"
            raise ConfigError(f"{sizes}, which is not a multiple of gat.heads, {self.heads}.")

    def build(
        self, words: int, classes: int, learned: bool = True, linear: bool = False
    ) -> nn.Module:
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
    dropnode: Dropout = 0.5  # share of the nodes that a view drops
    input_dropout: Dropout = 0.5  # of the words
    dropout: Dropout = 0.5  # of the hidden units
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
    alpha: Dropout = 0.1  # weight of the first layer in each later one
    strength: Positive = 0.5  # lambda: layer l has the identity with weight 1 - log(1 + lambda / l)
    dropout: Dropout = 0.6  # of the hidden units
    input_dropout: Dropout = 0.6  # of the words
    decay: Weight = 0.01  # weight decay of the convolutions; that of the plan is for the rest
    plan: Plan = ASSIGNMENT

    def build(self, words: int, classes: int) -> nn.Module:
        rest = (self.layers, self.dropout, self.alpha, self.strength)
        return GCNII(words, self.hidden, classes, *rest)

    def parameters(self, network: Any) -> list[Any]:
        rest = [*network.first.parameters(), *network.last.parameters()]
        convolutions = list(network.convolutions.parameters())
        return [{"params": convolutions, "weight_decay": self.decay}, {"params": rest}]


def class_weights(y: Tensor, num_classes: int, balance: float) -> Tensor | None:
    """Inverse frequencies ``[num_classes]`` of labels ``[n]`` to a power, with mean one over the nodes."""
    if balance == 0:
        return None
    weight = torch.bincount(y, minlength=num_classes).clamp(min=1).float() ** -balance  # [C]
    return weight / weight[y].mean()
