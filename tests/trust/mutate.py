"""Mutation testing: change one thing of a module, run its tests, see whether one of them notices.

``python tests/trust/mutate.py [MODULE[:FUNCTION,...] ...] [--sample N] [--seed S]``, all of
:data:`TARGETS` by default. A mutant swaps an operator or a comparison, turns a condition round, changes a
number or a truth value, or leaves out a ``not``; messages, docstrings and annotations are left alone.
Everything heavy is imported once; each mutant is tried in a process forked from this one, which finds the
changed module where the real one would be. A mutant that takes ten times as long as the tests of the
real module counts as noticed. The outcome goes to ``build/mutation.json``, survivors are printed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "coursework.report.store": ("tests/report/test_report.py", ("summarise", "wilson")),
    "coursework.experiments.segmentation": (
        "tests/experiments/test_segmentation.py",
        ("confusion_matrices", "iou", "scores", "digit_accuracy", "boundary_f1"),
    ),
    "coursework.experiments.sentiment": (
        "tests/experiments/test_sentiment.py", ("scores", "confusion"),
    ),
    "coursework.experiments.sentiment_study": (
        "tests/experiments/test_sentiment_study.py", ("paired_difference",),
    ),
}  # fmt: skip
"""Modules whose metrics are mutated: their tests, and the functions."""


def targets() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Module -> (its tests, the functions that are mutated; none for all)."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for folder in ("models", "theory"):
        for path in sorted((SOURCE / "coursework" / folder).glob("*.py")):
            tests = ROOT / "tests" / folder / f"test_{path.stem}.py"
            if tests.is_file():
                found[f"coursework.{folder}.{path.stem}"] = (str(tests.relative_to(ROOT)), ())
    return found | METRICS


UNWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
"""What is imported already cannot be rewritten by pytest, which warns of it."""

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: where, and what."""

    line: int
    what: str
    tree: ast.Module


def _annotations(tree: ast.AST) -> set[int]:
    """Nodes of annotations, messages and subscripts of types, which are not mutated."""
    left: set[int] = set()
    for node in ast.walk(tree):
        parts: list[Any] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.Raise):
            parts = [node.exc]
        elif isinstance(node, ast.JoinedStr):
            parts = [*node.values]
        for part in parts:
            if part is not None:
                left |= {id(inner) for inner in ast.walk(part)}
    return left


def mutants(source: str, functions: Sequence[str] = ()) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    left = _annotations(tree)
    inside: set[int] | None = None
    if functions:
        wanted = [n for n in nodes if isinstance(n, ast.FunctionDef) and n.name in functions]
        inside = {id(inner) for n in wanted for inner in ast.walk(n)}
    for place, node in enumerate(nodes):
        if id(node) in left or (inside is not None and id(node) not in inside):
            continue
        for what, change in _changes(node):
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[place])
            yield Mutant(getattr(node, "lineno", 0), what, ast.fix_missing_locations(changed))


def _changes(node: ast.AST) -> list[tuple[str, Any]]:
    def swap(name: str, index: int | None = None) -> Any:
        def change(twin: Any) -> None:
            if index is None:
                setattr(twin, name, SWAPS[type(getattr(twin, name))]())
            else:
                twin.ops[index] = SWAPS[type(twin.ops[index])]()

        return change

    found: list[tuple[str, Any]] = []
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)].__name__
        found.append((f"{type(node.op).__name__} -> {new}", swap("op")))
    elif isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            if type(op) in SWAPS:
                new = SWAPS[type(op)].__name__
                found.append((f"{type(op).__name__} -> {new}", swap("ops", index)))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):

        def drop(twin: Any) -> None:
            twin.op = ast.UAdd() if isinstance(twin.op, ast.USub) else ast.Not()
            if isinstance(twin.op, ast.Not):
                twin.operand = ast.UnaryOp(ast.Not(), twin.operand)

        found.append((f"without {type(node.op).__name__}", drop))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        found.append(
            (f"{node.value} -> {not node.value}", lambda t: setattr(t, "value", not t.value))
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        found.append(
            (f"{node.value} -> {node.value + 1}", lambda t: setattr(t, "value", t.value + 1))
        )
    elif isinstance(node, ast.If | ast.IfExp):
        found.append(
            ("condition turned round", lambda t: setattr(t, "test", ast.UnaryOp(ast.Not(), t.test)))
        )
    return found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds one module changed, under its own name and file."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        self.module, self.path, self.code = module, path, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.module:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=str(self.path))
        assert spec is not None
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        return self.path.read_text(encoding="utf-8")

    def get_code(self, fullname: str) -> CodeType:
        return self.code

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


def attempt(module: str, path: Path, tests: str, code: CodeType | None, limit: float) -> str:
    """``killed``, ``survived`` or ``timeout``: what the tests say about a module."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if code is not None:
            sys.meta_path.insert(0, Finder(module, path, code))
        import pytest

        try:
            options = ["-x", "-q", "-p", "no:cacheprovider", "-W", UNWRITTEN]
            status = pytest.main([*options, str(ROOT / tests)])
        except BaseException:  # a mutant may do anything
            os._exit(1)
        os._exit(0 if status == 0 else 1)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def prepare() -> None:
    """Import what every child needs, but nothing of ours that may be mutated."""
    import coursework  # noqa: F401, I001  (prepares the import of torchvision)
    import hypothesis
    import lightning.fabric  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    torch.set_num_threads(1)
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutation")
    os.environ.setdefault("COURSEWORK_OFFLINE", "1")
    os.environ.pop("COURSEWORK_DATA", None)
    os.chdir(ROOT)


def main() -> int:
    """Try the mutants of the modules named; 1 if fewer than nine of ten are noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--sample", type=int, default=None, help="so many mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    known = targets()
    prepare()
    found: dict[str, Any] = {}
    for wanted in options.modules or known:
        name, _, chosen = wanted.partition(":")
        tests, functions = known[name]
        path = SOURCE / (name.replace(".", "/") + ".py")
        every = list(
            mutants(path.read_text("utf-8"), tuple(filter(None, chosen.split(","))) or functions)
        )
        total = len(every)
        if options.sample is not None and total > options.sample:
            every = random.Random(options.seed).sample(every, options.sample)
        begun = time.monotonic()
        if attempt(name, path, tests, None, 600) != "survived":
            print(f"{name}: its tests fail without any change")
            return 1
        limit = 10 * (time.monotonic() - begun) + 10
        outcomes = []
        for mutant in sorted(every, key=lambda m: m.line):
            code = compile(mutant.tree, str(path), "exec")
            outcome = attempt(name, path, tests, code, limit)
            outcomes.append((mutant.line, mutant.what, outcome))
            if outcome == "survived":
                print(f"survived: {name}:{mutant.line} {mutant.what}", flush=True)
        killed = sum(outcome != "survived" for _, _, outcome in outcomes)
        found[name] = {
            "mutants": total,
            "tried": len(outcomes),
            "killed": killed,
            "survivors": [list(o[:2]) for o in outcomes if o[2] == "survived"],
            "seconds": round(time.monotonic() - begun, 1),
        }
        print(f"{name}: {killed} of {len(outcomes)} noticed ({total} in all)", flush=True)
    target = ROOT / "build" / "mutation.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    tried = sum(item["tried"] for item in found.values())
    killed = sum(item["killed"] for item in found.values())
    print(f"{killed} of {tried} noticed; {target.relative_to(ROOT)}")
    return 0 if killed >= 0.9 * tried else 1


if __name__ == "__main__":
    sys.exit(main())
