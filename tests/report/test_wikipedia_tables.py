"""Tables of problem 3(c) from a record made of a small run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coursework.experiments import wikipedia
from coursework.experiments.base import Run
from coursework.report import store, wikipedia_tables


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.delenv("COURSEWORK_DATA", raising=False)
        config = dataclasses.replace(
            wikipedia.PRESETS["quick"], networks=("attention",), attention_epochs=2, trees=5
        )
        return wikipedia.train(config, log=None)


def test_errors_are_those_of_the_run(run: Run) -> None:
    record = store.make_record("wikipedia-quick", [run])
    graph = run.artefacts["graph"]
    for kind in wikipedia.SPLITS:
        rows, error = wikipedia_tables.errors(graph, record, kind)
        assert np.array_equal(rows, run.artefacts["results"][kind].split.test)
        mae = run.metrics[f"{kind}.ensemble.test_mae_ln"]
        assert np.abs(error).mean() == pytest.approx(mae, abs=1e-3)


def test_worst_pages_come_first(run: Run) -> None:
    record = store.make_record("wikipedia-quick", [run])
    graph = run.artefacts["graph"]
    table = wikipedia_tables.worst_pages(graph, record, "random", count=5)
    rows, error = wikipedia_tables.errors(graph, record, "random")
    assert int(str(table.rows[0][0])) == rows[np.abs(error).argmax()]
    assert len(table.rows) == 5


def test_groups_hold_every_page_once() -> None:
    values = np.array([1.0, 1, 1, 2, 3, 4, 5, 6])
    error = np.array([1.0, -1, 1, 2, -2, 3, 3, 3])
    groups = wikipedia_tables.by_quantile(values, error, groups=3)
    assert sum(size for *_, size in groups) == 8
    weighted = sum(mean * size for _, mean, _, size in groups) / 8
    assert weighted == pytest.approx(np.abs(error).mean())
    assert [middle for middle, *_ in groups] == sorted(middle for middle, *_ in groups)
    assert wikipedia_tables.by_quantile(np.ones(4), np.ones(4)) == [(1.0, 1.0, 0.0, 4)]


def test_further_results_add_what_the_first_has_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record: dict[str, Any] = store.make_record("x", [run])
    plain = {**record, "metrics": {"random.gcn.test_r2": record["metrics"]["random.mean.test_r2"]}}
    kept = {"wikipedia-squirrel": record, "wikipedia-squirrel-plain": plain}
    monkeypatch.setattr(store, "names", lambda: list(kept))
    monkeypatch.setattr(store, "read", kept.__getitem__)
    found = wikipedia_tables.recorded()
    assert [*found] == ["squirrel"]
    assert found["squirrel"]["metrics"].keys() == record["metrics"].keys() | plain["metrics"].keys()
    table = wikipedia_tables.published(found)
    assert table.rows[0][:3] == ("squirrel", 0.317, None)
