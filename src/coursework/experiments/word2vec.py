"""Word vectors learned from training texts (no label, no other text) by gensim: skip-gram with negative
sampling (Mikolov et al. 2013, arXiv:1310.4546), gensim's window of 5 words and 5 noise words per word."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from coursework.data import cache
from coursework.data.text import Vocabulary
from coursework.experiments.sentiment_batches import Encoded

SETTINGS: dict[str, Any] = {"sg": 1, "sample": 1e-4, "epochs": 5}


def skip_gram(
    sentences: Iterable[list[str]], words: Sequence[str], dim: int, seed: int
) -> np.ndarray:
    """gensim's vectors of words, float32 ``[V, dim]``, zeros for those that do not occur."""
    import gensim

    learned = gensim.models.Word2Vec(
        sentences, vector_size=dim, seed=seed, min_count=1, **SETTINGS,
        workers=1,  # with several, the result would depend on how the threads are scheduled
    ).wv  # fmt: skip
    unseen = np.zeros(dim, np.float32)
    return np.array([learned[word] if learned.has_index_for(word) else unseen for word in words])


def train(texts: Encoded, vocabulary: Vocabulary, key: str, dim: int, seed: int) -> np.ndarray:
    """Vectors of a vocabulary, learned from texts that ``key`` names in the cache."""

    def build() -> cache.Arrays:
        words = vocabulary.to_list()
        of_id = [words[i] for i in texts.tokens.tolist()]
        places = zip(texts.starts.tolist(), texts.lengths.tolist(), strict=True)
        sentences = [of_id[start : start + length] for start, length in places]
        return {"vectors": skip_gram(sentences, words, dim, seed)}

    arrays = cache.arrays("sentiment140-word2vec", cache.key_of(key, dim, seed, SETTINGS), build)
    return np.array(arrays["vectors"])
