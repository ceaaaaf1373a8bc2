"""Problem 2(e) on the subset, the networks of :mod:`.translation`'s ``full-pretrained`` as one."""

import dataclasses

from coursework.experiments import translation
from coursework.experiments.translation import evaluate, train  # noqa: F401

PRESETS: dict[str, translation.Config] = {
    "full": dataclasses.replace(translation.PRESETS["full-pretrained"], members=3, beam=5),
    "quick": dataclasses.replace(translation.PRESETS["quick"], members=2, beam=2),
}
