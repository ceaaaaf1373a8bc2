"""What tests share: properties of drawn cases, calls that are refused, numbers typed into prose."""

import re
import tomllib
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SEED = (0, 2**16)


def every(*cases: Any, examples: int = 30, **named: Any) -> Callable[[Callable], Callable]:
    """A test on drawn cases, the same in each run; a pair is a range, a list a choice."""

    def strategy(case: Any) -> st.SearchStrategy:
        if isinstance(case, tuple):
            return (st.floats if isinstance(case[0], float) else st.integers)(*case)
        return st.sampled_from(case) if isinstance(case, list) else case

    drawn = given(*map(strategy, cases), **{name: strategy(case) for name, case in named.items()})
    chosen = settings(max_examples=examples, deadline=None, derandomize=True)
    return lambda test: chosen(drawn(test))


def refused(*rows: tuple[Callable[[], object], str]) -> Callable[..., None]:
    """A test: each call ends in a ValueError that says this."""

    @pytest.mark.parametrize(("call", "message"), rows)
    def test(call: Callable[[], object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            call()

    return test


TYPED_NUMBERS = tomllib.loads(Path(__file__).with_name("typed_numbers.toml").read_text("utf-8"))
LOOKS_MEASURED = re.compile(
    r"(?<![\w.,])(?:(?:\d{1,3}(?:,\d{3})+|\d+\.\d+|\d{3,})(?:\s*%)?(?![\w.,]*\d)|\d+\s*%)"
)


def measured_looking(text: str, left_out: Sequence[str], allowed: Container[str]) -> list[str]:
    """Numbers of a text that look measured, without what the patterns leave out and what is allowed."""
    for pattern in left_out:
        text = re.sub(pattern, " ", text)
    found = (re.sub(r"\s+", " ", number).strip() for number in LOOKS_MEASURED.findall(text))
    return [number for number in found if number not in allowed]
