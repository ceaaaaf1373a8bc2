"""Word n-grams of tweets, hashed, and the linear models on them that a network must beat."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags

from coursework.data.sentiment140 import TokenisedTweets

ORDERS, BITS = 3, 22  # words of the longest n-gram; logarithm of the number of columns


def take(
    tweets: TokenisedTweets, rows: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``most`` tokens of tweets end to end, int32 ``[total]``, and their numbers ``[n]``."""
    starts = tweets.offsets[rows]
    lengths = tweets.offsets[rows + 1] - starts
    lengths = lengths if most is None else np.minimum(lengths, most)
    places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.asarray(tweets.tokens[places + np.arange(int(lengths.sum()))]), lengths


def _scramble(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of the argument."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def text_keys(tweets: TokenisedTweets) -> np.ndarray:
    """A key of each tweet, uint64 ``[n]``: the sum over its words of a fixed random number of the word times
    one of the position. It is equal for equal texts, and almost never for others."""
    rows = np.arange(len(tweets.labels))
    longest = int(np.diff(tweets.offsets).max(initial=0))
    numbers = _scramble(np.arange(1, len(tweets.types) + longest + 1, dtype=np.uint64))
    of_token, of_place = numbers[: len(tweets.types)], numbers[len(tweets.types) :] | np.uint64(1)
    keys = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), 100_000):  # blocks that fit into the processor's cache
        block = slice(start, start + 100_000)
        tokens, lengths = take(tweets, rows[block])
        ends = np.cumsum(lengths)
        places = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
        sums = np.zeros(len(tokens) + 1, np.uint64)
        np.cumsum(of_token[tokens] * of_place[places], out=sums[1:])
        keys[block] = sums[ends] - sums[ends - lengths]
    return keys


def features(tweets: TokenisedTweets, rows: np.ndarray, bits: int = BITS) -> csr_matrix:
    """Which 1- to 3-grams occur in each tweet: float32 ``[n, 2^bits]`` of zeros and ones."""
    tokens, lengths = take(tweets, rows)
    row = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    words = _scramble(tokens.astype(np.uint64) + np.uint64(1))
    key = np.zeros(len(tokens), np.uint64)
    columns, owners = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for before in range(min(ORDERS, len(tokens))):  # n-grams of before + 1 words
        reach = len(tokens) - before
        # the key of n words from the key of the first n - 1 and the last word
        key = _scramble(key[:reach] * np.uint64(0x9E3779B97F4A7C15) + words[before:])
        inside = row[:reach] == row[before:]  # an n-gram does not cross tweets
        columns.append((key[inside] & np.uint64(2**bits - 1)).astype(np.int32))
        owners.append(row[:reach][inside])
    places = np.concatenate(owners), np.concatenate(columns)
    matrix = csr_matrix((np.ones(len(places[0]), np.float32), places), shape=(len(rows), 2**bits))
    matrix.data[:] = 1  # repeated n-grams have been added up
    return matrix


class Linear:
    """A multinomial naive Bayes and a logistic regression on features ``[n, d]``; nothing is tuned.

    The regression sees the features times the log ratios of naive Bayes (Wang & Manning 2012).
    """

    def __init__(self, x: csr_matrix, labels: np.ndarray, seed: int = 0) -> None:
        from sklearn.linear_model import SGDClassifier
        from sklearn.naive_bayes import MultinomialNB

        options = {"loss": "log_loss", "average": True, "max_iter": 5, "tol": None}
        self.bayes: Any = MultinomialNB(alpha=1.0).fit(x, labels)
        self.logistic: Any = SGDClassifier(alpha=2 / len(labels), random_state=seed, **options)
        self.logistic.fit(self.scaled(x), labels)

    def scores(self, x: csr_matrix) -> dict[str, np.ndarray]:
        """Log odds of ``positive`` by each model, float64 ``[n]``."""
        odds = np.diff(self.bayes.predict_joint_log_proba(x), axis=1)[:, 0]
        return {"naive_bayes": odds, "linear": self.logistic.decision_function(self.scaled(x))}

    def predict(self, x: csr_matrix) -> np.ndarray:
        """Labels by the logistic regression, ``[n]``."""
        return self.logistic.predict(self.scaled(x))

    def scaled(self, x: csr_matrix) -> csr_matrix:
        """Features times their log ratios, the rows then of length one."""
        from sklearn.preprocessing import normalize

        negative, positive = self.bayes.feature_log_prob_
        return normalize(x @ diags((positive - negative).astype(np.float32)), copy=False)
