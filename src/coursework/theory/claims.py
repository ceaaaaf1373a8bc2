"""All claims of the theory answers, in the order of the questions.

Importing this module imports the modules with the mathematics, where each claim stands above its check.
"""

from __future__ import annotations

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


def of_question(question: str) -> list[Claim]:
    """The claims of one sub-question."""
    return [claim for claim in CLAIMS if claim.question == question]
