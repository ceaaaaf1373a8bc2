"""All claims of the theory answers, in the order of the questions."""

from coursework.theory import (
    almost_orthogonal,
    convolution_attention,
    kernel_attention,
    low_rank_attention,
    pooling_attention,
    relu_chain,
    self_attention,
    sigmoid_rnn,
    similarity,
)
from coursework.theory.checks import REGISTERED, Claim

MODULES = (
    relu_chain, sigmoid_rnn, kernel_attention, low_rank_attention, convolution_attention,
    pooling_attention, almost_orthogonal, similarity, self_attention,
)  # fmt: skip
_ORDER = [module.__name__ for module in MODULES]

CLAIMS = tuple(sorted(REGISTERED, key=lambda c: (_ORDER.index(c.check.__module__), c.question)))

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
