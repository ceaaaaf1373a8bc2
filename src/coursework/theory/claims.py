"""Every claim of the theory answers, the check that it stands on, and wrong versions that must fail.

One registry serves the tests (each check holds, each wrong version is refuted), the last table of
notebook 6 and the tables of the writeup. It holds names only, so reading it costs nothing: the modules
with the mathematics are imported when a check is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coursework.theory.checks import Check

__all__ = ["CLAIMS", "Claim", "Mutation", "of_question"]


def _named(name: str) -> Any:
    """``module.attribute`` of this package."""
    module, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"coursework.theory.{module}"), attribute)


@dataclass(frozen=True)
class Mutation:
    """A wrong version of a claim.

    Attributes:
        name: Short name, the test's.
        says: What it claims.
        argument: The argument of the check that takes the wrong object; empty if none does.
        wrong: That object, as ``module.attribute`` of this package.
        options: Arguments of the check that are changed as they are.
        check: Another check, where the wrong claim has a form of its own.
    """

    name: str
    says: str
    argument: str = ""
    wrong: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    check: str = ""


@dataclass(frozen=True)
class Claim:
    """What is claimed.

    Attributes:
        question: Number of the sub-question in its homework.
        name: Short name, unique within the question.
        says: The claim, in a line.
        check: Its check, as ``module.function`` of this package.
        mutations: Wrong versions, at least one.
        options: Arguments of the check; a text names an object of this package.
    """

    question: str
    name: str
    says: str
    check: str
    mutations: tuple[Mutation, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Unique name, that of its test."""
        return f"{self.question}-{self.name}"

    def _arguments(self) -> dict[str, Any]:
        return {
            key: _named(value) if isinstance(value, str) else value
            for key, value in self.options.items()
        }

    def run(self) -> Check:
        """Run the check on the claim; it has to hold."""
        check: Check = _named(self.check)(**self._arguments())
        return check

    def refute(self, mutation: Mutation) -> Check:
        """Run the check on a wrong version; it must not hold."""
        arguments = {} if mutation.check else self._arguments()
        arguments |= mutation.options
        if mutation.argument:
            arguments[mutation.argument] = _named(mutation.wrong)
        check: Check = _named(mutation.check or self.check)(**arguments)
        return check.named(mutation.says)

    def as_record(self) -> dict[str, Any]:
        """Plain values, for the writeup."""
        return {
            "question": self.question,
            "name": self.name,
            "says": self.says,
            "check": self.check,
            "mutations": [{"name": m.name, "says": m.says} for m in self.mutations],
        }


_RELU = (
    Claim(
        "1.1.1",
        "unit",
        "weights 1: f' is 1 for x > 0 and 0 for x < 0, at any depth",
        "relu_chain.check_unit_weights",
        (
            Mutation("gates", "f' = 1 everywhere", "slope", "wrong.always_one"),
            Mutation("vanishes", "f' = 0 everywhere", "slope", "wrong.always_zero"),
        ),
    ),
    Claim(
        "1.1.2",
        "bound",
        "|f'(x)| ≤ |w₁|⋯|wₙ|",
        "relu_chain.check_bound",
        (
            Mutation("smaller", "a bound 0.1 % smaller", "bound", "wrong.slightly_smaller"),
            Mutation("one", "|f'| ≤ 1, as for unit weights", "bound", "wrong.still_one"),
        ),
    ),
    Claim(
        "1.1.2",
        "formula",
        "f' is the product of all wᵢ if every gate is open, else 0",
        "relu_chain.check_formula",
        (
            Mutation("ungated", "the product, gates or not", "formula", "relu_chain.ungated_formula"),
            Mutation("first", "only the first gate counts", "formula", "wrong.first_gate_only"),
        ),
    ),
    Claim(
        "1.1.2",
        "lipschitz",
        "|f(x) − f(y)| ≤ |w₁|⋯|wₙ| |x − y|, kinks included",
        "relu_chain.check_lipschitz",
        (Mutation("smaller", "0.1 % less", "constant", "wrong.slightly_smaller"),),
    ),
    Claim(
        "1.1.2",
        "necessarily",
        "vanish, stay or explode: the product over the open path decides",
        "relu_chain.check_rule",
        (
            Mutation(
                "single", "the size of single weights", "predict",
                "relu_chain.rule_by_single_weights",
            ),
            Mutation("vanish", "it must vanish", "predict", "wrong.must_vanish"),
            Mutation("explode", "it must explode", "predict", "wrong.must_explode"),
        ),
        {"predict": "relu_chain.rule_by_path"},
    ),
)  # fmt: skip

_RNN = (
    Claim(
        "1.2.1",
        "hint",
        "σmax(AB) ≤ σmax(A) σmax(B)",
        "sigmoid_rnn.check_hint",
        (Mutation("equality", "an equals sign", check="sigmoid_rnn.check_hint_as_equality"),),
    ),
    Claim(
        "1.2.1",
        "slope",
        "the sigmoid's slope is at most 1/4, attained at 0",
        "sigmoid_rnn.check_slope",
        (Mutation("fifth", "at most 1/5", options={"steepest": 0.2}),),
    ),
    Claim(
        "1.2.1",
        "chain",
        "∂xₙ/∂x₁ is the product of the DₜW, later factors on the left",
        "sigmoid_rnn.check_chain_rule",
        (
            Mutation("order", "first factor on the left", "product",
                     "wrong.factors_in_reading_order"),
            Mutation("side", "W Dₜ in place of Dₜ W", "product", "wrong.slopes_on_the_right"),
        ),
        {"draws": 20},
    ),
    Claim(
        "1.2.1",
        "bound",
        "σmax(∂xₙ/∂x₁) ≤ (1/16)ⁿ⁻¹",
        "sigmoid_rnn.check_bound",
        (
            Mutation("factors", "(1/16)ⁿ: n factors", "limit", "wrong.one_factor_more"),
            Mutation("premise", "also for σmax(W) = 0.3", options={"sigma": 0.3}),
        ),
        {"n": 4, "draws": 60},
    ),
    Claim(
        "1.2.1",
        "tight",
        "the bound is attained",
        "sigmoid_rnn.check_tight",
        (
            Mutation("factors", "(1/16)ⁿ is attained", "limit", "wrong.one_factor_more"),
            Mutation("slope", "(1/20)ⁿ⁻¹ is attained", "limit", "wrong.slope_of_one_fifth"),
            Mutation("weight", "(1/4)ⁿ⁻¹ is attained", "limit", "wrong.weight_forgotten"),
        ),
        {"n": 6},
    ),
    Claim(
        "1.2.1",
        "lower",
        "σmax(∂xₙ/∂x₁) ≥ 0, and 0 is possible",
        "sigmoid_rnn.check_lower",
        (Mutation("positive", "singular values are positive", options={"strict": True}),),
    ),
)  # fmt: skip

_KERNEL = (
    Claim(
        "1.3.1",
        "factored",
        "αᵢᵀ = φ(Qᵢ)ᵀS / φ(Qᵢ)ᵀz with the outer products S",
        "kernel_attention.check_equal",
        (
            Mutation("outer", "φ(Kⱼ)Vⱼ without the outer product", "candidate",
                     "wrong.place_by_place"),
            Mutation("transposed", "Vⱼφ(Kⱼ)ᵀ", "candidate", "kernel_attention.transposed"),
            Mutation("denominator", "no denominator", "candidate", "wrong.unnormalised"),
        ),
        {"d": 16, "d_v": 16},
    ),
    Claim(
        "1.3.1",
        "linear",
        "arithmetic and memory grow like n",
        "kernel_attention.check_exponent",
        (
            Mutation("definition", "the definition costs O(n)", "attention",
                     "kernel_attention.quadratic"),
            Mutation("bracket", "factored, multiplied from the left", "attention",
                     "wrong.from_the_left"),
        ),
    ),
    Claim(
        "1.3.1",
        "positive",
        "φ = elu + 1 gives no negative similarity",
        "kernel_attention.check_non_negative",
        (Mutation("kernel", "no kernel does (xᵀy)", "phi", "kernel_attention.identity"),),
        {"phi": "kernel_attention.elu_plus_one"},
    ),
    Claim(
        "1.3.1",
        "rank",
        "m features give similarities of rank at most m",
        "kernel_attention.check_finite_rank",
        (Mutation("softmax", "so does softmax attention", "similarities",
                  "kernel_attention.exponential"),),
    ),
)  # fmt: skip

_LOW_RANK = (
    Claim(
        "1.3.2",
        "premise",
        "keys of k kinds give a softmax matrix of rank k",
        "low_rank_attention.check_rank",
        (Mutation("more", "of rank k + 1", options={"claimed": 7}),),
        {"rank": 6},
    ),
    Claim(
        "1.3.2",
        "product",
        "PV = U(Σ(WᵀV))",
        "low_rank_attention.check_svd_product",
        (
            Mutation("truncated", "with k − 1 triples", "product", "wrong.one_triple_too_few"),
            Mutation("sigma", "without Σ", "product", "wrong.singular_values_forgotten"),
            Mutation("swapped", "W(Σ(UᵀV))", "product", "wrong.factors_swapped"),
        ),
    ),
    Claim(
        "1.3.2",
        "cost",
        "2nkd multiply-adds, no n × n matrix",
        "low_rank_attention.check_cost",
        (Mutation("bracket", "so does (UΣWᵀ)V", "product", "low_rank_attention.left_to_right"),),
    ),
    Claim(
        "1.3.2",
        "orthonormal",
        "UᵀU = I: the columns are orthonormal",
        "low_rank_attention.check_columns_orthonormal",
        (Mutation("orthogonal", "UUᵀ = I",
                  check="low_rank_attention.check_rows_orthonormal"),),
    ),
    Claim(
        "1.3.3",
        "projected",
        "C = D = Wᵀ gives Q(CK)ᵀDV = PV",
        "low_rank_attention.check_projected",
        (
            Mutation("left", "C = D = Uᵀ", "choose", "wrong.left_vectors"),
            Mutation("any", "any projection on k dimensions", "choose", "wrong.any_projection"),
        ),
    ),
    Claim(
        "1.3.3",
        "cost",
        "4nkd multiply-adds, no n × n matrix",
        "low_rank_attention.check_projected_cost",
        (Mutation("bracket", "so does ((QKᵀ)Cᵀ)DV", "product",
                  "low_rank_attention.unprojected_attention"),),
    ),
)  # fmt: skip

_CONVOLUTION = (
    Claim(
        "1.4.1",
        "kernel",
        "W_Q = 0, W_V = 3, P₁ = ln 2, P₋₁ = 0, −∞ else: the kernel [2, 0, 1]",
        "convolution_attention.check_kernel",
        (
            Mutation("infinite", "P₁ = 2∞, P₋₁ = ∞", "head", "wrong.INFINITE_BIAS"),
            Mutation("limit", "P₁ = 2M, P₋₁ = M", "head", "wrong.BIAS_2M_AND_M"),
            Mutation("logarithm", "P₁ = 2, P₋₁ = 1", "head", "wrong.BIAS_WITHOUT_LOGARITHM"),
            Mutation("query", "W_Q = 1", "head", "wrong.QUERY_NOT_ZERO"),
            Mutation("values", "W_V = 1", "head", "wrong.VALUES_NOT_SCALED"),
            Mutation("sides", "the two sides swapped", "head", "wrong.SIDES_SWAPPED"),
            Mutation("middle", "P₀ = 0", "head", "wrong.MIDDLE_OPEN"),
        ),
    ),
    Claim(
        "1.4.1",
        "limit",
        "biases 2M and M lead to the kernel [3, 0, 0]",
        "convolution_attention.check_large_bias_limit",
        (Mutation("kernel", "... to [2, 0, 1]", options={"target": (2.0, 0.0, 1.0)}),),
    ),
    Claim(
        "1.4.1",
        "boundary",
        "unpadded: off by 2x₂ and xₙ₋₁ at the ends, exact inside",
        "convolution_attention.check_boundary",
        (Mutation("none", "exact everywhere", "errors", "wrong.no_end_errors"),),
    ),
    Claim(
        "1.4.1",
        "finite",
        "−M for −∞: error ≤ 2(n−2)e⁻ᴹ max|x|",
        "convolution_attention.check_finite_bias",
        (Mutation("faster", "the error falls like e⁻²ᴹ", "limit",
                  "wrong.limit_of_twice_the_bias"),),
    ),
    Claim(
        "1.4.1",
        "general",
        "every kernel without negative weights: one head",
        "convolution_attention.check_general",
        (Mutation("scale", "... with W_V = 1", "candidate", "wrong.sum_not_restored"),),
        {"signed": False},
    ),
    Claim(
        "1.4.1",
        "signed",
        "every kernel: two heads",
        "convolution_attention.check_general",
        (Mutation("one", "the positive head alone", "candidate", "wrong.positive_part_only"),),
        {"signed": True},
    ),
    Claim(
        "1.4.1",
        "sign",
        "the weights of one head all have one sign",
        "convolution_attention.check_one_sign",
        (Mutation("scores", "... without softmax too", "weights", "wrong.scores_as_weights"),),
    ),
)  # fmt: skip

_POOLING = (
    Claim(
        "1.4.2",
        "pooling",
        "constant query, K = V = x, window in P: max-pooling, bit for bit",
        "pooling_attention.check_pooling",
        (
            Mutation("content", "Qᵢ = xᵢ", "scores", "pooling_attention.content_query_scores"),
            Mutation("window", "no content in the score", "scores", "wrong.window_only"),
            Mutation("wide", "|r| ≤ k + 1", "scores", "wrong.window_too_wide"),
        ),
    ),
    Claim(
        "1.4.2",
        "query",
        "Qᵢ = W_Q xᵢ and xᵢ = 0: no W_Q makes the scores depend on the tokens",
        "pooling_attention.check_any_query_weight",
        (Mutation("constant", "... nor does a constant query", "scores",
                  "wrong.constant_query"),),
    ),
    Claim(
        "1.4.2",
        "temperature",
        "softmax at T: 0 ≤ max − output ≤ T ln(2k+1)",
        "pooling_attention.check_temperature",
        (Mutation("half", "... ≤ T/2", "limit", "wrong.half_the_temperature"),),
    ),
)  # fmt: skip

_ORTHOGONAL = (
    Claim(
        "2.1.1",
        "norms",
        "1 − ε ≤ ‖Meᵢ‖² ≤ 1 + ε",
        "almost_orthogonal.check_squared_norms",
        (Mutation("anchor", "2(1 ± ε), as between the eᵢ", options={"centre": 2.0}),),
    ),
    Claim(
        "2.1.1",
        "inner",
        "|⟨Meᵢ, Meⱼ⟩| ≤ 2ε",
        "almost_orthogonal.check_inner_products",
        (Mutation("smaller", "≤ 1.9 ε", "limit", "wrong.slightly_below_two"),),
    ),
    Claim(
        "2.1.1",
        "cosines",
        "|uᵢᵀuⱼ| ≤ 2ε/(1 − ε)",
        "almost_orthogonal.check_cosines",
        (Mutation("unnormalised", "≤ 2ε, not normalised", "limit", "wrong.not_normalised"),),
    ),
    Claim(
        "2.1.1",
        "attained",
        "two vectors in the plane attain both bounds",
        "almost_orthogonal.check_attained",
        (Mutation("unnormalised", "their cosine is 2ε", "value", "wrong.not_normalised"),),
    ),
    Claim(
        "2.1.1",
        "epsilon",
        "ε = δ/3 gives 2ε/(1 − ε) ≤ δ",
        "almost_orthogonal.check_epsilon",
        (Mutation("half", "so does ε = δ/2", "choose", "wrong.half_of_delta"),),
    ),
    Claim(
        "2.1.1",
        "size",
        "N = ⌊eᵗ⌋ − 1 is allowed and at least eᵗ/2",
        "almost_orthogonal.check_constants",
        (
            Mutation("anchor", "N = ⌊eᵗ⌋ is allowed", "size", "wrong.one_vector_too_many"),
            Mutation("exponent", "N = ⌊e^(0.9 t)⌋ is large enough", "size",
                     "wrong.smaller_exponent"),
        ),
    ),
    Claim(
        "2.1.1",
        "cosh",
        "cosh x ≤ exp(x²/2)",
        "almost_orthogonal.check_cosh",
        (Mutation("quarter", "≤ exp(x²/4)", "limit", "wrong.half_the_variance"),),
    ),
    Claim(
        "2.1.1",
        "tail",
        "P(|uᵀv| ≥ δ) ≤ 2 exp(−nδ²/2)",
        "almost_orthogonal.check_hoeffding",
        (Mutation("twice", "≤ 2 exp(−nδ²)", "limit", "wrong.tail_of_twice_the_exponent"),),
    ),
    Claim(
        "2.1.1",
        "union",
        "N = ⌊exp(nδ²/4)⌋: the tails of all pairs sum to less than 1",
        "almost_orthogonal.check_union",
        (Mutation("pairs", "so they do for N = ⌊exp(nδ²/2)⌋", "size",
                  "wrong.pairs_not_counted"),),
    ),
    Claim(
        "2.1.1",
        "set",
        "such a set exists: drawn, verified pair by pair",
        "almost_orthogonal.check_random_set",
        (
            Mutation("twin", "one vector twice", "spoil", "wrong.with_a_twin"),
            Mutation("opposite", "a vector and its negative", "spoil", "wrong.with_an_opposite"),
            Mutation("length", "vectors not of length 1", "spoil", "wrong.not_unit"),
            Mutation("few", "three vectors only", "spoil", "wrong.too_few"),
        ),
    ),
)  # fmt: skip

_SIMILARITY = (
    Claim(
        "2(b)",
        "bridge",
        "softmax attention = RBF regression with key weights exp(‖k‖²/σ²)",
        "similarity.check_bridge",
        (
            Mutation("keys", "... without key weights", "candidate", "wrong.without_key_weights"),
            Mutation("width", "... with σ² = 2", "candidate", "wrong.squared_width_two"),
            Mutation("queries", "... with query weights instead", "candidate",
                     "wrong.query_weights"),
        ),
    ),
    Claim(
        "2(b)",
        "sphere",
        "keys of equal norm: plain RBF regression",
        "similarity.check_equal_norms",
        (Mutation("any", "for any keys", "keys", "wrong.keys_as_they_are"),),
    ),
    Claim(
        "2(b)",
        "symmetric",
        "the RBF kernel is symmetric",
        "similarity.check_symmetric",
        (Mutation("attention", "so are attention scores", "gram",
                  "similarity.attention_scores"),),
    ),
    Claim(
        "2(b)",
        "semidefinite",
        "RBF Gram matrices have no negative eigenvalue",
        "similarity.check_semidefinite",
        (Mutation("attention", "nor have attention scores", "gram",
                  "similarity.attention_scores"),),
    ),
    Claim(
        "2(b)",
        "exponential",
        "exp(xᵀy) on one shared space is positive semidefinite",
        "similarity.check_semidefinite",
        (Mutation("attention", "also with W_Q ≠ W_K", "gram", "similarity.attention_scores"),),
        {"gram": "similarity.exponential_kernel"},
    ),
    Claim(
        "2(b)",
        "itself",
        "RBF: every point is most similar to itself",
        "similarity.check_most_similar_to_itself",
        (Mutation("attention", "attention too", "gram", "similarity.attention_scores"),),
    ),
    Claim(
        "2(b)",
        "concentration",
        "distances concentrate: their relative spread falls like 1/√d",
        "similarity.check_concentration",
        (
            Mutation("constant", "it stays the same", options={"exponent": 0.0}),
            Mutation("faster", "it falls like 1/d", options={"exponent": -1.0}),
        ),
    ),
    Claim(
        "2(b)",
        "context",
        "a key leaves: the ratios of the other weights stay",
        "similarity.check_context",
        (Mutation("weights", "the weights stay", options={"weights_fixed": True}),),
    ),
)  # fmt: skip

_SELF_ATTENTION = (
    Claim(
        "2(c)",
        "count",
        "3NdD + 2N²D multiply-adds, projections first",
        "self_attention.check_count",
        (
            Mutation("projections", "2N²D", "formula", "wrong.without_projections"),
            Mutation("bracket", "the other bracketing's count", "formula",
                     "wrong.left_to_right_count"),
        ),
    ),
    Claim(
        "2(c)",
        "merged-count",
        "d²D + Nd² + NdD + 2N²d with the weights merged",
        "self_attention.check_merged_count",
        (Mutation("bracket", "the count of projections first", "formula",
                  "self_attention.project_first_count"),),
    ),
    Claim(
        "2(c)",
        "merged",
        "both bracketings give the same values",
        "self_attention.check_merged",
        (Mutation("causal", "with a causal mask too", "candidate", "wrong.with_causal_mask"),),
    ),
    Claim(
        "2(c)",
        "growth",
        "arithmetic and memory grow like N²",
        "self_attention.check_growth",
        (Mutation("linear", "like N", options={"exponent": 1.0}),),
    ),
    Claim(
        "2(c)",
        "equivariance",
        "f(ΠX) = Π f(X)",
        "self_attention.check_equivariance",
        (
            Mutation("positions", "with positional encodings", "layer", "wrong.with_positions"),
            Mutation("causal", "with a causal mask", "layer", "wrong.with_causal_mask"),
            Mutation("first", "for the first token's output", "layer", "wrong.first_token_only"),
        ),
    ),
    Claim(
        "2(c)",
        "softmax",
        "softmax(ΠSΠᵀ) = Π softmax(S) Πᵀ",
        "self_attention.check_softmax_step",
        (Mutation("rows", "= Π softmax(S)", "expected", "wrong.columns_left_alone"),),
    ),
    Claim(
        "2(c)",
        "encoder",
        "a whole encoder layer is equivariant",
        "self_attention.check_encoder_layer",
        (Mutation("causal", "with a causal mask too", options={"causal": True}),),
    ),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (
    *_RELU,
    *_RNN,
    *_KERNEL,
    *_LOW_RANK,
    *_CONVOLUTION,
    *_POOLING,
    *_ORTHOGONAL,
    *_SIMILARITY,
    *_SELF_ATTENTION,
)
"""All claims, in the order of the questions."""


def of_question(question: str) -> tuple[Claim, ...]:
    """The claims of a sub-question."""
    return tuple(claim for claim in CLAIMS if claim.question == question)
