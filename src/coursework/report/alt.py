"""Alternative text of every figure: what a reader who cannot see it would miss.

A text says what kind of picture it is, what its axes are, and what is to be seen. It holds no
measured number: those are in the results, and a text by hand would outlive them.
"""

from __future__ import annotations

import re
from typing import Any

from coursework import settings
from coursework.report.questions import NOTEBOOKS

ALT: dict[str, str] = {
    "1_lstm_parity": (
        "Line chart, log scale: the largest difference between our LSTM cell and PyTorch's over "
        "200 time steps. In single and in double precision it stays at or below the machine "
        "precision, without growing."
    ),
    "1_gradient_through_time": (
        "Two line charts, log scale: the norm of the Jacobian against the steps back in time. In "
        "a vanilla RNN it decays or grows exponentially with the spectral radius and stays below "
        "a dashed bound; in an LSTM a larger forget bias keeps it near one."
    ),
    "1_lengths_vocabulary": (
        "Three charts: the share of training tweets by number of tokens and by number of "
        "characters, negative and positive alike, with the length at which tweets are cut; and "
        "the share of unknown validation tokens, which falls as the vocabulary grows."
    ),
    "1_telling_words": (
        "Two bar charts of the twenty most telling words: for negative tweets words such as not, "
        "miss, sad; for positive ones you, thanks, love and the token for a user name. Bars are "
        "the size of z."
    ),
    "1_features_label": (
        "Dot chart with intervals: the probability that a tweet is positive given a surface "
        "feature such as a link, an exclamation mark or two dots. A dashed line is the overall "
        "share; the two features that come from cutting out the emoticons are in the second "
        "colour."
    ),
    "1_cleaning_ablation": (
        "Dot chart with intervals: the change of validation accuracy when one cleaning step is "
        "left out, or something else is also removed or kept. Removing stop words costs most; "
        "most steps are near zero."
    ),
    "1_sentiment_study": (
        "Left a dot chart with intervals: the change of validation accuracy for each variant of "
        "the network against the base. Right a line chart: validation accuracy rises with the "
        "number of training tweets."
    ),
    "1_sentiment_training": (
        "Two line charts over the epochs: training and validation cross-entropy, and validation "
        "accuracy, of the live run and of the recorded full run, with the linear baseline and the "
        "bar of the homework as lines."
    ),
    "1_sentiment_errors": (
        "Left the confusion matrix of negative and positive tweets with counts, nearly symmetric. "
        "Right the calibration curve: the share of positive labels against the predicted "
        "probability, near the diagonal."
    ),
    "1_sentiment_groups": (
        "Left a line chart with a band: accuracy falls with the number of tokens of the tweet. "
        "Right a dot chart with intervals: accuracy for tweets with a feature, such as a link, a "
        "question mark or the word but."
    ),
    "1_sentiment_saliency": (
        "Three bar charts, one for each example tweet: the part of the logit that each word "
        "contributes, upward for positive and downward for negative, with the predicted "
        "probability as title."
    ),
    "1_gates": (
        "For two example tweets word by word: above, line charts of the mean forget, input and "
        "output gate; below, heat maps of the cell states of twelve units in blue and red, which "
        "change sign at telling words."
    ),
    "2_digits": (
        "Grid of digit images, ten columns: target digits, source digits, and the weighted sums "
        "of the sources. Scaled sums look alike and blurred, unscaled ones copy a single source, "
        "cosine ones resemble their class."
    ),
    "2_digits_matrix": (
        "Four heat maps of ten by ten attention weights between target and source digits with "
        "their values: scaled dot product, diffuse; unscaled, almost one-hot; cosine, partly "
        "diagonal; RBF kernel, diffuse."
    ),
    "2_attention_cost": (
        "Two log-log charts against the number of tokens: processor time and peak memory of four "
        "ways to compute attention. The exact ones grow quadratically in time, linear attention "
        "grows linearly; fused attention needs linear memory only."
    ),
    "2_translation_curves": (
        "Two line charts of validation BLEU over the epochs for the RNN and the Transformer, each "
        "with its own and with pre-trained embeddings: left the live quick run, right the "
        "recorded run, where all level off."
    ),
    "2_cross_attention": (
        "Two heat maps of cross-attention after the quick training, written words against source "
        "words: nearly even for the RNN, concentrated on few source words for the Transformer."
    ),
    "2_translation_length": (
        "Line chart: BLEU and chrF of the full model against the length of the French sentence, "
        "with the number of sentences in each group; both are highest for middle lengths and fall "
        "for long sentences."
    ),
    "2_cross_attention_full": (
        "Heat map of the cross-attention of the fully trained Transformer: each English subword "
        "looks mostly at the French subword that it translates, so the dark cells run near the "
        "diagonal."
    ),
    "3_road_sensors": (
        "Left a drawing of a generated road network, nodes coloured by measured speed over the "
        "speed limit. Right a bar chart for three cities: the test error is smallest for the "
        "model that uses the graph."
    ),
    "3_karate_club": (
        "Two drawings of the karate club's graph with numbered members: left the four communities "
        "in four colours, right node 10 and its three neighbours 0, 4 and 5 highlighted."
    ),
    "3_karate_features": (
        "Two heat maps of the 34 by 34 features after one plain convolution: with the mean over "
        "neighbours the diagonal is one and neighbours have small weights, with the sum every "
        "neighbour has weight one."
    ),
    "3_wikipedia_target": (
        "Two histograms of the average monthly visits of pages: raw, extremely skewed with a long "
        "right tail; on the log scale, spread over the whole range."
    ),
    "3_wikipedia_curves": (
        "Line charts of the mean absolute error over the gradient steps, one panel for each "
        "split: the training error of graph network and perceptron keeps falling, the validation "
        "error levels off, far higher in the grouped split."
    ),
    "3_wikipedia_scatter": (
        "Scatter plots of predicted against true log visits of test pages, one panel for each "
        "split: in the random split pages with a twin in training lie on the diagonal, in the "
        "grouped split there are none and the cloud is wide."
    ),
    "3_wikipedia_groups": (
        "Two line charts with error bars: the mean absolute error against the number of links and "
        "against the visits of a page, by graph and split. Errors of the grouped split are "
        "larger, most for pages with few links."
    ),
    "3_wikipedia_learning": (
        "Line chart with error bars: validation error against the share of training pages for two "
        "networks and two splits. It falls with more pages in the random split and hardly in the "
        "grouped split."
    ),
    "4_gcn_training": (
        "Two line charts over 100 epochs of the GCN: cross-entropy and accuracy of training and "
        "of test nodes. Loss is still falling and test accuracy still rising at the end."
    ),
    "4_gat_training": (
        "Two line charts over 100 epochs of GCN and GAT on the same split: cross-entropy and "
        "accuracy of training and test nodes. The GAT's test accuracy rises earlier."
    ),
    "4_attention": (
        "Left a bar chart: the weights of the neighbours of one paper, fixed by degrees in the "
        "GCN, learned in the GAT, with the single heads as dots. Right histograms of how even the "
        "weights are: nearly even in the GAT."
    ),
    "4_paired_splits": (
        "Lines that join the test accuracy of GCN and GAT on the same split, after 100 and after "
        "300 epochs: the GAT is ahead at 100 epochs, and the gap nearly closes at 300."
    ),
    "4_long_training": (
        "Two line charts over 300 epochs of GCN and GAT: cross-entropy and accuracy of training "
        "and test nodes. The two curves of the test nodes meet."
    ),
    "5_canvases": (
        "Five test canvases with two or three handwritten digits each, and below them their "
        "masks, in which each digit has the colour of its class; the legend names the ten "
        "colours."
    ),
    "5_training": (
        "Two line charts over the epochs, with and without skip connections: the training loss, "
        "and the IoU of the digits on validation canvases."
    ),
    "5_predictions": (
        "Grid of four test canvases: image, true mask, predicted mask with and without skip "
        "connections, and the wrong pixels, coloured by which of the two networks is wrong."
    ),
    "6_gradient_depth": (
        "Line chart, log scale: the size of the gradient of a ReLU chain against its depth. It "
        "vanishes for weights below one, explodes above one, stays level for ones and for two and "
        "one half in turn, and is exactly zero after one negative weight."
    ),
    "6_singular_values": (
        "Chart, log scale: the largest singular value of the Jacobian against the number of "
        "states. Random recurrences lie below the bound, a straight falling line; the tight "
        "example lies on it."
    ),
    "6_attention_cost": (
        "Two log-log charts against the number of tokens: counted multiply-adds and processor "
        "time. The definition of kernel attention grows quadratically, the factored form "
        "linearly."
    ),
    "6_attention_convolution": (
        "Two attention matrices and a chart of outputs: the answer weights the token before twice "
        "the token after and equals the convolution; with large biases in the ratio two all "
        "weight goes to one token and the output is wrong."
    ),
    "6_max_pooling": (
        "Chart of tokens as bars with their max-pooling as a step line: the attention with a "
        "constant query lies on the line everywhere, crosses mark the positions where a query "
        "made from the token is wrong."
    ),
    "6_almost_orthogonal": (
        "Two charts of the number of almost orthogonal vectors against the dimension: the "
        "exponential bounds pass the number of exactly orthogonal vectors, late for the constant "
        "72, soon for the constant 4; drawn and verified sets lie on the promised curve."
    ),
    "4_attention_heads": (
        "Box plots of the evenness of the attention weights for each of the eight heads, after 100 and "
        "after 300 epochs: all lie just below one, and spread further down after the longer training."
    ),
    "4_errors": (
        "Test accuracy of GCN and GAT with intervals, left by the number of neighbours, right by the "
        "share of neighbours with the node's own topic: nearly level on the left, rising steeply on "
        "the right, and the two networks always close together."
    ),
    "4_hidden_layer": (
        "Two scatter plots, t-SNE of the hidden layers of GCN and GAT for 1,000 test nodes coloured by "
        "topic: seven clouds, some well apart, some that run into one another."
    ),
    "4_depth_and_links": (
        "Left, validation accuracy against the number of layers: the plain GCN falls with depth, the "
        "one that mixes in its first layer does not. Right, accuracy of GCN and GAT against the share "
        "of removed links: both fall together."
    ),
    "5_hardest": (
        "Five test canvases that the network marks worst, with the true and the predicted masks below "
        "them in the colours of the digits."
    ),
    "5_variants": (
        "One canvas composed in five ways, plain, overlapping, rotated, with noise and with all three, "
        "with its mask below each."
    ),
    "1_own_tweet": (
        "Bar chart of one example tweet: the part of the logit that each word contributes, upward for "
        "positive and downward for negative, with the predicted probability as title."
    ),
    "2_own_sentence": (
        "Heat map of the cross-attention while one French sentence is translated: written subwords in "
        "the rows, source subwords in the columns, the translation as title."
    ),
    "bench_growth": (
        "Two line charts on log scales, seconds and peak memory against the size of the input: the layers "
        "over the edges that exist and linear attention are straight lines of slope one; attention over "
        "all pairs rises twice as steeply and ends early."
    ),
    "bench_ratios": (
        "Dot chart, log scale: how many times as fast as its peer each row of the benchmark is, with "
        "quartiles and a mark at the goal. A vertical line at one parts faster from slower."
    ),
    "4_cost_edges": (
        "Two line charts on log scales, seconds and peak memory of a layer against the number of edges of "
        "generated graphs. The graph convolution and the graph attention layer grow in proportion to the "
        "edges up to ten million; attention over all pairs grows twice as steeply and ends early."
    ),
    "5_own_canvas": (
        "A canvas with chosen digits, and the masks that the networks with and without skip "
        "connections predict for it, in the colours of the classes."
    ),
}  # fmt: skip
"""Name of a figure -> its alternative text."""

SHOWN = re.compile(r"figures\.show\(\s*\w+\s*,\s*[\"']([\w-]+)[\"']")


def text(name: str) -> str:
    """Alternative text of a figure; its name in words where none is written."""
    return ALT.get(name) or f"Figure {name.replace('_', ' ')}"


def names(source: str) -> list[str]:
    """Figures that a cell shows: those named in ``figures.show``, and names of ``ALT`` handed on."""
    found = SHOWN.findall(source)
    found += [name for name in re.findall(r"[\"']([1-6]_\w+)[\"']", source) if name in ALT]
    return list(dict.fromkeys(found))


def annotate(document: Any) -> int:
    """Give the stored pictures of a notebook their alternative text, without executing it.

    The text goes where converters look for it (``metadata["image/png"]["alt"]``) and into the plain
    text of the output, as :func:`coursework.report.figures.show` puts it when the cell is executed.

    Args:
        document: A notebook of nbformat 4, changed in place.

    Returns:
        How many pictures were changed.
    """
    changed = 0
    for cell in document.cells:
        if cell.cell_type != "code":
            continue
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        for output, name in zip(pictures, names(cell.source), strict=False):
            metadata = output.setdefault("metadata", {}).setdefault("image/png", {})
            if metadata.get("alt") != text(name):
                metadata["alt"] = text(name)
                output["data"]["text/plain"] = text(name)
                changed += 1
    return changed


def store(*notebooks: str) -> dict[str, int]:
    """Annotate the notebooks that are stored in ``notebooks/``, as far as they lack a text.

    Args:
        notebooks: Names without ending; all by default.

    Returns:
        Notebook -> pictures changed.
    """
    import nbformat

    changed = {}
    for notebook in notebooks or NOTEBOOKS:
        path = settings.repo_root() / "notebooks" / f"{notebook}.ipynb"
        document = nbformat.read(path, as_version=4)
        changed[notebook] = annotate(document)
        if changed[notebook]:
            path.write_text(nbformat.writes(document) + "\n", encoding="utf-8")
    return changed
