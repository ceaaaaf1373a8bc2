"""Graph random neural network: Feng et al. 2020 (GRAND), https://arxiv.org/abs/2005.11079.

Whole nodes are dropped at random, the rest is spread over the graph, and several such views must agree.
Letters: `N` nodes, `F` input features, `H` hidden units, `C` classes, `S` views, `K` order.
"""

import torch
from torch import Tensor, nn

from coursework.models.checks import expect, probability, require
from coursework.models.dropout import Dropout
from coursework.models.sparse import FeatureLinear, feature_dropout, multiply


def propagate(h: Tensor, adj: Tensor, order: int) -> Tensor:
    r"""Mean of a signal `[N, H]` and of what it becomes in 1, ..., K steps (equation 2 of the paper).

    .. math:: \bar H = \frac{1}{K+1} \sum_{k=0}^{K} \hat A^k H
    """
    total = step = h
    for _ in range(order):
        step = multiply(adj, step)  # [N, H]
        total = total + step
    return total / (order + 1)


class GRAND(nn.Module):
    r"""Random propagation, then a multi-layer perceptron: x `[N, F]`, adj `[N, N]` -> logits `[N, C]`.

    .. math:: Z^{(s)} = \mathrm{Dropout}\big(\mathrm{ReLU}(\bar A\,
              (\epsilon^{(s)} \odot X^{(s)} W^{(0)}) + b^{(0)})\big)\, W^{(1)} + b^{(1)},
              \qquad \bar A = \frac{1}{K+1} \sum_{k=0}^{K} \hat A^k

    :math:`\epsilon^{(s)}_v` is 0 with probability `dropnode`, else :math:`1/(1-\text{dropnode})`. Features
    are dense or sparse. :math:`W^{(0)}` comes first: what is spread has `H` columns, not `F`.
    """

    def __init__(
        self,
        nfeat: int,
        n_hidden: int,
        n_classes: int,
        order: int = 8,
        dropnode: float = 0.5,
        input_dropout: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        require(order >= 0, f"order must not be negative, but is {order}.")
        probability("dropnode", dropnode, open_end=True)
        probability("input_dropout", input_dropout, open_end=True)
        self.order, self.dropnode, self.input_dropout = order, dropnode, input_dropout
        self.linear1 = FeatureLinear(nfeat, n_hidden, bias=False)
        self.bias1 = nn.Parameter(torch.zeros(n_hidden))
        self.linear2 = nn.Linear(n_hidden, n_classes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, adj: Tensor, samples: int | None = None) -> Tensor:
        """Logits `[N, n_classes]`, or of `samples` views, propagated side by side, `[S, N, n_classes]`."""
        views = 1 if samples is None else samples
        nodes = expect("x", x, "N F", F=self.linear1.in_features)["N"]
        expect("adj", adj, "N N", N=nodes)
        signals = []
        for _ in range(views):
            h = self.linear1(feature_dropout(x, self.input_dropout, self.training))  # [N, H]
            if self.training and self.dropnode > 0:
                kept = torch.rand(len(h), 1, device=h.device) >= self.dropnode  # [N, 1]
                h = h * kept.to(h.dtype) / (1 - self.dropnode)
            signals.append(h)
        spread = propagate(torch.cat(signals, dim=1), adj, self.order)  # [N, S*H]
        h = spread.unflatten(1, (views, -1)).transpose(0, 1) + self.bias1  # [S, N, H]
        logits: Tensor = self.linear2(self.dropout(torch.relu(h)))  # [S, N, C]
        return logits[0] if samples is None else logits


def consistency_loss(logits: Tensor, temperature: float) -> Tensor:
    r"""How far the views `[S, N, C]` disagree with their sharpened mean, a constant (equations 4 and 5).

    .. math:: \frac{1}{SN} \sum_{s,v} \big\lVert p^{(s)}_v - \tilde p_v \big\rVert^2, \qquad
              \tilde p_{vc} = \bar p_{vc}^{1/T} \Big/ \sum_{c'} \bar p_{vc'}^{1/T}
    """
    expect("logits", logits, "S N C")
    require(temperature > 0, f"temperature must be positive, but is {temperature}.")
    p = logits.softmax(dim=2)  # [S, N, C]
    with torch.no_grad():
        sharp = (p.mean(dim=0).log() / temperature).softmax(dim=1)  # [N, C]
    return (p - sharp).square().sum(dim=2).mean()
