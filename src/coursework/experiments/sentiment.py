"""Problem 1(b) to (d): is a tweet positive or negative? A bidirectional LSTM on Sentiment140.

The way of the data: all 1.6 million tweets come cleaned and tokenised as one flat array; a seeded
60/20/20 split picks rows; the vocabulary is counted on training rows; batches are rows of *exactly*
equal length, so there is neither padding nor packing (both cost more than they save on a CPU).

Beside the network stand the baselines that it must beat on the same rows: the larger class, a naive
Bayes, and a logistic regression on word 1- to 3-grams weighted by their naive Bayes log ratios.

Letters: ``B`` batch, ``T`` tokens of a tweet, ``V`` vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.data import cache, sentiment140
from coursework.data import embeddings as word_vectors
from coursework.data.splits import Split
from coursework.data.text import PAD, UNK, Vocabulary, clean_tweet, tokenise
from coursework.errors import ConfigError, TrainingError
from coursework.experiments.base import Run, as_record
from coursework.models.lstm import BiLSTMClassifier
from coursework.report.store import wilson
from coursework.training import checkpoints, engine, seeds

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BAR = 0.85
"""Accuracy that the assignment asks to exceed."""
SPECIALS = (PAD, UNK)
PAD_ID, UNK_ID = 0, 1
EVALUATION_BATCH = 1024
NGRAMS, NGRAM_BITS = 3, 22


# ---------------------------------------------------------------------------------------------- config


@dataclass(frozen=True)
class Config:
    """Every number of the experiment.

    Attributes:
        tweets: Tweets in use, a random subset of each part of the split; None takes all.
        train_tweets: Training tweets in use, the first of the training part; None takes all of it.
        split_seed: Seed of the split; the same for all training seeds.
        min_count: Words that are rarer in the training tweets become ``<unk>``.
        max_vocabulary: Most words, the two specials included.
        max_length: Tokens after which a tweet is cut (99 % of them have at most 33).
        embeddings: What the word vectors start from: ``random`` numbers, ``glove`` (6B, 50 dimensions),
            or ``word2vec``, skip-gram vectors of the training tweets (:mod:`.word2vec`).
        embedding_dim: Width of the word vectors; with ``glove`` another width than 50 is projected.
        hidden_size: Width of each direction of the LSTM.
        layers: Stacked BiLSTM layers.
        cell: ``own`` runs our LSTM, ``builtin`` PyTorch's; the same function, see problem 1(a).
        dropout: Before the output layer and between layers.
        embedding_dropout: On the entries of the word vectors.
        word_dropout: Share of training words that are replaced by ``<unk>``.
        embedding_rate: Learning rate of the word vectors as a share of that of everything else; below 1,
            rare words stay near the vectors that they started from.
        label_smoothing: Targets are this far (halved) from 0 and 1; the labels come from emoticons
            and are noisy.
        batch_size: Most tweets of a batch; all of one length.
        baselines: Also fit the linear baselines.
        members: Networks of an ensemble, with seeds one after the other; 1 is a single network.
        plan: The optimisation.
    """

    tweets: int | None = None
    train_tweets: int | None = None
    split_seed: int = 0
    min_count: int = 2
    max_vocabulary: int = 50_000
    max_length: int = 36
    embeddings: Literal["random", "glove", "word2vec"] = "word2vec"
    embedding_dim: int = 100
    hidden_size: int = 160
    layers: int = 1
    cell: Literal["own", "builtin"] = "own"
    dropout: float = 0.3
    embedding_dropout: float = 0.2
    word_dropout: float = 0.0
    embedding_rate: float = 1.0
    label_smoothing: float = 0.05
    batch_size: int = 512
    baselines: bool = True
    members: int = 1
    plan: engine.Plan = field(
        default_factory=lambda: engine.Plan(
            epochs=3,
            learning_rate=3e-3,
            weight_decay=0.01,
            schedule="one-cycle",
            warmup=0.1,
            clip_norm=1.0,
            monitor="validation_accuracy",
            mode="max",
        )
    )

    def __post_init__(self) -> None:
        if self.tweets is not None and self.tweets < 100:
            raise ConfigError(f"tweets is {self.tweets}; use at least 100, or none for all.")
        if self.train_tweets is not None and self.train_tweets < 60:
            raise ConfigError(
                f"train_tweets is {self.train_tweets}; use at least 60, or none for all."
            )
        for name, least in (
            ("split_seed", 0),
            ("min_count", 1),
            ("max_vocabulary", len(SPECIALS) + 1),
            ("max_length", 1),
            ("embedding_dim", 1),
            ("hidden_size", 1),
            ("layers", 1),
            ("batch_size", 1),
            ("members", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("dropout", "embedding_dropout", "word_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be in [0, 1).")
        if not self.embedding_rate > 0:
            raise ConfigError(f"embedding_rate is {self.embedding_rate}; it must be positive.")
        if self.embeddings not in ("random", "glove", "word2vec"):
            raise ConfigError(
                f"embeddings is {self.embeddings!r}; choose random, glove or word2vec."
            )
        if self.cell not in ("own", "builtin"):
            raise ConfigError(f"cell is {self.cell!r}; choose own or builtin.")


PRESETS: dict[str, Config] = {
    "full": Config(),
    "best": Config(members=3),
    "quick": Config(
        tweets=60_000,
        max_vocabulary=10_000,
        embeddings="glove",
        embedding_dim=50,
        hidden_size=64,
        batch_size=128,
        plan=engine.Plan(
            epochs=2,
            learning_rate=4e-3,
            weight_decay=0.01,
            schedule="one-cycle",
            warmup=0.2,
            clip_norm=1.0,
            monitor="validation_accuracy",
            mode="max",
        ),
    ),
}


# ------------------------------------------------------------------------------------------------ data


@dataclass(frozen=True)
class Encoded:
    """Tweets as ids of the vocabulary, end to end.

    Attributes:
        tokens: int32, the ids of all tweets and one ``<pad>`` behind the last.
        starts: int64 ``[n]``, where each tweet begins.
        lengths: int64 ``[n]``, at least 1: a tweet without a word is read as one ``<pad>``.
        labels: float32 ``[n]``, 0 or 1.
    """

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tweets of one length as tensors: tokens int64 ``[B, T]`` and labels float32 ``[B]``."""
        steps = np.arange(self.lengths[rows[0]])
        tokens = self.tokens[self.starts[rows, None] + steps]  # [B, T]
        return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(self.labels[rows])


class Batches(Sequence[tuple[Tensor, Tensor]]):
    """The batches of one epoch, built when they are asked for."""

    def __init__(self, data: Encoded, rows: list[np.ndarray]) -> None:
        self._data = data
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Batches(self._data, self._rows[index])
        return self._data.batch(self._rows[index])

    def rows(self, index: int) -> np.ndarray:
        """Which tweets of the data the batch has."""
        return self._rows[index]


def equal_length_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Cut rows into batches in which all tweets have the same length.

    A shuffled epoch is sorted by length (stably, so it stays shuffled within a length), each length is
    cut into nearly equal batches, and the batches are shuffled.

    Args:
        lengths: Length of each row, ``[n]``.
        batch_size: Most rows of a batch.
        rng: Shuffles; None keeps the order, for evaluation.

    Returns:
        Row indices of each batch; every row occurs once.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    batches = [
        part
        for group in np.split(order, cuts)
        if len(group)
        for part in np.array_split(group, -(-len(group) // batch_size))
    ]
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def take(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, max_length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of some rows, end to end.

    Args:
        tweets: All tweets.
        rows: Which of them, in which order, ``[n]``.
        max_length: Cut each after so many tokens.

    Returns:
        tokens: int32 ``[total]``, indices into ``tweets.types``.
        lengths: int64 ``[n]``.
    """
    starts = tweets.offsets[rows]
    lengths = tweets.offsets[rows + 1] - starts
    if max_length is not None:
        lengths = np.minimum(lengths, max_length)
    total = int(lengths.sum())
    places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(total)
    return np.asarray(tweets.tokens[places]), lengths


def count_vocabulary(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, min_count: int, max_size: int
) -> Vocabulary:
    """The vocabulary of the training rows, and of nothing else.

    Args:
        tweets: All tweets.
        rows: The training rows.
        min_count: Rarer words are left out.
        max_size: Most words, the two specials included.
    """
    tokens, _ = take(tweets, rows)
    counts = np.bincount(tokens, minlength=len(tweets.types))
    kept = {tweets.types[i]: int(counts[i]) for i in np.flatnonzero(counts >= min_count)}
    return Vocabulary.from_counts(kept, SPECIALS, min_count, max_size)


def encode(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, vocabulary: Vocabulary, max_length: int
) -> Encoded:
    """Rows as ids of the vocabulary; see :class:`Encoded`."""
    ids = np.fromiter(
        (vocabulary.index.get(token, UNK_ID) for token in tweets.types), np.int32, len(tweets.types)
    )
    tokens, lengths = take(tweets, rows, max_length)
    return _encoded(ids[tokens], lengths, tweets.labels[rows])


def _encoded(ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Encoded:
    starts = np.cumsum(lengths) - lengths
    starts[lengths == 0] = len(ids)  # the <pad> behind the last tweet
    return Encoded(
        np.append(ids, np.int32(PAD_ID)).astype(np.int32),
        starts,
        np.maximum(lengths, 1),
        np.asarray(labels, dtype=np.float32),
    )


def split_rows(n: int, config: Config) -> Split:
    """The 60/20/20 split of ``n`` tweets, or a random subset of each of its parts.

    The parts of a subset lie within the parts of the whole: a test tweet of a quick run is never a
    training tweet of a full one.
    """
    split = sentiment140.split(n, seed=config.split_seed)
    train, validation, test = split.train, split.validation, split.test
    if config.tweets is not None and config.tweets < n:
        n_held_out = round(config.tweets * 0.2)
        train = train[: config.tweets - 2 * n_held_out]
        validation, test = validation[:n_held_out], test[:n_held_out]
    return Split(train[: config.train_tweets], validation, test)


def text_keys(tweets: sentiment140.TokenisedTweets, rows: np.ndarray | None = None) -> np.ndarray:
    """A 64-bit key of each tweet's sequence of tokens, uint64 ``[n]``: equal texts, equal keys.

    The key is the sum over the tokens of (random number of the token) times (random odd number of its
    place), modulo 2^64; among 1.6 million texts a chance collision has a probability of 1e-7.

    Args:
        tweets: All tweets.
        rows: Which of them, ``[n]``; all by default.
    """
    rows = np.arange(len(tweets.labels)) if rows is None else rows
    longest = int(np.diff(tweets.offsets).max(initial=0))
    numbers = _mix(np.arange(1, len(tweets.types) + longest + 1, dtype=np.uint64))
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


def duplicates(tweets: sentiment140.TokenisedTweets, split: Split) -> dict[str, float]:
    """How often the same (cleaned) text occurs, with which labels, and across the split.

    Returns:
        Shares: ``repeated`` tweets whose text occurs more than once, ``both_labels`` those whose text
        has both labels, ``minority_label`` of the repeated ones that contradict the majority of their
        text, ``test_in_train`` test tweets whose text is also a training text.
    """
    keys = text_keys(tweets)
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    positive = np.bincount(group, weights=tweets.labels)
    repeated = size > 1
    mixed = (positive > 0) & (positive < size)
    return {
        "repeated": float(size[repeated].sum() / len(keys)),
        "both_labels": float(size[mixed].sum() / len(keys)),
        "minority_label": float(
            np.minimum(positive, size - positive)[repeated].sum() / max(size[repeated].sum(), 1)
        ),
        "test_in_train": float(np.isin(keys[split.test], keys[split.train]).mean()),
    }


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of the argument."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# ----------------------------------------------------------------------------------------------- model


@dataclass(frozen=True)
class Classifier:
    """A trained network with all that it takes to use it.

    Attributes:
        model: The network, in evaluation mode.
        vocabulary: Its words.
        config: Its config.
        data: Record of the data that it was trained on, with the number of ``tweets``.
    """

    model: BiLSTMClassifier
    vocabulary: Vocabulary
    config: Config
    data: dict[str, Any]

    def predict(self, texts: str | Sequence[str]) -> np.ndarray:
        """Probability that each text is positive, float32 ``[n]``.

        Texts are cleaned and tokenised as the training tweets were, and cut after ``max_length``
        tokens. A text without a single token gets what the network says of a tweet without words.

        Raises:
            ConfigError: If something else than text is given.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise ConfigError(
                    f"predict takes a text or a list of texts, but item {i} is of type "
                    f"{type(text).__name__}."
                )
        rows = [
            self.vocabulary.encode(tokenise(clean_tweet(text))[: self.config.max_length])
            for text in texts
        ]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        ids = np.array([token for row in rows for token in row], dtype=np.int32)
        encoded = _encoded(ids, lengths, np.zeros(len(rows)))
        return 1 / (1 + np.exp(-logits_of(self.model, encoded)))


def build(config: Config, vocab_size: int, pretrained: Tensor | None = None) -> BiLSTMClassifier:
    """The untrained network; seed before."""
    return BiLSTMClassifier(
        vocab_size,
        config.embedding_dim,
        config.hidden_size,
        config.layers,
        dropout=config.dropout,
        padding_idx=PAD_ID,
        cell=config.cell,
        embedding_dropout=config.embedding_dropout,
        pretrained=pretrained,
    )


def glove_matrix(vocabulary: Vocabulary, seed: int) -> tuple[Tensor, float]:
    """GloVe vectors of the vocabulary, and noise of the same scale for the words without one.

    Args:
        vocabulary: The words.
        seed: Seed of the noise.

    Returns:
        matrix: float32 ``[V, 50]``.
        share: Share of the words that have a vector.
    """
    vectors = word_vectors.glove(vocabulary.to_list())
    return _filled(np.array(vectors.vectors, dtype=np.float32), vectors.found, seed)


def word2vec_matrix(
    training: Encoded, vocabulary: Vocabulary, config: Config, key: str
) -> tuple[Tensor, float]:
    """Skip-gram vectors of the training tweets, and noise of the same scale for words without one.

    Args:
        training: The training tweets.
        vocabulary: The words.
        config: For the width and the seed of the split.
        key: Names the data; part of the key under which the vectors are cached.

    Returns:
        matrix: float32 ``[V, embedding_dim]``, entries of standard deviation 0.3.
        share: Share of the words that have a vector.
    """
    from coursework.experiments import word2vec

    sentences = word2vec.Sentences(
        training.tokens, training.starts, training.lengths, vocabulary.to_list()
    )
    settings = word2vec.Config(dim=config.embedding_dim, seed=config.split_seed)
    names = cache.key_of(
        key, config.split_seed, len(training), config.max_length, *vocabulary.tokens
    )
    matrix = word2vec.train(sentences, vocabulary, settings, names)
    return _filled(matrix, np.abs(matrix).sum(axis=1) > 0, config.split_seed, 0.3)


def _filled(
    matrix: np.ndarray, found: np.ndarray, seed: int, std: float | None = None
) -> tuple[Tensor, float]:
    """Scale the vectors to a standard deviation, and fill the rows without one with noise of it."""
    scale = float(matrix[found].std()) if found.any() else 1.0
    wanted = scale if std is None else std
    noise = seeds.numpy_generator(seed, "glove").normal(0, wanted, matrix.shape)
    whole = np.where(found[:, None], matrix * (wanted / scale), noise)
    return torch.from_numpy(whole.astype(np.float32)), float(np.mean(found))


def parameter_groups(model: BiLSTMClassifier, config: Config) -> list[dict[str, Any]]:
    """Everything else, then the word vectors with their own learning rate."""
    vectors = list(model.embedding.parameters())
    known = {id(parameter) for parameter in vectors}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in known]
    rate = config.plan.learning_rate
    return [{"params": rest, "lr": rate}, {"params": vectors, "lr": rate * config.embedding_rate}]


def batch_loss(config: Config) -> Callable[[nn.Module, tuple[Tensor, Tensor]], tuple[Tensor, int]]:
    """Binary cross-entropy with word dropout and smoothed labels, summed over the batch."""

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        tokens, labels = batch  # [B, T], [B]
        if config.word_dropout and model.training:
            drop = torch.rand(tokens.shape, device=tokens.device) < config.word_dropout  # [B, T]
            tokens = tokens.masked_fill(drop & (tokens != PAD_ID), UNK_ID)
        targets = labels * (1 - config.label_smoothing) + config.label_smoothing / 2  # [B]
        logits = model(tokens)  # [B]
        total = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
        return total, len(labels)

    return loss


@torch.no_grad()
def logits_of(model: nn.Module, data: Encoded) -> np.ndarray:
    """Logit of every tweet, float32 ``[n]``; the model must be in evaluation mode."""
    device = next(model.parameters()).device
    logits = np.empty(len(data), dtype=np.float32)
    for rows in equal_length_batches(data.lengths, EVALUATION_BATCH):
        tokens, _ = data.batch(rows)
        logits[rows] = model(tokens.to(device)).float().cpu().numpy()
    return logits


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, F1 (the mean of both classes) and cross-entropy."""
    table = confusion(logits, labels)
    hits = np.diag(table)
    f1 = 2 * hits / np.maximum(table.sum(axis=0) + table.sum(axis=1), 1)
    # log(1 + exp(-z)) for positive tweets, log(1 + exp(z)) for negative ones
    losses = np.logaddexp(0, np.where(labels > 0.5, -logits, logits).astype(np.float64))
    return {
        "accuracy": float(hits.sum() / max(table.sum(), 1)),
        "f1": float(f1.mean()),
        "loss": float(losses.mean()),
    }


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts ``[2, 2]``: rows are the labels (negative, positive), columns the predictions."""
    cell = 2 * (np.asarray(labels) > 0.5) + (np.asarray(logits) > 0)
    return np.bincount(cell, minlength=4).reshape(2, 2)


def verdict(accuracy: float, low: float, high: float, bar: float = BAR) -> str:
    """What an accuracy and its 95 % interval say about the bar, in words."""
    if accuracy > bar:
        sure = "with its whole interval" if low > bar else "but its interval includes the bar"
        return f"reached: above {bar:.0%}, {sure}"
    sure = "its whole interval is below" if high <= bar else "though its interval includes the bar"
    return f"not reached: {100 * (bar - accuracy):.2f} points short, {sure}"


# --------------------------------------------------------------------------------------------- running


@dataclass(frozen=True)
class Corpus:
    """All that a training reads: the tweets, their split, the vocabulary and the encoded parts."""

    tweets: sentiment140.TokenisedTweets
    split: Split
    vocabulary: Vocabulary
    training: Encoded
    validation: Encoded
    test: Encoded

    @property
    def data(self) -> dict[str, Any]:
        """Record of the source, with the number of tweets."""
        return self.tweets.source.as_record() | {"tweets": len(self.tweets.labels)}


def prepare(config: Config) -> Corpus:
    """Load and split the tweets, count the vocabulary on the training part, encode all parts."""
    tweets = sentiment140.load_tokens()
    split = split_rows(len(tweets.labels), config)
    vocabulary = count_vocabulary(tweets, split.train, config.min_count, config.max_vocabulary)
    training, validation, test = (
        encode(tweets, rows, vocabulary, config.max_length)
        for rows in (split.train, split.validation, split.test)
    )
    return Corpus(tweets, split, vocabulary, training, validation, test)


def fit_network(
    config: Config,
    corpus: Corpus,
    *,
    seed: int,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> tuple[BiLSTMClassifier, engine.Fit, float | None]:
    """Train one network on the training part; the best epoch is chosen on the validation part.

    Returns:
        The network, the record of its training, and the share of words with a pre-trained vector.
    """
    seeds.seed_everything(seed)
    training, validation, vocabulary = corpus.training, corpus.validation, corpus.vocabulary
    pretrained, found = None, None
    if config.embeddings == "glove":
        pretrained, found = glove_matrix(vocabulary, seed)
    elif config.embeddings == "word2vec":
        key = corpus.tweets.source.sha256
        pretrained, found = word2vec_matrix(training, vocabulary, config, key)
    model = build(config, len(vocabulary), pretrained)
    record = as_record(config)

    def validate(network: nn.Module) -> dict[str, float]:
        result = scores(logits_of(network, validation), validation.labels)
        return {f"validation_{name}": result[name] for name in ("loss", "accuracy")}

    def batches(epoch: int) -> Batches:
        rng = seeds.numpy_generator(seed, "batches", epoch)
        return Batches(training, equal_length_batches(training.lengths, config.batch_size, rng))

    fit = engine.fit(
        model,
        config.plan,
        batches=batches,
        loss=batch_loss(config),
        validate=validate,
        parameters=parameter_groups(model, config),
        run_dir=run_dir,
        resume=resume,
        identity={
            "experiment": "sentiment",
            "config": record,
            "seed": seed,
            "tweets": len(corpus.tweets.labels),
            "standin": corpus.tweets.source.is_standin,
        },
        bundle={"config": record, "vocabulary": vocabulary.to_list(), "data": corpus.data},
        log=log,
    )
    return model, fit, found


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train the network, then look at the test tweets once.

    Args:
        config: Every number of the run.
        preset: Name of the preset that the config started from.
        seed: Seed of the weights, the order of the batches and the dropout.
        resume: Go on from ``run_dir``.
        run_dir: Folder for ``last.pt`` and ``best.pt``.
        log: Where the line per epoch goes, None for silence.

    Returns:
        The run; ``artefacts`` has the ``classifier``, the test ``logits`` and ``labels``, and the rows
        of the ``split``.
    """
    if config.members > 1:
        from coursework.experiments import sentiment_ensemble

        return sentiment_ensemble.train(config, preset=preset, seed=seed, resume=resume, log=log)
    started = time.perf_counter()
    corpus = prepare(config)
    tweets, split, vocabulary = corpus.tweets, corpus.split, corpus.vocabulary
    training, test = corpus.training, corpus.test
    model, fit, found = fit_network(
        config, corpus, seed=seed, resume=resume, run_dir=run_dir, log=log
    )
    logits = device_logits(model, test)
    result = scores(logits, test.labels)
    n_test = len(test)
    metrics = {
        "validation_accuracy": fit.best["validation_accuracy"],
        **{f"test_{name}": value for name, value in result.items()},
    }
    fresh = ~np.isin(text_keys(tweets, split.test), text_keys(tweets, split.train))
    if fresh.any():
        hits = (logits > 0) == (test.labels > 0.5)
        metrics["test_accuracy_new_texts"] = float(hits[fresh].mean())
    majority = float(training.labels.mean() >= 0.5)
    metrics["majority.test_accuracy"] = float((test.labels == majority).mean())
    if config.baselines:
        metrics |= linear_baselines(tweets, split)

    intervals = {}
    for name, value in metrics.items():
        if name.endswith("test_accuracy"):
            low, high = wilson(round(value * n_test), n_test)
            intervals[name] = (low, high, f"Wilson, {n_test:,} test tweets")
    notes: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_parameters": sum(p.numel() for p in model.embedding.parameters()),
        "vocabulary": len(vocabulary),
        "unknown_share": {
            name: float((part.tokens[:-1] == UNK_ID).mean())
            for name, part in (("train", training), ("test", test))
        },
        "sizes": dict(zip(("train", "validation", "test"), split.sizes, strict=True)),
        "new_texts_in_test": int(fresh.sum()),
        "confusion": confusion(logits, test.labels).tolist(),
        "best_epoch": fit.best_epoch,
        "precision": fit.precision,
        "tweets_per_second": fit.samples_per_second,
        "training_seconds": fit.seconds,
        "intervals": intervals,
    }
    if found is not None:
        notes["words_with_pretrained_vector"] = found
    return Run(
        experiment="sentiment",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=tweets.source,
        seconds=time.perf_counter() - started,
        curves={"bilstm": fit.history},
        notes=notes,
        artefacts={
            "classifier": Classifier(model, vocabulary, config, corpus.data),
            "logits": logits,
            "labels": test.labels,
            "split": split,
        },
    )


def device_logits(model: BiLSTMClassifier, data: Encoded) -> np.ndarray:
    """Logits in float32, on the GPU where there is one; the model ends on the CPU."""
    model.eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return logits_of(model, data)
    finally:
        model.to("cpu")


def load(checkpoint: Path | str) -> Classifier:
    """Read ``best.pt`` of a run, or the small file that :func:`export` wrote.

    Raises:
        TrainingError: If the file is missing, broken, or no checkpoint of this experiment.
    """
    path = Path(checkpoint)
    state = checkpoints.load(path)
    try:
        bundle = state["bundle"]
        record = dict(bundle["config"])
        config = Config(**(record | {"plan": engine.Plan(**record["plan"])}))
        words = bundle["vocabulary"]
        vocabulary = Vocabulary.from_list(
            words.split("\n") if isinstance(words, str) else words, SPECIALS
        )
        weights = {name: tensor.float() for name, tensor in state["model"].items()}
        # Of the shape of the table that was trained: with GloVe it may be narrower than the model.
        table = torch.zeros_like(weights["embedding.table.weight"])
        model = build(config, len(vocabulary), table)
        model.load_state_dict(weights)
        data = dict(bundle["data"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"{path} is not a checkpoint of the sentiment experiment "
            f"({type(error).__name__}: {str(error)[:80]}); train it again."
        ) from error
    model.eval()
    return Classifier(model, vocabulary, config, data)


def evaluate(checkpoint: Path | str, *, limit: int | None = None) -> dict[str, float]:
    """Test metrics of a checkpoint on the test tweets of its own split.

    Args:
        checkpoint: ``best.pt`` of a run, or an exported file.
        limit: Look at the first so many test tweets only (they are in random order).

    Raises:
        TrainingError: If the data in use are not those of the checkpoint: its test tweets could be
            training tweets then.
        ConfigError: If ``limit`` is not positive.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1.")
    classifier = load(checkpoint)
    tweets = sentiment140.load_tokens()
    wanted, here = classifier.data, tweets.source
    if wanted["standin"] != here.is_standin or wanted["tweets"] != len(tweets.labels):
        raise TrainingError(
            f"Checkpoint {checkpoint} was trained on {wanted['tweets']:,} tweets "
            f"({wanted['source']}), but {len(tweets.labels):,} ({here.label}) are in use; "
            "give it its data, or train again."
        )
    rows = split_rows(len(tweets.labels), classifier.config).test[:limit]
    test = encode(tweets, rows, classifier.vocabulary, classifier.config.max_length)
    result = scores(device_logits(classifier.model, test), test.labels)
    return {f"test_{name}": value for name, value in result.items()}


def predict(texts: str | Sequence[str], checkpoint: Path | str) -> np.ndarray:
    """Probability that each text is positive, float32 ``[n]``; see :meth:`Classifier.predict`.

    Raises:
        TrainingError: If the checkpoint cannot be used.
        ConfigError: If something else than text is given.
    """
    return load(checkpoint).predict(texts)


def export(checkpoint: Path | str, path: Path | str) -> Path:
    """Write a checkpoint without optimiser and in half precision, small enough to keep.

    Args:
        checkpoint: ``best.pt`` of a run.
        path: Where the small file goes.

    Returns:
        The path; :func:`load`, :func:`evaluate` and :func:`predict` take it as they take ``best.pt``.
    """
    load(checkpoint)  # refuses what is not a checkpoint of this experiment
    state = checkpoints.load(Path(checkpoint))
    weights = {name: tensor.half() for name, tensor in state["model"].items()}
    # One string is read a hundred times faster than a list of as many words; no word holds a line break.
    words = state["bundle"]["vocabulary"]
    bundle = state["bundle"] | {"vocabulary": words if isinstance(words, str) else "\n".join(words)}
    return checkpoints.save(
        {"identity": state["identity"], "model": weights, "bundle": bundle}, Path(path)
    )


# ------------------------------------------------------------------------------------------- baselines


def ngram_features(
    tweets: sentiment140.TokenisedTweets,
    rows: np.ndarray,
    orders: int = NGRAMS,
    bits: int = NGRAM_BITS,
) -> csr_matrix:
    """Which word n-grams occur in each tweet: binary, hashed into ``2^bits`` columns.

    The n-grams of all tweets are hashed at once from the flat array of tokens.

    Args:
        tweets: All tweets.
        rows: Which of them.
        orders: n-grams of 1 to ``orders`` words.
        bits: Logarithm of the number of columns.

    Returns:
        float32 matrix ``[n, 2^bits]`` of zeros and ones.
    """
    from scipy.sparse import csr_matrix

    tokens, lengths = take(tweets, rows)
    row = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    words = _mix(tokens.astype(np.uint64) + np.uint64(1))
    key = np.zeros(len(tokens), np.uint64)
    columns, owners = [], []
    for order in range(1, orders + 1):
        reach = len(tokens) - order + 1
        if reach <= 0:
            break
        # the key of n words from the key of the first n - 1 and the last word
        key = _mix(key[:reach] * np.uint64(0x9E3779B97F4A7C15) + words[order - 1 :])
        inside = row[:reach] == row[order - 1 :]  # an n-gram does not cross tweets
        columns.append((key[inside] & np.uint64(2**bits - 1)).astype(np.int32))
        owners.append(row[:reach][inside])
    column = np.concatenate(columns) if columns else np.empty(0, np.int32)
    owner = np.concatenate(owners) if owners else np.empty(0, np.int32)
    matrix = csr_matrix(
        (np.ones(len(column), np.float32), (owner, column)), shape=(len(rows), 2**bits)
    )
    matrix.data[:] = 1  # repeated n-grams have been added up
    return matrix


@dataclass(frozen=True)
class LinearModels:
    """The two linear models on n-grams, fitted; see :func:`fit_linear`.

    Attributes:
        tweets: All tweets.
        bits: Logarithm of the number of columns.
        bayes: The naive Bayes.
        logistic: The logistic regression on scaled features.
    """

    tweets: sentiment140.TokenisedTweets
    bits: int
    bayes: Any
    logistic: Any

    def scores(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Log odds of ``positive`` for some rows by each model, float64 ``[n]``."""
        features = ngram_features(self.tweets, rows, bits=self.bits)
        log_odds = np.diff(self.bayes.predict_joint_log_proba(features), axis=1)[:, 0]
        scaled = _scaled(features, self.bayes)
        return {"naive_bayes": log_odds, "linear": self.logistic.decision_function(scaled)}


def _scaled(features: csr_matrix, bayes: Any) -> csr_matrix:
    from scipy.sparse import diags
    from sklearn.preprocessing import normalize

    ratio = (bayes.feature_log_prob_[1] - bayes.feature_log_prob_[0]).astype(np.float32)
    return normalize(features @ diags(ratio), copy=False)


def fit_linear(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, bits: int = NGRAM_BITS
) -> LinearModels:
    r"""Two linear models on word 1- to 3-grams. Neither was tuned.

    ``naive_bayes`` is multinomial on binary features. ``linear`` is a logistic regression on features
    scaled by the naive Bayes log ratios :math:`r = \log\frac{p / \|p\|_1}{q / \|q\|_1}` (Wang &
    Manning 2012), fitted by averaged SGD.

    Args:
        tweets: All tweets.
        rows: The training rows.
        bits: Logarithm of the number of columns that n-grams are hashed into.
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.naive_bayes import MultinomialNB

    features = ngram_features(tweets, rows, bits=bits)
    labels = np.asarray(tweets.labels[rows])
    bayes = MultinomialNB(alpha=1.0).fit(features, labels)
    logistic = SGDClassifier(
        loss="log_loss", alpha=2 / len(rows), average=True, max_iter=5, tol=None, random_state=0
    ).fit(_scaled(features, bayes), labels)
    return LinearModels(tweets, bits, bayes, logistic)


def linear_baselines(
    tweets: sentiment140.TokenisedTweets, split: Split, bits: int = NGRAM_BITS
) -> dict[str, float]:
    """Test accuracy of the models of :func:`fit_linear`, trained on the same rows as the network."""
    found = fit_linear(tweets, split.train, bits).scores(split.test)
    positive = np.asarray(tweets.labels[split.test]) > 0
    return {
        f"{name}.test_accuracy": float(((score > 0) == positive).mean())
        for name, score in found.items()
    }
