"""Problem 2(e) on all pairs, on the stand-in: learning, leakage, batches, checkpoints, bad input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data.subwords import EOS_ID, PAD_ID, SOS_ID, UNK_ID
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import translation_all as experiment
from coursework.experiments.base import Run
from coursework.training import checkpoints

TINY = experiment.Config(
    pairs=900,
    vocabulary=150,
    tokens=500,
    d_model=48,
    n_heads=2,
    encoder_layers=1,
    decoder_layers=1,
    d_ff=64,
    hidden=48,
    dropout=0.0,
    beam=3,
    plan=dataclasses.replace(experiment.PLAN, epochs=5, learning_rate=8e-3),
)
SHORT = dataclasses.replace(TINY, pairs=64, plan=dataclasses.replace(TINY.plan, epochs=1))


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSEWORK_DATA", raising=False)
        patch.setenv("COURSEWORK_OFFLINE", "1")
        patch.setenv("COURSEWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trained(offline: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("run")
    return experiment.train(TINY, preset="tiny", run_dir=folder, log=None), folder


@pytest.fixture(scope="module")
def corpus(offline: None) -> experiment.Corpus:
    return experiment.prepare(TINY)


def test_it_learns_and_beats_the_baselines(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    assert run.source.is_standin
    assert run.metrics["test_bleu"] > 40
    for baseline in ("copy", "memory"):
        assert run.metrics["test_bleu"] > run.metrics[f"{baseline}.test_bleu"]
    low, high, _ = run.notes["intervals"]["test_bleu"]
    assert low <= run.metrics["test_bleu"] <= high


def test_several_references_can_only_help(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    assert run.notes["several_references"] > 0
    assert run.metrics["test_match_multi"] >= run.metrics["test_exact_match"]
    assert run.metrics["test_chrf_multi"] >= run.metrics["test_chrf"]


def test_scores_against_several_references_by_hand() -> None:
    several = [
        ["it rains now .", "it is raining now ."],
        ["i see you ."],
        ["we go home .", "we go ."],
    ]
    said = ["it is raining now .", "i see him .", "we go home ."]
    found = experiment.score_all(said, several)
    assert found["match_multi"] == pytest.approx(2 / 3)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["bleu_multi"] > found["bleu"]
    with pytest.raises(ValueError, match="longer"):
        experiment.score_all(said[:2], several)


def test_the_recurrent_model_learns_too(offline: None, corpus: experiment.Corpus) -> None:
    config = dataclasses.replace(TINY, model="rnn")
    run = experiment.train(config, log=None, corpus=corpus)
    assert run.metrics["test_bleu"] > run.metrics["memory.test_bleu"]


def test_pretrained_vectors_are_where_training_starts(corpus: experiment.Corpus) -> None:
    vectors = experiment.subword_vectors(corpus, TINY, 0)
    assert vectors.shape == (len(corpus.subwords), TINY.d_model)
    model = experiment.build(TINY, len(corpus.subwords), vectors)
    table = model.get_parameter("src_embedding.table.weight").detach()
    scale = table[EOS_ID + 1 :].std() / vectors[EOS_ID + 1 :].std()
    torch.testing.assert_close(table[5], vectors[5] * scale, rtol=0.1, atol=1e-3)


def test_no_sentence_is_on_two_sides(corpus: experiment.Corpus) -> None:
    for side in (corpus.data.french, corpus.data.english):
        keys = np.array(experiment.sentence_keys(side))
        parts = [set(keys[corpus.rows(p)]) for p in ("train", "validation", "test")]
        assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))


def test_a_random_split_shares_sentences(offline: None) -> None:
    leaky = experiment.prepare(dataclasses.replace(TINY, split="random", pairs=None))
    train, test = (set(np.array(leaky.data.french)[leaky.rows(p)]) for p in ("train", "test"))
    assert train & test


def test_subwords_know_the_training_sentences_only(corpus: experiment.Corpus) -> None:
    from coursework.data.subwords import learn

    french, english = corpus.data.french, corpus.data.english
    text = [side[row] for row in corpus.rows("train") for side in (french, english)]
    assert learn(text, TINY.vocabulary) == corpus.subwords


def test_references_belong_to_the_same_source(corpus: experiment.Corpus) -> None:
    rows = corpus.rows("test")
    for row, several in zip(rows, experiment.references(corpus, rows), strict=True):
        assert several[0] == corpus.data.english[row]
        assert len(set(several)) == len(several)
        for english in several:
            assert (corpus.data.french[row], english) in set(
                zip(corpus.data.french, corpus.data.english, strict=True)
            )


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60),
    tokens=st.integers(1, 200),
    epoch=st.integers(0, 3),
)
def test_every_pair_is_in_one_batch_and_no_batch_breaks_the_budget(
    lengths: list[tuple[int, int]], tokens: int, epoch: int
) -> None:
    sources = [[9] * s for s, _ in lengths]
    targets = [[8] * t for _, t in lengths]
    batches = experiment.Batches(sources, targets, tokens, seed=1)
    groups = batches.groups(epoch)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    for group, batch in zip(groups, batches(epoch), strict=True):
        size = batch["source"].numel() + batch["write"].numel()
        assert size <= tokens or len(group) == 1
        assert (batch["read"][:, 0] == SOS_ID).all()
        for row, i in enumerate(group):
            write = batch["write"][row]
            assert write[write != PAD_ID].tolist() == [*targets[i], EOS_ID]


def test_epochs_differ_and_repeat() -> None:
    rng = np.random.default_rng(0)
    sentences = [[5] * int(n) for n in rng.integers(1, 9, 80)]
    batches = experiment.Batches(sentences, sentences, 60, word_dropout=0.3, seed=4)
    first, again, other = batches(0), batches(0), batches(1)
    assert all(torch.equal(a["source"], b["source"]) for a, b in zip(first, again, strict=True))
    assert any(
        a["source"].shape != b["source"].shape or not torch.equal(a["source"], b["source"])
        for a, b in zip(first, other, strict=False)
    )
    hidden = torch.cat([(b["source"] == UNK_ID).flatten() for b in first])
    assert 0.1 < hidden.float().mean() < 0.5
    assert all((b["write"] != UNK_ID).all() for b in first)


def test_same_seed_same_run(offline: None) -> None:
    runs = [experiment.train(SHORT, seed=3, log=None) for _ in range(2)]
    other = experiment.train(SHORT, seed=4, log=None)
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].metrics["validation_loss"] != other.metrics["validation_loss"]


def test_checkpoint_translates_like_the_model(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = trained
    translator = run.artefacts["translator"]
    sentences = run.artefacts["corpus"].data.french[:20]
    expected = translator(sentences)
    assert experiment.predict(sentences, folder / "best.pt") == expected
    small = experiment.export(folder / "best.pt", tmp_path / "small.pt")
    assert small.stat().st_size < (folder / "best.pt").stat().st_size
    weights = checkpoints.load(small)["model"].values()
    assert {w.dtype for w in weights} == {torch.float16}
    agree = np.mean(
        [a == b for a, b in zip(experiment.predict(sentences, small), expected, strict=True)]
    )
    assert agree > 0.9
    assert experiment.evaluate(folder / "best.pt")["test_bleu"] == run.metrics["test_bleu"]


@pytest.mark.parametrize(
    "sentence",
    ["", "   ", "\x00\t", "喜欢", "JE SUIS CONTENTE !", "l’école d'été", "zzz qqq", "?", "je " * 400,
     "Ich bin ein Berliner.", "🙂🙂", "e\u0301te\u0301"],
)  # fmt: skip
def test_any_sentence_ends_in_a_translation(trained: tuple[Run, Path], sentence: str) -> None:
    translator = trained[0].artefacts["translator"]
    (output,) = translator([sentence], beam=2)
    assert isinstance(output, str)
    if not sentence.strip("\x00\t "):
        assert output == ""


def test_the_order_of_sentences_is_kept_and_empty_ones_stay_empty(
    trained: tuple[Run, Path],
) -> None:
    translator = trained[0].artefacts["translator"]
    french = trained[0].artefacts["corpus"].data.french
    mixed = [french[3], "", french[700], french[20], " "]
    assert translator(mixed) == [translator([s])[0] for s in mixed]


def test_a_long_text_is_translated_sentence_by_sentence(trained: tuple[Run, Path]) -> None:
    translator = trained[0].artefacts["translator"]
    sentences = ["Je suis fatigué.", "Elle est contente.", "Es-tu prêt ?"]
    assert translator([" ".join(sentences)]) == [" ".join(translator(sentences))]
    words = ["je", "suis"] * 250
    pieces = translator.encode(" ".join(words))
    assert all(0 < len(piece) <= experiment.LONGEST_INPUT for piece in pieces)
    flat = [i for piece in pieces for i in piece]
    assert flat == translator.subwords.encode([" ".join(words)])[0]
    assert all(len(piece) <= experiment.LONGEST_INPUT for piece in translator.encode("x" * 900))


def test_bad_input(trained: tuple[Run, Path], tmp_path: Path) -> None:
    translator = trained[0].artefacts["translator"]
    with pytest.raises(DataError, match="must be text"):
        translator([3])
    with pytest.raises(ConfigError, match="from 1 to 64"):
        translator(["Bonjour."], beam=0)
    with pytest.raises(TrainingError, match="no checkpoint"):
        experiment.load(tmp_path / "none.pt")
    checkpoints.save({"bundle": {"experiment": "sentiment"}}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="not one of the translation_all"):
        experiment.load(tmp_path / "other.pt")


def test_a_corpus_of_another_config_is_refused(corpus: experiment.Corpus) -> None:
    with pytest.raises(ConfigError, match="prepare it with this config"):
        experiment.train(dataclasses.replace(TINY, vocabulary=120), log=None, corpus=corpus)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "lstm"}, "choose from rnn, transformer"),
        ({"embeddings": "glove"}, "choose from own, pretrained"),
        ({"split": "sorted"}, "choose from component, random"),
        ({"tokens": 0}, "at least 1"),
        ({"beam": 0}, "at least 1"),
        ({"dropout": 1.0}, "in [0, 1)"),
        ({"alpha": -1.0}, "must not be negative"),
        ({"d_model": 50, "n_heads": 4}, "not a multiple"),
    ],
)
def test_bad_config(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        dataclasses.replace(TINY, **change)
    assert message in str(raised.value)


def test_presets_share_the_test_pairs() -> None:
    cells = [experiment.PRESETS[n] for n in ("brief", "brief-pretrained", "rnn", "rnn-pretrained")]
    assert {(c.model, c.embeddings) for c in cells} == {
        ("transformer", "own"), ("transformer", "pretrained"), ("rnn", "own"), ("rnn", "pretrained"),
    }  # fmt: skip
    assert len({(c.split_seed, c.split, c.pairs, c.vocabulary) for c in cells}) == 1


def test_predict_command(trained: tuple[Run, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from coursework.cli import app

    run, folder = trained
    given = ["--checkpoint", str(folder / "best.pt")]
    french = run.artefacts["corpus"].data.french[:2]
    wanted = run.artefacts["translator"](french, beam=1)
    result = CliRunner().invoke(app, ["predict", "translate", *french, "--beam", "1", *given])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == wanted
    file = tmp_path / "french.txt"
    file.write_text("\n".join([french[0], "", french[1]]), encoding="utf-8")
    result = CliRunner().invoke(
        app, ["predict", "translate", "--file", str(file), "--beam", "1", *given]
    )
    assert result.stdout.split("\n")[:3] == [wanted[0], "", wanted[1]]
    result = CliRunner().invoke(app, ["predict", "translate", "Oui.", "--beam", "99", *given])
    assert result.exit_code != 0
    assert "from 1 to 64" in result.output


def test_alignment(trained: tuple[Run, Path]) -> None:
    translator = trained[0].artefacts["translator"]
    aligned = translator.align("Je suis fatigué.")
    assert aligned.weights.shape == (len(aligned.output), len(aligned.source))
    torch.testing.assert_close(aligned.weights.sum(dim=1), torch.ones(len(aligned.output)))
    assert aligned.source[-1] == aligned.output[-1] == "</s>"
    text = "".join(aligned.output[:-1]).replace("▁", " ").strip()
    assert text == translator(["Je suis fatigué."])[0]
    with pytest.raises(DataError, match="exactly one sentence"):
        translator.align("Oui. Non.")
