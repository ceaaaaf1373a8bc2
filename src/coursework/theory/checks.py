"""What every numeric check of a proof returns, and claims: each stands as a decorator above its check.

A claim comes with wrong versions, as they are often seen: a check that would accept them says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Wrong = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Check:
    """One inequality, measured. Whether it holds is computed from the numbers and cannot be set."""

    claim: str
    measured: float  # the worst value over all cases
    bound: float  # what the claim allows at most
    cases: int = 1  # a check without a case does not hold

    @property
    def holds(self) -> bool:
        """True if ``measured <= bound`` on at least one case (false for NaN)."""
        return self.cases > 0 and not math.isnan(self.measured) and self.measured <= self.bound

    def named(self, claim: str) -> Check:
        """The same measurement under another name (what a wrong version claims)."""
        return replace(self, claim=claim)

    def __str__(self) -> str:
        """One line without the measured value: the same on every machine."""
        cases = "1 case" if self.cases == 1 else f"{self.cases:,} cases"
        return f"holds: {self.holds!s:5} | {self.claim} ({cases}, at most {self.bound:.4g})"


def at_most(
    claim: str, values: Iterable[float], bound: float = 1.0, *, rounding: float = 1e-9
) -> Check:
    """Claim that every value, one per case, is at most ``bound`` (``rounding`` is relative to it)."""
    numbers = [float(value) for value in values]
    # max() would let a NaN through or not depending on the order, so it is looked for first
    worst = math.nan if any(map(math.isnan, numbers)) else max(numbers, default=math.nan)
    return Check(claim, worst, bound + rounding * abs(bound), len(numbers))


def equal(claim: str, differences: Iterable[float], *, tolerance: float = 1e-10) -> Check:
    """Claim that every difference is zero up to ``tolerance`` (absolute)."""
    return at_most(claim, (abs(float(d)) for d in differences), tolerance, rounding=0.0)


def report(*claims: Check, refuted: Sequence[Check] = ()) -> None:
    """Print one line per check, and the wrong versions, which are expected to fail."""
    for check in claims:
        print(check)
    if refuted:
        print("wrong versions, which must fail:")
    for check in refuted:
        print(check)


def summary(*claims: Check, refuted: Sequence[Check] = ()) -> str:
    """How many claims hold and how many wrong versions fail, counted."""
    held = sum(check.holds for check in claims)
    text = f"{held} of {len(claims)} checks hold"
    if refuted:
        failed = sum(not check.holds for check in refuted)
        text += f", {failed} of {len(refuted)} wrong versions fail"
    return text


@dataclass(frozen=True)
class Claim:
    """A claim, its check with its arguments, and wrong versions: name -> (what it says, arguments)."""

    question: str  # number of the sub-question in its homework
    name: str  # unique within the question
    says: str
    check: Callable[..., Check]
    wrong: Mapping[str, Wrong]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Unique name, that of its test."""
        return f"{self.question}-{self.name}"

    @property
    def check_name(self) -> str:
        """``module.function`` of its check, within this package."""
        return f"{self.check.__module__.rpartition('.')[2]}.{self.check.__name__}"

    def run(self) -> Check:
        """Run the check on the claim; it has to hold."""
        return self.check(**self.options)

    def refute(self, name: str) -> Check:
        """Run the check on a wrong version; it must not hold.

        A wrong version with a form of its own names another ``check``, which takes its own arguments.
        """
        says, changed = self.wrong[name]
        if "check" in changed:
            result: Check = changed["check"]()
        else:
            result = self.check(**{**self.options, **changed})
        return result.named(says)

    def as_record(self) -> dict[str, Any]:
        """Plain values, for the writeup."""
        return {
            "question": self.question,
            "name": self.name,
            "says": self.says,
            "check": self.check_name,
            "mutations": [{"name": name, "says": says} for name, (says, _) in self.wrong.items()],
        }


REGISTERED: list[Claim] = []


def claim(question: str, name: str, says: str, **options: Any) -> Callable[[F], F]:
    """Register the decorated check, called with ``options``, as the check of a claim."""

    def register(check: F) -> F:
        versions = dict(check.__dict__.pop("wrong_versions", ()))
        REGISTERED.append(Claim(question, name, says, check, versions, options))
        return check

    return register


def wrong(name: str, says: str, **changed: Any) -> Callable[[F], F]:
    """A wrong version of the claim above it: what it says, and which arguments of the check it changes."""

    def attach(check: F) -> F:
        check.__dict__.setdefault("wrong_versions", []).insert(0, (name, (says, changed)))
        return check

    return attach
