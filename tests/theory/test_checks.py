"""The record of a check: what must never count as a success."""

import math
from dataclasses import FrozenInstanceError

import pytest

from coursework.theory import checks


def test_holds_follows_from_the_numbers_and_cannot_be_set() -> None:
    assert checks.Check(0.5, 1.0).holds
    assert checks.Check(1.0, 1.0).holds
    assert not checks.Check(1.0 + 1e-9, 1.0).holds
    assert not checks.Check(0.0, 1.0, cases=0).holds
    with pytest.raises(FrozenInstanceError):
        checks.Check(2.0, 1.0).measured = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("values", [[math.nan], [math.nan, 0.0], [0.0, math.nan], [math.inf], []])
def test_what_is_no_number_and_no_case_never_hold(values: list[float]) -> None:
    assert not checks.at_most(values).holds
    assert not checks.equal(values).holds


def test_equal_takes_both_signs() -> None:
    assert not checks.equal([0.0, -1e-3]).holds
    assert checks.equal([1e-12, -1e-12]).holds
