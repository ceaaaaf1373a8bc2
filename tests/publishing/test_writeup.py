"""The writeup: what it is made from, what it refuses, and that no measured number is typed by hand."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import questions, store
from coursework_tools.publishing import writeup
from coursework_tools.publishing.writeup import Listing
from properties import TYPED_NUMBERS, measured_looking

ROOT, TYPED = settings.repo_root(), TYPED_NUMBERS["writeup"]
SOURCES = sorted((ROOT / "writeup").glob("*.typ"))
CHAPTERS = [path for path in SOURCES if path.name[0].isdigit()]
TEXT = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
REQUIRED, OPTIONAL = writeup.results(TEXT)
LISTINGS = writeup.listings(TEXT)

NO_PROSE = (
    r"(?<!:)//.*",
    "~",  # a space that does not break
    r"`[^`]*`",
    r"(?<!\\)\$[^$]*\$",
    r'\b(?:q|question|claims)\("[^)]*\)',
    r"\b\d\.\d\.\d\b",
    r'"[^"\s]*[a-z][^"\s]*"',  # names of metrics
    r"(?:\d*\.)?\d+(?:pt|cm|mm|em|fr)\b|(?:width: |luma\()\d+%",
    r"scale: 100\b|\b100 \* |, 100\)",  # fractions to percent
)


def hand_typed(text: str) -> list[str]:
    """Numbers in the prose of a chapter that look measured."""
    return measured_looking(text, NO_PROSE, TYPED["allowed"])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_measured_number_is_typed_by_hand_and_no_semicolon_is_swallowed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert hand_typed(text) == []
    assert swallowed(text) == []


@pytest.mark.parametrize("text", [*TYPED["planted"], *TYPED["sound"]])
def test_a_planted_number_is_caught_and_what_is_no_measurement_passes(text: str) -> None:
    assert bool(hand_typed(text)) == (text in TYPED["planted"])


def balanced(text: str, start: int) -> int:
    """Place after the bracket that closes the one at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] in "([") - (text[place] in ")]")
        if depth == 0:
            return place + 1
    return len(text)


def swallowed(text: str) -> list[str]:
    """Semicolons of the prose that Typst takes for the end of an expression: ``#value(r); and``."""
    found = []
    for start in re.finditer(r"#[\w-]+", text):
        end = start.end()
        if start.group() == "#if":
            while True:  # the condition up to its [, then that content, then perhaps an else
                while end < len(text) and text[end] != "[":
                    end = balanced(text, end) if text[end] == "(" else end + 1
                end = balanced(text, end)
                if not text.startswith(" else", end):
                    break
        else:
            while piece := re.compile(r"\.[\w-]+|[(\[]").match(text, end):
                end = balanced(text, end) if piece.group() in "([" else piece.end()
        if text[end : end + 1] == ";":
            found.append(text[start.start() : end + 1])
    return found


def test_a_swallowed_semicolon_is_caught() -> None:
    assert swallowed("has #spread(r, mean(x)); and") == ["#spread(r, mean(x));"]
    assert swallowed("is #if a.b < 2 [small] else [large]; and")
    assert swallowed("of #read.idiom; and")
    assert swallowed("has #spread(r, mean(x))\\; and #q(1) (one); two") == []


def test_every_exception_is_used() -> None:
    everything = " ".join(re.sub(r"[\s~]+", " ", path.read_text("utf-8")) for path in CHAPTERS)
    for number, reason in TYPED["allowed"].items():
        assert number in everything, number
        assert reason


def test_results_are_those_that_the_text_names() -> None:
    source = """
    #let r = result("a-full")
    #with("b", r => [x]) #when("a-full", r => [y]) #optional("c-d")
    cell("translation_all-rnn", [z]), lines("e", [z]) + rows-of([squirrel], "f", "g-plain")
    #spread(r, "no.metric") or "not-this"
    """
    required, optional = writeup.results(source)
    assert required == ["a-full", "b", "e", "f", "g-plain", "translation_all-rnn"]
    assert optional == ["c-d"]
    experiments = "wikipedia|translation|cora|segmentation|sentiment"
    assert {*re.findall(rf'"((?:{experiments})[\w-]*-[\w-]+)"', TEXT)} <= {*REQUIRED, *OPTIONAL}
    assert OPTIONAL
    assert set(REQUIRED) <= set(store.names())


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the document is made from, with figures of one pixel."""
    shutil.copytree(ROOT / "writeup", tmp_path / "writeup", ignore=shutil.ignore_patterns("*.pdf"))
    shutil.copytree(ROOT / "src/coursework/models", tmp_path / "src/coursework/models")
    (tmp_path / "figures").mkdir()
    for name in writeup.figures(TEXT):
        Image.new("L", (1, 1)).save(tmp_path / "figures" / f"{name}.png")
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    return tmp_path


def not_recorded() -> set[str]:
    """What the document says is not recorded."""
    return set(json.loads(writeup.compiler().query("<not-recorded>", field="value")))


def test_the_document_says_what_is_not_recorded_and_shows_it_later(tree: Path) -> None:
    paths = [tree / "writeup/results" / f"{name}.json" for name in OPTIONAL]
    records = {path: path.read_bytes() for path in paths if path.is_file()}
    for path in records:
        path.unlink()
    assert not_recorded() == set(OPTIONAL)
    before = writeup.inputs()["digest"]
    for path, content in records.items():
        path.write_bytes(content)
    assert writeup.inputs()["digest"] != before
    assert not_recorded() == {path.stem for path in paths} - {path.stem for path in records}
    first, second = writeup.typeset(), writeup.typeset()
    assert first == second, "the same inputs give the same bytes"
    assert f"inputs-{writeup.inputs()['digest']}".encode() in first


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (None, "needs the results cora-full"),
        (lambda r: r["data"].update(standin=True, source="STAND-IN"), "cora-full is from stand-in"),
        (lambda r: r["metrics"].pop("gcn.test_accuracy"), r"cora-full lacks gcn\.test_accuracy"),
    ],
)
def test_a_required_result_that_is_spoilt_stops_it(tree: Path, spoil: Any, says: str) -> None:
    path = tree / "writeup/results/cora-full.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    if spoil is not None:
        spoil(record)
        path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ResultsError, match=says):
        writeup.typeset()


def test_outside_a_checkout(tree: Path) -> None:
    shutil.rmtree(tree / "writeup")
    with pytest.raises(ResultsError, match="inside a checkout"):
        writeup.folder()


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.title)
def test_listing_is_cut_from_the_source(listing: Listing) -> None:
    source = (ROOT / "src/coursework" / listing.path).read_text(encoding="utf-8").splitlines()
    lines = writeup.cut(listing)
    shown = "\n".join(line.text for line in lines)
    assert all(source[line.number - 1] == line.text for line in lines if line.number)
    assert any(line.marked for line in lines)
    assert not any(re.search(r'"""|# solution:|\.check_', line.text) for line in lines)
    assert max(len(line.text) for line in lines) <= 100, "would not fit on the page"
    for thing in listing.objects:
        assert re.search(rf"\b(?:class|def) {thing.split('.')[-1]}\b", shown)
    assert len(LISTINGS) == TEXT.count("#listing(")


def test_what_is_left_out_and_what_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "src/coursework/models/x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        'def f(x):\n    """Words."""\n    if x < 0:\n        raise ValueError("no")\n\n\n'
        "    # solution:begin how\n    y = x + 1\n    # solution:end\n    return y\n"
        "class A:\n    def g(self):\n        pass\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    lines = writeup.cut(Listing("f", "models/x.py", ("f", "A.g")))
    assert [(line.number, line.marked) for line in lines] == [
        (1, False), (5, False), (8, True), (10, False), (0, False), (11, False), (12, False),
        (13, False),
    ]  # fmt: skip
    for listing, message in (
        (Listing("h", "models/x.py", ("h",)), "has no h; mend"),
        (Listing("g", "models/x.py", ("A.g",)), "No line of the listing g is marked"),
        (Listing("y", "models/y.py", ("f",)), "There is no models/y.py"),
    ):
        with pytest.raises(ResultsError, match=message):
            writeup.cut(listing)


def test_each_course_has_a_document_of_its_own_questions() -> None:
    assert set(writeup.DOCUMENTS.values()) - {""} == {q.homework for q in questions.QUESTIONS}
    for document, homework in writeup.DOCUMENTS.items():
        assert 100_000 < writeup.target(document).stat().st_size < 4_000_000
        headings = json.loads(writeup.compiler(document).query("heading.where(level: 2)"))
        found = {heading.get("label") for heading in headings} - {None}
        slugs = {
            "<q-" + re.sub(r"[^0-9a-z]+", "-", question.part).strip("-") + ">"
            for question in questions.QUESTIONS
            if homework in ("", question.homework)
        }
        assert found == slugs


def test_figures_exist_and_have_a_caption_that_says_what_to_see() -> None:
    for name in writeup.figures(TEXT):
        assert (ROOT / "figures" / f"{name}.png").is_file(), name
    for caption in re.findall(r"\bfig\([^)]*\)\[((?:[^\[\]]|\[[^\]]*\])*)\]", TEXT):
        assert len(caption.split()) >= 12, caption
