"""Problem 1(b) to (d): is a tweet positive or negative? A bidirectional LSTM on Sentiment140.

All 1.6 million tweets come tokenised as one flat array; a seeded 60/20/20 split picks rows; the vocabulary is
counted on training rows; batches are rows of *exactly* equal length.
Letters: ``B`` batch, ``T`` tokens of a tweet, ``V`` vocabulary.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.special import expit
from torch import Tensor, nn

from coursework.config import Count, Positive, Share, config
from coursework.data import cache, embeddings, sentiment140
from coursework.data.splits import Split
from coursework.data.text import PAD_ID, UNK_ID, Vocabulary
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import ngrams, sentiment_lm, sentiment_signs, word2vec
from coursework.experiments.base import Job, Run, named, parameters, presets, restore
from coursework.experiments.sentiment_batches import (
    Encoded,
    Parts,
    equal_length_batches,
    final_logits,
    outputs,
)
from coursework.models.bilstm import BiLSTMClassifier
from coursework.stats import wilson
from coursework.training import checkpoints, engine, seeds
from coursework.training.engine import Plan

Some = Annotated[int, Field(ge=60)] | None
BAR = 0.85  # the accuracy that the assignment asks to exceed
SPLIT_SEED = 0  # the same split and word vectors for all training seeds
PLAN = Plan(
    epochs=3, learning_rate=3e-3, weight_decay=0.01, schedule="one-cycle", warmup=0.1, clip_norm=1.0,
    monitor="validation_accuracy", mode="max",
)  # fmt: skip


@config
class Config:
    tweets: Annotated[int, Field(ge=100)] | None = None  # a random subset of each part; None: all
    train_tweets: Some = None  # the first of the training part
    min_count: Count = 2  # rarer words of the training tweets become <unk>
    max_vocabulary: Annotated[int, Field(ge=3)] = 50_000  # with <pad> and <unk>
    max_length: Count = 36  # tokens after which a tweet is cut (99 % have at most 33)
    embeddings: Literal["random", "glove", "word2vec"] = "word2vec"  # what word vectors start from
    embedding_dim: Count = 100  # GloVe's 50 are projected to it
    hidden_size: Count = 160  # of each direction
    layers: Count = 1
    dropout: Share = 0.3  # before the output layer and between layers
    embedding_dropout: Share = 0.2
    word_dropout: Share = 0.0  # share of training words replaced by <unk>
    label_smoothing: Share = 0.05  # labels come from emoticons and are noisy
    labelled: Some = None  # number of tweets whose labels are read; None: all
    language_model: sentiment_lm.Config | None = None  # what the network learns first
    embedding_rate: Positive = 1.0  # learning rate of the word vectors, as a share of the others'
    batch_size: Count = 512
    baselines: bool = True  # also fit the linear baselines
    plan: Plan = PLAN

    def __post_init__(self) -> None:
        if self.language_model is not None and self.layers > 1:
            what = "In a second layer a language model has read the word that it predicts"
            raise ConfigError(f"{what}; set layers=1 or language_model=none.")


PRESETS = presets(Config(language_model=sentiment_lm.Config()), "sentiment")


@dataclass(frozen=True, kw_only=True)
class Corpus(Parts):
    vocabulary: Vocabulary

    def key(self, config: Config) -> str:
        """Name in the cache for what is learned from the training texts without their labels."""
        read = self.tweets.source.sha256, SPLIT_SEED, len(self.training), config.max_length
        return cache.key_of(*read, *self.vocabulary.tokens)


def split_rows(n: int, config: Config) -> Split:
    """The 60/20/20 split of ``n`` tweets, or the beginning of each of its (shuffled) parts."""
    train, validation, test = sentiment140.split(n, seed=SPLIT_SEED)
    if config.tweets is not None and config.tweets < n:
        held_out = round(config.tweets * 0.2)
        train, validation = train[: config.tweets - 2 * held_out], validation[:held_out]
        test = test[:held_out]
    return Split(train[: config.train_tweets], validation, test)


def count_vocabulary(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, min_count: int, max_size: int
) -> Vocabulary:
    """The vocabulary of the training rows, and of nothing else."""
    counts = np.bincount(ngrams.take(tweets, rows)[0], minlength=len(tweets.types))
    kept = {tweets.types[i]: int(counts[i]) for i in np.flatnonzero(counts >= min_count)}
    return Vocabulary.from_counts(kept, max_size=max_size)


def encode(
    tweets: sentiment140.TokenisedTweets, rows: np.ndarray, vocabulary: Vocabulary, most: int
) -> Encoded:
    """Some tweets as ids, cut after ``most`` tokens."""
    ids = np.array([vocabulary.index.get(token, UNK_ID) for token in tweets.types], np.int32)
    tokens, lengths = ngrams.take(tweets, rows, most)
    return Encoded.of(ids[tokens], lengths, tweets.labels[rows])


def prepare(config: Config) -> Corpus:
    """Load and split the tweets, count the vocabulary on the training part, encode all parts."""
    tweets = sentiment140.load_tokens()
    split = split_rows(len(tweets.labels), config)
    vocabulary = count_vocabulary(tweets, split.train, config.min_count, config.max_vocabulary)
    parts = (encode(tweets, rows, vocabulary, config.max_length) for rows in split)
    return Corpus(tweets, split, *parts, vocabulary=vocabulary)


def build(config: Config, words: int, vectors: Tensor | None = None) -> BiLSTMClassifier:
    """The untrained network with our LSTM of 1(a); seed before."""
    return BiLSTMClassifier(
        words, config.embedding_dim, config.hidden_size, config.layers, dropout=config.dropout,
        padding_idx=PAD_ID, cell="own", embedding_dropout=config.embedding_dropout,
        pretrained=vectors,
    )  # fmt: skip


def word_vectors(config: Config, corpus: Corpus, seed: int) -> tuple[Tensor | None, float | None]:
    """Vectors of the vocabulary ``[V, w]``, noise for words without one, and the share with one."""
    vocabulary, training = corpus.vocabulary, corpus.training
    if config.embeddings == "random":
        return None, None
    if config.embeddings == "glove":
        glove = embeddings.glove(vocabulary.to_list())
        matrix, found, std = np.array(glove.vectors, np.float32), glove.found, None
    else:
        seed, std = SPLIT_SEED, 0.3
        key, width = corpus.key(config), config.embedding_dim
        matrix = word2vec.train(training, vocabulary, key=key, dim=width, seed=seed)
        found = np.abs(matrix).sum(axis=1) > 0
    scale = float(matrix[found].std()) if found.any() else 1.0
    std = scale if std is None else std
    noise = seeds.numpy_generator(seed, "glove").normal(0, std, matrix.shape)  # word2vec's, too
    filled = np.where(found[:, None], matrix * (std / scale), noise)
    return torch.from_numpy(filled.astype(np.float32)), float(np.mean(found))


def start(config: Config, corpus: Corpus, seed: int) -> tuple[BiLSTMClassifier, float | None]:
    """A network to train, with its word vectors, and the share of words that have one."""
    seeds.seed_everything(seed)
    vectors, found = word_vectors(config, corpus, seed)
    return build(config, len(corpus.vocabulary), vectors), found


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts ``[2, 2]``: rows are the labels (negative, positive), columns the predictions."""
    cell = 2 * (np.asarray(labels) > 0.5) + (np.asarray(logits) > 0)
    return np.bincount(cell, minlength=4).reshape(2, 2)


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, F1 (the mean of both classes) and cross-entropy."""
    table = confusion(logits, labels)
    hits, sums = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    # log(1 + exp(-z)) for positive tweets, log(1 + exp(z)) for negative ones
    losses = np.logaddexp(0, np.where(labels > 0.5, -logits, logits).astype(np.float64))
    return {
        "accuracy": float(hits.sum() / max(table.sum(), 1)),
        "f1": float((2 * hits / np.maximum(sums, 1)).mean()),
        "loss": float(losses.mean()),
    }


def fit_on_tweets(
    job: Job, corpus: Parts, model: nn.Module, loss: engine.Loss, bundle: Mapping[str, Any],
    reading: Mapping[str, Any], **options: Any,
) -> engine.Fit:  # fmt: skip
    """Train a network in batches of equal length; the best epoch on the validation tweets is kept."""
    config, training, validation = job.config, corpus.training, corpus.validation

    def batches(epoch: int) -> engine.Lazy:
        rng = seeds.numpy_generator(job.seed, "batches", epoch)
        rows = equal_length_batches(training.lengths, config.batch_size, rng)
        return engine.Lazy(rows, training.batch)

    def validate(network: nn.Module) -> dict[str, float]:
        device = engine.device_of(network)
        result = scores(outputs(network, validation, device, **reading), validation.labels)
        return {f"validation_{name}": result[name] for name in ("loss", "accuracy")}

    options |= job.loop(corpus.tweets.source, data=corpus.data, **bundle)
    options["identity"]["targets"] = cache.key_of(training.labels)  # what a teacher says, too
    return engine.fit(model, config.plan, batches=batches, loss=loss, validate=validate, **options)


def fit_network(job: Job, corpus: Corpus) -> tuple[BiLSTMClassifier, engine.Fit, dict[str, Any]]:
    """One network, and notes on where its weights started from."""
    config, training = job.config, corpus.training
    model, found = start(config, corpus, job.seed)
    notes: dict[str, Any] = {"words_with_pretrained_vector": found}
    if (task := config.language_model) is not None:
        learner, _ = start(config, corpus, SPLIT_SEED)  # the same for all training seeds
        texts = training, corpus.validation, corpus.key(config)
        learned, notes["language_model"] = sentiment_lm.pretrain(learner, task, *texts, job.log)
        model.load_state_dict(learned, strict=False)
        seeds.seed_everything(job.seed)  # wherever the weights came from

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        tokens, labels = batch  # [B, T], [B]
        if config.word_dropout and network.training:
            drop = torch.rand(tokens.shape, device=tokens.device) < config.word_dropout  # [B, T]
            tokens = tokens.masked_fill(drop & (tokens != PAD_ID), UNK_ID)
        targets = labels * (1 - config.label_smoothing) + config.label_smoothing / 2  # [B]
        logits = network(tokens).float()  # [B]
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum"), len(labels)

    # word vectors last: in this order the norm of the gradient was summed in the recorded runs
    rest = [p for name, p in model.named_parameters() if not name.startswith("embedding.")]
    vectors, rate = list(model.embedding.parameters()), config.plan.learning_rate
    groups = [{"params": rest}, {"params": vectors, "lr": rate * config.embedding_rate}]
    labelled = dataclasses.replace(corpus, training=training.first(config.labelled))
    words = {"vocabulary": "\n".join(corpus.vocabulary.to_list())}
    return model, fit_on_tweets(job, labelled, model, loss, words, {}, parameters=groups), notes


def train(job: Job) -> Run:
    """Train the network, then look at the test tweets once."""
    config, corpus = job.config, prepare(job.config)
    test = corpus.test
    model, fit, start_notes = fit_network(job, corpus)
    logits = final_logits(model, test)
    metrics = {"validation_accuracy": fit.best["validation_accuracy"]}
    metrics |= named("test_", scores(logits, test.labels))
    majority = corpus.training.first(config.labelled).labels.mean() >= 0.5
    metrics["majority.test_accuracy"] = float((test.labels == majority).mean())
    if config.baselines:
        for name, odds in linear_odds(corpus, config.labelled).items():
            metrics[f"{name}.test_accuracy"] = scores(odds, test.labels)["accuracy"]
    notes = {"parameters": parameters(model), "vocabulary": len(corpus.vocabulary), **start_notes}
    run = run_of(job, corpus, metrics, logits, {"bilstm": fit}, notes)
    run.artefacts["classifier"] = Classifier(model, corpus.vocabulary, config, corpus.data)
    return run


def linear_odds(corpus: Corpus, labelled: int | None = None) -> dict[str, np.ndarray]:
    """Log odds of the test tweets by the linear models, fitted on the training rows."""
    tweets, rows = corpus.tweets, corpus.split.train[:labelled]
    linear = ngrams.Linear(ngrams.features(tweets, rows), np.asarray(tweets.labels[rows]))
    return linear.scores(ngrams.features(tweets, corpus.split.test))


def run_of(
    job: Job, corpus: Parts, metrics: dict[str, float], logits: np.ndarray,
    fits: dict[str, engine.Fit], notes: dict[str, Any],
) -> Run:  # fmt: skip
    """The record, with what every run on tweets has: sizes, confusion, intervals, curves."""
    labels, n = corpus.test.labels, len(corpus.test)
    for fit in fits.values():  # one, or none
        notes |= {"best_epoch": fit.best_epoch, "precision": fit.precision}
        notes["training_seconds"] = fit.seconds
    notes["sizes"] = dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True))
    notes["confusion"] = confusion(logits, labels).tolist()
    notes["intervals"] = {
        name: (*wilson(round(value * n), n), f"Wilson, {n:,} test tweets")
        for name, value in metrics.items()
        if name.endswith("test_accuracy")
    }
    curves = {name: fit.history for name, fit in fits.items()}
    artefacts = {"logits": logits, "labels": labels, "split": corpus.split}
    return job.run(metrics, corpus.tweets.source, curves=curves, notes=notes, artefacts=artefacts)


@dataclass(frozen=True)
class Classifier:
    """A trained network in eval mode, with what it takes to use it."""

    model: BiLSTMClassifier
    vocabulary: Vocabulary
    config: Config
    data: dict[str, Any]  # record of what it was trained on, with the number of tweets

    def read(self, text: str) -> sentiment_signs.Reading:
        """The words of a text as the network reads them, and its signs."""
        if not isinstance(text, str):
            raise ConfigError(f"A tweet is a text, not of type {type(text).__name__}.")
        return sentiment_signs.read(text, self.vocabulary)

    def predict(self, texts: str | Sequence[str]) -> np.ndarray:
        """Probability that each text is positive, float32 ``[n]``; 0.5 where nothing is known of it."""
        return np.array([p for p, _ in self.judge(texts)], np.float32)

    def judge(self, texts: str | Sequence[str]) -> list[tuple[float, str]]:
        """The same with a word: positive, negative, undecided or no known word."""
        readings = [self.read(text) for text in ([texts] if isinstance(texts, str) else texts)]
        rows = [self.vocabulary.encode(reading.tokens) for reading in readings]
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.array([token for row in rows for token in row], np.int32)
        words = outputs(self.model, Encoded.of(ids, lengths, np.zeros(len(rows))))
        known = np.array([reading.known for reading in readings], bool)
        odds = np.where(known, words, 0) + np.array([r.weight for r in readings], np.float32)
        return [
            (p, sentiment_signs.verdict(p, reading.known or bool(reading.signs)))
            for p, reading in zip(expit(odds).tolist(), readings, strict=True)
        ]


def load(checkpoint: Path | str) -> Classifier:
    """A trained network from ``best.pt`` or the small file made from it."""
    config, bundle, weights = restore(checkpoint, "sentiment", Config)
    with checkpoints.fitting(checkpoint, "sentiment"):
        vocabulary = Vocabulary.from_list(bundle["vocabulary"].split("\n"))
        # Of the shape of the table that was trained: with GloVe it may be narrower than the model.
        model = build(config, len(vocabulary), torch.zeros_like(weights["embedding.table.weight"]))
        model.load_state_dict(weights)
        return Classifier(model.eval(), vocabulary, config, dict(bundle["data"]))


def refuse_other_tweets(checkpoint: Path | str, trained_on: dict[str, Any], tweets: Any) -> None:
    """Raise TrainingError if a test tweet could have been one for the training of this checkpoint."""
    source, n = tweets.source, len(tweets.labels)
    if trained_on["standin"] != source.is_standin or trained_on["tweets"] != n:
        before = f"{trained_on['tweets']:,} tweets ({trained_on['source']})"
        now = f"{n:,} ({source.label}) are in use; give it its data, or train again"
        raise TrainingError(f"Checkpoint {checkpoint} was trained on {before}, but {now}.")


def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics of a checkpoint on the test tweets of its own split."""
    classifier, tweets = load(checkpoint), sentiment140.load_tokens()
    refuse_other_tweets(checkpoint, classifier.data, tweets)
    rows = split_rows(len(tweets.labels), classifier.config).test
    test = encode(tweets, rows, classifier.vocabulary, classifier.config.max_length)
    return named("test_", scores(final_logits(classifier.model, test), test.labels))
