"""What is often done wrong, read from ``mistakes.txt``; the head of that file explains how it is written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NamedTuple

Change = tuple[str, str]
"""Text of the solution, and what a student writes in its place."""

_REMARK = re.compile(r"(error|shape|value|gradient|masking|leakage|dropout): (.+)")


class Remark(NamedTuple):
    """Feedback: what differs (shape, values, gradient, ...), and a sentence or two about it."""

    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


@dataclass
class Mistake:
    """A remark, and how it is recognised."""

    remark: Remark
    changes: list[tuple[Change, ...]] = field(default_factory=list)  # each alternative on its own
    at: list[str] = field(default_factory=list)  # probes in which nothing else can go wrong
    otherwise: list[str] = field(
        default_factory=list
    )  # probes where it stands for a general remark


@cache
def mistakes() -> dict[str, Sequence[Mistake]]:
    """The mistakes of each object, those that are tried first in front."""
    return parse(resources.files(__package__).joinpath("mistakes.txt").read_text("utf-8"))


def parse(text: str) -> dict[str, Sequence[Mistake]]:
    """Read the format; ValueError if a line is of no kind that the head of the file explains."""
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
            own[-1].changes += _orders(rest)
        elif sign not in ("-", "+", "or", ""):
            raise ValueError(f"mistakes.txt, line {number}: {line!r} is of no known kind.")
        before = sign
    return dict(found)


def _orders(text: str) -> Sequence[tuple[Change, ...]]:
    """Every other order of the names in front of the equals sign."""
    names, _, value = text.partition(" =")
    orders = [*itertools.permutations(names.split(", "))][1:]
    return [((text, f"{', '.join(order)} ={value}"),) for order in orders]
