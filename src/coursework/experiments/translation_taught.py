"""Problem 2(e), going further: a Transformer learns from an ensemble of its kind (Kim & Rush 2016).

Word-level distillation (https://arxiv.org/abs/1606.07947, equation 4). The teachers read a training pair and
give each next word a probability; the student learns their mean beside the true words. It begins with the
weights of the first teacher.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coursework.config import Count, Share, config
from coursework.data import cache
from coursework.data.text import PAD_ID
from coursework.errors import ConfigError
from coursework.experiments import base, translation
from coursework.experiments.base import Job, Run
from coursework.experiments.corpora import Batch, Corpus
from coursework.experiments.translator import Network
from coursework.training import engine
from coursework.training.devices import choose_precision

KEPT = 8  # words of each place whose probabilities are stored


@config
class Config:
    teacher: translation.Config = base.presets_of("translation_all")["full"]
    teachers: Count = 2
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the teachers' probabilities
    dropout: Share = 0.1  # of the student, which is otherwise like a teacher
    plan: engine.Plan = dataclasses.replace(translation.PLAN, monitor="validation_loss", mode="min")

    def __post_init__(self) -> None:
        if self.teacher.embeddings != "own" or self.teacher.members != 1:
            what = "A teacher is one network with its own embeddings"
            raise ConfigError(f"{what}; set teacher.embeddings=own and teacher.members=1.")

    @property
    def student(self) -> translation.Config:
        like = cast(translation.TransformerConfig, self.teacher.transformer)
        network = dataclasses.replace(like, dropout=self.dropout, plan=self.plan)
        return dataclasses.replace(self.teacher, transformer=network)


PRESETS = base.presets(Config(), "translation_taught")


@dataclass(frozen=True)
class Taught:
    """The likeliest next words at every place of the training sentences, which lie one after the other."""

    starts: np.ndarray  # [n + 1], first place of each sentence
    words: np.ndarray  # int32 [places, K]
    share: np.ndarray  # float16 [places, K], their probabilities, which sum to 1
    key: str  # of these

    def of(self, rows: np.ndarray) -> Batch:
        """Words and shares of some sentences, ``[B, T, K]``; zeros behind the end of a sentence."""
        spans = [slice(self.starts[row], self.starts[row + 1]) for row in rows]
        words = [torch.from_numpy(self.words[span].astype(np.int64)) for span in spans]
        share = [torch.from_numpy(self.share[span].astype(np.float32)) for span in spans]
        return {
            "taught": pad_sequence(words, batch_first=True),
            "share": pad_sequence(share, batch_first=True),
        }


def teach(teachers: list[Network], corpus: Corpus, size: int, precision: str) -> Taught:
    """What the mean of the teachers says of the training pairs, from the cache where it is known."""
    batches = corpus.batches("train", size)
    starts = np.cumsum([0, *(len(ids) + 1 for ids in batches.targets)])
    bf16 = choose_precision(precision) == "bf16-mixed"

    @torch.no_grad()
    def build() -> cache.Arrays:
        words = np.zeros((starts[-1], KEPT), np.int32)
        share = np.zeros((starts[-1], KEPT), np.float16)
        todo = batches(0)
        for rows, batch in zip(todo.rows, todo, strict=True):
            real = batch["write"] != PAD_ID  # [B, T]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = [model(batch["source"], batch["read"])[real] for model in teachers]
            mean = torch.stack([each.float().softmax(dim=1) for each in logits]).mean(dim=0)
            most, which = mean.topk(KEPT, dim=1)  # [places, K]
            places = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
            words[places] = which.numpy()
            share[places] = (most / most.sum(dim=1, keepdim=True)).numpy()
        return {"words": words, "share": share}

    weights = [value.numpy() for model in teachers for value in model.state_dict().values()]
    key = cache.key_of(batches.sources, batches.targets, *weights, KEPT, bf16)
    found = cache.arrays("translation-taught", key, build)
    return Taught(starts, found["words"], found["share"], key)


def taught_loss(model: Any, batch: Batch, smoothing: float, weight: float) -> tuple[Tensor, int]:
    """Cross-entropy to the true words and to the teachers' probabilities, summed over the real words."""
    logits = model(batch["source"], batch["read"])  # [B, T, V]
    true, count = translation.token_loss(lambda *_: logits, batch, smoothing)
    known = logits.float().log_softmax(dim=-1).gather(2, batch["taught"])  # [B, T, K]
    return (1 - weight) * true - weight * (batch["share"] * known).sum(), count


def train(job: Job) -> Run:
    """Train the teachers or take those of earlier runs, teach the student, translate the test pairs once."""
    config, same = job.config, job.config.student
    corpus = translation.prepare(same)
    teachers = []
    for member in job.members("translation_all", config.teacher, config.teachers):
        job.say(f"teacher: network with seed {member.seed}")
        alone = member.part("transformer")
        teachers.append(translation.fit_network(alone, "transformer", corpus)[0])
    taught = teach(teachers, corpus, 4 * same.batch_size, config.plan.precision)
    batches = corpus.batches("train", same.batch_size, same.word_dropout, job.seed)

    def with_words(epoch: int) -> engine.Lazy:
        usual = batches(epoch)
        return engine.Lazy(usual.rows, lambda rows: usual.make(rows) | taught.of(rows))

    alone = job.part("student", config=same)
    student, fit = translation.fit_network(
        alone, "transformer", corpus, start=teachers[0], batches=with_words,
        loss=partial(taught_loss, weight=config.weight), targets=taught.key,
    )  # fmt: skip
    return translation.finish(job, same, corpus, {"transformer": [student]}, {"transformer": [fit]})


evaluate = translation.evaluate  # of the student's best.pt
