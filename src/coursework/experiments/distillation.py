"""Problem 1(c), going further: a small network learns from larger ones (Hinton, Vinyals & Dean 2015).

The teachers are networks of :mod:`.sentiment` and the Transformer of :mod:`.minilm`, trained on the same
training tweets. Their logits are added with weights that are fitted on validation tweets. The student, a
network of :mod:`.sentiment`, learns ``weight`` times the resulting probability plus the rest times the label.
"""

import dataclasses
from typing import Annotated

from pydantic import Field

from coursework.config import Count, config
from coursework.errors import ConfigError
from coursework.experiments import base, minilm, sentiment
from coursework.experiments.base import Job, Run, named
from coursework.experiments.sentiment import scores
from coursework.experiments.sentiment_batches import Member, mixed


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
        if (large := self.transformer) is not None and (large.frozen or large.refit):
            what = "A teacher is fine-tuned, on training tweets alone"
            raise ConfigError(f"{what}; set transformer.frozen=false and transformer.refit=false.")


PRESETS = base.presets(Config(), "distillation")


def teachers(job: Job, corpus: sentiment.Corpus) -> list[Member]:
    """The trained teachers; those of earlier runs are not trained again."""
    config, found = job.config, []
    for member in job.members("sentiment", config.network, config.members):
        job.say(f"teacher: network with seed {member.seed}")
        found.append(Member(sentiment.fit_network(member, corpus)[0], corpus, {}))
    if (large := config.transformer) is not None:
        job.say("teacher: MiniLM")
        (member,) = job.members("minilm", large, 1)
        model = minilm.fine_tune(member, minilm.prepare(large))[0]
        same = dataclasses.replace(large, train_tweets=config.student.train_tweets)
        found.append(Member(model, minilm.prepare(same), minilm.reading(large)))
    return found


def train(job: Job) -> Run:
    """Teach the student, then look at the test tweets once: with it, and with it and its teachers."""
    config = job.config
    corpus = sentiment.prepare(config.student)
    known = teachers(job, corpus)
    taught, teacher_weights = mixed(known, "training")
    training = corpus.training.taught(taught, config.weight)
    alone = job.part("student", experiment="sentiment", config=config.student)
    student, fit, _ = sentiment.fit_network(alone, dataclasses.replace(corpus, training=training))

    own = Member(student, corpus, {})
    logits, (best, weights) = own.logits("test"), mixed([*known, own], "test")
    metrics = {"validation_accuracy": fit.best["validation_accuracy"]}
    for prefix, odds in (("test_", logits), ("best.test_", best)):
        metrics |= named(prefix, scores(odds, corpus.test.labels))
    notes = {"teacher_weights": teacher_weights, "parameters": base.parameters(student)}
    notes["weights"] = weights  # of the teachers and the student
    run = sentiment.run_of(job, corpus, metrics, logits, {"student": fit}, notes)
    made = student, corpus.vocabulary, config.student, corpus.data
    run.artefacts["classifier"] = sentiment.Classifier(*made)
    return run


evaluate = sentiment.evaluate  # of the student's best.pt
