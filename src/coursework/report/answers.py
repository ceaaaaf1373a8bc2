"""The answer sheet of a notebook: what each sub-question came to in *this* run, and from which data."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coursework import files, settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import questions
from coursework.report.tables import Table

if TYPE_CHECKING:
    from coursework.data.sources import Source

EXACT = "exact"
"""Source of an answer that needs no data: a proof, a parity, a property."""


@dataclass(frozen=True)
class Answer:
    """One row."""

    part: str  # number of the sub-question
    result: str  # what was found, in a few words
    value: str  # the number or verdict, as it should be read
    source: str  # where the data came from, or ``exact``
    seconds: float  # wall time since the row before
    section: str  # heading to look under


class AnswerSheet:
    """Collects the answers while the notebook (its file name without ending) runs.

    Example:
        >>> sheet = AnswerSheet("6_theory")
        >>> sheet.add("1.1.2", "gradient equals the product of the weights", value="0 mismatches")
    """

    def __init__(self, notebook: str) -> None:
        self.notebook = notebook
        self._parts = [question.part for question in questions.of_notebook(notebook)]
        self._answers: list[Answer] = []
        self._clock = time.perf_counter()

    def questions(self) -> Table:
        """The questions and their points."""
        return questions.table(self.notebook)

    def add(
        self,
        part: str,
        result: str,
        *,
        value: str,
        source: Source | str = EXACT,
        section: str | None = None,
    ) -> None:
        """Add a row; a part may have several.

        Raises:
            ConfigError: If the notebook has no such sub-question.
        """
        if part not in self._parts:
            raise ConfigError(
                f"Notebook {self.notebook} has no question {part!r}; "
                f"it has {', '.join(self._parts)}."
            )
        now = time.perf_counter()
        label = source if isinstance(source, str) else source.label
        # A cell that is run a second time replaces its row instead of adding it again.
        self._answers = [a for a in self._answers if (a.part, a.result) != (part, result)]
        self._answers.append(
            Answer(part, result, value, label, now - self._clock, section or f"§ {part}")
        )
        self._clock = now

    def show(self) -> Table:
        """Write the sheet for ``coursework run`` and return it as a table.

        Raises:
            ResultsError: If a sub-question has no answer.
        """
        _complete(self.notebook, self._answers)
        text = json.dumps([asdict(answer) for answer in self._answers], indent=1)
        files.write(settings.answers_dir() / f"{self.notebook}.json", text)
        return Table(
            ["question", "result", "value", "data"],
            [(a.part, a.result, a.value, a.source) for a in self._answers],
            caption="Answers of this run",
        )


def _complete(notebook: str, rows: list[Answer]) -> None:
    """Raise :class:`ResultsError` if a sub-question of the notebook has no answer."""
    answered = {answer.part for answer in rows}
    missing = [q.part for q in questions.of_notebook(notebook) if q.part not in answered]
    if missing:
        raise ResultsError(
            f"Notebook {notebook} has no answer for {', '.join(missing)}; "
            "run its cells from the top."
        )


def read(notebook: str, folder: Path | None = None) -> list[Answer]:
    """The sheet that a run of the notebook left, in the order of the questions.

    Raises:
        ResultsError: If there is none, or it is broken.
    """
    path = (folder or settings.answers_dir()) / f"{notebook}.json"
    try:
        rows = [Answer(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError as error:
        raise ResultsError(f"Notebook {notebook} left no answers; run it to its end.") from error
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path} is broken; delete it and run the notebook again.") from error
    _complete(notebook, rows)
    order = {question.part: i for i, question in enumerate(questions.of_notebook(notebook))}
    return sorted(rows, key=lambda answer: order.get(answer.part, len(order)))
