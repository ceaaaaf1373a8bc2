"""Problem 2(e) on all 135,842 pairs, as people write them: presets of :mod:`.translation` in subwords."""

from coursework.experiments import translation
from coursework.experiments.base import presets
from coursework.experiments.translation import evaluate, load, train  # noqa: F401

PRESETS = presets(translation.Config(), "translation_all")
