"""The registry of claims: every check holds, and every wrong version of its claim is refuted."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from coursework import theory
from coursework.report.questions import QUESTIONS
from coursework.theory import claims, wrong
from coursework.theory.claims import CLAIMS, Claim, Mutation

MUTATIONS = [(claim, mutation) for claim in CLAIMS for mutation in claim.mutations]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_claim_holds(claim: Claim) -> None:
    check = claim.run()
    assert check.holds, (check, check.measured)
    assert check.cases > 0


@pytest.mark.parametrize(
    ("claim", "mutation"),
    MUTATIONS,
    ids=[f"{claim.key}-{mutation.name}" for claim, mutation in MUTATIONS],
)
def test_mutation_is_refuted(claim: Claim, mutation: Mutation) -> None:
    check = claim.refute(mutation)
    assert not check.holds, (check, check.measured)
    assert check.cases > 0, "refuted for want of a case, not for being wrong"
    assert check.claim == mutation.says


def test_every_claim_has_a_mutation_and_a_name_of_its_own() -> None:
    assert all(claim.mutations for claim in CLAIMS)
    keys = [claim.key for claim in CLAIMS]
    keys += [f"{claim.key}-{mutation.name}" for claim, mutation in MUTATIONS]
    assert len(keys) == len(set(keys))


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
