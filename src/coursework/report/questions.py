"""The questions of both homework sets: read from ``questions.toml``, by notebook."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coursework.errors import ConfigError
from coursework.report.tables import Table


@dataclass(frozen=True)
class Question:
    """One sub-question."""

    homework: str
    part: str  # its number in the homework
    points: float | None  # None where the handout that we have does not say
    asks: str  # in a few words
    notebook: str  # where it is answered
    answer: str = ""  # in a line, where it is not a recorded number


_TOML = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

NOTEBOOKS: dict[str, str] = {name: entry["title"] for name, entry in _TOML.items()}
SECONDS: dict[str, float] = {name: entry["seconds"] for name, entry in _TOML.items()}
QUESTIONS: tuple[Question, ...] = tuple(
    Question(entry["homework"], q["part"], q.get("points"), q["asks"], name, q.get("answer", ""))
    for name, entry in _TOML.items()
    for q in entry["questions"]
)


def select(wanted: Sequence[str]) -> list[str]:
    """Notebooks by name, or by the number that their name starts with; all where none is given.

    Raises:
        ConfigError: If one does not exist.
    """
    chosen = []
    for word in wanted or list(NOTEBOOKS):
        stem = Path(word).stem
        found = [name for name in NOTEBOOKS if stem in (name, name.split("_")[0])]
        if not found:
            raise ConfigError(f"There is no notebook {word!r}; choose from {', '.join(NOTEBOOKS)}.")
        chosen += found
    return list(dict.fromkeys(chosen))


def of_notebook(notebook: str) -> tuple[Question, ...]:
    """The questions that a notebook answers.

    Raises:
        ConfigError: If there is no such notebook.
    """
    if notebook not in NOTEBOOKS:
        raise ConfigError(f"There is no notebook {notebook!r}; choose from {', '.join(NOTEBOOKS)}.")
    return tuple(question for question in QUESTIONS if question.notebook == notebook)


def table(notebook: str) -> Table:
    """Questions and points of a notebook, for its first page."""
    return Table(
        ["question", "points", "asks", "homework"],
        [(q.part, worth(q.points), q.asks, q.homework) for q in of_notebook(notebook)],
    )


def worth(points: float | None) -> str:
    """Points as they are printed."""
    return "–" if points is None else f"{points:g}"
