import functools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import given
import pytest
import torch

from coursework.errors import TrainingError
from coursework.experiments import base
from coursework.training import checkpoints, engine

SEED = os.environ.get("TRUST_SEED", "0")
CHANGES = {"segmentation": ["skips=true"], "cora": ["epochs_long=8"]}
AT_NIGHT = [e for e in given.SMALL if e not in ("cora", *given.WITHOUT_CHECKPOINTS)]


def test_every_experiment_has_a_small_preset() -> None:
    assert set(given.SMALL) == set(base.TABLES) - given.WITHOUT_STANDIN


@pytest.mark.parametrize(
    "name", ["cora", *(pytest.param(name, marks=pytest.mark.nightly) for name in AT_NIGHT)]
)
def test_killed_twice_and_resumed_twice(
    name: str, tmp_path: Path, work: Callable[..., Any]
) -> None:
    rng = random.Random(f"{SEED} {name}")
    first, second = rng.uniform(0, 0.95), rng.uniform(0.02, 0.85)

    def task(folder: str, resume: bool, kill: float | None) -> dict[str, Any]:
        where = str(tmp_path / folder)
        return {"experiment": name, "folder": where, "resume": resume, "kill": kill}

    whole, once, twice, resumed = work(
        [
            task("straight", False, None),
            task("cut", False, first),
            task("cut", True, (1 - first) * second),
            task("cut", True, None),
        ]
    )
    assert [once["killed"], twice["killed"]] == [True, True]
    assert whole["metrics"] == resumed["metrics"]
    assert whole["files"] == resumed["files"]
    assert whole["files"]


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize("name", ["sentiment", "translation", "cora", "segmentation"])
def test_an_interrupted_run_resumes_to_the_same_and_evaluate_repeats_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, config = base.get(name), given.config_of(name, *CHANGES.get(name, ()))
    save, saved, kill_at = checkpoints.save, 0, 10**9

    def fragile(*arguments: Any, **options: Any) -> Path:
        nonlocal saved
        saved += 1
        if saved == kill_at:
            raise KeyboardInterrupt
        return save(*arguments, **options)

    def run(folder: str, seed: int = 5, **options: Any) -> dict[str, float]:
        job = base.Job(name, config, seed=seed, folder=tmp_path / folder, log=None, **options)
        return {k: v for k, v in module.train(job).metrics.items() if "seconds" not in k}

    monkeypatch.setattr(engine, "fit", functools.partial(engine.fit, checkpoint_seconds=-1.0))
    monkeypatch.setattr(checkpoints, "save", fragile)
    whole = run("whole")
    saved, kill_at = 0, max(2, int(0.6 * saved))  # within an epoch of the last network
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    assert run("cut", resume=True) == whole
    best = sorted(path.relative_to(tmp_path / "cut") for path in tmp_path.glob("cut/**/best.pt"))
    assert best
    for path in best:
        one, other = (checkpoints.load(tmp_path / f / path)["model"] for f in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)
        found = module.evaluate(tmp_path / "cut" / path)
        assert found
        assert found.items() <= whole.items()
    with pytest.raises(TrainingError, match="another run"):
        run("cut", seed=6, resume=True)


def test_a_checkpoint_cut_off_at_any_byte_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save({"step": 1}, path, keep_previous=True)
    checkpoints.save({"step": 2, "w": torch.arange(5.0)}, path, keep_previous=True)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert checkpoints.load_latest(path)[1]["step"] == 1, length
    path.write_bytes(whole)
    assert checkpoints.load_latest(path)[1]["step"] == 2


@pytest.mark.parametrize("left", ["path", "previous", "neither"])
def test_a_kill_between_the_two_renames_leaves_one_of_them(tmp_path: Path, left: str) -> None:
    path = tmp_path / "last.pt"
    for step in (1, 2):
        checkpoints.save({"step": step}, path, keep_previous=True)
    if left != "path":
        path.unlink()
    if left != "previous":
        checkpoints.previous(path).unlink()
    found = checkpoints.load_latest(path)
    assert (None if found is None else found[1]["step"]) == {"path": 2, "previous": 1}.get(left)
