import csv
import gzip
import html
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from coursework.data import sentiment140, sources
from coursework.data.sentiment140 import MEMBER, read_csv
from coursework.data.sources import FileCheck, Source
from coursework.data.text import clean_tweet, tokenise
from coursework.errors import DataError

# as they stand in the official file, which escapes HTML and is read as latin-1
RAW = [
    ("0", "@a I'm sad, so &quot;sad&quot; &amp;amp; "),
    ("0", 'he said "no", then\nleft'),
    ("4", "cafÃ© &lt;3 yay "),
    ("4", ""),
    ("4", "plain"),
]
TEXTS = [html.unescape(text) for _, text in RAW]
LABELS = [0, 0, 1, 1, 1]


def official(rows: list[tuple[str, str]] = RAW) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for i, (label, text) in enumerate(rows):
        writer.writerow([label, str(i), "Mon Apr 06 22:19:45 PDT 2009", "NO_QUERY", "user", text])
    return out.getvalue().encode("latin-1")


def two_columns() -> bytes:
    out = io.StringIO()
    labels = [label for label, _ in RAW]
    csv.writer(out, lineterminator="\n").writerows(zip(labels, TEXTS, strict=True))
    return out.getvalue().encode("utf-8")


def written(path: Path, content: bytes, member: str = MEMBER, of_hand: bytes = b"other") -> Path:
    """A file in the form that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("testdata.manual.2009.06.14.csv", of_hand)
            archive.writestr(member, content)
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.zip", official()), ("a.csv", official()), ("a.csv.gz", two_columns())],
    ids=["official zip", "official csv", "two columns"],
)
def test_all_forms_give_the_same(tmp_path: Path, name: str, content: bytes) -> None:
    texts, labels = read_csv(written(tmp_path / name, content))
    assert texts.to_pylist() == TEXTS
    assert labels.tolist() == LABELS
    assert labels.dtype == np.int8


def test_first_row_with_a_line_feed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", official([("0", "one\ntwo"), ("4", "x")]))
    assert read_csv(path)[0].to_pylist() == ["one\ntwo", "x"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"0,a,b\n4,c,d\n", "3 columns"),
        (b"just text\n", "1 columns"),
        (b"", "0 columns"),
        (b"0,a\n4,b,c\n", "cannot be read"),
        (b"0,a\n2,b\n", "label '2'"),
        (b"target,text\n0,a\n", "label 'target'"),
        (b"0,\xff\xfe\n", "cannot be read"),
    ],
)
def test_wrong_columns_labels_and_bytes(tmp_path: Path, content: bytes, problem: str) -> None:
    path = written(tmp_path / "tweets.csv.gz", content)
    with pytest.raises(DataError, match=rf"tweets\.csv\.gz.*{problem}"):
        read_csv(path)


def test_damaged_archives(tmp_path: Path) -> None:
    cut, *rest = bad = [
        written(tmp_path / "cut.csv.gz", two_columns() * 2000),
        written(tmp_path / "other.zip", official(), "../../evil.csv"),
        *(tmp_path / name for name in ("no.csv.gz", "no.zip", "missing.csv")),
    ]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for path in rest[1:3]:
        path.write_bytes(b"neither")
    before = sorted(tmp_path.iterdir())
    for path in bad:
        with pytest.raises(DataError, match="(cannot be read|outside of it).*fetch it again"):
            read_csv(path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, standin: Path, tmp_path: Path) -> Path:
    path = written(tmp_path / "a.zip", official(RAW[:4]))
    monkeypatch.setattr(sources, "find", lambda name: Source(name, "cache", "digest", (path,), ""))
    return standin


def test_load_and_tokens_from_the_cache(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sentiment140.load()
    assert data.texts.to_pylist() == TEXTS[:4]
    assert data.labels.tolist() == LABELS[:4]
    first = sentiment140.load_tokens()
    monkeypatch.setattr(sentiment140, "read_csv", None)  # what is cached is not read again
    second = sentiment140.load_tokens()
    for tweets in (first, second):
        rows = np.split(tweets.tokens, tweets.offsets[1:-1])
        found = [[tweets.types[token] for token in row] for row in rows]
        assert found == [tokenise(clean_tweet(text)) for text in TEXTS[:4]]
        assert tweets.tokens.dtype == np.int32
        assert tweets.labels.tolist() == LABELS[:4]
    assert sentiment140.load().texts.to_pylist() == TEXTS[:4]
    names = {path.name.rpartition("-")[0] for path in (small / "parsed").iterdir()}
    assert names == {"sentiment140-texts", "sentiment140-tokens"}


HAND = [("0", "awful &amp; sad"), ("2", "a train"), ("4", "Ã¼ber :)"), ("0", "bad"), ("2", "x")]


@pytest.fixture
def few(standin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sentiment140, "_HAND_LABELS", {"0": 2, "4": 1, "2": 2})
    monkeypatch.setattr(sources, "check", lambda path, file: FileCheck(path, 0, None))
    (standin / "sentiment140").mkdir()
    return standin / "sentiment140"


@pytest.mark.parametrize("form", ["archive", "file"])
def test_hand_labelled_tweets_without_the_neutral_ones(few: Path, form: str) -> None:
    if form == "archive":
        written(few / "trainingandtestdata.zip", official(), of_hand=official(HAND))
    else:
        written(few / sentiment140.HAND_LABELLED, official(HAND))
    texts, labels = sentiment140.hand_labelled()
    assert texts == ["awful & sad", "Ã¼ber :)", "bad"]
    assert labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (official(HAND[:4]), "2 negative, 1 positive and 1 neutral tweets, so it is not"),
        (b'"0","1","text"\n', "3 columns"),
        (official(HAND).decode("latin-1").encode("utf-16"), "cannot be read"),
        (b"\xef\xbb\xbf" + official(HAND), "has the label"),
        (official([*HAND, ("3", "x")]), "label '3' besides 0, 4, 2"),
    ],
    ids=["too few", "columns", "UTF-16", "byte order mark", "label"],
)
def test_other_files_of_hand_labelled_tweets(few: Path, content: bytes, problem: str) -> None:
    written(few / sentiment140.HAND_LABELLED, content)
    with pytest.raises(DataError, match=problem):
        sentiment140.hand_labelled()


def test_without_hand_labelled_tweets_a_sentence_says_where_they_go(standin: Path) -> None:
    message = r"put testdata\.manual.*\.csv or .*zip\) into .*sentiment140\."
    with pytest.raises(DataError, match=message):
        sentiment140.hand_labelled()
    (standin / "sentiment140").mkdir()
    written(standin / "sentiment140" / "trainingandtestdata.zip", official())
    with pytest.raises(DataError, match="bytes instead of 81,363,704"):
        sentiment140.hand_labelled()


def test_split_is_60_20_20() -> None:
    assert sentiment140.split(1_600_000).sizes == (960_000, 320_000, 320_000)
    assert sentiment140.split(4000, seed=1).sizes == (2400, 800, 800)


def test_grouped_split_keeps_keys_together_in_any_order() -> None:
    rng = np.random.default_rng(0)
    keys = np.minimum(rng.geometric(1e-4, 100_000), 60_000).astype(np.uint64)  # some groups of 20
    keys[:50] = 7
    shuffled = rng.permutation(keys)
    sides = []
    for of_row in (keys, shuffled):
        split = sentiment140.split_grouped(of_row, seed=3)
        shares = np.array(split.sizes) / len(of_row)
        assert shares == pytest.approx(sentiment140.FRACTIONS, abs=0.001)
        sides.append([set(of_row[p].tolist()) for p in (split.train, split.validation, split.test)])
        train, validation, test = sides[-1]
        assert train.isdisjoint(validation)
        assert test.isdisjoint(train | validation)
    assert sides[0] == sides[1]
    assert set(keys[sentiment140.split_grouped(keys, seed=4).test].tolist()) != sides[0][2]
