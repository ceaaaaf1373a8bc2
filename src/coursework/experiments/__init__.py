"""Experiments join data, models and training; one module each, loaded when asked for; see :mod:`.base`."""

from coursework.experiments.base import Job, preset_of

__all__ = ["Job", "preset_of"]
