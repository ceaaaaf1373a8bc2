"""Trains small experiments through the command line and writes down what this process did.

``python ranks.py OUT EXPERIMENT...``, alone or under ``torchrun``. ``OUT/PROCESSES-RANK.json`` gets, for
each experiment: the samples of each epoch (as digests of their rows), the metrics of the run, and the
files that were opened for writing. Dropout is off: its random numbers depend on the number of processes.
Batch normalisation uses the statistics that it began with: those of a batch are, with two processes, of
half a batch, which would be another training.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import small
import torch
import torch.nn.functional as F

import coursework  # noqa: F401
from coursework import cli, settings
from coursework.experiments import base
from coursework.training import engine

OUT, EXPERIMENTS = Path(sys.argv[1]), sys.argv[2:]
RANK, PROCESSES = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
CHANGES = {
    "sentiment": (
        "dropout=0", "embedding_dropout=0", "word_dropout=0", "plan.precision=32-true",
    ),
    "translation": (
        "word_dropout=0", "rnn.dropout=0", "transformer.dropout=0",
        "rnn.plan.precision=32-true", "transformer.plan.precision=32-true",
    ),
    "segmentation": ("plan.precision=32-true",),
}  # fmt: skip

written: list[str] = []
epochs: list[list[str]] = []
metrics: dict[str, float] = {}
tested: list[int] = []


def note_writes(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: remember files opened for writing below the folders of the project."""
    if event != "open" or not isinstance(arguments[0], str) or not isinstance(arguments[2], int):
        return
    path, flags = arguments[0], arguments[2]
    inside = str(settings.cache_dir().parent)  # holds the cache and the build folder of this test
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path.startswith(inside):
        written.append(path)


def rows_of(batch: Any) -> list[str]:
    """Digest of every sample of a batch, its padding left out."""
    parts = list(batch.values()) if isinstance(batch, dict) else list(batch)
    rows = []
    for row in zip(*parts, strict=True):
        content = [torch.as_tensor(part).flatten().tolist() for part in row]
        if isinstance(batch, dict):  # ids: how far they are padded depends on the batch
            content = [[item for item in part if item != 0] for part in content]
        rows.append(hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12])
    return rows


real_fit, real_train = engine.fit, base.train_seed


def fit(model: Any, plan: Any, *, batches: Any, loss: Any, **options: Any) -> Any:
    """The loop, with a list of the samples of each epoch."""

    def begun(epoch: int) -> Any:
        epochs.append([])
        return batches(epoch)

    def seen(network: Any, batch: Any) -> Any:
        epochs[-1] += rows_of(batch)
        return loss(network, batch)

    return real_fit(model, plan, batches=begun, loss=seen, **options)


def train_seed(*arguments: Any, **options: Any) -> Any:
    """The training, with its metrics kept: only the first process records them."""
    run = real_train(*arguments, **options)
    metrics.update(run.metrics)
    tested.append(evaluated(run))
    return run


def evaluated(run: Any) -> int:
    """How many test samples the metrics are of; the whole test part, each once."""
    if run.experiment == "sentiment":
        assert sum(map(sum, run.notes["confusion"])) == run.notes["sizes"]["test"]
        return int(run.notes["sizes"]["test"])
    if run.experiment == "translation":
        assert {len(t) for t in run.artefacts["translations"].values()} == {
            run.notes["pairs"]["test"]
        }
        return int(run.notes["pairs"]["test"])
    assert {len(p) for p in run.artefacts["predictions"].values()} == {run.config.test_canvases}
    return int(run.config.test_canvases)


def normalise(layer: torch.nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation by the running statistics, in training too."""
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
    )


torch.nn.BatchNorm2d.forward = normalise  # type: ignore[assignment,method-assign]
engine.fit, base.train_seed = fit, train_seed
sys.addaudithook(note_writes)
found = {}
for name in EXPERIMENTS:
    written, epochs, metrics, tested = [], [], {}, []
    changes = [f"--set={change}" for change in (*small.SMALL[name], *CHANGES[name])]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.app(["train", name, *changes], standalone_mode=False)
    found[name] = {
        "epochs": epochs,
        "metrics": metrics,
        "written": list(written),
        "tested": tested,
        # stand-in data are announced by whoever reads them
        "printed": [line for line in printed.getvalue().splitlines() if "STAND-IN" not in line],
    }
(OUT / f"{PROCESSES}-{RANK}.json").write_text(json.dumps(found))
