"""Run the checks in a process of their own, so that code that loops or crashes harms nobody.

The worker examines one task after the other and writes a line of JSON for each. If it is silent for too
long, or dies, the task that it was at gets a remark, and a new worker goes on behind it.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

from coursework_tools.student import edition
from coursework_tools.student.contents import TASKS, Task
from coursework_tools.student.edition import path_of
from coursework_tools.student.engine import Report, examine, solution_of, verify
from coursework_tools.student.mistakes import Remark
from coursework_tools.student.probes import PROBES

IN_WORDS = "in words"
"""What a row of questions in words is called."""

START_SECONDS = 300.0
"""Time that a worker may take to start: importing torch alone takes seconds on a slow machine."""


class Row(NamedTuple):
    """A line of the report: an object, or the questions in words of a notebook."""

    question: str
    what: str
    file: str
    right: int
    total: int
    remarks: Sequence[Remark]


def rows(folder: Path, problems: Sequence[int], seconds: float = 60.0) -> Iterator[Row]:
    """Everything that an edition has to hold, whether or not it is there."""
    by_name = {task.name: task for task in TASKS if task.problem in problems}
    for name, right, total, said in check(folder, [*by_name.values()], seconds):
        task = by_name[name]
        yield Row(task.question, name, path_of(task.module).as_posix(), right, total, said)
    for problem, right, total, remarks in edition.in_words(folder, problems):
        file = f"notebooks/{edition.notebook_of(problem)}.ipynb"
        yield Row(str(problem), IN_WORDS, file, right, total, remarks)


def check(folder: Path, tasks: Sequence[Task], seconds: float = 60.0) -> Iterator[Report]:
    """Examine a student's versions, one report after the other; ``seconds`` for each object."""
    waiting = []
    for task in tasks:
        if (folder / path_of(task.module)).is_file():
            waiting.append(task)
        else:
            yield _nothing(task, f"{path_of(task.module).as_posix()} is missing.")
    while waiting:
        waiting = yield from _work(folder, waiting, seconds)


def _work(folder: Path, tasks: list[Task], seconds: float) -> Generator[Report, None, list[Task]]:
    """Reports of one worker, as far as it comes; returns the tasks that are left."""
    names = [task.name for task in tasks]
    lines: queue.Queue[str] = queue.Queue()
    slow = f"It took longer than {seconds:g} seconds: is there a loop that never ends?"
    command = [sys.executable, "-m", "coursework_tools.student.runner", str(folder), *names]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        worker = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints,
            encoding="utf-8",
        )  # fmt: skip
        assert worker.stdout is not None
        threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
        try:
            if not _next(lines, START_SECONDS):
                complaints.seek(0)
                last = complaints.read().strip().rpartition("\n")[2]
                why = f": {last}" if last else f" within {START_SECONDS:g} seconds; try again."
                yield from (_nothing(task, f"The checks did not start{why}") for task in tasks)
                return []
            for number, task in enumerate(tasks):
                line = _next(lines, seconds)
                if not line:
                    yield _nothing(task, slow if line is None else "It ended the Python process.")
                    return tasks[number + 1 :]
                name, passed, total, remarks = json.loads(line)
                yield Report(name, passed, total, tuple(Remark(*one) for one in remarks))
        finally:
            worker.kill()
            worker.wait()
    return []


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in itertools.chain(stream, [""]):
        lines.put(line)


def _next(lines: queue.Queue[str], seconds: float) -> str | None:
    """The next line; empty if the worker is dead, None if it is silent for too long."""
    try:
        return lines.get(timeout=seconds)
    except queue.Empty:
        return None


def _nothing(task: Task, words: str) -> Report:
    return Report(task.name, 0, len(PROBES[task.name]), (Remark("error", words),))


# --- in the worker -----------------------------------------------------------------------------


def judge(task: Task, path: Path) -> Report:
    """Examine the object of a task in a student's file, whatever the file may do."""

    try:
        student = load(path, task)
    except BaseException as error:
        return _nothing(task, f"{path.name} does not import: {_place(error, path)}.")
    return examine(task, student, lambda error: _place(error, path))


def load(path: Path, task: Task) -> ModuleType:
    """The student's module; what belongs to other tasks is taken from the solution, and never run."""
    text = path.read_text(encoding="utf-8")
    solution = solution_of(task)
    others = {name for other in TASKS if other.module == task.module for name in other.names}
    others -= {*task.names}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # perhaps in another object: blank that, so that lines keep their numbers
        block = rf"^(?:class|def) (?:{'|'.join(others) or '$'})\b.*\n(?:[ \t)\]#].*\n|\n)*"
        tree = ast.parse(re.sub(block, lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE))
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in others]
    module = ModuleType(f"_student_{path.stem}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    module.__dict__.update(
        {"__file__": str(path)}, **{name: getattr(solution, name) for name in others}
    )
    exec(compile(tree, path, "exec"), module.__dict__)
    for wanted in task.names:
        if not hasattr(module, wanted):
            raise ImportError(f"{wanted} is missing")
    return module


def _place(error: BaseException, path: Path) -> str:
    """An error of the student's code in one line, with its place in the student's file."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    message = str(error)
    if isinstance(error, SyntaxError) and error.lineno:
        lines, message = [error.lineno], error.msg
    line = f", line {lines[-1]}" if lines else ""
    first = message.strip().partition("\n")[0][:160]
    return f"{type(error).__name__} ({path.name}{line}){f': {first}' if first else ''}"


def main(arguments: Sequence[str]) -> None:
    """The worker: a folder and names of tasks."""
    folder, *names = arguments
    # The student's code may print: what the parent reads goes through a channel of its own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        tasks = [task for task in TASKS if task.name in names]
        for task in tasks:
            verify(task)  # also imports what takes long: that is not the student's time
        print("ready", file=channel, flush=True)
        for task in tasks:
            report = judge(task, Path(folder) / path_of(task.module))
            print(json.dumps(report), file=channel, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
