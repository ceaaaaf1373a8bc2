"""The language model of problem 1: no word sees itself, the softmax is the whole one, one for all seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.experiments import sentiment, sentiment_lm
from coursework.experiments.sentiment_batches import Encoded
from coursework.models.bilstm import BiLSTMClassifier
from coursework.training import engine

WORDS = 9


def network() -> BiLSTMClassifier:
    torch.manual_seed(0)
    return BiLSTMClassifier(WORDS, 6, 5, cell="own", embedding_dropout=0.1)


def circles(n: int, length: int = 6) -> Encoded:
    """Texts in which each word says the next one: 2, 3, ... 8, 2, ..."""
    ids = 2 + (np.arange(n)[:, None] + np.arange(length)) % (WORDS - 2)
    return Encoded.of(ids.ravel().astype(np.int32), np.full(n, length), np.arange(n) % 2)


def model(counts: list[int] | None = None) -> sentiment_lm.LanguageModel:
    return sentiment_lm.LanguageModel(
        network(), torch.tensor(counts or [0, 1] + [10] * 7).float()
    ).eval()


@pytest.mark.parametrize("place", range(5))
def test_a_word_is_never_an_input_of_its_own_prediction(place: int) -> None:
    found, tokens = model(), torch.tensor([[2, 3, 4, 5, 6]])
    changed = tokens.clone()
    changed[0, place] = 8
    (before, targets), (after, _) = found.queries(tokens), found.queries(changed)
    assert targets.tolist() == [3, 4, 5, 6, 2, 3, 4, 5]  # the next words, then the previous ones
    predicted = [i for i in (place - 1, 4 + place) if (i >= 0 and place) or i >= 4]
    same = [bool(torch.equal(before[i], after[i])) for i in range(8)]
    assert all(same[i] for i in predicted if i < 8)
    assert not all(same)  # it is an input of others


def test_with_all_words_as_candidates_the_loss_is_that_of_the_whole_softmax() -> None:
    found, tokens = model([5] * WORDS), torch.tensor([[2, 3, 4], [8, 7, 6]])
    queries, targets = found.queries(tokens)
    whole = F.cross_entropy(
        F.linear(queries, found.embedding.table.weight, found.bias), targets, reduction="sum"
    )
    loss, count = found(tokens, 2000)
    assert count == 8
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=1e-5)


def test_candidates_that_are_seldom_drawn_weigh_more() -> None:
    """Averaged over draws, the corrected softmax is closer to the whole one than the plain one is."""
    found, tokens = model([1, 1, 200, 100, 50, 25, 12, 6, 3]), torch.tensor([[2, 3]])
    queries, targets = found.queries(tokens)
    scores = F.linear(queries, found.embedding.table.weight, found.bias)
    whole = float(F.cross_entropy(scores, targets, reduction="sum").detach())
    torch.manual_seed(1)
    corrected, plain = [], []
    for _ in range(100):
        corrected.append(float(found(tokens, 3)[0].detach()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "expm1", lambda x: -torch.ones_like(x))  # log pi = 0
            plain.append(float(found(tokens, 3)[0].detach()))
    assert abs(np.mean(corrected) - whole) < abs(np.mean(plain) - whole)


def config(**plan: int) -> sentiment_lm.Config:
    base = sentiment_lm.Config()
    plan = {"epochs": 8, "learning_rate": 0.05} | plan
    return dataclasses.replace(
        base, plan=dataclasses.replace(base.plan, **plan), batch_size=8, noise=20
    )


def test_it_learns_which_word_follows_and_serves_all_seeds(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tweets = circles(28)
    first = network()
    output = first.output.weight.detach().clone()
    weights, history = sentiment_lm.pretrain(first, config(), tweets, tweets, "texts")
    assert (
        history[-1]["validation_perplexity"] < 1.5 < WORDS / 2 < history[0]["validation_perplexity"]
    )
    assert set(weights) == {k for k in first.state_dict() if not k.startswith("output.")}
    assert torch.equal(first.output.weight, output)
    monkeypatch.setattr(engine, "fit", lambda *_, **__: pytest.fail("trained twice"))
    again, same = sentiment_lm.pretrain(network(), config(), tweets, tweets, "texts")
    assert same == history
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_tweets_of_one_word_are_left_out(standin: Path) -> None:
    tweets = Encoded.of(np.array([2, 3, 4, 5], np.int32), np.array([1, 2, 1]), np.zeros(3))
    _, history = sentiment_lm.pretrain(network(), config(epochs=1), tweets, tweets, "short")
    assert np.isfinite(history[0]["train_loss"])


def test_only_the_start_differs_with_the_language_model(standin: Path) -> None:
    """The network of a seed has the weights of the language model and its own output layer."""
    plain = dataclasses.replace(
        sentiment.PRESETS["quick"], tweets=300, hidden_size=8, embedding_dim=8, embeddings="random"
    )
    corpus = sentiment.prepare(plain)
    own, _ = sentiment.start(plain, corpus, 3)
    again, _ = sentiment.start(plain, corpus, 3)
    assert torch.equal(own.output.weight, again.output.weight)
    other, _ = sentiment.start(plain, corpus, 4)
    assert not torch.equal(own.output.weight, other.output.weight)
