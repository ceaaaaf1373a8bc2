"""Scores of translations by sacreBLEU, with intervals and tests, and a baseline without a network."""

import itertools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from coursework.experiments.corpora import Pair, Texts

METRICS: dict[str, Any] = {"bleu": BLEU, "chrf": CHRF}  # corpus BLEU and chrF2, 0 to 100


def score(
    hypotheses: Texts, references: Texts, several: Sequence[Texts] | None = None
) -> dict[str, float]:
    """BLEU, chrF2 and the share of exact matches, also against ``several`` references of each."""
    pairs = list(zip(hypotheses, references, strict=True))
    scored = {k: m().corpus_score(hypotheses, [references]) for k, m in METRICS.items()}
    scores = {k: float(found.score) for k, found in scored.items()}
    scores["exact_match"] = float(np.mean([found == wanted for found, wanted in pairs]))
    if several is not None:
        # sacreBLEU takes the first, the second, ... references; None where there is none.
        streams = list(itertools.zip_longest(*several))
        for name, metric in METRICS.items():
            scores[f"{name}_multi"] = float(metric().corpus_score(hypotheses, streams).score)
        matches = [found in wanted for found, wanted in zip(hypotheses, several, strict=True)]
        scores["match_multi"] = float(np.mean(matches))
    return scores


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF2 of one sentence, 0 to 100."""
    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def signatures() -> dict[str, str]:
    result = {}
    for name, kind in METRICS.items():
        metric = kind()
        metric.corpus_score(["a"], [["a"]])  # the number of references belongs to the signature
        result[name] = str(metric.get_signature())
    return result


def intervals(hypotheses: Texts, references: Texts) -> dict[str, tuple[float, float, str]]:
    """95 % intervals of BLEU and chrF2 over test sentences, by sacreBLEU's bootstrap."""
    result = {}
    for name, metric in METRICS.items():
        scored = metric().corpus_score(hypotheses, [references], n_bootstrap=1000)
        mean, half = float(scored._mean), float(scored._ci)
        result[name] = (mean - half, mean + half, f"bootstrap, {len(references)} sentences")
    return result


def paired_bootstrap(first: Texts, second: Texts, references: Texts) -> float:
    """p-value of the difference in BLEU of two systems: paired bootstrap (Koehn, 2004)."""
    if list(first) == list(second):
        return 1.0  # sacreBLEU compares zero with zero here, and calls it significant
    systems: Any = [("first", first), ("second", second)]
    test = PairedTest(systems, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=1000)
    _, scores = test()
    return float(cast(Any, scores["BLEU"][1]).p_value)


def nearest_in_memory(train: Sequence[Pair], sentences: Texts) -> list[str]:
    """Baseline: the translation of the training sentence with the largest Jaccard index of words."""
    from sklearn.feature_extraction.text import CountVectorizer

    def sizes(texts: Texts) -> np.ndarray:
        return np.array([len(set(text.split())) for text in texts], dtype=np.float32)

    bags = CountVectorizer(analyzer=str.split, binary=True, dtype=np.float32)
    known = [french for french, _ in train]
    memory = bags.fit_transform(known)  # [train, words]
    wanted = bags.transform(sentences)  # [n, words]
    of_memory, of_wanted = sizes(known), sizes(sentences)
    nearest: list[int] = []
    for start in range(0, len(sentences), 256):  # a block at a time: the whole does not fit
        block = slice(start, start + 256)
        common = (wanted[block] @ memory.T).toarray()  # [block, train]
        union = of_wanted[block, None] + of_memory[None, :] - common
        nearest += (common / np.maximum(union, 1)).argmax(axis=1).tolist()
    return [train[row][1] for row in nearest]
