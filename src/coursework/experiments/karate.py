r"""Problem 3(a) and 3(b): a task on a graph, and four tasks on Zachary's karate club.

Nothing here is trained for the sake of a result. The karate club shows the parts of a graph network with
the eye: neighbours, connected components, and one plain convolution with identity matrices. The road
sensors are a small generated task that shows what a graph adds to a prediction.

Letters: `N` nodes, `E` directed edges, `F` features, `T` points in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from coursework.data.splits import Split
from coursework.errors import ConfigError
from coursework.models.graph_conv import (
    Aggregation,
    GraphRegressor,
    PlainGraphConvolution,
    adjacency,
    check_edge_index,
)
from coursework.models.graph_conv import neighbours as neighbours
from coursework.training import engine, seeds
from coursework.training.threads import limited_threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# --- connected components --------------------------------------------------------------------


def components(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Weakly connected components by breadth-first search.

    From every node that has no number yet, a queue visits all nodes that a path reaches, whatever the
    direction of its edges. Every node enters the queue once and every edge is looked at twice, so the
    time is O(N + E).

    Args:
        edge_index: Sources and targets.
        num_nodes: N; nodes without edges are components of their own.

    Shapes:
        - edge_index: `[2, E]`
        - output: `[N]` int64, numbered from 0 in the order of their smallest node

    Raises:
        ValueError: If `edge_index` names nodes that do not exist.
    """
    check_edge_index(edge_index, num_nodes)
    # solution:begin number the nodes, one breadth-first search for each component | collections.deque
    reach: list[list[int]] = [[] for _ in range(num_nodes)]
    for source, target in edge_index.t().tolist():
        reach[source].append(target)
        reach[target].append(source)
    number = [-1] * num_nodes
    found = 0
    for start in range(num_nodes):
        if number[start] >= 0:
            continue
        number[start] = found
        queue = deque([start])
        while queue:
            for other in reach[queue.popleft()]:
                if number[other] < 0:
                    number[other] = found
                    queue.append(other)
        found += 1
    return torch.tensor(number, dtype=torch.int64)
    # solution:end


@dataclass(frozen=True)
class Subgraph:
    """Some nodes and the edges between them.

    Attributes:
        nodes: Their numbers in the whole graph, sorted, `[n]`.
        edge_index: The edges between them, numbered 0 .. n-1 within the subgraph, `[2, e]`.
    """

    nodes: Tensor
    edge_index: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of nodes and of directed edges."""
        return len(self.nodes), self.edge_index.shape[1]


def largest_component(edge_index: Tensor, num_nodes: int) -> Subgraph:
    """The largest connected subgraph, by our own breadth-first search.

    Of several components of the same size the one with the smallest node is taken.

    Shapes:
        - edge_index: `[2, E]`
    """
    # solution:begin the nodes of the largest component, and its edges renumbered | components
    number = components(edge_index, num_nodes)  # [N]
    keep = number == torch.bincount(number).argmax()  # [N]
    position = keep.cumsum(0) - 1  # new number of each kept node
    inside = keep[edge_index[0]] & keep[edge_index[1]]  # [E]
    return Subgraph(keep.nonzero().squeeze(1), position[edge_index[:, inside]])
    # solution:end


def library_largest_component(edge_index: Tensor, num_nodes: int) -> Subgraph:
    """The same by PyTorch Geometric's ``LargestConnectedComponents`` (which asks SciPy)."""
    from torch_geometric.data import Data
    from torch_geometric.transforms import LargestConnectedComponents

    marked = Data(edge_index=edge_index, num_nodes=num_nodes, node=torch.arange(num_nodes))
    part = LargestConnectedComponents(connection="weak")(marked)
    return Subgraph(part.node, part.edge_index)


def same_components(a: Tensor, b: Tensor) -> bool:
    """Whether two numberings `[N]` of the nodes mean the same components."""
    pairs = {*zip(a.tolist(), b.tolist(), strict=True)}
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


# --- the convolution -------------------------------------------------------------------------


def convolve(x: Tensor, edge_index: Tensor, aggregation: Aggregation = "mean") -> Tensor:
    r"""One layer of plain graph convolution with both weight matrices the identity.

    .. math:: h_v' = I \operatorname*{agg}_{u \in \mathcal{N}(v)} h_u + I h_v

    without an activation; a ReLU would change nothing for features that are not negative.

    Shapes:
        - x: `[N, F]`, edge_index: `[2, E]`
        - output: `[N, F]`
    """
    layer = PlainGraphConvolution(
        x.shape[1], x.shape[1], aggregation=aggregation, identity=True, activation=None
    )
    with torch.no_grad():
        features: Tensor = layer(x, edge_index)  # [N, F]
    return features


def library_convolve(x: Tensor, edge_index: Tensor, aggregation: Aggregation = "mean") -> Tensor:
    """The same by PyTorch Geometric's ``GraphConv``, both of its matrices set to the identity."""
    from torch_geometric.nn import GraphConv

    aggr = {"mean": "mean", "sum": "add"}[aggregation]
    layer = GraphConv(x.shape[1], x.shape[1], aggr=aggr, bias=False)
    with torch.no_grad():
        torch.nn.init.eye_(layer.lin_rel.weight)
        torch.nn.init.eye_(layer.lin_root.weight)
        features: Tensor = layer(x, edge_index)  # [N, F]
    return features


def matrix_convolve(x: Tensor, edge_index: Tensor, aggregation: Aggregation = "mean") -> Tensor:
    r"""The same as one matrix product: :math:`(D^{-1} A + I) X`, or :math:`(A + I) X` for the sum."""
    a = adjacency(edge_index, len(x)).to_dense()  # [N, N]
    if aggregation == "mean":
        a = a / a.sum(1, keepdim=True).clamp(min=1)
    return (a + torch.eye(len(x))) @ x  # [N, F]


def alikeness(features: Tensor, y: Tensor) -> tuple[float, float, float]:
    """How far features tell communities apart, without training.

    Args:
        features: `[N, F]`.
        y: Community of each node, `[N]`.

    Returns:
        Mean cosine of two nodes of one community, mean cosine of two nodes of different ones, and the share
        of nodes whose most similar other node is of their own community.
    """
    unit = features / features.norm(dim=1, keepdim=True)
    cosine = unit @ unit.t()  # [N, N]
    same, itself = y[:, None] == y[None, :], torch.eye(len(y), dtype=torch.bool)
    nearest = cosine.masked_fill(itself, -torch.inf).argmax(1)  # [N]
    return (
        float(cosine[same & ~itself].mean()),
        float(cosine[~same].mean()),
        float((y[nearest] == y).float().mean()),
    )


# --- drawing ---------------------------------------------------------------------------------


def layout(edge_index: Tensor, num_nodes: int) -> np.ndarray:
    """Positions `[N, 2]` in which distances on paper follow distances in the graph (Kamada-Kawai)."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edge_index.t().tolist())
    positions = networkx.kamada_kawai_layout(graph)
    return np.array([positions[node] for node in range(num_nodes)])


def draw(
    ax: Axes,
    positions: np.ndarray,
    edge_index: Tensor,
    values: Sequence[Any] | np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    highlight: Sequence[int] = (),
    size: float = 260.0,
    **scatter: Any,
) -> Any:
    """Draw a graph on an axis: edges as thin lines, nodes coloured by ``values``.

    Args:
        ax: Where to draw.
        positions: `[N, 2]`.
        edge_index: `[2, E]`; an edge stored in both directions is drawn once.
        values: Colour of each node, as ``Axes.scatter`` takes it.
        labels: Text in each node.
        highlight: Nodes that get a thick black rim.
        size: Area of a node in square points.
        scatter: Further options of ``Axes.scatter`` (``cmap``, ``vmin``, ...).

    Returns:
        What ``Axes.scatter`` returned, for a colour bar.
    """
    from matplotlib.collections import LineCollection

    pairs = sorted({(min(edge), max(edge)) for edge in edge_index.t().tolist()})
    lines = [(positions[a], positions[b]) for a, b in pairs]
    ax.add_collection(LineCollection(lines, colors="0.7", linewidths=0.8, zorder=1))
    widths = [2.5 if node in highlight else 0.6 for node in range(len(positions))]
    dots = ax.scatter(
        positions[:, 0],
        positions[:, 1],
        c=values,
        s=size,
        linewidths=widths,
        edgecolors="black",
        zorder=2,
        **scatter,
    )
    for node, label in enumerate(labels or []):
        ax.annotate(
            label, positions[node], ha="center", va="center", fontsize=8, color="black", zorder=3
        )
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.06)
    return dots


# --- road sensors: a task on a graph, generated ----------------------------------------------

READINGS = 3
"""Readings that a sensor's features hold: now, one step ago, two steps ago."""

AHEAD = 2
"""Steps of five minutes between the last reading and the speed that is asked for."""


@dataclass(frozen=True)
class RoadTask:
    """Speeds at road sensors, and what they will be.

    Attributes:
        positions: Places of the sensors on a unit square, `[N, 2]`.
        edge_index: Roads from the sensor ahead (source) to the one behind it (target), `[2, E]`.
        x: The last three measured speeds and the speed limit, in km/h, `[T, N, 4]`.
        y: Speed ten minutes later, in km/h, `[T, N]`.
        split: Points in time for training, validation and test, in this order in time.
    """

    positions: np.ndarray
    edge_index: Tensor
    x: Tensor
    y: Tensor
    split: Split


def roads(num_sensors: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
    """Sensors at random places, one-way roads by Gabriel's rule.

    Two sensors are linked if no third one lies in the circle that has them at its ends: a planar,
    connected network much like a road map. All traffic flows towards larger first coordinates.

    Returns:
        Positions `[N, 2]`, and edges `[2, E]` against the traffic: source ahead, target behind.
    """
    positions = rng.random((num_sensors, 2))
    squared = ((positions[:, None] - positions[None]) ** 2).sum(-1)  # [N, N]
    # u lies in the circle over v and w exactly if |uv|^2 + |uw|^2 < |vw|^2
    through = squared[:, None, :] + squared[None, :, :]  # [v, w, u]
    ends = np.arange(num_sensors)
    through[ends, :, ends] = np.inf
    through[:, ends, ends] = np.inf
    ahead = positions[:, None, 0] > positions[None, :, 0]  # [source, target]
    linked = (through.min(2) >= squared) & ahead
    return positions, torch.from_numpy(np.argwhere(linked).T.copy())


def road_task(
    seed: int = 0, *, num_sensors: int = 60, num_times: int = 120, noise: float = 4.0
) -> RoadTask:
    r"""Generate the task: jams arise at random, fade, and travel backwards along the roads.

    With :math:`c_v \in [0, 1]` the congestion at sensor v and :math:`\mathcal{N}(v)` the sensors that the
    road leads to next, a step of five minutes is

    .. math:: c_v \leftarrow 0.95\,\Big(0.4\,c_v + 0.6\,\frac{1}{d_v}
              \sum_{u \in \mathcal{N}(v)} c_u\Big) + \text{new jam},

    the speed is the limit times :math:`1 - c_v`, and each measurement has an error of ``noise`` km/h.
    What happens at v in ten minutes is therefore happening now at most two sensors ahead.

    Args:
        seed: Seed of the network and of the traffic.
        num_sensors: N, at least 2.
        num_times: T, at least 20.
        noise: Standard deviation of a measurement in km/h.

    Raises:
        ConfigError: If there are too few sensors or points in time.
    """
    if num_sensors < 2 or num_times < 20:
        raise ConfigError(
            f"num_sensors is {num_sensors} and num_times {num_times}; "
            "there must be at least 2 sensors and 20 points in time."
        )
    rng = seeds.numpy_generator(seed, "roads")
    positions, edge_index = roads(num_sensors, rng)
    matrix = adjacency(edge_index, num_sensors).to_dense().numpy()
    matrix = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # row v: mean over those ahead
    limit = rng.choice([50.0, 80.0, 100.0], num_sensors)
    warm_up = 40
    congestion, states = np.zeros(num_sensors), []
    for _ in range(warm_up + num_times + READINGS - 1 + AHEAD):
        jam = (rng.random(num_sensors) < 0.015) * rng.uniform(0.5, 1.0, num_sensors)
        congestion = np.minimum(1, 0.95 * (0.4 * congestion + 0.6 * matrix @ congestion) + jam)
        states.append(congestion)
    speed = limit * (1 - np.stack(states[warm_up:]))  # [T + 4, N]
    measured = speed + noise * rng.normal(size=speed.shape)
    now = np.arange(num_times) + READINGS - 1
    readings = [measured[now - back] for back in range(READINGS)]
    x = np.stack([*readings, np.broadcast_to(limit, readings[0].shape)], axis=2)  # [T, N, 4]
    y = speed[now + AHEAD]  # [T, N]
    # The past trains, the future tests. Between the parts lies a gap as long as the readings and the
    # ten minutes ahead reach, so that no speed is in two parts.
    a, b, gap = int(0.6 * num_times), int(0.8 * num_times), AHEAD + READINGS - 1
    times = np.arange(num_times)
    split = Split(times[: a - gap], times[a : b - gap], times[b:])
    return RoadTask(positions, edge_index, torch.tensor(x).float(), torch.tensor(y).float(), split)


def repeat_graph(edge_index: Tensor, num_nodes: int, times: int) -> Tensor:
    """``times`` copies of a graph side by side, as one graph without edges between the copies."""
    shift = num_nodes * torch.arange(times).repeat_interleave(edge_index.shape[1])  # [times * E]
    return edge_index.repeat(1, times) + shift  # [2, times * E]


def road_comparison(
    task: RoadTask,
    *,
    seed: int = 0,
    plan: engine.Plan | None = None,
    hidden: int = 16,
) -> dict[str, float]:
    """Mean absolute error on the future, in km/h, of three ways to predict.

    ``no change`` says that the speed stays what was measured last; ``sensor alone`` is a network on the
    sensor's own readings; ``with the graph`` is the same network that also hears the neighbours. Both
    networks keep the weights of their best epoch on the validation times.

    Returns:
        Test error of each.
    """
    plan = plan or engine.Plan(
        epochs=20, learning_rate=1e-2, schedule="cosine", monitor="mae", precision="32-true"
    )
    count = task.x.shape[1]
    parts: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    fitted = task.x[torch.from_numpy(task.split.train)]
    mean, scale = fitted.mean((0, 1)), fitted.std((0, 1))
    for name in ("train", "validation", "test"):
        times = torch.from_numpy(getattr(task.split, name))
        x = ((task.x[times] - mean) / scale).flatten(0, 1)  # [times * N, 4]
        graph = adjacency(repeat_graph(task.edge_index, count, len(times)), len(x))
        parts[name] = x, graph, task.y[times].flatten()  # ..., [times * N]
    target_mean, target_scale = parts["train"][2].mean(), parts["train"][2].std()

    def error(model: torch.nn.Module, part: str) -> Tensor:
        x, graph, y = parts[part]
        return (model(x, graph) * target_scale + target_mean - y).abs()  # [times * N]

    def loss(model: torch.nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        errors = error(model, "train")
        return errors.mean() / target_scale * len(errors), len(errors)

    last = task.x[torch.from_numpy(task.split.test)][:, :, 0]
    result = {"no change": float((last - task.y[torch.from_numpy(task.split.test)]).abs().mean())}
    for name, uses_graph in (("sensor alone", False), ("with the graph", True)):
        seeds.seed_everything(seed)
        model = GraphRegressor(
            task.x.shape[2], hidden, num_layers=2, dropout=0.0, use_graph=uses_graph
        )
        with limited_threads(1):  # the products are too small for two
            engine.fit(
                model,
                plan,
                batches=lambda epoch: [torch.zeros(1)] * 4,  # four steps over all training times
                loss=loss,
                validate=lambda m: {"mae": float(error(m, "validation").mean())},
                shard=False,
                log=None,
            )
            with torch.no_grad():
                result[name] = float(error(model, "test").mean())
    return result
