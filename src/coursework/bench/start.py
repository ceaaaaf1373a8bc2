"""How soon the command line answers, and what the notebooks take."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from coursework import settings
from coursework.bench.harness import Findings, Gauge, quartiles, repeated

if TYPE_CHECKING:
    from coursework.bench import BenchConfig

IMPORT = (
    "import time; start = time.perf_counter(); import coursework.cli; "
    "print(time.perf_counter() - start)"
)


def gauges(config: BenchConfig) -> Findings:
    """Import of the command line and its help, in fresh interpreters; the last run of the notebooks."""

    def help_() -> None:
        command = [sys.executable, "-m", "coursework.cli", "--help"]
        subprocess.run(command, check=True, capture_output=True)

    def imported() -> float:
        done = subprocess.run(
            [sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    imported()
    low, middle, high = quartiles([imported() for _ in range(config.rounds)])
    found = [Gauge("start.import_seconds", "import of coursework.cli", middle, "s", (low, high))]
    low, middle, high = repeated(help_, config.rounds)
    found.append(Gauge("start.help_seconds", "coursework --help", middle, "s", (low, high)))
    return Findings(found + notebooks())


def notebooks() -> list[Gauge]:
    """What ``coursework run`` took when it last ran all notebooks, each and together; none if it has not."""
    path = settings.build_dir() / "run.json"
    if not path.is_file():
        return []
    seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    found = [
        Gauge(f"notebook.{name}_seconds", f"notebook {name}, run with its quick preset", value, "s")
        for name, value in seconds.items()
    ]
    whole = sum(seconds.values())
    return [*found, Gauge("notebook.all_seconds", "all notebooks, one by one", whole, "s")]
