"""Experiments join data, models and training; one module each, loaded when asked for.

Every module has a checked ``Config``, ``PRESETS`` with at least ``full`` and ``quick``, and ``train``.
See :mod:`coursework.experiments.base`.
"""

from coursework.config import override
from coursework.experiments.base import EXPERIMENTS, Job, Run, get, preset_of

__all__ = ["EXPERIMENTS", "Job", "Run", "get", "override", "preset_of"]
