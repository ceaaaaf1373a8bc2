"""Problem 2(e) on the stand-in sentences: learning, repeatability, leakage, scores, bad input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.data import embeddings, eng_fra
from coursework.data.embeddings import WordVectors
from coursework.data.splits import Split
from coursework.data.text import Vocabulary
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import override, translation
from coursework.experiments.base import Run
from coursework.models.transformer import Transformer
from coursework.report import store
from coursework.training import checkpoints

PLAN = dataclasses.replace(
    translation.PLAN, epochs=4, learning_rate=1e-2, monitor="validation_loss", mode="min"
)
TINY = translation.Config(
    pairs=900,
    batch_size=16,
    word_dropout=0.05,
    rnn_embedding=32,
    rnn_hidden=48,
    rnn_dropout=0.1,
    d_model=48,
    n_heads=2,
    n_layers=1,
    d_ff=64,
    dropout=0.0,
    rnn_plan=dataclasses.replace(PLAN, epochs=3, learning_rate=2e-2),
    transformer_plan=PLAN,
)
SHORT = override(TINY, ["pairs=96", "rnn_plan.epochs=1", "transformer_plan.epochs=1"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Path]]:
    """Both models, trained once on the stand-in."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield translation.train(TINY, preset="tiny", run_dir=folder, log=None), folder


def test_both_models_learn_and_beat_the_baselines(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    assert run.source.is_standin
    best_baseline = max(run.metrics["copy.test_bleu"], run.metrics["memory.test_bleu"])
    for name in ("rnn", "transformer"):
        assert run.metrics[f"{name}.test_bleu"] > best_baseline + 5
        assert run.metrics[f"{name}.test_token_accuracy"] > 0.7
        history = run.curves[name]
        assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
        low, high, how = run.notes["intervals"][f"{name}.test_bleu"]
        assert low <= run.metrics[f"{name}.test_bleu"] <= high
        assert "sentences" in how
    assert 0 <= run.notes["paired_bootstrap_p"] <= 1
    assert "tok:13a" in run.notes["signatures"]["bleu"]
    assert run.notes["pairs"]["train"] == 900


def test_evaluate_reproduces_the_run(trained: tuple[Run, Path], standin: Path) -> None:
    run, folder = trained
    of_rnn = translation.evaluate(folder / "rnn" / "best.pt")
    both = translation.evaluate(folder)
    assert of_rnn == {key: value for key, value in both.items() if key.startswith("rnn.")}
    assert both == {
        key: value
        for key, value in run.metrics.items()
        if key.startswith(("rnn.test", "transformer.test"))
    }


def test_predict(trained: tuple[Run, Path], standin: Path) -> None:
    _, folder = trained
    rnn, transformer = folder / "rnn" / "best.pt", folder / "transformer" / "best.pt"
    for path in (rnn, transformer):
        assert translation.predict("Elle est fatiguée.", path).split()[0] in ("she", "they")
        plain = translation.predict("elle est fatiguee", path)
        assert translation.predict(
            "  ELLE   EST  FATIGUÉE !?.", path
        )  # signs are words of their own
        assert translation.predict("Elle est FATIGUÉE", path) == plain
        # Curly and straight apostrophes are the same, and unknown words are no error.
        assert translation.predict("Je n'suis pas prêt", path) == translation.predict(
            "je n’suis pas prêt", path
        )
        assert isinstance(translation.predict("xylophone zygomatique", path), str)
        assert isinstance(translation.predict("elle est " * 40, path), str)
    assert translation.predict("Elle est riche", folder) == translation.predict(
        "Elle est riche", transformer
    )
    for nothing in ("", "   ", "?!", "你好", "123"):
        with pytest.raises(DataError, match="no French word"):
            translation.predict(nothing, rnn)
    with pytest.raises(DataError, match="has 101 words; translate at most 100"):
        translation.predict("oui " * 101, rnn)
    with pytest.raises(DataError, match="must be text, not int"):
        translation.predict(7, rnn)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="no checkpoint"):
        translation.predict("oui", folder / "nothing.pt")


def test_attention_belongs_to_the_translation(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    corpus: translation.Corpus = run.artefacts["corpus"]
    sentences = [french for french, _ in corpus.part("test")[:5]]
    for name, translator in run.artefacts["translators"].items():
        for sentence in sentences:
            aligned = translator.align(sentence)
            assert aligned.source == [*sentence.split(), "<eos>"]
            assert aligned.weights.shape == (len(aligned.output), len(aligned.source)), name
            torch.testing.assert_close(
                aligned.weights.sum(1), torch.ones(len(aligned.output)), atol=1e-5, rtol=0
            )
            assert " ".join(aligned.output[:-1]) == translator(sentence)
    model = run.artefacts["translators"]["transformer"].model
    assert not model.decoder.layers[-1].cross_attention._forward_pre_hooks


def test_the_same_seed_gives_the_same_result(standin: Path) -> None:
    corpus = translation.prepare(SHORT)
    first, second = (translation.train(SHORT, seed=1, log=None, corpus=corpus) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.artefacts["translations"] == second.artefacts["translations"]
    # A model does not depend on which others are trained, and does on the seed.
    alone = dataclasses.replace(SHORT, models=("transformer",))
    same, other = (
        translation.train(alone, seed=seed, log=None, corpus=corpus).metrics for seed in (1, 2)
    )
    key = "transformer.validation_loss"
    assert same[key] == first.metrics[key] != other[key]


def test_killed_and_resumed_is_the_same_bit_for_bit(standin: Path, tmp_path: Path) -> None:
    config = override(SHORT, ["models=transformer", "transformer_plan.epochs=2"])
    corpus = translation.prepare(config)
    whole = translation.train(config, run_dir=tmp_path / "a", log=None, corpus=corpus)

    def kill(line: str) -> None:
        if line.startswith("epoch 2/2"):  # comes before the second epoch is stored
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translation.train(config, run_dir=tmp_path / "b", log=kill, corpus=corpus)
    lines: list[str] = []
    resumed = translation.train(
        config, run_dir=tmp_path / "b", resume=True, log=lines.append, corpus=corpus
    )
    assert any(line.startswith("resumed from last.pt") for line in lines)
    assert resumed.metrics == whole.metrics
    files = [tmp_path / run / "transformer" / "last.pt" for run in "ab"]
    a, b = (checkpoints.load(file)["model"] for file in files)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_test_pairs_have_no_influence(standin: Path) -> None:
    """Other English on the test side: the models, and all they choose, stay as they are."""
    config = dataclasses.replace(SHORT, models=("rnn",))
    corpus = translation.prepare(config)
    pairs = list(corpus.pairs)
    for row in corpus.split.test:
        pairs[row] = (pairs[row][0], "i am somebody else")
    changed = dataclasses.replace(corpus, pairs=pairs)
    one, two = (translation.train(config, log=None, corpus=c) for c in (corpus, changed))
    assert one.artefacts["translations"] == two.artefacts["translations"]
    assert one.metrics["rnn.validation_bleu"] == two.metrics["rnn.validation_bleu"]
    assert one.metrics["rnn.test_loss"] != two.metrics["rnn.test_loss"]


def test_no_sentence_on_two_sides_and_vocabulary_of_training_pairs(standin: Path) -> None:
    corpus = translation.prepare(dataclasses.replace(TINY, pairs=None))
    assert translation.shared_with_training(corpus.pairs, corpus.split) == {
        "french": 0.0,
        "english": 0.0,
        "either": 0.0,
    }
    leaky = translation.shared_with_training(
        corpus.pairs, eng_fra.split_random(corpus.pairs, seed=0)
    )
    assert leaky["either"] > 0.3
    words = {word for french, _ in corpus.part("train") for word in french.split()}
    assert set(corpus.french.tokens) == words
    few = translation.prepare(dataclasses.replace(TINY, pairs=50))
    assert few.split.sizes[0] == 50
    assert np.array_equal(few.split.test, corpus.split.test)
    assert len(few.french) < len(corpus.french)
    with pytest.raises(ConfigError, match="prepare it with this config"):
        translation.train(TINY, log=None, corpus=few)  # 900 pairs wanted, 50 given


# ---------------------------------------------------------------------------------- batches and loss


def _batches(word_dropout: float = 0.3, seed: int = 0) -> tuple[list[Any], translation.Batches]:
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(30)]
    pairs = [
        (" ".join(rng.choice(words, rng.integers(1, 9))), " ".join(rng.choice(words, n)))
        for n in rng.integers(1, 9, size=101)
    ]
    vocabulary = Vocabulary(tuple(words), translation.SPECIALS)
    return pairs, translation.Batches(pairs, vocabulary, vocabulary, 8, word_dropout, seed)


def test_batches_hold_every_pair_once_and_depend_on_seed_and_epoch_only() -> None:
    pairs, batches = _batches(word_dropout=0.0)
    _, again = _batches(word_dropout=0.0)
    again(4)  # an epoch drawn before changes nothing
    assert all(
        torch.equal(a[key], b[key])
        for a, b in zip(batches(1), again(1), strict=True)
        for key in ("source", "read", "write")
    )
    written = []
    for batch in batches(1):
        assert len(batch["source"]) <= 8
        assert not (batch["source"] == translation.PAD_ID).any()  # equal lengths: no padding
        assert (batch["read"][:, 0] == translation.SOS_ID).all()
        # What is read is what is written, one word later.
        for read, write in zip(batch["read"].tolist(), batch["write"].tolist(), strict=True):
            sentence = [w for w in write if w != translation.PAD_ID]
            assert sentence[-1] == translation.EOS_ID
            assert [w for w in read[1:] if w != translation.PAD_ID] == sentence[:-1]
            written.append(sentence[:-1])
    expected = [batches.targets[row] for row in range(len(pairs))]
    assert sorted(written) == sorted(expected)
    order = [batch["write"].tolist() for batch in batches(1)]
    assert order != [batch["write"].tolist() for batch in batches(2)]


def test_hidden_words_are_inputs_only() -> None:
    _, batches = _batches(word_dropout=0.5)
    reads = torch.cat([batch["read"].flatten() for batch in batches(0)])
    writes = torch.cat([batch["write"].flatten() for batch in batches(0)])
    sources = torch.cat([batch["source"].flatten() for batch in batches(0)])
    assert not (writes == translation.UNK_ID).any()
    words = writes >= len(translation.SPECIALS)
    for ids in (sources, reads):
        kept = (ids >= len(translation.SPECIALS)).sum()
        share = (ids == translation.UNK_ID).sum() / ((ids == translation.UNK_ID).sum() + kept)
        assert 0.4 < share < 0.6
    assert (reads == translation.SOS_ID).sum() == 101  # special words stay
    assert (reads == translation.PAD_ID).sum() == (writes == translation.PAD_ID).sum()
    assert words.any()


def test_loss_counts_real_words_only() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 20, 16, 2, 1, 1, 32, 0.0, pad_idx=translation.PAD_ID).eval()
    source = torch.tensor([[5, 6, 3], [7, 8, 3]])
    write = torch.tensor([[9, 10, 3, 0, 0], [11, 12, 13, 14, 3]])
    read = torch.cat([torch.full((2, 1), 2), write[:, :-1]], dim=1).masked_fill(write == 0, 0)
    total, count = translation.token_loss(model, {"source": source, "read": read, "write": write})
    assert count == 8
    one_by_one = sum(
        F.cross_entropy(
            model(source[i : i + 1], read[i : i + 1, :n])[0], write[i, :n], reduction="sum"
        )
        for i, n in ((0, 3), (1, 5))
    )
    torch.testing.assert_close(total, one_by_one)


# --------------------------------------------------------------------------------------------- scores


def test_scores() -> None:
    references = ["she is very happy today", "we are not at home now"]
    assert translation.score(references, references) == pytest.approx(
        {"bleu": 100, "chrf": 100, "exact_match": 1}
    )
    half = translation.score([references[0], "we are not at school"], references)
    assert 30 < half["bleu"] < 90
    assert half["exact_match"] == 0.5
    assert translation.score(["", ""], references)["bleu"] == 0
    low, high, _ = translation.intervals([references[0], "we are at school"] * 20, references * 20)[
        "bleu"
    ]
    assert low < high
    # The same system twice cannot differ; a clearly worse one does.
    same = translation.paired_bootstrap(references * 20, references * 20, references * 20, 100)
    worse = translation.paired_bootstrap(
        references * 20, ["she is sad today", "we are home"] * 20, references * 20, 100
    )
    assert same == 1
    assert worse < 0.05


def test_nearest_training_sentence() -> None:
    memory = [("je suis content", "i am glad"), ("tu es fort", "you are strong"), ("oui", "yes")]
    wanted = ["tu es tres fort", "je suis content", "inconnu"]
    assert translation.nearest_in_memory(memory, wanted) == [
        "you are strong",
        "i am glad",
        "i am glad",  # nothing in common: the first
    ]


def test_shared_sentences_are_counted() -> None:
    pairs = [("a", "x"), ("b", "y"), ("a", "z"), ("c", "y"), ("d", "w")]
    split = Split(np.array([0, 1]), np.array([], np.int64), np.array([2, 3, 4]))
    assert translation.shared_with_training(pairs, split) == pytest.approx(
        {"french": 1 / 3, "english": 1 / 3, "either": 2 / 3}
    )


def test_comparison_and_verdict_follow_the_numbers(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    live = translation.Outcome.of(run)
    recorded = translation.Outcome.of(store.make_record("translation-tiny", [run]))
    assert recorded == live
    shown = translation.comparison({"own": live, "pre-trained": recorded})
    assert [row[0] for row in shown.rows] == [
        *["recurrent model", "Transformer"] * 2,
        "nearest training sentence",
        "source copied",
    ]
    assert shown.rows[0][3] == f"{run.metrics['rnn.test_bleu']:.1f}"
    metrics = {"memory.test_bleu": 20.0, "rnn.test_bleu": 15.0, "transformer.test_bleu": 30.0}
    one = dataclasses.replace(live, metrics=metrics)
    two = dataclasses.replace(live, metrics=metrics | {"rnn.test_bleu": 18.5})
    text = translation.verdict({"own": one, "pre-trained": two})
    assert "Transformer 30.0, recurrent model 15.0." in text
    assert "nearest training sentence (20.0): Transformer." in text
    assert "recurrent model +3.5, Transformer +0.0" in text


# -------------------------------------------------------------------------------- pre-trained vectors


def test_pretrained_vectors(standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, list[str]] = {}
    source = eng_fra.load().source

    def fake(width: int, name: str) -> Any:
        def look_up(words: Any) -> WordVectors:
            asked[name] = list(words)
            found = np.array([not word.startswith("s") for word in words])
            vectors = np.full((len(words), width), 7.0, np.float32)
            vectors[:, ::2] = 3.0
            return WordVectors(np.where(found[:, None], vectors, 0), found, source)

        return look_up

    monkeypatch.setattr(embeddings, "french", fake(12, "french"))
    monkeypatch.setattr(embeddings, "glove", fake(5, "english"))
    config = dataclasses.replace(SHORT, embeddings="pretrained", tie_embeddings=False)
    corpus = translation.prepare(config)
    vectors = translation.pretrained_vectors(corpus)
    assert vectors.french.shape == (len(corpus.french), 12)
    assert vectors.english.shape == (len(corpus.english), 5)
    # Words are looked up with their accents, which the tutorial's text has lost.
    assert "êtes" in asked["french"]
    assert "etes" not in asked["french"]
    row = corpus.french["je"]
    assert vectors.french[row].tolist() == pytest.approx([1.5, 3.5] * 6, rel=0.05)
    assert vectors.french[corpus.french["suis"]].std() > 0.1  # not found: random, not zero
    assert 0 < vectors.coverage["english"] < 1

    run = translation.train(config, run_dir=tmp_path, log=None, corpus=corpus)
    assert run.notes["pretrained"]["english"]["coverage"] == vectors.coverage["english"]
    assert translation.evaluate(tmp_path) == {
        key: value
        for key, value in run.metrics.items()
        if key.startswith(("rnn.test", "transformer.test"))
    }


# ------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("models=", "name each of rnn, transformer once"),
        ("models=rnn,rnn", "name each of rnn, transformer once"),
        ("models=lstm", "models cannot be 'lstm'"),
        ("embeddings=word2vec", "embeddings cannot be 'word2vec'"),
        ("freeze=true", "only pretrained embeddings"),
        ("pairs=0", "pairs is 0"),
        ("dropout=1", "dropout is 1.0"),
        ("d_model=50", "not a multiple of n_heads"),
        ("batch_size=-1", "batch_size is -1"),
    ],
)
def test_bad_config(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(dataclasses.replace(TINY, n_heads=4), [setting])


def test_bad_checkpoints(trained: tuple[Run, Path], standin: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no best\.pt in"):
        translation.evaluate(tmp_path)
    foreign = checkpoints.save({"model": {}, "bundle": {"experiment": "cora"}}, tmp_path / "a.pt")
    with pytest.raises(TrainingError, match="not one of the translation experiment"):
        translation.load(foreign)
    state = checkpoints.load(trained[1] / "rnn" / "best.pt")
    state["bundle"]["config"]["split_seed"] = 9
    other = checkpoints.save(state, tmp_path / "b.pt")
    with pytest.raises(TrainingError, match="trained on other sentence pairs"):
        translation.evaluate(other)


def test_presets() -> None:
    assert {"quick", "full", "quick-pretrained", "full-pretrained"} <= translation.PRESETS.keys()
    for size in ("quick", "full"):
        own, pretrained = translation.PRESETS[size], translation.PRESETS[f"{size}-pretrained"]
        assert own.embeddings == "own"
        assert pretrained.embeddings == "pretrained"
        assert (own.pairs, own.split_seed) == (pretrained.pairs, pretrained.split_seed)
