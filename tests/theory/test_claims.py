"""The registry of claims: every check holds, and every wrong version of its claim is refuted."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import pkgutil
from pathlib import Path

import pytest

from coursework import theory
from coursework.report.questions import QUESTIONS
from coursework.theory import claims, wrong
from coursework.theory.checks import Check
from coursework.theory.claims import CLAIMS, Claim, Mutation

MUTATIONS = [(claim, mutation) for claim in CLAIMS for mutation in claim.mutations]
MEASURED = Path(__file__).parent / "measured.json"
ROUNDING = 1e-9
"""What is smaller is nothing but rounding, and differs from machine to machine."""


@functools.cache
def run(key: str) -> Check:
    """A claim or a wrong version of it, by its key; each is run once."""
    for claim in CLAIMS:
        if key == claim.key:
            return claim.run()
        for mutation in claim.mutations:
            if key == f"{claim.key}-{mutation.name}":
                return claim.refute(mutation)
    raise KeyError(key)


def keys() -> list[str]:
    """Of all claims and their wrong versions."""
    return [
        key
        for claim in CLAIMS
        for key in (claim.key, *(f"{claim.key}-{mutation.name}" for mutation in claim.mutations))
    ]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_claim_holds(claim: Claim) -> None:
    check = run(claim.key)
    assert check.holds, (check, check.measured)
    assert check.cases > 0


@pytest.mark.parametrize(
    ("claim", "mutation"),
    MUTATIONS,
    ids=[f"{claim.key}-{mutation.name}" for claim, mutation in MUTATIONS],
)
def test_mutation_is_refuted(claim: Claim, mutation: Mutation) -> None:
    check = run(f"{claim.key}-{mutation.name}")
    assert not check.holds, (check, check.measured)
    assert check.cases > 0, "refuted for want of a case, not for being wrong"
    assert check.claim == mutation.says


@pytest.mark.parametrize("key", keys())
def test_measures_what_it_always_did(key: str) -> None:
    """A check that looks at other cases, or at something else, still holds: this notices.

    The numbers are those of `python tests/theory/test_claims.py`; they agree to ten digits between
    machines and numbers of threads, but for what is rounding alone.
    """
    check = run(key)
    recorded = json.loads(MEASURED.read_text(encoding="utf-8"))[key]
    assert check.cases == recorded["cases"]
    assert check.bound == pytest.approx(recorded["bound"], rel=1e-6, abs=0)
    assert check.measured == pytest.approx(
        recorded["measured"], rel=1e-5, abs=ROUNDING, nan_ok=True
    )


def test_what_was_measured_is_of_todays_claims() -> None:
    assert list(json.loads(MEASURED.read_text(encoding="utf-8"))) == keys()


def test_the_registry_cannot_be_changed() -> None:
    for entry in (CLAIMS[0], CLAIMS[0].mutations[0]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            entry.says = "something else"  # type: ignore[misc]


def test_every_claim_has_a_mutation_and_a_name_of_its_own() -> None:
    assert all(claim.mutations for claim in CLAIMS)
    assert len(keys()) == len(set(keys())) == len(CLAIMS) + len(MUTATIONS)


def test_every_theory_question_has_a_claim() -> None:
    """The nine of notebook 6, and the two theory questions of problem 2."""
    wanted = {q.part for q in QUESTIONS if q.notebook == "6_theory"} | {"2(b)", "2(c)"}
    assert {claim.question for claim in CLAIMS} == wanted
    assert claims.of_question("1.3.3")


def checks_of_the_package() -> set[str]:
    found = set()
    for module in pkgutil.iter_modules(theory.__path__):
        members = vars(importlib.import_module(f"coursework.theory.{module.name}"))
        found |= {f"{module.name}.{name}" for name, value in members.items()
                  if name.startswith("check_")
                  and value.__module__ == f"coursework.theory.{module.name}"}  # fmt: skip
    return found


def test_every_check_is_registered() -> None:
    """A check that is in no claim has no mutation that keeps it sharp."""
    used = {claim.check for claim in CLAIMS} | {m.check for _, m in MUTATIONS if m.check}
    # the set of 2.1.1 is verified by check_set, which check_random_set calls on a set that it draws
    assert checks_of_the_package() - used == {"almost_orthogonal.check_set"}


def test_every_wrong_version_is_used() -> None:
    used = {m.wrong.removeprefix("wrong.") for _, m in MUTATIONS if m.wrong.startswith("wrong.")}
    here = {
        name
        for name, value in vars(wrong).items()
        if not name.startswith("_")
        and (name.isupper() or getattr(value, "__module__", "") == wrong.__name__)
    }
    assert here == used


def test_a_check_that_accepts_everything_would_be_noticed() -> None:
    """The two sides of the comparison are real: a right version is not "refuted"."""
    claim = claims.of_question("1.1.2")[1]
    right = Mutation("right", "right", "formula", "relu_chain.gradient_formula")
    assert claim.refute(right).holds


if __name__ == "__main__":
    found = {key: run(key) for key in keys()}
    rows = {
        key: {"measured": check.measured, "bound": check.bound, "cases": check.cases}
        for key, check in found.items()
    }
    lines = (f"{json.dumps(key)}: {json.dumps(row)}" for key, row in rows.items())
    MEASURED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
