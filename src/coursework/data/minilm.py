"""all-MiniLM-L6-v2, a small BERT that others trained without tweets and labels, and its tokeniser."""

import html
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from coursework.data import archives, sources
from coursework.data.sources import Source

_USER, _LINK = re.compile(r"(?<!\w)@\w+"), re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def plain(text: str) -> str:
    """A tweet as the model reads it: HTML unescaped, one user name and one link for all."""
    return _LINK.sub("http", _USER.sub("@user", html.unescape(text)))


class MiniLM(NamedTuple):
    """The model as it is published."""

    weights: dict[str, np.ndarray]  # under the names of the file
    config: dict[str, Any]  # its sizes, from config.json
    tokenizer: Tokenizer
    source: Source

    def encode(self, texts: Sequence[str], most: int) -> tuple[np.ndarray, np.ndarray]:
        """Tweets as WordPieces end to end, [CLS] and [SEP] included; and how many each has, int64 ``[n]``."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(most)
        rows = [np.empty(0, np.uint16)]
        for start in range(0, len(texts), 10_000):
            some = [plain(text) for text in texts[start : start + 10_000]]
            rows += [np.array(r.ids, np.uint16) for r in self.tokenizer.encode_batch_fast(some)]
        return np.concatenate(rows), np.array([len(row) for row in rows[1:]], np.int64)


def load() -> MiniLM:
    source = sources.find("minilm")
    files = {path.name: path for path in source.files}
    with archives.reading(files["model.safetensors"], SafetensorError):
        weights = load_file(files["model.safetensors"])
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    return MiniLM(weights, config, Tokenizer.from_file(str(files["tokenizer.json"])), source)
