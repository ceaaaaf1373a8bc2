"""The record that every numeric check of a proof returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Check", "all_hold", "at_most", "equal", "report", "summary"]


@dataclass(frozen=True)
class Check:
    """One inequality, measured.

    Whether it holds is computed from the numbers and cannot be set: a NaN never holds.

    Attributes:
        claim: What is claimed, in a few words.
        measured: The worst value met over all cases.
        bound: What the claim allows at most.
        cases: Number of cases the worst was taken over; a check without a case does not hold.
    """

    claim: str
    measured: float
    bound: float
    cases: int = 1

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
    """Claim that every value is at most ``bound``.

    Args:
        claim: What is claimed.
        values: One number per case (usually a quantity divided by its bound).
        bound: The largest value allowed.
        rounding: Relative allowance for floating point, added to the bound as
            ``rounding * abs(bound)``.
    """
    numbers = [float(value) for value in values]
    # max() would let a NaN through or not depending on the order, so it is looked for first
    worst = math.nan if any(map(math.isnan, numbers)) else max(numbers, default=math.nan)
    return Check(claim, worst, bound + rounding * abs(bound), len(numbers))


def equal(claim: str, differences: Iterable[float], *, tolerance: float = 1e-10) -> Check:
    """Claim that every difference is zero up to ``tolerance`` (absolute)."""
    return at_most(claim, (abs(float(d)) for d in differences), tolerance, rounding=0.0)


def all_hold(checks: Iterable[Check]) -> bool:
    """True if there is at least one check and all of them hold."""
    results = [check.holds for check in checks]
    return bool(results) and all(results)


def report(*claims: Check, refuted: Sequence[Check] = ()) -> None:
    """Print one line per check, without any value that depends on the machine.

    Args:
        claims: Checks that are expected to hold.
        refuted: Wrong versions, which are expected to fail.
    """
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
