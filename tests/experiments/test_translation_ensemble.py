"""Several networks translate as one, and are those that the single runs trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coursework.errors import ConfigError
from coursework.experiments import translation, translation_ensemble
from coursework.experiments.base import as_record
from coursework.training import engine

TINY = dataclasses.replace(
    translation.PRESETS["quick"],
    pairs=400,
    rnn_plan=dataclasses.replace(translation.PRESETS["quick"].rnn_plan, epochs=1),
    transformer_plan=dataclasses.replace(translation.PRESETS["quick"].transformer_plan, epochs=1),
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path))
    monkeypatch.setenv("COURSEWORK_OFFLINE", "1")
    monkeypatch.delenv("COURSEWORK_DATA", raising=False)
    monkeypatch.setattr(translation, "PRESETS", {"tiny": TINY})
    return tmp_path


def test_members_are_those_of_the_single_runs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = translation_ensemble.Config(preset="tiny", members=2, beam=2)
    identity = {"config": as_record(TINY), "seed": 1}
    folder = engine.fresh_run_dir("translation-tiny-seed1", identity, resume=False)
    single = translation.train(TINY, seed=1, run_dir=folder, log=None)
    batches = []
    real = translation.token_loss
    monkeypatch.setattr(
        translation, "token_loss", lambda *given: (batches.append(1), real(*given))[1]
    )
    first = translation_ensemble.train(config, resume=True, log=None)
    trained = len(batches)
    again = translation_ensemble.train(config, resume=True, log=None)
    assert trained > 0  # the member with seed 0
    assert len(batches) == trained  # and nothing the second time
    assert first.metrics == again.metrics
    own = single.artefacts["translators"]["transformer"].model.state_dict()
    member = first.artefacts["networks"]["transformer"][1].state_dict()
    assert all(bool((own[key] == member[key]).all()) for key in own)
    for name in ("rnn", "transformer"):
        for key in ("bleu", "chrf", "exact_match"):
            assert f"{name}.test_{key}" in first.metrics
            assert f"{name}.one.greedy.validation_{key}" in first.metrics
    assert 0 <= first.notes["paired_bootstrap_p"] <= 1


def test_a_new_run_keeps_the_checkpoints_of_all_its_networks(cache: Path) -> None:
    config = translation_ensemble.Config(preset="tiny", members=1, beam=1)
    translation_ensemble.train(config, resume=False, log=None)
    assert {path.parent.name for path in cache.rglob("best.pt")} == {"rnn", "transformer"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "magic"}, "choose from"),
        ({"members": 0}, "at least 1"),
        ({"beam": 0}, "at least 1"),
        ({"alpha": -1.0}, "negative"),
    ],
)
def test_bad_config(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translation_ensemble.Config(**change)  # type: ignore[arg-type]
