"""Cleaning, tokenising, vocabulary."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import text
from coursework.data.text import (
    CLEANING_STEPS,
    PAD,
    UNK,
    CleaningStep,
    Pieces,
    Vocabulary,
    clean_tweet,
    tokenise,
    tokenise_many,
)
from coursework.errors import ConfigError, DataError

# what tweets are made of, in any order, and any other character
WORDS = "@user http://t.co/x www.a.com &amp; &lt;3 &#10; &nbsp; Ã© sooo !!!!! can't :) :-D (: <user> #tag"
SIGNS = ["\n", "\r", "\t", "\x85", "\xa0", "â\x80\x99", "ß", "İ", "’", "😀", "x@y.com"]
PIECES = st.sampled_from([*"abcdefgXYZ !?.,'#@&;:()<>/-_^*=", *WORDS.split(), *SIGNS])
TWEETS = st.lists(PIECES, max_size=12).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=30
)


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (text.unescape, "fish &amp; chips &lt;3 &quot;x&quot; R&B &#39;", "fish & chips <3 \"x\" R&B '"),
        (text.unescape, "a&#10;b", "a b"),
        (text.mend_mojibake, "cafÃ© â\x80\x9cyesâ\x80\x9d Ã¯Â»Â¿", "café “yes” ï»¿"),
        (text.mend_mojibake, "déjà vu ÃÃ â", "déjà vu ÃÃ â"),
        (text.plain_punctuation, "it’s “fine” … – `ok` a\u200bb", "it's \"fine\" ... - 'ok' ab"),
        (text.plain_signs, "‹ｉｔ’s ﬁne›\u202f! ‑ ＯＫ\xa0?", "'it's fine' ! - OK ?"),
        (text.replace_urls, "see http://bit.ly/a?b=c,d and www.x.org!", "see  <url>  and  <url> "),
        (text.replace_urls, "youtube.com/watch is twitpic.com here", " <url>  is  <url>  here"),
        (text.replace_urls, "end.then e.g. 3.5 a@b.com", "end.then e.g. 3.5 a@b.com"),
        (text.replace_users, "@a_1 hi,@b x@y @ home", " <user>  hi, <user>  x@y @ home"),
        (text.mark_hashtags, "#FollowFriday #1 a#b ##x", " <hashtag> FollowFriday  #1 a#b ##x"),
        (text.shorten_elongations, "soooo goooood!!!!! bb 1000", "sooo <long>  goood <long> !!! bb 1000"),
        (text.shorten_elongations, "wait..... ???? --", "wait... ??? --"),
        (text.CLEANING_STEPS[-1].function, "  a \t b\n", "a b"),
    ],
)  # fmt: skip
def test_each_step_alone(function: object, before: str, after: str) -> None:
    assert callable(function)
    assert function(before) == after


def test_steps_are_named_and_their_examples_change() -> None:
    names = [step.name for step in CLEANING_STEPS]
    assert len(set(names)) == len(names) >= 8
    for step in CLEANING_STEPS:
        assert step.function(step.example) != step.example, step.name


@pytest.mark.parametrize(
    ("tweet", "tokens"),
    [
        (
            "@switchfoot http://twitpic.com/2y1zl - Awww, that's a bummer. ;D",
            ["<user>", "<url>", "-", "awww", "<long>", ",", "that's", "a", "bummer", ".", ";d"],
        ),
        ("I'm NOT happy, can't sleep!!", ["i'm", "not", "happy", ",", "can't", "sleep", "!!"]),
        ("&lt;3 you &amp;amp; me :(", ["<3", "you", "&", "amp", ";", "me", ":("]),
        ("(: =/ ^_^ -_- :'( </3", ["(:", "=/", "^_^", "-_-", ":'(", "</3"]),
        ("#happy @me_2: ok", ["<hashtag>", "happy", "<user>", ":", "ok"]),
        (":people :p re:done xD 10:30", [":", "people", ":p", "re", ":", "done", "xd", "10", ":", "30"]),
        ("good-bye rock'n'roll 'quoted' it's", ["good-bye", "rock'n'roll", "'", "quoted", "'", "it's"]),
        ("   ", []),
    ],
)  # fmt: skip
def test_tokens_of_tweets(tweet: str, tokens: list[str]) -> None:
    assert tokenise(clean_tweet(tweet)) == tokens


@given(TWEETS)
@settings(deadline=None, max_examples=300)
def test_cleaning_keeps_its_promises(tweet: str) -> None:
    clean = clean_tweet(tweet)
    assert clean == clean.strip()
    assert "  " not in clean
    assert "\n" not in clean
    tokens = tokenise(clean)
    assert "".join(tokens) == clean.replace(" ", "")  # nothing is lost, no token has a space
    assert all(token and not any(c.isspace() for c in token) for token in tokens)


@given(TWEETS, TWEETS)
@settings(deadline=None, max_examples=300)
def test_every_step_looks_at_one_piece_at_a_time(a: str, b: str) -> None:
    both = tokenise(clean_tweet(f"{a} {b}"))
    assert both == tokenise(clean_tweet(a)) + tokenise(clean_tweet(b))


@given(st.lists(TWEETS, max_size=8), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_bulk_is_equal_to_tweet_by_tweet(tweets: list[str], chunk: int) -> None:
    tokens, offsets, types = tokenise_many(tweets, chunk=chunk)
    assert tokens.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(tweets) + 1
    for i, tweet in enumerate(tweets):
        found = [types[t] for t in tokens[offsets[i] : offsets[i + 1]]]
        assert found == tokenise(clean_tweet(tweet))
    counts = np.bincount(tokens, minlength=len(types))
    assert counts.min(initial=1) >= 1
    assert types == [t for _, t in sorted(zip(-counts, types, strict=True))]


BITS = st.lists(
    st.sampled_from(
        [
            *"aBoODxw3'-.,!?@:_/#\"(",
            "www",
            "awww.",
            "..",
            "!!!!",
            "can't",
            "@me",
            "https://",
            "http://a.b",
            "sooo",
            "NOT",
        ]
    ),
    min_size=1,
    max_size=5,
).map("".join)
SHOUT = CleaningStep("shout", lambda t: t.replace("NOT", "NEVER"), "NOT")


@given(BITS, st.sets(st.integers(0, len(CLEANING_STEPS) - 1)), st.booleans())
@settings(deadline=None, max_examples=500)
def test_the_fast_path_gives_the_same_tokens(piece: str, dropped: set[int], extra: bool) -> None:
    steps = tuple(step for i, step in enumerate(CLEANING_STEPS) if i not in dropped)
    steps = (SHOUT, *steps) if extra else steps
    assert text._piece_tokeniser(steps)(piece) == tokenise(clean_tweet(piece, steps))


@pytest.mark.parametrize("steps", [CLEANING_STEPS, CLEANING_STEPS[::-1], CLEANING_STEPS[3:], ()])
def test_pieces_are_cleaned_with_the_steps_that_are_given(steps: tuple[CleaningStep, ...]) -> None:
    tweets = ["@Me SOOO http://x.yz good!!!!", "", "fish &amp; chips", "  two   spaces "]
    tokens, offsets, types = Pieces.of(tweets, chunk=3).tokenise(steps)
    for i, tweet in enumerate(tweets):
        row = [types[t] for t in tokens[offsets[i] : offsets[i + 1]]]
        assert row == tokenise(clean_tweet(tweet, steps))


def some_tweets(n: int = 60) -> list[str]:
    rng = np.random.default_rng(0)
    words = ["good", "bad", "@me", "http://x.com", "Soooo", "can't", "!!", ":)", "é", "", "&lt;3"]
    return [" ".join(rng.choice(words, rng.integers(0, 7))) for _ in range(n)]


def assert_equal(a: tuple, b: tuple) -> None:  # type: ignore[type-arg]
    for left, right in zip(a[:2], b[:2], strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    assert a[2] == b[2]


def test_processes_do_not_change_the_result() -> None:
    tweets = some_tweets()
    one = tokenise_many(tweets, chunk=7, processes=1)
    assert_equal(tokenise_many(tweets, chunk=7, processes=2), one)
    assert_equal(tokenise_many(tweets, chunk=50, processes=1), one)


def test_few_texts_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    parallel = joblib.Parallel
    monkeypatch.setattr(joblib, "Parallel", lambda n: started.append(n) or parallel(n))
    assert len(tokenise_many(some_tweets())[1]) == 61
    assert started == [1]


def test_vocabulary_order_limits_and_round_trip() -> None:
    counts = {"b": 3, "a": 3, "c": 5, "rare": 1, UNK: 9}
    vocabulary = Vocabulary.from_counts(counts, min_count=2)
    assert vocabulary.to_list() == [PAD, UNK, "c", "a", "b"]
    assert len(vocabulary) == 5
    assert vocabulary.encode(["a", "zzz", "c"]) == [3, 1, 2]
    assert vocabulary.decode(np.array([3, 1, 2])) == ["a", UNK, "c"]
    assert "a" in vocabulary
    assert "rare" not in vocabulary
    assert Vocabulary.from_counts(counts, max_size=3).to_list() == [PAD, UNK, "c"]
    assert Vocabulary.from_list(vocabulary.to_list()) == vocabulary


def test_vocabulary_without_unknown() -> None:
    vocabulary = Vocabulary(("a",), specials=("<s>",))
    assert vocabulary["a"] == 1
    with pytest.raises(DataError, match="'b' is not in the vocabulary"):
        vocabulary.encode(["b"])
    with pytest.raises(ConfigError, match="twice"):
        Vocabulary(("a", "a"))
    with pytest.raises(DataError, match="begins with"):
        Vocabulary.from_list(["a", "b"])


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 9), max_size=20))
def test_vocabulary_encodes_what_it_knows(counts: dict[str, int]) -> None:
    vocabulary = Vocabulary.from_counts(counts)
    tokens = sorted(t for t in counts if t not in vocabulary.specials)
    assert vocabulary.decode(vocabulary.encode(tokens)) == tokens
    assert sorted(vocabulary.tokens) == tokens


@pytest.mark.filterwarnings("ignore")
def test_torchtext_counts_the_same_way() -> None:
    import collections

    pytest.importorskip("torchtext")
    from torchtext.vocab import Vocab

    counts = {"b": 3, "a": 3, "c": 5, "rare": 1, "d": 2}
    theirs = Vocab(collections.Counter(counts), min_freq=2, specials=(UNK, PAD))
    ours = Vocabulary.from_counts(counts, specials=(UNK, PAD), min_count=2)
    assert ours.to_list() == theirs.itos
