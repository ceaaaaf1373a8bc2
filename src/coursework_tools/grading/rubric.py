"""The rubric of both homework sets: points and evidence of every sub-question, and what is left to judge.

It holds names and words. What the names stand for (tests, results, sections, pages) is looked up by
:mod:`coursework_tools.grading.grade`, and a test fails if one of them does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from coursework.errors import ConfigError
from coursework.report.questions import QUESTIONS, Question

PROOF = "whether each step of the proof is justified, as the homework asks"


@dataclass(frozen=True)
class Number:
    """A recorded number that is evidence.

    Attributes:
        result: Name in the results store.
        metric: Metric in it.
        label: What the number is, in a few words.
        percent: Shown as a percentage (of a fraction).
        bar: What it has to beat: a number, or another metric of the same result. None: no bar.
        bar_label: What the bar is.
        less: Smaller is better.
        awaited: The result may not be recorded yet; then the rubric says so.
    """

    result: str
    metric: str
    label: str
    percent: bool = False
    bar: float | str | None = None
    bar_label: str = ""
    less: bool = False
    awaited: bool = False


@dataclass(frozen=True)
class Item:
    """One line of the rubric: a sub-question, or a part of one where the handout splits its points.

    Attributes:
        question: The sub-question.
        name: Roman number of the part, empty for a whole sub-question.
        points: Points of this line, None where the handout that we have does not say.
        asks: What is asked.
        modules: Where the code is, below ``src/coursework``.
        tests: Names of tests, as ``folder/file.py::test`` below ``tests``.
        numbers: Recorded numbers.
        judge: What the evidence cannot decide.
        claims: Whether the claims of the question (:mod:`coursework.theory.claims`) and their
            refuted wrong versions are evidence too.
        only: Names of the claims that belong to this line; all by default.
    """

    question: Question
    name: str
    points: float | None
    asks: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    numbers: tuple[Number, ...]
    judge: str
    claims: bool = False
    only: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``2(a)i``: unique in the rubric."""
        return f"{self.question.part}{self.name}"


def _item(
    part: str,
    *,
    modules: str,
    tests: str = "",
    numbers: tuple[Number, ...] = (),
    judge: str,
    claims: bool = False,
    only: tuple[str, ...] = (),
    split: tuple[str, float, str] | None = None,
) -> Item:
    """An item; ``tests`` holds lines of a file and the names of its tests, without ``test_``."""
    found = [question for question in QUESTIONS if question.part == part]
    if len(found) != 1:
        raise ConfigError(f"Question {part} is not in report/questions.py exactly once.")
    question = found[0]
    ids = []
    for line in tests.splitlines():
        file, *names = line.split()
        folder, _, stem = file.rpartition("/")
        ids += [f"{folder}/test_{stem}.py::test_{name}".removeprefix("/") for name in names]
    name, points, asks = split or ("", question.points, question.asks)
    return Item(
        question, name, points, asks, tuple(modules.split()), tuple(ids), numbers, judge, claims, only
    )  # fmt: skip


# fmt: off
_BLEU = (
    Number(
        "translation_all-brief", "test_bleu", "Transformer, own embeddings, BLEU",
        bar="memory.test_bleu", bar_label="nearest training sentence",
    ),
    Number(
        "translation_all-brief-pretrained", "test_bleu", "Transformer, pre-trained, BLEU",
        bar="memory.test_bleu", bar_label="nearest training sentence",
    ),
    Number(
        "translation_all-rnn", "test_bleu", "RNN, own embeddings, BLEU",
        bar="memory.test_bleu", bar_label="nearest training sentence",
    ),
    Number(
        "translation_all-rnn-pretrained", "test_bleu", "RNN, pre-trained, BLEU",
        bar="memory.test_bleu", bar_label="nearest training sentence",
    ),
    Number(
        "translation_all-full", "test_bleu", "Transformer, trained at length, BLEU",
        bar="memory.test_bleu", bar_label="nearest training sentence",
    ),
)

RUBRIC: tuple[Item, ...] = (
    # ------------------------------------------------------------------------------ CSCI5527 HW4
    _item(
        "1(a)",
        modules="models/lstm.py",
        tests="models/lstm cell_matches_pytorch cell_reproduces_the_example_of_the_documentation "
        "update_by_hand cell_passes_numeric_checks_of_both_derivatives",
        judge="whether the code follows the formulas of the documentation line by line",
    ),
    _item(
        "1(b)",
        modules="data/sentiment140.py data/text.py data/splits.py",
        tests="data/sentiment140 split_is_60_20_20 all_forms_give_the_same\n"
        "data/text each_step_alone cleaning_keeps_its_promises\n"
        "data/sentiment140_split no_key_is_on_two_sides",
        numbers=(
            Number(
                "tweets-full", "all steps.validation_accuracy",
                "a linear model on the cleaned tweets, validation accuracy", percent=True,
            ),
        ),
        judge="whether the cleaning steps are sensible for this task",
    ),
    _item(
        "1(c)",
        modules="models/lstm.py experiments/sentiment.py",
        tests="experiments/sentiment learns_and_reports test_rows_have_no_influence "
        "own_cell_gives_the_same_logits vocabulary_knows_training_words_only",
        numbers=(
            Number(
                "sentiment-full", "test_accuracy", "bidirectional LSTM, test accuracy", percent=True,
                bar="linear.test_accuracy", bar_label="linear model on word n-grams",
            ),
        ),
        judge="whether the design is argued for, and the training curves look sound",
    ),
    _item(
        "1(d)",
        modules="experiments/sentiment_ensemble.py",
        tests="experiments/sentiment evaluate_reproduces_the_run\n"
        "experiments/sentiment_errors ensemble_mixes_on_validation_and_resumes",
        numbers=(
            Number(
                "sentiment-best", "test_accuracy", "ensemble, test accuracy", percent=True,
                bar=0.85, bar_label="the homework's",
            ),
        ),
        judge="whether an ensemble counts as the model of 1(c)",
    ),
    _item(
        "2(a)",
        split=("i", 0.5, "Cross-attention between ten digits; the weighted sums as images"),
        modules="experiments/digits.py models/attention.py",
        tests="experiments/digits attention_is_softmax_of_scaled_dot_products "
        "outputs_are_convex_combinations_of_the_sources one_image_of_each_class_and_no_image_twice",
        judge="whether the displayed images are readable",
    ),
    _item(
        "2(a)",
        split=("ii", 0.5, "The 10 × 10 attention matrix, and what is seen in it"),
        modules="experiments/digits.py",
        tests="experiments/digits words_and_table_follow_the_numbers many_draws "
        "a_longer_source_draws_the_dot_product_but_not_the_cosine",
        judge="whether the observation is the one that the matrix supports",
    ),
    _item(
        "2(b)",
        modules="theory/similarity.py",
        tests="theory/similarity bridge_for_all_queries_and_keys "
        "kernels_have_no_negative_eigenvalue",
        claims=True,
        judge="whether the pros and cons are complete and weighed well: this is an essay",
    ),
    _item(
        "2(c)",
        split=("i", 1.0, "Complexity of a forward pass, and what happens for large N"),
        modules="theory/self_attention.py theory/cost.py",
        tests="theory/self_attention counts_are_the_formulas_for_every_size definition_by_loops",
        claims=True,
        only=("count", "merged-count", "merged", "growth"),
        judge="whether the consequence of a large N is explained",
    ),
    _item(
        "2(c)",
        split=("ii", 0.5, "Permuted tokens give permuted outputs"),
        modules="theory/self_attention.py",
        tests="theory/self_attention every_permutation causal_mask_lets_nobody_look_ahead\n"
        "models/attention self_attention_commutes_with_permutations",
        claims=True,
        only=("equivariance", "softmax", "encoder"),
        judge=PROOF,
    ),
    _item(
        "2(d)",
        modules="models/transformer.py models/attention.py",
        tests="models/transformer encoder_layer_matches_pytorch padding_changes_nothing "
        "layers_match_pytorch_under_any_mask_and_without_bias\n"
        "models/attention multi_head_matches_pytorch weights_go_to_pytorch_and_back",
        judge="whether the layer is readable next to the paper",
    ),
    _item(
        "2(e)",
        modules="models/seq2seq.py models/transformer.py models/embedding.py "
        "experiments/translation.py experiments/translation_all.py",
        tests="experiments/translation no_sentence_on_two_sides_and_vocabulary_of_training_pairs "
        "loss_counts_real_words_only pretrained_vectors\n"
        "models/seq2seq decoder_is_the_recurrence_of_the_tutorial attention_is_the_formula\n"
        "models/transformer stacks_match_the_transformer_of_pytorch",
        numbers=_BLEU,
        judge="whether the comparison is fair and the translations read well",
    ),
    _item(
        "3(a)",
        modules="experiments/karate.py",
        tests="experiments/karate road_task_is_as_described graph_helps_on_the_roads",
        judge="whether nodes, edges and the task are described well: this is an essay",
    ),
    _item(
        "3(b)",
        modules="experiments/karate.py models/graph_conv.py",
        tests="experiments/karate neighbours_of_node_10 largest_component_is_the_whole_club "
        "components_match_scipy convolution_equals_library_and_matrix convolution_by_hand\n"
        "models/graph_conv plain_convolution_matches_pyg identity_weights_on_the_karate_club",
        judge="whether “node 10” is read as meant (both conventions are answered)",
    ),
    _item(
        "3(c)",
        modules="models/residual_attention.py models/graph_conv.py experiments/wikipedia.py",
        tests="experiments/wikipedia parts_are_disjoint_and_eighty_twenty "
        "grouped_split_keeps_twins_together measures_by_hand "
        "predictions_do_not_depend_on_test_targets",
        numbers=tuple(
            Number(
                name, f"{split}.ensemble.test_mae_ln", f"{graph}, {split} split, MAE of ln(1 + visits)",
                bar=f"{split}.median.test_mae_ln", bar_label="median of the training pages",
                less=True, awaited=graph == "crocodile",
            )
            for graph, name in (
                ("chameleon", "wikipedia-full"),
                ("squirrel", "wikipedia-squirrel"),
                ("crocodile", "wikipedia-crocodile"),
            )
            for split in ("random", "grouped")
        ),
        judge="whether the architecture and the treatment of twin pages convince",
    ),
    # --------------------------------------------------------------------------------- CSC413 A4
    _item(
        "3.1",
        modules="models/gcn.py",
        tests="models/gcn convolution_matches_pyg dense_and_sparse_agree "
        "normalisation_matches_the_dense_formula bias_is_inside_the_propagation",
        judge="the marked lines, which the handout asks to be shown",
    ),
    _item(
        "3.2",
        modules="models/gcn.py",
        tests="models/gcn network_is_its_equation only_the_neighbourhood_counts "
        "network_commutes_with_renumbering",
        judge="the marked lines, which the handout asks to be shown",
    ),
    _item(
        "3.3",
        modules="experiments/cora.py",
        tests="experiments/cora both_models_learn lines_have_the_format_of_the_assignment "
        "random140_tests_on_everything_else",
        numbers=(
            Number("cora-full", "gcn.test_accuracy", "GCN, 140 random nodes, 100 epochs", percent=True),
            Number("cora-planetoid", "gcn.test_accuracy", "GCN, Planetoid split", percent=True,
                   bar=0.815, bar_label="Kipf and Welling's", awaited=True),
        ),
        judge="the log of the last ten epochs",
    ),
    _item(
        "3.4",
        modules="models/gat.py",
        tests="models/gat layer_matches_pyg every_form_of_the_graph_gives_the_dense_formulation "
        "weights_sum_to_one_at_every_target no_edge_no_influence",
        judge="the marked lines, which the handout asks to be shown",
    ),
    _item(
        "3.5",
        modules="experiments/cora.py",
        tests="experiments/cora both_models_learn evaluate_reproduces_the_run "
        "control_weighs_all_neighbours_the_same",
        numbers=(
            Number("cora-full", "gat.test_accuracy", "GAT, 140 random nodes, 100 epochs", percent=True),
            Number("cora-planetoid", "gat.test_accuracy", "GAT, Planetoid split", percent=True,
                   bar=0.83, bar_label="Veličković et al.'s", awaited=True),
        ),
        judge="the log of the last ten epochs",
    ),
    _item(
        "3.6",
        modules="experiments/cora.py",
        tests="experiments/cora long_training_starts_as_the_short_one "
        "same_seed_same_run_other_seed_other_split",
        numbers=(
            Number("cora-full", "difference.test_accuracy", "GAT less GCN, the same splits",
                   percent=True, bar=0.0, bar_label="no difference"),
        ),
        judge="whether the explanation fits the numbers, in at most three sentences",
    ),
    _item(
        "4.1",
        modules="models/unet.py",
        tests="models/unet matches_a_construction_from_plain_layers down_and_up "
        "default_is_the_network_of_the_assignment disabled_skips_carry_nothing_and_get_no_gradient",
        judge="that the data are a substitute: the course's own are not at hand",
    ),
    _item(
        "4.2",
        modules="experiments/segmentation.py",
        tests="experiments/segmentation_measures iou_and_dice_agree_with_torchmetrics "
        "confusion_is_counted_over_the_whole_set\n"
        "experiments/segmentation both_variants_start_from_the_same_weights "
        "no_digit_is_on_canvases_of_two_parts",
        numbers=(
            Number("segmentation-full", "skip.test_digit_iou", "with skip connections, digit IoU",
                   percent=True, awaited=True),
            Number("segmentation-full", "noskip.test_digit_iou", "without, digit IoU",
                   percent=True, awaited=True),
        ),
        judge="the curves and the sample predictions",
    ),
    _item(
        "4.3",
        modules="experiments/segmentation.py",
        tests="experiments/segmentation_measures bootstrap_is_paired_and_the_middle_95_percent "
        "naming_and_outlines_are_told_apart_by_hand\n"
        "experiments/receptive_field receptive_field_of_the_assignment_is_smaller_than_a_digit",
        numbers=(
            Number("segmentation-full", "difference.test_digit_iou",
                   "with less without, the same canvases", percent=True, bar=0.0,
                   bar_label="no difference", awaited=True),
        ),
        judge="whether the explanation fits the numbers",
    ),
    _item("1.1.1", modules="theory/relu_chain.py", claims=True, judge=PROOF,
          tests="theory/relu_chain unit_weights"),
    _item("1.1.2", modules="theory/relu_chain.py", claims=True, judge=PROOF,
          tests="theory/relu_chain bound_holds_for_every_chain neither_is_necessary "
          "formula_equals_autograd"),
    _item("1.2.1", modules="theory/sigmoid_rnn.py", claims=True, judge=PROOF,
          tests="theory/sigmoid_rnn bound_holds_for_every_recurrence "
          "tight_example_attains_the_bound hint_holds_for_every_pair"),
    _item("1.3.1", modules="theory/kernel_attention.py models/attention.py", claims=True, judge=PROOF,
          tests="theory/kernel_attention factored_form_equals_the_definition "
          "counted_cost_is_the_formula not_every_kernel_is_non_negative"),
    _item("1.3.2", modules="theory/low_rank_attention.py", claims=True, judge=PROOF,
          tests="theory/low_rank_attention any_matrix_of_rank_k counted_cost_is_the_formula"),
    _item("1.3.3", modules="theory/low_rank_attention.py", claims=True, judge=PROOF,
          tests="theory/low_rank_attention projections_for_any_scores_of_rank_k"),
    _item("1.4.1", modules="theory/convolution_attention.py", claims=True, judge=PROOF,
          tests="theory/convolution_attention answer_for_every_sequence "
          "without_padding_the_ends_are_wrong infinite_biases_are_caught"),
    _item("1.4.2", modules="theory/pooling_attention.py", claims=True, judge=PROOF,
          tests="theory/pooling_attention answer_for_every_sequence a_zero_query_sees_no_token "
          "rules_for_ties"),
    _item("2.1.1", modules="theory/almost_orthogonal.py", claims=True, judge=PROOF,
          tests="theory/almost_orthogonal steps_hold_for_every_map epsilon_serves_every_delta "
          "constants_follow_from_the_lemma number_of_vectors_for_every_exponent"),
)
# fmt: on
"""All lines, in the order of the homework sets as :mod:`coursework.report.questions` has them."""
