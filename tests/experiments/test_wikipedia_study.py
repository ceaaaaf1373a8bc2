"""The study of the parts of the networks: one change at a time, on validation pages of unreported splits."""

from __future__ import annotations

import dataclasses

import pytest

from coursework.config import override
from coursework.data import wikipedia as pages
from coursework.errors import ConfigError
from coursework.experiments import study, wikipedia, wikipedia_splits, wikipedia_study
from coursework.experiments.base import Job

TINY = wikipedia_study.PRESETS["quick"]


@pytest.fixture(autouse=True)
def standins(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    monkeypatch.delenv("COURSEWORK_DATA", raising=False)


def test_every_variant_has_an_error_and_a_difference_on_other_splits_than_the_reported_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, real = set(), wikipedia_splits.split_of

    def spy(n, groups, seed, share):  # type: ignore[no-untyped-def]
        seen.add(seed)
        return real(n, groups, seed, share)

    monkeypatch.setattr(wikipedia_splits, "split_of", spy)
    run = wikipedia_study.train(Job("wikipedia_study", TINY, seed=3, log=None))
    assert seen == {103}
    assert run.seed == 3
    metrics = run.metrics
    real_load = pages.load

    def poisoned(name: pages.Name) -> pages.WikipediaGraph:
        graph = real_load(name)
        test = pages.split_random(graph.num_nodes, 103).test
        graph.y[test], graph.traffic[test] = 30.0, 1e13
        return graph

    monkeypatch.setattr(pages, "load", poisoned)
    again = wikipedia_study.train(Job("wikipedia_study", TINY, seed=3, log=None))
    assert again.metrics == metrics
    assert len(metrics) == 2 * len(TINY.variants)
    mean, base = (metrics[f"{n}.random.validation_mae_ln"] for n in ("mean_alone", "graph_network"))
    assert metrics["mean_alone.random.difference"] == mean - base != 0
    assert metrics["residual_attention.random.difference"] == 0
    assert [row["variant"] for row in run.notes["rows"]] == [*TINY.variants]
    assert all(row["parameters"] > 0 and row["what"] for row in run.notes["rows"])


def test_every_variant_changes_something() -> None:
    base = wikipedia_study.BASE
    for name, (network, _, changes) in wikipedia_study.VARIANTS.items():
        assert study.key_of(name).replace("_", "").isalnum()
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
