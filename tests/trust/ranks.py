"""Trains small experiments through the command line and writes down what this process did.

``python ranks.py OUT EXPERIMENT...``, alone or under ``torchrun``. ``OUT/PROCESSES-RANK.json`` gets, for
each experiment: the samples of each epoch (as digests of their rows), the metrics of the run, the number
of test samples behind them, and the files that were opened for writing. Dropout is off: its random numbers
depend on the number of processes. Batch normalisation uses the statistics that it began with: those of a
batch are, with two processes, of half a batch, which would be another training.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from given import SMALL

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
TESTED = {
    "sentiment": lambda run: [sum(map(sum, run.notes["confusion"]))],
    "translation": lambda run: [len(texts) for texts in run.artefacts["translations"].values()],
    "segmentation": lambda run: [len(masks) for masks in run.artefacts["predictions"].values()],
}
found: dict[str, Any] = {name: {"epochs": [], "written": []} for name in EXPERIMENTS}
now: dict[str, Any] = {"written": []}  # that of the experiment that runs


def note_writes(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: remember files opened for writing below the folders of the project."""
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        inside = str(
            settings.cache_dir().parent
        )  # holds the cache and the build folder of this test
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0].startswith(
            inside
        ):
            now["written"].append(arguments[0])


def rows_of(batch: Any) -> list[str]:
    """Digest of every sample of a batch, its padding left out."""
    ids = isinstance(batch, dict)
    rows = []
    for row in zip(*(batch.values() if ids else batch), strict=True):
        content = [torch.as_tensor(part).flatten().tolist() for part in row]
        if ids:  # how far they are padded depends on the batch
            content = [[item for item in part if item != 0] for part in content]
        rows.append(hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12])
    return rows


real_fit, real_train = engine.fit, base.train_seed


def fit(model: Any, plan: Any, *, batches: Any, loss: Any, **options: Any) -> Any:
    """The loop, with a list of the samples of each epoch."""

    def begun(epoch: int) -> Any:
        now["epochs"].append([])
        return batches(epoch)

    def seen(network: Any, batch: Any) -> Any:
        now["epochs"][-1] += rows_of(batch)
        return loss(network, batch)

    return real_fit(model, plan, batches=begun, loss=seen, **options)


def train_seed(*arguments: Any, **options: Any) -> Any:
    """The training, with its metrics kept: only the first process records them."""
    run = real_train(*arguments, **options)
    now.update(metrics=run.metrics, tested=TESTED[run.experiment](run))
    return run


def normalise(layer: torch.nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation by the running statistics, in training too."""
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
    )


torch.nn.BatchNorm2d.forward = normalise  # type: ignore[assignment,method-assign]
engine.fit, base.train_seed = fit, train_seed
sys.addaudithook(note_writes)
for name in EXPERIMENTS:
    now = found[name]
    changes = [f"--set={change}" for change in (*SMALL[name], *CHANGES[name])]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.app(["train", name, *changes], standalone_mode=False)
    # stand-in data are announced by whoever reads them
    now["printed"] = [line for line in printed.getvalue().splitlines() if "STAND-IN" not in line]
(OUT / f"{PROCESSES}-{RANK}.json").write_text(json.dumps(found))
