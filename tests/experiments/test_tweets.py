import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from some_tweets import turned, tweets_of

from coursework import settings
from coursework.data import sentiment140
from coursework.data.splits import Split
from coursework.data.text import CLEANING_STEPS, clean_tweet, tokenise
from coursework.experiments import Job, ngrams, tweets
from coursework.experiments.ngrams import text_keys
from coursework.experiments.tweets import BASE, VARIANTS, Config
from coursework.report import store

pytestmark = pytest.mark.usefixtures("standin")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (tweets.FIRST_LETTER[0], "@me 2 Days", "@mE two days"),
        (tweets.FIRST_LETTER[1], "@Me two Days", "@Me Two days"),
        (tweets.ARTEFACTS[0], "hi ", "hi you"),
        (tweets.ARTEFACTS[1], "hi  you", "hi you  "),
    ],
)
def test_patterns_find_what_they_name(pattern: str, yes: str, no: str) -> None:
    assert tweets.has(pa.array([yes, no]), pattern).tolist() == [True, False]


def test_variants_are_named_once_and_change_something() -> None:
    assert len({(v.kind, v.name) for v in VARIANTS}) == len(VARIANTS)
    steps = [v for v in VARIANTS if v.kind == "step left out"]
    others = [v for v in VARIANTS if v not in steps]
    assert {v.name for v in steps} == {step.name for step in CLEANING_STEPS} | {"every step"}
    tried = ":) <3 the running @maria http://bit.ly/x1 awww... NOT !"

    def result(variant: tweets.Variant) -> list[str | None]:
        tokens = tokenise(clean_tweet(tried, variant.steps))
        return [t if variant.token is None else variant.token(t) for t in tokens]

    base = result(BASE)
    changed = {v.name: result(v) for v in others}
    for variant in others:
        assert bool(variant.patterns) == (changed[variant.name] == base), variant.name
    dropped = {
        name: [t for t, new in zip(base, changed[name], strict=True) if new is None]
        for name in ("punctuation", "stop words", "<user> and <url>", "left-over emoticons")
    }
    assert dropped == {
        "punctuation": [":)", "!"],
        "stop words": ["the", "a", "not"],
        "<user> and <url>": ["<user>", "<url>", "<url>"],
        "left-over emoticons": [":)", "<3"],
    }
    assert "run" in changed["word endings (Porter 1980)"]
    assert "maria" in changed["user names"]
    assert "bit" in changed["domains of links"]
    assert "awww" in changed["awww... as a word, not a link"]


def test_chapter_shows_the_steps_as_they_are() -> None:
    chapter = (settings.repo_root() / "writeup" / "1_sentiment.typ").read_text(encoding="utf-8")
    for step in CLEANING_STEPS:
        after = " ".join(step.function(step.example).split()).replace('"', '\\"')
        row = f'([{step.name}], raw("{step.example}"), raw("{after}")),'
        assert row in chapter, row


def test_logistic_regression_learns_and_needs_the_signal() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600).astype(np.int8)
    noise = rng.random((600, 30)) < 0.2
    signal = rng.random(600) < np.where(labels, 0.9, 0.1)
    x = csr_matrix(np.column_stack([signal, noise]).astype(np.float32))
    right = ngrams.Linear(x[:400], labels[:400]).predict(x[400:]) == labels[400:]
    blind = ngrams.Linear(x[:400, 1:], labels[:400]).predict(x[400:, 1:]) == labels[400:]
    assert right.mean() > 0.8 > blind.mean() + 0.1


def test_equal_n_grams_have_equal_columns_in_all_variants() -> None:
    data = sentiment140.load()
    rows = sentiment140.split(len(data.labels))
    same = tweets.Variant("again", "also removed", token=lambda token: token)
    job, some = Job("tweets", Config(bits=12), log=None), tweets.first(rows, 500, 200)
    found = tweets.ablate_cleaning(job, data, some, (*VARIANTS[-2:], same))
    assert [row.name for row in found][:2] == [BASE.name, VARIANTS[-2].name]
    base, *_, again = found
    assert (again.accuracy, again.types, again.difference) == (base.accuracy, base.types, 0.0)
    data = turned(data, rows.validation)
    (other,) = tweets.ablate_cleaning(job, data, some, ())
    assert other.accuracy == pytest.approx(1 - base.accuracy)  # no label of theirs was fitted


def test_run_is_recorded_repeats_itself_and_reads_no_test_tweet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tweets, "VARIANTS", VARIANTS[4:6])
    job = Job("tweets", Config(train=600, validation=300, leakage=900, bits=12), seed=1, log=None)
    run = tweets.train(job)
    record = store.make_record("tweets-tiny", [run])
    store.validate(record, "tweets-tiny")
    key = f"step left out: {VARIANTS[4].name}.difference"
    assert record["metrics"][key]["interval"] == "paired, 300 validation tweets"
    random, grouped = run.artefacts["leakage"]
    assert grouped.share_known == 0
    assert grouped.known is None
    assert random.n == grouped.n == 300
    assert run.metrics["all steps.validation_accuracy"] > 0.7

    both = np.intersect1d(*(split.test for split in run.artefacts["splits"].values()))
    assert len(both) > 50
    for name in ("load", "load_tokens"):
        changed = turned(getattr(sentiment140, name)(), both)
        monkeypatch.setattr(sentiment140, name, lambda changed=changed: changed)
    assert tweets.train(job).metrics == run.metrics


def test_leakage_tells_copies_from_new_texts() -> None:
    data = tweets_of(["a", "b", "a", "c", "b"], [1, 0, 1, 0, 1])
    split = Split(np.array([0, 1]), np.array([2, 3, 4]), np.array([], np.int64))
    found = tweets.leakage(data, "random", split, text_keys(data), bits=10)
    # the second b has the other label
    assert (found.n, found.share_known, found.known) == (3, 2 / 3, 0.5)
    assert found.accuracy == pytest.approx((2 * 0.5 + found.new) / 3)
