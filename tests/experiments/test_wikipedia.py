"""The traffic experiment on stand-in pages: it learns, repeats, resumes, and does not look at the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import coursework  # noqa: F401
from coursework.config import as_record, override
from coursework.data import wikipedia as pages
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import wikipedia
from coursework.experiments import wikipedia_splits as splits
from coursework.experiments.base import Job, Run
from coursework.experiments.wikipedia import Config
from coursework.experiments.wikipedia_splits import Inputs
from coursework.models.sparse import adjacency
from coursework.training import engine

TINY = Config(
    plan=dataclasses.replace(Config.plan, epochs=4, learning_rate=2e-2),
    attention_plan=dataclasses.replace(Config.attention_plan, epochs=6),
    hidden=16, steps_per_epoch=8, trees=20, members=2, candidates=5, attention_batch=64,
)  # fmt: skip
BRIEF = dataclasses.replace(TINY, plan=dataclasses.replace(TINY.plan, epochs=1), members=1)


def job(config: Config, seed: int = 0, **options: object) -> Job:
    return Job("wikipedia", config, "tiny", seed, log=None, **options)  # type: ignore[arg-type]


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
def run(cache: Path) -> Run:
    return wikipedia.train(job(TINY, 1, folder=cache / "run"))


@pytest.fixture(scope="module")
def graph(cache: Path) -> pages.WikipediaGraph:
    return pages.load()


def test_every_model_is_tested_on_every_split(run: Run) -> None:
    m = run.metrics
    for kind in wikipedia.SPLITS:
        assert run.artefacts["fitted"][kind].keys() == wikipedia.MODELS.keys()
        for model in wikipedia.MODELS:
            prefix = f"{kind}.{model}.test_"
            assert m[prefix + "mae_ln"] == pytest.approx(m[prefix + "mae_log10"] * np.log(10))
            network = model in ("mlp", "gcn", "gat", "gnn", "attention", "ensemble")
            assert (prefix + "mae_visits" in m) == network  # the main measures only for the rest
        test = run.artefacts["tasks"][kind].split.test
        noted = run.notes[f"{kind}.test"]
        assert noted["rows"] == test.tolist()
        error = np.abs(
            np.array(noted["ensemble"]) - run.artefacts["tasks"][kind].graph.y.numpy()[test]
        )
        assert error.mean() == pytest.approx(m[f"{kind}.ensemble.test_mae_ln"], abs=1e-3)
    assert run.source.is_standin
    assert run.notes["random.sizes"] == [432, 48, 120]


def test_it_learns(run: Run) -> None:
    for kind in wikipedia.SPLITS:
        for model in ("gnn", "ensemble"):
            error = run.metrics[f"{kind}.{model}.test_mae_ln"]
            assert error < 0.9 * run.metrics[f"{kind}.median.test_mae_ln"]
        assert run.metrics[f"{kind}.gnn.test_r2"] > 0.2
        curve = run.curves[f"{kind}.gnn"]
        assert len(curve) == 4
        assert curve[-1]["train_mae_ln"] < curve[0]["train_mae_ln"]


def test_grouped_split_keeps_twins_together(run: Run) -> None:
    """Twins cross the random split and make the lookup good; across the grouped one there are none."""
    m = run.metrics
    assert m["random.test_share_with_twin"] > 0.1
    assert m["grouped.test_share_with_twin"] == 0
    assert m["random.twin.test_mae_ln"] < m["random.median.test_mae_ln"]
    assert m["grouped.twin.test_mae_ln"] == m["grouped.median.test_mae_ln"]


def test_parts_are_disjoint_and_eighty_twenty(run: Run) -> None:
    for kind, task in run.artefacts["tasks"].items():
        group, split, n = task.graph.twin_group.numpy(), task.split, task.graph.num_nodes
        assert sorted(np.concatenate([split.train, split.validation, split.test])) == [*range(n)]
        assert len(split.test) == pytest.approx(0.2 * n, rel=0.05)
        if kind == "grouped":
            assert not set(group[split.train]) & set(group[split.validation])


@pytest.mark.parametrize("kind", ["random", "grouped", "strict"])
@pytest.mark.parametrize("part", ["test", "train"])
def test_predictions_do_not_depend_on_test_targets(
    graph: pages.WikipediaGraph, kind: splits.SplitKind, part: str
) -> None:
    """Every target of a test page is replaced, and every prediction stays the same, bit for bit.

    With other targets of training pages all of them change.
    """
    task = wikipedia.task_of(Inputs(graph, 5), kind, BRIEF, 3)
    rows = torch.from_numpy(getattr(task.split, part))
    y, traffic = graph.y.clone(), graph.traffic.clone()
    y[rows], traffic[rows] = (100.0, 1e9) if part == "test" else (y[rows] + 1, traffic[rows])
    changed = dataclasses.replace(graph, y=y, traffic=traffic)
    other = dataclasses.replace(task, inputs=Inputs(changed, 5))  # the same split
    if kind != "strict":  # whose groups are made from targets
        again = wikipedia.task_of(other.inputs, kind, BRIEF, 3).split
        assert np.array_equal(again.test, task.split.test)
    first, second = (wikipedia.fit_all(job(BRIEF, 3), one) for one in (task, other))
    for model in wikipedia.MODELS:
        same = np.array_equal(first[model].predicted, second[model].predicted)
        assert same == (part == "test"), model


def test_the_seed_decides(cache: Path) -> None:
    config = dataclasses.replace(
        BRIEF, networks=("gcn", "gat", "gnn", "attention"), refit=False, splits=("grouped",)
    )
    first, second, other = (wikipedia.train(job(config, s)).metrics for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_resumed_run_ends_in_the_same_weights(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        wikipedia.train(job(TINY, 1, folder=tmp_path))
    monkeypatch.setattr(engine, "fit", real_fit)
    resumed = wikipedia.train(job(TINY, 1, folder=tmp_path, resume=True))
    assert resumed.metrics == run.metrics
    for kind, fitted in run.artefacts["fitted"].items():
        for name, model in fitted.items():
            other = resumed.artefacts["fitted"][kind][name]
            assert np.array_equal(model.predicted, other.predicted), (kind, name)


@pytest.mark.parametrize("kind", wikipedia.SPLITS)
@pytest.mark.parametrize("name", ["gnn", "mlp", "gcn", "gat", "attention"])
def test_evaluate_reproduces_the_test_metrics(run: Run, cache: Path, kind: str, name: str) -> None:
    folder = "attention-0" if name == "attention" else name
    values = wikipedia.evaluate(cache / "run" / kind / folder / "best.pt")
    assert values == {key: run.metrics[key] for key in values}
    assert len(values) == 6


def test_checkpoint_of_something_else_is_refused(run: Run, cache: Path) -> None:
    with pytest.raises(TrainingError, match="does not fit this version"):
        wikipedia.evaluate(cache / "run" / "random" / "gnn" / "last.pt")
    with pytest.raises(TrainingError, match="no checkpoint"):
        wikipedia.evaluate(cache / "nothing.pt")


def test_config_survives_its_record() -> None:
    for config in wikipedia.PRESETS.values():
        assert Config(**as_record(config)) == config
    assert {"full", "quick", "squirrel", "crocodile"} <= wikipedia.PRESETS.keys()


@pytest.mark.parametrize(
    "assignment",
    [
        "splits=sideways", "splits=", "graph=salamander", "dropout=1.0", "hidden=0", "hidden=10",
        "members=0", "hide=1", "train_share=0", "alike=0", "aggregations=", "plan.epochs=0",
        "plan.precision=bf16-mixed",
    ],
)  # fmt: skip
def test_bad_config(assignment: str) -> None:
    with pytest.raises(ConfigError, match=assignment.partition("=")[0]):
        override(TINY, [assignment])


@pytest.mark.parametrize(
    "change",
    [
        {"networks": ("gnn",), "links": False, "statistics": False},
        {"networks": ("gnn",), "aggregations": ("sum",), "loss": "l2", "train_share": 0.5},
        {"networks": ("attention",), "residual": False, "query": False},
    ],
    ids=str,
)
def test_variants_run(cache: Path, change: dict[str, object]) -> None:
    config = dataclasses.replace(BRIEF, splits=("random",), trees=2, **change)  # type: ignore[arg-type]
    done = wikipedia.train(job(config))
    assert all(f"random.{name}.test_mae_ln" in done.metrics for name in config.networks)
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
    a = adjacency(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), 5)
    y = np.array([0.0, 99.0, 99.0, 3.0, 99.0])
    found = wikipedia.propagate(a, y, np.array([0, 3]), steps=200)
    np.testing.assert_allclose(found, [0, 1, 2, 3, 1.5], atol=1e-9)


def test_no_page_looks_at_its_own_group_in_the_grouped_split(graph: pages.WikipediaGraph) -> None:
    """A training page's own label, and those of its twins, leave its prediction as it is."""
    task = wikipedia.task_of(Inputs(graph, 5), "grouped", BRIEF, 0)
    model = wikipedia.fit_network(job(BRIEF), task, "attention").model
    given = wikipedia.inputs_of("attention", task, BRIEF)
    y, known, group = (
        torch.zeros(graph.num_nodes),
        torch.ones(graph.num_nodes) > 0,
        graph.twin_group,
    )
    before, _ = wikipedia.look(model, given, y, known)
    for chosen in group.unique()[:20].tolist():
        after, _ = wikipedia.look(model, given, y + 9.0 * (group == chosen), known)
        assert torch.equal(after[group == chosen], before[group == chosen])


def test_unseen_traffic_is_the_strictest_view(run: Run) -> None:
    for kind, task in run.artefacts["tasks"].items():
        y, traffic = task.graph.y.numpy(), task.graph.traffic.numpy()
        fresh = [i for i in task.split.test if traffic[i] not in set(traffic[task.rows])]
        predicted = run.artefacts["fitted"][kind]["ensemble"].predicted
        error = np.abs(predicted[fresh] - y[fresh]).mean()
        assert run.metrics[f"{kind}.ensemble.test_fresh_mae_ln"] == pytest.approx(error)


def test_measures_by_hand(graph: pages.WikipediaGraph) -> None:
    perfect, rows = graph.y.numpy().astype(np.float64), np.arange(10)
    found = splits.measures(graph, perfect, rows)
    assert found["mae_ln"] == found["group_mae_ln"] == 0
    assert found["r2"] == 1
    assert found["mae_visits"] < 1e-2 * float(graph.traffic[:10].mean())
    worse = splits.measures(graph, perfect + 1, rows)
    assert worse["mae_ln"] == pytest.approx(1)
    assert worse["mae_log10"] == pytest.approx(1 / np.log(10))


def test_measures_against_scikit_learn(graph: pages.WikipediaGraph) -> None:
    from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score

    rng = np.random.default_rng(0)
    predicted = graph.y.numpy() + rng.normal(0, 0.5, graph.num_nodes)
    rows = rng.permutation(graph.num_nodes)[:60]
    found = splits.measures(graph, predicted, rows)
    y, visits = graph.y.numpy()[rows].astype(np.float64), graph.traffic.numpy()[rows]
    p = predicted[rows]
    assert found["r2"] == pytest.approx(r2_score(y, p))
    assert found["mae_ln"] == pytest.approx(mean_absolute_error(y, p))
    assert found["mae_visits"] == pytest.approx(mean_absolute_error(visits, np.expm1(p)))
    assert found["medae_visits"] == pytest.approx(median_absolute_error(visits, np.expm1(p)))


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_equal_visits(graph: pages.WikipediaGraph, error: float, r2: float) -> None:
    """As scikit-learn has it: there is nothing to explain."""
    level = dataclasses.replace(graph, y=torch.full_like(graph.y, 2.0))
    predicted = np.full(graph.num_nodes, 2.0 + error)
    assert splits.measures(level, predicted, np.arange(5))["r2"] == r2
    nearly = dataclasses.replace(level, y=level.y + 0.001 * torch.arange(graph.num_nodes))
    found = splits.measures(nearly, nearly.y.numpy() + 0.001, np.arange(5))["r2"]
    assert found == pytest.approx(0.5, abs=1e-3)  # 1 - 5 / (4 + 1 + 0 + 1 + 4)


def test_a_group_of_twins_counts_once(graph: pages.WikipediaGraph) -> None:
    size, group = np.bincount(graph.twin_group), graph.twin_group.numpy()
    twins = np.flatnonzero(group == size.argmax())
    rows = np.array([*twins, int(np.flatnonzero(size[group] == 1)[0])])
    predicted = graph.y.numpy().astype(np.float64)
    predicted[twins] += 1
    found = splits.measures(graph, predicted, rows)
    assert found["group_mae_ln"] == pytest.approx(0.5)
    assert found["mae_ln"] == pytest.approx(len(twins) / len(rows))


def test_attention_is_shared_out(run: Run) -> None:
    shares = {
        kind: wikipedia.attention_shares(task, run.artefacts["fitted"][kind]["attention"].model)
        for kind, task in run.artefacts["tasks"].items()
    }
    for share in shares.values():
        assert sum(share.values()) == pytest.approx(1, abs=1e-5)
        assert min(share.values()) >= 0
    assert shares["random"]["twins"] > 0
    assert shares["grouped"]["twins"] == 0
