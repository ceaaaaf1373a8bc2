"""All pairs in subwords: what :mod:`test_translation` leaves out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coursework.config import override
from coursework.experiments import translation
from coursework.experiments.base import Job
from coursework.experiments.translation_all import PRESETS


def test_the_recurrent_network_learns_subwords_too(standin: Path) -> None:
    small = override(
        PRESETS["rnn"],
        ["rnn.width=32", "rnn.hidden=48", "pairs=500", "vocabulary=150", "batch_size=200", "beam=2",
         "rnn.plan.epochs=3", "rnn.plan.learning_rate=2e-2"],
    )  # fmt: skip
    run = translation.train(Job("translation_all", small, log=None))
    assert run.metrics["test_bleu"] > run.metrics["memory.test_bleu"]


def test_presets_differ_in_what_is_compared_only() -> None:
    cells = [PRESETS[n] for n in ("brief", "brief-pretrained", "rnn", "rnn-pretrained")]
    assert {(*c.networks, c.embeddings) for c in cells} == {
        (name, kind) for name in ("rnn", "transformer") for kind in ("own", "pretrained")
    }
    same = {
        dataclasses.replace(c, rnn=cells[2].rnn, transformer=None, embeddings="own") for c in cells
    }
    assert len(same) == 1
    assert {n.plan.epochs for c in cells for n in c.networks.values()} == {3}
