import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from some_tweets import FOREIGN, turned, tweets_of

from coursework.config import override
from coursework.data import sentiment140
from coursework.data.text import Vocabulary
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import Job, base, ngrams, sentiment, sentiment_study
from coursework.experiments.sentiment import Config
from coursework.experiments.sentiment_errors import confident_errors, reliability, saliency
from coursework.report import store
from coursework.training import checkpoints, engine

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("standin")

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


def replace_tweets(monkeypatch: Patch, tweets: Any) -> None:
    monkeypatch.setattr(sentiment140, "load_tokens", lambda: tweets)


@pytest.fixture(scope="module")
def trained(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    config = override(TINY, ["tweets=none", "baselines=true", "plan.epochs=3"])
    return train(config, 1, folder=folder), folder


# --------------------------------------------------------------------------------------------- a whole run


def test_learns_and_reports(trained: Any) -> None:
    run, metrics = trained[0], trained[0].metrics
    for part in ("test", "validation"):
        assert metrics[f"{part}_accuracy"] > metrics["majority.test_accuracy"] + 0.2
    assert metrics["linear.test_accuracy"] > 0.75
    assert metrics["naive_bayes.test_accuracy"] > 0.75
    low, high, how = run.notes["intervals"]["test_accuracy"]
    assert low < metrics["test_accuracy"] < high
    assert how == "Wilson, 800 test tweets"
    assert run.notes["sizes"] == {"train": 2400, "validation": 800, "test": 800}
    assert np.sum(run.notes["confusion"]) == 800
    assert np.trace(run.notes["confusion"]) == round(metrics["test_accuracy"] * 800)
    assert [row["epoch"] for row in run.curves["bilstm"]] == [1, 2, 3]
    record = store.make_record("sentiment-tiny", [run])
    store.validate(record, "sentiment-tiny")
    assert record["metrics"]["test_accuracy"]["interval"] == "Wilson, 800 test tweets"
    assert record["data"]["standin"] is True


def test_other_data_are_another_run(trained: Any, monkeypatch: Patch) -> None:
    run, folder = trained
    replace_tweets(monkeypatch, dataclasses.replace(sentiment140.load_tokens(), source=FOREIGN))
    with pytest.raises(TrainingError, match="another run .different: data"):
        train(run.config, 1, folder=folder, resume=True)


def test_evaluate_reproduces_the_run(trained: Any, tmp_path: Path) -> None:
    run, folder = trained
    again = sentiment.evaluate(folder / "best.pt")
    assert again == {key: run.metrics[key] for key in ("test_accuracy", "test_f1", "test_loss")}
    small = base.shrink(folder / "best.pt", tmp_path / "small.pt")
    accuracy = sentiment.evaluate(small)["test_accuracy"]
    assert accuracy == pytest.approx(run.metrics["test_accuracy"], abs=0.005)


def test_evaluate_refuses_other_data(trained: Any, standin: Path, tmp_path: Path) -> None:
    state = checkpoints.load(trained[1] / "best.pt")
    state["bundle"]["data"] |= {"standin": False, "tweets": 1_600_000}
    other = checkpoints.save(state, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="was trained on 1,600,000 tweets"):
        sentiment.evaluate(other)
    checkpoints.save(state | {"bundle": state["bundle"] | {"vocabulary": "a\nb"}}, other)
    with pytest.raises(TrainingError, match="does not fit this version of the sentiment"):
        sentiment.load(other)


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
    assert classifier.predict(texts[0]).tolist() == pytest.approx([probabilities[0]], abs=1e-6)
    assert classifier.predict([]).shape == (0,)
    for wrong in (["fine", None], [3.5], [b"bytes"]):
        with pytest.raises(ConfigError, match="A tweet is a text"):
            classifier.predict(wrong)


def test_signs_count_beside_the_words(trained: Any) -> None:
    classifier = sentiment.load(trained[1] / "best.pt")
    text = "what a wonderful day"
    plain, happy, sad, only, mixed = classifier.predict(
        [text, f"{text} :)", f"{text} \N{PENSIVE FACE}", ":(", f"{text} :) :("]
    )
    plain_odds, *odds = (float(np.log(p / (1 - p))) for p in (plain, happy, sad, only))
    assert odds == pytest.approx([plain_odds + 4, plain_odds - 4, -4], abs=1e-3)
    assert mixed == pytest.approx(plain)


# ------------------------------------------------------------------------------------------------ leakage


def test_the_accuracy_is_that_of_the_kept_epoch_and_the_majority_that_of_training(
    monkeypatch: Patch,
) -> None:
    real = engine.fit

    def fit(*given: Any, **options: Any) -> engine.Fit:
        return dataclasses.replace(real(*given, **options), best={"validation_accuracy": 2.0})

    monkeypatch.setattr(engine, "fit", fit)
    metrics = train().metrics
    assert metrics["validation_accuracy"] == 2
    assert metrics["majority.test_accuracy"] == 0.475  # most tweets are positive in training only


def test_vocabulary_knows_training_words_only() -> None:
    tweets = tweets_of([[0, 1, 1], [1, 2], [3, 3, 3, 3], [0]], [0, 1, 1, 0])
    vocabulary = sentiment.count_vocabulary(tweets, np.array([0, 1, 3]), 1, 100)
    assert vocabulary.to_list() == ["<pad>", "<unk>", "1", "0", "2"]
    encoded = sentiment.encode(tweets, np.array([2]), vocabulary, 36)
    assert encoded.batch(np.array([0]))[0].tolist() == [[1, 1, 1, 1]]


def test_baselines_do_not_see_test_labels(monkeypatch: Patch) -> None:
    monkeypatch.setattr(ngrams, "BITS", 16)
    honest = sentiment.prepare(TINY)
    changed = dataclasses.replace(honest, tweets=turned(honest.tweets, honest.split.test))
    before, after = (sentiment.linear_odds(corpus) for corpus in (honest, changed))
    assert before.keys() == after.keys() == {"naive_bayes", "linear"}
    assert all(np.array_equal(before[name], after[name]) for name in before)
    unread = dataclasses.replace(honest, tweets=turned(honest.tweets, honest.split.train[50:]))
    before, after = (sentiment.linear_odds(corpus, 50) for corpus in (honest, unread))
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("tweets", "sizes"), [(None, (960, 320, 320)), (500, (300, 100, 100))])
def test_split_is_exact(tweets: int | None, sizes: tuple[int, ...]) -> None:
    split, whole = (
        sentiment.split_rows(1600, dataclasses.replace(TINY, tweets=n)) for n in (tweets, None)
    )
    assert split.sizes == sizes
    assert len(np.unique(np.concatenate([split.train, split.validation, split.test]))) == sum(sizes)
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
    vocabulary = Vocabulary(("1", "0", "4"))
    chosen = random.sample(range(len(rows)), k=random.randint(1, len(rows)))
    encoded = sentiment.encode(tweets, np.array(chosen), vocabulary, max_length)
    assert len(encoded) == len(chosen)
    for i, row in enumerate(chosen):
        tokens, labels = encoded.batch(np.array([i]))
        expected = vocabulary.encode(map(str, rows[row]))[:max_length]
        assert tokens[0].tolist() == (expected or [sentiment.PAD_ID])
        assert tokens.dtype == torch.int64
        assert labels.tolist() == [row % 2]


def test_loss_smooths_labels_and_drops_words_in_training_only(monkeypatch: Patch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(sentiment.engine, "fit", lambda model, plan, **rest: options.update(rest))
    config = dataclasses.replace(TINY, word_dropout=0.5, label_smoothing=0.2)
    corpus = sentiment.prepare(config)
    sentiment.fit_network(Job("sentiment", config, seed=1, log=None), corpus)
    other = options["batches"](0).rows[0].tolist()
    model, _, _ = sentiment.fit_network(Job("sentiment", config, log=None), corpus)
    first, again, later = (options["batches"](epoch).rows[0].tolist() for epoch in (0, 0, 1))
    assert first == again
    assert other != first != later
    trained = [p for group in options["parameters"] for p in group["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))
    tokens = torch.full((2, 500), 7)
    tokens[0, 0] = sentiment.PAD_ID
    torch.manual_seed(0)
    network = MagicMock(training=True, return_value=torch.tensor([2.0, -1.0]))
    total, count = options["loss"](network, (tokens, torch.tensor([1.0, 0.0])))
    (seen,) = network.call_args.args
    z = torch.tensor([2.0, -1.0], dtype=torch.float64)
    y = torch.tensor([0.9, 0.1], dtype=torch.float64)
    p = torch.sigmoid(z)
    assert float(total) == pytest.approx(float(-(y * p.log() + (1 - y) * (1 - p).log()).sum()))
    assert count == 2
    assert seen[0, 0] == sentiment.PAD_ID
    assert set(seen.unique().tolist()) == {sentiment.PAD_ID, sentiment.UNK_ID, 7}
    assert 0.4 < float((seen == sentiment.UNK_ID).float().mean()) < 0.6
    network.training = False
    options["loss"](network, (tokens, torch.tensor([1.0, 0.0])))
    assert torch.equal(network.call_args.args[0], tokens)


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
    # no evidence either way counts as negative
    assert sentiment.confusion(np.zeros(2), np.array([0, 1])).tolist() == [[1, 0], [1, 0]]
    assert sentiment.scores(np.array([2.0]), np.array([1]))["accuracy"] == 1.0


# ------------------------------------------------------------------------------------ n-grams and copies


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=8))
def test_ngrams_are_those_of_each_tweet(rows: list[list[int]]) -> None:
    grams = [
        {tuple(row[a : a + n]) for n in (1, 2, 3) for a in range(len(row) - n + 1)} for row in rows
    ]
    every = sorted(set().union(*grams))
    matrix = ngrams.features(tweets_of([*rows, *every]), np.arange(len(rows) + len(every)), bits=30)
    columns = [set(row.indices.tolist()) for row in matrix]
    alone = dict(zip(every, columns[len(rows) :], strict=True))
    for i, own in enumerate(grams):
        assert len(columns[i]) == len(own) == matrix[i].sum()
        # the same n-gram has the same column in every tweet
        assert columns[i] == set().union(*(alone[gram] for gram in own))


def test_texts_with_equal_keys_are_equal() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 3, rng.integers(0, 4)).tolist() for _ in range(300)]
    tweets, texts = tweets_of(rows), [tuple(row) for row in rows]
    keys = ngrams.text_keys(tweets)
    assert len(set(keys)) == len(set(zip(texts, keys.tolist(), strict=True))) == len(set(texts))


# ---------------------------------------------------------------------------------------- word vectors


def test_word_vectors_start_from_glove() -> None:
    config = dataclasses.replace(TINY, embeddings="glove", embedding_dim=50)
    words = Vocabulary(("good", "bad", "xqzzxq"))
    corpus: Any = dataclasses.replace(sentiment.prepare(config), vocabulary=words)
    found: Any = [sentiment.word_vectors(config, corpus, 0) for _ in range(2)]
    (matrix, share), (again, _) = found
    assert matrix.shape == (5, 50)
    assert torch.equal(matrix, again)
    assert 0 < share < 1
    model = sentiment.build(config, 5, matrix)
    assert torch.equal(model.embedding.table.weight[2:], matrix[2:])
    assert model.embedding.table.weight[0].abs().sum() == 0


def test_own_word_vectors_repeat_and_know_training_words_only(
    standin: Path, monkeypatch: Patch
) -> None:
    config = dataclasses.replace(TINY, embeddings="word2vec", embedding_dim=8, max_vocabulary=2000)
    corpus = sentiment.prepare(config)
    found: Any = [sentiment.word_vectors(config, corpus, 0) for _ in range(2)]  # trained, cached
    monkeypatch.setenv("COURSEWORK_CACHE", str(standin / "elsewhere"))
    found.append(sentiment.word_vectors(config, corpus, 1))  # the same for every training seed
    (matrix, share), *others = found
    assert matrix.shape == (len(corpus.vocabulary), 8)
    assert 0.9 < share <= 1
    assert matrix[2:].std() == pytest.approx(0.3, rel=0.1)
    assert all(torch.equal(matrix, other) for other, _ in others)
    unseen = dataclasses.replace(corpus, validation=corpus.training, test=corpus.training)
    monkeypatch.setenv("COURSEWORK_CACHE", str(standin / "a third"))  # so they are learned again
    assert torch.equal(matrix, sentiment.word_vectors(config, unseen, 0)[0])


# ------------------------------------------------------------------- calibration, errors and saliency


def test_reliability_against_torchmetrics() -> None:
    from torchmetrics.classification import BinaryCalibrationError

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-0.5 * logits))).astype(np.float32)
    found = reliability(logits, labels, bins=15)
    assert found.count.sum() == 4000
    # torchmetrics bins by confidence max(p, 1 - p) only for two classes; here it bins p
    metric = BinaryCalibrationError(n_bins=15, norm="l1")
    expected = metric(torch.sigmoid(torch.tensor(logits)), torch.tensor(labels).long())
    assert found.error == pytest.approx(float(expected), abs=1e-5)
    found = reliability(np.array([80.0, -800.0]), np.array([1, 1]))  # certain predictions
    assert found.count.tolist() == [1, *[0] * 13, 1]
    assert found.error == pytest.approx(0.5)
    assert reliability(np.array([0.0]), np.array([1])).error == pytest.approx(0.5)


def test_saliency_is_complete_and_sees_the_words(trained: Any) -> None:
    classifier = trained[0].artefacts["classifier"]
    text = "i love this wonderful song but i hate the rain"
    found = saliency(classifier, text, steps=1000)
    assert len(found.tokens) == len(text.split())
    assert found.gap < 1e-3
    assert np.abs(found.scores).max() > 10 * found.gap
    # plain gradient times input does not add up: the reason for integrating
    assert saliency(classifier, text, steps=1).gap > found.gap
    with pytest.raises(ConfigError, match="No word of 'zxqv' is known"):
        saliency(classifier, "zxqv")


@pytest.mark.parametrize(
    "text", ["i love this", "i love this :( \N{FIRE}", ":) \N{HEAVY BLACK HEART}", ":) :("]
)
def test_parts_of_a_text_add_up_to_its_probability(trained: Any, text: str) -> None:
    classifier = trained[0].artefacts["classifier"]
    found = saliency(classifier, text, steps=1000)
    assert found.gap < 1e-3
    assert 1 / (1 + np.exp(-found.logit)) == pytest.approx(classifier.predict(text)[0], abs=1e-6)
    assert [":(" in found.tokens, "love" in found.tokens] == [":(" in text, "love" in text]
    assert str(found).startswith(f"(start) {found.baseline:+.2f}, {found.tokens[0]} ")


def test_confident_errors_come_first() -> None:
    logits = np.array([3.0, -2.0, 0.5, -4.0, 1.0])
    labels = np.array([0, 1, 1, 0, 0])
    assert confident_errors(logits, labels, 2).tolist() == [0, 1]
    assert confident_errors(logits, labels, 10).tolist() == [0, 1, 4]


# ------------------------------------------------------------------------------------------ the study


def test_variants_are_valid_and_change_something() -> None:
    base, variants = sentiment_study.BASE, sentiment_study.VARIANTS
    changed = {name: override(base, changes) for name, changes in variants.items()}
    assert changed["base"] == base
    assert len(set(changed.values())) == len(variants)


def test_study_does_not_see_the_test_part(monkeypatch: Patch) -> None:
    small = override(
        sentiment_study.PRESETS["quick"],
        ["base.tweets=1000", "base.train_tweets=300", "base.hidden_size=6",
         "base.embeddings=random", "variants=base,no label smoothing"],
    )  # fmt: skip
    job = Job("sentiment_study", small, "tiny", log=None)
    honest = sentiment_study.train(job)
    assert honest.metrics["base.difference"] == 0
    assert not any("test" in key for key in honest.metrics)
    tweets = sentiment140.load_tokens()
    replace_tweets(
        monkeypatch, turned(tweets, sentiment.split_rows(len(tweets.labels), small.base).test)
    )
    assert sentiment_study.train(job).metrics == honest.metrics
    store.validate(store.make_record("sentiment_study-tiny", [honest]), "sentiment_study-tiny")


def test_a_change_of_the_study_of_labels_is_compared_with_what_it_changes() -> None:
    for name, base_of in (
        ("60000 labels, plain and narrower", "60000 labels, plain"),
        ("60000 labels, language model and smoothing", "60000 labels, language model"),
        ("15000 labels, language model", "15000 labels, plain"),
    ):
        with pytest.raises(ConfigError, match=f"needs '{base_of}' as well"):
            sentiment_study.Config(variants=(name,))
