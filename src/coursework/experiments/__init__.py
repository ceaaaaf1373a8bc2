"""Experiments join data, models and training; one module each, loaded when asked for.

Every module has a frozen ``Config``, ``PRESETS`` with at least ``full`` and ``quick``, ``train`` and
``evaluate``. See :mod:`coursework.experiments.base`.
"""

from coursework.experiments.base import EXPERIMENTS, Run, get, override, preset_of

__all__ = ["EXPERIMENTS", "Run", "get", "override", "preset_of"]
