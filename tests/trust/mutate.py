"""Mutation testing: change one thing of a module, run its tests, see whether one of them notices.

``python tests/trust/mutate.py [MODULE ...]``, all of :func:`targets` by default. A mutant swaps an
operator or a comparison, turns a condition round, changes a number or a truth value, or leaves out a
``not``; messages, docstrings and annotations are left alone. Everything heavy is imported once; each mutant
is tried in a process forked from this one, which finds the changed module where the real one would be. A
mutant that takes ten times as long as the tests of the real module counts as noticed. The outcome goes to
``build/mutation.json``, survivors are printed; ``--record`` writes ``MUTATION.md`` of all that is there,
with the reasons that ``survivors.json`` gives.
"""

import argparse
import ast
import contextlib
import gc
import importlib
import importlib.util
import json
import math
import os
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
EXPLAINED, RECORD = (Path(__file__).with_name(name) for name in ("survivors.json", "MUTATION.md"))


class Target(NamedTuple):
    """What of a module is mutated, and what is to notice it."""

    tests: tuple[str, ...]  # arguments of pytest: the module's own tests
    functions: tuple[str, ...] = ()  # functions and classes that are mutated; none for all
    also: tuple[str, ...] = ()  # further tests, which are asked when those saw nothing


def targets() -> dict[str, Target]:
    """Module -> what is mutated and what is to notice; all of models and theory, rest in a file."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    found: dict[str, Target] = {}
    further = {"models": "tests/models/test_guards.py", "theory": "tests/theory/test_claims.py"}
    for folder, also in further.items():
        for path in sorted((SOURCE / "coursework" / folder).glob("*.py")):
            own = f"{folder}/test_{path.stem}.py"
            tests = "tests/" + listed["elsewhere"].get(f"{folder}/{path.stem}", own)
            if (ROOT / tests).is_file():
                found[f"coursework.{folder}.{path.stem}"] = Target((tests,), also=(also,))
    for name, one in listed["metrics"].items():
        found[name] = Target(**{key: tuple(value) for key, value in one.items()})
    return found


def source_of(module: str) -> Path:
    """File of a module."""
    return SOURCE / (module.replace(".", "/") + ".py")


def explained() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, its line, the change) -> why nothing notices."""
    reasons = json.loads(EXPLAINED.read_text(encoding="utf-8"))
    return {tuple(row): why for why, rows in reasons.items() for row in rows}


SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    line: int
    what: str
    tree: ast.Module


def mutants(source: str, functions: Sequence[str] = ()) -> Iterator[Mutant]:
    """All mutants of a module."""
    for place, line, what, change in changes(ast.parse(source), functions):
        tree = ast.parse(source)
        change(list(ast.walk(tree))[place])
        yield Mutant(line, what, ast.fix_missing_locations(tree))


Change = tuple[str, Callable[[Any], object]]  # in words, and done to a node


def changes(tree: ast.Module, functions: Sequence[str] = ()) -> Iterator[tuple[int, int, Any, Any]]:
    """What can be changed: number of the node in a walk, its line, and the change."""
    roots: list[ast.AST] = [tree]
    if functions:
        kinds = ast.FunctionDef | ast.ClassDef
        roots = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.name in functions]
    left = {id(inner) for part in _unchanged(tree) for inner in ast.walk(part)}
    inside = {id(inner) for root in roots for inner in ast.walk(root)} - left
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in inside:
            for what, change in _changes(node):
                yield place, getattr(node, "lineno", 0), what, change


def _unchanged(tree: ast.Module) -> Iterator[ast.AST]:
    """Annotations and messages."""
    for node in ast.walk(tree):
        for kind, name in (
            (ast.arg | ast.AnnAssign, "annotation"), (ast.FunctionDef, "returns"), (ast.Raise, "exc"),
        ):  # fmt: skip
            if isinstance(node, kind) and getattr(node, name) is not None:
                yield getattr(node, name)
        if isinstance(node, ast.JoinedStr):
            yield from node.values


def _changes(node: Any) -> Iterator[Change]:
    def swapped(op: ast.AST, put: Callable[[Any, ast.AST], object]) -> Iterator[Change]:
        if new := SWAPS.get(type(op)):
            yield f"{type(op).__name__} -> {new.__name__}", lambda twin: put(twin, new())

    def negated(name: str) -> Callable[[Any], object]:
        return lambda twin: setattr(twin, name, ast.UnaryOp(ast.Not(), getattr(twin, name)))

    match node:
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            yield from swapped(node.op, lambda twin, new: setattr(twin, "op", new))
        case ast.Compare():
            for place, op in enumerate(node.ops):
                yield from swapped(
                    op, lambda twin, new, place=place: twin.ops.__setitem__(place, new)
                )
        case ast.UnaryOp(op=ast.Not()):
            yield "without Not", negated("operand")
        case ast.UnaryOp(op=ast.USub()):
            yield "without USub", lambda twin: setattr(twin, "op", ast.UAdd())
        case ast.Constant(value=bool() | int() | float() as old):
            value = not old if isinstance(old, bool) else old + 1
            yield f"{old} -> {value}", lambda twin: setattr(twin, "value", value)
        case ast.If() | ast.IfExp():
            yield "condition turned round", negated("test")


class Finder(SourceFileLoader):
    """Finds one module changed, under its own name and file."""

    def __init__(self, module: str, code: CodeType) -> None:
        super().__init__(module, str(source_of(module)))
        self.code = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)
        return None

    def get_code(self, fullname: str) -> CodeType:
        return self.code


class Order:
    """Plugin of pytest: the tests that noticed most mutants so far come first."""

    def __init__(self, noticed: Counter[str]) -> None:
        self.noticed, self.failed = noticed, ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: -self.noticed[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


def _run(module: str, tests: Sequence[str], code: CodeType | None, order: Order) -> bool:
    """Whether the tests pass with the changed module; in a forked process."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if code is not None:
        sys.meta_path.insert(0, Finder(module, code))
    import pytest

    # what is imported already cannot be rewritten by pytest, which warns of it
    known = "ignore::pytest.PytestAssertRewriteWarning"
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-W", known]
    try:
        return pytest.main([*options, *tests], plugins=[order]) == 0
    except BaseException:  # a mutant may do anything
        return False


def survivors(
    module: str, tests: Sequence[str], codes: Sequence[CodeType | None], limit: float, jobs: int
) -> set[int]:
    """Numbers of the codes with which all tests pass within the limit, in seconds."""
    waiting, found = list(enumerate(codes))[::-1], set()
    running: dict[int, tuple[int, int]] = {}
    noticed: Counter[str] = Counter()
    gc.freeze()  # the children collect often; what was there before is not looked at again and again
    while waiting or running:
        while waiting and len(running) < jobs:
            number, code = waiting.pop()
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                signal.alarm(math.ceil(limit))  # ends it
                order = Order(noticed)
                passed = _run(module, tests, code, order)
                os.write(writer, order.failed.encode("utf-8")[:4000])
                os._exit(0 if passed else 1)
            os.close(writer)
            running[child] = (number, reader)
        child, status = os.wait()
        with contextlib.suppress(ProcessLookupError):  # what it started and left
            os.killpg(child, signal.SIGKILL)
        number, reader = running.pop(child)
        noticed.update(filter(None, [os.read(reader, 4000).decode("utf-8")]))
        os.close(reader)
        if not status:
            found.add(number)
    return found


def prepare() -> None:
    """Import what every child needs, but nothing of ours that may be mutated."""
    for name in (
        "coursework",  # first: it prepares the import of torchvision
        "lightning_fabric", "numpy", "pandas", "pytest", "sacrebleu.metrics", "scipy.stats",
        "sklearn.linear_model", "torch_geometric.datasets", "torch_geometric.nn",
        "torchmetrics.classification",
    ):  # fmt: skip
        importlib.import_module(name)
    import hypothesis
    import torch

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


def examine(name: str, target: Target, jobs: int) -> dict[str, Any]:
    """Try the mutants of one module."""
    source = source_of(name).read_text(encoding="utf-8")
    every = left = sorted(mutants(source, target.functions), key=lambda mutant: mutant.line)
    begun = time.monotonic()
    for tests in filter(None, (target.tests, target.also)):
        if not left:
            break
        start = time.monotonic()
        if not survivors(name, tests, [None], 600, 1):
            raise SystemExit(f"{name}: its tests fail without any change")
        limit = 10 * (time.monotonic() - start) + 10
        codes = [compile(mutant.tree, str(source_of(name)), "exec") for mutant in left]
        left = [left[number] for number in sorted(survivors(name, tests, codes, limit, jobs))]
    survived = [(m.line, source.splitlines()[m.line - 1].strip(), m.what) for m in left]
    for line, code, what in survived:
        print(f"survived: {name}:{line} {what}: {code}", flush=True)
    killed, seconds = len(every) - len(left), round(time.monotonic() - begun, 1)
    print(f"{name}: {killed} of {len(every)} noticed", flush=True)
    return {"tried": len(every), "killed": killed, "survivors": survived, "seconds": seconds}


def document(found: Mapping[str, Any]) -> str:
    """The outcome as a page: a table of modules, the survivors and why nothing notices them."""
    from jinja2 import Template

    from coursework.report import store  # not before the last mutant has been tried

    known = explained()
    reasons: dict[str, list[str]] = {}
    for name, item in found.items():
        for _, code, what in item["survivors"]:
            why = known.get((name, code, what), "Not explained")
            short = name.removeprefix("coursework.")
            reasons.setdefault(why, []).append(f"* {short}: {what}: `{code}`")
    order = sorted(reasons, key=lambda why: (why not in known.values(), -len(reasons[why])))
    sums = {
        key: sum(item[key] for item in found.values()) for key in ("tried", "killed", "seconds")
    }
    template = Template(RECORD.with_suffix(".md.j2").read_text(encoding="utf-8"), trim_blocks=True)
    survivors = {why: reasons[why] for why in order}
    return template.render(found=found, survivors=survivors, run=store.provenance(), **sums)


def main() -> int:
    """Try the mutants of the modules named; 1 if fewer than nine of ten are noticed."""
    known = targets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    output = ROOT / "build" / "mutation.json"
    prepare()
    output.parent.mkdir(parents=True, exist_ok=True)
    # modules that are not named stay as they were
    found = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    for name in options.modules or known:
        found[name] = examine(name, known[name], options.jobs)
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found = {name: found[name] for name in known if name in found}
    if options.record:
        RECORD.write_text(document(found), encoding="utf-8")
    tried, killed = (sum(item[key] for item in found.values()) for key in ("tried", "killed"))
    print(f"{killed} of {tried} noticed; {output.relative_to(ROOT)}")
    return 0 if killed >= 0.9 * tried else 1


if __name__ == "__main__":
    sys.exit(main())
