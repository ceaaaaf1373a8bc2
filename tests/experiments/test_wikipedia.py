"""The traffic experiment on stand-in pages: it learns, repeats, resumes, and does not look at the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import coursework  # noqa: F401
from coursework.data import wikipedia as pages
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import base, wikipedia
from coursework.experiments.wikipedia import Config
from coursework.models.graph_conv import adjacency
from coursework.training import engine

TINY = dataclasses.replace(
    wikipedia.PRESETS["full"],
    plan=dataclasses.replace(wikipedia.PRESETS["full"].plan, epochs=4, learning_rate=2e-2),
    hidden=16,
    steps_per_epoch=8,
    trees=20,
    members=2,
    candidates=5,
    attention_epochs=6,
    attention_batch=64,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As the fixture ``standin``, for the whole module."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.setenv("COURSEWORK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(cache: Path) -> base.Run:
    return wikipedia.train(TINY, preset="tiny", seed=1, run_dir=cache / "run", log=None)


def test_every_model_is_tested_on_every_split(run: base.Run) -> None:
    for kind in wikipedia.SPLITS:
        for model in wikipedia.MODELS:
            assert np.isfinite(run.metrics[f"{kind}.{model}.test_mae_ln"])
        gnn = {key: run.metrics[f"{kind}.gnn.test_{key}"] for key in ("mae_ln", "mae_log10")}
        assert gnn["mae_ln"] == pytest.approx(gnn["mae_log10"] * np.log(10))
        assert run.metrics[f"{kind}.gnn.test_mae_visits"] > 0
    assert run.source.is_standin
    assert run.notes["random.sizes"] == [432, 48, 120]


def test_it_learns(run: base.Run) -> None:
    for kind in wikipedia.SPLITS:
        gnn = run.metrics[f"{kind}.gnn.test_mae_ln"]
        assert gnn < 0.9 * run.metrics[f"{kind}.median.test_mae_ln"]
        assert run.metrics[f"{kind}.gnn.test_r2"] > 0.2
        ensemble = run.metrics[f"{kind}.ensemble.test_mae_ln"]
        assert ensemble < 0.9 * run.metrics[f"{kind}.median.test_mae_ln"]
        assert f"{kind}.ensemble.test_mae_visits" in run.metrics
        assert f"{kind}.median.test_mae_visits" not in run.metrics  # the main measures only
        curve = run.curves[f"{kind}.gnn"]
        assert len(curve) == 4
        assert curve[-1]["train_mae_ln"] < curve[0]["train_mae_ln"]


def test_grouped_split_keeps_twins_together(run: base.Run) -> None:
    """Twins cross the random split and make the lookup good; across the grouped one there are none."""
    assert run.metrics["random.test_share_with_twin"] > 0.1
    assert run.metrics["grouped.test_share_with_twin"] == 0
    m = run.metrics
    assert m["random.twin.test_mae_ln"] < m["random.median.test_mae_ln"]
    assert m["grouped.twin.test_mae_ln"] == m["grouped.median.test_mae_ln"]


def test_parts_are_disjoint_and_eighty_twenty(run: base.Run) -> None:
    graph = run.artefacts["graph"]
    group = graph.twin_group.numpy()
    for kind, result in run.artefacts["results"].items():
        split = result.split
        everything = np.concatenate([split.train, split.validation, split.test])
        assert sorted(everything) == list(range(graph.num_nodes))
        assert len(split.test) == pytest.approx(0.2 * graph.num_nodes, rel=0.05)
        if kind == "grouped":
            assert not set(group[split.train]) & set(group[split.validation])


@pytest.mark.parametrize("kind", wikipedia.SPLITS)
def test_predictions_do_not_depend_on_test_targets(cache: Path, kind: str) -> None:
    """Every target of a test page is replaced; every prediction stays the same, bit for bit."""
    config = dataclasses.replace(TINY, plan=dataclasses.replace(TINY.plan, epochs=2))
    graph = pages.load()
    inputs = wikipedia.prepare(graph, config)
    first = wikipedia.run_split(graph, inputs, kind, config, seed=3)
    test = torch.from_numpy(first.split.test)
    y, traffic = graph.y.clone(), graph.traffic.clone()
    y[test], traffic[test] = 100.0, 1e9
    changed = dataclasses.replace(graph, y=y, traffic=traffic)
    second = wikipedia.run_split(changed, wikipedia.prepare(changed, config), kind, config, seed=3)
    assert first.predictions.keys() == wikipedia.MODELS.keys()
    for model, predicted in first.predictions.items():
        assert np.array_equal(predicted, second.predictions[model]), model


def test_training_targets_do_matter(cache: Path) -> None:
    """The counterpart: with other training targets the predictions change."""
    config = dataclasses.replace(TINY, plan=dataclasses.replace(TINY.plan, epochs=1), refit=False)
    graph = pages.load()
    inputs = wikipedia.prepare(graph, config)
    first = wikipedia.run_split(graph, inputs, "random", config)
    y = graph.y.clone()
    y[torch.from_numpy(first.split.train)] += 1
    second = wikipedia.run_split(dataclasses.replace(graph, y=y), inputs, "random", config)
    for model, predicted in first.predictions.items():
        assert not np.array_equal(predicted, second.predictions[model]), model


def test_the_seed_decides(cache: Path) -> None:
    plan = dataclasses.replace(TINY.plan, epochs=1)
    config = dataclasses.replace(
        TINY,
        plan=plan,
        networks=("gcn", "gat", "gnn", "attention"),
        refit=False,
        splits=("grouped",),
    )
    first, second, other = (wikipedia.train(config, seed=s, log=None).metrics for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_resumed_run_ends_in_the_same_weights(
    run: base.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth training (the graph network on the first split) is cut off in its second epoch."""
    real_fit, calls = engine.fit, {"n": 0}

    def cut(model, plan, **options):  # type: ignore[no-untyped-def]
        calls["n"] += 1
        if calls["n"] == 4:
            validate, seen = options["validate"], {"n": 0}

            def killed(network: torch.nn.Module) -> dict[str, float]:
                seen["n"] += 1
                if seen["n"] == 2:
                    raise KeyboardInterrupt
                return validate(network)

            options["validate"] = killed
        return real_fit(model, plan, **options)

    monkeypatch.setattr(engine, "fit", cut)
    with pytest.raises(KeyboardInterrupt):
        wikipedia.train(TINY, seed=1, run_dir=tmp_path, log=None)
    monkeypatch.setattr(engine, "fit", real_fit)
    resumed = wikipedia.train(TINY, seed=1, run_dir=tmp_path, resume=True, log=None)
    assert resumed.metrics == run.metrics
    for kind, result in run.artefacts["results"].items():
        other = resumed.artefacts["results"][kind]
        for name, predicted in result.predictions.items():
            assert np.array_equal(predicted, other.predictions[name]), (kind, name)


def test_evaluate_reproduces_the_test_metrics(run: base.Run, cache: Path) -> None:
    checked = 0
    for kind in wikipedia.SPLITS:
        for name in ("gnn", "mlp", "gcn", "gat"):
            values = wikipedia.evaluate(cache / "run" / kind / f"{name}-refit" / "best.pt")
            for key, value in values.items():
                assert value == run.metrics[key]
                checked += 1
    assert checked == 48


def test_checkpoint_of_something_else_is_refused(run: base.Run, cache: Path) -> None:
    with pytest.raises(TrainingError, match=r"name the best\.pt"):
        wikipedia.load(cache / "run" / "random" / "gnn-refit" / "last.pt")
    with pytest.raises(TrainingError, match="no checkpoint"):
        wikipedia.evaluate(cache / "nothing.pt")


def test_config_survives_its_record() -> None:
    for config in wikipedia.PRESETS.values():
        assert wikipedia.config_of(base.as_record(config)) == config
    assert {"full", "quick", "squirrel", "crocodile"} <= wikipedia.PRESETS.keys()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("splits=sideways", "splits"),
        ("graph=salamander", "graph"),
        ("test_share=1.5", "test_share"),
        ("dropout=1.0", "dropout"),
        ("hidden=0", "hidden"),
        ("hidden=10", "multiple of 4"),
        ("members=0", "members"),
        ("hide=1", "hide"),
        ("train_share=0", "train_share"),
        ("networks=", "networks"),
        ("aggregations=", "aggregations"),
        ("plan.precision=bf16-mixed", "precision"),
        ("plan.monitor=speed", "monitor"),
    ],
)
def test_bad_config(cache: Path, assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wikipedia.train(base.override(TINY, [assignment]), log=None)


@pytest.mark.parametrize(
    "change",
    [
        {"features": "embedding"},
        {"links": False, "statistics": False},
        {"networks": ("gnn",), "aggregations": ("sum",), "loss": "l2", "train_share": 0.5},
        {"networks": ("attention",), "watch": True, "residual": False, "query": False},
    ],
    ids=str,
)
def test_variants_run(cache: Path, change: dict[str, object]) -> None:
    config = Config(
        plan=dataclasses.replace(TINY.plan, epochs=2), hidden=8, steps_per_epoch=2, trees=2,
        splits=("random",), members=1, attention_epochs=2, candidates=5,
    )  # fmt: skip
    done = wikipedia.train(dataclasses.replace(config, **change), log=None)  # type: ignore[arg-type]
    trained = [
        name for name in done.config.networks if f"random.{name}.test_mae_ln" in done.metrics
    ]
    assert trained == [*done.config.networks]
    assert all(np.isfinite(value) for value in done.metrics.values())


def test_twin_lookup_by_hand() -> None:
    y = np.array([1.0, 5.0, 3.0, 9.0, 7.0, 99.0])
    group = np.array([0, 0, 1, 2, 0, 1])
    predicted = wikipedia.twin_lookup(y, group, np.array([0, 1, 2]))
    # group 0 knows 1 and 5, group 1 knows 3, group 2 nothing: median of 1, 5, 3
    assert predicted.tolist() == [3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    predicted = wikipedia.twin_lookup(y, group, np.array([0, 3, 2]))
    assert predicted.tolist() == [1.0, 1.0, 3.0, 9.0, 1.0, 3.0]


def test_label_propagation_by_hand() -> None:
    # 0 - 1 - 2 - 3, and 4 alone; 0 and 3 are known
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    a = adjacency(edges, 5)
    y = np.array([0.0, 99.0, 99.0, 3.0, 99.0])
    found = wikipedia.propagate(a, y, np.array([0, 3]), steps=200)
    np.testing.assert_allclose(found, [0, 1, 2, 3, 1.5], atol=1e-9)


def test_no_page_looks_at_its_own_group_in_the_grouped_split(cache: Path) -> None:
    """A training page's own label, and those of its twins, leave its prediction as it is."""
    config = dataclasses.replace(TINY, members=1, attention_epochs=1)
    graph = pages.load()
    inputs = wikipedia.prepare(graph, config)
    split = wikipedia.split_of(graph, "grouped", config, 0)
    found = wikipedia.fit_attention(graph, inputs, split, "grouped", 0, config, seed=0)
    model, y = found.model, torch.zeros(graph.num_nodes)
    known = torch.ones(graph.num_nodes, dtype=torch.bool)
    group = graph.twin_group
    before, _ = wikipedia._look(model, inputs, y, known, group)
    for chosen in group.unique()[:20].tolist():
        after, _ = wikipedia._look(model, inputs, y + 9.0 * (group == chosen), known, group)
        assert torch.equal(after[group == chosen], before[group == chosen])


def test_unseen_traffic_is_the_strictest_view(run: base.Run) -> None:
    graph = run.artefacts["graph"]
    for kind, result in run.artefacts["results"].items():
        known = set(graph.traffic[torch.from_numpy(result.rows)].tolist())
        fresh = [i for i in result.split.test if float(graph.traffic[i]) not in known]
        error = np.abs(result.predictions["ensemble"][fresh] - graph.y.numpy()[fresh]).mean()
        assert run.metrics[f"{kind}.ensemble.test_fresh_mae_ln"] == pytest.approx(error)


def test_graph_statistics_by_networkx(cache: Path) -> None:
    import networkx

    graph = pages.load("squirrel")
    columns = wikipedia.graph_statistics(graph)
    assert columns.shape == (graph.num_nodes, len(wikipedia.STATISTICS))
    reference = networkx.Graph()
    reference.add_nodes_from(range(graph.num_nodes))
    reference.add_edges_from(graph.edge_index.t().tolist())
    nodes = range(graph.num_nodes)
    degree = np.array([reference.degree[v] for v in nodes])
    np.testing.assert_allclose(columns[:, 0], np.log1p(degree))
    around = [np.mean([np.log1p(degree[u]) for u in reference[v]] or [0.0]) for v in nodes]
    np.testing.assert_allclose(columns[:, 1], around)
    clustering = networkx.clustering(reference)
    np.testing.assert_allclose(columns[:, 3], [clustering[v] for v in nodes], atol=1e-12)
    rank = networkx.pagerank(reference, alpha=0.85, tol=1e-12, max_iter=500)
    expected = np.log(graph.num_nodes * np.array([rank[v] for v in nodes]))
    np.testing.assert_allclose(columns[:, 4], expected, atol=1e-3)


def test_measures_by_hand(cache: Path) -> None:
    graph = pages.load()
    perfect = graph.y.numpy().astype(np.float64)
    rows = np.arange(10)
    found = wikipedia.measures(graph, perfect, rows)
    assert found["mae_ln"] == found["group_mae_ln"] == 0
    assert found["r2"] == 1
    assert found["mae_visits"] < 1e-2 * float(graph.traffic[:10].mean())
    worse = wikipedia.measures(graph, perfect + 1, rows)
    assert worse["mae_ln"] == pytest.approx(1)
    assert worse["mae_log10"] == pytest.approx(1 / np.log(10))


def test_measures_against_scikit_learn(cache: Path) -> None:
    from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score

    graph, rng = pages.load(), np.random.default_rng(0)
    predicted = graph.y.numpy() + rng.normal(0, 0.5, graph.num_nodes)
    rows = rng.permutation(graph.num_nodes)[:60]
    found = wikipedia.measures(graph, predicted, rows)
    y, visits = graph.y.numpy()[rows].astype(np.float64), graph.traffic.numpy()[rows]
    p = predicted[rows]
    assert found["r2"] == pytest.approx(r2_score(y, p))
    assert found["mae_ln"] == pytest.approx(mean_absolute_error(y, p))
    assert found["mae_visits"] == pytest.approx(mean_absolute_error(visits, np.expm1(p)))
    assert found["medae_visits"] == pytest.approx(median_absolute_error(visits, np.expm1(p)))


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_equal_visits(cache: Path, error: float, r2: float) -> None:
    """As scikit-learn has it: there is nothing to explain."""
    graph = pages.load()
    level = dataclasses.replace(graph, y=torch.full_like(graph.y, 2.0))
    predicted = np.full(graph.num_nodes, 2.0 + error)
    assert wikipedia.measures(level, predicted, np.arange(5))["r2"] == r2
    nearly = dataclasses.replace(level, y=level.y + 0.001 * torch.arange(graph.num_nodes))
    found = wikipedia.measures(nearly, nearly.y.numpy() + 0.001, np.arange(5))["r2"]
    assert found == pytest.approx(0.5, abs=1e-3)  # 1 - 5 / (4 + 1 + 0 + 1 + 4)


def test_twin_facts(cache: Path) -> None:
    facts = wikipedia.twin_facts(pages.load())
    assert 0.3 < facts["with_twin"] < 0.6  # 120 twins and their 120 originals of 600 pages
    assert facts["equal_traffic"] > 0.9


def test_a_group_of_twins_counts_once(cache: Path) -> None:
    graph = pages.load()
    group = graph.twin_group.numpy()
    twins = np.flatnonzero(group == np.bincount(group).argmax())
    alone = int(np.flatnonzero(np.bincount(group)[group] == 1)[0])
    rows = np.array([*twins, alone])
    predicted = graph.y.numpy().astype(np.float64)
    predicted[twins] += 1
    found = wikipedia.measures(graph, predicted, rows)
    assert found["group_mae_ln"] == pytest.approx(0.5)
    assert found["mae_ln"] == pytest.approx(len(twins) / len(rows))


def test_attention_is_shared_out(run: base.Run) -> None:
    graph, inputs = run.artefacts["graph"], run.artefacts["inputs"]
    shares = {
        kind: wikipedia.attention_shares(graph, inputs, result)
        for kind, result in run.artefacts["results"].items()
    }
    for share in shares.values():
        assert sum(share.values()) == pytest.approx(1, abs=1e-5)
        assert min(share.values()) >= 0
    assert shares["random"]["twins"] > 0
    assert shares["grouped"]["twins"] == 0
