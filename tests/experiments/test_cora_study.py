"""Depth and missing links: on validation nodes, with the properties that the words claim."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coursework.data import planetoid
from coursework.experiments import cora_study
from coursework.experiments.base import Job

pytestmark = pytest.mark.usefixtures("standin")
TINY = cora_study.PRESETS["quick"]
JOB = Job("cora_study", TINY, log=None)


def test_links_go_in_both_directions_and_repeatably() -> None:
    edges = planetoid.load("Cora").edge_index
    rest = cora_study.without_links(edges, 0.25, seed=0)
    assert rest.shape[1] == edges.shape[1] - 2 * round(0.25 * edges.shape[1] / 2)
    pairs = {tuple(e) for e in rest.t().tolist()}
    assert pairs <= {tuple(e) for e in edges.t().tolist()}
    assert pairs == {(b, a) for a, b in pairs}
    assert torch.equal(rest, cora_study.without_links(edges, 0.25, seed=0))
    assert not torch.equal(rest, cora_study.without_links(edges, 0.25, seed=1))
    assert cora_study.without_links(edges, 1.0, seed=0).shape == (2, 0)


def test_study_runs_and_does_not_look_at_test_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cora_study.train(JOB)
    assert len(first.metrics) == 2 * 3 * 2 + 2 * 2
    real = planetoid.load

    def other_labels(name: str) -> planetoid.CitationGraph:
        graph = real(name)  # type: ignore[arg-type]
        y = graph.y.clone()
        y[graph.test_mask] = 0
        return dataclasses.replace(graph, y=y)

    monkeypatch.setattr(planetoid, "load", other_labels)
    assert cora_study.train(JOB).metrics == first.metrics
