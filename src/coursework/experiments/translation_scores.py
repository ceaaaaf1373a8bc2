"""Scores of translations by sacreBLEU, with intervals and tests, and a baseline without a network."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from coursework.data.eng_fra import Pair
from coursework.experiments.corpora import Texts

METRICS: dict[str, Any] = {"bleu": BLEU, "chrf": CHRF}  # corpus BLEU and chrF2, 0 to 100


def score(
    hypotheses: Texts, references: Texts, several: Sequence[Texts] | None = None
) -> dict[str, float]:
    """BLEU, chrF2 and the share of exact matches, also against ``several`` references of each."""
    scores: dict[str, float] = {}
    alone = [[own] for own in references]
    for ending, match, known in (("", "exact_match", alone), ("_multi", "match_multi", several)):
        if known is None:
            continue
        # sacreBLEU takes the first, the second, ... references; None where there is none.
        streams = list(itertools.zip_longest(*known))
        for name, metric in METRICS.items():
            scores[name + ending] = float(metric().corpus_score(hypotheses, streams).score)
        hits = [found in wanted for found, wanted in zip(hypotheses, known, strict=True)]
        scores[match] = float(np.mean(hits))
    return scores


def signatures() -> dict[str, str]:
    result = {}
    for name, kind in METRICS.items():
        metric = kind()
        metric.corpus_score(["a"], [["a"]])  # the number of references belongs to the signature
        result[name] = str(metric.get_signature())
    return result


def bootstrap(metric: Any, references: Texts, *systems: Texts) -> Any:
    """mean, ci (and p_value against the first) of the last system: sacreBLEU's bootstrap, 1,000 samples."""
    named: Any = list(enumerate(systems))
    test = PairedTest(named, {"": metric}, [references], "bs")
    _, of_system = test()[1].values()
    return of_system[-1]


def intervals(hypotheses: Texts, references: Texts) -> dict[str, tuple[float, float, str]]:
    """95 % intervals of BLEU and chrF2 over test sentences, by sacreBLEU's bootstrap."""
    result = {}
    for name, kind in METRICS.items():
        found = bootstrap(kind(), references, hypotheses)
        low, high = max(0.0, float(found.mean - found.ci)), min(100.0, float(found.mean + found.ci))
        result[name] = (low, high, f"bootstrap, {len(references)} sentences")
    return result


def paired_bootstrap(first: Texts, second: Texts, references: Texts) -> float:
    """p-value of the difference in BLEU of two systems: paired bootstrap (Koehn, 2004)."""
    if list(first) == list(second):
        return 1.0  # sacreBLEU compares zero with zero here, and calls it significant
    return float(bootstrap(BLEU(), references, first, second).p_value)


def nearest_in_memory(train: Sequence[Pair], sentences: Texts) -> list[str]:
    """Baseline: the translation of the training sentence with the largest Jaccard index of words."""
    from sklearn.feature_extraction.text import CountVectorizer

    known, bags = [french for french, _ in train], CountVectorizer(analyzer=str.split, binary=True)
    words = bags.fit_transform([*known, *sentences]).astype(np.float32)
    memory, wanted = words[: len(known)], words[len(known) :]  # [train, words], [n, words]
    of_memory, of_wanted = (np.asarray(bag.sum(axis=1)).ravel() for bag in (memory, wanted))
    nearest: list[int] = []
    for start in range(0, len(sentences), 256):  # a block at a time: the whole does not fit
        block = slice(start, start + 256)
        common = (wanted[block] @ memory.T).toarray()  # [block, train]
        union = of_wanted[block, None] + of_memory[None, :] - common
        nearest += (common / np.maximum(union, 1)).argmax(axis=1).tolist()
    return [train[row][1] for row in nearest]
