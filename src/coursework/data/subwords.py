"""Subwords of a unigram language model (Kudo 2018, arXiv:1804.10959): ``mangerions`` is ``manger ions``."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sentencepiece
import torch
from torch import Tensor

from coursework.data.text import EOS_ID, PAD_ID, SOS_ID, UNK_ID
from coursework.errors import ConfigError, DataError, TrainingError


@dataclass(unsafe_hash=True)
class Subwords:
    """A learned model of pieces."""

    proto: bytes  # its serialised form, as :func:`learn` gives it

    def __post_init__(self) -> None:
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=self.proto)
        except RuntimeError as error:
            raise TrainingError("The stored subword model cannot be read; train again.") from error

    def __len__(self) -> int:
        return int(self._model.get_piece_size())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids of the pieces of each sentence, without marks of beginning and end."""
        return self._model.encode(list(sentences))  # type: ignore[no-any-return]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sequence of ids; padding, marks and unknown pieces say nothing."""
        return str(self._model.decode([int(i) for i in ids if i > EOS_ID]))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """How the pieces are written; ``▁`` stands for a space before it."""
        return [str(self._model.id_to_piece(int(i))) for i in ids]

    def stored(self) -> Tensor:
        """The model as bytes in a tensor, for a checkpoint."""
        return torch.from_numpy(np.frombuffer(self.proto, dtype=np.uint8).copy())


def learn(sentences: Sequence[str], size: int) -> Subwords:
    """Learn ``size`` pieces, or as many as the text has, the four special ones included; repeatable."""
    if not any(sentence.strip() for sentence in sentences):
        raise DataError("There are no sentences to learn subwords from; give some.")
    if size < 16:
        raise ConfigError(f"A vocabulary of {size} subwords is too small; take at least 16.")
    written = io.BytesIO()
    ids: dict[str, Any] = {"pad_id": PAD_ID, "unk_id": UNK_ID, "bos_id": SOS_ID, "eos_id": EOS_ID}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=written, vocab_size=size,
            model_type="unigram", character_coverage=1.0, hard_vocab_limit=False,
            normalization_rule_name="nfkc", num_threads=1, minloglevel=2, **ids,
        )  # fmt: skip
    except RuntimeError as error:
        what = f"{size} subwords cannot be learned from {len(sentences):,} sentences"
        raise ConfigError(f"{what}; change the size of the vocabulary.") from error
    return Subwords(written.getvalue())
