import dataclasses
from functools import partial
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.config import override
from coursework.errors import TrainingError
from coursework.experiments import base, corpora, translation, translation_taught
from coursework.experiments.translation_taught import KEPT, PRESETS, taught_loss, teach

pytestmark = pytest.mark.usefixtures("standin")
SMALL = override(
    PRESETS["quick"],
    ["teacher.pairs=96", "teacher.vocabulary=150", "teacher.batch_size=300", "teacher.transformer.width=16",
     "teacher.transformer.d_ff=16", "teacher.beam=1", "plan.learning_rate=0.01"],
)  # fmt: skip


def networks(corpus: corpora.Corpus) -> list[Any]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        words = (len(corpus.source), len(corpus.target))
        made.append(translation.build(SMALL.student, "transformer", words).eval())
    return made


def test_each_place_has_the_mean_of_what_the_teachers_say_there() -> None:
    corpus = translation.prepare(SMALL.student)
    teachers = networks(corpus)
    batches = corpus.batches("train", 300)
    first, again = (teach(teachers, corpus, 300, "32-true") for _ in range(2))
    np.testing.assert_array_equal(first.share, again.share)  # from the cache
    rows = np.array([5, 90, 41])
    batch, found = batches.batch(rows), first.of(rows)
    with torch.no_grad():
        each = [model(batch["source"], batch["read"]).softmax(dim=-1) for model in teachers]
    share, words = ((each[0] + each[1]) / 2).topk(KEPT, dim=-1)
    share = share / share.sum(dim=-1, keepdim=True)
    real = batch["write"] != corpora.PAD_ID
    assert not real.all()
    torch.testing.assert_close(found["share"][real], share[real], atol=5e-4, rtol=0)
    assert (found["taught"][real] == words[real]).float().mean() > 0.95  # but for near ties
    assert not found["share"][~real].any()


def test_the_loss_is_the_cross_entropy_to_words_and_to_shares() -> None:
    corpus = translation.prepare(SMALL.student)
    model = networks(corpus)[0]
    batch = corpus.batches("train", 300).batch(np.array([5, 90, 41]))
    write = batch["write"]
    real = (write != corpora.PAD_ID)[:, :, None]
    other = write.roll(1, dims=0)  # a second word beside the true one
    batch["taught"] = torch.stack([write, other], dim=2)
    batch["share"] = torch.tensor([0.75, 0.25]).expand(*write.shape, 2) * real
    logp = model(batch["source"], batch["read"]).log_softmax(dim=-1)
    target = 0.75 * F.one_hot(write, logp.shape[2]) + 0.25 * F.one_hot(other, logp.shape[2])
    soft = -(target * logp * real).sum()
    hard, count = translation.token_loss(model, batch, 0.1)
    for weight in (0.0, 0.3, 1.0):
        total, number = taught_loss(model, batch, 0.1, weight)
        assert number == count
        torch.testing.assert_close(total, (1 - weight) * hard + weight * soft)


def test_the_student_begins_with_the_first_teacher_and_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = MagicMock(side_effect=translation.fit_network)
    monkeypatch.setattr(translation, "fit_network", fit)
    config = override(SMALL, ["teacher.word_dropout=0.3"])
    run = base.train_seed("translation_taught", config, "tiny", 0, log=None)
    teacher, _, student = fit.call_args_list
    alone = base.train_seed("translation_all", config.teacher, "custom", 0, resume=True, log=None)
    own = alone.artefacts["networks"]["transformer"][0].state_dict()
    begun = student.kwargs["start"].state_dict()
    assert all(torch.equal(own[name], value) for name, value in begun.items())
    assert [call.args[0].seed for call in fit.call_args_list[:3]] == [0, 1, 0]
    assert teacher.args[0].config == config.teacher
    hidden = [(b["source"] == corpora.UNK_ID).float().mean() for b in student.kwargs["batches"](0)]
    assert 0.1 < np.mean(hidden) < 0.4  # three tenths of the words, as the teachers learned
    assert run.metrics["validation_loss"] < alone.metrics["validation_loss"]
    kept = base.run_folder(base.Job("translation_taught", config, "tiny", resume=True))
    loaded = translation.load(kept / "student" / "best.pt")
    assert loaded.config == config.student
    # The student's weights are those that it ended with, not those it began with.
    (ended,) = run.artefacts["networks"]["transformer"]
    for name, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, ended.state_dict()[name])
    assert any(not torch.equal(own[name], value) for name, value in ended.state_dict().items())
    other = lambda *given: dataclasses.replace(teach(*given), key="of other teachers")  # noqa: E731
    monkeypatch.setattr(translation_taught, "teach", other)
    with pytest.raises(TrainingError, match="different: targets"):
        base.train_seed("translation_taught", config, "tiny", 0, resume=True, log=None)


def test_what_the_teachers_say_reaches_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: Any) -> translation_taught.Taught:
        found = teach(*given)
        return dataclasses.replace(
            found, words=np.full_like(found.words, corpora.SPECIALS.index("<eos>"))
        )

    monkeypatch.setattr(translation_taught, "teach", wrong)
    run = base.train_seed(
        "translation_taught", dataclasses.replace(SMALL, weight=1.0), "tiny", 0, log=None
    )
    assert set(run.artefacts["translations"]["beam"]) == {""}  # they said: the sentence ends here


def test_presets_differ_from_their_teachers_in_training_only() -> None:
    full = base.presets_of("translation_all")["full"]
    student = PRESETS["full"].student
    assert PRESETS["full"].teacher == full
    assert student.transformer is not None
    assert full.transformer is not None
    free = partial(dataclasses.replace, dropout=0.0, plan=translation.PLAN)
    assert free(student.transformer) == free(full.transformer)
    assert dataclasses.replace(student, transformer=full.transformer) == full
