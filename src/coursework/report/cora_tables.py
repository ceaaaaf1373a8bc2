"""Tables of problem 4: the public split, and where on the graph the networks err."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coursework.report import store
from coursework.report.tables import Table

Record = Mapping[str, Any]

TITLES: Mapping[str, str] = {
    "gcn": "GCN",
    "gat": "GAT",
    "uniform": "GAT, all neighbours alike",
    "grand": "GRAND",
}
PUBLISHED: Mapping[tuple[str, str], str] = {
    ("Cora", "gcn"): "81.5",
    ("Cora", "gat"): "83.0 ± 0.7",
    ("Cora", "grand"): "85.4 ± 0.4",
    ("CiteSeer", "gcn"): "70.3",
    ("CiteSeer", "gat"): "72.5 ± 0.7",
    ("CiteSeer", "grand"): "75.4 ± 0.4",
}
"""Test accuracy on the public split in per cent: Kipf & Welling 2017, table 2; Veličković et al. 2018,
table 2; Feng et al. 2020, table 2."""


def _percent(metric: Mapping[str, Any] | None) -> str | None:
    if metric is None:
        return None
    text = f"{100 * metric['mean']:.2f}"
    return text if metric["std"] is None else f"{text} ± {100 * metric['std']:.2f}"


def public_split(records: Sequence[Record]) -> Table:
    """Accuracies on the public split beside the published ones.

    Args:
        records: Records of the cora experiment with the protocol ``planetoid``.
    """
    rows: list[tuple[Any, ...]] = []
    for record in records:
        data = record["config"]["dataset"]
        for name in record["config"]["models"]:
            metrics = record["metrics"]
            rows.append(
                (
                    data,
                    TITLES[name],
                    _percent(metrics.get(f"{name}.validation_accuracy")),
                    _percent(metrics[f"{name}.test_accuracy"]),
                    PUBLISHED.get((data, name)),
                    len(record["seeds"]),
                    metrics[f"{name}.best_epoch"]["mean"],
                )
            )
    return Table(
        ["graph", "model", "validation / %", "test / %", "published / %", "seeds", "epoch chosen"],
        rows,
        caption="The public split: mean and standard deviation over the seeds (recorded)",
    )


def groups(values: Tensor, edges: Sequence[float]) -> list[tuple[float, float, Tensor]]:
    """Nodes by the interval that their value is in: (low, high, which), high not included.

    Args:
        values: ``[N]``.
        edges: Ascending; the first is the lowest value of all, the last may be infinite.

    Raises:
        ValueError: If a value is in no interval.
    """
    found = [
        (low, high, (values >= low) & (values < high)) for low, high in itertools.pairwise(edges)
    ]
    if int(sum(int(which.sum()) for *_, which in found)) != len(values):
        raise ValueError(f"Some values lie outside of {edges[0]} to {edges[-1]}.")
    return found


def homophily(edge_index: Tensor, y: Tensor) -> Tensor:
    """Share of the neighbours of a node that have its class, float64 ``[N]``; NaN without neighbours.

    Shapes:
        - edge_index: ``[2, E]`` without self-loops; y: ``[N]``
    """
    source, target = edge_index
    same = (y[source] == y[target]).double()
    count = torch.bincount(target, minlength=len(y)).double()
    return torch.zeros(len(y), dtype=torch.float64).index_add(0, target, same) / count


def accuracy_by(
    correct: Mapping[str, Tensor], values: Tensor, edges: Sequence[float]
) -> list[tuple[float, float, int, dict[str, tuple[float, float, float]]]]:
    """Accuracy with its interval in groups of test nodes.

    Args:
        correct: Model -> whether it is right, bool ``[n]``.
        values: What the nodes are grouped by, ``[n]``.
        edges: Bounds of the groups (:func:`groups`).

    Returns:
        Low, high, nodes, and model -> (accuracy, low, high) of every group that has nodes (Wilson, 95 %).
    """
    found = []
    for low, high, which in groups(values, edges):
        n = int(which.sum())
        if n == 0:
            continue
        shares = {}
        for name, hits in correct.items():
            right = int(hits[which].sum())
            shares[name] = (right / n, *store.wilson(right, n))
        found.append((low, high, n, shares))
    return found


def entropy_by_head(weights: Tensor, target: Tensor, num_nodes: int, which: Tensor) -> np.ndarray:
    """How evenly each head spreads its weights (``cora.effective_share``), ``[K, number of nodes]``.

    Args:
        weights: Attention weights ``[E, K]``.
        target: ``[E]``.
        num_nodes: ``N``.
        which: Nodes to keep, bool ``[N]``.
    """
    from coursework.experiments.cora import effective_share

    heads = [effective_share(head, target, num_nodes)[which] for head in weights.unbind(dim=1)]
    shares: np.ndarray = torch.stack(heads).numpy()
    return shares
