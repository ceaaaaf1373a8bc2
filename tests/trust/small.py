"""The experiments, small enough to be killed and run again many times: ``quick`` with smaller numbers.

Everything runs on stand-in data. What is left out is size: every experiment loads, splits, trains all
kinds of networks that it has, and tests.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from coursework.experiments import base

SMALL: dict[str, list[str]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
"""Experiment -> what its ``quick`` preset is changed to, as for ``--set``."""

SMALL["translation_ensemble"] = SMALL["translation"]
WITHOUT_CHECKPOINTS = {"tweets"}
"""Experiments that train nothing that is worth a checkpoint: interrupted, they begin anew."""


WITHOUT_STANDIN = {"minilm"}  # their own tests run them on a model that they make


def config_of(experiment: str) -> Any:
    """The small config of an experiment."""
    return base.override(base.preset_of(experiment, "quick"), SMALL[experiment])
