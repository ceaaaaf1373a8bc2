"""The rubric, read from ``rubric.toml``, and the sections of the notebooks that answer its questions."""

import functools
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic.dataclasses import dataclass

from coursework.errors import ConfigError, ResultsError
from coursework.report.questions import QUESTIONS, Number, Question
from coursework_tools import checkout


@dataclass(frozen=True, config={"extra": "forbid"})
class Item:
    """One line of the rubric: a sub-question, or a part of one where the handout splits its points."""

    question: Question
    points: float | None  # None where the handout that we have does not say
    asks: str
    modules: tuple[str, ...]  # where the code is, below src/coursework
    tests: tuple[str, ...]  # ``folder/file.py::test`` below ``tests``
    numbers: tuple[Number, ...]  # recorded numbers that are evidence
    judge: str  # what the evidence cannot decide
    name: str = ""  # Roman number of the part, empty for a whole sub-question
    claims: bool | tuple[str, ...] = False  # True: all claims of the question; or their names

    @property
    def key(self) -> str:
        """``2(a)i``: unique in the rubric."""
        return f"{self.question.part}{self.name}"

    @property
    def section(self) -> str:
        """The heading under which it is answered; ResultsError if none has its number."""
        part, notebook = self.question.part, self.question.notebook
        number = re.compile(rf"(?<![\w.]){re.escape(part)}(?!\w|\.\d)")
        if found := [*filter(number.search, headings(notebook))]:
            return found[0]
        what = f"Notebook {notebook} has no section for {part}"
        raise ResultsError(f"{what}; add the number to its heading.")

    @property
    def link(self) -> str:
        """Path of the section from the root, with the anchor that Jupyter gives it."""
        anchor = quote(self.section.replace(" ", "-"), safe="-.,:§")
        return f"notebooks/{self.question.notebook}.ipynb#{anchor}"


def item(line: dict[str, Any]) -> Item:
    """A line of ``rubric.toml``."""
    part = line.pop("part", None)
    question = next((question for question in QUESTIONS if question.part == part), None)
    if question is None:
        raise ConfigError(f"The rubric has a line for question {part}, which questions.toml lacks.")
    tests = []
    for file, names in line.pop("tests", {}).items():
        path = Path(file)
        tests += [(path.parent / f"test_{path.name}.py::test_{name}").as_posix() for name in names]
    defaults = {name: getattr(question, name) for name in ("points", "asks", "numbers")}
    return Item(question, tests=tuple(tests), **defaults | line)


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
RUBRIC: tuple[Item, ...] = tuple(map(item, tomllib.loads(_TEXT)["line"]))  # in the sets' order


@functools.cache
def headings(notebook: str) -> list[str]:
    """Headings of a notebook as they are read, in order; ResultsError if it cannot be read."""
    cells = checkout.notebook(notebook).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    plain = re.sub(r"^```.*?^```|[`*]", "", text, flags=re.M | re.S)
    return re.findall(r"^#{1,6}\s+(.*\S)", plain, flags=re.M)
