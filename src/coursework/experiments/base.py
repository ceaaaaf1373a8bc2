"""What every experiment shares: which training it is (Job), its record (Run), and trained models."""

import dataclasses
import hashlib
import importlib
import itertools
import json
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from coursework import settings
from coursework.config import as_record, override
from coursework.data.sources import Source
from coursework.errors import ConfigError, TrainingError
from coursework.training import checkpoints, engine

C = TypeVar("C")
Log = Callable[[str], None]
SCALE = ".scale of a row"  # ends the name of the entry with the scales of an int8 matrix

_TOML = Path(__file__).with_name("experiments.toml")
TABLES: dict[str, Any] = tomllib.loads(_TOML.read_text(encoding="utf-8"))


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

    def members(self, experiment: str, alone: Any, count: int) -> list[Self]:
        """One job for each network of an ensemble: that of training it alone, resumed in its own folder, so
        that what is trained already is used again. Ensembles of other seeds share no network."""
        known = presets_of(experiment).items()
        preset = next((name for name, config in known if config == alone), "custom")
        changed = {"experiment": experiment, "config": alone, "preset": preset, "resume": True}
        made = dataclasses.replace(self, **changed)
        jobs = [dataclasses.replace(made, seed=count * self.seed + i) for i in range(count)]
        if self.folder is None:
            return jobs
        return [dataclasses.replace(job, folder=run_folder(job)) for job in jobs]

    def loop(self, source: Source, **bundle: Any) -> dict[str, Any]:
        """What :func:`.engine.fit` needs to know to store, resume and report."""
        config, data = as_record(self.config), source.sha256  # stand-ins are another run
        identity = {"experiment": self.experiment, "config": config, "seed": self.seed}
        identity["data"] = data
        options = {"run_dir": self.folder, "resume": self.resume, "log": self.log}
        return options | {"identity": identity, "bundle": identity | bundle}

    def run(self, metrics: dict[str, float], source: Source, **rest: Any) -> Run:
        made = self.experiment, self.preset, self.config, self.seed
        return Run(*made, metrics, source, time.perf_counter() - self.started, **rest)


def get(name: str) -> Any:
    """The module of an experiment: that of its name, unless its table names another as ``module``."""
    if name not in TABLES:
        raise ConfigError(f"There is no experiment {name!r}; choose from {', '.join(TABLES)}.")
    return importlib.import_module(f"coursework.experiments.{TABLES[name].get('module', name)}")


def presets_of(name: str) -> dict[str, Any]:
    module = get(name)
    return presets(module.Config(), name) if "module" in TABLES[name] else module.PRESETS


def preset_of(name: str, preset: str) -> Any:
    found = presets_of(name)
    if preset not in found:
        known = ", ".join(found)
        raise ConfigError(f"Experiment {name} has no preset {preset!r}; choose from {known}.")
    return found[preset]


def changes(lists: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Lists ``"key=value; other list; ..."`` as they are applied, without those whose name begins with _."""

    def of(text: str) -> tuple[str, ...]:
        parts = filter(None, map(str.strip, text.split(";")))
        return tuple(c for part in parts for c in ((part,) if "=" in part else of(lists[part])))

    return {name: of(text) for name, text in lists.items() if name[0] != "_"}


def presets(default: C, experiment: str, table: str = "presets") -> dict[str, C]:
    """Presets, as ``experiments.toml`` has them, by what they change of the default."""
    own = TABLES[experiment][table]
    lists = changes(TABLES[TABLES[experiment].get("module", experiment)][table] | own)
    return {name: override(default, found) for name, found in lists.items() if name in own}


def run_folder(job: Job) -> Path:
    """Folder of a training, named after what it is; what an earlier one left there is set aside unless it is
    resumed."""
    identity = json.dumps({"config": as_record(job.config), "seed": job.seed}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    folder = settings.runs_dir() / f"{job.experiment}-{job.preset}-seed{job.seed}-{digest}"
    if not job.resume and engine.first_process() and any(folder.rglob("*.pt")):
        # All of it: a network that this run has not reached must not be resumed from an older one.
        places = (folder.with_name(f"{folder.name}-earlier{i}") for i in itertools.count(1))
        earlier = next(place for place in places if not place.exists())
        folder.rename(earlier)
        job.say(f"checkpoints of an earlier run with these options are now in {earlier}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train_seed(experiment: str, config: Any, preset: str, seed: int, **options: Any) -> Run:
    """Train with one seed, in the folder that belongs to config and seed; ``resume`` or another ``log``."""
    job = Job(experiment, config, preset, seed, **options)
    job = dataclasses.replace(job, folder=run_folder(job))
    run = get(experiment).train(job)
    if job.folder is not None and any(job.folder.rglob("*.pt")):
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
        what = f"Checkpoint {path} belongs to {bundle['experiment']}, not to {experiment}"
        raise TrainingError(f"{what}; name another.")
    with checkpoints.fitting(path, experiment):
        stored = state["model"]
        scales = {k.removesuffix(SCALE): stored[k] for k in stored if k.endswith(SCALE)}
        weights = {
            k: v.float() * scales.get(k, 1) if v.is_floating_point() or k in scales else v
            for k, v in stored.items()
            if not k.endswith(SCALE)
        }
        return config_type(**bundle["config"]), bundle, weights


def shrink(checkpoint: Path | str, path: Path | str, bits: Literal[8, 16] = 16) -> Path:
    """Write a checkpoint without optimiser, small enough to keep.

    Weights become half-precision numbers; with 8 bits those of matrices become integers of -127 to 127,
    with a scale for each row.
    """
    state, weights = checkpoints.load(Path(checkpoint)), dict[str, Tensor]()
    halves = dict[Any, Tensor]()  # with 16 bits a matrix that has two names is stored once
    for name, value in state["model"].items():
        half = value.half() if value.is_floating_point() else value
        weights[name] = halves.setdefault((value.data_ptr(), value.shape), half)
        if bits == 8 and value.is_floating_point() and value.dim() == 2:
            scale = (value.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-6).half()
            weights[name] = (value / scale).round().clamp(-127, 127).to(torch.int8)
            weights[name + SCALE] = scale
    return checkpoints.save({"model": weights, "bundle": state["bundle"]}, Path(path))


def named(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    """The scores under the names of metrics."""
    return {f"{prefix}{name}": value for name, value in scores.items()}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
