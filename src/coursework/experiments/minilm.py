"""Problem 1, beyond the assignment: MiniLM in our encoder, fine-tuned on the tweets of :mod:`.sentiment`.

In the preset ``taught`` the BiLSTM that the repository keeps is its teacher; in ``again`` so is the network
of ``taught`` (born-again networks, Furlanello et al. 2018), and ``refit`` repeats ``again`` with more tweets
and passes, and averages its weights after two and after four of them.
``frozen`` fits a logistic regression on the encoder's states, and one on the scores of VADER, a lexicon
(Hutto & Gilbert 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.special import expit
from torch import Tensor, nn

from coursework import settings
from coursework.config import Count, Share, config
from coursework.data import cache, minilm, sentiment140
from coursework.data.splits import Split
from coursework.errors import ConfigError
from coursework.experiments import sentiment
from coursework.experiments.base import Job, Run, named, parameters, presets, restore
from coursework.experiments.sentiment import Some, final_logits, scores
from coursework.experiments.sentiment_batches import Encoded, Member, Parts, mixed, outputs
from coursework.models.bert import Bert, BertClassifier
from coursework.training import checkpoints, engine, seeds
from coursework.training.devices import choose_precision

_VERSION = 1  # raise it when the texts are read or cut in another way
PLAN = replace(sentiment.PLAN, epochs=1, learning_rate=2e-4, schedule="linear", warmup=0.06)


@config
class Config:
    tweets: Annotated[int, Field(ge=100)] | None = None  # a random subset of each part; None: all
    train_tweets: Some = None  # the first of the training part
    validation_tweets: Some = None  # the first of the validation part
    max_length: Annotated[int, Field(ge=3, le=512)] = 64  # WordPieces, [CLS] and [SEP] among them
    dropout: Share = 0.1
    batch_size: Count = 64
    frozen: bool = False  # the output layer alone, by logistic regression: no plan, no dropout
    taught: Share = 0.0  # share of a target that is the probability of the teachers, not the label
    generation: Count = 1  # from 2 the network of the generation before is a teacher, too
    refit: bool = False  # train on the validation tweets after the first validation_tweets, too
    plan: engine.Plan = PLAN

    def __post_init__(self) -> None:
        if self.frozen and self.taught:
            raise ConfigError("A frozen encoder learns from labels alone; set taught=0.")
        if self.generation > 1 and not self.taught:
            raise ConfigError("A later generation learns from the one before; set taught=0.7.")
        if self.refit and self.validation_tweets is None:
            raise ConfigError("A refit has to keep validation tweets; set validation_tweets=60000.")


PRESETS = presets(Config(), "minilm")


@dataclass(frozen=True, kw_only=True)
class Corpus(Parts):
    pretrained: minilm.MiniLM

    @property
    def data(self) -> dict[str, Any]:
        """Record of the source, with the number of tweets and the checksum of the weights."""
        return super().data | {"minilm": self.pretrained.source.sha256}


def split_rows(n: int, config: Config) -> Split:
    """The split of :mod:`.sentiment`, with as many validation tweets as the config says; in a refit the
    other validation tweets are training tweets."""
    same = sentiment.Config(tweets=config.tweets, train_tweets=config.train_tweets)
    train, validation, test = sentiment.split_rows(n, same)
    most = config.validation_tweets
    if config.refit:
        if len(validation[most:]) == 0:
            raise ConfigError("No validation tweet is left for the refit; lower validation_tweets.")
        train = np.concatenate([train, validation[most:]])
    return Split(train, validation[:most], test)


def encode(
    pretrained: minilm.MiniLM, tweets: sentiment140.Sentiment140, rows: np.ndarray, most: int
) -> Encoded:
    """Some tweets as WordPieces, from the cache where they have been cut before."""

    def build() -> cache.Arrays:
        pieces, lengths = pretrained.encode(tweets.texts.take(rows).to_pylist(), most)
        return {"pieces": pieces, "lengths": lengths}

    key = cache.key_of(tweets.source.sha256, pretrained.source.sha256, most, rows, _VERSION)
    found = cache.arrays("minilm-pieces", key, build)
    return Encoded.of(found["pieces"], np.asarray(found["lengths"]), tweets.labels[rows])


def prepare(config: Config) -> Corpus:
    """Load the weights and the tweets, split them, and cut all parts into WordPieces."""
    pretrained = minilm.load()  # first: without it there is nothing to do
    tweets = sentiment140.load()
    split = split_rows(len(tweets.labels), config)
    parts = (encode(pretrained, tweets, rows, config.max_length) for rows in split)
    return Corpus(tweets, split, *parts, pretrained=pretrained)


def build(pretrained: minilm.MiniLM, dropout: float) -> BertClassifier:
    """The published encoder, and an untrained output layer; seed before."""
    c = pretrained.config
    encoder = Bert(
        c["vocab_size"], c["hidden_size"], c["num_attention_heads"], c["intermediate_size"],
        c["num_hidden_layers"], c["max_position_embeddings"], dropout, c["layer_norm_eps"],
    )  # fmt: skip
    encoder.load_published({k: torch.from_numpy(v) for k, v in pretrained.weights.items()})
    return BertClassifier(encoder, dropout)


def reading(config: Config) -> dict[str, Any]:
    """How :func:`.outputs` reads the tweets."""
    return {"size": 256, "precision": choose_precision(config.plan.precision)}


def kept_network(corpus: Corpus) -> Member:
    """The BiLSTM that the repository keeps, and the tweets of ``corpus`` as it reads them."""
    path, tweets = settings.checkpoints_dir() / "sentiment.pt", sentiment140.load_tokens()
    kept, split = sentiment.load(path), corpus.split
    sentiment.refuse_other_tweets(path, kept.data, tweets)
    words, most = kept.vocabulary, kept.config.max_length
    parts = (sentiment.encode(tweets, rows, words, most) for rows in split)
    return Member(kept.model, Parts(tweets, split, *parts), {})


def fine_tune(job: Job, corpus: Corpus) -> tuple[BertClassifier, engine.Fit, list[Member]]:
    """All weights, on the training tweets; and its teachers, which are trained if they are not yet."""
    config, read = job.config, reading(job.config)
    known = [kept_network(corpus)] if config.taught else []
    if before := config.generation - 1:
        same = replace(config, generation=before, refit=False, plan=config.plan.before_restart())
        (member,) = job.members("minilm", same, 1)
        earlier, *_ = fine_tune(member, prepare(member.config))  # a refit has other training tweets
        known.append(Member(earlier, corpus, read))
    if known:
        logits = mixed(known, "training")[0] if before else known[0].logits("training")
        corpus = replace(corpus, training=corpus.training.taught(logits, config.taught))
    seeds.seed_everything(job.seed)
    model = build(corpus.pretrained, config.dropout)

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        tokens, labels = batch  # [B, S], [B]
        logits = network(tokens).float()  # [B]
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum"), len(labels)

    fit = sentiment.fit_on_tweets(job, corpus, model, loss, {}, read, checkpoint_seconds=300.0)
    return model, fit, known


def logistic(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights ``[d]`` and bias of a logistic regression on standardised features ``[n, d]``."""
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    fitted = LogisticRegression(max_iter=300).fit((features - mean) / std, labels > 0.5)
    weights = fitted.coef_[0] / std
    return weights, float(fitted.intercept_[0] - mean @ weights)


def fit_output(job: Job, corpus: Corpus) -> BertClassifier:
    """The encoder as it is published, its output layer fitted on the training tweets."""
    model = build(corpus.pretrained, 0.0).eval()
    states = outputs(model.features, corpus.training, **reading(job.config))  # [n, 2d]
    weights, bias = logistic(states, corpus.training.labels)
    with torch.no_grad():
        model.output.weight[0] = torch.from_numpy(weights)
        model.output.bias[0] = bias
    return model


def vader(texts: Sequence[str]) -> np.ndarray:
    """VADER's score of each text, and whether it is 0 (no known word, or words that cancel): ``[n, 2]``."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ConfigError("VADER is not installed; run `pip install vaderSentiment`.") from error
    score = SentimentIntensityAnalyzer().polarity_scores
    found = np.array([score(text)["compound"] for text in texts], np.float32)
    return np.stack([found, found == 0], axis=1)


def lexicon(corpus: Corpus) -> dict[str, float]:
    """Accuracy on each part of a logistic regression, fitted to VADER's scores of the training tweets."""
    split, labels = corpus.split, corpus.tweets.labels
    found = {}
    for part, rows in zip(("train", "validation", "test"), split, strict=True):
        features = vader(corpus.tweets.texts.take(rows).to_pylist())  # [n, 2]
        if part == "train":
            weights, bias = logistic(features, labels[rows])
        result = scores(features @ weights + bias, labels[rows])
        found[f"vader.{part}_accuracy"] = result["accuracy"]
    return found


def train(job: Job) -> Run:
    """Fine-tune, or fit the output layer alone, then look at the test tweets once."""
    config, corpus = job.config, prepare(job.config)
    notes: dict[str, Any] = {"minilm": corpus.pretrained.source.as_record()}
    fits, known = dict[str, engine.Fit](), list[Member]()
    if config.frozen:
        metrics, model = lexicon(corpus), fit_output(job, corpus)
        logits = final_logits(model, corpus.validation, **reading(config))
        metrics |= named("validation_", scores(logits, corpus.validation.labels))
    else:
        model, fit, known = fine_tune(job, corpus)
        fits, metrics = {"minilm": fit}, dict(fit.best)
    own = Member(model, corpus, reading(config))
    logits = own.logits("test")
    metrics |= named("test_", scores(logits, corpus.test.labels))
    if known:
        best, notes["weights"] = mixed([own, *known], "test")
        metrics |= named("best.test_", scores(best, corpus.test.labels))
    notes["parameters"] = parameters(model)
    return sentiment.run_of(job, corpus, metrics, logits, fits, notes)


@dataclass(frozen=True)
class Classifier:
    """A fine-tuned model in eval mode, with what it takes to use it."""

    model: BertClassifier
    pretrained: minilm.MiniLM
    config: Config
    data: dict[str, Any]  # record of what it was trained on

    def predict(self, texts: str | Sequence[str]) -> np.ndarray:
        """Probability that each text is positive, float32 ``[n]``."""
        texts = [texts] if isinstance(texts, str) else texts
        pieces, lengths = self.pretrained.encode(texts, self.config.max_length)
        data = Encoded.of(pieces, lengths, np.zeros(len(lengths)))
        return cast(np.ndarray, expit(final_logits(self.model, data, **reading(self.config))))


def load(checkpoint: Path | str) -> Classifier:
    """A fine-tuned model from ``best.pt`` or the smaller file made from it."""
    config, bundle, weights = restore(checkpoint, "minilm", Config)
    pretrained = minilm.load()
    with checkpoints.fitting(checkpoint, "minilm"):
        model = build(pretrained, config.dropout)
        model.load_state_dict(weights)
        return Classifier(model.eval(), pretrained, config, dict(bundle["data"]))


def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test metrics of a checkpoint on the test tweets of its own split."""
    classifier, tweets = load(checkpoint), sentiment140.load()
    sentiment.refuse_other_tweets(checkpoint, classifier.data, tweets)
    split = split_rows(len(tweets.labels), classifier.config)
    test = encode(classifier.pretrained, tweets, split.test, classifier.config.max_length)
    parts = Parts(tweets, split, test, test, test)  # read in blocks, as in the training
    logits = Member(classifier.model, parts, reading(classifier.config)).logits("test")
    return named("test_", scores(logits, test.labels))
