"""Subwords: learned repeatably, reversible, stored in a checkpoint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import standins
from coursework.data.subwords import EOS_ID, PAD_ID, SOS_ID, UNK_ID, Subwords, learn


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    english, french = standins.sentence_pairs()
    return [*english, *french]


@pytest.fixture(scope="module")
def model(sentences: list[str]) -> Subwords:
    return learn(sentences, 150)


def test_every_training_sentence_comes_back(model: Subwords, sentences: list[str]) -> None:
    assert [model.decode(ids) for ids in model.encode(sentences)] == sentences


def test_special_ids(model: Subwords) -> None:
    assert model.pieces([PAD_ID, UNK_ID, SOS_ID, EOS_ID]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert all(min(ids) > EOS_ID for ids in model.encode(["I am happy."]))
    assert (
        model.decode([SOS_ID, *model.encode(["I am happy."])[0], EOS_ID, PAD_ID]) == "I am happy."
    )


def test_learned_twice_the_same(model: Subwords, sentences: list[str]) -> None:
    assert learn(sentences, 150) == model
    assert hash(learn(sentences, 150)) == hash(model)
    assert learn(sentences, 120) != model


def test_a_vocabulary_larger_than_the_text_allows_is_cut(sentences: list[str]) -> None:
    assert len(learn(sentences, 4000)) < 4000


def test_stored_in_a_tensor(model: Subwords) -> None:
    stored = model.to_tensor()
    assert stored.dtype == torch.uint8
    assert Subwords.from_tensor(stored) == model


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_encoded_and_decoded_without_a_fault(model: Subwords, text: str) -> None:
    ids = model.encode([text])[0]
    assert all(0 <= i < len(model) for i in ids)
    assert isinstance(model.decode(ids), str)


def test_unknown_signs_do_not_hide_the_rest(model: Subwords) -> None:
    ids = model.encode(["I am 喜 happy."])[0]
    assert UNK_ID in ids
    assert model.decode(ids).split() == ["I", "am", "happy."]
