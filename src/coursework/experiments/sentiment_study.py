"""What helps on tweets? One change at a time on a part of the training tweets, read on validation.

Every variant has the same seed and validation tweets, and its own vocabulary and word vectors; the test
tweets are not looked at. ``size-...`` variants change the number of training tweets: the learning curve.
"""

import dataclasses
from functools import partial

from coursework.config import Count, config, override
from coursework.data import sentiment140
from coursework.experiments import sentiment, study
from coursework.experiments.base import Job, Run, parameters

VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "random vectors": ("embeddings=random",),
    "GloVe vectors": ("embeddings=glove",),
    "no label smoothing": ("label_smoothing=0",),
    "no dropout": ("dropout=0", "embedding_dropout=0"),
    "word dropout 0.1": ("word_dropout=0.1",),
    "two layers": ("layers=2",),
    "hidden size 48": ("hidden_size=48",),
    "words seen 10 times": ("min_count=10",),
    "size-15000": ("train_tweets=15000",),
    "size-30000": ("train_tweets=30000",),
    "size-60000": ("train_tweets=60000",),
}
"""Name -> what it changes of the base, as ``key=value``."""
_PLAIN = ("language_model=none", "embedding_rate=1", "plan.learning_rate=3e-3")
_LABELS = {
    15_000: ("labelled=15000", "batch_size=64", "plan.epochs=6"),
    60_000: ("labelled=60000", "batch_size=128", "plan.epochs=4"),
    240_000: ("labelled=240000", "batch_size=256", "plan.epochs=3"),
}
LABELS: dict[str, tuple[str, ...]] = {
    f"{n} labels, {what}": (*changes, *more)
    for n, changes in _LABELS.items()
    for what, more in (("plain", _PLAIN), ("language model", ()))
}
"""The learning curve over labels, with a language model of all training tweets and without one."""
BASE = override(
    sentiment.PRESETS["full"],
    ["tweets=300000", "train_tweets=120000", "hidden_size=96", "baselines=false", "plan.epochs=2"],
)
SMALL = override(
    BASE,
    [
        "tweets=20000", "train_tweets=6000", "hidden_size=32", "embedding_dim=50", "batch_size=64",
        "plan.epochs=1",
    ],
)  # fmt: skip


def _base_of(variant: str) -> str:
    return variant.replace("language model", "plain") if variant in LABELS else "base"


@config
class Config:
    """The base, and which variants of it are trained."""

    base: sentiment.Config = BASE
    variants: tuple[str, ...] = tuple(VARIANTS)
    validation_tweets: Count | None = None  # on which the variants are compared; None: all

    def __post_init__(self) -> None:
        study.check(self.variants, VARIANTS | LABELS, _base_of)


PRESETS = {
    "full": Config(),
    "labels": Config(sentiment.PRESETS["pretrained"], tuple(LABELS), validation_tweets=60_000),
    "quick": Config(SMALL, ("base", "random vectors", "no label smoothing")),
}


def fit(name: str, job: Job, validation_tweets: int | None = None) -> study.Trained:
    """One variant, with its own vocabulary, on the validation tweets."""
    corpus = sentiment.prepare(job.config)
    corpus = dataclasses.replace(corpus, validation=corpus.validation.first(validation_tweets))
    job = dataclasses.replace(job, experiment="sentiment")  # its checkpoint is one of sentiment
    model, record, _ = sentiment.fit_network(job, corpus)
    logits = sentiment.final_logits(model, corpus.validation)
    hits = (logits > 0) == (corpus.validation.labels > 0.5)
    sizes = {"train": len(corpus.training), "validation": len(corpus.validation)}
    row = sizes | {"parameters": parameters(model), "seconds": record.seconds}
    return study.Trained({"validation_accuracy": float(hits.mean())}, row, hits, record.history)


def train(job: Job) -> Run:
    """Train every variant once, with the same seed."""
    variants = {name: (VARIANTS | LABELS)[name] for name in job.config.variants}
    some = partial(fit, validation_tweets=job.config.validation_tweets)
    found = study.run(job, job.config.base, variants, some, _base_of)
    return job.run(found.pop("metrics"), sentiment140.load_tokens().source, **found)


evaluate = sentiment.evaluate  # of one variant's best.pt, on the test tweets
