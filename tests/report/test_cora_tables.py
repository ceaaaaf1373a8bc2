"""Tables of problem 4, from a small run and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from coursework.experiments import base, cora
from coursework.report import cora_tables, store

pytestmark = pytest.mark.usefixtures("standin")


def test_public_split_shows_each_model_beside_its_paper() -> None:
    config = base.override(
        cora.PRESETS["planetoid"],
        ["gcn.plan.epochs=3", "gat.plan.epochs=3", "gcn.hidden=8", "gat.hidden=8"],
    )
    runs = [cora.train(config, seed=seed, log=None) for seed in (0, 1)]
    record = store.make_record("cora-planetoid", runs)
    table = cora_tables.public_split([record])
    assert [row[1] for row in table.rows] == ["GCN", "GAT"]
    mean = np.mean([run.metrics["gcn.test_accuracy"] for run in runs])
    assert str(table.rows[0][3]).startswith(f"{100 * mean:.2f} ± ")
    assert [row[4] for row in table.rows] == ["81.5", "83.0 ± 0.7"]
    assert {row[5] for row in table.rows} == {2}


def test_homophily_by_hand() -> None:
    # 0 - 1, 0 - 2, node 3 alone; classes 0, 0, 1, 0.
    edges = torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
    shares = cora_tables.homophily(edges, torch.tensor([0, 0, 1, 0])).tolist()
    assert shares[:3] == [0.5, 1.0, 0.0]
    assert math.isnan(shares[3])


def test_groups_hold_every_node_once_and_accuracies_are_their_means() -> None:
    values = torch.tensor([1.0, 1, 2, 3, 7])
    correct = {"gcn": torch.tensor([True, False, True, True, False])}
    found = cora_tables.accuracy_by(correct, values, (1, 2, 4, 5, math.inf))
    assert [(low, high, n) for low, high, n, _ in found] == [
        (1, 2, 2),
        (2, 4, 2),
        (5, math.inf, 1),
    ]
    assert [shares["gcn"][0] for *_, shares in found] == [0.5, 1.0, 0.0]
    for *_, shares in found:
        share, low, high = shares["gcn"]
        assert low <= share <= high
    with pytest.raises(ValueError, match="outside"):
        cora_tables.accuracy_by(correct, values, (2, 9))


def test_a_head_that_weighs_all_alike_has_evenness_one() -> None:
    target = torch.tensor([0, 0, 0, 0, 1])
    weights = torch.stack(
        [torch.tensor([0.25, 0.25, 0.25, 0.25, 1.0]), torch.tensor([1.0, 0, 0, 0, 1.0])], dim=1
    )
    shares = cora_tables.entropy_by_head(weights, target, 2, torch.tensor([True, False]))
    assert shares.flatten().tolist() == pytest.approx([1.0, 0.25])
