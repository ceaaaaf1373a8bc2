"""Mutation testing: change one thing of a module, run its tests, see whether one of them notices.

``python tests/trust/mutate.py [MODULE[:FUNCTION,...] ...] [--sample N] [--seed S]``, all of
:func:`targets` by default. A mutant swaps an operator or a comparison, turns a condition round, changes a
number or a truth value, or leaves out a ``not``; messages, docstrings and annotations are left alone.
Everything heavy is imported once; each mutant is tried in a process forked from this one, which finds the
changed module where the real one would be. A mutant that takes ten times as long as the tests of the
real module counts as noticed. The outcome goes to ``build/mutation.json``, survivors are printed;
``--record`` writes ``MUTATION.md``, with the reasons that ``survivors.json`` gives; ``--again`` tries only
those that survived the last time, where the module is still the same.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import hashlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
EXPLAINED = Path(__file__).parent / "survivors.json"
RECORD = Path(__file__).parent / "MUTATION.md"


@dataclass(frozen=True)
class Target:
    """What of a module is mutated, and what is to notice it."""

    tests: tuple[str, ...]  # arguments of pytest: the module's own tests
    functions: tuple[str, ...] = ()  # functions and classes that are mutated; none for all
    also: tuple[str, ...] = ()  # further tests, which are asked when those saw nothing


def targets() -> dict[str, Target]:
    """Module -> what is mutated and what is to notice; all of models and theory, rest in a file."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    found: dict[str, Target] = {}
    for folder in ("models", "theory"):
        for path in sorted((SOURCE / "coursework" / folder).glob("*.py")):
            own = f"{folder}/test_{path.stem}.py"
            tests = "tests/" + listed["elsewhere"].get(f"{folder}/{path.stem}", own)
            if (ROOT / tests).is_file():
                also = ("tests/theory/test_claims.py",) if folder == "theory" else ()
                found[f"coursework.{folder}.{path.stem}"] = Target((tests,), also=also)
    metrics = {
        name: {k: tuple(v) for k, v in one.items()} for name, one in listed["metrics"].items()
    }
    return found | {name: Target(**one) for name, one in metrics.items()}


def source_of(module: str) -> Path:
    """File of a module."""
    return SOURCE / (module.replace(".", "/") + ".py")


def explained() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, its line, the change) -> why nothing notices."""
    found: dict[tuple[str, str, str], str] = {}
    for why, rows in json.loads(EXPLAINED.read_text(encoding="utf-8")).items():
        for module, code, what in rows:
            found[module, code, what] = why
    return found


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
    """All mutants of a module."""
    tree = ast.parse(source)
    for place, line, what, change in changes(tree, functions):
        changed = copy.deepcopy(tree)
        change(list(ast.walk(changed))[place])
        yield Mutant(line, what, ast.fix_missing_locations(changed))


def changes(tree: ast.Module, functions: Sequence[str] = ()) -> Iterator[tuple[int, int, str, Any]]:
    """What can be changed: number of the node in a walk, its line, the change in words, the change."""
    nodes = list(ast.walk(tree))
    left = _annotations(tree)
    inside: set[int] | None = None
    if functions:
        kinds = ast.FunctionDef | ast.ClassDef
        wanted = [n for n in nodes if isinstance(n, kinds) and n.name in functions]
        inside = {id(inner) for n in wanted for inner in ast.walk(n)}
    for place, node in enumerate(nodes):
        if id(node) in left or (inside is not None and id(node) not in inside):
            continue
        for what, change in _changes(node):
            yield place, getattr(node, "lineno", 0), what, change


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
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):  # also a bool
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        found.append((f"{node.value} -> {value}", lambda t: setattr(t, "value", value)))
    elif isinstance(node, ast.If | ast.IfExp):

        def turn(twin: Any) -> None:
            twin.test = ast.UnaryOp(ast.Not(), twin.test)

        found.append(("condition turned round", turn))
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


class Order:
    """Plugin of pytest: the tests that noticed most mutants so far come first."""

    def __init__(self, noticed: Counter[str]) -> None:
        self.noticed, self.failed = noticed, ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort; equal ones stay in the order of the file."""
        items.sort(key=lambda item: -self.noticed[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember which one failed."""
        if report.failed:
            self.failed = report.nodeid


def _run(
    module: str, path: Path, tests: Sequence[str], code: CodeType | None, order: Order
) -> bool:
    """Whether the tests pass with the changed module; in a forked process."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if code is not None:
        sys.meta_path.insert(0, Finder(module, path, code))
    import pytest

    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-W", UNWRITTEN]
    try:
        return pytest.main([*options, *tests], plugins=[order]) == 0
    except BaseException:  # a mutant may do anything
        return False


def attempts(
    module: str,
    path: Path,
    tests: Sequence[str],
    codes: Sequence[CodeType | None],
    limit: float,
    jobs: int,
) -> Iterator[tuple[int, str]]:
    """Number of a code, and ``killed``, ``survived`` or ``timeout``, as they come in."""
    waiting = list(enumerate(codes))[::-1]
    running: dict[int, tuple[int, float, int]] = {}
    noticed: Counter[str] = Counter()
    gc.freeze()  # the children collect often; what was there before is not looked at again and again
    while waiting or running:
        while waiting and len(running) < jobs:
            number, code = waiting.pop()
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                order = Order(noticed)
                passed = _run(module, path, tests, code, order)
                os.write(writer, order.failed.encode("utf-8")[:4000])
                os._exit(0 if passed else 1)
            os.close(writer)
            running[child] = (number, time.monotonic() + limit, reader)
        for child, (number, end, reader) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() < end:
                continue
            if not done:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            del running[child]
            noticed.update(filter(None, [os.read(reader, 4000).decode("utf-8")]))
            os.close(reader)
            yield number, "timeout" if not done else "killed" if status else "survived"
        time.sleep(0.01)


def prepare() -> None:
    """Import what every child needs, but nothing of ours that may be mutated."""
    import coursework  # noqa: F401, I001  (prepares the import of torchvision)
    import hypothesis
    import lightning_fabric  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import pytest  # noqa: F401
    import sacrebleu.metrics  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch
    import torch_geometric.datasets
    import torch_geometric.nn  # noqa: F401
    import torchmetrics.classification  # noqa: F401

    torch.set_num_threads(1)
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # no smaller example is wanted
    hypothesis.settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, phases=phases
    )
    hypothesis.settings.load_profile("mutation")
    # the plugins of notebooks and coverage take longer to load than most tests
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.setdefault("COURSEWORK_OFFLINE", "1")
    os.environ.pop("COURSEWORK_DATA", None)
    os.chdir(ROOT)


def examine(
    name: str,
    target: Target,
    functions: Sequence[str],
    options: Any,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Try the mutants of one module; of those tried before, only the ones that had survived.

    What tests have noticed once they still notice when tests are added, as long as the module is the same.
    """
    path = source_of(name)
    source = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(source.encode("utf-8")).hexdigest()
    every = list(mutants(source, functions or target.functions))
    total = len(every)
    if options.sample is not None and total > options.sample:
        every = random.Random(options.seed).sample(every, options.sample)
    every.sort(key=lambda mutant: mutant.line)
    begun = time.monotonic()
    left = every
    seconds = 0.0
    if before is not None and (before["source"], before["tried"]) == (digest, len(every)):
        known = {(line, what) for line, _, what in before["survivors"]}
        left = [mutant for mutant in every if (mutant.line, mutant.what) in known]
        seconds = before["seconds"]
    for tests in filter(None, (target.tests, target.also)):
        if not left:
            break
        start = time.monotonic()
        if [*attempts(name, path, tests, [None], 600, 1)] != [(0, "survived")]:
            raise SystemExit(f"{name}: its tests fail without any change")
        limit = 10 * (time.monotonic() - start) + 10
        codes = [compile(mutant.tree, str(path), "exec") for mutant in left]
        seen = dict(attempts(name, path, tests, codes, limit, options.jobs))
        left = [mutant for number, mutant in enumerate(left) if seen[number] == "survived"]
    lines = source.splitlines()
    survivors = [(m.line, lines[m.line - 1].strip(), m.what) for m in left]
    for line, code, what in survivors:
        print(f"survived: {name}:{line} {what}: {code}", flush=True)
    print(f"{name}: {len(every) - len(left)} of {len(every)} noticed ({total} in all)", flush=True)
    return {
        "mutants": total,
        "tried": len(every),
        "killed": len(every) - len(left),
        "survivors": survivors,
        "seconds": round(seconds + time.monotonic() - begun, 1),
        "source": digest,
    }


def document(found: Mapping[str, Any]) -> str:
    """The outcome as a page: a table of modules, the survivors and why nothing notices them."""
    from coursework.report import store  # not before the last mutant has been tried

    known, run = explained(), store.provenance()
    machine, versions = run["machine"], run["versions"]
    tried = sum(item["tried"] for item in found.values())
    killed = sum(item["killed"] for item in found.values())
    seconds = sum(item["seconds"] for item in found.values())
    lines = [
        "# Mutation testing", "",
        "Written by `python tests/trust/mutate.py --record`; not edited by hand, but for the reasons, which",
        "are in `survivors.json`. One thing of a module is changed at a time; its tests are to notice.", "",
        f"**{killed} of {tried} mutants noticed ({killed / tried:.1%})**, in {seconds / 60:.0f} minutes.", "",
        f"Commit `{run['commit'][:7]}`, Python {versions['python']}, torch {versions['torch']}, "
        f"{machine['cores']} cores of {machine['processor']}. Survivors are tried again when tests are added",
        "(`--again`), as long as their module is the same.", "",
        "| module | mutants | noticed | share |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    for name, item in found.items():
        share = item["killed"] / item["tried"]
        lines.append(f"| {name} | {item['tried']} | {item['killed']} | {share:.0%} |")
    reasons: dict[str, list[str]] = {}
    for name, item in found.items():
        for _, code, what in item["survivors"]:
            why = known.get((name, code, what), "Not explained")
            short = name.removeprefix("coursework.")
            reasons.setdefault(why, []).append(f"* {short}: {what}: `{code}`")
    lines += ["", "## Survivors"]
    for why in sorted(reasons, key=lambda w: (w not in known.values(), -len(reasons[w]))):
        lines += ["", f"**{why}**", "", *reasons[why]]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try the mutants of the modules named; 1 if fewer than nine of ten are noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--sample", type=int, default=None, help="so many mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    if options.again and options.sample is not None:
        parser.error("--again goes on from all mutants; leave --sample out")
    output = ROOT / "build" / "mutation.json"
    if options.again and not output.is_file():
        parser.error(f"there is no {output.relative_to(ROOT)} to go on from; leave --again out")
    known = targets()
    prepare()
    output.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(output.read_text(encoding="utf-8")) if options.again else {}
    found: dict[str, Any] = dict(before)  # modules that are not named stay as they were
    for wanted in options.modules or known:
        name, _, chosen = wanted.partition(":")
        if name not in known:
            raise SystemExit(f"{name} is none of {', '.join(known)}")
        functions = tuple(filter(None, chosen.split(",")))
        found[name] = examine(name, known[name], functions, options, before.get(name))
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found = {name: found[name] for name in known if name in found}
    if options.record:
        RECORD.write_text(document(found), encoding="utf-8")
    tried = sum(item["tried"] for item in found.values())
    killed = sum(item["killed"] for item in found.values())
    print(f"{killed} of {tried} noticed; {output.relative_to(ROOT)}")
    return 0 if killed >= 0.9 * tried else 1


if __name__ == "__main__":
    sys.exit(main())
