"""What the student edition asks for, read from ``edition.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Task:
    """An object that is asked for in code."""

    name: str
    problem: int
    question: str
    module: str  # below the package: "models.lstm"
    names: tuple[str, ...]  # what of the module belongs to it


_TOML = tomllib.loads(resources.files(__package__).joinpath("edition.toml").read_text("utf-8"))

TASKS = tuple(
    Task(name, problem, one["question"], one["module"], tuple(one.get("names", [name])))
    for problem, objects in enumerate(_TOML["objects"], start=1)
    for name, one in objects.items()
)
MODULES: dict[int, tuple[str, ...]] = {
    problem: tuple(dict.fromkeys(one["module"] for one in objects.values()))
    for problem, objects in enumerate(_TOML["objects"], start=1)
}
"""Problem -> modules in which something is asked for."""

IN_WORDS, OBSERVED = set(_TOML["notebooks"]["in_words"]), set(_TOML["notebooks"]["observed"])
LEFT_OUT: dict[str, list[str]] = _TOML["notebooks"]["left_out"]
