"""Problem 1(c), going further: a small network learns from larger ones (Hinton, Vinyals & Dean 2015).

The teachers are networks of :mod:`.sentiment` and the Transformer of :mod:`.minilm`, trained on the same
training tweets. Their logits are added with weights that are fitted on validation tweets. The student, a
network of :mod:`.sentiment`, learns ``weight`` times the resulting probability plus the rest times the label.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.special import expit
from torch import nn

from coursework.config import Count, config
from coursework.data import cache
from coursework.errors import ConfigError
from coursework.experiments import base, minilm, ngrams, sentiment
from coursework.experiments.base import Job, Run, named
from coursework.experiments.sentiment import scores
from coursework.experiments.sentiment_batches import Encoded, Parts, final_logits

BLOCK = 40_000  # tweets whose logits are stored at a time: two minutes of the Transformer


@config
class Config:
    student: sentiment.Config = sentiment.PRESETS["pretrained"]
    network: sentiment.Config = sentiment.PRESETS["pretrained"]  # the smaller teachers
    members: Count = 3  # how many of them
    transformer: minilm.Config | None = minilm.PRESETS["full"]  # the larger teacher
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7  # of the teachers' probability, not the label

    def __post_init__(self) -> None:
        """All must read the same tweets, and the smaller teachers the same words."""
        for name in ("tweets", "train_tweets", "min_count", "max_vocabulary", "max_length"):
            values = [getattr(each, name) for each in (self.student, self.network)]
            if name == "tweets" and self.transformer is not None:
                values.append(self.transformer.tweets)
            if len(set(values)) > 1:
                what = f"{name} of student and teachers differs ({', '.join(map(str, values))})"
                raise ConfigError(f"{what}; set all alike.")


PRESETS = base.presets(Config(), "distillation")


@dataclass(frozen=True)
class Member:
    """A trained model, and the tweets as it reads them."""

    model: nn.Module
    parts: Parts
    reading: dict[str, Any]  # options of :func:`.outputs`

    def logits(self, part: str) -> np.ndarray:
        """Logit of each tweet of a part, ``[n]``, from the cache where it has been computed before."""
        data: Encoded = getattr(self.parts, part)
        digest = hashlib.sha256(data.tokens.tobytes() + data.lengths.tobytes())
        for value in self.model.state_dict().values():
            digest.update(value.numpy().tobytes())
        found = [np.empty(0, np.float32)]
        for start in range(0, len(data), BLOCK):
            rows = slice(start, start + BLOCK)
            block = Encoded(data.tokens, data.starts[rows], data.lengths[rows], data.labels[rows])
            key = cache.key_of(digest.hexdigest(), start, len(block), self.reading)

            def build(block: Encoded = block) -> cache.Arrays:
                return {"logits": final_logits(self.model, block, **self.reading)}

            found.append(cache.arrays("sentiment140-logits", key, build)["logits"])
        return np.concatenate(found)


def teachers(job: Job, corpus: sentiment.Corpus) -> list[Member]:
    """The trained teachers; those of earlier runs are not trained again."""
    config, found = job.config, []
    for member in job.members("sentiment", config.network, config.members):
        job.say(f"teacher: network with seed {member.seed}")
        found.append(Member(sentiment.fit_network(member, corpus)[0], corpus, {}))
    if (large := config.transformer) is not None:
        job.say("teacher: MiniLM")
        (member,) = job.members("minilm", large, 1)
        model, _ = minilm.fine_tune(member, minilm.prepare(large))
        same = dataclasses.replace(large, train_tweets=config.student.train_tweets)
        found.append(Member(model, minilm.prepare(same), minilm.reading(large)))
    return found


def mixed(members: list[Member], part: str) -> tuple[np.ndarray, list[float]]:
    """Logits ``[n]`` of a part, added with the weights that fit the validation tweets best."""
    some = min(len(member.parts.validation) for member in members)
    fitted = np.stack([member.logits("validation")[:some] for member in members], axis=1)
    weights = ngrams.mix(fitted, members[0].parts.validation.labels[:some])
    return np.stack([member.logits(part) for member in members], axis=1) @ weights, weights.tolist()


def train(job: Job) -> Run:
    """Teach the student, then look at the test tweets once: with it, and with it and its teachers."""
    config = job.config
    corpus = sentiment.prepare(config.student)
    known = teachers(job, corpus)
    taught, teacher_weights = mixed(known, "training")
    targets = config.weight * expit(taught) + (1 - config.weight) * corpus.training.labels
    training = dataclasses.replace(corpus.training, labels=targets.astype(np.float32))
    alone = job.part("student", experiment="sentiment", config=config.student)
    taught_corpus = dataclasses.replace(corpus, training=training)
    student, fit, _ = sentiment.fit_network(alone, taught_corpus)

    own = Member(student, corpus, {})
    logits, (best, weights) = own.logits("test"), mixed([*known, own], "test")
    metrics = {"validation_accuracy": fit.best["validation_accuracy"]}
    for prefix, odds in (("test_", logits), ("best.test_", best)):
        metrics |= named(prefix, scores(odds, corpus.test.labels))
    notes = {
        "teacher_weights": teacher_weights,
        "weights": weights,  # of the teachers and the student
        "parameters": base.parameters(student),
        "best_epoch": fit.best_epoch,
        "training_seconds": fit.seconds,
    }
    run = sentiment.run_of(job, corpus, metrics, logits, {"student": fit}, notes)
    made = student, corpus.vocabulary, config.student, corpus.data
    run.artefacts["classifier"] = sentiment.Classifier(*made)
    return run


evaluate = sentiment.evaluate  # of the student's best.pt
