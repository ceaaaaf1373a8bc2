"""Problem 2(e) on all 135,842 pairs, as people write them: presets of :mod:`.translation` in subwords."""

from coursework.experiments import translation
from coursework.experiments.base import presets
from coursework.experiments.translation import evaluate, load, predict, train  # noqa: F401

PRESETS = presets(
    translation.Config(),
    {
        "quick": (
            "full; pairs=4000; vocabulary=1000; batch_size=1500; beam=2; transformer.width=64; "
            "transformer.heads=2; transformer.encoder_layers=1; transformer.decoder_layers=1; "
            "transformer.d_ff=128; transformer.plan.epochs=2; "
            "transformer.plan.learning_rate=0.005"
        ),
        "full": (
            "_all; rnn=none; beam=5; transformer.decoder_layers=2; transformer.d_ff=768; "
            "transformer.dropout=0.1; transformer.plan.epochs=10; "
            "transformer.plan.learning_rate=0.0015; transformer.plan.warmup=0.08; "
            "transformer.plan.monitor=validation_loss; transformer.plan.mode=min"
        ),
        # The same number of passes for all four, so that they differ only in what is compared.
        "brief": "full; transformer.plan.epochs=3",
        "brief-pretrained": "brief; embeddings=pretrained",
        "rnn": (
            "_all; transformer=none; beam=5; rnn.dropout=0.1; rnn.label_smoothing=0.1; "
            "rnn.plan.epochs=3; rnn.plan.learning_rate=0.001; rnn.plan.warmup=0.08; "
            "rnn.plan.monitor=validation_loss; rnn.plan.mode=min"
        ),
        "rnn-pretrained": "rnn; embeddings=pretrained",
        "_all": "corpus=all; word_dropout=0; batch_size=3000",
    },
)
