"""What every experiment shares: the record of a run, presets, and overriding a config by ``key=value``."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, get_type_hints

from coursework.errors import ConfigError

if TYPE_CHECKING:
    from coursework.data.sources import Source

C = TypeVar("C")

EXPERIMENTS: dict[str, str] = {
    "sentiment": "Problem 1: polarity of tweets with a bidirectional LSTM",
    "sentiment_study": "Problem 1: what helps on validation tweets, one change at a time",
    "tweets": "Problem 1: what each step of cleaning and copies of tweets are worth",
    "translation": "Problem 2: French to English, recurrent and Transformer",
    "translation_ensemble": "Problem 2: three networks as one on the subset, with beam search",
    "translation_all": "Problem 2: French to English on all pairs, in subwords, with beam search",
    "wikipedia": "Problem 3: traffic of Wikipedia pages with a graph network",
    "large_graph": "Problem 3: plain GCN and GAT in parts of a generated graph of a million nodes",
    "wikipedia_study": "Problem 3: what each part of the networks is worth, on validation pages",
    "cora": "Problem 4: topics of papers with GCN and GAT",
    "cora_study": "Problem 4: what depth and missing citations do, on validation nodes",
    "segmentation": "Problem 5: digits on a canvas with a U-Net, with and without skips",
}
"""Name -> one line. Adding an experiment is adding a module of that name to this package."""


@dataclass
class Run:
    """One training with one seed.

    Attributes:
        experiment: Name of the experiment.
        preset: Name of the preset that the config started from.
        config: The frozen config, every number of the run.
        seed: Seed of the run.
        metrics: Scalars; test metrics start with ``test_``.
        source: Where the data came from.
        seconds: Wall time of the whole run.
        curves: Name -> list of records (one per epoch), kept in the results file.
        notes: Further plain values worth keeping (parameter counts, precision, tables).
        artefacts: Objects for the notebook (model, predictions); never stored.
    """

    experiment: str
    preset: str
    config: Any
    seed: int
    metrics: dict[str, float]
    source: Source
    seconds: float
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, Any] = field(default_factory=dict)


class Experiment(Protocol):
    """What a module in this package provides."""

    PRESETS: Mapping[str, Any]
    train: Callable[..., Run]
    evaluate: Callable[[Path], dict[str, float]]


def get(name: str) -> Experiment:
    """The experiment's module.

    Raises:
        ConfigError: If there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"There is no experiment {name!r}; choose from {', '.join(EXPERIMENTS)}.")
    module: ModuleType = importlib.import_module(f"coursework.experiments.{name}")
    return cast(Experiment, module)


def preset_of(name: str, preset: str) -> Any:
    """The config of a preset.

    Raises:
        ConfigError: If the experiment has no such preset.
    """
    presets = get(name).PRESETS
    if preset not in presets:
        raise ConfigError(
            f"Experiment {name} has no preset {preset!r}; choose from {', '.join(presets)}."
        )
    return presets[preset]


def train_seed(
    experiment: str,
    config: Any,
    preset: str,
    seed: int,
    resume: bool = False,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train with one seed, in the folder of checkpoints that belongs to config and seed."""
    from coursework.training import engine

    identity = {"config": as_record(config), "seed": seed}
    run_dir = engine.fresh_run_dir(f"{experiment}-{preset}-seed{seed}", identity, resume=resume)
    run = get(experiment).train(
        config, preset=preset, seed=seed, resume=resume, run_dir=run_dir, log=log
    )
    if log is not None:
        log(f"checkpoints in {run_dir}")
    return run


def train_quietly(experiment: str, config: Any, preset: str, resume: bool, seed: int) -> Run:
    """:func:`train_seed` in another process: no lines, and nothing that cannot be sent back."""
    run = train_seed(experiment, config, preset, seed, resume, log=None)
    return dataclasses.replace(run, artefacts={})


def override(config: C, assignments: Sequence[str]) -> C:
    """A copy of a (nested) frozen config with ``key=value`` applied.

    Values are checked against the field's type; nested fields are reached by dots, tuples are written
    with commas, and ``none`` is None.

    Example:
        >>> override(PRESETS["full"], ["plan.epochs=3", "hidden_size=128"])  # doctest: +SKIP

    Raises:
        ConfigError: For a key that does not exist or a value of the wrong type.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, not {assignment!r}.")
        config = _replace(config, key.strip(), key.strip().split("."), text.strip())
    return config


def as_record(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _replace(config: Any, key: str, path: list[str], text: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    names = [f.name for f in dataclasses.fields(config)]
    if path[0] not in names:
        raise ConfigError(f"There is no key {key!r}; choose from {', '.join(names)}.")
    current = getattr(config, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(current):
            raise ConfigError(f"There is no key {key!r}; {path[0]} has no parts.")
        return dataclasses.replace(config, **{path[0]: _replace(current, key, path[1:], text)})
    if dataclasses.is_dataclass(current):
        parts = ", ".join(f"{path[0]}.{f.name}" for f in dataclasses.fields(current))
        raise ConfigError(f"{key} is a group of keys; set one of {parts}.")
    wanted = get_type_hints(type(config))[path[0]]
    raw: Any = text
    if text.lower() == "none":
        raw = None
    elif "tuple" in str(wanted):
        raw = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        value = TypeAdapter(wanted).validate_python(raw)
    except ValidationError as error:
        expected = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        expected = expected.replace("typing.", "")
        raise ConfigError(f"{key} cannot be {text!r}; it must be of type {expected}.") from error
    return dataclasses.replace(config, **{path[0]: value})
