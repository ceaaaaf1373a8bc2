"""Trained networks of problem 2(e) at work: decoding, a translator of texts, and its attention."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from coursework.data.text import EOS_ID, SOS_ID
from coursework.errors import ConfigError, DataError
from coursework.experiments.corpora import Language, Pieces, Rows, pad
from coursework.experiments.french import typed
from coursework.models.beam_search import Ensemble, beam_search
from coursework.models.seq2seq import Seq2Seq
from coursework.models.transformer import DecoderLayer, Transformer
from coursework.training import engine

Network = Seq2Seq | Transformer
Kind = Literal["rnn", "transformer"]


def decode(
    model: Network | Ensemble, rows: Rows, target: Language, beam: int = 1, alpha: float = 1.0
) -> list[list[int]]:
    """Translate sentences given as ids, in their order; neither side has marks of beginning and end."""
    members = cast("list[Network]", model.models if isinstance(model, Ensemble) else [model])
    for member in members:
        member.eval()
    device = engine.device_of(members[0])
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result: list[list[int]] = [[] for _ in rows]
    size = max(1, 640 // beam) if isinstance(target, Pieces) else 256  # sentences at a time
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        source = pad([[*rows[i], EOS_ID] for i in chosen]).to(device)  # [B, S]
        longest = source.shape[1] + source.shape[1] // 2 + target.margin
        marks = {"sos": SOS_ID, "eos": EOS_ID}
        found = beam_search(model, source, width=beam, max_length=longest, alpha=alpha, **marks)
        for i, ids in zip(chosen, found.words.tolist(), strict=True):
            result[i] = [word for word in ids if word > EOS_ID]
    return result


class Alignment(NamedTuple):
    """Where the decoder looked while it wrote."""

    source: list[str]  # source words, the end word included, S of them
    output: list[str]  # words written, the end word included, L of them
    weights: Tensor  # [L, S]; row t are the weights while word t was chosen


@torch.no_grad()
def attention_to_source(model: Network, source: Tensor, output: Tensor) -> Tensor:
    """Weights while each word was chosen (mean of the last heads): `[1, S]`, `[1, L]` -> `[L, S]`."""
    read = torch.cat([torch.tensor([[SOS_ID]]), output[:, :-1]], dim=1)  # [1, L]
    if isinstance(model, Seq2Seq):
        return model.attend(source, read)[1][0]
    cross = cast(DecoderLayer, model.decoder.layers[-1]).cross_attention
    kept: list[tuple[Any, ...]] = []
    # The fused kernel keeps no weights: the layer's inputs are caught and used once more.
    hook = cross.register_forward_pre_hook(lambda _, inputs: kept.append(inputs))
    model(source, read)
    hook.remove()
    _, per_head = cross(*kept[0], fused=False)  # [1, h, L, S]
    return cast(Tensor, per_head[0].mean(dim=0))


@dataclass(frozen=True)
class Translator:
    """A trained network with its vocabularies: call it with French sentences."""

    kind: Kind
    config: Any  # of the experiment; beam and alpha are used here
    model: Network
    source: Language
    target: Language

    def __call__(self, sentences: Sequence[str], beam: int | None = None) -> list[str]:
        """Translate texts as people type them, with a beam of 1 to 64; what cannot be read comes back."""
        width = self.config.beam if beam is None else beam
        if not 1 <= width <= 64:
            raise ConfigError(f"The beam is {width}; take a width from 1 to 64.")
        if isinstance(sentences, str):
            raise DataError("Give a list of texts, not a single one: translator(['Bonjour.']).")
        texts = [self.source.read(sentence) for sentence in sentences]
        for sentence in sentences:
            for doubt in self.source.doubts(sentence):
                print(doubt, file=sys.stderr)
        rows = [ids for parts in texts for ids in parts]
        found = decode(self.model, rows, self.target, width, self.config.alpha)
        translated = map(self.target.decode, found)
        written = []
        for sentence, parts in zip(sentences, texts, strict=True):
            written.append(" ".join(next(translated) for _ in parts) if parts else typed(sentence))
            read, wrote = (re.findall(r"\d\d+", text) for text in (sentence, written[-1]))
            if lost := [number for number in read if number not in wrote]:
                where = f"the translation of {shorten(sentence, 60)!r} lacks {', '.join(lost)}"
                print(f"Check the numbers: {where}.", file=sys.stderr)
        return written

    def align(self, sentence: str) -> Alignment:
        """Translate one sentence, and show where the decoder looked."""
        rows = self.source.read(sentence)
        if len(rows) != 1:
            raise DataError("Give exactly one sentence.")
        (found,) = decode(self.model, rows, self.target, self.config.beam, self.config.alpha)
        read, written = [*rows[0], EOS_ID], [*found, EOS_ID]
        weights = attention_to_source(self.model, torch.tensor([read]), torch.tensor([written]))
        return Alignment(self.source.pieces(read), self.target.pieces(written), weights)
