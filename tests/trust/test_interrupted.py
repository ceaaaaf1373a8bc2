"""A training that is killed at any moment and resumed ends in the same bits as one that was not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from coursework.experiments.base import EXPERIMENTS
from coursework.training import checkpoints

SEED = os.environ.get("TRUST_SEED", "0")
EVERY_DAY = ("cora",)
AT_NIGHT = [e for e in small.SMALL if e not in (*EVERY_DAY, *small.WITHOUT_CHECKPOINTS)]


def test_every_experiment_has_a_small_preset() -> None:
    assert set(small.SMALL) == set(EXPERIMENTS) - small.WITHOUT_STANDIN
    assert set(EXPERIMENTS) > small.WITHOUT_CHECKPOINTS


@pytest.mark.parametrize(
    "experiments",
    [
        pytest.param(EVERY_DAY, id="+".join(EVERY_DAY)),
        *(pytest.param((name,), id=name, marks=pytest.mark.nightly) for name in AT_NIGHT),
    ],
)
def test_killed_twice_and_resumed_twice(
    experiments: tuple[str, ...], tmp_path: Path, work: Callable[..., Any]
) -> None:
    """Two kills for each experiment, the second in the resumed run: 22 in all."""
    tasks = []
    for name in experiments:
        rng = random.Random(f"{SEED} {name}")
        first, second = rng.uniform(0, 0.95), rng.uniform(0.02, 0.85)
        straight, cut = str(tmp_path / name / "straight"), str(tmp_path / name / "cut")
        tasks += [
            {"experiment": name, "folder": straight, "resume": False, "kill": None},
            {"experiment": name, "folder": cut, "resume": False, "kill": first},
            {"experiment": name, "folder": cut, "resume": True, "kill": (1 - first) * second},
            {"experiment": name, "folder": cut, "resume": True, "kill": None},
        ]
    answers = iter(work(tasks))
    for name in experiments:
        whole, once, twice, resumed = (next(answers) for _ in range(4))
        assert [once["killed"], twice["killed"]] == [True, True], name
        assert whole["metrics"] == resumed["metrics"], name
        assert whole["files"] == resumed["files"], name
        assert whole["files"], name


def test_a_checkpoint_cut_off_at_any_byte_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save({"step": 1}, path, keep_previous=True)
    checkpoints.save({"step": 2, "w": torch.arange(5.0)}, path, keep_previous=True)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        state = checkpoints.load_latest(path)
        assert state is not None, length
        assert state["step"] == 1, length
    path.write_bytes(whole)
    state = checkpoints.load_latest(path)
    assert state is not None
    assert state["step"] == 2


@pytest.mark.parametrize("left", ["path", "previous", "neither"])
def test_a_kill_between_the_two_renames_leaves_one_of_them(tmp_path: Path, left: str) -> None:
    path = tmp_path / "last.pt"
    for step in (1, 2):
        checkpoints.save({"step": step}, path, keep_previous=True)
    if left != "path":
        path.unlink()
    if left != "previous":
        checkpoints.previous(path).unlink()
    state = checkpoints.load_latest(path)
    assert (None if state is None else state["step"]) == {"path": 2, "previous": 1}.get(left)
