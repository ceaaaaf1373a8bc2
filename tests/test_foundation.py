import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from scipy import stats as peer

from coursework import files, stats
from coursework.config import Count, Positive, Share, as_record, config, override
from coursework.data import sources
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import base, study
from coursework.training import checkpoints
from coursework.training.engine import Plan


@config
class Config:
    size: Count = 3
    rate: Positive = 0.1
    dropout: Share = 0.0
    kind: Literal["own", "builtin"] = "own"
    names: tuple[str, ...] = ("a", "b")
    most: Annotated[int, Field(ge=100)] | None = None
    plan: Plan = Plan(epochs=2, learning_rate=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size is 0; it should be greater than or equal to 1."),
        ({"rate": float("inf")}, "rate is inf; it should be"),
        ({"kind": "other"}, "kind is 'other'; it should be 'own' or 'builtin'."),
        ({"plan": {"epochs": 0, "learning_rate": 0.1}}, "plan.epochs is 0; it should be"),
        ({"plan": {"epochs": 1}}, "plan.learning_rate is missing."),
        ({"old": 1}, "There is no field 'old' in this config."),
    ],
)
def test_a_wrong_value_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        Config(**changes)


def test_a_config_is_frozen_and_rebuilt_from_its_record() -> None:
    made = Config(size=7, names=("c",), plan=Plan(epochs=9, learning_rate=0.2))
    assert Config(**as_record(made)) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.size = 1


def test_override_reaches_into_groups_and_checks() -> None:
    changed = override(Config(), ["plan.epochs=5", "names=x, y", "most=none", "size=4"])
    assert (changed.plan.epochs, changed.names) == (5, ("x", "y"))
    assert (changed.most, changed.size) == (None, 4)
    assert override(Config(), ["names=x, y; z"]).names == ("x, y", "z")
    with pytest.raises(ConfigError, match="There is no key 'sise'; choose from size, rate"):
        override(Config(), ["sise=3"])


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = files.write(tmp_path / "new" / "a.txt", "é")
    assert path.read_bytes() == b"\xc3\xa9"
    assert list(path.parent.iterdir()) == [path]


def test_intervals() -> None:
    assert pytest.approx(peer.norm.ppf(0.975)) == stats.Z
    assert stats.wilson(0, 10)[0] == 0
    assert stats.wilson(85, 100) == pytest.approx((0.7672, 0.9069), abs=1e-4)
    summary = stats.summarise([1.0, 2.0, 4.0])
    low, high = peer.t.interval(0.95, 2, summary["mean"], peer.sem([1, 2, 4]))
    assert (summary["low"], summary["high"]) == pytest.approx((low, high))
    wider = stats.summarise([1.0, 2.0, 4.0], overlap=0.25)  # a test row for four others
    half = peer.t.ppf(0.975, 2) * np.sqrt((1 / 3 + 0.25) * np.var([1, 2, 4], ddof=1))
    assert (wider["low"], wider["high"]) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert stats.summarise([2.0]) == {"mean": 2.0, "std": None, "values": [2.0]}
    first, second = np.array([1, 1, 0, 1]), np.array([1, 0, 0, 0])
    mean, low, high = stats.paired(first, second)
    half = stats.Z * np.std(first - second, ddof=1) / 2
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_a_job_names_its_parts_and_what_is_stored(tmp_path: Path) -> None:
    lines: list[str] = []
    job = base.Job("cora", Config(), "quick", 3, folder=tmp_path, log=lines.append)
    part = job.part("gcn", seed=4)
    options = part.loop(sources.Source("made", "stand-in", "5a", (), "MIT"), words=["a"])
    assert options["run_dir"] == tmp_path / "gcn"
    run = {"experiment": "cora", "config": as_record(Config()), "seed": 4}
    assert options["identity"] == run | {"data": "5a"}
    assert options["bundle"] == options["identity"] | {"words": ["a"]}
    members = job.members("cora", Config(), 2)
    assert [(one.seed, one.resume) for one in members] == [(6, True), (7, True)]
    job.say("hello")
    dataclasses.replace(job, log=None).say("nothing")
    assert lines == ["hello"]


def test_a_new_run_sets_checkpoints_of_an_older_one_aside_and_leaves_others(standin: Path) -> None:
    job = base.Job("cora", Config(), "quick", log=None)
    others = dataclasses.replace(job, config=Config(size=4)), dataclasses.replace(job, seed=1)
    files = [base.run_folder(one) / "gcn" / "last.pt" for one in (job, *others)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    base.run_folder(dataclasses.replace(job, resume=True))
    assert [file.exists() for file in files] == [True, True, True]
    for number in (1, 2):  # and loses nothing
        base.run_folder(job)
        assert [file.exists() for file in files] == [False, True, True]
        assert Path(f"{files[0].parents[1]}-earlier{number}", "gcn", "last.pt").exists()
        files[0].parent.mkdir(parents=True)
        files[0].touch()


def test_a_shrunk_checkpoint_is_restored_and_another_experiments_is_refused(tmp_path: Path) -> None:
    bundle = {"experiment": "cora", "config": as_record(Config()), "seed": 0}
    weights = {"w": torch.tensor([0.5] * 999), "n": torch.tensor([7])}
    best = checkpoints.save({"model": weights, "bundle": bundle}, tmp_path / "best.pt")
    small = base.shrink(best, tmp_path / "small.pt")
    tied = checkpoints.save(
        {"model": weights | {"v": weights["w"]}, "bundle": bundle}, tmp_path / "t.pt"
    )
    tied = base.shrink(tied, tmp_path / "tied.pt")
    assert (
        tied.stat().st_size < small.stat().st_size + 999
    )  # the second name costs no second matrix
    assert torch.equal(base.restore(tied, "cora", Config)[2]["v"], weights["w"])
    made, kept, state = base.restore(small, "cora", Config)
    assert (made, kept["seed"]) == (Config(), 0)
    assert (state["w"].dtype, state["n"].dtype) == (torch.float32, torch.int64)
    with pytest.raises(TrainingError, match="belongs to cora"):
        base.restore(small, "sentiment", Config)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_shrunk_matrix_is_off_by_half_a_step_of_its_row(
    bits: Literal[8, 16], tmp_path: Path
) -> None:
    matrix = torch.randn(40, 30) * torch.logspace(-3, 3, 40)[:, None]
    matrix[0] = 0
    weights = {"m": matrix, "bias": torch.randn(9), "n": torch.tensor(3)}
    bundle = {"experiment": "cora", "config": as_record(Config()), "seed": 0}
    best = checkpoints.save({"model": weights, "bundle": bundle}, tmp_path / "best.pt")
    small = base.shrink(best, tmp_path / "small.pt", bits)
    assert small.stat().st_size < best.stat().st_size
    state = base.restore(small, "cora", Config)[2]
    assert state.keys() == weights.keys()
    step = matrix.abs().amax(dim=1, keepdim=True) * (1 / 127 if bits == 8 else 1e-3)
    assert ((state["m"] - matrix).abs() <= 0.51 * step + 1e-6).all()
    torch.testing.assert_close(state["bias"], weights["bias"], rtol=1e-3, atol=1e-6)


def test_a_study_compares_variants_with_their_base() -> None:
    job = base.Job("sentiment_study", None, log=None)
    items = {3: np.array([1, 0, 1, 0]), 5: np.array([1, 1, 1, 0])}

    def fit(name: str, part: base.Job) -> study.Trained:
        size = part.config.size
        return study.Trained({"validation_accuracy": items[size].mean()}, {"n": 4}, items[size])

    found = study.run(job, Config(), {"base": (), "wide net": ("size=5",)}, fit, lambda _: "base")
    assert found["metrics"]["wide_net.difference"] == 0.25
    assert found["metrics"]["base.difference"] == 0
    assert found["notes"]["rows"][1] == {"variant": "wide net", "changes": ["size=5"], "n": 4}
    assert found["notes"]["intervals"]["wide_net.difference"][2] == "paired, 4 validation items"
    for chosen, message in (((), "empty"), (("x",), "no variant 'x'"), (("wide",), "needs 'base'")):
        with pytest.raises(ConfigError, match=message):
            study.check(chosen, {"base": (), "wide": ()}, lambda _: "base")
