"""What helps on tweets? One change at a time, same seed, read on validation; no test tweet is looked at."""

import dataclasses
from functools import partial

from coursework.config import config
from coursework.data import sentiment140
from coursework.experiments import base, sentiment, study
from coursework.experiments.base import Job, Run, parameters

TABLES = base.TABLES["sentiment_study"]
VARIANTS, LABELS = base.changes(TABLES["variants"]), base.changes(TABLES["labels"])
BASE, SMALL = base.presets(sentiment.PRESETS["full"], "sentiment_study", "bases").values()


def _base_of(variant: str) -> str:
    """What it is compared with: "A and B" with "A", a language model with the plain network."""
    if variant not in LABELS:
        return "base"
    kept, _, change = variant.partition(" and ")
    return kept if change else variant.replace("language model", "plain")


@config
class Config:
    base: sentiment.Config = BASE
    variants: tuple[str, ...] = tuple(VARIANTS)
    validation_tweets: sentiment.Some = None  # on which the variants are compared; None: all

    def __post_init__(self) -> None:
        study.check(self.variants, VARIANTS | LABELS, _base_of)


PRESETS = {
    "full": Config(),
    "labels": Config(sentiment.PRESETS["pretrained"], tuple(LABELS)[:-1], validation_tweets=60_000),
    "all": Config(sentiment.PRESETS["pretrained"], tuple(LABELS)[-1:], validation_tweets=60_000),
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
