import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coursework.errors import TrainingError
from coursework.training import checkpoints, engine, seeds

PLAN = engine.Plan(epochs=3, learning_rate=0.01, clip_norm=1.0, precision="32-true")
BAD_STEP = 6  # of 3 epochs of 4 batches: the second batch of the second epoch


def fit(
    folder: Path | None,
    where: str = "nowhere",
    value: float = 1.0,
    plan: engine.Plan = PLAN,
    resume: bool = False,
) -> Any:
    seeds.seed_everything(0)
    model = nn.Linear(3, 1)
    x = torch.randn(20, 3)
    step = 0

    def batches(epoch: int) -> engine.Lazy:
        groups = np.array_split(np.random.default_rng(epoch).permutation(20), 4)
        return engine.Lazy(groups, lambda rows: x[torch.from_numpy(rows)])

    def loss(network: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        nonlocal step
        step += 1
        output = network(batch)
        if step == BAD_STEP and where == "gradient":
            output.register_hook(lambda gradient: gradient * value)
        total = (output - 1).square().sum()
        return total * value if step == BAD_STEP and where == "loss" else total, len(batch)

    record = engine.fit(
        model, plan, batches=batches, loss=loss, validate=lambda _: {"loss": 1.0},
        run_dir=folder, checkpoint_seconds=-1.0, log=None, identity={"run": "line"}, resume=resume,
    )  # fmt: skip
    return model, record, batches


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_it_stops_names_the_step_and_keeps_what_is_good(
    tmp_path: Path, where: str, value: float, clip: float | None
) -> None:
    plan = dataclasses.replace(PLAN, clip_norm=clip)
    with pytest.raises(
        TrainingError,
        match=rf"The {where} is (nan|inf|-inf) in step 6: epoch 2, batch 2 of 4; lower learning_rate or "
        r"set clip_norm; the last good checkpoint and bad_batch\.pt are in",
    ):
        fit(tmp_path, where, value, plan)
    last = checkpoints.load(tmp_path / "last.pt")
    assert (last["fit"]["epoch"], last["fit"]["position"]) == (1, 1)
    assert all(torch.isfinite(tensor).all() for tensor in last["model"].values())
    kept = checkpoints.load(tmp_path / "bad_batch.pt")
    assert (kept["epoch"], kept["batch"]) == (1, 1)
    assert kept["identity"] == {"run": "line"}
    assert math.isfinite(kept["loss"]) == (where == "gradient")
    assert not math.isfinite(kept["gradient"])
    batches = fit(None, plan=plan)[2](1)
    assert kept["rows"] == batches.rows[1].tolist()
    assert torch.equal(kept["content"], batches[1])


def test_what_was_kept_can_be_resumed(tmp_path: Path) -> None:
    whole, _, _ = fit(None)
    with pytest.raises(TrainingError):
        fit(tmp_path, "gradient", math.nan)
    model, record, _ = fit(tmp_path, resume=True)
    assert all(map(torch.equal, whole.parameters(), model.parameters()))
    assert len(record.history) == 3


def test_a_sum_that_overflows_in_float32_stops_also_without_a_folder() -> None:
    with pytest.raises(TrainingError, match=r"The loss is inf in step 6: .* or set clip_norm\.$"):
        fit(None, "loss", 1e38)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_epoch_whose_score_is_nan_is_not_the_best(mode: Any) -> None:
    scores = iter([math.nan, 0.5, 0.4, math.nan])
    model = nn.Linear(2, 1)
    record = engine.fit(
        model,
        dataclasses.replace(PLAN, epochs=4, monitor="score", mode=mode),
        batches=lambda epoch: [torch.ones(2, 2)],
        loss=lambda m, b: (m(b).square().sum(), len(b)),
        validate=lambda _: {"score": next(scores)},
        log=None,
    )
    assert record.best_epoch == {"max": 2, "min": 3}[mode]
