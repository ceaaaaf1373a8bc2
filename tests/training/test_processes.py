"""The loop under ``torchrun``: two processes share every batch and agree with one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys
import coursework, torch
from torch import nn
from coursework.training import engine, seeds

seeds.seed_everything(0)
model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
x = torch.randn(64, 5, generator=seeds.generator(0, "x"))
y = x.sum(1, keepdim=True)

def batches(epoch):
    # the last batch has one row, so one of two processes has none of it
    order = torch.randperm(64, generator=seeds.generator(0, "shuffle", epoch))
    return [(x[rows], y[rows]) for rows in order.split(9)]

fit = engine.fit(
    model,
    engine.Plan(epochs=3, learning_rate=1e-2, clip_norm=1.0, precision="32-true"),
    batches=batches,
    loss=lambda m, b: (((m(b[0]) - b[1]) ** 2).sum(), len(b[0])),
    validate=lambda m: {"loss": float(((m(x) - y) ** 2).mean())},
    log=None,
)
rank = os.environ.get("RANK", "0")
with open(f"{sys.argv[1]}/{fit.processes}-{rank}.json", "w") as file:
    json.dump([fit.processes, fit.history[-1]["train_loss"], fit.history[-1]["loss"]], file)
"""


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    single = [sys.executable, str(script), str(tmp_path)]
    double = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *single[1:]]
    for command in (single, double):
        subprocess.run(command, check=True, capture_output=True, timeout=240)
    one, first, second = (
        json.loads((tmp_path / name).read_text()) for name in ("1-0.json", "2-0.json", "2-1.json")
    )
    assert (one[0], first[0], second[0]) == (1, 2, 2)
    assert first == second  # every process reports the whole
    # equal up to the order of summation in float32
    assert first[1:] == pytest.approx(one[1:], rel=1e-5)
