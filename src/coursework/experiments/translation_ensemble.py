"""Problem 2(e) on the subset, three networks as one with beam search: presets of :mod:`.translation`.

The members are the networks that ``coursework train translation --preset full-pretrained --seeds 3``
trains; with ``--resume`` finished ones are taken from their folders.
"""

import dataclasses

from coursework.experiments import translation
from coursework.experiments.translation import evaluate, train  # noqa: F401

PRESETS: dict[str, translation.Config] = {
    "full": dataclasses.replace(translation.PRESETS["full-pretrained"], members=3, beam=5),
    "quick": dataclasses.replace(translation.PRESETS["quick"], members=2, beam=2),
}
