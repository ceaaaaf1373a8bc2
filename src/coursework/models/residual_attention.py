"""Regression on a graph from labelled similar nodes; no label enters the prediction of its own node.

A network that is fed labels learns to copy its own (UniMP, https://arxiv.org/abs/2009.03509, hides some in
every step). Here labels enter **in the last step alone**, along a list of candidates in which no node is
its own: every known one may be shown in every step.

Letters: `N` nodes, `B` nodes asked for, `E` pairs (node, candidate), `F` features of a node, `D` features
of a pair, `H` hidden width, `d_k` width of queries and keys.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coursework.models.checks import expect, require
from coursework.models.dropout import Dropout
from coursework.models.gat import edge_softmax
from coursework.models.sparse import FeatureLinear, feature_dropout


@dataclass(frozen=True)
class Candidates:
    """The candidates of each node, as in a CSR matrix."""

    pointers: Tensor  # [N + 1], where the candidates of each node begin
    nodes: Tensor  # [E], the candidates; never the node itself
    features: Tensor  # [E, D], what is known of each pair

    def to(self, device: torch.device) -> "Candidates":
        """The same on another device."""
        return Candidates(self.pointers.to(device), self.nodes.to(device), self.features.to(device))

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of the pairs of some nodes `[B]`, and the place in `rows` of each: 2 x `[E']`."""
        begin, count = self.pointers[rows], self.pointers.diff()[rows]  # [B]
        place = torch.arange(len(rows), device=rows.device).repeat_interleave(count)  # [E']
        before = count.cumsum(0) - count  # [B], pairs of the rows before
        within = torch.arange(len(place), device=rows.device) - before[place]
        return begin[place] + within, place


class ResidualAttention(nn.Module):
    r"""A guess from the features, corrected by the known targets of similar nodes.

    .. math::

        h_i &= \mathrm{MLP}(x_i), \quad f_i = w^\top h_i + b, \quad \lambda_i = \sigma(v^\top h_i + c) \\
        e_{ij} &= \mathrm{MLP}(p_{ij}) + (W^Q h_i)^\top (W^K h_j) / \sqrt{d_k}, \quad
            e_{i0} = u^\top h_i + b_0 \\
        \alpha_i &= \mathrm{softmax}\bigl(e_{i0}, (e_{ij})_{j \in \mathcal{C}(i),\, y_j \text{known}}\bigr) \\
        \hat y_i &= f_i + \sum_j \alpha_{ij} \bigl(y_j - \lambda_i f_j - (1 - \lambda_i) f_i\bigr)

    :math:`\alpha_{i0}`, the weight of the empty choice, leaves the guess as it is. With
    :math:`\lambda_i = 1` the *residuals* of the similar nodes are added, as in kriging; with 0 (always,
    without `residual`) the prediction moves towards their targets. Without `query` the pair
    features alone decide.
    """

    def __init__(
        self, features: int, pair_features: int, residual: bool = True, query: bool = True
    ) -> None:
        super().__init__()
        hidden, key, self.input_dropout = 64, 16, 0.1
        self.linear1 = FeatureLinear(features, hidden)
        self.rest = nn.Sequential(
            nn.ReLU(), Dropout(0.3), nn.Linear(hidden, hidden), nn.ReLU(), Dropout(0.3)
        )
        self.guess = nn.Linear(hidden, 1)
        self.nobody = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, 1) if residual else None
        self.W_Q = nn.Linear(hidden, key, bias=False) if query else None
        self.W_K = nn.Linear(hidden, key, bias=False) if query else None
        first, second, third = nn.Linear(pair_features, 32), nn.Linear(32, 32), nn.Linear(32, 1)
        self.pair = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def attend(
        self, h: Tensor, candidates: Candidates, known: Tensor, rows: Tensor, group: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Visible pairs, their places in `rows` and their weights, each `[E']`."""
        pairs, place = candidates.of(rows)
        other = candidates.nodes[pairs]
        visible = known[other]
        if group is not None:
            visible = visible & (group[other] != group[rows][place])
        pairs, place, other = pairs[visible], place[visible], other[visible]
        scores = self.pair(candidates.features[pairs]).squeeze(1)  # [E']
        if self.W_Q is not None and self.W_K is not None:
            query, key = self.W_Q(h[rows]), self.W_K(h)  # [B, d_k], [N, d_k]
            scores = scores + (query[place] * key[other]).sum(1) / key.shape[1] ** 0.5
        everyone = torch.cat([scores, self.nobody(h[rows]).squeeze(1)])
        target = torch.cat([place, torch.arange(len(rows), device=rows.device)])
        weights = edge_softmax(everyone.unsqueeze(1), target, len(rows)).squeeze(1)
        return pairs, place, weights[: len(pairs)]

    def forward(
        self,
        x: Tensor,
        candidates: Candidates,
        labels: Tensor,
        known: Tensor,
        rows: Tensor | None = None,
        *,
        group: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Prediction and guess `[B]` of some nodes (all by default), from labels that are `known` (boolean),
        never their own. With `group` `[N]`, candidates of the own group are left out too."""
        n = len(candidates.pointers) - 1
        expect("x", x, "N F", N=n, F=self.linear1.in_features)
        expect("labels", labels, "N", N=n)
        expect("known", known, "N", N=n)
        require(known.dtype == torch.bool, f"known must be boolean, but is {known.dtype}.")
        if rows is None:
            rows = torch.arange(n, device=labels.device)
        h = self.rest(self.linear1(feature_dropout(x, self.input_dropout, self.training)))  # [N, H]
        f = self.guess(h).squeeze(1)  # [N]
        pairs, place, weights = self.attend(h, candidates, known, rows, group)
        other = candidates.nodes[pairs]
        # labels that are not known may be NaN: they are taken out before they meet anything
        own, theirs, y = f[rows], f[other], labels[other]
        reference = own[place]
        if self.gate is not None:
            share = self.gate(h[rows]).squeeze(1).sigmoid()[place]  # lambda
            reference = share * theirs + (1 - share) * reference
        correction = torch.zeros_like(own).index_add(0, place, weights * (y - reference))
        return own + correction, own
