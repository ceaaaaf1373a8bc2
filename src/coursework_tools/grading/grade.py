"""The grader's view: for every line of the rubric where the answer is, and what its evidence says now."""

import ast
import functools
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coursework import files, settings
from coursework.console import Cell
from coursework.errors import ConfigError, ResultsError
from coursework.report import questions, store
from coursework.report.questions import QUESTIONS, Measured, measure
from coursework_tools import checkout
from coursework_tools.grading.rubric import RUBRIC, Item

Verdict = Literal["holds", "fails", "not run", "awaited"]  # awaited: a number is not recorded yet
# from the worst to the best: its mark, its colour, and what is said of lines that have it
VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "fails": ("✗", "red", "evidence fails for"),
    "not run": ("○", "yellow", "tests were skipped for"),
    "awaited": ("…", "yellow", "a result is not recorded yet for"),
    "holds": ("✓", "green", ""),
}
COLUMNS = ("question", "points", "asks", "answer", "evidence now", "numbers", "for a person")
TEMPLATE = "grade.html.j2"
CLAIM_TESTS = "theory/test_claims.py"
PYTEST = "-m pytest -q -p no:cacheprovider -p no:randomly"


def tests_of(item: Item) -> list[str]:
    """Tests of a line as pytest names them, those of its claims and their wrong versions included."""
    from coursework.theory import claims

    ids = [*item.tests]
    for claim in claims.of_question(item.question.part) if item.claims else ():
        if not isinstance(item.claims, tuple) or claim.name in item.claims:
            cases = [f"mutation_is_refuted[{claim.key}-{name}]" for name in claim.wrong]
            cases.insert(0, f"claim_holds[{claim.key}]")
            ids += [f"{CLAIM_TESTS}::test_{case}" for case in cases]
    return [f"tests/{name}" for name in ids]


@functools.cache
def _defined(path: Path) -> frozenset[str]:
    """Tests of a file; none where it is not there."""
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def missing(items: Sequence[Item] = RUBRIC) -> list[str]:
    """What the rubric names and is not there, one sentence each."""
    root, recorded = checkout.inside("tests", "coursework grade").parent, set(store.names())
    found = []
    for item in items:
        gone = []
        for test in tests_of(item):
            file, name, *_ = re.split(r"::|\[", test)
            gone += [f"the test {test}"] * (name not in _defined(root / file))
        package = root / "src" / "coursework"
        gone += [f"the module {path}" for path in item.modules if not (package / path).is_file()]
        for number in item.numbers:
            if number.result in recorded:
                named = {number.metric, *([number.bar] if isinstance(number.bar, str) else [])}
                lacking = named - store.read(number.result)["metrics"].keys()
                gone += [f"{metric} of {number.result}" for metric in lacking]
            else:
                gone.append(f"the result {number.result}")
        found += [f"{item.key} names {what}, which does not exist" for what in gone]
        if not tests_of(item):
            found.append(f"{item.key} names no test")
        try:
            _ = item.section
        except ResultsError as error:
            found.append(f"{item.key}: {error}")
    return found


def pages() -> dict[str, str]:
    """Sub-question -> page, read from the PDF; empty where there is none, ResultsError if it is broken."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    path = settings.repo_root() / "writeup" / "solutions.pdf"
    if not path.is_file():
        return {}
    # the labels that writeup/lib.typ gives the headings: 2(a) -> q-2-a
    parts = {q.part: "q-" + re.sub(r"[(.]", "-", q.part).replace(")", "") for q in QUESTIONS}
    try:
        reader = PdfReader(path)
        places = reader.named_destinations
        page_of = reader.get_destination_page_number
        found = {part: page_of(places[label]) for part, label in parts.items() if label in places}
    except (PyPdfError, OSError, ValueError) as error:
        remedy = "make it again with `coursework report`"
        raise ResultsError(f"{path} cannot be read as PDF; {remedy}.") from error
    return {part: str(page + 1) for part, page in found.items() if page is not None}


class Outcome(NamedTuple):
    """What pytest said about a test, case by case; a skipped one says nothing."""

    passed: int = 0
    failed: int = 0

    @property
    def verdict(self) -> Verdict:
        return "fails" if self.failed else "holds" if self.passed else "not run"


def read_junit(path: Path) -> dict[str, Outcome]:
    """Node id without its parameters, and with them -> outcome, from pytest's XML report."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        remedy = 'install it with `pip install -e ".[dev]"`, or list only with --no-run'
        raise ResultsError(f"pytest left no report; {remedy}.") from error
    found: defaultdict[str, Outcome] = defaultdict(Outcome)
    for case in cases:
        ended = {child.tag for child in case}
        failed = bool(ended & {"failure", "error"})
        passed = not failed and "skipped" not in ended
        name = case.get("classname", "").replace(".", "/") + ".py::" + case.get("name", "")
        for key in {name, name.partition("[")[0]}:
            found[key] = Outcome(found[key].passed + passed, found[key].failed + failed)
    return dict(found)


def run_tests(ids: Iterable[str]) -> dict[str, Outcome]:
    """Run tests by their ids; ResultsError if they cannot be run."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The ids go in a file: on Windows a command line holds 32 kB only.
        arguments = Path(folder) / "tests.txt"
        arguments.write_text("\n".join(dict.fromkeys(ids)), encoding="utf-8")
        command = [sys.executable, *PYTEST.split(), f"--junitxml={report}", f"@{arguments}"]
        said: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        done = subprocess.run(command, cwd=settings.repo_root(), check=False, **said)
        if done.returncode not in (0, 1):
            last = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
            raise ResultsError(f"pytest could not run the evidence ({last[-1][:200]}).")
        return read_junit(report)


@dataclass(frozen=True)
class Line:
    """A line of the rubric with everything that is known about it."""

    item: Item
    page: str | None
    numbers: Sequence[Measured]
    tests: Sequence[str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, test: str) -> Verdict:
        return self.outcomes.get(test, Outcome()).verdict

    @property
    def verdict(self) -> Verdict:
        """The worst of its evidence."""
        verdicts: list[Verdict] = [self.outcome(test) for test in self.tests]
        verdicts += [number.verdict for number in self.numbers]
        return min(verdicts, key=list(VERDICTS).index, default="holds")

    @property
    def says(self) -> str:
        """The verdict in words."""
        known = [self.outcomes.get(test, Outcome()) for test in self.tests]
        passed = sum(outcome.passed for outcome in known)
        total = passed + sum(outcome.failed for outcome in known)
        said = f"{passed} of {total} cases pass" if total else f"{len(self.tests)} tests"
        if self.numbers:
            there = sum(number.verdict != "awaited" for number in self.numbers)
            said += f", {there} of {len(self.numbers)} numbers recorded"
        if missed := sum(number.verdict == "fails" for number in self.numbers):
            said += f", {missed} bar{'' if missed == 1 else 's'} missed"
        return said


def assess(wanted: Sequence[str] = (), *, run: bool = True) -> list[Line]:
    """Look everything up for some notebooks (by name or number; all by default), and run the tests."""
    chosen = questions.select(wanted)
    items = [item for item in RUBRIC if item.question.notebook in chosen]
    if gone := missing(items):
        remedy = "Mend rubric.toml or questions.toml, or record the result."
        raise ResultsError(f"The rubric is out of date: {'; '.join(gone)}. {remedy}")
    outcomes = run_tests(name for item in items for name in tests_of(item)) if run else {}
    page = pages()
    return [
        Line(i, page.get(i.question.part), [*map(measure, i.numbers)], tests_of(i), outcomes)
        for i in items
    ]


def grouped(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    groups = itertools.groupby(lines, lambda line: line.item.question.homework)
    return [(homework, list(mine)) for homework, mine in groups]


def problems(lines: Sequence[Line]) -> list[str]:
    """What fails or was expected and is not there, a few words each; empty where all evidence holds."""
    run = any(line.outcomes for line in lines)  # else they are only listed
    found = [
        f"{words} {', '.join(keys)}"
        for verdict, (_, _, words) in VERDICTS.items()
        if (keys := [line.item.key for line in lines if line.verdict == verdict])
        if words and (run or verdict != "not run")
    ]
    nowhere = dict.fromkeys(line.item.question.part for line in lines if line.page is None)
    return [*found, *([f"the PDF has no page for {', '.join(nowhere)}"] if nowhere else [])]


def summary(lines: Sequence[Line]) -> str:
    """How far the evidence carries, in a sentence or two."""
    if any(line.outcomes for line in lines):
        held = [line for line in lines if line.verdict == "holds"]
        points, total = (sum(one.item.points or 0 for one in some) for some in (held, lines))
        text = f"All evidence holds for {len(held)} of {len(lines)} lines "
        text += f"({points:g} of {total:g} known points)"
    else:
        text = f"{len(lines)} lines are listed; their tests were not run"
    return "; ".join([text, *problems(lines)]) + ". The rest is for a person to judge."


def row(line: Line) -> Sequence[Cell]:
    item = line.item
    page = f" (PDF page {line.page})" if line.page else ""
    numbers = [f"{n.number.label}: {n.value_text()}; bar {n.bar_text()}" for n in line.numbers]
    return (
        item.key, questions.worth(item.points), item.asks,
        f"{item.question.notebook}: {item.section}{page}",
        (f"{line.verdict}: {line.says}", VERDICTS[line.verdict][1]),
        "\n".join(n.removesuffix("; bar –") for n in numbers) or "–", item.judge,
    )  # fmt: skip


def filled(template: Path, filters: dict[str, Any], **values: Any) -> str:
    """A Jinja template with its values; those of an HTML page are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), undefined=jinja2.StrictUndefined,
        autoescape=template.name.endswith(".html.j2"),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def write(lines: Sequence[Line], target: Path) -> Path:
    """Write the rubric as one HTML page without outside parts; its links lead into the checkout."""
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name a file, for example grade.html.")
    root, base = settings.repo_root(), target.resolve().parent

    def path(to: str) -> str:
        try:
            return Path(os.path.relpath(root, base)).joinpath(to).as_posix()
        except ValueError:  # another drive of Windows
            return (root / to.partition("#")[0]).as_uri()

    marks = {verdict: mark for verdict, (mark, *_) in VERDICTS.items()}
    when = time.strftime("%Y-%m-%d %H:%M")
    shown = {"groups": grouped(lines), "summary": summary(lines), "marks": marks, "when": when}
    filters = {"points": questions.worth, "path": path}
    return files.write(target, filled(Path(__file__).with_name(TEMPLATE), filters, **shown))
