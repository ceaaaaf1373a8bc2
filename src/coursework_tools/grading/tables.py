"""The rubric in the terminal, a table for each homework set."""

from __future__ import annotations

from collections.abc import Sequence

from coursework.console import Cell, show
from coursework.report import questions
from coursework_tools.grading.grade import Line, grouped

COLUMNS = ("question", "points", "asks", "answer", "evidence now", "numbers", "for a person")
COLOURS = {"holds": "green", "fails": "red", "not run": "yellow", "awaited": "yellow"}


def print_all(lines: Sequence[Line]) -> None:
    """Print every line of the rubric."""
    for homework, mine in grouped(lines).items():
        show(homework, COLUMNS, map(_row, mine))


def _row(line: Line) -> Sequence[Cell]:
    item = line.item
    page = f" (PDF page {line.page})" if line.page else ""
    numbers = [
        f"{number.number.label}: {number.value_text()}"
        + (f"; bar {number.bar_text()}" if number.bar is not None else "")
        for number in line.numbers
    ]
    return (
        item.key, questions.worth(item.points), item.asks,
        f"{item.question.notebook}: {line.section}{page}",
        (f"{line.verdict}: {line.says}", COLOURS[line.verdict]),
        "\n".join(numbers) or "–", item.judge,
    )  # fmt: skip
