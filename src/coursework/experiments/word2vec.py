"""Word vectors of one's own: skip-gram with negative sampling on the training tweets, by gensim.

The vectors see no label and no validation or test tweet. They are kept in the cache under a key of
everything that they depend on, so a second training with the same words starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from coursework.data import cache
from coursework.data.text import Vocabulary
from coursework.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """Mikolov et al. (2013), arXiv:1310.4546: the numbers of skip-gram with negative sampling.

    Attributes:
        dim: Width of the vectors.
        window: Largest distance of a context word; gensim draws 1 to ``window`` for each word.
        negative: Noise words per context word.
        sample: Frequent words are dropped with probability ``1 - sqrt(sample / frequency)``.
        epochs: Passes over the tweets.
        seed: Seed of the vectors and of the sampling.
    """

    dim: int = 100
    window: int = 5
    negative: int = 5
    sample: float = 1e-4
    epochs: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "window", "negative", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")


class Sentences:
    """Tweets as lists of words, to be gone through again and again.

    Args:
        ids: Ids of all tweets end to end, ``[total]``.
        starts: Where each tweet begins, ``[n]``.
        lengths: How many words it has, ``[n]``.
        words: Word of each id.
    """

    def __init__(
        self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, words: list[str]
    ) -> None:
        self._ids, self._starts, self._lengths, self._words = ids, starts, lengths, words

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[list[str]]:
        ids = self._ids.tolist()
        for start, length in zip(self._starts.tolist(), self._lengths.tolist(), strict=True):
            yield [self._words[i] for i in ids[start : start + length]]


def skip_gram(sentences: Iterable[list[str]], config: Config) -> Any:
    """gensim's vectors of the words: word -> ``[dim]``.

    One worker: with several the order of the updates, and so the result, would depend on the
    scheduling of threads.
    """
    import gensim

    model = gensim.models.Word2Vec(
        sentences, sg=1, vector_size=config.dim, window=config.window, negative=config.negative,
        sample=config.sample, epochs=config.epochs, seed=config.seed, min_count=1, workers=1,
    )  # fmt: skip
    return model.wv


def train(sentences: Sentences, vocabulary: Vocabulary, config: Config, key: str) -> np.ndarray:
    """Vectors of the words of a vocabulary.

    Args:
        sentences: The training tweets.
        vocabulary: Its words; those that do not occur get zeros.
        config: The numbers.
        key: Names the tweets (source, rows, vocabulary); part of the key in the cache.

    Returns:
        float32 ``[V, dim]``.
    """

    def build() -> cache.Arrays:
        found = skip_gram(sentences, config)
        vectors = np.zeros((len(vocabulary), config.dim), np.float32)  # [V, dim]
        for i, word in enumerate(vocabulary.to_list()):
            if word in found:
                vectors[i] = found[word]
        return {"vectors": vectors}

    arrays = cache.arrays("sentiment140-word2vec", cache.key_of(key, config), build)
    return np.array(arrays["vectors"])
