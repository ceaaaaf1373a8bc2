import functools
import importlib
import json
import math
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest

from coursework import theory
from coursework.theory import claims
from coursework.theory.checks import Check, Claim, at_most, equal
from coursework.theory.claims import CLAIMS

MEASURED = Path(__file__).parent / "measured.json"
RECORDED = json.loads(MEASURED.read_text(encoding="utf-8"))
ROUNDING = 1e-9  # what is smaller is rounding alone, and differs from machine to machine
VERSIONS = {f"{claim.key}-{name}": (claim, name) for claim in CLAIMS for name in claim.wrong}
KEYS = [k for c in CLAIMS for k in (c.key, *(f"{c.key}-{name}" for name in c.wrong))]


@functools.cache
def run(key: str) -> Check:
    if key in VERSIONS:
        claim, name = VERSIONS[key]
        return claim.refute(name)
    return next(claim for claim in CLAIMS if claim.key == key).run()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_claim_holds(claim: Claim) -> None:
    check = run(claim.key)
    assert check.holds, (check, check.measured)
    assert check.cases > 0


@pytest.mark.parametrize("key", VERSIONS)
def test_mutation_is_refuted(key: str) -> None:
    check = run(key)
    assert not check.holds, (check, check.measured)
    assert check.cases > 0, "refuted because there was no case, not because it is wrong"


@pytest.mark.parametrize("key", KEYS)
def test_measures_what_it_always_did(key: str) -> None:
    """A check that looks at other cases, or at something else, still holds: this notices.

    The numbers are those of `python tests/theory/test_claims.py`; they agree to ten digits between
    machines and numbers of threads, but for what is rounding alone.
    """
    check, recorded = run(key), RECORDED[key]
    assert check.cases == recorded["cases"]
    assert check.bound == pytest.approx(recorded["bound"], rel=1e-6, abs=0)
    for found, known in ((check.measured, "measured"), (check.mean, "mean")):
        assert found == pytest.approx(recorded[known], rel=1e-5, abs=ROUNDING, nan_ok=True)


def test_every_claim_has_a_wrong_version_and_a_name_of_its_own() -> None:
    assert all(claim.wrong for claim in CLAIMS)
    assert len(KEYS) == len(set(KEYS)) == len(CLAIMS) + len(VERSIONS)
    assert set(RECORDED) == set(KEYS)


def test_every_theory_question_has_a_claim() -> None:
    nine = {"1.1.1", "1.1.2", "1.2.1", "1.3.1", "1.3.2", "1.3.3", "1.4.1", "1.4.2", "2.1.1"}
    assert {claim.question for claim in CLAIMS} == nine | {"2(b)", "2(c)"}
    assert claims.of_question("1.3.3")


def test_every_check_is_registered() -> None:
    found = {
        value
        for module in pkgutil.iter_modules(theory.__path__)
        for name, value in vars(importlib.import_module(f"{theory.__name__}.{module.name}")).items()
        if name.startswith("check_") and value.__module__.endswith(f".{module.name}")
    }
    used = {claim.check for claim in CLAIMS}
    # the set of 2.1.1 is verified by check_set, which check_random_set calls on a set that it draws
    assert {check.__name__ for check in found - used} == {"check_set"}


def test_rows_say_what_holds_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    right = claims.rows("1.1.1")
    assert [(row[4], row[6]) for row in right] == [("yes", "2 of 2")]
    assert len(right[0]) == len(claims.COLUMNS)
    assert [row[2] for row in claims.rows("1.1.2")] == ["1", "0", "1", "0"]  # rounding is 0
    record = next(claim for claim in CLAIMS if claim.key == "2.1.1-set").as_record()
    assert [one["name"] for one in record["mutations"]] == ["twin", "opposite", "length", "few"]
    assert (record["question"], record["check"]) == ("2.1.1", "almost_orthogonal.check_random_set")
    monkeypatch.setattr(claims, "CLAIMS", [replace(CLAIMS[0], options={"slope": lambda x: 1.0})])
    (wrong,) = claims.rows("1.1.1")
    assert wrong[4] == "NO"


def test_holds_follows_from_the_numbers() -> None:
    assert Check(0.5, 1.0).holds
    assert Check(0.5, 1.0).cases == 1
    assert Check(1.0, 1.0).holds
    assert not Check(1.0 + 1e-9, 1.0).holds
    assert not Check(0.0, 1.0, cases=0).holds


@pytest.mark.parametrize("values", [[math.nan], [math.nan, 0.0], [0.0, math.nan], [math.inf], []])
def test_what_is_no_number_and_no_case_never_hold(values: list[float]) -> None:
    assert not at_most(values).holds
    assert not equal(values).holds


def test_equal_takes_both_signs() -> None:
    assert not equal([0.0, -1e-3]).holds
    assert equal([1e-12, -1e-12]).holds


if __name__ == "__main__":
    lines = (
        f"{json.dumps(key)}: "
        + json.dumps(
            {name: getattr(run(key), name) for name in ("measured", "bound", "cases", "mean")}
        )
        for key in KEYS
    )
    MEASURED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
