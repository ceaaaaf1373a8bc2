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
from coursework.errors import ConfigError
from coursework.experiments import wikipedia
from coursework.experiments import wikipedia_splits as splits
from coursework.experiments.base import Job, Run
from coursework.experiments.wikipedia import Config
from coursework.experiments.wikipedia_splits import Inputs
from coursework.models.sparse import adjacency
from coursework.report import store
from coursework.stats import summarise

TINY = Config(
    plan=dataclasses.replace(Config.plan, epochs=4, learning_rate=2e-2),
    attention_plan=dataclasses.replace(Config.attention_plan, epochs=6),
    sign_plan=dataclasses.replace(Config.sign_plan, epochs=6), sign_members=2, sign_batch=64,
    hidden=16, steps_per_epoch=8, trees=20, members=2, candidates=5, attention_batch=64,
)  # fmt: skip
BRIEF = dataclasses.replace(
    TINY, plan=dataclasses.replace(TINY.plan, epochs=1), members=1, sign_members=1
)


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
            network = model in (*wikipedia.FULL.networks, *wikipedia.ENSEMBLES.values())
            assert (prefix + "mae_visits" in m) == network  # the main measures only for the rest
    assert run.source.is_standin
    assert run.notes["random.sizes"] == [432, 48, 120]


def test_errors_with_and_without_a_copy(run: Run) -> None:
    """Counted by hand: a test page is fresh if no fitted page has its exact traffic."""
    for kind, task in run.artefacts["tasks"].items():
        test, noted = task.split.test, run.notes[f"{kind}.test"]
        assert noted["rows"] == test.tolist()
        predicted = run.artefacts["fitted"][kind]["ensemble"].predicted
        assert predicted[test] == pytest.approx(noted["ensemble"], abs=1e-3)
        error = np.abs(predicted - task.graph.y.numpy())
        traffic = task.graph.traffic.tolist()
        seen = {traffic[page] for page in task.rows}
        copied = [page for page in test if traffic[page] in seen]
        fresh = [page for page in test if traffic[page] not in seen]
        for rows, key in ((test, "mae_ln"), (fresh, "fresh_mae_ln"), (copied, "copied_mae_ln")):
            found = run.metrics[f"{kind}.ensemble.test_{key}"]
            assert found == pytest.approx(error[rows].mean())
        share = run.metrics[f"{kind}.test_share_with_equal_traffic"]
        assert share == len(copied) / len(test)


def test_it_learns(run: Run) -> None:
    for kind in wikipedia.SPLITS:
        for model in ("gnn", "sign_ensemble", "ensemble"):
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
        BRIEF, networks=("gcn", "gat", "gnn", "sign", "attention"), refit=False, splits=("grouped",)
    )
    first, second, other = (wikipedia.train(job(config, s)).metrics for s in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("kind", wikipedia.SPLITS)
@pytest.mark.parametrize("name", ["gnn", "mlp", "gcn", "gat", "sign", "attention"])
def test_evaluate_reproduces_the_test_metrics(run: Run, cache: Path, kind: str, name: str) -> None:
    folder = f"{name}-0" if name in wikipedia.ENSEMBLES else name
    values = wikipedia.evaluate(cache / "run" / kind / folder / "best.pt")
    assert values == {key: run.metrics[key] for key in values}
    assert len(values) == 6


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
        {
            "networks": ("sign", "gcn"),
            "neighbour_labels": False,
            "shuffled": "links",
            "others": False,
        },
    ],
    ids=str,
)
def test_variants_run(cache: Path, change: dict[str, object]) -> None:
    config = dataclasses.replace(BRIEF, splits=("random",), trees=2, **change)  # type: ignore[arg-type]
    done = wikipedia.train(job(config))
    assert all(f"random.{name}.test_mae_ln" in done.metrics for name in config.networks)
    assert all(np.isfinite(value) for value in done.metrics.values())


def test_members_and_seeds_differ(run: Run, graph: pages.WikipediaGraph) -> None:
    for fitted in run.artefacts["fitted"].values():
        assert not np.array_equal(fitted["ensemble"].predicted, fitted["attention"].predicted)
    one, other = (wikipedia.task_of(Inputs(graph), "random", BRIEF, seed) for seed in (1, 2))
    assert set(one.split.test) != set(other.split.test)


def test_statistics_are_those_of_the_fitted_pages(run: Run) -> None:
    for task in run.artefacts["tasks"].values():
        for columns in (task.statistics[task.rows], task.target[task.rows]):
            assert columns.mean(0).abs().max() < 1e-4
            assert (columns.std(0, correction=0) - 1).abs().max() < 1e-4


def test_a_page_of_a_group_of_four_has_half_the_weight(graph: pages.WikipediaGraph) -> None:
    task = wikipedia.task_of(Inputs(graph, 5), "strict", BRIEF, 0)
    assert task.groups is not None
    size = torch.bincount(task.groups)[task.groups]
    torch.testing.assert_close(
        task.weights * size.sqrt(), task.weights[0] * size[0].sqrt() * torch.ones(600)
    )
    assert float(task.weights[task.rows].mean()) == pytest.approx(1)
    assert bool((wikipedia.task_of(Inputs(graph, 5), "random", BRIEF, 0).weights == 1).all())


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


def test_measures_by_hand(graph: pages.WikipediaGraph) -> None:
    perfect, rows = graph.y.numpy().astype(np.float64), np.arange(10)
    found = splits.measures(graph, perfect, rows)
    assert found["mae_ln"] == found["group_mae_ln"] == 0
    assert found["r2"] == 1
    worse = splits.measures(graph, perfect + 1, rows)
    assert worse["mae_ln"] == pytest.approx(1)
    assert worse["mae_log10"] == pytest.approx(1 / np.log(10))
    visits = graph.traffic.numpy()[:10]
    off = np.abs(np.expm1(perfect[:10] + 1) - visits)
    assert worse["mae_visits"] == pytest.approx(off.mean())
    assert worse["medae_visits"] == pytest.approx(np.median(off))
    apart = ((visits := np.log1p(visits)) - visits.mean()) ** 2
    assert worse["r2"] == pytest.approx(1 - 10 / apart.sum(), abs=1e-4)


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


# ------------------------------------------------------------------------------ splits without copies


def planted(graph: pages.WikipediaGraph) -> pages.WikipediaGraph:
    """Pages 0 to 9 are linked with the ten from 100 on, page i but for the first i of them; from 110 on
    the pages form a ring. Three pages have the same traffic."""
    n = graph.num_nodes
    links = [(page, other) for page in range(10) for other in range(100 + page, 110)]
    links += [(page, page + 1 if page + 1 < n else 110) for page in range(110, n)]
    edges = torch.tensor([*links, *((b, a) for a, b in links)]).t()
    order = torch.argsort(edges[0] * graph.num_nodes + edges[1])
    traffic = torch.arange(graph.num_nodes, dtype=torch.float64)
    traffic[[5, 200, 300]] = 7777.0
    groups = torch.from_numpy(pages.twin_groups(edges[:, order].numpy(), graph.num_nodes))
    return dataclasses.replace(
        graph, edge_index=edges[:, order], traffic=traffic, twin_group=groups
    )


@pytest.mark.parametrize(("alike", "last"), [(1.0, 0), (0.9, 1), (0.8, 6), (0.7, 7)])
def test_groups_of_planted_copies(graph: pages.WikipediaGraph, alike: float, last: int) -> None:
    """Pages i and i + 1 share 9 - i of 10 - i links: a chain up to where that is too few."""
    inputs = Inputs(planted(graph), alike=alike)
    near = inputs.near
    assert (near != near.T).nnz == 0
    assert not near.diagonal().any()
    assert all(near[i, i + 1] == (9 - i >= alike * (10 - i) and i < 7) for i in range(9))
    group = inputs.groups("strict")
    assert group is not None
    assert len({int(group[i]) for i in range(last + 1)}) == 1
    assert group[last + 1] != group[0]
    assert group[5] == group[200] == group[300] != group[201]  # by traffic
    assert group[20] == group[21] != group[0]  # by equal sets: no links


def test_a_group_larger_than_the_validation_part_trains() -> None:
    groups = torch.arange(1000)
    groups[:300] = 0
    for seed in range(5):
        split = splits.split_of(1000, groups, seed)
        assert np.isin(np.arange(300), split.train).all()
        assert sorted(np.concatenate([split.train, split.validation, split.test])) == [*range(1000)]
        assert split.sizes == (720, 80, 200)
        half = splits.split_of(1000, groups, seed, 0.5)
        assert np.array_equal(half.train, split.train[:360])
    small = torch.arange(1000) // 50
    assert splits.split_of(1000, small, 1).sizes == pages.split_grouped(small, 1).sizes


def no_copies(graph: pages.WikipediaGraph, seeds: range, alike: float = 0.8) -> None:
    """Of no strict split has a test or validation page a copy in training; counted by hand."""
    inputs = Inputs(graph, alike=alike)
    links = [set(row) for row in np.split(inputs.near.indices, inputs.near.indptr[1:-1])]
    for seed in seeds:
        task = wikipedia.task_of(inputs, "strict", wikipedia.FULL, seed)
        assert len(task.split.test) == pytest.approx(0.2 * graph.num_nodes, rel=0.05)
        for known, asked in (
            (task.rows, task.split.test),
            (task.split.train, task.split.validation),
        ):
            for key in (graph.traffic, graph.twin_group):
                assert not set(key[known].tolist()) & set(key[asked].tolist())
            assert not set(known.tolist()) & set().union(*(links[page] for page in asked))


def test_strict_split_has_no_copies(graph: pages.WikipediaGraph) -> None:
    no_copies(planted(graph), range(4), 0.7)
    no_copies(graph, range(4))


@pytest.mark.real_data
@pytest.mark.parametrize("name", pages.NAMES)
def test_strict_split_of_the_real_files_has_no_copies(name: pages.Name) -> None:
    no_copies(pages.load(name), range(3))


# ---------------------------------------------------------------------------------- what the text says


@pytest.mark.parametrize("name", ["full", "squirrel", "crocodile"])
def test_sentences_about_copies_are_those_of_the_records(name: str) -> None:
    record = store.read(f"wikipedia-{name}")["metrics"]
    ending = "" if name == "full" else f"-{name}"
    shares = store.read(f"wikipedia-baselines{ending}")["metrics"]

    def share(kind: str) -> float:
        return float(shares[f"{kind}.test_share_with_equal_traffic"]["mean"])

    assert share("random") > 0.8  # "more than four fifths"
    assert 0.65 < share("grouped") < 0.81  # "two thirds to four fifths"
    assert share("strict") == 0
    for kind in wikipedia.SPLITS:
        for part, better in (("mae_ln", "ensemble"), ("fresh_mae_ln", "boosting")):
            errors = (record[f"{kind}.{m}.test_{part}"]["values"] for m in ("ensemble", "boosting"))
            difference = summarise([a - b for a, b in zip(*errors, strict=True)])
            assert (difference["high"] < 0) == (better == "ensemble")
            assert (difference["low"] > 0) == (better == "boosting")

    def error(model: str, part: str = "mae_ln") -> float:
        return float(record[f"random.{model}.test_{part}"]["mean"])

    assert 2 * error("ensemble") < min(error("median"), error("twin"))
    assert error("ensemble", "fresh_mae_ln") > 2.8 * error(
        "ensemble"
    )  # "about three times or more"


@pytest.mark.parametrize("ending", ["", "-squirrel", "-crocodile"])
def test_the_propagation_network_is_not_shown_to_be_better_than_boosting(ending: str) -> None:
    records = (store.read(f"wikipedia-{name}{ending}") for name in ("sign", "baselines"))
    network, boosting = (
        record["metrics"][f"strict.{model}.test_mae_ln"]["values"]
        for record, model in zip(records, ("sign_ensemble", "boosting"), strict=True)
    )
    difference = summarise([a - b for a, b in zip(network, boosting, strict=True)])
    assert difference["mean"] > 0
    assert (difference["low"] > 0) == (ending == "-crocodile")
