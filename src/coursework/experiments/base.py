"""What every experiment shares: which training it is (Job), its record (Run), and trained models."""

import dataclasses
import hashlib
import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from torch import Tensor, nn

from coursework import settings
from coursework.config import as_record, override
from coursework.data.sources import Source
from coursework.errors import ConfigError, TrainingError
from coursework.training import checkpoints, engine

C = TypeVar("C")
Log = Callable[[str], None]

EXPERIMENTS: dict[str, str] = {
    "sentiment": "Problem 1: polarity of tweets with a bidirectional LSTM",
    "sentiment_study": "Problem 1: what helps on validation tweets, one change at a time",
    "tweets": "Problem 1: what each step of cleaning and copies of tweets are worth",
    "minilm": "Problem 1: the same tweets with a pre-trained Transformer",
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
    """One training with one seed: what is recorded of it, and objects for the notebook."""

    experiment: str
    preset: str
    config: Any
    seed: int
    metrics: dict[str, float]
    source: Source  # where the data came from
    seconds: float  # wall time of the whole run
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # a record per epoch
    notes: dict[str, Any] = field(default_factory=dict)  # further plain values worth recording
    artefacts: dict[str, Any] = field(default_factory=dict)  # models, predictions; never stored


@dataclass(frozen=True)
class Job:
    """Which training this is: what every ``train`` is called with and hands on to the loop."""

    experiment: str
    config: Any
    preset: str = "custom"
    seed: int = 0
    resume: bool = False
    folder: Path | None = None  # of the checkpoints; None keeps the best weights in memory
    log: Log | None = print
    started: float = field(default_factory=time.perf_counter)

    def say(self, line: str) -> None:
        if self.log is not None:
            self.log(line)

    def part(self, name: str, **changes: Any) -> Self:
        """The training of one network of several, in a folder of its own."""
        folder = None if self.folder is None else self.folder / name
        return dataclasses.replace(self, folder=folder, **changes)

    def loop(self, **bundle: Any) -> dict[str, Any]:
        """What :func:`.engine.fit` needs to know to store, resume and report."""
        config = as_record(self.config)
        identity = {"experiment": self.experiment, "config": config, "seed": self.seed}
        options = {"run_dir": self.folder, "resume": self.resume, "log": self.log}
        return options | {"identity": identity, "bundle": identity | bundle}

    def run(self, metrics: dict[str, float], source: Source, **rest: Any) -> Run:
        made = self.experiment, self.preset, self.config, self.seed
        return Run(*made, metrics, source, time.perf_counter() - self.started, **rest)


def get(name: str) -> Any:
    """The experiment's module: ``PRESETS``, ``train``, and ``evaluate`` where there is a model."""
    if name not in EXPERIMENTS:
        raise ConfigError(f"There is no experiment {name!r}; choose from {', '.join(EXPERIMENTS)}.")
    return importlib.import_module(f"coursework.experiments.{name}")


def preset_of(name: str, preset: str) -> Any:
    presets = get(name).PRESETS
    if preset not in presets:
        known = ", ".join(presets)
        raise ConfigError(f"Experiment {name} has no preset {preset!r}; choose from {known}.")
    return presets[preset]


def presets(default: C, lists: Mapping[str, str]) -> dict[str, C]:
    """Presets by what they change of the default, as ``--set`` does: ``"key=value; key=value"``.

    A part without ``=`` is another list; lists whose names begin with ``_`` are no presets.
    """

    def changes(name: str) -> Iterator[str]:
        for part in filter(None, lists[name].split("; ")):
            yield from (part,) if "=" in part else changes(part)

    return {name: override(default, [*changes(name)]) for name in lists if name[0] != "_"}


def run_folder(job: Job) -> Path:
    """Folder of a training, named after what it is; emptied of checkpoints unless it is resumed."""
    identity = json.dumps({"config": as_record(job.config), "seed": job.seed}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    folder = settings.runs_dir() / f"{job.experiment}-{job.preset}-seed{job.seed}-{digest}"
    if not job.resume and engine.first_process():
        # Below it too: a network that this run has not reached must not be resumed from an older one.
        for file in folder.rglob("*.pt"):
            file.unlink(missing_ok=True)
    return folder


def train_seed(experiment: str, config: Any, preset: str, seed: int, **options: Any) -> Run:
    """Train with one seed, in the folder that belongs to config and seed; ``resume`` or another ``log``."""
    job = Job(experiment, config, preset, seed, **options)
    job = dataclasses.replace(job, folder=run_folder(job))
    run = get(experiment).train(job)
    job.say(f"checkpoints in {job.folder}")
    return run


def train_quietly(experiment: str, config: Any, preset: str, resume: bool, seed: int) -> Run:
    """:func:`train_seed` in another process: no lines, and nothing that cannot be sent back."""
    run = train_seed(experiment, config, preset, seed, resume=resume, log=None)
    return dataclasses.replace(run, artefacts={})


def restore(
    path: Path | str, experiment: str, config_type: type[C]
) -> tuple[C, Mapping[str, Any], dict[str, Tensor]]:
    """Config, bundle and weights (float32) of a ``best.pt``, or of what :func:`shrink` made of it."""
    state = checkpoints.load(Path(path))
    bundle = state.get("bundle")
    if not isinstance(bundle, dict) or "experiment" not in bundle:
        raise checkpoints.foreign(path)
    if bundle["experiment"] != experiment:
        other = bundle["experiment"]
        raise TrainingError(
            f"Checkpoint {path} belongs to {other}, not to {experiment}; name another."
        )
    with checkpoints.fitting(path, experiment):
        weights = {k: v.float() if v.is_floating_point() else v for k, v in state["model"].items()}
        return config_type(**bundle["config"]), bundle, weights


def shrink(checkpoint: Path | str, path: Path | str) -> Path:
    """Write a checkpoint without optimiser and in half precision, small enough to keep."""
    state = checkpoints.load(Path(checkpoint))
    weights = {k: v.half() if v.is_floating_point() else v for k, v in state["model"].items()}
    return checkpoints.save({"model": weights, "bundle": state["bundle"]}, Path(path))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
