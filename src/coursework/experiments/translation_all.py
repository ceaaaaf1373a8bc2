"""Problem 2(e) on all 135,842 pairs, as people write them: presets of :mod:`.translation` in subwords.

``full`` is the best model. ``brief``, ``brief-pretrained``, ``rnn`` and ``rnn-pretrained`` get the same
number of passes, so that they differ only in what is compared.
"""

import dataclasses

from coursework.config import override
from coursework.experiments import translation
from coursework.experiments.translation import evaluate, load, predict, train  # noqa: F401
from coursework.training.engine import Plan

PLAN = Plan(
    epochs=10, learning_rate=1.5e-3, weight_decay=0.01, schedule="one-cycle", warmup=0.08,
    clip_norm=1.0, monitor="validation_loss",
)  # fmt: skip
FULL = translation.Config(
    corpus="all",
    word_dropout=0.0,
    batch_size=3000,
    rnn=None,
    transformer=translation.TransformerConfig(decoder_layers=2, d_ff=768, dropout=0.1, plan=PLAN),
    beam=5,
)
_BRIEF = override(FULL, ["transformer.plan.epochs=3"])
_RNN = dataclasses.replace(
    FULL,
    transformer=None,
    rnn=translation.RecurrentConfig(
        dropout=0.1,
        label_smoothing=0.1,
        plan=dataclasses.replace(PLAN, epochs=3, learning_rate=1e-3),
    ),
)
PRESETS: dict[str, translation.Config] = {
    "quick": override(
        FULL,
        ["pairs=4000", "vocabulary=1000", "batch_size=1500", "beam=2", "transformer.width=64",
         "transformer.heads=2", "transformer.encoder_layers=1", "transformer.decoder_layers=1",
         "transformer.d_ff=128", "transformer.plan.epochs=2", "transformer.plan.learning_rate=5e-3"],
    ),
    "full": FULL,
    "brief": _BRIEF,
    "brief-pretrained": dataclasses.replace(_BRIEF, embeddings="pretrained"),
    "rnn": _RNN,
    "rnn-pretrained": dataclasses.replace(_RNN, embeddings="pretrained"),
}  # fmt: skip
