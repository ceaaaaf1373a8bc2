"""The questions of both homework sets, once: notebooks, the command line and the README read them here."""

from __future__ import annotations

from dataclasses import dataclass

from coursework.errors import ConfigError
from coursework.report.tables import Table

NOTEBOOKS: dict[str, str] = {
    "1_lstm_sentiment": "An LSTM cell, and the sentiment of tweets",
    "2_attention_translation": "Attention, the Transformer's encoder layer, and French to English",
    "3_gnn_karate_wikipedia": "Graphs by hand, and the traffic of Wikipedia pages",
    "4_gcn_gat_cora": "Graph convolution and graph attention on Cora",
    "5_unet_segmentation": "A U-Net with and without skip connections",
    "6_theory": "Gradients, attention and almost orthogonal vectors: the proofs, checked",
}
"""Notebook (without ending) -> title, in reading order."""


@dataclass(frozen=True)
class Question:
    """One sub-question.

    Attributes:
        homework: ``CSCI5527 HW4`` or ``CSC413 A4``.
        part: Its number in the homework.
        points: Points it is worth, None where the handout that we have does not say.
        asks: What is asked, in a few words.
        notebook: Where it is answered.
    """

    homework: str
    part: str
    points: float | None
    asks: str
    notebook: str


_A, _B = "CSCI5527 HW4", "CSC413 A4"
_N1, _N2, _N3, _N4, _N5, _N6 = NOTEBOOKS

QUESTIONS: tuple[Question, ...] = (
    Question(_A, "1(a)", 1.0, "Implement an LSTM cell and compare it with PyTorch's", _N1),
    Question(_A, "1(b)", 1.0, "Load and clean Sentiment140, split it 60/20/20", _N1),
    Question(_A, "1(c)", 1.0, "Design and train a sentiment model", _N1),
    Question(_A, "1(d)", 1.0, "Reach more than 85 % test accuracy", _N1),
    Question(
        _A, "2(a)", 1.0, "Attention between digits: weighted sums and the 10 × 10 matrix", _N2
    ),
    Question(_A, "2(b)", 1.0, "Attention against kernels as a measure of similarity", _N2),
    Question(_A, "2(c)", 1.5, "Complexity of self-attention; permutation equivariance", _N2),
    Question(_A, "2(d)", 1.0, "Implement a Transformer encoder layer", _N2),
    Question(
        _A, "2(e)", 1.5, "French to English: pre-trained embeddings; Transformer against RNN", _N2
    ),
    Question(_A, "3(a)", 1.0, "Describe a problem as a task on a graph", _N3),
    Question(_A, "3(b)", 2.0, "KarateClub: neighbours, largest component, plain convolution", _N3),
    Question(_A, "3(c)", 2.0, "Regression on WikipediaNetwork by mean absolute error", _N3),
    Question(_B, "3.1", 1.0, "GraphConvolution", _N4),
    Question(_B, "3.2", 1.0, "A two-layer GCN", _N4),
    Question(_B, "3.3", 0.5, "Train it on Cora", _N4),
    Question(_B, "3.4", 1.5, "GraphAttentionLayer", _N4),
    Question(_B, "3.5", 0.5, "Train the GAT on Cora", _N4),
    Question(_B, "3.6", 0.5, "Compare the two and explain", _N4),
    Question(_B, "4.1", None, "Down, Up and UNet", _N5),
    Question(_B, "4.2", None, "Train with and without skip connections", _N5),
    Question(_B, "4.3", None, "Compare the two and explain", _N5),
    Question(_B, "1.1.1", 0.0, "Gradient of a deep ReLU chain with unit weights", _N6),
    Question(_B, "1.1.2", 0.5, "The same with weights w_i: must it vanish or explode?", _N6),
    Question(_B, "1.2.1", 0.5, "Largest singular value of a sigmoid RNN's Jacobian", _N6),
    Question(_B, "1.3.1", 0.5, "Attention with kernels in linear time", _N6),
    Question(_B, "1.3.2", 0.5, "Attention of rank k in O(nkd)", _N6),
    Question(_B, "1.3.3", 0.0, "Low-rank attention without softmax: the two projections", _N6),
    Question(_B, "1.4.1", None, "Self-attention that is a convolution", _N6),
    Question(_B, "1.4.2", None, "Self-attention that is max pooling", _N6),
    Question(_B, "2.1.1", None, "Exponentially many almost orthogonal vectors", _N6),
)
"""Every sub-question of both sets, in reading order."""


def of_notebook(notebook: str) -> tuple[Question, ...]:
    """The questions that a notebook answers.

    Raises:
        ConfigError: If there is no such notebook.
    """
    if notebook not in NOTEBOOKS:
        raise ConfigError(f"There is no notebook {notebook!r}; choose from {', '.join(NOTEBOOKS)}.")
    return tuple(question for question in QUESTIONS if question.notebook == notebook)


def table(notebook: str) -> Table:
    """Questions and points of a notebook, for its first page."""
    return Table(
        ["question", "points", "asks", "homework"],
        [(q.part, _points(q.points), q.asks, q.homework) for q in of_notebook(notebook)],
    )


def _points(points: float | None) -> str:
    return "–" if points is None else f"{points:g}"
