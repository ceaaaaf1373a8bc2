"""The generated road task: what it is, and that the graph helps."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coursework.errors import ConfigError
from coursework.experiments import karate, roads


def test_road_task_is_as_described() -> None:
    task = roads.road_task(0, num_sensors=30, num_times=50)
    assert task.x.shape == (50, 30, 4)
    assert task.y.shape == (50, 30)
    source, target = task.edge_index.numpy()
    assert (task.positions[source, 0] > task.positions[target, 0]).all()
    assert int(karate.components(task.edge_index, 30).max()) == 0  # Gabriel graphs are connected
    train, validation, test = task.split.train, task.split.validation, task.split.test
    reach = roads.AHEAD + roads.READINGS - 1
    assert train.max() + reach < validation.min()
    assert validation.max() + reach < test.min()
    again = roads.road_task(0, num_sensors=30, num_times=50)
    assert torch.equal(task.x, again.x)
    assert not torch.equal(task.x, roads.road_task(1, num_sensors=30, num_times=50).x)


def test_graph_helps_on_the_roads() -> None:
    plan = dataclasses.replace(roads.PLAN, epochs=12, learning_rate=2e-2)
    errors = roads.road_comparison(roads.road_task(1), plan=plan, hidden=8)
    assert errors["with the graph"] < errors["sensor alone"] < errors["no change"]


def test_road_comparison_repeats() -> None:
    task = roads.road_task(0, num_sensors=10, num_times=30)
    plan = dataclasses.replace(roads.PLAN, epochs=2)
    assert roads.road_comparison(task, plan=plan) == roads.road_comparison(task, plan=plan)


def test_road_task_refuses_too_little() -> None:
    with pytest.raises(ConfigError, match="num_times 5"):
        roads.road_task(0, num_times=5)


def test_repeated_graph_has_no_edges_between_copies() -> None:
    repeated = roads.repeat_graph(torch.tensor([[0, 1], [1, 2]]), 3, 4)
    assert repeated.shape == (2, 8)
    assert (repeated[0] // 3 == repeated[1] // 3).all()
    assert int(karate.components(repeated, 12).max()) == 3
