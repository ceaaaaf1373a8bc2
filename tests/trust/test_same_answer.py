from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from given import SMALL

SPREAD = 1e-3
"""Largest difference of a metric between one thread and two, in the small runs; see the README."""
OTHERS = [name for name in SMALL if name != "translation_all"]


@pytest.mark.parametrize(
    "name", ["translation_all", *(pytest.param(o, marks=pytest.mark.nightly) for o in OTHERS)]
)
def test_same_metrics_and_weights(name: str, tmp_path: Path, work: Callable[..., Any]) -> None:
    at_night = name in OTHERS

    def answer(setting: tuple[int, str]) -> dict[str, Any]:
        folder = str(tmp_path / "-".join(map(str, setting)))
        task = {"experiment": name, "folder": folder, "resume": False}
        return work([task], threads=setting[0], hash_seed=setting[1])[0]

    settings = [(1, "0"), (1, "random"), *([(2, "1"), (2, "random")] if at_night else [])]
    with ThreadPoolExecutor(2) as pool:  # of processes
        one, again, *two = pool.map(answer, settings)
    for first, second in [(one, again), *([tuple(two)] if two else [])]:
        assert first["metrics"] == second["metrics"]
        assert first["files"] == second["files"]
    if two:
        spread = max(abs(one["metrics"][k] - two[0]["metrics"][k]) for k in one["metrics"])
        print(f"{name}: one thread against two, largest difference of a metric: {spread}")
        assert spread <= SPREAD
