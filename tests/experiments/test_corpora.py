import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import embeddings, eng_fra
from coursework.data.embeddings import WordVectors
from coursework.data.splits import Split
from coursework.errors import DataError
from coursework.experiments import corpora
from coursework.experiments.corpora import EOS_ID, PAD_ID, SOS_ID, UNK_ID, Batches

pytestmark = pytest.mark.usefixtures("standin")


@pytest.mark.parametrize("kind", ["subset", "all"])
def test_no_sentence_on_two_sides_and_vocabulary_of_training_pairs(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = eng_fra.load()
    for side in (data.french, data.english):  # capitals do not make another sentence
        side += [sentence.upper() for sentence in side]
    monkeypatch.setattr(eng_fra, "load", lambda: data)
    corpus = corpora.prepare(kind, vocabulary=150)
    pairs = list(zip(*map(corpora.letters_only, (corpus.french, corpus.english)), strict=True))
    assert set(corpora.shared_with_training(pairs, corpus.split).values()) == {0.0}
    leaky = corpora.prepare(kind, "random", vocabulary=150)
    assert corpora.shared_with_training(pairs, leaky.split)["either"] > 0.3
    learned = corpora.learn(*corpus.part("train"), 150 if kind == "all" else None)
    assert learned == (corpus.source, corpus.target)
    few = corpora.prepare(kind, pairs=300, vocabulary=120)
    assert few.split.sizes[0] == 300
    assert np.array_equal(few.split.test, corpus.split.test)
    assert corpora.learn(corpus.french, corpus.english, 150 if kind == "all" else None) != learned
    with pytest.raises(DataError, match="use more pairs"):
        corpora.prepare(kind, pairs=0)


@pytest.mark.parametrize("kind", ["subset", "all"])
def test_words_and_subwords_are_read_and_written(kind: Any) -> None:
    corpus = corpora.prepare(kind, vocabulary=150)
    french, english = corpus.part("test")
    assert corpus.target.decode(corpus.target.encode(english[:1])[0]) == english[0]
    assert corpus.source.read(french[0]) == corpus.source.encode(french[:1])
    assert corpora.language(corpus.source.stored()) == corpus.source
    assert corpus.target.pieces([EOS_ID])[0] in ("<eos>", "</s>")


def test_a_long_text_is_cut_into_sentences_and_pieces() -> None:
    subwords = corpora.prepare("all", vocabulary=150).source
    sentences = ["Je suis fatigué.", "Elle est contente.", "Es-tu prêt ?"]
    assert subwords.read(" ".join(sentences)) == subwords.encode(sentences)
    words = " ".join(["Je", "suis"] * 250)
    pieces = subwords.read(words)
    assert all(0 < len(piece) <= corpora.LONGEST_INPUT for piece in pieces)
    assert [i for piece in pieces for i in piece] == subwords.encode([words])[0]
    assert all(len(piece) <= corpora.LONGEST_INPUT for piece in subwords.read("x" * 900))


def test_references_belong_to_the_same_source() -> None:
    corpus = corpora.prepare("all", vocabulary=150)
    known = set(zip(corpus.french, corpus.english, strict=True))
    references = corpus.references("test")
    assert references is not None
    assert max(map(len, references)) > 1
    for french, own, several in zip(*corpus.part("test"), references, strict=True):
        assert several[0] == own
        assert len(set(several)) == len(several)
        assert all((french, english) in known for english in several)
    assert corpora.prepare("subset").references("test") is None


def test_shared_sentences_are_counted() -> None:
    pairs = [("a", "x"), ("b", "y"), ("a", "z"), ("c", "y"), ("d", "w")]
    split = Split(np.array([0, 1]), np.array([], np.int64), np.array([2, 3, 4]))
    assert corpora.shared_with_training(pairs, split) == pytest.approx(
        {"french": 1 / 3, "english": 1 / 3, "either": 2 / 3}
    )


GROUPS = [corpora.equal_sources, corpora.budget_of_tokens]
some_lengths = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60)


@pytest.mark.parametrize("group", GROUPS)
@settings(max_examples=25)
@given(lengths=some_lengths, size=st.integers(1, 200), epoch=st.integers(0, 3))
def test_every_pair_is_in_one_batch_and_no_batch_is_too_large(
    group: Any, lengths: list[tuple[int, int]], size: int, epoch: int
) -> None:
    sources, targets = ([[9] * pair[side] for pair in lengths] for side in (0, 1))
    batches = Batches(sources, targets, group, size, seed=1)(epoch)
    rows = [batches.rows[i] for i in range(len(batches))]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    for chosen, batch in zip(rows, batches, strict=True):
        if group is corpora.equal_sources:
            assert len(chosen) <= size
            assert not (batch["source"] == PAD_ID).any()
        else:
            cells = batch["source"].numel() + batch["write"].numel()
            assert cells <= size or len(chosen) == 1
        assert (batch["read"][:, 0] == SOS_ID).all()
        # what is read is what is written, one word later
        for row, read, write in zip(chosen, batch["read"], batch["write"], strict=True):
            assert write[write != PAD_ID].tolist() == [*targets[row], EOS_ID]
            assert read[read != PAD_ID].tolist() == [SOS_ID, *targets[row]]


@pytest.mark.parametrize("group", GROUPS)
def test_epochs_differ_and_repeat_and_hidden_words_are_inputs_only(group: Any) -> None:
    rng = np.random.default_rng(0)
    sentences = [rng.integers(4, 30, n).tolist() for n in rng.integers(1, 9, 101)]
    batches = Batches(sentences, sentences, group, 60, word_dropout=0.5, seed=4)
    other, first, again = batches(1), batches(0), batches(0)
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    for different in (other, dataclasses.replace(batches, seed=5)(0)):
        assert [b["write"].tolist() for b in first] != [b["write"].tolist() for b in different]
    source, read, written = (
        torch.cat([batch[key].flatten() for batch in first]) for key in ("source", "read", "write")
    )
    for ids in (source, read):
        hidden, kept = (ids == UNK_ID).sum(), (ids > EOS_ID).sum()
        assert 0.4 < hidden / (hidden + kept) < 0.6
    assert not (written == UNK_ID).any()
    assert (read == SOS_ID).sum() == 101  # marks and padding stay
    assert (read == PAD_ID).sum() == (written == PAD_ID).sum()


def test_pretrained_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[str]] = {}
    source = eng_fra.load().source

    def fake(width: int, name: str) -> Any:
        def look_up(words: Any) -> WordVectors:
            asked[name] = list(words)
            found = np.array([not word.startswith("s") for word in words])
            vector = np.resize(np.float32([3, 7]), width)
            return WordVectors(found[:, None] * vector, found, source)

        return look_up

    monkeypatch.setattr(embeddings, "french", fake(12, "french"))
    monkeypatch.setattr(embeddings, "glove", fake(5, "english"))
    corpus = corpora.prepare("subset")
    (french, english), notes = corpora.word_vectors(corpus, 8, seed=0)
    assert french.shape == (len(corpus.source), 12)
    assert english.shape == (len(corpus.target), 5)
    # Words are looked up with their accents, which the tutorial's text has lost.
    assert "êtes" in asked["french"]
    assert "etes" not in asked["french"]
    ((je, suis),) = corpus.source.encode(["je suis"])
    assert french[je].tolist() == pytest.approx([1.5, 3.5] * 6, rel=0.05)
    assert french[suis].std() > 0.1  # not found: random, not zero
    assert 0 < notes["english"]["coverage"] < 1


def test_accents_are_those_of_the_given_sentences() -> None:
    french = ["Je suis prêt.", "Je suis bien prèt.", "Je suis très prèt."]
    data = eng_fra.EnglishFrench(["I am late."] * 3, french, eng_fra.load().source)
    forms = corpora.accented_forms(data, [eng_fra.normalise(french[0])])
    assert forms == {"je": "je", "suis": "suis", "pret": "prêt"}


def test_vectors_of_subwords() -> None:
    corpus = corpora.prepare("all", pairs=900, vocabulary=150)
    (one, two), notes = corpora.word_vectors(corpus, 16, seed=0)
    assert one is two
    assert notes == {}
    assert one.shape == (len(corpus.source), 16)
    train = corpus.split.train
    unseen = dataclasses.replace(corpus, split=Split(train, train, train))
    assert torch.equal(one, corpora.word_vectors(unseen, 16, seed=0)[0][0])
    assert one[EOS_ID + 1 :].std() == pytest.approx(1, abs=0.05)
    assert one.abs().sum(dim=1).min() > 0
