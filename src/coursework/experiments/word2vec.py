"""Word vectors learned from training texts (no label, no other text) by gensim: skip-gram."""

from collections.abc import Iterable, Sequence

import numpy as np

from coursework.config import Count, Index, Positive, config
from coursework.data import cache
from coursework.data.text import Vocabulary
from coursework.experiments.sentiment_batches import Encoded


@config
class Config:
    """Skip-gram with negative sampling: Mikolov et al. (2013), arXiv:1310.4546."""

    dim: Count = 100
    window: Count = 5  # largest distance of a context word; gensim draws 1 to window for each word
    negative: Count = 5  # noise words per context word
    sample: Positive = 1e-4  # of words that are more frequent than this share, some are dropped
    epochs: Count = 5
    seed: Index = 0


def skip_gram(sentences: Iterable[list[str]], words: Sequence[str], config: Config) -> np.ndarray:
    """gensim's vectors of words, float32 ``[V, dim]``, zeros for those that do not occur."""
    import gensim

    learned = gensim.models.Word2Vec(
        sentences, sg=1, vector_size=config.dim, window=config.window, negative=config.negative,
        sample=config.sample, epochs=config.epochs, seed=config.seed, min_count=1,
        workers=1,  # with several, the result would depend on how the threads are scheduled
    ).wv  # fmt: skip
    unseen = np.zeros(config.dim, np.float32)
    return np.array([learned[word] if learned.has_index_for(word) else unseen for word in words])


def train(texts: Encoded, vocabulary: Vocabulary, config: Config, key: str) -> np.ndarray:
    """Vectors of a vocabulary, learned from texts that ``key`` names in the cache."""

    def build() -> cache.Arrays:
        words = vocabulary.to_list()
        of_id = [words[i] for i in texts.tokens.tolist()]
        places = zip(texts.starts.tolist(), texts.lengths.tolist(), strict=True)
        sentences = [of_id[start : start + length] for start, length in places]
        return {"vectors": skip_gram(sentences, words, config)}

    arrays = cache.arrays("sentiment140-word2vec", cache.key_of(key, config), build)
    return np.array(arrays["vectors"])
