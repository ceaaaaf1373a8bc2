import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coursework.data.text import CLEANING_STEPS, SIGNS, Vocabulary, clean_tweet, tokenise
from coursework.experiments import sentiment_signs
from coursework.experiments.sentiment_signs import MOST, read, verdict

ROWS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
STRONG, WEAK = 4.0, 2.0  # log odds of one sign: 98 % and 88 %
KNOWN = (
    "i it the not so no happy love good day funny hate mondays sooo don't can't i'm this is "
    "<user> <url> <hashtag> <long> <3 ;) ! ' \" -"
)
WORDS = Vocabulary(tuple(KNOWN.split()))


@pytest.mark.parametrize(("typed", "plain"), ROWS["spellings"])
def test_other_spellings_are_read_as_the_plain_form(typed: str, plain: str) -> None:
    assert read(typed, WORDS) == read(plain, WORDS)


@pytest.mark.parametrize(("typed", "tokens"), ROWS["tokens"])
def test_elongations_and_hashtags(typed: str, tokens: str) -> None:
    assert " ".join(read(typed, WORDS).tokens) == tokens


@pytest.mark.parametrize(
    ("weight", "signs"),
    [
        (STRONG, ":) :-) =) (: :D :] =D :') 😀 🙂 ☺️ 😂 ❤️ 💕 😍 👍🏽 🎉 <33"),
        (-STRONG, ":( :-( =( ): :[ D: :'( T_T 😭 🙁 ☹️ 😢 💔 </3 >:( :@ 😡 👎"),
        (WEAK, ":p xD ^_^ 😉 😎"),
        (-WEAK, ":/ :| -_- >.< 🙄 😕"),
    ],
)
def test_weights_of_signs(weight: float, signs: str) -> None:
    spaced = {STRONG: [": )"], -STRONG: [": ("]}.get(weight, [])
    for sign in [*signs.split(), *spaced]:
        for text in (sign, f"{sign} {sign}", f"the {sign}", f"the {sign}!"):
            found = read(text, WORDS)
            assert [*found.signs.values()] == [weight], text
            assert found.tokens == [word for word in ("the", "!") if word in text], text


def test_signs_that_the_network_learned_stay_among_the_words() -> None:
    found = read("<3 ;) :)", WORDS)
    assert (found.tokens, found.signs, found.known) == (["<3", ";)"], {":)": STRONG}, True)
    assert read(":) <33 😭", WORDS).weight == STRONG
    assert read(":) <33 😂 👍", WORDS).weight == MOST


@pytest.mark.parametrize(
    "text",
    ["http://t.co/x", "10:30 (see list):", "it's D:drive", "a :: b", "said: no", "items:(a) 1<3"],
)
def test_what_is_no_sign(text: str) -> None:
    assert read(text, WORDS).signs == {}


def test_known_and_unknown() -> None:
    assert not read("@me http://a.b/c #zzz !!! 12 🍕", WORDS).known
    assert read("🍕 love", WORDS).known
    assert read("zzz " * 99 + "love", WORDS).tokens[-1] == "love"  # the end is read as well
    assert verdict(0.9, known=False) == "no known word"
    words = [verdict(p) for p in (0.39, 0.4, 0.5, 0.6, 0.61)]
    assert words == ["negative", *["undecided"] * 3, "positive"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from([*SIGNS]))
def test_any_text_can_be_read(text: str, sign: str) -> None:
    for raw in (text, text + sign):
        found = read(raw, WORDS)
        assert abs(found.weight) <= MOST
        assert all(token and " " not in token for token in found.tokens)


def test_training_is_cleaned_as_it_was() -> None:
    """What was recorded knows nothing of all this."""
    assert not any(step.function is sentiment_signs.texts.plain_signs for step in CLEANING_STEPS)
    assert " ".join(tokenise(clean_tweet("dont :( ‑ #notfunny"))) == "dont :( ‑ <hashtag> notfunny"
