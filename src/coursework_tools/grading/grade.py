"""The grader's view: for every line of the rubric where the answer is, and what its evidence says now.

Tests are run through pytest, in a process of its own, so that the verdict is that of the tests
themselves and not of a second version of them. Recorded numbers are compared with their bars as
they are in the results store.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coursework import files, settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import questions, store
from coursework.report.questions import Measured, measure
from coursework_tools.grading import sections
from coursework_tools.grading.rubric import RUBRIC, Item

Verdict = Literal["holds", "fails", "not run", "awaited"]  # awaited: a number is not recorded yet
MARKS: dict[str, str] = {"holds": "✓", "fails": "✗", "not run": "○", "awaited": "…"}
TEMPLATE = "grade.html.j2"
CLAIM_TESTS = "theory/test_claims.py"


# ------------------------------------------------------------------------------- what there is


def tests_of(item: Item) -> list[str]:
    """Tests of a line as pytest names them, those of its claims and their wrong versions included."""
    ids = [f"tests/{name}" for name in item.tests]
    if item.claims:
        from coursework.theory import claims

        for claim in claims.of_question(item.question.part):
            if isinstance(item.claims, tuple) and claim.name not in item.claims:
                continue
            ids.append(f"tests/{CLAIM_TESTS}::test_claim_holds[{claim.key}]")
            ids += [
                f"tests/{CLAIM_TESTS}::test_mutation_is_refuted[{claim.key}-{name}]"
                for name in claim.wrong
            ]
    return ids


@functools.cache
def _defined(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def _exists(root: Path, test: str) -> bool:
    file, _, name = test.partition("::")
    return (root / file).is_file() and name.partition("[")[0] in _defined(root / file)


def missing(items: Sequence[Item] = RUBRIC) -> list[str]:
    """What the rubric names and is not there, one sentence each."""
    root = settings.repo_root()
    recorded = set(store.names())
    found = []
    for item in items:
        gone = [f"the test {name}" for name in tests_of(item) if not _exists(root, name)]
        package = root / "src" / "coursework"
        gone += [f"the module {path}" for path in item.modules if not (package / path).is_file()]
        for number in item.numbers:
            if number.result in recorded:
                metrics = store.read(number.result)["metrics"]
                bar = [number.bar] if isinstance(number.bar, str) else []
                gone += [
                    f"{metric} of {number.result}"
                    for metric in (number.metric, *bar)
                    if metric not in metrics
                ]
            elif not number.awaited:
                gone.append(f"the result {number.result}")
        found += [f"{item.key} names {what}, which does not exist" for what in gone]
        if not tests_of(item):
            found.append(f"{item.key} names no test")
        try:
            sections.section(item.question)
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
    try:
        reader = PdfReader(path)
        found = {}
        for part in {item.question.part for item in RUBRIC}:
            # the label that writeup/lib.typ gives the heading: 2(a) -> q-2-a
            slug = "q-" + part.replace("(", "-").replace(")", "").replace(".", "-")
            if slug in reader.named_destinations:
                number = reader.get_destination_page_number(reader.named_destinations[slug])
                if number is not None:
                    found[part] = str(number + 1)
    except (PyPdfError, OSError, ValueError) as error:
        raise ResultsError(
            f"{path} cannot be read as PDF; make it again with `coursework report`."
        ) from error
    return found


# ------------------------------------------------------------------------------ what it says now


@dataclass(frozen=True)
class Outcome:
    """What pytest said about one test; a parametrised one counts once for each case."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def verdict(self) -> Verdict:
        """Holds if something passed and nothing failed; a skipped test says nothing."""
        if self.failed:
            return "fails"
        return "holds" if self.passed else "not run"


def read_junit(path: Path) -> dict[str, Outcome]:
    """Node id without its parameters, and with them -> outcome, from pytest's XML report."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        raise ResultsError("pytest left no report; run it by hand to see what is wrong.") from error
    counts: dict[str, list[int]] = {}
    for case in cases:
        state = 0
        if case.find("failure") is not None or case.find("error") is not None:
            state = 1
        elif case.find("skipped") is not None:
            state = 2
        name = case.get("classname", "").replace(".", "/") + ".py::" + case.get("name", "")
        for key in {name, name.partition("[")[0]}:
            counts.setdefault(key, [0, 0, 0])[state] += 1
    return {key: Outcome(*values) for key, values in counts.items()}


def run_tests(ids: Iterable[str]) -> dict[str, Outcome]:
    """Run tests by their ids; ResultsError if they cannot be run."""
    root = settings.repo_root()
    if not (root / "tests").is_dir():
        raise ResultsError(
            f"There are no tests in {root}; run `coursework grade` inside a checkout."
        )
    if importlib.util.find_spec("pytest") is None:
        raise ResultsError(
            'pytest is not installed; run `pip install -e ".[dev]"`, or list only with --no-run.'
        )
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The ids go in a file: on Windows a command line holds 32 kB only.
        arguments = Path(folder) / "tests.txt"
        arguments.write_text("\n".join(dict.fromkeys(ids)), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
                   f"--junitxml={report}", f"@{arguments}"]  # fmt: skip
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, encoding="utf-8", errors="replace",
            check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            last = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
            raise ResultsError(f"pytest could not run the evidence ({last[-1][:200]}).")
        return read_junit(report)


@dataclass(frozen=True)
class Line:
    """A line of the rubric with everything that is known about it."""

    item: Item
    section: str
    link: str
    page: str | None
    numbers: tuple[Measured, ...]
    tests: tuple[str, ...]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, test: str) -> Verdict:
        """Verdict of one of its tests."""
        return self.outcomes.get(test, Outcome()).verdict

    @property
    def verdict(self) -> Verdict:
        """The worst of its evidence."""
        verdicts: list[Verdict] = [self.outcome(test) for test in self.tests]
        # numbers that come on top of recorded ones (another graph, another split) may be awaited
        recorded = [number for number in self.numbers if number.verdict != "awaited"]
        verdicts += [number.verdict for number in recorded or self.numbers]
        worst: tuple[Verdict, ...] = ("fails", "not run", "awaited", "holds")
        return next(verdict for verdict in worst if verdict in (*verdicts, "holds"))

    @property
    def says(self) -> str:
        """The verdict in words."""
        known = [self.outcomes[test] for test in self.tests if test in self.outcomes]
        passed = sum(outcome.passed for outcome in known)
        total = passed + sum(outcome.failed for outcome in known)
        words = [
            f"{passed} of {total} cases pass" if total else f"{len(self.tests)} tests, not run"
        ]
        if self.numbers:
            there = sum(number.verdict != "awaited" for number in self.numbers)
            words.append(f"{there} of {len(self.numbers)} numbers recorded")
        below = sum(number.verdict == "fails" for number in self.numbers)
        if below:
            words.append(f"{below} below its bar" if below == 1 else f"{below} below their bars")
        return ", ".join(words)


def assess(wanted: Sequence[str] = (), *, run: bool = True) -> list[Line]:
    """Look everything up for some notebooks (by name or number; all by default), and run the tests.

    ConfigError if there is no such notebook; ResultsError if evidence is missing or cannot be run.
    """
    chosen = set(questions.select(wanted))
    items = [item for item in RUBRIC if item.question.notebook in chosen]
    gone = missing(items)
    if gone:
        raise ResultsError(f"The rubric is out of date: {'; '.join(gone)}. Mend rubric.toml.")
    outcomes = run_tests(name for item in items for name in tests_of(item)) if run else {}
    page = pages()
    return [
        Line(
            item,
            sections.plain(sections.section(item.question)),
            sections.link(item.question),
            page.get(item.question.part),
            tuple(measure(number) for number in item.numbers),
            tuple(tests_of(item)),
            outcomes,
        )
        for item in items
    ]


def grouped(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Homework set -> its lines."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.item.question.homework, []).append(line)
    return groups


def problems(lines: Sequence[Line]) -> list[str]:
    """What fails or was expected and is not there, a few words each; empty where all evidence holds."""
    # listed only: then no test was expected to run
    unrun = not any(line.outcomes for line in lines)
    reasons: dict[Verdict, str] = {"fails": "evidence fails for", "not run": "tests were skipped for",
                                   "awaited": "a result is not recorded yet for"}  # fmt: skip
    found = []
    for verdict, words in reasons.items():
        keys = [line.item.key for line in lines if line.verdict == verdict]
        if keys and not (unrun and verdict == "not run"):
            found.append(f"{words} {', '.join(keys)}")
    nowhere = dict.fromkeys(line.item.question.part for line in lines if line.page is None)
    if nowhere:
        found.append(f"the PDF has no page for {', '.join(nowhere)}")
    return found


def summary(lines: Sequence[Line]) -> str:
    """How far the evidence carries, in a sentence or two."""
    if not any(line.outcomes for line in lines):
        text = f"{len(lines)} lines are listed; their tests were not run"
    else:
        known = [line for line in lines if line.item.points is not None]
        total = sum(line.item.points or 0 for line in known)
        held = sum(line.item.points or 0 for line in known if line.verdict == "holds")
        count = sum(line.verdict == "holds" for line in lines)
        text = f"All evidence holds for {count} of {len(lines)} lines "
        text += f"({held:g} of {total:g} known points)"
    return "; ".join([text, *problems(lines)]) + ". The rest is for a person to judge."


# ------------------------------------------------------------------------------------------ page


def filled(template: Path, filters: dict[str, Any], **values: Any) -> str:
    """A Jinja template with its values; those of an HTML page are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=template.name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def render(lines: Sequence[Line], base: Path | None = None) -> str:
    """The rubric as one HTML page without scripts or outside parts.

    ``base`` is the folder that the page will lie in; its links lead from there into the checkout.
    """
    root = settings.repo_root()

    def path(target: str) -> str:
        try:
            return Path(os.path.relpath(root, base or root)).joinpath(target).as_posix()
        except ValueError:  # another drive of Windows
            return (root / target.partition("#")[0]).as_uri()

    when = time.strftime("%Y-%m-%d %H:%M")
    filters = {"points": questions.worth, "path": path}
    shown = {"groups": grouped(lines), "summary": summary(lines), "marks": MARKS, "when": when}
    return filled(Path(__file__).with_name(TEMPLATE), filters, **shown)


def write(lines: Sequence[Line], target: Path) -> Path:
    """Write the page; ConfigError if the target is a folder."""
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name a file, for example grade.html.")
    return files.write(target, render(lines, target.resolve().parent))
