"""Cleaning piece by piece: the fast path, other steps, several processes."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursework.data import text
from coursework.data.text import (
    CLEANING_STEPS,
    CleaningStep,
    Pieces,
    clean_tweet,
    tokenise,
    tokenise_many,
)

SIGNS = "aBoODxw3'-.,!?@:_/#\"("
WORDS = ["www", "awww.", "..", "!!!!", "can't", "@me", "https://", "http://a.b", "sooo", "NOT"]
PARTS = st.sampled_from([*SIGNS, *WORDS])
PIECES = st.lists(PARTS, min_size=1, max_size=5).map("".join)
SHOUT = CleaningStep("shout", lambda t: t.replace("NOT", "NEVER"), "NOT")


@given(PIECES, st.sets(st.integers(0, len(CLEANING_STEPS) - 1)), st.booleans())
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
