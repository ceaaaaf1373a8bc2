"""The record of a check: what must never count as a success."""

import math
from dataclasses import FrozenInstanceError

import pytest

from coursework.theory import checks


def test_holds_follows_from_the_numbers() -> None:
    assert checks.Check("c", 0.5, 1.0).holds
    assert checks.Check("c", 1.0, 1.0).holds
    assert not checks.Check("c", 1.0 + 1e-9, 1.0).holds


@pytest.mark.parametrize("values", [[math.nan], [math.nan, 0.0], [0.0, math.nan], [math.inf]])
def test_a_value_that_is_no_number_never_holds(values: list[float]) -> None:
    assert not checks.at_most("c", values).holds
    assert not checks.equal("c", values).holds


def test_no_case_is_no_success() -> None:
    assert not checks.at_most("c", []).holds


def test_verdict_cannot_be_set() -> None:
    check = checks.Check("c", 2.0, 1.0)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        check.holds = True  # type: ignore[misc]


def test_equal_takes_both_signs() -> None:
    assert not checks.equal("c", [0.0, -1e-3]).holds
    assert checks.equal("c", [1e-12, -1e-12]).holds


def test_report_shows_no_measured_value(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = checks.Check("claim", 0.123456, 1.0, 7), checks.Check("other", 3.0, 1.0)
    checks.report(good, refuted=[bad])
    assert capsys.readouterr().out.splitlines() == [
        "holds: True  | claim (7 cases, at most 1)",
        "wrong versions, which must fail:",
        "holds: False | other (1 case, at most 1)",
    ]
    checks.report(good)
    assert "wrong" not in capsys.readouterr().out


def test_summary_counts() -> None:
    good, bad = checks.Check("c", 0.0, 1.0), checks.Check("c", 2.0, 1.0)
    assert checks.summary(good, bad) == "1 of 2 checks hold"
    assert checks.summary(good, refuted=[bad, bad, good]) == (
        "1 of 1 checks hold, 2 of 3 wrong versions fail"
    )


def test_a_measurement_cannot_be_changed_or_hold_without_a_case() -> None:
    check = checks.Check("x", 2.0, 1.0)
    with pytest.raises(FrozenInstanceError):
        check.measured = 0.0  # type: ignore[misc]
    assert not checks.Check("x", 0.0, 1.0, cases=0).holds
    assert checks.Check("x", 0.0, 1.0).holds
