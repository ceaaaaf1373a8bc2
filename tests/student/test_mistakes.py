"""The solutions get full marks, and every mistake of mistakes.txt gets its own remark."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest
from solved_edition import BY_NAME, Examine, solved

from coursework_tools.student import contents, edition, engine, markers, runner
from coursework_tools.student.contents import MISTAKES, Change, Mistake, Remark, parse

EVERY = [(name, mistake) for name, found in MISTAKES.items() for mistake in found]
OTHERS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("right_answers.toml").read_text(encoding="utf-8")
)
CODE_ERRORS = (NameError, AttributeError, TypeError, SyntaxError, UnboundLocalError)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_solution_gets_full_marks(name: str, examine: Examine) -> None:
    engine.verify(BY_NAME[name])
    report = examine(name, [])
    assert report.remarks == ()
    assert report.passed == report.total > 0
    assert set(MISTAKES) == set(BY_NAME)
    assert MISTAKES[name], "nothing is recognised for this object"


@pytest.mark.parametrize("name", OTHERS)
def test_another_right_answer_gets_full_marks(name: str, tmp_path: Path) -> None:
    task = BY_NAME[name]
    text = solved(task.module)
    for region in markers.regions(edition.source_of(task.module)):
        if region.where in OTHERS[name]:
            answer = textwrap.indent(OTHERS[name][region.where].strip(), region.indent)
            code = "\n".join(region.code)
            assert code in text
            text = text.replace(code, answer, 1)
    (tmp_path / "answer.py").write_text(text, encoding="utf-8")
    report = runner.judge(task, tmp_path / "answer.py")
    assert report.remarks == ()
    assert report.passed == report.total


@pytest.mark.parametrize(
    ("name", "mistake"), EVERY, ids=[f"{n}-{m.remark.words[:40]}" for n, m in EVERY]
)
def test_a_mistake_is_recognised(name: str, mistake: Mistake) -> None:
    task = BY_NAME[name]
    assert mistake.changes or mistake.otherwise
    for number, changes in enumerate(mistake.changes):
        for probe in engine.PROBES[name]:
            error = engine.known(task, probe, changes).error
            assert not isinstance(error, CODE_ERRORS), "the wrong version is broken code"
        report = engine.examine(task, engine.mutant(task, changes))
        said = report.remarks[:1] if number == 0 else report.remarks
        assert mistake.remark in said, (changes, report.remarks)
        assert report.passed < report.total


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("LSTMCell", [("i, f, g, o = gates", "g, o, i, f = gates")], "another order"),
        (
            "attention",
            [("scores = (Q * scale)", "scores = (Q * scale * scale)")],
            "by another power",
        ),
        ("GAT", [("F.elu(", "F.tanh(")], "numbers differ, by up to"),
        ("UNet", [("skips.pop()", "skips.pop(0)")], "in the wrong order"),
        ("normalise_adjacency", [("scale[source]", "scale[target]")], "Every row sums to one"),
    ],
)
def test_what_a_student_writes_is_recognised_by_its_numbers(
    name: str, changes: list[Change], says: str, examine: Examine
) -> None:
    assert says in str(examine(name, changes).remarks[0])


def test_two_mistakes_get_two_remarks(examine: Examine) -> None:
    softmax = ("scores.softmax(dim=-1)", "scores.softmax(dim=-2)")
    kinds = [remark.kind for remark in examine("attention", [softmax]).remarks]
    assert kinds == ["value"]
    both = [softmax, ("_apply_mask(scores, mask, causal)", "_apply_mask(scores, mask, False)")]
    kinds = [remark.kind for remark in examine("attention", both).remarks]
    assert kinds == ["value", "leakage"]


def test_a_text_that_is_gone_is_an_error_with_its_place() -> None:
    with pytest.raises(
        LookupError, match=r"\[GCN\]: GCN in coursework.models.gcn .* 'no such line'"
    ):
        engine.mutant(BY_NAME["GCN"], (("no such line", ""),))


def test_a_probe_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Mistake(Remark("value", "x"), at=["no such probe"])
    monkeypatch.setattr(engine, "MISTAKES", {"GCN": [wrong]})
    with pytest.raises(LookupError, match="no probe is called 'no such probe'"):
        engine.verify(BY_NAME["GCN"])


def test_the_list_of_mistakes_is_read_and_has_no_other_lines() -> None:
    (mistake,) = parse("[a]\nvalue: Words.\nat p\n- x\n-  y\n+\n- z\n+ u\nor\n~ i, j = v\n")["a"]
    assert mistake.changes == [(("x\n y", ""), ("z", "u")), (("i, j = v", "j, i = v"),)]
    assert (mistake.remark, mistake.at) == (Remark("value", "Words."), ["p"])
    known = rf"(?:#|\[|(?:{contents._KINDS}): |[-~] |\+|at |else ).*|or|"
    lines = Path(contents.__file__).with_name("mistakes.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(known, line)] == []


def test_no_remark_gives_the_solution_away() -> None:
    solution = {
        line.split("  # ")[0].strip()
        for module in {task.module for task in BY_NAME.values()}
        for region in markers.regions(edition.source_of(module))
        for line in region.code
    }
    for text in {mistake.remark.words for _, mistake in EVERY}:
        assert not any(line in text for line in solution if len(line) > 12), text
        assert not any(sign in text for sign in ("`", "torch.", "dim=", " self.", "**")), text
        assert text.endswith("."), text
