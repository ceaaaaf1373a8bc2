"""The writeup: what it is made from, what it refuses, and that no measured number is typed by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import questions, store
from coursework_tools.publishing import writeup
from coursework_tools.publishing.writeup import Listing

ROOT = settings.repo_root()
SOURCES = sorted((ROOT / "writeup").glob("*.typ"))
CHAPTERS = [path for path in SOURCES if path.name[0].isdigit()]
TEXT = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
REQUIRED, OPTIONAL = writeup.results(TEXT)
LISTINGS = writeup.listings(TEXT)


# ------------------------------------------------------------------------- numbers typed by hand

TYPED = tomllib.loads((ROOT / "tests" / "typed_numbers.toml").read_text(encoding="utf-8"))[
    "writeup"
]


MEASURED_LOOKING = re.compile(
    r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+\.\d+|\d{3,})(?:\s*%)?(?![\w.,]*\d)|(?<![\w.])\d+\s*%"
)
LAYOUT = re.compile(r"(?:\d*\.)?\d+(?:pt|cm|mm|em|fr)\b|(?:width: |luma\()\d+%")
SCALE = re.compile(r"scale: 100\b|\b100 \* |, 100\)")  # fractions to percent


def hand_typed(text: str) -> list[str]:
    """Numbers in the prose of a chapter that look measured.

    Left out: comments, mathematics, raw text, layout, names of metrics, and the numbers of questions
    (1.1.2, q("3.6")).
    """
    text = re.sub(r"(?<!:)//.*", " ", text).replace("~", " ")  # a space that does not break
    text = re.sub(r"`[^`]*`", " ", text)
    text = re.sub(r"(?<!\\)\$[^$]*\$", " ", text)
    text = re.sub(r'\b(?:q|question|claims)\("[^)]*\)', " ", text)
    text = re.sub(r"\b\d\.\d\.\d\b", " ", text)
    text = re.sub(r'"[^"\s]*[a-z][^"\s]*"', " ", text)  # names of metrics
    text = SCALE.sub(" ", LAYOUT.sub(" ", text))
    found = (match.group() for match in MEASURED_LOOKING.finditer(text))
    return [
        number for number in found if re.sub(r"\s+", " ", number).strip() not in TYPED["allowed"]
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_measured_number_is_typed_by_hand(path: Path) -> None:
    assert hand_typed(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("planted", TYPED["planted"])
def test_a_planted_number_is_caught(planted: str) -> None:
    assert hand_typed(planted)


@pytest.mark.parametrize("allowed", TYPED["sound"])
def test_what_is_no_measurement_passes(allowed: str) -> None:
    assert hand_typed(allowed.replace("#whole(320)", "#whole(n)")) == []


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


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_semicolon_is_swallowed(path: Path) -> None:
    assert swallowed(path.read_text(encoding="utf-8")) == []


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


# --------------------------------------------------------------------------------------- results


def test_required_results_are_recorded() -> None:
    assert set(REQUIRED) <= set(store.names())
    assert len(REQUIRED) > 20
    assert OPTIONAL


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
    named = set(
        re.findall(r'"((?:wikipedia|translation|cora|segmentation|sentiment)[\w-]*-[\w-]+)"', TEXT)
    )
    assert named <= {*REQUIRED, *OPTIONAL}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the document is made from, with figures of one pixel."""
    shutil.copytree(ROOT / "writeup", tmp_path / "writeup", ignore=shutil.ignore_patterns("*.pdf"))
    shutil.copytree(ROOT / "src/coursework/models", tmp_path / "src/coursework/models")
    (tmp_path / "figures").mkdir()
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
    for name in writeup.figures(TEXT):
        (tmp_path / "figures" / f"{name}.png").write_bytes(pixel)
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


def test_a_missing_required_result_stops_it(tree: Path) -> None:
    (tree / "writeup/results/cora-full.json").unlink()
    with pytest.raises(ResultsError, match="needs the results cora-full"):
        writeup.typeset()


def test_a_result_from_stand_in_data_stops_it(tree: Path) -> None:
    path = tree / "writeup/results/cora-full.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["data"] |= {"standin": True, "source": "STAND-IN"}
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ResultsError, match="cora-full is from stand-in data"):
        writeup.inputs()


def test_a_missing_metric_of_a_required_result_stops_it(tree: Path) -> None:
    path = tree / "writeup/results/cora-full.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["metrics"]["gcn.test_accuracy"]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ResultsError, match=r"cora-full lacks gcn\.test_accuracy"):
        writeup.typeset()


def test_outside_a_checkout(tree: Path) -> None:
    shutil.rmtree(tree / "writeup")
    with pytest.raises(ResultsError, match="inside a checkout"):
        writeup.folder()


# ---------------------------------------------------------------------------------------- listings


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.title)
def test_listing_is_cut_from_the_source(listing: Listing) -> None:
    source = (ROOT / "src/coursework" / listing.path).read_text(encoding="utf-8").splitlines()
    lines = writeup.cut(listing)
    shown = [line for line in lines if line.number]
    assert all(source[line.number - 1] == line.text for line in shown)
    assert any(line.marked for line in lines)
    assert not any('"""' in line.text or "# solution:" in line.text for line in lines)
    assert max(len(line.text) for line in lines) <= 100, "would not fit on the page"
    for thing in listing.objects:
        assert re.search(rf"\b(?:class|def) {thing.split('.')[-1]}\b", "\n".join(source))


def test_every_listing_is_found() -> None:
    assert len(LISTINGS) == TEXT.count("#listing(") > 10


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


# -------------------------------------------------------------------------------------- the PDF


def test_the_kept_documents_are_small() -> None:
    for document in writeup.DOCUMENTS:
        assert 100_000 < writeup.target(document).stat().st_size < 4_000_000


def test_each_course_has_a_document_of_its_own_questions() -> None:
    assert set(writeup.DOCUMENTS.values()) - {""} == {q.homework for q in questions.QUESTIONS}
    for document, homework in writeup.DOCUMENTS.items():
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


def test_reading_the_sources_imports_no_torch() -> None:
    """What needs no claims (numbers, listings, README, headline) has to stay quick."""
    code = (
        "import sys; from coursework_tools.publishing import headline, writeup; headline.condense(); "
        "[writeup.cut(listing) for listing in writeup.listings(writeup.text())]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
