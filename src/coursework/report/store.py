"""The results store: ``writeup/results/NAME.json``, one file per recorded result, with provenance.

The format is written down in ``results.schema.json`` beside this module; every file is checked
against it when it is written and when it is read.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coursework import settings
from coursework.config import as_record
from coursework.errors import ResultsError
from coursework.experiments.base import Run
from coursework.report.tables import Table
from coursework.report.tables import spread as spread
from coursework.stats import summarise, wilson

SCHEMA_VERSION = 1
__all__ = ["make_record", "names", "read", "recorded", "spread", "summarise", "wilson", "write"]

_PACKAGES = ("torch", "torch-geometric", "numpy", "scikit-learn", "lightning-fabric", "sacrebleu")


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema of a result."""
    return json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))


def validate(record: Mapping[str, Any], where: str) -> None:
    """Check a record against the schema and against itself.

    Raises:
        ResultsError: With the first thing that is wrong.
    """
    import jsonschema

    try:
        error = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(schema()).iter_errors(record)
        )
    except RecursionError as deep:
        raise ResultsError(f"{where} is nested too deeply for a result.") from deep
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the record"
        raise ResultsError(f"{where} does not follow the schema at {place}: {error.message[:160]}.")
    for name, metric in record["metrics"].items():
        try:
            agrees = math.isclose(metric["mean"], statistics.fmean(metric["values"]), rel_tol=1e-9)
        except OverflowError:  # JSON knows whole numbers of any size
            agrees = False
        if not agrees:
            raise ResultsError(f"{where}: the mean of {name} is not the mean of its values.")


def is_name(name: str) -> bool:
    """Whether a result may have this name."""
    pattern = schema()["properties"]["name"]["pattern"].removesuffix("$")
    return re.fullmatch(pattern, name) is not None


def make_record(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Condense runs of one config with different seeds into a record.

    A single-seed run may give an interval of its own (over test items) in
    ``run.notes["intervals"][metric] = (low, high, how)``.

    Raises:
        ResultsError: If the runs do not belong together.
    """
    if not runs:
        raise ResultsError("There is no run to record.")
    first = runs[0]
    config = as_record(first.config)
    for run in runs[1:]:
        if as_record(run.config) != config or run.experiment != first.experiment:
            raise ResultsError(f"Runs of different configs cannot be one result ({name}).")
        if run.metrics.keys() != first.metrics.keys():
            raise ResultsError(f"The runs of {name} have different metrics.")
    metrics = {key: summarise([run.metrics[key] for run in runs]) for key in first.metrics}
    notes = {key: value for key, value in first.notes.items() if key != "intervals"}
    if len(runs) == 1:
        for key, (low, high, how) in first.notes.get("intervals", {}).items():
            metrics[key] |= {"low": low, "high": high, "interval": how}
    record: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "name": name,
        "experiment": first.experiment,
        "preset": first.preset,
        "config": config,
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
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src")),
        "versions": versions,
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "cores": os.cpu_count() or 1,
            "threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "device": gpu,
        },
    }


def write(record: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Validate a record and write it beside, then rename it into place.

    Raises:
        ResultsError: If it is not valid, or the file cannot be written.
    """
    folder = folder or settings.results_dir()
    path = folder / f"{record['name']}.json"
    validate(record, path.name)
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise ResultsError(
            f"{path} could not be written ({error.strerror}); free some space."
        ) from error
    return path


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Read a recorded result.

    Raises:
        ResultsError: If there is none of that name, or it is broken.
    """
    path = (folder or settings.results_dir()) / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(
            f"There is no recorded result {name!r}; available: {', '.join(names(folder)) or 'none'}."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path} cannot be read as JSON; restore it or record it again."
        ) from error
    validate(record, path.name)
    return record


def names(folder: Path | None = None) -> list[str]:
    """Names of the recorded results (the condensed ``headline`` is not one of them)."""
    folder = folder or settings.results_dir()
    return sorted(path.stem for path in folder.glob("*.json") if path.stem != "headline")


def recorded(*wanted: str, metrics: Sequence[str] | None = None, digits: int = 4) -> Table:
    """Recorded full results as a table, for the top of a notebook.

    Args:
        wanted: Names of results; those that are not recorded yet are left out.
        metrics: Metrics to show, in this order; all by default.
        digits: Decimals.
    """
    rows: list[tuple[Any, ...]] = []
    for name in wanted:
        if name not in names():
            continue
        record = read(name)
        machine = record["machine"]
        device = machine["device"] if machine["device"] != "cpu" else f"{machine['cores']}-core CPU"
        data = "STAND-IN" if record["data"]["standin"] else record["data"]["name"]
        for metric in metrics or record["metrics"]:
            if metric in record["metrics"]:
                summary = record["metrics"][metric]
                interval = (
                    f"[{summary['low']:.{digits}f}, {summary['high']:.{digits}f}]"
                    if "low" in summary
                    else None
                )
                rows.append(
                    (name, metric, spread(summary, digits), interval, data, device,
                     f"{record['seconds']:.0f}", record["commit"][:7])
                )  # fmt: skip
    return Table(
        ["result", "metric", "mean ± std", "95 % interval", "data", "machine", "seconds", "commit"],
        rows,
        caption="Recorded results (preset and seeds are in writeup/results)"
        if rows
        else "No full result has been recorded yet: coursework train EXPERIMENT --preset full",
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=settings.repo_root(),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
