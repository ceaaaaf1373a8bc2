"""What tests of models and theory share: properties of drawn cases, and calls that are refused."""

from collections.abc import Callable
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
