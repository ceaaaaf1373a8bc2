r"""Problem 1(c): what the network learns from tweets before it sees a label.

The bidirectional LSTM of :mod:`.sentiment` is first a language model of the training tweets (Dai & Le 2015,
arXiv:1511.01432): its forward half predicts the next word, its backward half the previous one. The softmax is
over the words of the batch and some drawn ones; a word :math:`w` is in it with probability :math:`\pi_w`, and
:math:`\log \pi_w` is subtracted from its score (Bengio & Senécal 2008; Jean et al. 2015, arXiv:1412.2007).
Letters: ``B`` batch, ``T`` tokens of a tweet, ``E`` width of a word vector, ``V`` vocabulary, ``H`` units
of each direction, ``n = 2B(T - 1)`` predicted words, ``C`` candidates of the softmax.
"""

import hashlib
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework import settings
from coursework.config import Count, Index, config
from coursework.data import cache
from coursework.errors import TrainingError
from coursework.experiments.base import Log
from coursework.experiments.sentiment_batches import Encoded, equal_length_batches
from coursework.models.bilstm import BiLSTMClassifier
from coursework.training import engine, seeds
from coursework.training.devices import processes
from coursework.training.engine import Plan

COLUMNS = ("epoch", "train_loss", "validation_perplexity", "seconds")  # of the record


@config
class Config:
    plan: Plan = Plan(
        epochs=2, learning_rate=2e-3, schedule="one-cycle", warmup=0.1, clip_norm=1.0, monitor=None,
    )  # fmt: skip
    batch_size: Count = 256
    noise: Count = 256  # words drawn for each softmax, beside those of the batch
    read: Count = 1000  # validation tweets whose perplexity is measured, over the whole vocabulary
    seed: Index = 0


class LanguageModel(nn.Module):
    """The word vectors and the LSTM of a classifier, with a projection of each direction to words."""

    share: Tensor  # [V], how often each word is met
    noise_share: Tensor  # [V], how often it is drawn

    def __init__(self, network: BiLSTMClassifier, counts: Tensor) -> None:
        super().__init__()
        self.embedding, self.dropout = network.embedding, network.embedding_dropout
        self.lstm = network.lstm
        width = self.embedding.dim
        self.next = nn.Linear(self.lstm.hidden_size, width)
        self.previous = nn.Linear(self.lstm.hidden_size, width)
        share = counts.clamp(min=0.5) / counts.sum()
        self.bias = nn.Parameter(share.log())
        self.register_buffer("share", share)
        self.register_buffer("noise_share", share**0.75 / (share**0.75).sum())

    def queries(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What is looked for and what is right: ``[B, T]`` -> ``[n, E]``, ``[n]``."""
        states, _ = self.lstm(self.dropout(self.embedding(tokens)))  # [B, T, 2H]
        before, behind = states.chunk(2, dim=-1)  # 2 x [B, T, H]
        found = torch.cat([self.next(before[:, :-1]), self.previous(behind[:, 1:])])
        return found.flatten(0, 1), torch.cat([tokens[:, 1:], tokens[:, :-1]]).flatten()

    def forward(self, tokens: Tensor, noise: int) -> tuple[Tensor, int]:
        """Cross-entropy over the candidates, summed over the predicted words, and their number."""
        queries, targets = self.queries(tokens)  # [n, E], [n]
        drawn = torch.multinomial(self.noise_share, noise, replacement=True)
        words, places = torch.cat([targets, drawn]).unique(return_inverse=True)  # [C], [n + noise]
        expected = len(targets) * self.share[words] + noise * self.noise_share[words]  # [C]
        bias = self.bias[words] - (-torch.expm1(-expected)).log()  # [C], without log pi
        scores = F.linear(queries, self.embedding.table(words), bias)  # [n, C]
        found = F.cross_entropy(scores.float(), places[: len(targets)], reduction="sum")
        return found, len(targets)


@torch.no_grad()
def perplexity(model: LanguageModel, tweets: Encoded, most: int) -> float:
    """Perplexity per word over the whole vocabulary, on the first ``most`` tweets."""
    total = count = 0.0
    for rows in equal_length_batches(tweets.lengths[:most], 16):
        if tweets.lengths[rows[0]] > 1:
            tokens = tweets.batch(rows)[0].to(model.bias.device)  # [B, T]
            queries, targets = model.queries(tokens)  # [n, E], [n]
            scores = F.linear(queries, model.embedding.table.weight, model.bias).float()  # [n, V]
            total += float(F.cross_entropy(scores, targets, reduction="sum"))
            count += len(targets)
    return math.exp(total / max(count, 1))


def pretrain(
    network: BiLSTMClassifier, config: Config, training: Encoded, validation: Encoded, key: str,
    log: Log | None = None,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:  # fmt: skip
    """Weights and record of a language model; they are cached under ``key`` and serve all seeds."""
    start = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    key = cache.key_of("2", key, config, network, hashlib.sha256(start).hexdigest())

    def build() -> cache.Arrays:
        if processes() > 1:
            # one would wait for the gradients of another, which waits at the lock of the cache
            remedy = "train without torchrun first; then it is in the cache"
            raise TrainingError(f"The language model is trained by one process; {remedy}.")
        seeds.seed_everything(config.seed)
        counts = np.bincount(training.tokens[:-1], minlength=len(network.embedding.table.weight))
        model = LanguageModel(network, torch.from_numpy(counts).float())
        long = np.flatnonzero(training.lengths > 1)  # a single word predicts nothing

        def batches(epoch: int) -> engine.Lazy:
            rng = seeds.numpy_generator(config.seed, "language model", epoch)
            groups = equal_length_batches(training.lengths[long], config.batch_size, rng)
            groups = [long[rows] for rows in groups]
            return engine.Lazy(groups, lambda rows: training.batch(rows)[0])

        fit = engine.fit(
            model, config.plan, batches=batches, loss=lambda m, batch: m(batch, config.noise),
            validate=lambda m: {"validation_perplexity": perplexity(model, validation, config.read)},
            run_dir=settings.runs_dir() / f"language-model-{key}", resume=True,
            identity={"key": key}, log=log,
        )  # fmt: skip
        # a classifier's own output stays as it was drawn
        state = network.state_dict().items()
        learned = {k: v.numpy() for k, v in state if not k.startswith("output.")}
        return learned | {"history": np.array([[row[k] for k in COLUMNS] for row in fit.history])}

    arrays = {k: np.array(v) for k, v in cache.arrays("sentiment140-lm", key, build).items()}
    history = [dict(zip(COLUMNS, row, strict=True)) for row in arrays.pop("history").tolist()]
    return {name: torch.from_numpy(value) for name, value in arrays.items()}, history
