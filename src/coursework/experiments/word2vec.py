"""Word vectors learned from training texts: skip-gram with negative sampling, by gensim.

The vectors see no label and no validation or test text. They are cached under a key of everything that
they depend on, so a second training with the same words starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from coursework.config import Count, Index, Positive, config
from coursework.data import cache
from coursework.data.text import Vocabulary


@config
class Config:
    """The numbers of Mikolov et al. (2013), arXiv:1310.4546."""

    dim: Count = 100
    window: Count = 5  # largest distance of a context word; gensim draws 1 to window for each word
    negative: Count = 5  # noise words per context word
    sample: Positive = 1e-4  # frequent words are dropped with 1 - sqrt(sample / frequency)
    epochs: Count = 5
    seed: Index = 0


@dataclass(frozen=True)
class Sentences:
    """Texts as lists of words, which can be iterated repeatedly."""

    ids: np.ndarray  # of all texts end to end, [total]
    starts: np.ndarray  # where each text begins, [n]
    lengths: np.ndarray  # [n]
    words: list[str]  # of each id

    def __iter__(self) -> Iterator[list[str]]:
        ids = self.ids.tolist()
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield [self.words[i] for i in ids[start : start + length]]


def skip_gram(sentences: Iterable[list[str]], config: Config) -> Any:
    """gensim's vectors of the words: word -> ``[dim]``."""
    import gensim

    model = gensim.models.Word2Vec(
        sentences, sg=1, vector_size=config.dim, window=config.window, negative=config.negative,
        sample=config.sample, epochs=config.epochs, seed=config.seed, min_count=1,
        workers=1,  # with several, the result would depend on how the threads are scheduled
    )  # fmt: skip
    return model.wv


def train(sentences: Sentences, vocabulary: Vocabulary, config: Config, key: str) -> np.ndarray:
    """Vectors of a vocabulary, float32 ``[V, dim]``, zeros for words that do not occur.

    ``key`` names the sentences in the cache.
    """

    def build() -> cache.Arrays:
        found = skip_gram(sentences, config)
        vectors = np.zeros((len(vocabulary), config.dim), np.float32)
        for i, word in enumerate(vocabulary.to_list()):
            if word in found:
                vectors[i] = found[word]
        return {"vectors": vectors}

    arrays = cache.arrays("sentiment140-word2vec", cache.key_of(key, config), build)
    return np.array(arrays["vectors"])
