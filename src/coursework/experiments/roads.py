"""Problem 3(a): how fast is the traffic at every road sensor of a generated city in ten minutes?"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coursework.data.splits import Split
from coursework.errors import ConfigError
from coursework.models.graph_conv import GraphRegressor
from coursework.models.sparse import adjacency
from coursework.training import engine, seeds
from coursework.training.parallel import limited_threads

READINGS = 3  # that a sensor's features hold: now, one step ago, two steps ago
AHEAD = 2  # steps of five minutes between the last reading and the speed that is asked for
PLAN = engine.Plan(20, 1e-2, schedule="cosine", monitor="mae", precision="32-true")


class RoadTask(NamedTuple):
    """Speeds at road sensors in km/h, and what they will be."""

    positions: np.ndarray  # places of the sensors on a unit square, `[N, 2]`
    edge_index: Tensor  # from the sensor ahead (source) to the one behind it (target), `[2, E]`
    x: Tensor  # the last three measured speeds and the speed limit, `[T, N, 4]`
    y: Tensor  # speed ten minutes later, `[T, N]`
    split: Split  # points in time for training, validation and test, in this order


def roads(num_sensors: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
    """Sensors `[N, 2]` and edges `[2, E]` that point to the left, from the sensor ahead to the one behind it:
    against the traffic, which flows to the right.

    Two sensors are linked if no third one lies in the circle that has them at its ends (Gabriel's rule).
    """
    positions = rng.random((num_sensors, 2))
    squared = ((positions[:, None] - positions[None]) ** 2).sum(-1)  # [N, N]
    # u lies in the circle over v and w exactly if |uv|^2 + |uw|^2 < |vw|^2
    through = squared[:, None, :] + squared[None, :, :]  # [v, w, u]
    ends = np.arange(num_sensors)
    through[ends, :, ends] = through[:, ends, ends] = np.inf
    ahead = positions[:, None, 0] > positions[None, :, 0]  # [source, target]
    linked = (through.min(2) >= squared) & ahead
    return positions, torch.from_numpy(np.argwhere(linked).T.copy())


def road_task(seed: int = 0, *, num_sensors: int = 60, num_times: int = 120) -> RoadTask:
    r"""Generate the task: jams arise at random, fade, and travel backwards along the roads.

    A step of five minutes, with congestion :math:`c_v \in [0, 1]` and :math:`d_v` sensors ahead:

    .. math:: c_v \leftarrow 0.95\,\Big(0.4\,c_v + 0.6\,\frac{1}{d_v}
              \sum_{u \in \mathcal{N}(v)} c_u\Big) + \text{new jam}
    """
    if num_sensors < 2 or num_times < 23:
        sizes = f"num_sensors is {num_sensors} and num_times {num_times}"
        raise ConfigError(f"{sizes}; there must be at least 2 sensors and 23 points in time.")
    rng = seeds.numpy_generator(seed, "roads")
    positions, edge_index = roads(num_sensors, rng)
    matrix = adjacency(edge_index, num_sensors).to_dense().numpy()
    matrix = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # row v: mean over those ahead
    limit = rng.choice([50.0, 80.0, 100.0], num_sensors)
    warm_up, congestion, states = 40, np.zeros(num_sensors), []
    for _ in range(warm_up + num_times + READINGS - 1 + AHEAD):
        jam = (rng.random(num_sensors) < 0.015) * rng.uniform(0.5, 1.0, num_sensors)
        congestion = np.minimum(1, 0.95 * (0.4 * congestion + 0.6 * matrix @ congestion) + jam)
        states.append(congestion)
    speed = limit * (1 - np.stack(states[warm_up:]))  # [T + 4, N]
    measured = speed + 4.0 * rng.normal(size=speed.shape)
    now = np.arange(num_times) + READINGS - 1
    readings = [measured[now - back] for back in range(READINGS)]
    x = np.stack([*readings, np.broadcast_to(limit, readings[0].shape)], axis=2)  # [T, N, 4]
    y = speed[now + AHEAD]  # [T, N]
    # between the parts lies a gap as long as readings and forecast reach: no speed is in two parts
    a, b, gap = int(0.6 * num_times), int(0.8 * num_times), AHEAD + READINGS - 1
    times = np.arange(num_times)
    split = Split(times[: a - gap], times[a : b - gap], times[b:])
    return RoadTask(positions, edge_index, torch.tensor(x).float(), torch.tensor(y).float(), split)


def repeat_graph(edge_index: Tensor, num_nodes: int, times: int) -> Tensor:
    """``times`` copies of a graph side by side, as one graph without edges between the copies."""
    shift = num_nodes * torch.arange(times).repeat_interleave(edge_index.shape[1])  # [times * E]
    return edge_index.repeat(1, times) + shift  # [2, times * E]


@limited_threads(1)  # the products are too small for two
def road_comparison(
    task: RoadTask, *, seed: int = 0, plan: engine.Plan = PLAN, hidden: int = 16
) -> dict[str, float]:
    """Mean absolute error in km/h: no change, a network on the sensor alone, the same with the graph."""
    fitted = task.x[torch.from_numpy(task.split.train)]
    mean, scale = fitted.mean((0, 1)), fitted.std((0, 1))
    scale = scale.where(scale > 0, 1.0)  # all limits may be the same
    parts: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for name in ("train", "validation", "test"):
        times = torch.from_numpy(getattr(task.split, name))
        x = ((task.x[times] - mean) / scale).flatten(0, 1)  # [times * N, 4]
        graph = adjacency(repeat_graph(task.edge_index, task.x.shape[1], len(times)), len(x))
        parts[name] = x, graph, task.y[times].flatten()  # ..., [times * N]
    target_mean, target_scale = parts["train"][2].mean(), parts["train"][2].std().clamp(min=1e-6)

    def error(model: nn.Module, part: str) -> Tensor:
        x, graph, y = (value.to(engine.device_of(model)) for value in parts[part])
        output: Tensor = model(x, graph) * target_scale + target_mean  # [times * N]
        return (output - y).abs()

    def loss(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        errors = error(model, "train")
        return errors.mean() / target_scale * len(errors), len(errors)

    test = torch.from_numpy(task.split.test)
    result = {"no change": float((task.x[test][:, :, 0] - task.y[test]).abs().mean())}
    for name, uses_graph in (("sensor alone", False), ("with the graph", True)):
        seeds.seed_everything(seed)
        model = GraphRegressor(4, hidden, num_layers=2, dropout=0.0, use_graph=uses_graph)
        engine.fit(
            model, plan, loss=loss, shard=False, log=None,
            batches=lambda epoch: [torch.zeros(1)] * 4,  # four steps over all training times
            validate=lambda m: {"mae": float(error(m, "validation").mean())},
        )  # fmt: skip
        with torch.no_grad():
            result[name] = float(error(model, "test").mean())
    return result
