"""Scores of translations by sacreBLEU, with intervals and tests, and a baseline without a network."""

import itertools
from collections.abc import Sequence
from functools import partial
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
    _, of_system = PairedTest(named, {"": metric}, [references], "bs")()[1].values()
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


def over_seeds(
    first: Sequence[Texts], second: Sequence[Texts], references: Texts
) -> tuple[float, float, str]:
    """95 % interval of the mean BLEU of one kind of network minus that of another: bootstrap, 1,000 samples,
    over the networks (translations of the test part by each) and over the sentences, which all share. Of S
    networks S - 1 are drawn: the variance of a mean of S would be too small by the factor (S - 1) / S."""
    rng, size = np.random.default_rng(0), len(references)
    # how often each sentence is drawn
    drawn = rng.multinomial(size, np.full(size, 1 / size), 1000)  # [1000, N]
    means = []
    for systems in (first, second):
        bleu = np.array([_bleu(drawn @ _statistics(found, references)) for found in systems])
        count = max(1, len(systems) - 1)
        networks = rng.integers(len(systems), size=(count, len(drawn)))  # [S - 1, 1000]
        means.append(np.take_along_axis(bleu, networks, axis=0).mean(axis=0))  # [1000]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    return float(low), float(high), f"bootstrap, {len(first)} seeds, {size} sentences"


def _statistics(hypotheses: Texts, references: Texts) -> np.ndarray:
    """What BLEU adds up over sentences, ``[N, 10]``: n-grams found, n-grams written, both lengths."""
    sentence = BLEU(effective_order=True).sentence_score  # the counts are those of the corpus score
    scores = [sentence(said, [one]) for said, one in zip(hypotheses, references, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores])


def _bleu(totals: np.ndarray) -> np.ndarray:
    """Corpus BLEU of sums of :func:`_statistics`: ``[samples, 10]`` -> ``[samples]``."""
    bleu = partial(BLEU.compute_bleu, smooth_method="exp")  # as in the corpus score
    return np.array([bleu(row[:4], row[4:8], *row[8:]).score for row in totals.tolist()])


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
