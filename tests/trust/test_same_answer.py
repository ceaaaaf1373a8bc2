"""The same experiment in fresh processes: one thread or two, any order of hashing, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import small

EVERY_DAY = ("translation_all",)
SPREAD = 1e-3
"""Largest difference of a metric between one thread and two, in the small runs; see the README."""


@pytest.mark.parametrize(
    ("experiments", "settings"),
    [
        pytest.param(EVERY_DAY, ((1, "0"), (1, "random")), id="+".join(EVERY_DAY)),
        pytest.param(
            tuple(small.SMALL),
            ((1, "0"), (1, "random"), (2, "1"), (2, "random")),
            id="all",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_same_metrics_and_weights(
    experiments: tuple[str, ...],
    settings: tuple[tuple[int, str], ...],
    tmp_path: Path,
    work: Callable[..., Any],
) -> None:
    """Bit for bit with the same number of threads, whatever the order of hashing; else nearly."""

    def answers_of(setting: tuple[int, str]) -> list[dict[str, Any]]:
        folder = tmp_path / "-".join(map(str, setting))
        tasks = [
            {"experiment": name, "folder": str(folder / name), "resume": False}
            for name in experiments
        ]
        return work(tasks, threads=setting[0], hash_seed=setting[1])

    with ThreadPoolExecutor(2) as pool:  # of processes
        found = dict(zip(settings, pool.map(answers_of, settings), strict=True))
    spread = {}
    for place, name in enumerate(experiments):
        answers = {setting: found[setting][place] for setting in settings}
        first: dict[int, Any] = {}
        for (threads, hash_seed), answer in answers.items():
            same = first.setdefault(threads, answer)
            assert answer["metrics"] == same["metrics"], (name, threads, hash_seed)
            assert answer["files"] == same["files"], (name, threads, hash_seed)
        if 2 in first:
            one, two = first[1]["metrics"], first[2]["metrics"]
            spread[name] = max(abs(one[key] - two[key]) for key in one)
    print("one thread against two, largest difference of a metric:", spread)
    assert all(value <= SPREAD for value in spread.values()), spread
