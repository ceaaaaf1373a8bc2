import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from coursework.data.sentiment140 import TokenisedTweets
from coursework.data.sources import Source

FOREIGN = Source("sentiment140", "data root", "", (), "CC")


def tweets_of(rows: Sequence[Sequence[Any]], labels: Sequence[int] | None = None) -> Any:
    """Tokenised tweets of tokens of any kind; their types are the names in alphabetical order."""
    types = sorted({str(token) for row in rows for token in row})
    return TokenisedTweets(
        tokens=np.array([types.index(str(token)) for row in rows for token in row], np.int32),
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        types=types,
        labels=np.array(labels or [0] * len(rows), np.int8),
        source=FOREIGN,
    )


def turned(tweets: Any, rows: np.ndarray) -> Any:
    labels = np.array(tweets.labels)
    labels[rows] = 1 - labels[rows]
    return dataclasses.replace(tweets, labels=labels)
