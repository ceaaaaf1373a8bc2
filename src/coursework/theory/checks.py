"""What a numeric check returns, and the decorators that make it the check of a claim."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Check:
    """One inequality, measured. Whether it holds is computed from the numbers and cannot be set."""

    measured: float  # the worst value over all cases
    bound: float  # what the claim allows at most
    cases: int = 1
    mean: float = math.nan  # over the cases; tests compare it, the worst alone hides changes

    @property
    def holds(self) -> bool:
        return self.cases > 0 and self.measured <= self.bound  # false for NaN


def at_most(values: Iterable[float], bound: float = 1.0, *, rounding: float = 1e-9) -> Check:
    """Every value, one per case, is at most ``bound`` (``rounding`` is relative to it)."""
    numbers = [float(value) for value in values]
    # max() would let a NaN through or not depending on the order, so it is looked for first
    worst = math.nan if any(map(math.isnan, numbers)) else max(numbers, default=math.nan)
    mean = sum(numbers) / len(numbers) if numbers else math.nan
    return Check(worst, bound + rounding * abs(bound), len(numbers), mean)


def equal(differences: Iterable[float], *, tolerance: float = 1e-10) -> Check:
    """Every difference is zero up to ``tolerance`` (absolute)."""
    return at_most((abs(float(d)) for d in differences), tolerance, rounding=0.0)


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest absolute difference of two tensors."""
    return float((found - expected).abs().max())


def gaussian(seed: int) -> Callable[..., Tensor]:
    """Draws Gaussian tensors in float64 of the shapes that it is called with, the same for each seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Claim:
    """A claim, its check with its arguments, and wrong versions: name -> (what it says, arguments)."""

    question: str  # number of the sub-question in its homework
    name: str  # unique within the question
    says: str
    check: Callable[..., Check]
    wrong: Mapping[str, tuple[str, Mapping[str, Any]]]
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        return f"{self.question}-{self.name}"

    @property
    def check_name(self) -> str:
        """``module.function`` of its check, within this package."""
        return f"{self.check.__module__.rpartition('.')[2]}.{self.check.__name__}"

    def run(self) -> Check:
        return self.check(**self.options)

    def refute(self, name: str) -> Check:
        """Run the check on a wrong version; it must not hold."""
        return self.check(**{**self.options, **self.wrong[name][1]})

    def as_record(self) -> dict[str, Any]:
        """Plain values, for the writeup."""
        record = {"question": self.question, "name": self.name, "says": self.says}
        mutations = [{"name": name, "says": says} for name, (says, _) in self.wrong.items()]
        return record | {"check": self.check_name, "mutations": mutations}


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
