"""Tweets as ids, in batches of equal length (no padding), and what a network gives for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from coursework.data import cache
from coursework.data.splits import Split
from coursework.data.text import PAD_ID

CPU = torch.device("cpu")
BLOCK = 40_000  # tweets whose logits are stored at a time: two minutes of the Transformer


@dataclass(frozen=True)
class Encoded:
    """Tweets as ids of the vocabulary, end to end; one without a word is read as one ``<pad>``."""

    tokens: np.ndarray  # int32, with one <pad> behind the last tweet
    starts: np.ndarray  # int64 [n]
    lengths: np.ndarray  # int64 [n]
    labels: np.ndarray  # float32 [n], 0 or 1, or the probability of 1 that a teacher gives

    @classmethod
    def of(cls, ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Self:
        """From the ids of all tweets end to end ``[total]`` and how many each has ``[n]``."""
        starts = np.cumsum(lengths) - lengths
        starts[lengths == 0] = len(ids)
        tokens = np.append(ids, np.int32(PAD_ID)).astype(np.int32)
        return cls(tokens, starts, np.maximum(lengths, 1), np.asarray(labels, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.lengths)

    def first(self, n: int | None) -> "Encoded":
        """The first ``n`` tweets; None: all."""
        return Encoded(self.tokens, self.starts[:n], self.lengths[:n], self.labels[:n])

    def taught(self, logits: np.ndarray, weight: float) -> "Encoded":
        """Labels become soft: ``weight`` times the probability that teachers give, and the rest the label."""
        soft = weight * expit(logits) + (1 - weight) * self.labels  # [n]
        return replace(self, labels=soft.astype(np.float32))

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tweets of one length: tokens int64 ``[B, T]`` and labels float32 ``[B]``."""
        tokens = self.tokens[self.starts[rows, None] + np.arange(self.lengths[rows[0]])]  # [B, T]
        return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(self.labels[rows])


@dataclass(frozen=True)
class Parts:
    """The tweets that a training reads, their split, and its parts as ids."""

    tweets: Any  # raw or tokenised, with labels and source
    split: Split
    training: Encoded
    validation: Encoded
    test: Encoded

    @property
    def data(self) -> dict[str, Any]:
        """Record of the source, with the number of tweets."""
        return self.tweets.source.as_record() | {"tweets": len(self.tweets.labels)}


def equal_length_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Rows ``[n]`` cut into batches of one length each, shuffled by ``rng`` if there is one."""
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]  # stays shuffled within a length
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    cut = (np.array_split(rows, -(-len(rows) // batch_size)) for rows in groups if len(rows))
    batches = [batch for of_a_length in cut for batch in of_a_length]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]


@torch.no_grad()
def outputs(
    function: Callable[[Tensor], Tensor], data: Encoded, device: torch.device = CPU,
    size: int = 1024, precision: str = "32-true",
) -> np.ndarray:  # fmt: skip
    """What a function of tokens ``[B, T]`` gives for every tweet: float32 ``[n, ...]``."""
    found = np.empty(0, np.float32)
    for rows in equal_length_batches(data.lengths, size):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            values = function(data.batch(rows)[0].to(device)).float().cpu().numpy()
        if not len(found):
            found = np.empty((len(data), *values.shape[1:]), np.float32)
        found[rows] = values
    return found


def final_logits(model: nn.Module, data: Encoded, **options: Any) -> np.ndarray:
    """Logit of every tweet ``[n]``, on the GPU where there is one; the model ends on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logits = outputs(model.eval().to(device), data, device, **options)
    model.to("cpu")
    return logits


@dataclass(frozen=True)
class Member:
    """A trained model, and the tweets as it reads them."""

    model: nn.Module
    parts: Parts
    reading: dict[str, Any]  # options of :func:`.outputs`

    def logits(self, part: str) -> np.ndarray:
        """Logit of each tweet of a part, ``[n]``, from the cache where it has been computed before."""
        data: Encoded = getattr(self.parts, part)
        known = cache.key_of(*(value.numpy() for value in self.model.state_dict().values()))
        found = [np.empty(0, np.float32)]
        for start in range(0, len(data), BLOCK):
            rows = slice(start, start + BLOCK)
            block = Encoded(data.tokens, data.starts[rows], data.lengths[rows], data.labels[rows])
            spans = zip(block.starts, block.lengths, strict=True)
            tokens = np.concatenate([data.tokens[first : first + n] for first, n in spans])
            key = cache.key_of(known, tokens, block.lengths, self.reading)

            def build(block: Encoded = block) -> cache.Arrays:
                return {"logits": final_logits(self.model, block, **self.reading)}

            found.append(cache.arrays("sentiment140-logits", key, build)["logits"])
        return np.concatenate(found)


def mixed(members: list[Member], part: str) -> tuple[np.ndarray, list[float]]:
    """Logits ``[n]`` of a part, added with the weights that fit the validation tweets best."""
    from sklearn.linear_model import LogisticRegression

    some = min(len(member.parts.validation) for member in members)
    fitted = np.stack([member.logits("validation")[:some] for member in members], axis=1)
    labels = members[0].parts.validation.labels[:some]
    model = LogisticRegression(C=1e6, fit_intercept=False).fit(fitted, labels > 0.5)
    weights = np.asarray(model.coef_[0], dtype=np.float64)
    return np.stack([member.logits(part) for member in members], axis=1) @ weights, weights.tolist()
