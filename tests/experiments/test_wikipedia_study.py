"""The study of the parts of the networks: one change at a time, on validation pages of unreported splits."""

from __future__ import annotations

import dataclasses

import pytest

from coursework.errors import ConfigError
from coursework.experiments import wikipedia, wikipedia_study
from coursework.experiments.base import Run, override
from coursework.report import store

TINY = wikipedia_study.PRESETS["quick"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.delenv("COURSEWORK_DATA", raising=False)
        return wikipedia_study.train(TINY, log=None)


def test_every_variant_has_an_error_and_a_difference(run: Run) -> None:
    metrics = run.metrics
    assert len(metrics) == 2 * len(TINY.variants)
    mean, base = (metrics[f"{n}.random.validation_mae_ln"] for n in ("mean_alone", "graph_network"))
    assert metrics["mean_alone.random.difference"] == mean - base
    assert metrics["residual_attention.random.difference"] == 0
    assert mean != base


def test_table_reads_a_record(run: Run) -> None:
    text = str(wikipedia_study.table(store.make_record("wikipedia_study-quick", [run])))
    for name in TINY.variants:
        assert name in text


def test_splits_are_not_the_reported_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = wikipedia.split_of

    def spy(graph, kind, config, seed):  # type: ignore[no-untyped-def]
        seen.append(seed)
        return real(graph, kind, config, seed)

    monkeypatch.setattr(wikipedia, "split_of", spy)
    config = dataclasses.replace(TINY, variants=("residual attention",))
    wikipedia_study.train(config, seed=3, log=None)
    assert seen == [103]


def test_every_variant_changes_something() -> None:
    base = wikipedia_study.BASE
    for name, (network, _, changes) in wikipedia_study.VARIANTS.items():
        changed = override(base, changes)
        if name == wikipedia_study.base_of(name):
            assert changed == base
        else:
            assert changed != base or network in ("mlp", "gcn")


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (("magic",), "no variant"),
        ((), "empty"),
        (("mean alone",), "needs 'graph network'"),
        (("graph network", "labels alone"), "needs 'residual attention'"),
    ],
)
def test_bad_config(variants: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, variants=variants)


def test_the_base_is_trained_like_the_reported_network() -> None:
    base, full = wikipedia_study.BASE, wikipedia.PRESETS["full"]
    assert (base.plan, base.hidden, base.graph) == (full.plan, full.hidden, full.graph)
