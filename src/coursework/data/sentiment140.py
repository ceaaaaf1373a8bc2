"""Sentiment140: 1.6 million tweets labelled by the emoticon that was then cut out of them.

The official file has six columns (label, id, date, query, user, text), is read as latin-1 and HTML-unescaped
once; a data root may have two of them (label, text) in UTF-8. Ids and dates may give the label away.
"""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coursework import settings
from coursework.data import archives, cache, sources, standins, text
from coursework.data.sources import Source
from coursework.data.splits import group_split, random_split
from coursework.errors import DataError

MEMBER = "training.1600000.processed.noemoticon.csv"
HAND_LABELLED = "testdata.manual.2009.06.14.csv"  # the other member of the official archive
_HAND_LABELS = {"0": 177, "4": 182, "2": 139}  # negative, positive, neutral -> how many
FRACTIONS = (0.6, 0.2, 0.2)
_VERSION = 1  # raise it when the reading, the cleaning or the tokenising changes


@dataclass(frozen=True)
class Sentiment140:
    texts: pa.Array  # of strings, as they were written
    labels: np.ndarray  # int8 [N]: 0 negative, 1 positive
    source: Source


@dataclass(frozen=True)
class TokenisedTweets:
    """Cleaned tweets: tweet i has ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray  # of all tweets as indices into ``types``, int32, mapped into memory
    offsets: np.ndarray  # int64 [N + 1]
    types: list[str]  # distinct tokens, the most frequent first: not a learned vocabulary
    labels: np.ndarray  # int8 [N]: 0 negative, 1 positive
    source: Source


def read_csv(
    path: Path, member: str = MEMBER, known: Sequence[str] = ("0", "4")
) -> tuple[pa.Array, np.ndarray]:
    """Texts and places of their labels among the ``known`` ones (int8), from six columns or two."""
    from pyarrow import csv as arrow_csv

    readers = {".zip": lambda: archives.member(path, member), ".gz": lambda: archives.gunzip(path)}
    with archives.reading(path, csv.Error, pa.ArrowException):
        raw = readers.get(path.suffix, path.read_bytes)()
        lines = io.TextIOWrapper(io.BytesIO(raw), "latin-1", newline="")
        names = [f"f{i}" for i in range(len(next(csv.reader(lines), [])))]
        if len(names) not in (2, 6):
            what = f"{path} has {len(names)} columns; Sentiment140 has six (the official file)"
            raise DataError(f"{what} or two (label, text): put the official file there.")
        official, types = len(names) == 6, dict.fromkeys(names, pa.large_string())
        encoding = "latin-1" if official else "utf-8"
        table = arrow_csv.read_csv(
            pa.BufferReader(raw),
            arrow_csv.ReadOptions(column_names=names, encoding=encoding, block_size=1 << 24),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(include_columns=[names[0], names[-1]], column_types=types),
        )
    column, texts = (part.combine_chunks() for part in table.columns)
    labels = pc.index_in(column, value_set=pa.array(known, column.type))
    if labels.null_count:
        strange = column[labels.is_null().index(True).as_py()].as_py()
        what = f"the label {strange[:20]!r} besides {', '.join(known)} (0 negative, 4 positive)"
        raise DataError(f"{path} has {what}; put the official file there.")
    if official:
        escaped = pc.match_substring(texts, "&")
        plain = [html.unescape(text) for text in texts.filter(escaped).to_pylist()]
        texts = pc.replace_with_mask(texts, escaped, pa.array(plain, texts.type))
    return texts, labels.to_numpy().astype(np.int8)


def load() -> Sentiment140:
    """All 1,600,000 tweets in the official order, negative ones first; 4,000 generated as a stand-in."""
    source = sources.find("sentiment140")
    if source.is_standin:
        written, labels = standins.tweets()
        return Sentiment140(pa.array(written, pa.large_string()), labels, source)

    def build() -> cache.Arrays:
        texts, labels = read_csv(source.files[0])
        _, offsets, raw = texts.buffers()
        starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        content = np.frombuffer(raw, np.uint8)[starts[0] : starts[-1]]
        return {"bytes": content, "offsets": starts - starts[0], "labels": labels}

    stored = cache.arrays("sentiment140-texts", cache.key_of(source.sha256, _VERSION), build)
    labels, *buffers = (np.asarray(stored[name]) for name in ("labels", "offsets", "bytes"))
    whole = [None, *map(pa.py_buffer, buffers)]  # mapped, not copied
    texts = pa.Array.from_buffers(pa.large_string(), len(labels), whole)
    return Sentiment140(texts, labels, source)


def hand_labelled() -> tuple[list[str], np.ndarray]:
    """The 359 tweets labelled by people, collected apart from the others, without the neutral ones."""
    archive = sources.info("sentiment140").files[0]
    folders = filter(None, (settings.data_root(), settings.cache_dir()))
    wholes = [folder / archive.path for folder in folders]
    places = [place for w in wholes for place in (w.with_name(HAND_LABELLED), w) if place.is_file()]
    if not places:
        what = f"put {HAND_LABELLED} or the archive that holds it ({archive.url}) into"
        raise DataError(f"The hand-labelled tweets are not available; {what} {wholes[-1].parent}.")
    path = places[0]
    if path in wholes and (problem := sources.check(path, archive).problem):
        raise archives.wrong(f"{path} {problem}")
    texts, labels = read_csv(path, HAND_LABELLED, list(_HAND_LABELS))
    counts = np.bincount(labels, minlength=3).tolist()
    if counts != list(_HAND_LABELS.values()):
        found = "{} negative, {} positive and {} neutral tweets".format(*counts)
        raise archives.wrong(f"{path} has {found}, so it is not the official file")
    return texts.filter(labels < 2).to_pylist(), labels[labels < 2]


def load_tokens() -> TokenisedTweets:
    """All tweets cleaned and tokenised: ten to twenty seconds once, then from the cache."""
    source = sources.find("sentiment140")

    def build() -> cache.Arrays:
        data = load()
        tokens, offsets, types = text.tokenise_many(data.texts)
        table = np.frombuffer("\n".join(types).encode("utf-8"), np.uint8)
        return {"tokens": tokens, "offsets": offsets, "types": table, "labels": data.labels}

    key = cache.key_of(source.sha256, _VERSION)
    arrays = build() if source.is_standin else cache.arrays("sentiment140-tokens", key, build)
    types, labels = arrays["types"].tobytes().decode("utf-8"), np.asarray(arrays["labels"])
    return TokenisedTweets(arrays["tokens"], arrays["offsets"], types.split("\n"), labels, source)


split = partial(random_split, fractions=FRACTIONS)  # the file is sorted by label and time
# equal texts (equal keys) on one side, so no test text is a training text
split_grouped = partial(group_split, fractions=FRACTIONS)
