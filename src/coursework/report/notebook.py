"""What a notebook shows beside its own code: questions, code that was asked for, results, answers."""

import html
import inspect
import json
import re
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from coursework import files, settings
from coursework.data.sources import Source
from coursework.errors import ConfigError, ResultsError
from coursework.report import questions, recorded, store
from coursework.report.questions import Question
from coursework.report.tables import Table

EXACT = "exact"  # source of an answer that needs no data: a proof, a parity, a property
BEGIN, END = "# solution:begin", "# solution:end"  # what the student edition leaves out
DOCSTRING = re.compile(r'^ *r?"""(?:.|\n)*?"""\n', re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    part: str  # number of the sub-question
    result: str  # what was found, in a few words
    value: str  # the number or verdict, as it should be read
    source: str  # where the data came from, or ``exact``


class Code:
    """Source code that renders with the asked-for lines marked: green, and with ``+`` as text."""

    def __init__(self, *things: Any) -> None:
        self.lines, sign = list[str](), " "
        sources = [textwrap.dedent(inspect.getsource(thing)) for thing in things]
        for line in "\n".join(DOCSTRING.sub("", source) for source in sources).splitlines():
            if line.strip().startswith((BEGIN, END)):
                sign = "+" if line.strip().startswith(BEGIN) else " "
            else:
                self.lines.append(f"{sign} {line}")

    def __repr__(self) -> str:
        return "\n".join(map(str.rstrip, self.lines))

    def _repr_html_(self) -> str:
        green = r'<span style="background:#dff3e0">\g<0></span>'
        shown = re.sub(r"^\+.*", green, html.escape("\n".join(self.lines)), flags=re.MULTILINE)
        style = "font-family:monospace;white-space:pre;overflow-x:auto"
        return f'<pre style="{style}">{shown}</pre>'


def judgements(name: str) -> dict[str, str]:
    """Row of the data -> kind of error, from ``writeup/reading/NAME.json``; empty if nobody has read any."""
    path = settings.results_dir().parent / "reading" / f"{name}.json"
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.is_file() else {}
    return {str(row): str(kind) for kind, rows in kinds.items() for row in rows}


class Page:
    """One notebook, by its file name without the ending."""

    code = Code
    recorded = staticmethod(recorded.tables)  # by their names in recorded.toml
    record = staticmethod(store.read)
    judgements = staticmethod(judgements)

    def __init__(self, notebook: str, recorded: bool = True) -> None:
        self.notebook = notebook
        self.recorded_answers = recorded  # not in the student edition
        self._questions = questions.of_notebook(notebook)
        self._live: list[Answer] = []

    def questions(self) -> Table:
        """What is asked, the points, and the answers with the recorded numbers."""
        worth = questions.worth
        rows = [(q.part, worth(q.points), q.asks, *self._recorded(q)) for q in self._questions]
        columns = ["answer", "recorded number [95 % interval]"] if self.recorded_answers else []
        note = (
            "Below, the lines of code that a question asks for are green (in plain text: marked +)"
        )
        return Table(["question", "points", "asked", *columns], rows, note if columns else "")

    def live(self, part: str, result: str, value: str, source: Source | str = EXACT) -> None:
        """Hand over what this run found on a sub-question; a part may have several results."""
        parts = [question.part for question in self._questions]
        if part not in parts:
            known = f"it has {', '.join(parts)}"
            raise ConfigError(f"Notebook {self.notebook} has no question {part!r}; {known}.")
        label = source if isinstance(source, str) else source.origin
        # A cell that is run a second time replaces its row instead of adding it again.
        self._live = [a for a in self._live if (a.part, a.result) != (part, result)]
        self._live.append(Answer(part, result, value, label))

    def answers(self) -> Table:
        """What this run found on each question; written down for ``coursework run``."""
        _complete(self.notebook, self._live)
        text = json.dumps([asdict(answer) for answer in self._live], indent=1)
        files.write(settings.answers_dir() / f"{self.notebook}.json", text)
        rows, kept = [], self.recorded_answers and any(q.numbers for q in self._questions)
        for question in self._questions:
            mine = [a for a in self._live if a.part == question.part]
            found = "\n".join(f"{a.result}: {a.value}" for a in mine)
            data = ", ".join(dict.fromkeys(a.source for a in mine))
            first = [self._recorded(question)[1].partition("\n")[0]] if kept else []
            rows.append((question.part, *first, found, data))
        columns = "question", *["recorded number [95 % interval]"] * kept, "this run", "its data"
        return Table(columns, rows)

    def _recorded(self, question: Question) -> tuple[str, ...]:
        """The answer in words, and the recorded number with its interval and its seeds."""
        if not self.recorded_answers:
            return ()
        numbers = [questions.measure(number) for number in question.numbers]
        words = question.answer.replace("`", "") or "\n".join(n.number.label for n in numbers)
        values = [f"{n.value_text()}{f', n = {n.n}' if n.n > 1 else ''}" for n in numbers]
        if question.answer and len(numbers) > 1:  # else the labels are the words
            values = [f"{n.number.label}: {text}" for n, text in zip(numbers, values, strict=True)]
        return words, "\n".join(values) or "–"


def _complete(notebook: str, rows: list[Answer]) -> None:
    answered = {answer.part for answer in rows}
    if missing := [q.part for q in questions.of_notebook(notebook) if q.part not in answered]:
        what = f"Notebook {notebook} has no answer for {', '.join(missing)}"
        raise ResultsError(f"{what}; run its cells from the top.")


def read(notebook: str) -> list[Answer]:
    """What a run of the notebook found, in the order of the questions."""
    path = settings.answers_dir() / f"{notebook}.json"
    try:
        rows = [Answer(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError as error:
        raise ResultsError(f"Notebook {notebook} left no answers; run it to its end.") from error
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path} is broken; run the notebook again.") from error
    _complete(notebook, rows)
    order = [question.part for question in questions.of_notebook(notebook)]
    return sorted(rows, key=lambda answer: order.index(answer.part))
