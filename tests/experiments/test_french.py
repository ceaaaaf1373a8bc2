import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import eng_fra
from coursework.data.text import SIGNS
from coursework.experiments.french import cased, sentences, typed

ROWS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
PLAIN = "Il a dit : \"C'est l'heure d'aller là-bas...\" fin !"
VARIANTS = {typed_: [s for s, plain in SIGNS.items() if plain == typed_] for typed_ in "'-\" "}


@given(st.data())
def test_signs_of_all_kinds_are_read_as_the_plain_ones(data: st.DataObject) -> None:
    text = "".join(
        data.draw(st.sampled_from([c, *VARIANTS[c]])) if c in VARIANTS else c for c in PLAIN
    )
    text = data.draw(st.sampled_from([text, text.replace("...", "…")]))
    assert typed(unicodedata.normalize(data.draw(st.sampled_from(["NFC", "NFD"])), text)) == PLAIN


@pytest.mark.parametrize(("text", "plain"), ROWS["typed"])
def test_typographic_signs_become_plain_ones(text: str, plain: str) -> None:
    assert typed(text) == plain
    assert typed(plain) == plain


@pytest.mark.parametrize("parts", ROWS["sentences"])
def test_a_text_is_cut_between_sentences_only(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_no_sentence_of_the_corpus_is_cut() -> None:
    """What is cut off is a whole sentence: it begins like one, ends like one, and closes its quotes."""
    data = eng_fra.load()
    for french in dict.fromkeys(data.french):
        *cut, last = sentences(typed(french))
        for piece in (*cut, last) if cut else ():
            assert piece.count('"') % 2 == 0, french
            assert piece == last or piece.rstrip('"')[-1] in ".!?)", french
            assert not piece.lstrip('"(- ')[:1].islower() or typed(french).islower(), french
        for piece in cut:
            assert piece.split()[-1].lower() not in ("m.", "mme.", "dr."), french


@pytest.mark.parametrize(("given", "usual"), ROWS["case"])
def test_capitals_are_written_as_usual(given: str, usual: str) -> None:
    known = {"je", "suis", "avec", "Tom", "très", "oui", "test", "le"}
    assert cased(given, lambda word: 1 if word in known else len(word)) == usual
