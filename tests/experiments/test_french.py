"""French as people type it: signs, sentences, capitals, and what the networks cannot read."""

from __future__ import annotations

import unicodedata

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coursework.data import eng_fra
from coursework.data.text import SIGNS
from coursework.experiments.french import cased, sentences, typed

PLAIN = "Il a dit : \"C'est l'heure d'aller là-bas...\" fin !"
VARIANTS = {typed_: [s for s, plain in SIGNS.items() if plain == typed_] for typed_ in "'-\" "}


@hypothesis.settings(deadline=None)
@given(st.data())
def test_signs_of_all_kinds_are_read_as_the_plain_ones(data: st.DataObject) -> None:
    text = "".join(
        data.draw(st.sampled_from([c, *VARIANTS[c]])) if c in VARIANTS else c for c in PLAIN
    )
    text = data.draw(st.sampled_from([text, text.replace("...", "…")]))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    assert typed(unicodedata.normalize(form, text)) == PLAIN


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("« Oui. »\u202f", '"Oui."'),
        ("Ｊｅ　ｓｕｉｓ　ｌà．", "Je suis là."),
        ("e\u0301te\u0301\u200b", "été"),
        ("ﬁn\x00 \t ", "fin"),
    ],
)
def test_typed(text: str, plain: str) -> None:
    assert typed(text) == plain
    assert typed(plain) == plain


@pytest.mark.parametrize(
    "parts",
    [
        ["M. Jackson est là.", "Mme. Martin aussi !"],
        ["D.H. Lawrence est un romancier."],
        ["Un test A.D.N. prouva son innocence."],
        ['Il a dit : "Je suis fatigué."', "Il part."],
        ['"Qui le dit ? Lui ?" "Moi."'],
        ['"Tom pleure." - "Je sais."'],
        ["Allez ! réponds vite."],
        ["Oui...", "Non ?", "Si !"],
        ["je suis là.", "tu es là."],
        ["Je sais (un peu).", "(Ou pas.)"],
        [],
    ],
)
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


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("JE SUIS AVEC TOM !", "Je suis avec Tom !"),
        ("je suis avec tom.", "Je suis avec Tom."),
        ("C'est TRÈS bon, Tom.", "C'est très bon, Tom."),
        ("OUI", "Oui"),
        ("Le test ADN.", "Le test ADN."),
        ("A.D.N.", "A.D.N."),
        ("?!", "?!"),
    ],
)
def test_case(given: str, usual: str) -> None:
    known = {"je", "suis", "avec", "Tom", "très", "oui", "test", "le"}
    assert cased(given, lambda word: 1 if word in known else len(word)) == usual
