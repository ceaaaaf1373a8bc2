"""Tables of problem 3(c), read from its recorded results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from coursework.report import store
from coursework.report.tables import Table

if TYPE_CHECKING:
    from coursework.data.wikipedia import WikipediaGraph

Record = Mapping[str, Any]

RESULTS: Mapping[str, tuple[str, ...]] = {
    "chameleon": ("wikipedia-full",),
    "squirrel": ("wikipedia-squirrel", "wikipedia-squirrel-plain"),
    "crocodile": ("wikipedia-crocodile", "wikipedia-crocodile-plain"),
}
"""Graph -> its recorded results, the one that counts first; the others add what it has not."""

PUBLISHED_R2: Mapping[str, float] = {"chameleon": 0.586, "squirrel": 0.317, "crocodile": 0.718}
"""R² of ln(traffic), MUSAE with an elastic net, means over 100 random splits: table II of the eight-page
version of Rozemberczki, Allen and Sarkar, *Multi-scale Attributed Embedding of Networks*."""


def recorded() -> dict[str, Record]:
    """Graph -> its record, with the metrics of the further results of the graph added."""
    found: dict[str, Record] = {}
    for graph, wanted in RESULTS.items():
        first, *further = wanted
        if first not in store.names():
            continue
        record = store.read(first)
        for name in further:
            if name in store.names():
                record = {**record, "metrics": store.read(name)["metrics"] | record["metrics"]}
        found[graph] = record
    return found


def published(records: Mapping[str, Record]) -> Table:
    """R² on the random split beside the published figures.

    Args:
        records: Graph -> record.
    """

    def r2(record: Record, key: str) -> str | None:
        metric = record["metrics"].get(f"{key}.test_r2")
        return None if metric is None else store.spread(metric, digits=3)

    columns = ["graph", "published, random", "network without labels, random"]
    return Table(
        [*columns, "residual attention, random", "residual attention, grouped"],
        [
            (
                graph,
                PUBLISHED_R2[graph],
                *(r2(record, key) for key in ("random.gnn", "random.ensemble", "grouped.ensemble")),
            )
            for graph, record in records.items()
        ],
        caption="R² of ln(1 + visits) on test pages",
    )


def errors(graph: WikipediaGraph, record: Record, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Test pages of the first recorded seed, and the ensemble's prediction minus the truth for each."""
    stored = record["notes"][f"{kind}.test"]
    rows = np.array(stored["rows"])
    return rows, np.array(stored["ensemble"]) - graph.y.numpy()[rows].astype(np.float64)


def by_quantile(
    values: np.ndarray, error: np.ndarray, groups: int = 6
) -> list[tuple[float, float, float, int]]:
    """Mean absolute error of groups of about equally many pages, from small to large values.

    Args:
        values: What the pages are ordered by, `[n]`.
        error: Their errors, `[n]`.
        groups: Number of groups; equal values stay together.

    Returns:
        (median value, mean absolute error, its standard error, pages) of each group.
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, groups + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    found = []
    for group in range(max(len(edges) - 1, 1)):
        chosen = place == group
        size = int(chosen.sum())
        if size:
            absolute = np.abs(error[chosen])
            spread = float(absolute.std(ddof=1) / np.sqrt(size)) if size > 1 else 0.0
            found.append((float(np.median(values[chosen])), float(absolute.mean()), spread, size))
    return found


def worst_pages(graph: WikipediaGraph, record: Record, kind: str, count: int = 8) -> Table:
    """The pages that the ensemble is most wrong about.

    Args:
        graph: The pages.
        record: Its record.
        kind: Split.
        count: How many.
    """
    rows, error = errors(graph, record, kind)
    degree = np.bincount(graph.edge_index[1].numpy(), minlength=graph.num_nodes)
    group = graph.twin_group.numpy()
    twins = np.bincount(group)[group] - 1
    nouns = graph.x.crow_indices().diff().numpy()
    worst = np.argsort(-np.abs(error), kind="stable")[:count]
    return Table(
        ["page", "links", "twins", "nouns", "visits", "predicted", "off by the factor"],
        [
            (
                str(row),
                int(degree[row]),
                int(twins[row]),
                int(nouns[row]),
                int(graph.traffic[row]),
                round(float(np.expm1(graph.y[row].item() + error[i]))),
                f"{np.exp(abs(error[i])):.0f}, too {'high' if error[i] > 0 else 'low'}",
            )
            for i, row in ((int(i), int(rows[i])) for i in worst)
        ],
        caption=f"{graph.name}, {kind} split of the first seed: the largest errors on test pages",
    )
