import numpy as np
import pytest
import torch

from coursework.config import override
from coursework.experiments import Job, large_graph
from coursework.training import seeds

TINY = override(
    large_graph.PRESETS["quick"],
    ["nodes=3000", "links=30000", "communities=6", "plan.epochs=6", "plan.learning_rate=3e-2"],
)


def test_the_graph_is_what_its_config_says() -> None:
    data = large_graph.generate(TINY, 0)
    assert data.num_nodes == 3000
    assert data.num_edges == pytest.approx(60_000, rel=0.01)  # without self-loops
    links, back = data.edge_index, data.edge_index.flip(0)  # a link may be drawn twice
    assert torch.equal(*(e[:, (e[0] * 3000 + e[1]).argsort(stable=True)] for e in (links, back)))
    one, other = (np.arange(3000) // 500)[data.edge_index.numpy()]
    assert float((one == other).mean()) == pytest.approx(0.8 + 0.2 / 6, abs=0.02)
    shares = torch.bincount(data.part) / 3000
    assert torch.allclose(shares, torch.tensor([0.8, 0.1, 0.1]), atol=0.03)
    again, other_seed = large_graph.generate(TINY, 0), large_graph.generate(TINY, 1)
    assert torch.equal(data.edge_index, again.edge_index)
    assert not torch.equal(data.x, other_seed.x)


def test_parts_of_an_epoch_hold_every_node_once_and_only_links_among_them() -> None:
    data = large_graph.generate(TINY, 0)
    data.y = torch.arange(3000).float()  # the node itself
    known = {tuple(e) for e in data.edge_index.t().tolist()}
    seen = []
    for part in large_graph.parts_of(data, TINY.parts, 0, 0):
        nodes = part["y"].long()
        seen += nodes.tolist()
        assert {tuple(e) for e in nodes[part["edge_index"]].t().tolist()} <= known
    assert sorted(seen) == list(range(3000))


def test_parts_are_those_of_the_loader_in_any_order() -> None:
    from torch_geometric.loader import RandomNodeLoader

    data = large_graph.generate(TINY, 0)
    parts = large_graph.parts_of(data, TINY.parts, 0, 3)
    assert not torch.equal(large_graph.parts_of(data, TINY.parts, 0, 4)[0]["y"], parts[0]["y"])
    order = seeds.generator(0, "parts", 3)
    loaded = [*RandomNodeLoader(data, TINY.parts, shuffle=True, generator=order)]
    for index in (2, 3, 0):
        assert torch.equal(parts[index]["x"], loaded[index].x)
        assert torch.equal(parts[index]["edge_index"], loaded[index].edge_index)


def test_both_networks_learn_what_the_features_alone_do_not_tell() -> None:
    run = large_graph.train(Job("large_graph", TINY, log=None))
    for name in ("gcn", "gat"):
        assert run.metrics[f"{name}.test_mae"] < 0.9 * run.metrics["features.test_mae"]
    assert run.metrics["features.test_mae"] < run.metrics["mean.test_mae"]
    assert 0.1 < run.metrics["peak_gib"] < 64
