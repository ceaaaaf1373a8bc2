"""Run the checks in a process of their own, so that code that loops or crashes harms nobody.

The worker examines one task after the other and writes a line of JSON for each. If it is silent for too
long, or dies, the task that it was at gets a remark, and a new worker goes on behind it.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from coursework.errors import CourseworkError
from coursework.student.checks import Report, examine, solution_of
from coursework.student.edition import path_of
from coursework.student.remarks import Remark
from coursework.student.tasks import TASKS, Task

START_SECONDS = 300.0
"""Time that a worker may take to start: importing torch alone takes seconds on a slow machine."""


def check(folder: Path, tasks: Sequence[Task], seconds: float = 60.0) -> Iterator[Report]:
    """Examine a student's versions, one report after the other.

    Args:
        folder: The student's folder.
        tasks: What to examine.
        seconds: Time that one object may take.
    """
    waiting = list(tasks)
    while waiting:
        there = [task for task in waiting if (folder / path_of(task.module)).is_file()]
        for task in waiting:
            if task not in there:
                words = f"{path_of(task.module).as_posix()} is not there."
                yield _nothing(task, Remark("error", words))
        if not there:
            return
        waiting = yield from _work(folder, there, seconds)


def _work(folder: Path, tasks: list[Task], seconds: float) -> Generator[Report, None, list[Task]]:
    """Reports of one worker, as far as it comes; returns the tasks that are left."""
    command = [sys.executable, "-m", "coursework.student.runner", str(folder)]
    worker = subprocess.Popen(
        [*command, *(task.name for task in tasks)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what the student's code prints is of no use here
        text=True,
        encoding="utf-8",
    )
    assert worker.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
    left = list(tasks)
    try:
        ready = _next(lines, START_SECONDS)
        while left:
            line = _next(lines, seconds) if ready else ready
            if line:
                yield _parse(line)
                left.pop(0)
                continue
            if ready is None:
                raise CourseworkError(
                    f"The checks did not start within {START_SECONDS:g} seconds; try again when "
                    "the machine has less to do."
                )
            if line is None:
                words = f"It took longer than {seconds:g} seconds: is there a loop that never ends?"
            else:
                words = "It ended the Python process."
            yield _nothing(left.pop(0), Remark("error", words))
            break
    finally:
        worker.kill()
        worker.wait()
    return left


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _next(lines: queue.Queue[str], seconds: float) -> str | None:
    """The next line; empty if the worker is dead, None if it is silent for too long."""
    try:
        return lines.get(timeout=seconds)
    except queue.Empty:
        return None


def _nothing(task: Task, remark: Remark) -> Report:
    return Report(task.name, 0, len(task.checks), (remark,))


def _parse(line: str) -> Report:
    fields = json.loads(line)
    fields["remarks"] = tuple(Remark(**remark) for remark in fields["remarks"])
    return Report(**fields)


def main(arguments: Sequence[str]) -> None:
    """The worker: a folder and names of tasks."""
    folder, *names = arguments
    # The student's code may print: what the parent reads goes through a channel of its own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        tasks = [task for task in TASKS if task.name in names]
        for task in tasks:
            solution_of(task)  # libraries take long to import; that is not the student's time
        print("ready", file=channel, flush=True)
        for task in tasks:
            report = examine(task, Path(folder) / path_of(task.module), TASKS)
            print(json.dumps(asdict(report)), file=channel, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
