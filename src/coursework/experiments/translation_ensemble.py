"""Problem 2(e) on the subset, three networks as one: presets of :mod:`.translation`.

With ``--resume`` the members are those of ``coursework train translation --preset full-pretrained``.
"""

import dataclasses

from coursework.experiments import translation
from coursework.experiments.translation import evaluate, train  # noqa: F401

PRESETS: dict[str, translation.Config] = {
    "full": dataclasses.replace(translation.PRESETS["full-pretrained"], members=3, beam=5),
    "quick": dataclasses.replace(translation.PRESETS["quick"], members=2, beam=2),
}
