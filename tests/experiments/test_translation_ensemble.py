"""Several networks translate as one, and are those that the single runs trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from coursework.config import override
from coursework.experiments import translation, translation_ensemble
from coursework.experiments.base import Job, run_folder

SHORT = override(
    translation.PRESETS["quick"],
    ["rnn.width=32", "rnn.hidden=48", "transformer.width=48", "transformer.d_ff=64", "pairs=96",
     "batch_size=16", "rnn.plan.epochs=1", "transformer.plan.epochs=1"],
)  # fmt: skip
MODELS = ("rnn", "transformer")


def test_members_are_those_of_the_single_runs(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "PRESETS", {"tiny": SHORT})
    job = Job("translation", SHORT, "tiny", seed=1, log=None)
    single = translation.train(dataclasses.replace(job, folder=run_folder(job)))
    losses: list[int] = []
    real = translation.token_loss

    def counted(*given: Any) -> Any:
        losses.append(1)
        return real(*given)

    monkeypatch.setattr(translation, "token_loss", counted)
    both = dataclasses.replace(SHORT, members=2, beam=2)
    ensemble = Job("translation_ensemble", both, "quick", resume=True, log=None)
    ensemble = dataclasses.replace(ensemble, folder=run_folder(ensemble))
    first, trained = translation.train(ensemble), len(losses)
    again = translation.train(ensemble)
    assert trained > 0  # the member with seed 0
    assert len(losses) == trained  # and nothing the second time
    assert first.metrics == again.metrics
    own = single.artefacts["networks"]["transformer"][0].state_dict()
    member = first.artefacts["networks"]["transformer"][1].state_dict()
    assert all(bool((own[key] == member[key]).all()) for key in own)
    for name in MODELS:
        for key in ("bleu", "chrf", "exact_match"):
            assert f"{name}.test_{key}" in first.metrics
            assert f"{name}.one.greedy.validation_{key}" in first.metrics
    assert 0 <= first.notes["paired_bootstrap_p"] <= 1
    # begun anew, it keeps the checkpoints of all its networks
    translation.train(dataclasses.replace(ensemble, resume=False))
    folders = [run_folder(dataclasses.replace(job, seed=seed, resume=True)) for seed in (0, 1)]
    assert all((folder / name / "best.pt").is_file() for folder in folders for name in MODELS)


def test_members_are_those_of_the_preset_of_single_networks() -> None:
    one = dataclasses.replace(translation_ensemble.PRESETS["full"], members=1, beam=1)
    assert one == translation.PRESETS["full-pretrained"]
