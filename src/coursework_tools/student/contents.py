"""What the student edition asks for (``edition.toml``), and what is often done wrong (``mistakes.txt``)."""

import itertools
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import NamedTuple


@dataclass(frozen=True)
class Task:
    """An object that is asked for in code."""

    name: str
    problem: int
    question: str
    module: str  # below the package: "models.lstm"
    names: tuple[str, ...]  # what of the module belongs to it


Change = tuple[str, str]  # text of the solution, and what a student writes in its place

_REMARK = re.compile(r"(error|shape|value|gradient|masking|leakage|dropout): (.+)")


class Remark(NamedTuple):
    """Feedback: what differs (shape, values, gradient, ...), and a sentence or two about it."""

    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


class Report(NamedTuple):
    """What became of an object, or of a notebook's questions in words; the most telling remark first."""

    task: str  # name of the object, or number of the problem
    passed: int
    total: int
    remarks: tuple[Remark, ...]


@dataclass
class Mistake:
    """A remark, and how it is recognised."""

    remark: Remark
    changes: list[tuple[Change, ...]] = field(default_factory=list)  # each alternative on its own
    at: list[str] = field(default_factory=list)  # probes in which nothing else can go wrong
    otherwise: list[str] = field(default_factory=list)  # where it stands for a general remark


def parse(text: str) -> dict[str, Sequence[Mistake]]:
    """ValueError if a line is of no kind that the head of the file explains."""
    found: dict[str, list[Mistake]] = {}
    changes: list[list[str]] = []  # of the alternative that is being read: pairs of old and new
    before = ""
    own: list[Mistake] = []
    for number, line in enumerate([*text.splitlines(), "or"], start=1):
        sign, _, rest = line.partition(" ")
        if line.startswith("#"):
            continue
        if sign == "-" and before == "-":
            changes[-1][0] += f"\n{rest}"
        elif sign == "-":
            changes.append([rest, ""])
        elif sign == "+" and changes:
            changes[-1][1] += f"\n{rest}" if before == "+" else rest
        elif changes:
            own[-1].changes.append(tuple((old, new) for old, new in changes))
            changes = []
        if line.startswith("["):
            own = found.setdefault(line.strip("[]"), [])
        elif remark := _REMARK.fullmatch(line):
            own.append(Mistake(Remark(*remark.groups())))
        elif sign in ("at", "else"):
            getattr(own[-1], "at" if sign == "at" else "otherwise").append(rest)
        elif sign == "~":
            names, _, value = rest.partition(" =")
            for order in [*itertools.permutations(names.split(", "))][1:]:
                own[-1].changes.append(((rest, f"{', '.join(order)} ={value}"),))
        elif sign not in ("-", "+", "or", ""):
            raise ValueError(f"mistakes.txt, line {number}: {line!r} is of no known kind.")
        before = sign
    return dict(found)


_HERE = resources.files(__package__)
_TOML = tomllib.loads(_HERE.joinpath("edition.toml").read_text("utf-8"))

TASKS = tuple(
    Task(name, problem, one["question"], one["module"], tuple(one.get("names", [name])))
    for problem, objects in enumerate(_TOML["objects"], start=1)
    for name, one in objects.items()
)
# problem -> modules in which something is asked for
MODULES = {
    number: list(dict.fromkeys(task.module for task in TASKS if task.problem == number))
    for number in range(1, len(_TOML["objects"]) + 1)
}
IN_WORDS, OBSERVED = set(_TOML["notebooks"]["in_words"]), set(_TOML["notebooks"]["observed"])
LEFT_OUT: dict[str, list[str]] = _TOML["notebooks"]["left_out"]
# of each object, those that are tried first in front
MISTAKES = parse(_HERE.joinpath("mistakes.txt").read_text("utf-8"))
