"""Experiments join data, models and training; one module each, loaded when asked for; see :mod:`.base`."""

from coursework.config import override
from coursework.experiments.base import EXPERIMENTS, Job, Run, get, preset_of

__all__ = ["EXPERIMENTS", "Job", "Run", "get", "override", "preset_of"]
