"""Sentiment140: 1.6 million tweets labelled by the emoticon that was then cut out of them.

The official file has six columns (label, id, date, query, user, text), is read as latin-1 and
HTML-unescaped once; a data root may have the two columns ``label, text`` of it in UTF-8. Both give the
same texts. Id, date and user are not used: the labels were crawled at different times, so they give the
label away.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import html
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, overload

import numpy as np

from coursework.data import archives, cache, sources, text
from coursework.data.sources import Source
from coursework.data.splits import Split, group_split, random_split
from coursework.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MEMBER = "training.1600000.processed.noemoticon.csv"
FRACTIONS = (0.6, 0.2, 0.2)
_N_TWEETS = 1_600_000
_VERSION = 1  # raise it when the reading, the cleaning or the tokenising changes


class Texts(Sequence[str]):
    """Many strings that are decoded when they are read.

    Text ``i`` is ``raw[offsets[i]:offsets[i + 1]]``, UTF-8 bytes.
    """

    def __init__(self, raw: np.ndarray, offsets: np.ndarray) -> None:
        import pyarrow as pa

        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(raw)]  # no copy
        self._array = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int]) -> list[str]: ...
    def __getitem__(self, index: Any) -> str | list[str]:
        if isinstance(index, int | np.integer):
            return str(self._array[int(index)])
        rows: list[str] = self._array.take(np.arange(len(self))[index]).to_pylist()
        return rows

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 50_000):
            yield from self._array.slice(start, 50_000).to_pylist()

    def to_arrow(self) -> pa.Array:
        """The same strings as an Arrow array, without a copy."""
        return self._array

    def __repr__(self) -> str:
        return f"Texts({len(self):,})"


@dataclass(frozen=True)
class Sentiment140:
    """Tweets: ``texts`` as they were written, ``labels`` int8 ``[N]``: 0 negative, 1 positive."""

    texts: Sequence[str]
    labels: np.ndarray
    source: Source


@dataclass(frozen=True)
class TokenisedTweets:
    """Cleaned and tokenised tweets."""

    tokens: (
        np.ndarray
    )  # of all tweets end to end as indices into ``types``, int32, mapped into memory
    offsets: np.ndarray  # tweet i has ``tokens[offsets[i]:offsets[i + 1]]``, int64 [N + 1]
    types: list[
        str
    ]  # distinct tokens of all tweets, the most frequent first: not a learned vocabulary
    labels: np.ndarray  # int8 [N]: 0 negative, 1 positive
    source: Source

    def __len__(self) -> int:
        return len(self.labels)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The CSV file inside whatever it comes in; of an archive only its one known member."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archives.check_names(archive, path)
            archives.check_size(archive.getinfo(MEMBER).file_size, path, MEMBER)
            with archive.open(MEMBER) as file:
                yield file
    else:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]


def _table(path: Path) -> tuple[pa.Table, bool]:
    """First and last column as strings; whether it is the official file with six columns."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    with _opened(path) as file:
        lines = io.TextIOWrapper(file, "latin-1", newline="")
        n_columns = len(next(csv.reader(lines), []))
    if n_columns not in (2, 6):
        raise DataError(
            f"{path} has {n_columns} columns; Sentiment140 has six (the official file) or two (label, "
            "text): put the official file there."
        )
    names = [f"f{i}" for i in range(n_columns)]
    with _opened(path) as file:
        table = arrow_csv.read_csv(
            file,
            read_options=arrow_csv.ReadOptions(
                column_names=names,
                encoding="latin-1" if n_columns == 6 else "utf-8",
                block_size=1 << 24,
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=[names[0], names[-1]],
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
    return table, n_columns == 6


def read_csv(path: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Texts and labels (0 or 1, int8) from the official six columns or the two of a data root."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with archives.reading(path, csv.Error, pa.ArrowException):
        table, official = _table(path)
    column, texts = table.column(0), table.column(1)
    strange = pc.unique(column.filter(pc.invert(pc.is_in(column, pa.array(["0", "4"])))))
    if len(strange):
        raise DataError(
            f"{path} has the label {strange[0].as_py()[:20]!r} besides 0 (negative) and 4 (positive); put "
            "the official file there."
        )
    if official:
        escaped = pc.match_substring(texts, "&")
        plain = pa.array([html.unescape(t) for t in texts.filter(escaped).to_pylist()], pa.string())
        texts = pc.replace_with_mask(texts.combine_chunks(), escaped.combine_chunks(), plain)
        texts = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])
    return texts, pc.equal(column, "4").to_numpy().astype(np.int8)


def _parsed(source: Source) -> cache.Arrays:
    """Texts and labels as arrays."""
    import pyarrow as pa

    texts, labels = read_csv(source.files[0])
    counts = np.bincount(labels, minlength=2).tolist()
    if counts != [_N_TWEETS // 2, _N_TWEETS // 2]:
        raise DataError(
            f"{source.files[0]} has {counts[0]:,} negative and {counts[1]:,} positive tweets instead of "
            f"{_N_TWEETS // 2:,} each; put the official file there."
        )
    whole = texts.cast(pa.large_string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    _, offsets, raw = whole.buffers()
    n = len(whole)
    starts = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + n + 1]
    return {
        "bytes": np.frombuffer(raw, np.uint8)[starts[0] : starts[-1]],
        "offsets": starts - starts[0],
        "labels": labels,
    }


def load() -> Sentiment140:
    """All 1,600,000 tweets in the official order, negative ones first; 4,000 generated as a stand-in.

    The first call reads the CSV file (seconds) and keeps texts and labels as array files in the cache;
    later calls map those.
    """
    source = sources.find("sentiment140")
    if source.is_standin:
        from coursework.data import standins

        generated, labels = standins.tweets()
        return Sentiment140(list(generated), labels.copy(), source)
    key = cache.key_of(source.sha256, _VERSION)
    arrays = cache.arrays("sentiment140-texts", key, lambda: _parsed(source))
    return Sentiment140(
        Texts(arrays["bytes"], arrays["offsets"]), np.asarray(arrays["labels"]), source
    )


def load_tokens() -> TokenisedTweets:
    """All tweets cleaned and tokenised, see :mod:`coursework.data.text`.

    The first call takes ten to twenty seconds for all tweets; later calls map the arrays that it left
    in the cache, in less than two seconds.
    """
    source = sources.find("sentiment140")
    if source.is_standin:
        data = load()
        tokens, offsets, types = text.tokenise_many(data.texts)
        return TokenisedTweets(tokens, offsets, types, data.labels, source)

    def build() -> cache.Arrays:
        data = load()
        assert isinstance(data.texts, Texts)
        tokens, offsets, types = text.tokenise_many(data.texts.to_arrow())
        table = np.frombuffer("\n".join(types).encode("utf-8"), np.uint8)
        return {"tokens": tokens, "offsets": offsets, "types": table, "labels": data.labels}

    arrays = cache.arrays("sentiment140-tokens", cache.key_of(source.sha256, _VERSION), build)
    types = arrays["types"].tobytes().decode("utf-8").split("\n")
    return TokenisedTweets(
        arrays["tokens"], arrays["offsets"], types, np.asarray(arrays["labels"]), source
    )


def split(n: int, seed: int = 0) -> Split:
    """60 : 20 : 20 of ``n`` tweets at random: the file is sorted by label and time."""
    return random_split(n, FRACTIONS, seed)


def split_grouped(keys: np.ndarray, seed: int = 0) -> Split:
    """60 : 20 : 20 with equal texts (equal ``keys``) on one side, so no test text is a training text.

    The parts miss their shares by less than the number of copies of one text.
    """
    return group_split(keys, FRACTIONS, seed)
