"""The rubric: complete, backed by evidence that exists, and honest about what the evidence says."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from typer.testing import CliRunner

from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import store
from coursework.report.questions import QUESTIONS
from coursework_tools.cli import app
from coursework_tools.grading import grade, rubric
from coursework_tools.grading.grade import Line, Measured, Outcome
from coursework_tools.grading.rubric import RUBRIC, Item, Number

ROOT = settings.repo_root()


def item(key: str) -> Item:
    return next(item for item in RUBRIC if item.key == key)


def test_everything_that_the_rubric_names_exists() -> None:
    assert grade.missing() == []
    for line in RUBRIC:
        assert line.judge, line.key
        assert len(set(line.tests)) == len(line.tests), line.key


def test_every_question_has_lines_in_order_and_their_points_add_up() -> None:
    points = defaultdict(list)
    for line in RUBRIC:
        points[line.question.part].append(line.points)
    assert list(points) == [question.part for question in QUESTIONS]
    assert len({line.key for line in RUBRIC}) == len(RUBRIC)
    for question in QUESTIONS:
        mine = points[question.part]
        assert mine == [None] if question.points is None else sum(mine) == question.points


def test_every_claim_of_the_theory_is_evidence_of_one_line() -> None:
    from coursework.theory.claims import CLAIMS

    used = [name for line in RUBRIC for name in grade.tests_of(line) if "test_claim_holds" in name]
    assert sorted(used) == sorted(
        f"tests/{grade.CLAIM_TESTS}::test_claim_holds[{claim.key}]" for claim in CLAIMS
    )


ACCURACY = Number("cora-full", "gcn.test_accuracy", "y")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tests": ("models/test_lstm.py::test_gone",)}, r"1\(a\) names the test .*test_gone"),
        ({"tests": ("models/test_gone.py::test_any",)}, "names the test tests/models/test_gone"),
        ({"tests": ()}, "names no test"),
        ({"modules": ("models/gone.py",)}, "names the module models/gone.py"),
        ({"numbers": (Number("gone", "x", "y"),)}, "names the result gone"),
        ({"numbers": (replace(ACCURACY, metric="gone"),)}, "names gone of cora-full"),
        ({"numbers": (replace(ACCURACY, bar="gone"),)}, "names gone of cora-full"),
        ({"question": replace(QUESTIONS[0], part="9.9")}, "no section for 9.9"),
    ],
)
def test_what_is_gone_is_named(change: dict, message: str) -> None:
    (found,) = grade.missing([replace(item("1(a)"), **change)])
    assert re.search(message, found)


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"9\.9"):
        rubric.item({"part": "9.9", "modules": [], "judge": ""})


def test_every_section_is_a_heading_of_its_own_question() -> None:
    first = item("1(a)")
    assert item("1.1.1").section == item("1.1.2").section
    assert item("3.1").section.startswith("3.1")
    heading = "1(a) An LSTM cell against torch.nn.LSTMCell"
    assert first.section == heading
    anchor = heading.replace("(", "%28").replace(")", "%29").replace(" ", "-")
    assert first.link == f"notebooks/1_lstm_sentiment.ipynb#{anchor}"


def test_code_blocks_hold_no_headings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    cells = [v4.new_markdown_cell("# One\n```\n# no\n```\n## `Two`"), v4.new_code_cell("# no")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "notebooks" / "x.ipynb")
    (tmp_path / "notebooks" / "z.ipynb").write_text("{", "utf-8")
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    assert rubric.headings("x") == ["One", "Two"]
    for name in ("y", "z"):
        with pytest.raises(ResultsError, match=rf"no notebook at .*{name}\.ipynb that can be read"):
            rubric.headings(name)


def test_every_question_has_its_page_in_the_pdf() -> None:
    found = grade.pages()
    assert set(found) == {question.part for question in QUESTIONS}
    assert all(1 <= int(page) <= 100 for page in found.values())
    assert int(found["1(a)"]) < int(found["2(a)"]) < int(found["2.1.1"])


def test_no_pdf_and_a_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    assert grade.pages() == {}
    (tmp_path / "writeup").mkdir()
    (tmp_path / "writeup" / "solutions.pdf").write_bytes(b"%PDF-1.7 nothing")
    with pytest.raises(ResultsError, match="cannot be read as PDF"):
        grade.pages()


def test_outcomes_are_counted_by_case(tmp_path: Path) -> None:
    suite = ElementTree.Element("testsuite")
    ends = {"c[1]": "", "c[2]": "failure", "d": "skipped", "e": "error", "f": ""}
    for name, child in ends.items():
        case = ElementTree.SubElement(suite, "testcase", classname="tests.a.test_b", name=name)
        if child:
            ElementTree.SubElement(case, child)
    ElementTree.ElementTree(suite).write(tmp_path / "report.xml")
    found = grade.read_junit(tmp_path / "report.xml")
    assert found["tests/a/test_b.py::c"] == Outcome(1, 1)
    assert [found[f"tests/a/test_b.py::{name}"].verdict for name in (*ends, "c")] == [
        "holds", "fails", "not run", "fails", "holds", "fails",
    ]  # fmt: skip
    with pytest.raises(ResultsError, match="left no report"):
        grade.read_junit(tmp_path / "none.xml")


def test_tests_are_really_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_good(n): assert n\n"
        "def test_bad(): assert False\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # plug-ins take seconds to start
    found = grade.run_tests(["tests/test_x.py::test_good", "tests/test_x.py::test_bad"])
    assert found["tests/test_x.py::test_good"] == Outcome(2, 0)
    assert found["tests/test_x.py::test_bad"].verdict == "fails"
    with pytest.raises(ResultsError, match="could not run the evidence"):
        grade.run_tests(["tests/test_x.py::test_gone"])
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path / "tests")
    with pytest.raises(ResultsError, match="inside a checkout"):
        grade.assess()


BAR = Number("r", "m", "a number", bar=0.5, bar_label="the bar")


@pytest.mark.parametrize(
    ("number", "value", "low", "high", "verdict", "words"),
    [
        (BAR, 0.6, 0.55, 0.65, "holds", "above 0.5 (the bar): met"),
        (BAR, 0.6, 0.45, 0.75, "holds", "above 0.5 (the bar): met, but the interval holds the bar"),
        (BAR, 0.6, None, None, "holds", "above 0.5 (the bar): met"),
        (BAR, 0.5, 0.4, 0.6, "fails", "above 0.5 (the bar): not met"),
        (replace(BAR, less=True), 0.4, 0.3, 0.45, "holds", "below 0.5 (the bar): met"),
        (replace(BAR, less=True), 0.6, 0.3, 0.7, "fails", "below 0.5 (the bar): not met"),
    ],
)
def test_a_number_against_its_bar(
    number: Number, value: float, low: float, high: float, verdict: str, words: str
) -> None:
    measured = Measured(number, value, low, high, 0.5)
    assert (measured.verdict, measured.bar_text()) == (verdict, words)


def test_a_number_without_a_bar_or_not_yet_recorded() -> None:
    free = replace(BAR, bar=None, percent=True)
    assert Measured(free, 0.123, 0.1, 0.2).value_text() == "12.30 % [10.00 %, 20.00 %]"
    assert Measured(free, 0.123).bar_text() == "–"
    assert Measured(free).verdict == "awaited"
    assert Measured(free).value_text() == "not recorded yet"


def test_numbers_are_those_of_the_store() -> None:
    number = item("1(d)").numbers[0]
    metric = store.read(number.result)["metrics"][number.metric]
    measured = grade.measure(number)
    assert (measured.value, measured.low, measured.bar) == (metric["mean"], metric["low"], 0.85)
    with pytest.raises(ResultsError, match="has no gone"):
        grade.measure(replace(number, metric="gone"))


def line(key: str = "1(d)", outcomes: dict[str, Outcome] | None = None, **changes: object) -> Line:
    chosen = item(key)
    tests = tuple(grade.tests_of(chosen))
    if outcomes is None:
        outcomes = dict.fromkeys(tests, Outcome(1))
    numbers = tuple(grade.measure(number) for number in chosen.numbers)
    return replace(Line(chosen, "7", numbers, tests, outcomes), **changes)


def test_a_line_is_as_good_as_its_worst_evidence() -> None:
    assert line().verdict == "holds"
    assert line().says == "2 of 2 cases pass, 2 of 2 numbers recorded"
    assert line(outcomes={}).verdict == "not run"
    one, other = grade.tests_of(item("1(d)"))
    assert line(outcomes={one: Outcome(1)}).verdict == "not run"
    assert line(outcomes={one: Outcome(1), other: Outcome(1, 1)}).verdict == "fails"
    below = Measured(item("1(d)").numbers[0], 0.8, bar=0.85)
    assert line(numbers=(below,)).verdict == "fails"
    assert "1 bar missed" in line(numbers=(below,)).says
    assert line(numbers=(Measured(BAR),)).verdict == "awaited"
    assert line(numbers=(Measured(BAR), Measured(BAR, 0.6, bar=0.5))).verdict == "awaited"


def test_summary_counts_known_points_only() -> None:
    text = grade.summary([line(), line("1.4.1"), line(outcomes={}), line(numbers=(Measured(BAR),))])
    assert "2 of 4 lines (1 of 3 known points)" in text
    assert "not recorded yet for 1(d)" in text
    assert "fails for 1(d)" in grade.summary([line(numbers=(Measured(BAR, 0.1, bar=0.5),))])


def test_page_is_complete_self_contained_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    target = grade.write(grade.assess(run=False), tmp_path / "deep" / "page.html")
    text = target.read_text(encoding="utf-8")
    ids, links = (re.findall(rf'<[^>]* {name}="([^"]*)"', text) for name in ("id", "href"))
    tags, headings = re.findall(r"<(\w+)", text), [int(n) for n in re.findall(r"<h(\d)", text)]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert '<html lang="en">' in text
    assert len(ids) == len(set(ids))
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings)), "left out"
    assert tags.count("article") == len(RUBRIC)
    for href in links:
        assert not href.startswith("http")
        path, _, anchor = href.partition("#")
        assert (target.parent / path).exists(), href
        if not path:
            assert anchor in ids, href
    for verdict in ("holds", "fails", "not-run", "awaited"):
        assert f".{verdict}" in text, "a verdict has no colour"


def test_page_escapes_what_it_shows(tmp_path: Path) -> None:
    lines = [line(page="<script>x</script>")]
    text = grade.write(lines, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def luminance(colour: str) -> float:
    """Relative luminance of the Web Content Accessibility Guidelines."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_of_the_page_are_readable_in_light_and_dark() -> None:
    css = (Path(grade.__file__).parent / grade.TEMPLATE).read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        paper = luminance(colours["paper"])
        for name in ("ink", "soft", "link", "holds", "fails", "open"):
            lighter, darker = sorted((luminance(colours[name]), paper), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


def command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["grade", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def test_command_lists_without_running(tmp_path: Path) -> None:
    page = tmp_path / "grade.html"
    code, text = command("5", "--no-run", "--html", page)
    assert code == 0, text
    for words in ("4.2", "not run", "3 lines are listed; their tests were not run"):
        assert words in text
    assert page.is_file()
    assert command("9", "--no-run")[0] == 2
    code, text = command("5", "--no-run", "--html", tmp_path)
    assert code == 2
    assert "is a folder" in text


def test_command_ends_with_one_where_evidence_fails_or_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tests = grade.tests_of(item("4.1"))
    monkeypatch.setattr(grade, "run_tests", lambda ids: dict.fromkeys(tests, Outcome(0, 1)))
    code, text = command("5")
    assert code == 1
    assert "evidence fails for 4.1" in text
    monkeypatch.setattr(grade, "missing", lambda items: ["1(a) names the test x"])
    code, text = command("--no-run")
    assert code == 1
    assert "rubric is out of date" in text
