import itertools
import tomllib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import joblib
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import embeddings, text
from coursework.data.text import CLEANING_STEPS, Vocabulary, clean_tweet, tokenise
from coursework.errors import DataError

ROWS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
# what tweets are made of, in any order, and any other character
WORDS = "@user http://t.co/x www.a.com &amp; &lt;3 &#10; &nbsp; Ã© sooo !!!!! can't :) :-D (: <user> #tag"
SIGNS = ["\n", "\r", "\t", "\x85", "\xa0", "â\x80\x99", "ß", "İ", "’", "😀", "x@y.com"]
PIECES = st.sampled_from([*"abcdefgXYZ !?.,'#@&;:()<>/-_^*=", *WORDS.split(), *SIGNS])
TWEETS = st.lists(PIECES, max_size=12).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=30
)


@pytest.mark.parametrize(("step", "before", "after"), ROWS["steps"])
def test_each_step_alone(step: str, before: str, after: str) -> None:
    assert getattr(text, step)(before) == after


def test_steps_are_named_and_their_examples_change() -> None:
    names = [step.name for step in CLEANING_STEPS]
    assert len(set(names)) == len(names) >= 8
    for step in CLEANING_STEPS:
        assert step.function(step.example) != step.example, step.name
    assert step.function("  a \t b\n") == "a b"  # the last one


@pytest.mark.parametrize(("tweet", "tokens"), ROWS["tokens"])
def test_tokens_of_tweets(tweet: str, tokens: str) -> None:
    assert " ".join(tokenise(clean_tweet(tweet))) == tokens


@given(TWEETS)
@settings(max_examples=300)
def test_cleaning_keeps_its_promises(tweet: str) -> None:
    clean = clean_tweet(tweet)
    assert clean == clean.strip()
    assert "  " not in clean
    assert "\n" not in clean
    tokens = tokenise(clean)
    assert "".join(tokens) == clean.replace(" ", "")  # nothing is lost, no token has a space
    assert all(token and not any(c.isspace() for c in token) for token in tokens)


@given(TWEETS, TWEETS)
@settings(max_examples=300)
def test_every_step_looks_at_one_piece_at_a_time(a: str, b: str) -> None:
    assert tokenise(clean_tweet(f"{a} {b}")) == tokenise(clean_tweet(a)) + tokenise(clean_tweet(b))


strings = partial(pa.array, type=pa.large_string())


def rows_of(tokens: np.ndarray, offsets: np.ndarray, types: list[str]) -> list[list[str]]:
    rows = (tokens[start:end] for start, end in itertools.pairwise(offsets))
    return [[types[token] for token in row] for row in rows]


@given(st.lists(TWEETS, max_size=8), st.integers(1, 5))
@settings(max_examples=100)
def test_bulk_is_equal_to_tweet_by_tweet(tweets: list[str], chunk: int) -> None:
    with patch.object(text, "CHUNK", chunk):
        tokens, offsets, types = text.Pieces.of(strings(tweets)).tokenise()
    assert (tokens.dtype, offsets.dtype) == (np.int32, np.int64)
    assert rows_of(tokens, offsets, types) == [tokenise(clean_tweet(tweet)) for tweet in tweets]
    counts = np.bincount(tokens, minlength=len(types))
    assert counts.min(initial=1) >= 1
    assert types == [t for _, t in sorted(zip(-counts, types, strict=True))]


FRAGMENTS = "www awww. .. !!!! can't @me https:// http://a.b sooo NOT"
BITS = [*"aBoODxw3'-.,!?@:_/#\"(", *FRAGMENTS.split()]
PIECE = st.lists(st.sampled_from(BITS), min_size=1, max_size=5).map("".join)


@given(PIECE)
@settings(max_examples=500)
def test_the_fast_path_gives_the_same_tokens(piece: str) -> None:
    assert text._tokens_of(piece) == tokenise(clean_tweet(piece))


@pytest.mark.parametrize("steps", [CLEANING_STEPS, CLEANING_STEPS[::-1], CLEANING_STEPS[3:], ()])
def test_pieces_are_cleaned_with_the_steps_that_are_given(
    steps: tuple[text.CleaningStep, ...],
) -> None:
    tweets = ["@Me SOOO http://x.yz good!!!!", "", "fish &amp; chips", "  two   spaces "]
    found = rows_of(*text.Pieces.of(strings(tweets)).tokenise(steps))
    assert found == [tokenise(clean_tweet(tweet, steps)) for tweet in tweets]


SOME_WORDS = "good bad @me http://x.com Soooo can't !! :) é &lt;3"
RNG = np.random.default_rng(0)
SOME = [" ".join(RNG.choice(["", *SOME_WORDS.split()], RNG.integers(0, 7))) for _ in range(60)]


def test_processes_do_not_change_the_result() -> None:
    one, other = (text.tokenise_many(strings(SOME), processes=n) for n in (1, 2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
    assert one[2] == other[2]


def test_few_texts_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    parallel = MagicMock(side_effect=joblib.Parallel)
    monkeypatch.setattr(joblib, "Parallel", parallel)
    assert len(text.tokenise_many(strings(SOME))[1]) == 61
    assert not parallel.called


def test_vocabulary_order_limits_and_round_trip() -> None:
    counts = {"b": 3, "a": 3, "c": 5, text.UNK: 9}
    vocabulary = Vocabulary.from_counts(counts)
    assert vocabulary.to_list() == [text.PAD, text.UNK, "c", "a", "b"]
    assert vocabulary.encode(["a", "zzz", "c"]) == [3, 1, 2]
    assert vocabulary.decode(np.array([3, 1, 2])) == ["a", text.UNK, "c"]
    assert [word in vocabulary for word in ("a", "rare")] == [True, False]
    assert Vocabulary.from_counts(counts, max_size=3).to_list() == [text.PAD, text.UNK, "c"]
    assert Vocabulary.from_list(vocabulary.to_list()) == vocabulary


def test_vocabulary_without_unknown() -> None:
    vocabulary = Vocabulary(("a",), specials=("<s>",))
    assert vocabulary["a"] == 1
    with pytest.raises(DataError, match="'b' is not in the vocabulary"):
        vocabulary.encode(["b"])
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
    pytest.importorskip("torchtext")
    from torchtext.vocab import Vocab

    counts = {"b": 3, "a": 3, "c": 5, "d": 2}
    theirs = Vocab(Counter(counts), specials=(text.UNK, text.PAD))
    assert Vocabulary.from_counts(counts, specials=(text.UNK, text.PAD)).to_list() == theirs.itos


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("load", "width", "words"),
    [
        (embeddings.glove, 50, "cat dog carburetor qqzzxyq cat"),
        (embeddings.french, 300, "chat chien êtes qqzzxyq chat"),
    ],
)
def test_words_of_a_kind_are_near(load: Any, width: int, words: str) -> None:
    found = load(words.split())
    vectors = found.vectors
    assert vectors.shape == (5, width)
    assert vectors.dtype == np.float32
    assert found.found.tolist() == [True, True, True, False, True]
    assert not vectors[3].any()
    np.testing.assert_array_equal(vectors[0], vectors[4])
    unit = vectors[:3] / np.linalg.norm(vectors[:3], axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.3
    assert found.source.label == "real (package)"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_published_row_and_no_words() -> None:
    np.testing.assert_allclose(embeddings.glove(["the"]).vectors[0, :3], [0.418, 0.24968, -0.41242])
    assert embeddings.glove([]).vectors.shape == (0, 50)
