r"""Regression on a graph from labelled look-alikes, without a way for a label to reach itself.

The labels of other nodes say much about a node, but a network that is fed labels learns to copy its
own. Two usual remedies hide a random part of them in every step (UniMP, Shi et al. 2021,
https://arxiv.org/abs/2009.03509) or propagate residuals once the network is trained (Correct and
Smooth, Huang et al. 2021, https://arxiv.org/abs/2010.13993). Here the labels enter **in the last step
alone**, one hop away, along a list of candidates in which no node is its own candidate. So a label cannot
come back to its node by any path, every known label may be shown in every step, and training sees what
testing sees.

Letters: `N` nodes, `B` nodes asked for, `E` pairs (node, candidate), `F` features of a node, `D` features
of a pair, `H` hidden width, `d_k` width of queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coursework.models.dropout import Dropout
from coursework.models.gat import edge_softmax
from coursework.models.graph_conv import FeatureLinear, feature_dropout

__all__ = ["Candidates", "ResidualAttention"]


@dataclass(frozen=True)
class Candidates:
    """For each node those that it may look at, as in a CSR matrix.

    Attributes:
        pointers: Where the candidates of each node begin, `[N + 1]`.
        nodes: The candidates, `[E]`; never the node itself.
        features: What is known of each pair, `[E, D]`.

    Raises:
        ValueError: If the three do not fit together, or a node is its own candidate.
    """

    pointers: Tensor
    nodes: Tensor
    features: Tensor

    def __post_init__(self) -> None:
        n, e = len(self.pointers) - 1, len(self.nodes)
        ascending = n >= 0 and bool((self.pointers.diff() >= 0).all())
        if not ascending or int(self.pointers[0]) != 0 or int(self.pointers[-1]) != e:
            raise ValueError(f"pointers must rise from 0 to the number of pairs, {e}.")
        if e and not (int(self.nodes.min()) >= 0 and int(self.nodes.max()) < n):
            raise ValueError(f"Every candidate must be a node number from 0 to {n - 1}.")
        if self.features.ndim != 2 or len(self.features) != e:
            raise ValueError(
                f"features must be [{e}, D], one row a pair, but is {list(self.features.shape)}."
            )
        if bool((self.nodes == self.owners()).any()):
            raise ValueError("A node is its own candidate: its label would be its own prediction.")

    def owners(self) -> Tensor:
        """Node of every pair, `[E]`."""
        return torch.arange(len(self.pointers) - 1, device=self.pointers.device).repeat_interleave(
            self.pointers.diff()
        )

    def to(self, device: torch.device) -> Candidates:
        """The same on another device."""
        if self.nodes.device == device:
            return self
        return Candidates(self.pointers.to(device), self.nodes.to(device), self.features.to(device))

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of some nodes.

        Args:
            rows: Nodes, `[B]`.

        Returns:
            Numbers of their pairs, `[E']`, and for each the place in ``rows`` that it belongs to, `[E']`.
        """
        begin, count = self.pointers[rows], self.pointers.diff()[rows]  # [B]
        place = torch.arange(len(rows), device=rows.device).repeat_interleave(count)  # [E']
        before = count.cumsum(0) - count  # [B], pairs of the rows before
        within = torch.arange(len(place), device=rows.device) - before[place]
        return begin[place] + within, place


class ResidualAttention(nn.Module):
    r"""A guess from the features, corrected by what the look-alikes really have.

    .. math::

        h_i &= \mathrm{MLP}(x_i), \qquad f_i = w^\top h_i + b \\
        e_{ij} &= \mathrm{MLP}(p_{ij}) + \frac{(W^Q h_i)^\top (W^K h_j)}{\sqrt{d_k}},
                  \qquad e_{i0} = u^\top h_i \\
        \alpha_i &= \mathrm{softmax}\bigl(e_{i0}, (e_{ij})_{j \in \mathcal{C}(i),\, y_j \text{known}}\bigr) \\
        \hat y_i &= f_i + \sum_j \alpha_{ij}
                  \bigl(y_j - \lambda_i f_j - (1 - \lambda_i) f_i\bigr),
                  \qquad \lambda_i = \sigma(v^\top h_i + c)

    The first summand is the guess; :math:`\alpha_{i0}`, the weight of nobody, leaves it as it is. With
    :math:`\lambda_i = 1` the *residuals* of the look-alikes are added, as in kriging; with
    :math:`\lambda_i = 0` the prediction moves towards their labels themselves, which is right for copies.

    Shapes:
        - x: `[N, F]` dense or sparse CSR, labels and known: `[N]`, rows: `[B]`
        - output: prediction `[B]` and guess `[B]`
    """

    def __init__(
        self,
        features: int,
        pair_features: int,
        hidden: int = 64,
        key: int = 16,
        pair_hidden: int = 32,
        *,
        dropout: float = 0.3,
        input_dropout: float = 0.1,
        residual: bool = True,
        query: bool = True,
    ) -> None:
        """Build it.

        Args:
            features: F.
            pair_features: D.
            hidden: H.
            key: d_k.
            pair_hidden: Width of the network that scores pairs.
            dropout: Probability of hiding a hidden value.
            input_dropout: Probability of hiding an input.
            residual: False for :math:`\\lambda_i = 0`, labels alone.
            query: False to leave :math:`W^Q, W^K` away, so that pair features alone decide.

        Raises:
            ValueError: If a width is not positive or a dropout no probability below one.
        """
        super().__init__()
        if min(features, pair_features, hidden, key, pair_hidden) < 1:
            raise ValueError("All widths of a ResidualAttention must be at least 1.")
        if not (0 <= dropout < 1 and 0 <= input_dropout < 1):
            raise ValueError(
                f"dropout and input_dropout must be in [0, 1), but are {dropout} and {input_dropout}."
            )
        self.input_dropout = input_dropout
        self.linear1 = FeatureLinear(features, hidden)
        self.rest = nn.Sequential(
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            Dropout(dropout),
        )
        self.guess = nn.Linear(hidden, 1)
        self.nobody = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, 1) if residual else None
        self.W_Q = nn.Linear(hidden, key, bias=False) if query else None
        self.W_K = nn.Linear(hidden, key, bias=False) if query else None
        self.pair = nn.Sequential(
            nn.Linear(pair_features, pair_hidden),
            nn.ReLU(),
            nn.Linear(pair_hidden, pair_hidden),
            nn.ReLU(),
            nn.Linear(pair_hidden, 1),
        )

    def attend(
        self, h: Tensor, candidates: Candidates, known: Tensor, rows: Tensor, group: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of the candidates that may be looked at.

        Returns:
            Pair numbers `[E']`, their places in ``rows`` `[E']`, their weights `[E']`, and the weight of
            nobody `[B]`; the weights of a row and of nobody sum to one.
        """
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
        return pairs, place, weights[: len(pairs)], weights[len(pairs) :]

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
        """Predict.

        Args:
            x: Features of all nodes.
            candidates: Whom each node may look at.
            labels: Labels of all nodes; only those that are ``known`` are read.
            known: Which labels may be read, boolean.
            rows: Nodes to predict; all by default. The own label is never used, known or not.
            group: Group of each node, if candidates of the own group are to be left out too, `[N]`.

        Raises:
            ValueError: If the tensors do not fit together.
        """
        n = len(candidates.pointers) - 1
        if not (len(x) == len(labels) == len(known) == n) or known.dtype != torch.bool:
            raise ValueError(
                f"x, labels and known (boolean) need one row for each of the {n} nodes of the "
                f"candidates, but have {len(x)}, {len(labels)} and {len(known)} ({known.dtype})."
            )
        if rows is None:
            rows = torch.arange(n, device=labels.device)
        h = self.rest(self.linear1(feature_dropout(x, self.input_dropout, self.training)))  # [N, H]
        f = self.guess(h).squeeze(1)  # [N]
        pairs, place, weights, _ = self.attend(h, candidates, known, rows, group)
        other = candidates.nodes[pairs]
        # labels that are not known may be NaN: they are taken out before they meet anything
        own, theirs, y = f[rows], f[other], labels[other]
        reference = own[place]
        if self.gate is not None:
            share = self.gate(h[rows]).squeeze(1).sigmoid()[place]  # lambda
            reference = share * theirs + (1 - share) * reference
        correction = torch.zeros_like(own).index_add(0, place, weights * (y - reference))
        return own + correction, own
