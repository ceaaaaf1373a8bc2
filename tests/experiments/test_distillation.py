import dataclasses
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coursework.config import override
from coursework.errors import ConfigError
from coursework.experiments import base, distillation, sentiment, sentiment_batches
from coursework.experiments.base import Job
from coursework.experiments.sentiment_batches import Encoded, Member, Parts, final_logits, mixed

pytestmark = pytest.mark.usefixtures("standin")
CHANGES = ("tweets=none", "plan.epochs=3", "plan.learning_rate=0.02")
SMALL = override(
    distillation.PRESETS["quick"],
    [f"{network}.{change}" for network in ("student", "network") for change in CHANGES],
)


def train(config: Any = SMALL, **options: Any) -> Any:
    return distillation.train(Job("distillation", config, "tiny", **({"log": None} | options)))


def states(run: Any) -> list[np.ndarray]:
    return [value.numpy() for value in run.artefacts["classifier"].model.state_dict().values()]


def test_the_student_learns_and_the_teachers_are_trained_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    run = base.train_seed("distillation", SMALL, "tiny", 0, log=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 3 * 3
    assert run.metrics["test_accuracy"] > 0.8
    assert run.metrics["best.test_accuracy"] > 0.8
    assert (len(run.notes["teacher_weights"]), len(run.notes["weights"])) == (2, 3)
    lines.clear()
    monkeypatch.setattr(sentiment_batches, "final_logits", None)  # they come from the cache
    again = base.train_seed("distillation", SMALL, "tiny", 0, log=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 3  # the student's, begun anew
    assert again.metrics == run.metrics


def test_with_labels_alone_the_student_is_the_network_of_the_preset() -> None:
    taught, labels = train(), train(dataclasses.replace(SMALL, weight=0.0))
    plain = sentiment.train(Job("sentiment", SMALL.student, log=None))
    for run, equal in ((labels, True), (taught, False)):
        pairs = zip(states(run), states(plain), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs) == equal


def test_what_a_teacher_says_reaches_the_student() -> None:
    def wrong(members: list[Member], part: str) -> tuple[np.ndarray, list[float]]:
        logits, weights = mixed(members, part)
        return -logits, weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation, "mixed", wrong)
        run = train(dataclasses.replace(SMALL, weight=1.0))
    assert run.metrics["test_accuracy"] < 0.4


def test_the_teachers_are_the_runs_of_their_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = MagicMock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(sentiment, "fit_network", fit)
    monkeypatch.setattr(sentiment, "prepare", lambda config: MagicMock())
    for experiment, preset in (("distillation", "full"), ("sentiment", "pretrained")):
        config = base.preset_of(experiment, preset)
        with pytest.raises(KeyboardInterrupt):
            base.train_seed(experiment, config, preset, 0, log=None)
    teacher, alone = (call.args[0] for call in fit.call_args_list)
    assert (teacher.folder, teacher.config) == (alone.folder, alone.config)
    assert (teacher.resume, alone.resume) == (True, False)
    with pytest.raises(ConfigError, match=r"set transformer\.frozen=false"):
        override(distillation.PRESETS["full"], ["transformer.frozen=true"])
    with pytest.raises(ConfigError, match=r"set .*transformer\.refit=false"):
        override(distillation.PRESETS["full"], ["transformer.refit=true"])


class Lookup(nn.Module):
    """Says of a tweet what its first token is worth."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.values[tokens[:, 0]]


def member(values: list[float], labels: np.ndarray, validation: int | None = None) -> Member:
    data = Encoded.of(np.arange(len(values), dtype=np.int32), np.ones(len(values), int), labels)
    unused: Any = None
    turned = dataclasses.replace(data, labels=1 - labels)  # the test tweets' labels say nothing
    parts = Parts(unused, unused, data, data.first(validation), turned)
    return Member(Lookup(torch.tensor(values)), parts, {})


def test_the_weights_are_those_of_who_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500).astype(np.float32)
    noise = rng.normal(size=(2, 500))
    right = member(list(4 * labels - 2 + noise[0]), labels)
    guess = member(list(noise[1]), labels, validation=300)
    logits, weights = mixed([right, guess], "test")
    assert weights[0] > 10 * abs(weights[1])
    columns = np.stack([m.logits("test") for m in (right, guess)], axis=1)
    np.testing.assert_allclose(logits, columns @ weights)
    # blocks, and the cache, change nothing
    monkeypatch.setattr(sentiment_batches, "BLOCK", 70)
    for one in (right, guess):
        assert np.array_equal(one.logits("training"), final_logits(one.model, one.parts.training))
    read = MagicMock(wraps=final_logits)
    monkeypatch.setattr(sentiment_batches, "final_logits", read)
    fewer = dataclasses.replace(right.parts, training=right.parts.training.first(150))
    Member(right.model, fewer, {}).logits("training")
    assert [len(call.args[1]) for call in read.call_args_list] == [10]  # two blocks were known


def test_logits_of_other_weights_or_tweets_are_not_taken_from_the_cache() -> None:
    labels = np.zeros(3, np.float32)
    for values in ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]):
        assert member(values, labels).logits("test").tolist() == values
    assert member([1.0, 2.0], labels[:2]).logits("test").tolist() == [1.0, 2.0]
