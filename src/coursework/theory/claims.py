"""All claims of the theory answers, in the order of the questions."""

import importlib
import pkgutil

from coursework import theory
from coursework.theory.checks import REGISTERED, Claim

for _module in pkgutil.iter_modules(theory.__path__, f"{theory.__name__}."):
    importlib.import_module(_module.name)  # its claims register themselves

# those of the theory homework, then those of problem 2
CLAIMS = tuple(sorted(REGISTERED, key=lambda claim: ("(" in claim.question, claim.question)))
COLUMNS = ("claim", "cases", "measured", "at most", "holds", "wrong versions", "refuted")


def of_question(question: str) -> list[Claim]:
    return [claim for claim in CLAIMS if claim.question == question]


def rows(question: str) -> list[tuple[str, ...]]:
    """Runs all checks of a sub-question: a row under :data:`COLUMNS` for each claim."""
    found: list[tuple[str, ...]] = []
    for claim in of_question(question):
        check = claim.run()
        measured = "0" if abs(check.measured) < 1e-12 else f"{check.measured:.2g}"  # rounding is 0
        refuted = sum(not claim.refute(name).holds for name in claim.wrong)
        found.append((
            claim.says, f"{check.cases:,}", measured, f"{check.bound:.2g}",
            "yes" if check.holds else "NO", "; ".join(says for says, _ in claim.wrong.values()),
            f"{refuted} of {len(claim.wrong)}",
        ))  # fmt: skip
    return found
