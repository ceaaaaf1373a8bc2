"""Run the checks in a process of their own, so that code that loops or crashes harms nobody: the object that
it was at gets a remark, and a new process goes on behind it."""

import ast
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType

import torch
import typer
from joblib.externals.loky import ProcessPoolExecutor

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
        rows.append((task.question, task.name, path_of(task.module), *_verdict(one)))
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
    waiting = [task for task in tasks if (folder / path_of(task.module)).is_file()]
    for task in tasks:
        if task not in waiting:
            yield _nothing(task, f"{path_of(task.module)} is missing.")
    while waiting:
        worker = ProcessPoolExecutor(1, initializer=_prepare, initargs=(tuple(waiting),))
        begun: Task | None = None
        try:
            worker.submit(int).result(START_SECONDS)
            while waiting:
                begun = waiting.pop(0)
                path = folder / path_of(begun.module)
                yield worker.submit(judge, begun, path).result(seconds)
        except (BrokenProcessPool, TimeoutError) as error:
            if begun is None:
                words = "The checks did not start; the lines above say why, if there are any."
                yield from (_nothing(task, words) for task in waiting)
                return
            late = f"It took longer than {seconds:g} seconds: is there a loop that never ends?"
            over = isinstance(error, TimeoutError)
            yield _nothing(begun, late if over else "It ended the Python process.")
        finally:
            worker.shutdown(kill_workers=True)


def _prepare(tasks: Sequence[Task]) -> None:
    for task in tasks:
        verify(task)  # also imports what takes long: that is not the student's time
    with open(os.devnull, "wb") as nowhere:  # for what the student's code prints
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


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
    text = path.read_text(encoding="utf-8-sig")
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
    torch.set_default_device(None)  # a setting of one file must not reach the others
    if missing := [name for name in task.names if not hasattr(module, name)]:
        raise ImportError(f"{missing[0]} is missing")
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
