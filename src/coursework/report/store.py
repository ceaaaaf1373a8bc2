"""The results store: ``writeup/results/NAME.json``, one file per recorded result, with provenance."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from coursework import files, settings
from coursework.config import as_record
from coursework.errors import ResultsError
from coursework.stats import summarise

if TYPE_CHECKING:
    from coursework.experiments.base import Run

NAME = r"^[a-z0-9][a-z0-9_.-]*$"
_PACKAGES = ("torch", "torch-geometric", "numpy", "scikit-learn", "lightning-fabric", "sacrebleu")


class Metric(BaseModel, strict=True, extra="forbid"):
    mean: float
    std: float | None  # sample standard deviation over the seeds; None for one value
    low: float = 0.0  # ends of the 95 % interval, where there is one
    high: float = 0.0
    interval: str = ""  # how it was computed
    values: Annotated[list[float], Field(min_length=1)]  # one per seed, in the order of the seeds


class Data(BaseModel, strict=True, extra="forbid"):
    name: str
    source: str
    sha256: str
    standin: bool  # generated data; such numbers are no results


class Machine(BaseModel, strict=True, extra="allow"):
    system: str
    processor: str
    cores: int
    device: str
    threads: int = 0
    memory_gib: float = 0.0


class Record(BaseModel, strict=True, extra="forbid"):
    version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=NAME)]  # file name without its ending
    experiment: str
    preset: str
    config: dict[str, Any]  # every number of the run
    seeds: list[int]
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    data: Data
    curves: dict[str, list[list[dict[str, Any]]]] = {}  # name -> a list of records for each seed
    notes: dict[str, Any] = {}  # parameter counts, tables; of the first seed
    commit: str
    modified: bool  # whether tracked source files differed from the commit
    versions: dict[str, str]
    machine: Machine
    seconds: Annotated[float, Field(ge=0)]
    created: str


def validate(record: Mapping[str, Any], where: str) -> None:
    """Check a record against its format and against itself."""
    try:
        Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'/'.join(map(str, first['loc'])) or 'the record'}: {first['msg'][:160]}"
        remedy = "restore it, or record it again"
        raise ResultsError(f"{where} is no result: {problem}; {remedy}.") from None
    for name, metric in record["metrics"].items():
        if not math.isfinite(metric["mean"]):
            raise ResultsError(f"{where}: {name} is {metric['mean']}; it cannot be recorded.")
        if not math.isclose(metric["mean"], statistics.fmean(metric["values"]), rel_tol=1e-9):
            problem = f"the mean of {name} is not the mean of its values"
            raise ResultsError(f"{where}: {problem}; restore the file from git.")


def seconds_of(record: Mapping[str, Any]) -> float:
    """What its runs took: their calls, or all epochs where an earlier call had trained some of them."""
    seeds = [seed for curve in record["curves"].values() for seed in curve]
    return max(record["seconds"], sum(row.get("seconds", 0) for seed in seeds for row in seed))


def make_record(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Condense runs of one config with different seeds into a record. A single run may bring intervals over
    test items: ``notes["intervals"][metric] = (low, high, how)``."""
    if not runs:
        raise ResultsError("There is no run to record; train at least one seed.")
    first = runs[0]
    for run in runs[1:]:
        if (run.config, run.experiment) != (first.config, first.experiment):
            raise ResultsError(f"Runs of different configs cannot be one result, {name}; name two.")
        if run.metrics.keys() != first.metrics.keys():
            raise ResultsError(f"The runs of {name} have different metrics; record them apart.")
    metrics = {key: summarise([run.metrics[key] for run in runs]) for key in first.metrics}
    notes = {key: value for key, value in first.notes.items() if key != "intervals"}
    if len(runs) == 1:
        for key, (low, high, how) in first.notes.get("intervals", {}).items():
            metrics[key] |= {"low": low, "high": high, "interval": how}
    record: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "experiment": first.experiment,
        "preset": first.preset,
        "config": as_record(first.config),
        "seeds": [run.seed for run in runs],
        "metrics": metrics,
        "data": first.source.as_record(),
        "curves": {key: [run.curves[key] for run in runs] for key in first.curves},
        "notes": notes,
        **provenance(),
        "seconds": sum(run.seconds for run in runs),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return json.loads(json.dumps(record))  # plain JSON values, or an error here and not later


def provenance() -> dict[str, Any]:
    """Commit, versions and machine."""
    import psutil
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    machine = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
    }
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src")),
        "versions": versions,
        "machine": machine,
    }


def write(record: Mapping[str, Any], folder: Path | None = None) -> Path:
    path = (folder or settings.results_dir()) / f"{record['name']}.json"
    validate(record, path.name)
    try:
        return files.write(path, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        what = f"{path} could not be written ({error.strerror})"
        raise ResultsError(f"{what}; free some space.") from error


def looks(name: str) -> int:
    """How often a training of this name has opened its test part, as far as its records say."""
    found = [0]
    for folder in (settings.results_dir(), settings.build_dir() / "results"):
        with contextlib.suppress(ResultsError):
            record = read(name, folder)  # an older one of real data: at least once
            found.append(record["notes"].get("test_looks", int(not record["data"]["standin"])))
    return max(found)


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    path = (folder or settings.results_dir()) / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(names(folder)) or "none"
        raise ResultsError(f"There is no recorded result {name!r}; available: {known}.") from error
    except (OSError, ValueError, RecursionError) as error:
        what = f"{path} cannot be read as JSON; restore it or record it again."
        raise ResultsError(what) from error
    validate(record, path.name)
    return record


def names(folder: Path | None = None) -> list[str]:
    """Names of the recorded results (the condensed ``headline`` is not one of them)."""
    found = (folder or settings.results_dir()).glob("*.json")
    return sorted(path.stem for path in found if path.stem != "headline")


def device_of(record: Mapping[str, Any], *, model: bool = False) -> str:
    """What a result was computed on: the GPU's name, else the CPU by its cores or its ``model``."""
    machine = record["machine"]
    cpu = str(machine["processor"]) if model else f"{machine['cores']}-core CPU"
    return cpu if machine["device"] == "cpu" else str(machine["device"])


def _git(*arguments: str) -> str:
    command, root = ["git", *arguments], settings.repo_root()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _processor() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*:(.*)", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()
