"""What the student edition asks for (``edition.toml``), and what is often done wrong (``mistakes.txt``)."""

import itertools
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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

_KINDS = "error|shape|value|gradient|masking|leakage|dropout"
_MISTAKE = re.compile(rf"^({_KINDS}): (.+)\n((?:(?:[-~] |\+|at |else |or).*\n)*)", re.M)


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


class Mistake(NamedTuple):
    """A remark, and how it is recognised."""

    remark: Remark
    changes: Sequence[tuple[Change, ...]] = ()  # each alternative on its own
    at: Sequence[str] = ()  # probes in which nothing else can go wrong
    otherwise: Sequence[str] = ()  # where it stands for a general remark


def parse(text: str) -> dict[str, list[Mistake]]:
    """The mistakes by the name of the object; the head of ``mistakes.txt`` explains its lines."""
    found: dict[str, list[Mistake]] = {}
    for name, body in re.findall(r"^\[(.+)\]\n((?:(?!\[).*\n)*)", text, re.M):
        found[name] = []
        for kind, words, how in _MISTAKE.findall(re.sub(r"^#.*\n", "", body, flags=re.M)):
            at, otherwise = (re.findall(rf"^{sign} (.+)", how, re.M) for sign in ("at", "else"))
            found[name].append(Mistake(Remark(kind, words), [*_changes(how)], at, otherwise))
    return found


def _changes(how: str) -> Iterator[tuple[Change, ...]]:
    for part in re.split(r"^or\n|^(?=~ )", how, flags=re.M):
        if pairs := re.findall(r"((?:^- .*\n)+)((?:^\+.*\n)*)", part, re.M):
            without_signs = (re.sub(r"^. ?", "", text[:-1], flags=re.M) for text in sum(pairs, ()))
            yield tuple(zip(without_signs, without_signs, strict=True))
        if line := re.match(r"~ ((.+?) =.*)", part):
            for order in [*itertools.permutations(line[2].split(", "))][1:]:
                yield ((line[1], line[1].replace(line[2], ", ".join(order), 1)),)


_TOML = tomllib.loads(Path(__file__).with_name("edition.toml").read_text("utf-8"))

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
MISTAKES = parse(Path(__file__).with_name("mistakes.txt").read_text("utf-8"))
