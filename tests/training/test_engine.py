import copy
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coursework.errors import ConfigError, TrainingError
from coursework.training import checkpoints, devices, engine, seeds

PLAN = engine.Plan(
    epochs=4, learning_rate=0.02, schedule="one-cycle", warmup=0.2, clip_norm=1.0, precision="32-true"
)  # fmt: skip


class Interrupted(Exception):
    """Stands for the kill of a process."""


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 5, generator=seeds.generator(seed, "x"))
    return x, x.sum(1, keepdim=True)


def regression(
    plan: engine.Plan = PLAN, *, seed: int = 0, die_at: int | None = None, **options: Any
) -> tuple[nn.Module, engine.Fit]:
    seeds.seed_everything(seed)
    model = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 1))
    x, y = data(seed)
    calls = 0

    def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
        order = torch.randperm(64, generator=seeds.generator(seed, "shuffle", epoch))
        return [(x[rows], y[rows]) for rows in order.split(10)]

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        nonlocal calls
        calls += 1
        if calls == die_at:
            raise Interrupted
        return (network(batch[0]) - batch[1]).square().sum(), len(batch[0])

    def validate(network: nn.Module) -> dict[str, float]:
        return {"loss": float((network(x) - y).square().mean())}

    options.setdefault("identity", {"experiment": "regression", "seed": seed})
    options = {"log": None} | options | {"batches": batches, "loss": loss, "validate": validate}
    return model, engine.fit(model, plan, **options)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def losses(fit: engine.Fit) -> list[tuple[float, float]]:
    return [(row["train_loss"], row["loss"]) for row in fit.history]


@pytest.mark.parametrize("schedule", ["one-cycle", "linear-twice"])
@pytest.mark.parametrize(
    ("die_at", "broken"), [*((step, False) for step in (1, 4, 7, 8, 15, 22, 28)), (20, True)]
)
def test_killed_and_resumed_is_the_same_bit_for_bit(
    tmp_path: Path, die_at: int, broken: bool, schedule: Any
) -> None:
    plan = dataclasses.replace(PLAN, schedule=schedule)
    whole, fit = regression(plan)
    with pytest.raises(Interrupted):
        regression(plan, run_dir=tmp_path, checkpoint_seconds=0.0, die_at=die_at)
    last = tmp_path / "last.pt"
    if broken:  # then from the one before
        last.write_bytes(last.read_bytes()[:-100])
    said: list[str] = []
    resumed, again = regression(plan, run_dir=tmp_path, resume=True, log=said.append)
    assert same(whole, resumed)
    assert losses(fit) == losses(again)
    # nothing was saved before the first step
    place = r"resumed from last(\.previous)?\.pt at epoch [1-5], batch [0-9]"
    assert re.match("no checkpoint" if die_at <= 2 else place, said[0])
    said.clear()
    regression(plan, run_dir=tmp_path, resume=True, log=said.append)
    assert said == ["resumed from last.pt when it was finished"]


def test_a_change_of_precision_between_two_parts_of_a_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(engine, "choose_precision", lambda _: "32-true")
    with pytest.raises(Interrupted):
        regression(run_dir=tmp_path, checkpoint_seconds=0.0, die_at=9)
    monkeypatch.setattr(engine, "choose_precision", lambda _: "bf16-mixed")
    for _ in range(2):
        _, fit = regression(run_dir=tmp_path, resume=True, log=said.append)
        assert fit.precision == "32-true, then bf16-mixed"
    assert sum("precision" in line for line in said) == 1


@pytest.mark.parametrize("identity", [{"seed": 9}, {"size": 1}, {}])  # changed, more, fewer
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, identity: dict[str, int]) -> None:
    regression(run_dir=tmp_path)
    with pytest.raises(TrainingError, match=r"another run \(different: .*seed"):
        regression(run_dir=tmp_path, resume=True, identity={"experiment": "regression"} | identity)


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    plan = engine.Plan(epochs=60, learning_rate=0.5, patience=3, precision="32-true")
    model, fit = regression(plan, run_dir=tmp_path)
    assert len(fit.history) < 60
    assert fit.best["loss"] == min(row["loss"] for row in fit.history)
    assert len(fit.history) == fit.best_epoch + 3
    again, resumed = regression(plan, run_dir=tmp_path, resume=True)
    assert losses(resumed) == losses(fit)
    x, y = data()
    for kept in (model, again):  # as they are handed over: dropout off
        assert float((kept(x) - y).detach().square().mean()) == fit.best["loss"]
    model.load_state_dict(checkpoints.load(tmp_path / "best.pt")["model"])
    assert same(model, again)


def simple(
    plan: engine.Plan,
    validate: Any = lambda network: {"loss": 1.0},
    loss: Any = lambda network, batch: (network(batch).square().sum(), len(batch)),
    batches: Any = lambda epoch: [torch.ones(2, 1)],
) -> engine.Fit:
    given = {"batches": batches, "loss": loss, "validate": validate, "log": None}
    return engine.fit(nn.Linear(1, 1), plan, **given)


def test_dropout_is_on_in_every_epoch_and_off_in_validation() -> None:
    modes: list[bool] = []

    def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        modes.append(network.training)
        return network(batch).square().sum(), len(batch)

    def validate(network: nn.Module) -> dict[str, float]:
        modes.append(network.training)
        return {"loss": 1.0}

    simple(dataclasses.replace(PLAN, epochs=2), validate, loss)
    assert modes == [True, False, True, False]


def scripted(values: list[tuple[float, float]], plan: engine.Plan) -> engine.Fit:
    rows = iter(values)
    return simple(plan, lambda network: dict(zip(("loss", "accuracy"), next(rows), strict=True)))


def test_two_monitors_keep_what_is_best_by_both_and_wait_for_neither() -> None:
    values = [(1.0, 0.5), (0.9, 0.4), (1.1, 0.6), (0.9, 0.6), (0.8, 0.5), (0.95, 0.5), (0.9, 0.3)]
    plan = dataclasses.replace(PLAN, epochs=7, patience=2, second_monitor="accuracy")
    fit = scripted(values, plan)
    # epochs 2 and 3 are best by one metric, 4 by both (ties count), 5 by the loss; 6 and 7 by none
    assert (fit.best_epoch, len(fit.history)) == (4, 7)
    assert fit.best == {"loss": 0.9, "accuracy": 0.6}
    alone = scripted(values, dataclasses.replace(plan, second_monitor=None))
    assert (alone.best_epoch, len(alone.history)) == (2, 4)
    with pytest.raises(ConfigError, match="monitor is 'recall'"):
        scripted(values, dataclasses.replace(plan, second_monitor="recall"))


def test_without_a_monitor_the_last_epoch_is_kept() -> None:
    fit = scripted([(1.0, 0.5), (2.0, 0.1)], dataclasses.replace(PLAN, epochs=2, monitor=None))
    assert (fit.best_epoch, fit.best) == (2, {"loss": 2.0, "accuracy": 0.1})


def test_what_cannot_be_resumed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path, said = tmp_path / "last.pt", []
    regression(run_dir=tmp_path)
    state = checkpoints.load(path)
    others = [state | other for other in ({"fit": {"unknown": 1}}, {"model": {}}, {"fit": None})]
    others += [{k: v for k, v in state.items() if k != lost} for lost in ("rng", "cuda_rng")]
    for other in others:
        checkpoints.save(other, path)
        with pytest.raises(TrainingError, match="another version.*without --resume"):
            regression(run_dir=tmp_path, resume=True)
    path.write_bytes(path.read_bytes()[:99])
    regression(run_dir=tmp_path, resume=True, log=said.append)
    assert said[0].startswith("resumed from last.previous.pt")
    checkpoints.previous(path).write_bytes(b"PK")
    path.write_bytes(b"PK")
    with pytest.raises(TrainingError, match="can be read; delete"):  # not trained anew over it
        regression(run_dir=tmp_path, resume=True)


def test_lazy_batches_are_made_when_asked_for_and_know_their_rows() -> None:
    made = []
    lazy = engine.Lazy([[0, 1], [2], [3]], lambda rows: made.append(rows) or len(rows))
    assert (len(lazy), made) == (3, [])
    assert (lazy[1], lazy[2], made) == (1, 1, [[2], [3]])
    assert lazy.rows[0] == [0, 1]


def test_empty_training_set() -> None:
    with pytest.raises(TrainingError, match="no batches"):
        simple(PLAN, batches=lambda epoch: [])


def test_batch_statistics_are_not_averaged() -> None:
    plan = dataclasses.replace(PLAN, schedule="linear-twice")
    with pytest.raises(ConfigError, match="set another schedule"):
        engine.fit(nn.BatchNorm1d(5), plan, batches=len, loss=len, validate=len)


def falling(schedule: str, rest: float) -> float:
    rates = {"constant": 1.0, "linear": 1 - rest, "linear-twice": 1 - rest}
    return rates.get(schedule, (1 + math.cos(math.pi * rest)) / 2)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one-cycle", "linear-twice"])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_the_loop_does_what_a_plain_one_does(kind: Any, schedule: Any) -> None:
    plan = engine.Plan(
        epochs=2, learning_rate=0.02, weight_decay=0.1, optimizer=kind.__name__.lower(),
        schedule=schedule, warmup=0.25, clip_norm=0.5, monitor=None, precision="32-true",
    )  # fmt: skip
    x, y = data()
    parts = [(x[rows], y[rows]) for rows in (slice(7), slice(7, 30), slice(30, None))]
    ours = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
    theirs = copy.deepcopy(ours)

    def groups(net: nn.Module) -> list[dict[str, Any]]:
        first, _, last = net.children()
        return [{"params": [*first.parameters()]}, {"params": [*last.parameters()], "lr": 0.005}]

    fit = engine.fit(
        ours, plan, parameters=groups(ours), batches=lambda epoch: parts, log=None,
        loss=lambda net, part: ((net(part[0]) - part[1]).square().sum(), len(part[0])),
        validate=lambda net: {},
    )  # fmt: skip
    optimizer, ends = kind(groups(theirs), lr=0.02, weight_decay=0.1), []
    for epoch, row in enumerate(fit.history):
        total = 0.0
        for index, (a, b) in enumerate(parts):
            progress = index / 3 if schedule == "linear-twice" else (epoch + index / 3) / 2
            warm = progress / 0.25
            rate = warm if warm < 1 else falling(schedule, (progress - 0.25) / 0.75)
            for group, peak in zip(optimizer.param_groups, (0.02, 0.005), strict=True):
                group["lr"] = peak * rate
            optimizer.zero_grad()
            loss = (theirs(a) - b).square().mean()
            loss.backward()
            assert nn.utils.clip_grad_norm_(theirs.parameters(), 0.5) > 0.5
            optimizer.step()
            total += loss.item() * len(a)
        assert row["train_loss"] == pytest.approx(total / 64, rel=1e-5)
        assert row["learning_rate"] == pytest.approx(0.02 * rate)
        ends.append(copy.deepcopy([*theirs.parameters()]))  # an epoch is a half of linear-twice
    first, last = ends if schedule == "linear-twice" else (ends[-1], ends[-1])
    for mine, one, other in zip(ours.parameters(), first, last, strict=True):
        torch.testing.assert_close(mine, (one + other) / 2)


@pytest.mark.parametrize(
    ("onednn", "instructions", "expected"),
    [(True, True, "bf16-mixed"), (True, False, "32-true"), (False, True, "32-true")],
)
def test_bf16_needs_the_instructions_not_their_emulation(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, instructions: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert devices.choose_precision("auto") == expected
    assert devices.choose_precision("16-mixed") == "16-mixed"  # the wish is respected


def test_further_sums_of_a_loss_are_recorded_as_means() -> None:
    x = torch.arange(6.0).unsqueeze(1)  # [6, 1]

    def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int, dict[str, float]]:
        return network(batch).square().sum(), len(batch), {"mean": float(batch.sum())}

    fit = simple(dataclasses.replace(PLAN, epochs=2), loss=loss, batches=lambda epoch: x.split(4))
    assert [row["train_mean"] for row in fit.history] == [2.5, 2.5]
