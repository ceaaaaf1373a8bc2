"""The plain networks learn from the parts of a graph that PyG's loader hands out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from coursework.errors import ConfigError, TrainingError
from coursework.experiments import large_graph
from coursework.training import engine

TINY = dataclasses.replace(
    large_graph.PRESETS["quick"],
    nodes=3000,
    links=30_000,
    communities=6,
    plan=dataclasses.replace(large_graph.PRESETS["quick"].plan, epochs=6, learning_rate=3e-2),
)


def test_the_graph_is_what_its_config_says() -> None:
    data = large_graph.generate(TINY, 0)
    assert data.num_nodes == 3000
    assert data.num_edges == pytest.approx(60_000, rel=0.01)  # without self-loops
    assert data.is_undirected() or not data.is_coalesced()  # a link may be drawn twice
    community = np.arange(3000) // 500
    one, other = community[data.edge_index.numpy()]
    within = float((one == other).mean())
    assert within == pytest.approx(0.8 + 0.2 / 6, abs=0.02)
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
    for part in large_graph.Parts(lambda: large_graph.loader(data, TINY, 0, 0)):
        nodes = part["y"].long()
        seen += nodes.tolist()
        edges = nodes[part["edge_index"]].t().tolist()
        assert {tuple(e) for e in edges} <= known
    assert sorted(seen) == list(range(3000))


def test_a_part_can_be_asked_for_out_of_order() -> None:
    data = large_graph.generate(TINY, 0)
    in_order = [*large_graph.Parts(lambda: large_graph.loader(data, TINY, 0, 3))]
    again = large_graph.Parts(lambda: large_graph.loader(data, TINY, 0, 3))
    for index in (2, 3, 0):
        assert torch.equal(again[index]["y"], in_order[index]["y"])
    other = large_graph.Parts(lambda: large_graph.loader(data, TINY, 0, 4))
    assert not torch.equal(other[0]["y"], in_order[0]["y"])
    with pytest.raises(IndexError):
        again[4]


def test_both_networks_learn_what_the_features_alone_do_not_tell() -> None:
    run = large_graph.train(TINY, log=None)
    for name in ("gcn", "gat"):
        assert run.metrics[f"{name}.test_mae"] < 0.9 * run.metrics["features.test_mae"]
    assert run.metrics["features.test_mae"] < run.metrics["mean.test_mae"]
    assert 0.1 < run.metrics["peak_gib"] < 64
    assert run.notes["loader"] == "RandomNodeLoader" or large_graph.can_sample_neighbours()


def test_interrupted_training_ends_in_the_same_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(TINY, models=("gcn",))
    whole = large_graph.train(config, log=None).metrics["gcn.test_mae"]
    real, calls = large_graph.predict, {"n": 0}

    def cut(*given):  # type: ignore[no-untyped-def]
        calls["n"] += 1
        if calls["n"] == 15:
            raise KeyboardInterrupt
        return real(*given)

    real_fit = engine.fit
    monkeypatch.setattr(engine, "fit", lambda *a, **k: real_fit(*a, **k, checkpoint_seconds=0.0))
    monkeypatch.setattr(large_graph, "predict", cut)
    with pytest.raises(KeyboardInterrupt):
        large_graph.train(config, run_dir=tmp_path, log=None)
    monkeypatch.setattr(large_graph, "predict", real)
    resumed = large_graph.train(config, run_dir=tmp_path, resume=True, log=None)
    assert resumed.metrics["gcn.test_mae"] == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("mlp",)}, "choose from gcn, gat"),
        ({"nodes": 0}, "nodes"),
        ({"loyalty": 1.5}, "loyalty"),
        ({"parts": 5000}, "more than the nodes"),
        ({"hidden": 30}, "multiple"),
    ],
)
def test_bad_config(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)


def test_evaluate_says_what_to_do() -> None:
    with pytest.raises(TrainingError, match="train large_graph"):
        large_graph.evaluate(Path("best.pt"))
