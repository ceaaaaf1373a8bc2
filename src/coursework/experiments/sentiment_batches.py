"""Tweets as ids of a vocabulary, and batches of equal length: no padding, and nothing to pack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coursework.data.text import PAD, UNK

SPECIALS, PAD_ID, UNK_ID = (PAD, UNK), 0, 1


@dataclass(frozen=True)
class Encoded:
    """Tweets as ids of the vocabulary, end to end; one without a word is read as one ``<pad>``."""

    tokens: np.ndarray  # int32, with one <pad> behind the last tweet
    starts: np.ndarray  # int64 [n]
    lengths: np.ndarray  # int64 [n]
    labels: np.ndarray  # float32 [n], 0 or 1

    @classmethod
    def of(cls, ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Encoded:
        """From the ids of all tweets end to end ``[total]`` and how many each has ``[n]``."""
        starts = np.cumsum(lengths) - lengths
        starts[lengths == 0] = len(ids)
        tokens = np.append(ids, np.int32(PAD_ID)).astype(np.int32)
        return cls(tokens, starts, np.maximum(lengths, 1), np.asarray(labels, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.lengths)

    def first(self, n: int | None) -> Encoded:
        """The first ``n`` tweets; None: all."""
        return Encoded(self.tokens, self.starts[:n], self.lengths[:n], self.labels[:n])

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tweets of one length: tokens int64 ``[B, T]`` and labels float32 ``[B]``."""
        tokens = self.tokens[self.starts[rows, None] + np.arange(self.lengths[rows[0]])]  # [B, T]
        return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(self.labels[rows])


def equal_length_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Rows ``[n]`` cut into batches of one length each, shuffled by ``rng`` if there is one."""
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]  # stays shuffled within a length
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    batches = [
        part for g in groups if len(g) for part in np.array_split(g, -(-len(g) // batch_size))
    ]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]
