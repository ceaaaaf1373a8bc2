"""The rubric, read from ``rubric.toml``: points and evidence of every line, and what is left to judge."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from coursework.errors import ConfigError
from coursework.report.questions import QUESTIONS, Number, Question

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Item:
    """One line of the rubric: a sub-question, or a part of one where the handout splits its points."""

    question: Question
    name: str  # Roman number of the part, empty for a whole sub-question
    points: float | None  # None where the handout that we have does not say
    asks: str
    modules: tuple[str, ...]  # where the code is, below src/coursework
    tests: tuple[str, ...]  # ``folder/file.py::test`` below ``tests``
    numbers: tuple[Number, ...]  # recorded numbers that are evidence
    judge: str  # what the evidence cannot decide
    claims: bool | tuple[str, ...] = False  # True: all claims of the question; or their names

    @property
    def key(self) -> str:
        """``2(a)i``: unique in the rubric."""
        return f"{self.question.part}{self.name}"


def item(line: dict[str, Any]) -> Item:
    """A line of ``rubric.toml``; ConfigError if it has not the form that the file describes."""
    rest = dict(line)
    part = rest.pop("part", None)
    question = next((question for question in QUESTIONS if question.part == part), None)
    if question is None:
        raise ConfigError(f"The rubric has a line for question {part}, which questions.toml lacks.")
    tests = []
    for file, names in rest.pop("tests", {}).items():
        folder, _, stem = file.rpartition("/")
        tests += [f"{folder}/test_{stem}.py::test_{name}".removeprefix("/") for name in names]
    defaults = {
        "name": "",
        "points": question.points,
        "asks": question.asks,
        "numbers": question.numbers,
    }
    whole = {"question": question, "tests": tests, **defaults, **rest}
    try:
        return Item(**whole)
    except ValueError as error:
        raise ConfigError(f"rubric.toml, question {part}: {error}") from error


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
RUBRIC: tuple[Item, ...] = tuple(map(item, tomllib.loads(_TEXT)["line"]))
"""All lines, in the order of the homework sets."""
