import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from coursework.errors import ConfigError, TrainingError
from coursework.training import parallel
from coursework_tools.cli import app


def _square(number: int) -> tuple[int, int]:
    return number**2, torch.get_num_threads()


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_results_come_in_order_from_one_thread_each(backend: Any) -> None:
    found = [*parallel.map_seeds(_square, range(3), jobs=2, backend=backend)]
    assert found == [(n**2, 1) for n in range(3)]


def test_an_error_of_a_worker_arrives() -> None:
    with pytest.raises(ZeroDivisionError):
        [*parallel.map_seeds((1).__truediv__, [1, 0], jobs=2)]


def test_a_worker_that_is_killed_is_said_in_one_sentence() -> None:
    with pytest.raises(TrainingError, match="was ended, perhaps for lack of memory; give fewer"):
        [*parallel.map_seeds(os._exit, [1, 1], jobs=2)]


def test_a_missing_package_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="pip install distributed"):
        [*parallel.map_seeds(_square, [1], jobs=1, backend="dask")]


def test_train_with_jobs_is_train_without(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path))
    options = ["train", "cora", "--seeds", "2", "--set", "models=gcn", "--set", "epochs_long=none"]
    values = []
    for more in ([], ["--jobs", "2"]):
        result = CliRunner().invoke(app, [*options, "--set", "gcn.plan.epochs=3", *more])
        assert result.exit_code == 0, result.output
        record = json.loads((tmp_path / "results" / "cora-quick.json").read_text())
        values.append(record["metrics"]["gcn.test_accuracy"]["values"])
    assert values[0] == values[1]
    assert len(values[0]) == 2
