import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import eng_fra, standins
from coursework.data.eng_fra import EnglishFrench
from coursework.data.sources import Source
from coursework.data.subwords import EOS_ID, PAD_ID, SOS_ID, UNK_ID, Subwords, learn
from coursework.errors import DataError


@given(st.text("aéÉçŒ .!?'-19ıß\u202f", max_size=20))
def test_normalise_is_the_tutorials(raw: str) -> None:
    text = raw.lower().strip()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    text = re.sub(r"([.!?])", r" \1", text)
    assert eng_fra.normalise(raw) == re.sub(r"[^a-zA-Z!?]+", r" ", text).strip()


def test_the_subset_has_the_sentences_of_the_tutorial() -> None:
    english = ["I'm cold.", "He is an old man.", "Go.", f"I am {'so ' * 8}ill.", "Iam here."]
    french = ["J'ai froid.", "mot " * 10, "Va.", "Je suis malade.", "Je suis là."]
    data = EnglishFrench(english, french, Source("eng-fra", "cache", "", (), ""))
    assert eng_fra.tutorial_pairs(data) == [("j ai froid", "i m cold")]


@pytest.mark.parametrize("line", ["only one column", "one\ttwo\tthree", "\tleer", "empty\t", ""])
def test_wrong_columns(line: str) -> None:
    with pytest.raises(DataError, match="Line 2 of the file"):
        eng_fra.parse(f"Go.\tVa.\n{line}\nHi.\tSalut.", "the file")


def test_parse_keeps_what_is_written() -> None:
    assert eng_fra.parse("Go.\tVa !\r\nHi.\tSalut.\n", "x") == (["Go.", "Hi."], ["Va !", "Salut."])


# ------------------------------------------------------------------------------------------- subwords


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
    (ids,) = model.encode(["I am happy."])
    assert min(ids) > EOS_ID
    assert model.decode([SOS_ID, *ids, EOS_ID, PAD_ID]) == "I am happy."


def test_learned_twice_the_same(model: Subwords, sentences: list[str]) -> None:
    assert learn(sentences, 150) == model
    assert hash(learn(sentences, 150)) == hash(model)
    assert learn(sentences, 120) != model
    # a vocabulary larger than the text allows is cut
    assert len(learn(sentences, 4000)) < 4000


@given(st.text(max_size=60))
def test_any_text_is_encoded_and_decoded_without_a_fault(model: Subwords, text: str) -> None:
    ids = model.encode([text])[0]
    assert all(0 <= i < len(model) for i in ids)
    assert isinstance(model.decode(ids), str)


def test_unknown_signs_do_not_hide_the_rest(model: Subwords) -> None:
    ids = model.encode(["I am 喜 happy."])[0]
    assert UNK_ID in ids
    assert model.decode(ids).split() == ["I", "am", "happy."]
