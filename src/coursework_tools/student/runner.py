"""Run the checks in a process of their own, so that code that loops or crashes harms nobody.

The worker examines one task after the other and writes a line of JSON for each. If it is silent for too
long, or dies, the task that it was at gets a remark, and a new worker goes on behind it.
"""

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
from typing import IO

import typer

from coursework.console import Cell, show, track
from coursework.errors import ConfigError
from coursework_tools.student import edition
from coursework_tools.student.contents import TASKS, Remark, Report, Task
from coursework_tools.student.edition import path_of
from coursework_tools.student.engine import examine, solution_of, verify
from coursework_tools.student.probes import PROBES

# Time that a worker may take to start: importing torch alone takes seconds on a slow machine.
START_SECONDS = 300.0


def show_all(folder: Path | None, problem: int | None, seconds: float) -> bool:
    """Examine an edition and print the result; returns whether all of it is right."""
    root = edition.find(folder)
    there = edition.problems_in(root)
    problems = there if problem is None else edition.problems_of(problem)
    if not set(problems) <= set(there):
        raise ConfigError(f"The edition in {root} was made without problem {problem}.")
    tasks = {task.name: task for task in TASKS if task.problem in problems}
    objects = list(track(check(root, [*tasks.values()], seconds), "checking"))
    words = list(edition.in_words(root, problems))
    rows = []
    for one in objects:
        task = tasks[one.task]
        file = path_of(task.module).as_posix()
        rows.append((task.question, task.name, file, *_verdict(one)))
    for one in words:
        file = f"notebooks/{edition.notebook_of(int(one.task))}.ipynb"
        rows.append((one.task, "in words", file, *_verdict(one)))
    show(f"Student edition in {root}", ["problem", "object", "file", "score", "remarks"], rows)
    if objects:
        passed = sum(one.passed == one.total for one in objects)
        typer.echo(f"{passed} of {len(objects)} objects pass all their checks.")
    if words:
        answered, asked = sum(one.passed for one in words), sum(one.total for one in words)
        typer.echo(f"{answered} of {asked} questions in words have an answer.")
    return bool(rows) and all(one.passed == one.total for one in objects + words)


def _verdict(report: Report) -> tuple[Cell, Cell]:
    colour = "green" if report.passed == report.total else "red"
    remarks = "\n".join(map(str, report.remarks))
    return (f"{report.passed}/{report.total}", colour), remarks or ("all right", "green")


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
    same = [other for other in TASKS if other.module == task.module]
    others = {name for other in same for name in other.names} - {*task.names}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # perhaps in another object: blank that, so that lines keep their numbers
        block = rf"^(?:class|def) (?:{'|'.join(others) or '$'})\b.*\n(?:[ \t)\]#].*\n|\n)*"
        tree = ast.parse(re.sub(block, lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE))
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in others]
    module = ModuleType(f"_student_{path.stem}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    vars(module).update({name: getattr(solution, name) for name in others}, __file__=str(path))
    exec(compile(tree, path, "exec"), module.__dict__)
    for wanted in task.names:
        if not hasattr(module, wanted):
            raise ImportError(f"{wanted} is missing")
    return module


def _place(error: BaseException, path: Path) -> str:
    """An error of the student's code in one line, with its place in the student's file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
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
