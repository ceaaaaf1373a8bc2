import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from coursework import settings
from coursework.data import planetoid
from coursework.errors import ConfigError
from coursework.experiments import base, cora, cora_study
from coursework.models.grand import consistency_loss
from coursework.report import store
from coursework.stats import wilson
from coursework.training import engine

pytestmark = pytest.mark.usefixtures("standin")

TINY = base.override(cora.Config(), ["gcn.plan.epochs=60", "gat.plan.epochs=60"])
SHORT = base.override(cora.Config(), ["gcn.plan.epochs=6", "gat.plan.epochs=6"])


def train(config: cora.Config, **options: Any) -> base.Run:
    return cora.train(base.Job("cora", config, log=None, **options))


def without_times(run: base.Run) -> dict[str, float]:
    return {key: value for key, value in run.metrics.items() if "seconds" not in key}


def accuracies(run: base.Run, *names: str) -> list[float]:
    return [run.metrics[f"{name}.test_accuracy"] for name in names]


@pytest.fixture(scope="module")
def run(standins: Path) -> base.Run:
    return train(TINY, seed=0)


def largest_class(run: base.Run) -> float:
    labels = run.artefacts["inputs"].y[torch.from_numpy(run.artefacts["split"].test)]
    return float(labels.bincount().max()) / len(labels)


def test_both_models_learn_and_the_last_epoch_is_reported(run: base.Run) -> None:
    gcn, gat, difference = accuracies(run, "gcn", "gat", "difference")
    assert min(gcn, gat) > 2 * largest_class(run)
    assert difference == pytest.approx(gat - gcn)
    for name, accuracy in (("gcn", gcn), ("gat", gat)):
        fit = run.artefacts["fits"][name]
        assert fit.best_epoch == 60 == len(fit.history)
        assert accuracy == fit.history[-1]["validation_accuracy"]
        assert run.metrics[f"{name}.test_loss"] == fit.history[-1]["validation_loss"]


def test_same_seed_same_run_other_seed_other_split(run: base.Run) -> None:
    assert without_times(train(TINY, seed=0)) == without_times(run)
    other = cora.split_nodes(planetoid.load("Cora"), TINY, seed=1)
    assert set(other.train) != set(run.artefacts["split"].train)


def test_long_training_starts_as_the_short_one() -> None:
    run = train(replace(SHORT, epochs_long=12, models=("gcn",)), seed=3)
    short, long = (run.artefacts["fits"][name].history for name in ("gcn", "gcn.long"))
    losses = [[row["train_loss"] for row in history] for history in (short, long)]
    assert [*map(len, losses)] == [6, 12]
    assert losses[0] == losses[1][:6]
    assert run.metrics["gcn.long.test_accuracy"] == long[-1]["validation_accuracy"]


def test_watching_less_often_changes_nothing() -> None:
    config = base.override(SHORT, ["gat.plan.epochs=14", "models=gat"])
    every, fifth = (train(replace(config, watch=n), seed=0) for n in (1, 5))
    assert without_times(every) == without_times(fifth)
    history = fifth.artefacts["fits"]["gat"].history
    assert [row["epoch"] for row in history if "validation_loss" in row] == [*range(5, 15)]


def test_random140_tests_on_everything_else() -> None:
    graph = planetoid.load("Cora")
    split = cora.split_nodes(graph, cora.Config(), seed=3)
    assert split.sizes == (140, 0, len(graph.y) - 140)
    assert sorted([*split.train, *split.test]) == [*range(len(graph.y))]
    held_out = cora.split_nodes(graph, replace(cora.Config(), validation_nodes=30), seed=3)
    assert np.array_equal(held_out.train, split.train)
    assert len(held_out.validation) == 30
    assert np.array_equal(np.concatenate([held_out.validation, held_out.test]), split.test)


def test_the_public_split_is_that_of_the_masks() -> None:
    graph = planetoid.load("Cora")
    split = cora.split_nodes(graph, cora.Config(protocol="planetoid"), seed=3)
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    for rows, mask in zip((split.train, split.validation, split.test), masks, strict=True):
        assert rows.tolist() == mask.nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    "protocol", ["train_nodes=40 validation_nodes=30", "protocol=planetoid gcn.input_dropout=0.3"]
)
def test_validation_stops_the_training_and_the_test_nodes_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    plan = engine.Plan(
        epochs=40, learning_rate=0.5, optimizer="adam", patience=3, monitor="validation_loss"
    )
    config = cora.Config(protocol="planetoid", models=("gcn",), gcn=cora.GCNConfig(plan=plan))
    config = base.override(config, ["protocol=random140", *protocol.split()])
    test_nodes = cora.split_nodes(planetoid.load("Cora"), config, seed=3).test
    looks, score = [], cora.score

    def spy(model: Any, structure: Any, inputs: Any, nodes: np.ndarray) -> Any:
        looks.append(bool(np.isin(nodes, test_nodes).any()))
        return score(model, structure, inputs, nodes)

    monkeypatch.setattr(cora, "score", spy)
    run = train(config, seed=3)
    history = run.artefacts["fits"]["gcn"].history
    best = min(history, key=lambda row: row["validation_loss"])
    assert run.metrics["gcn.best_epoch"] == best["epoch"] == len(history) - 3 < 37
    for key in ("validation_accuracy", "validation_loss"):
        assert run.metrics[f"gcn.{key}"] == best[key]
    assert looks == [False] * len(history) + [True]


def test_more_training_nodes_than_nodes() -> None:
    with pytest.raises(ConfigError, match="the graph has"):
        train(replace(SHORT, train_nodes=10**6))


def test_lines_have_the_format_of_the_assignment(run: base.Run) -> None:
    *epochs, finished, _, tested = cora.training_log(run, "gcn").splitlines()
    number = r"\d+\.\d{4}"
    names = ("loss_train", "acc_train", "loss_val", "acc_val", "time")
    line = " ".join(["Epoch: 00{}", *(f"{name}: {number}" for name in names)]) + "s"
    assert len(epochs) == 10
    for epoch, found in enumerate(epochs, start=51):
        assert re.fullmatch(line.replace("{}", str(epoch), 1), found)
    assert finished == "Optimization Finished!"
    assert re.fullmatch(rf"Test set results: loss= {number} accuracy= {number}", tested)


def test_run_can_be_recorded() -> None:
    runs = cora.paired(base.Job("cora", SHORT, seed=7, log=None), 3)
    assert [r.seed for r in runs] == [7, 8, 9]
    assert len({tuple(r.artefacts["split"].train) for r in runs}) == 3
    validating = base.Job("cora", replace(SHORT, validation_nodes=50), log=None)
    assert [r.config.watch for r in cora.paired(validating, 2)] == [1, 1]
    three = ("gcn", "gat", "uniform")
    config = replace(SHORT, epochs_long=12, models=three, long_models=three)
    both = [train(config, seed=seed) for seed in (0, 1)]
    store.make_record("cora-test", both)
    for one in both:
        gat, uniform, gain = accuracies(one, "gat", "uniform", "attention")
        assert gain == pytest.approx(gat - uniform)
    hits, intervals = both[0].artefacts["correct"]["gat"], both[0].notes["intervals"]
    interval = (*wilson(int(hits.sum()), len(hits)), "Wilson, test nodes")
    assert intervals["gat.test_accuracy"] == interval
    low, high, _ = intervals["attention.test_accuracy"]
    assert low <= accuracies(both[0], "attention")[0] <= high


def test_words_are_row_normalised_and_empty_rows_stay_empty() -> None:
    graph = planetoid.load("Cora")
    x = graph.x.clone()
    x[3] = 0
    inputs = cora.prepare(replace(graph, x=x))
    sums = torch.ones(len(x))
    sums[3] = 0
    torch.testing.assert_close(inputs.x.to_dense().sum(dim=1), sums)
    mask = torch.zeros(len(inputs.y), len(inputs.y), dtype=torch.bool)
    mask[inputs.edge_index[1], inputs.edge_index[0]] = True
    assert torch.equal(inputs.adj.to_dense() != 0, mask)


def weights_of_edges(run: base.Run, name: str) -> torch.Tensor:
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
        built[name] = cora.build(name, config, inputs)
    for name in ("gcn", "gcn_glorot", "gcn_elu", "gcn_both"):
        glorot, elu = name in ("gcn_glorot", "gcn_both"), name in ("gcn_elu", "gcn_both")
        assert isinstance(built[name].relu, torch.nn.ELU if elu else torch.nn.ReLU)
        for key, plain in built["gcn"].state_dict().items():
            assert torch.equal(built[name].get_parameter(key), plain) != (
                glorot and "weight" in key
            )
    words, width = inputs.x.shape[1], 16
    for name, bound in (("gat", (6 / (words + width)) ** 0.5), ("gat_linear", words**-0.5)):
        largest = float(built[name].layer1.W.weight.detach().abs().max())
        assert 0.9 * bound < largest <= bound


def test_gcnii_has_two_weight_decays() -> None:
    config = cora.Config()
    network = cora.build("gcnii", config, cora.prepare(planetoid.load("Cora")))
    first, rest = config.gcnii.parameters(network)
    assert first["weight_decay"] == 0.01
    assert len(first["params"]) + len(rest["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("best", ["grand.plan.epochs=60"]), ("gcnii", ["gcnii.layers=4", "gcnii.plan.epochs=30"])],
)
def test_other_networks_learn_and_are_evaluated(
    preset: str, changes: list[str], tmp_path: Path
) -> None:
    config = base.override(cora.PRESETS[preset], changes)
    whole = train(config, seed=0, folder=tmp_path)
    (name,) = config.models
    (accuracy,) = accuracies(whole, name)
    assert accuracy > 2 * largest_class(whole)
    assert cora.evaluate(tmp_path / name / "best.pt")[f"{name}.test_accuracy"] == accuracy


def test_rare_classes_are_weighed_up_and_the_whole_is_not() -> None:
    y = torch.tensor([0, 0, 0, 0, 1, 1, 3])
    assert cora.class_weights(y, 4, 0.0).tolist() == [1.0] * 4
    for balance in (0.5, 1.0):
        weight = cora.class_weights(y, 4, balance)
        assert float(weight[y].mean()) == pytest.approx(1)
        assert float(weight[3] / weight[0]) == pytest.approx(4**balance)
        assert float(weight[2]) == pytest.approx(float(weight[3]))  # no node: as if there were one


def test_answer_to_the_comparison_is_what_the_records_say() -> None:
    full, control = (store.read(f"cora-{name}")["metrics"] for name in ("full", "control"))
    gap, later = full["difference.test_accuracy"], full["difference.long.test_accuracy"]
    attention = full["attention.test_accuracy"]
    whole, glorot, elu, both, rest = (
        control[f"{name}difference.test_accuracy"]
        for name in ("", "glorot.", "elu.", "both.", "rest.")
    )
    claims = {
        "better than the GCN on all 20 splits": len(gap["values"]) == 20 and min(gap["values"]) > 0,
        "by about nine points on average": round(100 * gap["mean"]) == 9,
        "equal weights for all neighbours is slightly better still": attention["mean"] > -0.01
        and attention["high"] < 0,
        "mainly because of its activation": elu["low"] > 0 and elu["mean"] > 1.5 * glorot["mean"],
        "with ELU in place of ReLU it makes up most of the gap": elu["mean"] > 0.7 * whole["mean"],
        "with Glorot weights as well all but 0.8 points": both["mean"] > elu["mean"]
        and round(100 * rest["mean"], 1) == 0.8,
        "(after 300 epochs it is within half a point on average)": abs(later["mean"]) < 0.005,
    }
    notebook = json.loads((settings.repo_root() / "notebooks/4_gcn_gat_cora.ipynb").read_text())
    texts = ("".join(cell["source"]) for cell in notebook["cells"])
    (answer,) = (text for text in texts if text.startswith("**Answer."))
    assert len(re.findall(r"\.(?: |$)", answer.removeprefix("**Answer.** "))) == 3
    assert dict.fromkeys(claims, True) == claims
    assert [phrase for phrase in claims if phrase not in answer] == []


def test_control_is_recorded_on_the_splits_of_the_comparison() -> None:
    full, control = store.read("cora-full"), store.read("cora-control")
    assert control["seeds"] == full["seeds"]
    assert control["notes"]["nodes"] == full["notes"]["nodes"]
    for name in ("gcn", "uniform", "gat"):
        key = f"{name}.test_accuracy"
        assert control["metrics"][key]["values"] == full["metrics"][key]["values"]


def test_links_go_in_both_directions_and_repeatably() -> None:
    edges = planetoid.load("Cora").edge_index
    rest = cora_study.without_links(edges, 0.25, seed=0)
    assert rest.shape[1] == edges.shape[1] - 2 * round(0.25 * edges.shape[1] / 2)
    pairs, known = ({*map(tuple, links.t().tolist())} for links in (rest, edges))
    assert pairs <= known
    assert pairs == {(b, a) for a, b in pairs}
    assert torch.equal(rest, cora_study.without_links(edges, 0.25, seed=0))
    assert not torch.equal(rest, cora_study.without_links(edges, 0.25, seed=1))
    assert cora_study.without_links(edges, 1.0, seed=0).shape == (2, 0)


def test_losses_by_hand() -> None:
    batch = {
        "x": torch.ones(4, 500), "graph": torch.zeros(0),
        "y": torch.tensor([0, 1, 1, 0]), "nodes": torch.tensor([0, 1, 2]),
    }  # fmt: skip
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0], [9.0, 9.0]])
    network = MagicMock(return_value=logits)
    total, found = cora.GCNConfig(input_dropout=0.5).loss(network, batch)
    expected = math.log1p(math.exp(-2)) + math.log(2) + math.log1p(math.exp(-2))
    assert float(total) == pytest.approx(expected)
    assert torch.equal(found, logits[:3])
    seen = network.call_args.args[0]
    assert set(seen.unique().tolist()) == {0.0, 2.0}  # half of the words are dropped
    two = MagicMock(return_value=torch.stack([logits, logits.flip(1)]))
    config = cora.GRANDConfig(samples=2, consistency=3.0, temperature=0.5, balance=0.0)
    total, _ = config.loss(two, batch)
    disagreement = float(consistency_loss(two.return_value, 0.5))
    assert disagreement > 0.1
    swapped = math.log1p(math.exp(2)) * 2 + math.log(2)
    assert float(total) == pytest.approx((expected + swapped) / 2 + 3 * 3 * disagreement)


def test_study_runs_and_does_not_look_at_test_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    job, real = base.Job("cora_study", cora_study.PRESETS["quick"], log=None), planetoid.load
    fit, dropped = cora.fit_network, set()

    def watched(part: base.Job, name: str, make: Any, numbers: Any, *others: Any) -> Any:
        dropped.add((name.rpartition(".")[2], numbers.input_dropout))
        return fit(part, name, make, numbers, *others)

    monkeypatch.setattr(cora, "fit_network", watched)
    first = cora_study.train(job)
    assert len(first.metrics) == 2 * 3 * 2 + 2 * 2
    others = ("plain", "initial", "gcnii", "gcn")
    assert dropped == {
        ("gat", 0.0),
        *((name, 0.5) for name in others),
    }  # the GAT drops words itself

    def other_labels(name: planetoid.Name) -> planetoid.CitationGraph:
        graph = real(name)
        graph.y[graph.test_mask] = 0
        return graph

    monkeypatch.setattr(planetoid, "load", other_labels)
    assert cora_study.train(job).metrics == first.metrics
