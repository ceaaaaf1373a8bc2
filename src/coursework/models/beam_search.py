r"""Beam search: keep the `k` likeliest beginnings of a translation, and end with the likeliest.

Each step continues every hypothesis by every word, and of these `k V` the best `k` survive. Hypotheses of
different lengths are compared by :math:`\log P(y \mid x) / lp(y)`, :math:`lp(y) = ((5 + |y|) / 6)^\alpha`
(Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14).

Letters: `B` sentences, of which `A` are still decoded, `k` width of the beam, `R` rows that are decoded
side by side, `S` source length, `L` length of the output, `V` vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from coursework.models.checks import expect, require


class Decoding(Protocol):
    """Translations under way: `R` rows, each with a source and the words written so far."""

    def step(self, words: Tensor) -> Tensor:
        """Append a word to each row and score the next: `[R]` -> logits `[R, V]`."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be taken several times or not at all."""


class Translatable(Protocol):
    """A model that can translate word by word."""

    def start(self, src: Tensor) -> Decoding:
        """Read the source sentences `[B, S]`; nothing is written yet."""


class Ensemble:
    r"""Several models in eval mode with one vocabulary: the mean of their probabilities of the next word.

    .. math:: P(w \mid y_{<t}, x) = \frac{1}{M} \sum_{m=1}^{M} P_m(w \mid y_{<t}, x)
    """

    def __init__(self, models: Sequence[Translatable]) -> None:
        require(len(models) > 0, "An ensemble needs at least one model.")
        self.models = list(models)

    def start(self, src: Tensor) -> "EnsembleDecoding":
        return EnsembleDecoding([model.start(src) for model in self.models])


@dataclass
class EnsembleDecoding:
    """Translations under way in several models; see :class:`Decoding`."""

    parts: list[Decoding]

    def step(self, words: Tensor) -> Tensor:
        """Log of the mean probabilities `[R, V]`; else as :meth:`Decoding.step`."""
        scores = [part.step(words).double().log_softmax(dim=1) for part in self.parts]
        return torch.stack(scores).logsumexp(dim=0) - math.log(len(scores))  # [R, V]

    def select(self, rows: Tensor) -> None:
        for part in self.parts:
            part.select(rows)


class Beam(NamedTuple):
    """The best translation of each sentence."""

    words: Tensor  # [B, L], the end word (if not cut off), then padding
    log_probability: Tensor  # [B], of the whole output
    score: Tensor  # [B], divided by the length penalty: what was maximised


def length_penalty(length: Tensor | int, alpha: float) -> Tensor:
    r""":math:`((5 + |y|) / 6)^\alpha` of outputs with `length` words, the end word included."""
    return ((5.0 + torch.as_tensor(length)) / 6.0) ** alpha


@torch.no_grad()
def beam_search(
    model: Translatable, src: Tensor, *, width: int, max_length: int, sos: int, eos: int,
    pad: int = 0, alpha: float = 1.0,
) -> Beam:  # fmt: skip
    r"""Translate a batch of sentences `[B, S]`; the model is in eval mode.

    A sentence leaves the batch when no open hypothesis can overtake its best ended one: the probability
    of an open one only falls, so :math:`\log P / lp(L_{max})` bounds what it can reach. The output
    ends with `eos` if it is not cut off, and does not include `sos`.
    """
    wanted = "width and max_length of at least 1, alpha of at least 0, an eos that is not pad"
    message = f"Beam search needs {wanted}; it was given {width}, {max_length}, {alpha}, {eos}."
    require(min(width, max_length) > 0 and alpha >= 0 and eos != pad, message)
    k, batch, device = width, expect("src", src, "B S")["B"], src.device
    nothing = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)
    written = torch.full((batch, max_length), pad, device=device)
    best = Beam(written, nothing.clone(), nothing.clone())
    if batch == 0:
        return best._replace(words=best.words[:, :1])
    alive = torch.arange(batch, device=device)  # [A], sentences that are still decoded
    state = model.start(src)
    state.select(alive.repeat_interleave(k))  # R = A k rows
    written = torch.full((batch, k, 0), pad, device=device)  # [A, k, t]
    # At first all hypotheses of a sentence are alike, so that only one of them may count.
    log_p = torch.full((batch, k), -torch.inf, dtype=torch.float64, device=device)  # [A, k]
    log_p[:, 0] = 0.0
    ended = torch.zeros(batch, k, dtype=torch.bool, device=device)  # [A, k]
    lengths = torch.zeros(batch, k, dtype=torch.long, device=device)  # [A, k]
    words = torch.full((batch * k,), sos, device=device)  # [R]
    for step in range(1, max_length + 1):
        step_log_p = state.step(words).double().log_softmax(dim=1)  # [R, V]
        step_log_p[:, pad] = -torch.inf
        step_log_p = step_log_p.unflatten(0, (len(alive), k))  # [A, k, V]
        vocabulary = step_log_p.shape[2]
        # An ended hypothesis has one continuation, padding, which costs nothing.
        frozen = torch.full_like(step_log_p[0, 0], -torch.inf)  # [V]
        frozen[pad] = 0.0
        step_log_p = torch.where(ended.unsqueeze(2), frozen, step_log_p)  # [A, k, V]
        total = log_p.unsqueeze(2) + step_log_p  # [A, k, V]
        length = torch.where(ended, lengths, step)  # [A, k]
        ranked = total / length_penalty(length, alpha).to(device).unsqueeze(2)  # [A, k, V]
        score, chosen = ranked.flatten(1).topk(k, dim=1)  # [A, k], the best first
        parent, word = chosen // vocabulary, chosen % vocabulary  # [A, k]

        log_p = total.flatten(1).gather(1, chosen)  # [A, k]
        lengths = length.gather(1, parent)  # [A, k]
        ended = ended.gather(1, parent) | (word == eos)  # [A, k]
        written = written.gather(1, parent.unsqueeze(2).expand(-1, -1, step - 1))
        written = torch.cat([written, word.unsqueeze(2)], dim=2)  # [A, k, t]

        # Done: ended at its best, and out of reach of the open ones; or at the longest length.
        bound = log_p / length_penalty(max_length, alpha).to(device)  # [A, k]
        reachable = bound.masked_fill(ended, -torch.inf).amax(dim=1)  # [A]
        candidates = score.masked_fill(~ended, -torch.inf)  # [A, k]
        best_ended = candidates.amax(dim=1)  # [A]
        done = (best_ended >= reachable) & torch.isfinite(best_ended)  # [A]
        done |= step == max_length
        if bool(done.any()):
            # Where nothing has ended it is cut off: the likeliest beginning.
            none = torch.isneginf(best_ended).unsqueeze(1)  # [A, 1]
            top = torch.where(none, score, candidates).argmax(dim=1)  # [A]
            rows = done.nonzero().squeeze(1)  # [D]
            best.words[alive[rows], :step] = written[rows, top[rows]]
            best.log_probability[alive[rows]] = log_p[rows, top[rows]]
            best.score[alive[rows]] = score[rows, top[rows]]
        keep = (~done).nonzero().squeeze(1)  # [A']
        if len(keep) == 0:
            break
        offset = torch.arange(len(alive), device=device).unsqueeze(1) * k  # [A, 1]
        state.select((offset + parent)[keep].flatten())  # [A' k], the rows that go on
        alive, log_p, ended, lengths = alive[keep], log_p[keep], ended[keep], lengths[keep]
        written, words = written[keep], word[keep].flatten()
    longest = int((best.words != pad).sum(dim=1).amax())
    return best._replace(words=best.words[:, : max(longest, 1)])
