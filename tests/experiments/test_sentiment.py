"""The sentiment experiment on generated tweets: it learns, repeats itself, resumes, and leaks nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import sentiment140
from coursework.data.sources import Source
from coursework.data.text import Vocabulary
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import Job, base, ngrams, sentiment, word2vec
from coursework.experiments.sentiment import Config, Encoded
from coursework.report import store
from coursework.training import checkpoints, engine

TINY = Config(
    tweets=1000, max_vocabulary=400, embedding_dim=12, hidden_size=12, dropout=0.1,
    embedding_dropout=0.1, word_dropout=0.05, batch_size=64, baselines=False,
    plan=engine.Plan(
        epochs=2, learning_rate=0.02, schedule="one-cycle", warmup=0.2, clip_norm=1.0,
        monitor="validation_accuracy", mode="max",
    ),
)  # fmt: skip


def train(config: Config = TINY, seed: int = 0, **options: Any) -> Any:
    return sentiment.train(Job("sentiment", config, "tiny", seed, **({"log": None} | options)))


FOREIGN = Source("sentiment140", "data root", "", (), "CC")


def tweets_of(rows: list[list[int]], labels: list[int], source: Any = None) -> Any:
    """Tokenised tweets from lists of token ids; the types are w0, w1, ..."""
    size = max((token for row in rows for token in row), default=0) + 1
    return sentiment140.TokenisedTweets(
        tokens=np.array([token for row in rows for token in row], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        types=[f"w{i}" for i in range(size)],
        labels=np.array(labels, dtype=np.int8),
        source=source,
    )


@pytest.fixture(scope="module")
def trained(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One tiny run on the stand-in, with the folder of its checkpoints."""
    folder, lines = tmp_path_factory.mktemp("run"), []
    plan = dataclasses.replace(TINY.plan, epochs=3)
    config = dataclasses.replace(TINY, tweets=None, baselines=True, plan=plan)
    run = train(config, 1, folder=folder, log=lines.append)
    return run, folder, lines


# --------------------------------------------------------------------------------------------- a whole run


def test_learns_and_reports(trained: Any) -> None:
    run, _, lines = trained
    metrics = run.metrics
    assert metrics["test_accuracy"] > metrics["majority.test_accuracy"] + 0.2
    assert metrics["validation_accuracy"] > metrics["majority.test_accuracy"] + 0.2
    assert metrics["linear.test_accuracy"] > 0.75
    assert metrics["naive_bayes.test_accuracy"] > 0.75
    low, high, how = run.notes["intervals"]["test_accuracy"]
    assert low < metrics["test_accuracy"] < high
    assert how == "Wilson, 800 test tweets"
    assert run.notes["sizes"] == {"train": 2400, "validation": 800, "test": 800}
    assert np.sum(run.notes["confusion"]) == 800
    assert np.trace(run.notes["confusion"]) == round(metrics["test_accuracy"] * 800)
    assert run.source.is_standin
    assert [row["epoch"] for row in run.curves["bilstm"]] == [1, 2, 3]
    assert len(lines) == 3
    record = store.make_record("sentiment-tiny", [run])
    store.validate(record, "sentiment-tiny")
    assert record["metrics"]["test_accuracy"]["interval"] == "Wilson, 800 test tweets"
    assert record["data"]["standin"] is True


def test_other_data_are_another_run(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, folder, _ = trained
    tweets = dataclasses.replace(sentiment140.load_tokens(), source=FOREIGN)
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: tweets)
    with pytest.raises(TrainingError, match="another run .different: data"):
        train(run.config, 1, folder=folder, resume=True)


def test_evaluate_reproduces_the_run(trained: Any, standin: Path, tmp_path: Path) -> None:
    run, folder, _ = trained
    again = sentiment.evaluate(folder / "best.pt")
    assert again == {key: run.metrics[key] for key in ("test_accuracy", "test_f1", "test_loss")}
    small = base.shrink(folder / "best.pt", tmp_path / "small.pt")
    accuracy = sentiment.evaluate(small)["test_accuracy"]
    assert accuracy == pytest.approx(run.metrics["test_accuracy"], abs=0.005)
    few = sentiment.evaluate(small, limit=50)
    assert few["test_accuracy"] * 50 == pytest.approx(round(few["test_accuracy"] * 50))


def test_evaluate_refuses_other_data(trained: Any, standin: Path, tmp_path: Path) -> None:
    _, folder, _ = trained
    state = checkpoints.load(folder / "best.pt")
    state["bundle"]["data"] |= {"standin": False, "tweets": 1_600_000}
    checkpoints.save(state, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="was trained on 1,600,000 tweets"):
        sentiment.evaluate(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "cora"}, "belongs to cora"),
        ({"config": {"layers": 2, "depth": 3}}, "no field 'depth'"),
        ({"vocabulary": "a\nb"}, "does not fit this version of the sentiment experiment"),
    ],
)
def test_refuses_what_is_no_checkpoint_of_it(
    trained: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    state = checkpoints.load(trained[1] / "best.pt")
    checkpoints.save(state | {"bundle": state["bundle"] | change}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match=message):
        sentiment.load(tmp_path / "other.pt")


# ------------------------------------------------------------------------------------------------ predict


def test_predict_any_text(trained: Any) -> None:
    classifier = sentiment.load(trained[1] / "best.pt")
    texts = [
        "what a wonderful day, I love it!", "i hate this horrible headache", "so happy " * 1111, "", "   ",
        "\N{SLICE OF PIZZA}\N{SLICE OF PIZZA}", "x" * 10_000, "zxqv wvqz", "!!! 123 http://t.co/x @me",
        "\x00\ud83d",
    ]  # fmt: skip
    probabilities = classifier.predict(texts)
    assert probabilities.shape == (len(texts),)
    assert probabilities[0] > 0.6 > 0.4 > probabilities[1]
    assert probabilities[2] > 0.6
    assert (probabilities[3:] == 0.5).all()
    verdicts = [word for _, word in classifier.judge(texts)]
    assert verdicts == ["positive", "negative", "positive", *["no known word"] * 7]
    alone = classifier.predict(texts[0])
    assert alone.shape == (1,)
    assert alone[0] == pytest.approx(probabilities[0], abs=1e-6)
    assert classifier.predict([]).shape == (0,)
    for wrong in (["fine", None], [3.5], [b"bytes"]):
        with pytest.raises(ConfigError, match="A tweet is a text"):
            classifier.predict(wrong)  # type: ignore[arg-type]


def test_signs_count_beside_the_words(trained: Any) -> None:
    classifier = sentiment.load(trained[1] / "best.pt")
    text = "what a wonderful day"
    plain, happy, sad, only, mixed = classifier.predict(
        [text, f"{text} :)", f"{text} \N{PENSIVE FACE}", ":(", f"{text} :) :("]
    )
    odds = [float(np.log(p / (1 - p))) for p in (plain, happy, sad, only)]
    assert odds[1] - odds[0] == pytest.approx(3, abs=1e-3)
    assert odds[2] - odds[0] == pytest.approx(-3, abs=1e-3)
    assert odds[3] == pytest.approx(-3, abs=1e-3)
    assert mixed == pytest.approx(plain)


# ------------------------------------------------------------------------------------------------ leakage


def test_test_rows_have_no_influence(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = train(seed=2)
    tweets = sentiment140.load_tokens()
    test = honest.artefacts["split"].test
    labels = np.array(tweets.labels)
    labels[test] = 1 - labels[test]
    changed = dataclasses.replace(tweets, labels=labels)
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: changed)
    flipped = train(seed=2)
    assert np.array_equal(flipped.artefacts["logits"], honest.artefacts["logits"])
    assert flipped.metrics["test_accuracy"] == pytest.approx(1 - honest.metrics["test_accuracy"])
    assert flipped.metrics["validation_accuracy"] == honest.metrics["validation_accuracy"]
    key = "majority.test_accuracy"
    assert flipped.metrics[key] == pytest.approx(1 - honest.metrics[key])


def test_the_accuracy_is_that_of_the_kept_epoch(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.fit

    def with_a_worse_epoch(*given: Any, **options: Any) -> engine.Fit:
        fit = real(*given, **options)
        fit.history.append(fit.history[-1] | {"validation_accuracy": 0.0})
        return fit

    monkeypatch.setattr(sentiment.engine, "fit", with_a_worse_epoch)
    assert train().metrics["validation_accuracy"] > 0


def test_vocabulary_knows_training_words_only() -> None:
    tweets = tweets_of([[0, 1, 1], [1, 2], [3, 3, 3, 3], [0]], [0, 1, 1, 0])
    vocabulary = sentiment.count_vocabulary(tweets, np.array([0, 1, 3]), 1, 100)
    assert vocabulary.to_list() == ["<pad>", "<unk>", "w1", "w0", "w2"]
    encoded = sentiment.encode(tweets, np.array([2]), vocabulary, 36)
    assert encoded.batch(np.array([0]))[0].tolist() == [[1, 1, 1, 1]]


def test_baselines_do_not_see_test_labels(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "BITS", 16)
    honest = sentiment.prepare(TINY)
    labels = np.array(honest.tweets.labels)
    labels[honest.split.test] = 1 - labels[honest.split.test]
    changed = dataclasses.replace(honest.tweets, labels=labels)
    before = sentiment.linear_odds(honest, "test")["test"]
    after = sentiment.linear_odds(dataclasses.replace(honest, tweets=changed), "test")["test"]
    assert before.keys() == after.keys() == {"naive_bayes", "linear"}
    assert all(np.array_equal(before[name], after[name]) for name in before)


# ------------------------------------------------------------------------------------------ split, batches


@pytest.mark.parametrize(("tweets", "sizes"), [(None, (960, 320, 320)), (500, (300, 100, 100))])
def test_split_is_exact(tweets: int | None, sizes: tuple[int, ...]) -> None:
    config = dataclasses.replace(TINY, tweets=tweets)
    everything = dataclasses.replace(TINY, tweets=None)
    split = sentiment.split_rows(1600, config)
    assert split.sizes == sizes
    rows = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(rows)) == sum(sizes)
    whole = sentiment.split_rows(1600, everything)
    assert set(split.test) <= set(whole.test)
    assert set(split.train) <= set(whole.train)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 3))
def test_batches_have_one_length_and_every_row_once(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    array = np.array(lengths)
    for rng in (None, np.random.default_rng(seed)):
        batches = sentiment.equal_length_batches(array, batch_size, rng)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        for rows in batches:
            assert 1 <= len(rows) <= batch_size
            assert len(set(array[rows].tolist())) == 1
    again = sentiment.equal_length_batches(array, batch_size, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=12),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_encode_agrees_with_the_plain_way(
    rows: list[list[int]], max_length: int, random: Any
) -> None:
    tweets = tweets_of(rows, [i % 2 for i in range(len(rows))])
    vocabulary = Vocabulary(("w1", "w0", "w4"), sentiment.SPECIALS)
    chosen = random.sample(range(len(rows)), k=random.randint(1, len(rows)))
    encoded = sentiment.encode(tweets, np.array(chosen), vocabulary, max_length)
    assert isinstance(encoded, Encoded)
    assert len(encoded) == len(chosen)
    for i, row in enumerate(chosen):
        tokens, labels = encoded.batch(np.array([i]))
        expected = vocabulary.encode(f"w{token}" for token in rows[row])[:max_length]
        assert tokens[0].tolist() == (expected or [sentiment.PAD_ID])
        assert tokens.dtype == torch.int64
        assert labels.tolist() == [row % 2]


# ------------------------------------------------------------------------------------------- loss, scores


def test_loss_smooths_labels_and_drops_words_in_training_only(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    given: dict[str, Any] = {}

    class Model(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            seen.append(tokens)
            return torch.tensor([2.0, -1.0])

    monkeypatch.setattr(sentiment.engine, "fit", lambda model, plan, **rest: given.update(rest))
    config = dataclasses.replace(TINY, word_dropout=0.5, label_smoothing=0.2)
    job = Job("sentiment", config, log=None)
    corpus = sentiment.prepare(config)
    sentiment.fit_network(dataclasses.replace(job, seed=1), corpus)
    other = given["batches"](0).rows(0)
    model, _, _ = sentiment.fit_network(job, corpus)
    first, again, later = (given["batches"](epoch).rows(0).tolist() for epoch in (0, 0, 1))
    assert first == again
    assert other.tolist() != first != later
    trained = [p for group in given["parameters"] for p in group["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))
    tokens = torch.full((2, 500), 7)
    tokens[0, 0] = sentiment.PAD_ID
    torch.manual_seed(0)
    total, count = given["loss"](Model().train(), (tokens, torch.tensor([1.0, 0.0])))
    z = torch.tensor([2.0, -1.0], dtype=torch.float64)
    y = torch.tensor([0.9, 0.1], dtype=torch.float64)
    p = torch.sigmoid(z)
    assert float(total) == pytest.approx(float(-(y * p.log() + (1 - y) * (1 - p).log()).sum()))
    assert count == 2
    assert seen[0][0, 0] == sentiment.PAD_ID
    assert set(seen[0].unique().tolist()) == {sentiment.PAD_ID, sentiment.UNK_ID, 7}
    assert 0.4 < float((seen[0] == sentiment.UNK_ID).float().mean()) < 0.6
    given["loss"](Model().eval(), (tokens, torch.tensor([1.0, 0.0])))
    assert torch.equal(seen[1], tokens)


def test_scores_of_one_tweet_and_a_logit_of_zero() -> None:
    assert sentiment.scores(np.array([2.0]), np.array([1]))["accuracy"] == 1.0
    # no evidence either way counts as negative
    assert sentiment.confusion(np.zeros(2), np.array([0, 1])).tolist() == [[1, 0], [1, 0]]


def test_scores_against_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

    rng = np.random.default_rng(0)
    logits = rng.normal(size=200).astype(np.float32)
    labels = (rng.random(200) < 0.3).astype(np.float32)
    predicted = (logits > 0).astype(int)
    result = sentiment.scores(logits, labels)
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert result["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert result["loss"] == pytest.approx(log_loss(labels, probabilities))
    assert np.array_equal(sentiment.confusion(logits, labels), confusion_matrix(labels, predicted))


# ------------------------------------------------------------------------------------ n-grams and copies


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=8))
def test_ngrams_are_those_of_each_tweet(rows: list[list[int]]) -> None:
    tweets = tweets_of(rows, [0] * len(rows))
    matrix = ngrams.features(tweets, np.arange(len(rows)), bits=30)
    for i, row in enumerate(rows):
        grams = {
            tuple(row[a : a + order]) for order in (1, 2, 3) for a in range(len(row) - order + 1)
        }
        columns = set(matrix[i].indices.tolist())
        assert len(columns) == len(grams)
        assert matrix[i].sum() == len(grams)
        # the same n-gram has the same column in every tweet
        for gram in grams:
            alone = ngrams.features(tweets_of([list(gram), [5]], [0, 0]), np.array([0]), bits=30)
            assert set(alone.indices.tolist()) <= columns


def test_texts_with_equal_keys_are_equal() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 3, rng.integers(0, 4)).tolist() for _ in range(300)]
    tweets, texts = tweets_of(rows, [0] * 300), [tuple(row) for row in rows]
    keys = ngrams.text_keys(tweets)
    assert len(set(keys)) == len(set(zip(texts, keys.tolist(), strict=True))) == len(set(texts))
    some = np.array([5, 0, 299])
    assert np.array_equal(ngrams.text_keys(tweets, some), keys[some])


# ------------------------------------------------------------------------------ word vectors, ensemble


def test_word_vectors_start_from_glove(standin: Path) -> None:
    config = dataclasses.replace(TINY, embeddings="glove", embedding_dim=50)
    corpus = sentiment.prepare(config)
    corpus = dataclasses.replace(
        corpus, vocabulary=Vocabulary(("good", "bad", "xqzzxq"), sentiment.SPECIALS)
    )
    (matrix, share), (again, _) = (sentiment.word_vectors(config, corpus, 0) for _ in range(2))
    assert matrix is not None
    assert share is not None
    assert matrix.shape == (5, 50)
    assert torch.equal(matrix, again)  # type: ignore[arg-type]
    assert 0 < share < 1
    model = sentiment.build(config, 5, matrix)
    assert torch.equal(model.embedding.table.weight[2:], matrix[2:])
    assert model.embedding.table.weight[0].abs().sum() == 0


def test_own_word_vectors_repeat_and_know_training_words_only(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(TINY, embeddings="word2vec", embedding_dim=8, max_vocabulary=2000)
    corpus = sentiment.prepare(config)
    found = [sentiment.word_vectors(config, corpus, 0) for _ in range(2)]  # trained, cached
    monkeypatch.setenv("COURSEWORK_CACHE", str(standin / "elsewhere"))
    found.append(sentiment.word_vectors(config, corpus, 1))  # the same for every training seed
    (matrix, share), *others = found
    assert matrix is not None
    assert share is not None
    assert matrix.shape == (len(corpus.vocabulary), 8)
    assert 0.9 < share <= 1
    assert matrix[2:].std() == pytest.approx(0.3, rel=0.1)
    assert all(torch.equal(matrix, other) for other, _ in others)  # type: ignore[arg-type]
    unseen = dataclasses.replace(corpus, validation=corpus.training, test=corpus.training)
    monkeypatch.setenv("COURSEWORK_CACHE", str(standin / "a third"))  # so they are learned again
    assert torch.equal(matrix, sentiment.word_vectors(config, unseen, 0)[0])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window is 0"):
        word2vec.Config(window=0)


def test_ensemble_mixes_on_validation_and_resumes(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(TINY, tweets=600, hidden_size=6, members=2)
    lines: list[str] = []
    run = train(config, folder=tmp_path, log=lines.append)
    assert run.notes["members"] == 2
    assert sum("epoch" in line for line in lines) == 4
    assert set(run.notes["intervals"]) == {"mean_of_members.test_accuracy", "test_accuracy"}
    one, other = ([row["train_loss"] for row in run.curves[f"seed {k}"]] for k in (0, 1))
    assert one != other
    lines.clear()
    again = train(config, folder=tmp_path, resume=True, log=lines.append)
    assert not any(line.startswith("epoch") for line in lines)  # nothing was trained again
    assert again.metrics == run.metrics
    tweets, test = sentiment140.load_tokens(), run.artefacts["split"].test
    labels = np.array(tweets.labels)
    labels[test] = 1 - labels[test]
    turned = dataclasses.replace(tweets, labels=labels)
    alone = train(dataclasses.replace(config, members=1))
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: turned)
    assert train(config, folder=tmp_path, resume=True).notes["weights"] == run.notes["weights"]
    assert run.notes["member_validation_accuracy"][0] == pytest.approx(
        alone.metrics["validation_accuracy"]
    )


def test_members_of_the_best_preset_are_the_pretrained_runs(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members: list[Job] = []

    def stop(job: Job, corpus: Any) -> Any:
        members.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(sentiment, "fit_network", stop)
    monkeypatch.setattr(sentiment, "prepare", lambda config: MagicMock())
    for preset in ("best", "pretrained"):
        with pytest.raises(KeyboardInterrupt):
            base.train_seed("sentiment", sentiment.PRESETS[preset], preset, 0, resume=True)
    first, alone = members
    assert (first.folder, first.config) == (alone.folder, alone.config)
