"""GCN and GAT on a citation graph: the protocols, resuming, checkpoints, and no leak from the test nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coursework.data import planetoid
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import base, cora
from coursework.experiments.cora_models import GCNConfig, class_weights
from coursework.report import store
from coursework.training import engine

pytestmark = pytest.mark.usefixtures("standin")

TINY = base.override(cora.Config(), ["gcn.plan.epochs=60", "gat.plan.epochs=60"])
VALIDATED = ["train_nodes=40", "validation_nodes=30"]
SHORT = base.override(cora.Config(), ["gcn.plan.epochs=6", "gat.plan.epochs=6"])


def train(config: cora.Config, **options: Any) -> base.Run:
    return cora.train(base.Job("cora", config, **{"log": None, **options}))


def without_times(run: base.Run) -> dict[str, float]:
    return {key: value for key, value in run.metrics.items() if "seconds" not in key}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[base.Run]:
    """One run on the stand-in for all tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train(TINY, seed=0)


# --------------------------------------------------------------------------------------------- learning


def test_both_models_learn(run: base.Run) -> None:
    labels = run.artefacts["inputs"].y[torch.from_numpy(run.artefacts["split"].test)]
    largest_class = float(labels.bincount().max()) / len(labels)
    assert run.metrics["gcn.test_accuracy"] > 2 * largest_class
    assert run.metrics["gat.test_accuracy"] > 2 * largest_class
    assert run.metrics["difference.test_accuracy"] == pytest.approx(
        run.metrics["gat.test_accuracy"] - run.metrics["gcn.test_accuracy"]
    )
    assert run.source.is_standin


def test_last_epoch_is_reported_although_an_earlier_one_was_better(run: base.Run) -> None:
    for name in ("gcn", "gat"):
        fit = run.artefacts["fits"][name]
        assert fit.best_epoch == 60 == len(fit.history)
        assert run.metrics[f"{name}.test_accuracy"] == fit.history[-1]["validation_accuracy"]
        assert run.metrics[f"{name}.test_loss"] == fit.history[-1]["validation_loss"]


def test_same_seed_same_run_other_seed_other_split(run: base.Run) -> None:
    assert without_times(train(TINY, seed=0)) == without_times(run)
    other = cora.split_nodes(run.artefacts["graph"], TINY, seed=1)
    assert set(other.train) != set(run.artefacts["split"].train)


def test_long_training_starts_as_the_short_one() -> None:
    config = replace(SHORT, epochs_long=12, models=("gcn",))
    run = train(config, seed=3)
    short, long = (run.artefacts["fits"][name].history for name in ("gcn", "gcn.long"))
    assert len(short) == 6
    assert len(long) == 12
    assert [row["train_loss"] for row in short] == [row["train_loss"] for row in long[:6]]
    assert run.metrics["gcn.long.test_accuracy"] == long[-1]["validation_accuracy"]


def test_watching_less_often_changes_nothing() -> None:
    config = base.override(SHORT, ["gat.plan.epochs=14", "models=gat"])
    every, fifth = (train(replace(config, watch=n), seed=0) for n in (1, 5))
    assert without_times(every) == without_times(fifth)
    watched = [
        int(r["epoch"]) for r in fifth.artefacts["fits"]["gat"].history if "validation_loss" in r
    ]
    assert watched == list(range(5, 15))


# --------------------------------------------------------------------------------------------- protocols


def test_random140_tests_on_everything_else() -> None:
    graph = planetoid.load("Cora")
    split = cora.split_nodes(graph, cora.Config(), seed=0)
    assert split.sizes == (140, 0, len(graph.y) - 140)
    together = np.concatenate([split.train, split.test])
    assert np.array_equal(np.sort(together), np.arange(len(graph.y)))


def test_validation_nodes_are_taken_from_the_test_nodes() -> None:
    graph = planetoid.load("Cora")
    config = cora.Config(train_nodes=40)
    without = cora.split_nodes(graph, config, 3)
    split = cora.split_nodes(graph, base.override(config, VALIDATED), seed=3)
    assert split.sizes == (40, 30, len(graph.y) - 70)
    assert np.array_equal(split.train, without.train)
    assert np.array_equal(np.concatenate([split.validation, split.test]), without.test)


@pytest.mark.parametrize("protocol", [VALIDATED, ["protocol=planetoid", "gcn.input_dropout=0.3"]])
def test_validation_stops_the_training_and_the_test_nodes_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, protocol: list[str]
) -> None:
    plan = engine.Plan(
        epochs=40, learning_rate=0.05, optimizer="adam", patience=3, monitor="validation_loss"
    )
    config = cora.Config(protocol="planetoid", models=("gcn",), gcn=GCNConfig(plan=plan))
    config = base.override(config, ["protocol=random140", *protocol])
    test_nodes = cora.split_nodes(planetoid.load("Cora"), config, seed=3).test
    looks = []
    score = cora.score

    def spy(model, structure, inputs, nodes):  # type: ignore[no-untyped-def]
        looks.append(bool(np.isin(nodes, test_nodes).any()))
        return score(model, structure, inputs, nodes)

    monkeypatch.setattr(cora, "score", spy)
    run = train(config, seed=3)
    history = run.artefacts["fits"]["gcn"].history
    best = min(history, key=lambda row: row["validation_loss"])
    assert run.metrics["gcn.best_epoch"] == best["epoch"]
    assert run.metrics["gcn.validation_accuracy"] == best["validation_accuracy"]
    assert looks == [False] * len(history) + [True]


# ------------------------------------------------------------------------------------------- checkpoints


class Killed(Exception):
    pass


def test_killed_and_resumed_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = base.override(SHORT, ["gcn.plan.epochs=10", "gat.plan.epochs=10"])
    straight = train(config, seed=5)

    def kill_in_the_gat(line: str) -> None:
        if line.startswith("gat") and "0006" in line:
            raise Killed

    with pytest.raises(Killed):
        train(config, seed=5, folder=tmp_path, log=kill_in_the_gat)
    lines: list[str] = []
    resumed = train(config, seed=5, folder=tmp_path, resume=True, log=lines.append)
    assert any("resumed" in line for line in lines)
    assert without_times(resumed) == without_times(straight)
    for name in ("gcn", "gat"):
        one, other = (r.artefacts["models"][name].state_dict() for r in (straight, resumed))
        assert all(torch.equal(one[key], other[key]) for key in one)
    changed = base.override(config, ["gcn.dropout=0.1"])
    with pytest.raises(TrainingError, match="another run"):
        train(changed, seed=5, folder=tmp_path, resume=True)


def test_evaluate_reproduces_the_run(tmp_path: Path) -> None:
    run = train(replace(SHORT, epochs_long=8), seed=2, folder=tmp_path)
    found = cora.evaluate(tmp_path)
    assert set(found) == {k for k in run.metrics if k.split(".")[-1] in ("test_accuracy", "test_loss")
                          and not k.startswith("difference")}  # fmt: skip
    assert all(value == run.metrics[key] for key, value in found.items())
    only = cora.evaluate(tmp_path / "gat" / "best.pt")
    assert only["gat.test_accuracy"] == run.metrics["gat.test_accuracy"]


def test_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    bundle = {"experiment": "cora", "config": {"dataset": "Cora", "hidden": 3}}
    torch.save({"model": {}, "bundle": bundle}, tmp_path / "a.pt")
    with pytest.raises(TrainingError, match="does not fit this version of the cora experiment"):
        cora.evaluate(tmp_path / "a.pt")
    with pytest.raises(TrainingError, match="no checkpoint"):
        cora.evaluate(tmp_path / "missing.pt")


# -------------------------------------------------------------------------------------------- bad configs


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("models=gcn,mlp", "models.1 is 'mlp'; it should be 'gcn', 'gcn_glorot', "),
        ("models=", "models is "),
        ("models=gcn,gcn", "one twice"),
        ("train_nodes=0", "train_nodes is '0'"),
        ("gcn.dropout=1", "gcn.dropout is '1'"),
        ("gat.heads=3", "not a multiple of gat.heads, 3"),
        ("grand.temperature=0", "grand.temperature is '0'"),
        ("gcn.nonsense=1", "There is no key 'gcn.nonsense'"),
        ("gcn.plan.monitor=validation_accuracy", "no validation nodes"),
        ("protocol=planetoid,validation_nodes=5", "belongs to random140"),
        ("protocol=planetoid,watch=2", "for random140"),
        ("validation_nodes=5,epochs_long=9", "for random140"),
    ],
)
def test_bad_values_are_named(assignment: str, message: str) -> None:
    changes = [assignment] if assignment.startswith("models") else assignment.split(",")
    with pytest.raises(ConfigError, match=re.escape(message)):
        base.override(cora.Config(), changes)


def test_more_training_nodes_than_nodes() -> None:
    with pytest.raises(ConfigError, match="the graph has"):
        train(replace(SHORT, train_nodes=10**6))


@pytest.mark.parametrize("label", [-1, 7])
def test_classes_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    graph = planetoid.load("Cora")
    y = graph.y.clone()
    y[3] = label
    monkeypatch.setattr(planetoid, "load", lambda _: replace(graph, y=y, num_classes=7))
    with pytest.raises(DataError, match="should have 0 to 6"):
        train(SHORT)


# ------------------------------------------------------------------------------------------ what is shown


def test_lines_have_the_format_of_the_assignment(run: base.Run) -> None:
    lines = cora.training_log(run, "gcn").splitlines()
    assert len(lines) == 13
    number = r"\d+\.\d{4}"
    pattern = (
        rf"Epoch: 00\d\d loss_train: {number} acc_train: {number} "
        rf"loss_val: {number} acc_val: {number} time: {number}s"
    )
    assert all(re.fullmatch(pattern, line) for line in lines[:10])
    assert lines[0].startswith("Epoch: 0051")
    assert lines[10] == "Optimization Finished!"
    assert re.fullmatch(rf"Test set results: loss= {number} accuracy= {number}", lines[12])


def test_run_can_be_recorded() -> None:
    config = replace(
        SHORT,
        epochs_long=12,
        models=("gcn", "gat", "uniform"),
        long_models=("gcn", "gat", "uniform"),
    )
    runs = cora.paired(base.Job("cora", replace(SHORT, splits=3), seed=7, log=None))
    assert [r.seed for r in runs] == [7, 8, 9]
    assert len({tuple(r.artefacts["split"].train) for r in runs}) == 3
    both = [train(config, seed=seed) for seed in (0, 1)]
    record = store.make_record("cora-test", both)
    gat, uniform, gain = (
        np.array(record["metrics"][f"{name}.test_accuracy"]["values"])
        for name in ("gat", "uniform", "attention")
    )
    assert gain == pytest.approx(gat - uniform)
    low, high, _ = both[0].notes["intervals"]["attention.test_accuracy"]
    assert low <= gain[0] <= high


def test_words_are_row_normalised_and_empty_rows_stay_empty() -> None:
    graph = planetoid.load("Cora")
    x = graph.x.clone()
    x[3] = 0
    inputs = cora.prepare(replace(graph, x=x))
    sums = inputs.x.to_dense().sum(dim=1)
    assert sums[3] == 0
    assert torch.allclose(sums[torch.arange(len(sums)) != 3], torch.ones(len(sums) - 1))
    mask = torch.zeros(len(inputs.y), len(inputs.y), dtype=torch.bool)
    mask[inputs.edge_index[1], inputs.edge_index[0]] = True
    assert torch.equal(inputs.adj.to_dense() != 0, mask)


def weights_of_edges(run: base.Run, name: str) -> torch.Tensor:
    """Attention weights of the first layer: `[E, K]`."""
    layer, inputs = run.artefacts["models"][name].layer1, run.artefacts["inputs"]
    with torch.no_grad():
        return layer.edge_attention(layer.transform(inputs.x), inputs.edge_index)


def test_control_weighs_all_neighbours_the_same(run: base.Run) -> None:
    control = train(replace(SHORT, models=("uniform",)), seed=0)
    target = control.artefacts["inputs"].edge_index[1]
    even = (1 / target.bincount().float())[target].unsqueeze(1)  # [E, 1]
    weights = weights_of_edges(control, "uniform")
    assert torch.allclose(weights, even.expand_as(weights))
    assert float((weights_of_edges(run, "gat") - even).abs().max()) > 1e-3


def test_control_changes_one_thing_at_a_time() -> None:
    config, inputs = cora.Config(), cora.prepare(planetoid.load("Cora"))
    built = {}
    for name in ("gcn", "gcn_glorot", "gcn_elu", "gcn_both", "gat", "gat_linear"):
        torch.manual_seed(0)
        built[name] = cora.build(name, config, inputs)  # type: ignore[arg-type]
    for name, network in built.items():
        if not name.startswith("gcn"):
            continue
        glorot, elu = name in ("gcn_glorot", "gcn_both"), name in ("gcn_elu", "gcn_both")
        assert isinstance(network.relu, torch.nn.ELU if elu else torch.nn.ReLU)
        for key, plain in built["gcn"].state_dict().items():
            assert torch.equal(network.state_dict()[key], plain) != (glorot and "weight" in key)
    words, width = inputs.x.shape[1], 16
    for name, bound in (("gat", (6 / (words + width)) ** 0.5), ("gat_linear", words**-0.5)):
        largest = float(built[name].layer1.W.weight.detach().abs().max())
        assert 0.9 * bound < largest <= bound


def test_gcnii_learns_with_two_weight_decays_and_is_evaluated(tmp_path: Path) -> None:
    config = base.override(cora.PRESETS["gcnii"], ["gcnii.layers=4", "gcnii.plan.epochs=30"])
    run = train(config, seed=0, folder=tmp_path)
    labels = run.artefacts["inputs"].y[torch.from_numpy(run.artefacts["split"].test)]
    assert run.metrics["gcnii.test_accuracy"] > 2 * float(labels.bincount().max()) / len(labels)
    assert cora.evaluate(tmp_path)["gcnii.test_accuracy"] == run.metrics["gcnii.test_accuracy"]
    network = run.artefacts["models"]["gcnii"]
    first, rest = cora.MODELS["gcnii"].parameters(config.gcnii, network)
    assert first["weight_decay"] == 0.01
    assert len(first["params"]) + len(rest["params"]) == len(list(network.parameters()))


# ------------------------------------------------------------------------------------------------ GRAND


def test_grand_learns_and_is_resumed_to_the_same_result(tmp_path: Path) -> None:
    config = base.override(cora.Config(), ["models=gcn,grand", "grand.plan.epochs=60"])
    whole = train(config, seed=0)
    labels = whole.artefacts["inputs"].y[torch.from_numpy(whole.artefacts["split"].test)]
    largest_class = float(labels.bincount().max()) / len(labels)
    assert whole.metrics["grand.test_accuracy"] > 2 * largest_class
    cut = base.override(config, ["grand.plan.epochs=30"])
    assert train(cut, seed=0).metrics["gcn.test_accuracy"] == pytest.approx(
        whole.metrics["gcn.test_accuracy"]  # the other model does not notice
    )
    train(config, seed=0, folder=tmp_path)
    values = cora.evaluate(tmp_path / "grand" / "best.pt")
    assert values["grand.test_accuracy"] == whole.metrics["grand.test_accuracy"]


def test_grand_sees_no_label_of_a_test_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consistency loss reads all nodes, but not their classes."""
    config = base.override(cora.Config(), ["models=grand", "grand.plan.epochs=4"])
    first = train(config, seed=0)
    real = planetoid.load
    test = torch.from_numpy(first.artefacts["split"].test)

    def other_labels(name: str) -> planetoid.CitationGraph:
        graph = real(name)  # type: ignore[arg-type]
        y = graph.y.clone()
        y[test] = (y[test] + 1) % graph.num_classes
        return replace(graph, y=y)

    monkeypatch.setattr(planetoid, "load", other_labels)
    second = train(config, seed=0)
    weights = (run.artefacts["models"]["grand"].state_dict() for run in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_rare_classes_are_weighed_up_and_the_whole_is_not() -> None:
    y = torch.tensor([0, 0, 0, 0, 1, 1, 3])
    assert class_weights(y, 4, 0.0) is None
    for balance in (0.5, 1.0):
        weight = class_weights(y, 4, balance)
        assert weight is not None
        assert float(weight[y].mean()) == pytest.approx(1)
        assert float(weight[3] / weight[0]) == pytest.approx(4**balance)
        assert float(weight[2]) == pytest.approx(float(weight[3]))  # no node: as if there were one
    fair = class_weights(torch.tensor([0, 1, 2]), 3, 1.0)
    assert fair is not None
    assert fair.tolist() == pytest.approx([1, 1, 1])
