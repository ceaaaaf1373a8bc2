"""The questions of both homework sets: read from ``questions.toml``, by notebook."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass

from coursework.errors import ConfigError, ResultsError
from coursework.report import store


@dataclass(frozen=True, config={"extra": "forbid"})
class Number:
    result: str  # name in the results store
    metric: str
    label: str  # what the number is, in a few words
    percent: bool = False  # shown as a percentage (of a fraction)
    points: bool = False  # shown as percentage points (a difference of fractions)
    bar: float | str | None = None  # what it has to beat: a number, or a metric of the same result
    bar_label: str = ""  # what the bar is
    less: bool = False  # smaller is better


@dataclass(frozen=True)
class Measured:
    """A number of the store beside its bar; all None where it is not recorded."""

    number: Number
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bar: float | None = None
    seconds: float | None = None
    machine: str = ""
    n: int = 0  # seeds

    def _better(self, value: float) -> bool:
        assert self.bar is not None
        return value < self.bar if self.number.less else value > self.bar

    @property
    def verdict(self) -> Literal["holds", "fails", "awaited"]:
        """Whether the bar is met; a number without a bar holds by being recorded."""
        if self.value is None:
            return "awaited"
        return "holds" if self.bar is None or self._better(self.value) else "fails"

    def _format(self, value: float, form: str = "#.4g") -> str:
        if self.number.points:
            return f"{100 * value:+.2f}"
        return f"{100 * value:.2f} %" if self.number.percent else f"{value:{form}}"

    def value_text(self) -> str:
        if self.value is None:
            return "not recorded yet"
        text = self._format(self.value)
        if self.low is not None and self.high is not None:
            text += f" [{self._format(self.low)}, {self._format(self.high)}]"
        return f"{text} points" if self.number.points else text

    def bar_text(self) -> str:
        if self.bar is None:
            return "–"
        side = "below" if self.number.less else "above"
        text = f"{side} {self._format(self.bar, '.4g')} ({self.number.bar_label})"
        if self.verdict != "holds":
            return f"{text}: not met"
        edge = self.high if self.number.less else self.low
        clear = edge is None or self._better(edge)
        return f"{text}: met" if clear else f"{text}: met, but the interval holds the bar"


def measure(number: Number, folder: Path | None = None) -> Measured:
    if number.result not in store.names(folder):
        return Measured(number)
    record = store.read(number.result, folder)
    metrics = record["metrics"]
    if number.metric not in metrics:
        raise ResultsError(f"Result {number.result} has no {number.metric}; mend questions.toml.")
    metric = metrics[number.metric]
    bar = metrics[number.bar]["mean"] if isinstance(number.bar, str) else number.bar
    return Measured(
        number, metric["mean"], metric.get("low"), metric.get("high"), bar, store.seconds_of(record),
        store.device_of(record), len(metric["values"]),
    )  # fmt: skip


@dataclass(frozen=True)
class Question:
    homework: str
    part: str  # its number in the homework
    points: float | None  # None where the handout that we have does not say
    asks: str  # in a few words
    notebook: str  # where it is answered
    answer: str = ""  # in a line, where it is not a recorded number
    numbers: tuple[Number, ...] = ()  # recorded ones, the main one first


_TOML = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

NOTEBOOKS: dict[str, str] = {name: entry["title"] for name, entry in _TOML.items()}
SECONDS: dict[str, float] = {name: entry["seconds"] for name, entry in _TOML.items()}
QUESTIONS: tuple[Question, ...] = tuple(
    Question(**{"homework": entry["homework"], "notebook": name, "points": None, **question})
    for name, entry in _TOML.items()
    for question in entry["questions"]
)


def select(wanted: Sequence[str]) -> list[str]:
    """Notebooks by name, or by the number that their name starts with; all where none is given."""
    chosen = []
    for word in wanted or list(NOTEBOOKS):
        stem = Path(word).name.removesuffix(".ipynb")
        found = [name for name in NOTEBOOKS if stem in (name, name.split("_")[0])]
        if not found:
            raise ConfigError(f"There is no notebook {word!r}; choose from {', '.join(NOTEBOOKS)}.")
        chosen += found
    return list(dict.fromkeys(chosen))


def of_notebook(notebook: str) -> tuple[Question, ...]:
    (name,) = select([notebook])
    return tuple(question for question in QUESTIONS if question.notebook == name)


def worth(points: float | None) -> str:
    return "–" if points is None else f"{points:g}"
