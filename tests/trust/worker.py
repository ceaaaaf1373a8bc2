"""Runs small experiments in processes of their own, some of which kill themselves.

``python worker.py TASKS`` reads a JSON list of tasks, runs each in a process forked from this one (which
has imported everything and trained nothing), and prints one JSON line per task: ``experiment``, ``folder``
(the cache, so also the checkpoints), ``resume``, and ``kill``: the moment at which the process sends itself
SIGKILL, as a share of the moments of the last whole run of the experiment, or null. A moment is the begin
of a step, its end, any of six places within the bytes of a checkpoint, either side of the two renames that
put it in place, or a look at the validation part. They are counted, not timed, so that a failure can be
repeated. Checkpoints are written after every step.
"""

import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import given
import lightning_fabric  # noqa: F401
import torch

import coursework  # noqa: F401
from coursework import files
from coursework.experiments import base
from coursework.training import checkpoints, engine, seeds

PARTS = 6
TIMES = re.compile(r"seconds|peak_gib")  # what a second run cannot repeat


@dataclass
class Moments:
    """Counts the moments of this process, and ends it at the one that was asked for."""

    kill_at: int | None
    count: int = 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(moments: Moments) -> None:
    """Put a moment at everything that changes the state of a training."""
    real_fit, real_save, real_replace = engine.fit, torch.save, os.replace

    def fit(model: Any, plan: Any, *, loss: Any, validate: Any, **options: Any) -> Any:
        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                moments()
                value = function(*arguments)
                moments()
                return value

            return call

        options["checkpoint_seconds"] = -1.0
        return real_fit(model, plan, loss=counted(loss), validate=counted(validate), **options)

    def save(state: Any, file: Any, *rest: Any, **options: Any) -> None:
        whole = io.BytesIO()
        real_save(state, whole, *rest, **options)
        content = whole.getbuffer()
        step = -(-len(content) // PARTS)
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            file.flush()
            moments()

    def replace(source: Any, target: Any) -> None:
        moments()
        real_replace(source, target)
        moments()

    engine.fit = fit
    checkpoints.torch.save = save  # type: ignore[assignment]
    files.os.replace = replace  # type: ignore[assignment]


def digest(value: Any) -> Any:
    """Tensors as their SHA-256, times left out, everything else as it is."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, dict):
        return {str(k): digest(v) for k, v in value.items() if not TIMES.search(str(k))}
    if isinstance(value, list | tuple):
        return [digest(item) for item in value]
    return value


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Train once; the metrics, and digests of all that the checkpoints hold."""
    os.environ["COURSEWORK_CACHE"] = task["folder"]
    moments = Moments(None if task.get("kill") is None else 1 + int(task["kill"] * task["whole"]))
    watch(moments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    experiment = task["experiment"]
    config = given.config_of(experiment)
    result = base.train_seed(experiment, config, "quick", 0, resume=task["resume"], log=None)
    runs = Path(task["folder"]) / "runs"
    files = {
        str(path.relative_to(runs)): digest(checkpoints.load(path))
        for path in sorted(runs.rglob("*.pt"))
        if ".previous" not in path.name
    }
    return {"metrics": digest(result.metrics), "files": files, "moments": moments.count}


def answer(task: dict[str, Any], sender: Connection) -> None:
    try:
        sender.send(run(task))
    except BaseException:  # whatever it was belongs into the answer
        sender.send({"error": traceback.format_exc()})


def main() -> None:
    """Run the tasks one after the other."""
    tasks = json.loads(sys.argv[1])
    seeds.seed_everything(0)  # what a training imports is imported here, once for all
    for task in tasks:
        base.get(task["experiment"])
    whole: dict[str, int] = {}
    fork = multiprocessing.get_context("fork")
    for task in tasks:
        task["whole"] = whole.get(task["experiment"])
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=answer, args=(task, sender))
        process.start()
        sender.close()
        try:
            found = receiver.recv()
        except EOFError:  # nothing was sent
            found = {}
        process.join()
        if "moments" in found and not task["resume"]:
            whole[task["experiment"]] = found["moments"]
        print(json.dumps({"killed": process.exitcode == -signal.SIGKILL, **found}), flush=True)


if __name__ == "__main__":
    main()
