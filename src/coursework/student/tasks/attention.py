"""Problem 2: attention and its heads, beside PyTorch's and the formulas."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.attention import MultiHeadAttention
from coursework.student import remarks as r
from coursework.student.checks import (
    Finding,
    Known,
    Task,
    gradients,
    quiet_in_eval,
    same,
    scatter,
    surely,
    take_weights,
)

MASK = Task("causal_mask", 2, "2(a)", "models.attention", ("causal_mask",))
ATTENTION = Task("attention", 2, "2(a)", "models.attention", ("attention_weights", "attention"))
HEADS = Task("MultiHeadAttention", 2, "2(d)", "models.attention", ("MultiHeadAttention",))


@MASK.check
def causal(m: Any) -> None:
    for n, width in ((5, 5), (3, 5)):
        got = m.causal_mask(n, width)
        if isinstance(got, Tensor) and got.dtype != torch.bool:
            raise Finding(r.Remark("shape", f"The mask should be boolean, but is {got.dtype}."))
        ones = torch.ones(n, width, dtype=torch.bool)
        known = [
            (r.CAUSAL_STRICT, ones.tril(-1)),
            (r.CAUSAL_LATE, ones.tril(1)),
            (r.CAUSAL_TURNED, ones.triu()),
            (r.CAUSAL_OPPOSITE, ~ones.tril()),
        ]
        same(got, ones.tril(), known, what="the mask")


@MASK.check
def causal_square(m: Any) -> None:
    same(m.causal_mask(4), torch.ones(4, 4).tril().bool(), what="the mask without a second number")


# --- one head ----------------------------------------------------------------------------------


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, 3, 4, 7), torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 6)


def _scores(Q: Tensor, K: Tensor) -> Tensor:
    return Q @ K.mT / math.sqrt(Q.shape[-1])


@ATTENTION.check
def weights(m: Any) -> None:
    Q, K, V = _inputs()
    scores = _scores(Q, K)
    width = Q.shape[-1]
    right = scores.softmax(-1)
    wrong = [
        (r.SOFTMAX_AXIS, scores.softmax(-2)),
        (r.NO_SCALE, (Q @ K.mT).softmax(-1)),
        (r.SOFTMAX_AXIS, (Q @ K.mT).softmax(-2)),
        (r.SCALE_WRONG, (Q @ K.mT / width).softmax(-1)),
        (r.SCALE_WRONG, (Q @ K.mT * math.sqrt(width)).softmax(-1)),
        (r.SCALE_WRONG, (Q @ K.mT / math.sqrt(K.shape[-2])).softmax(-1)),
    ]
    same(m.attention_weights(Q, K), right, wrong, what="the matrix of weights")
    known: Known = [(remark, (matrix @ V, matrix)) for remark, matrix in wrong]
    known = [*known, (r.WEIGHTS_NOT_USED, (V.mean(-2, keepdim=True).expand(2, 3, 4, 6), right))]
    same(m.attention(Q, K, V), (right @ V, right), known, what="the pair (output, weights)")


@ATTENTION.check
def scale(m: Any) -> None:
    Q, K, _ = _inputs()
    known = [(r.SCALE_IGNORED, _scores(Q, K).softmax(-1))]
    same(
        m.attention_weights(Q, K, scale=0.3),
        (0.3 * Q @ K.mT).softmax(-1),
        known,
        what="the matrix of weights with scale=0.3",
    )


@ATTENTION.check
def cosine(m: Any) -> None:
    Q, K, _ = _inputs()
    q, k = F.normalize(Q, dim=-1), F.normalize(K, dim=-1)
    known = [
        (r.COSINE_NOT_NORMALISED, (Q @ K.mT).softmax(-1)),
        (r.COSINE_NOT_NORMALISED, _scores(Q, K).softmax(-1)),
        (r.COSINE_SCALED, _scores(q, k).softmax(-1)),
        (r.COSINE_HALF, (q @ K.mT).softmax(-1)),
        (r.COSINE_HALF, (Q @ k.mT).softmax(-1)),
    ]
    same(
        m.attention_weights(Q, K, similarity="cosine"),
        (q @ k.mT).softmax(-1),
        known,
        what="the weights with similarity='cosine'",
    )


@ATTENTION.check
def boolean_mask(m: Any) -> None:
    # with a scale of its own, so that a wrong default is not counted here too
    Q, K, _ = _inputs()
    mask = torch.rand(4, 5) < 0.6
    mask[:, 0], mask[:, 1] = True, False
    scores = Q @ K.mT
    plain = scores.softmax(-1)
    known = [
        (r.MASK_IGNORED, plain),
        (r.MASK_INVERTED, scores.masked_fill(mask, -torch.inf).softmax(-1)),
        (r.MASK_AFTER_SOFTMAX, plain.masked_fill(~mask, 0.0)),
        (r.MASK_BY_ZERO, scores.masked_fill(~mask, 0.0).softmax(-1)),
    ]
    same(
        m.attention_weights(Q, K, mask=mask, scale=1.0),
        scores.masked_fill(~mask, -torch.inf).softmax(-1),
        known,
        what="the matrix of weights with a mask",
        kind="masking",
    )


@ATTENTION.check
def added_mask(m: Any) -> None:
    Q, K, _ = _inputs()
    bias = torch.randn(4, 5)
    same(
        m.attention_weights(Q, K, mask=bias, scale=1.0),
        (Q @ K.mT + bias).softmax(-1),
        [(r.MASK_IGNORED, (Q @ K.mT).softmax(-1))],
        what="the matrix of weights with a mask of numbers to add",
        kind="masking",
    )


@ATTENTION.check
def empty_row(m: Any) -> None:
    Q, K, V = _inputs()
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[2] = False
    output, _ = m.attention(Q, K, V, mask=mask)
    surely(output[..., 2, :], torch.zeros(2, 3, 6), r.EMPTY_ROW)


@ATTENTION.check
def no_future(m: Any) -> None:
    Q, K, V = torch.randn(2, 5, 7), torch.randn(2, 5, 7), torch.randn(2, 5, 6)
    before, _ = m.attention(Q, K, V, causal=True, scale=1.0)
    K[:, 3:], V[:, 3:] = 5.0, -5.0
    after, _ = m.attention(Q, K, V, causal=True, scale=1.0)
    surely(after[:, :3], before[:, :3], r.FUTURE_SEEN)
    allowed = torch.ones(5, 5).tril().bool()
    right = (Q @ K.mT).masked_fill(~allowed, -torch.inf).softmax(-1) @ V
    same(after, right, what="the output with causal=True", kind="masking")


@ATTENTION.check
def attention_gradients(m: Any) -> None:
    Q, K, V = _inputs()

    def own(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        output: Tensor = m.attention(Q, K, V)[0]
        return output

    gradients(own, lambda Q, K, V: _scores(Q, K).softmax(-1) @ V, Q=Q, K=K, V=V)


# --- many heads --------------------------------------------------------------------------------


def _heads(m: Any, dropout: float = 0.0) -> tuple[Any, MultiHeadAttention]:
    trusted = MultiHeadAttention(12, 3, dropout)
    scatter(trusted)
    return take_weights(m.MultiHeadAttention(12, 3, dropout), trusted), trusted


def _wrong_heads(own: nn.Module, x: Tensor, y: Tensor) -> Known:
    """What comes out if heads are cut or joined across positions, or the last map is missing."""
    maps = [getattr(own, f"W_{name}") for name in "QKVO"]
    Q, K, V = maps[0](x), maps[1](y), maps[2](y)

    def cut(z: Tensor) -> Tensor:
        return z.unflatten(-1, (3, 4)).transpose(1, 2)

    def across(z: Tensor) -> Tensor:
        return z.reshape(len(z), 3, -1, 4)

    def attend(split: Any, width: int = 4) -> Tensor:
        scores = split(Q) @ split(K).mT / math.sqrt(width)
        mixed: Tensor = scores.softmax(-1) @ split(V)
        return mixed

    heads, crossed = attend(cut), attend(across)
    return [
        (r.HEADS_NOT_JOINED, maps[3](heads.reshape(x.shape))),
        (r.HEADS_CUT_ACROSS, maps[3](crossed.reshape(x.shape))),
        (r.HEADS_CUT_ACROSS, maps[3](crossed.transpose(1, 2).flatten(2))),
        (r.NO_OUTPUT_MAP, heads.transpose(1, 2).flatten(2)),
        (r.SCALE_WRONG, maps[3](attend(cut, 12).transpose(1, 2).flatten(2))),
    ]


@HEADS.check
def heads_values(m: Any) -> None:
    own, trusted = _heads(m)
    builtin = trusted.to_torch()
    x, y = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    right = builtin(x, y, y)[0]
    known = _wrong_heads(trusted, x, y)
    same(own(x, y)[0], right, known, what="the output of all heads")
    same(own(x, y, need_weights=False)[0], right, known, what="the output with need_weights=False")
    _, weights = own(x, y)
    same(weights, trusted(x, y)[1], what="the weights of all heads")


@HEADS.check
def heads_padding(m: Any) -> None:
    own, trusted = _heads(m)
    x = torch.randn(2, 5, 12)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    right = trusted(x, key_padding_mask=padding)[0]
    known = [
        (r.PADDING_READ, trusted(x)[0]),
        (r.MASK_INVERTED, trusted(x, key_padding_mask=~padding)[0]),
    ]
    for keep in (True, False):
        got = own(x, key_padding_mask=padding, need_weights=keep)[0]
        same(got, right, known, what="the output with padding", kind="masking")


@HEADS.check
def heads_mask(m: Any) -> None:
    own, trusted = _heads(m)
    x, mask = torch.randn(2, 5, 12), torch.rand(5, 5) < 0.6
    mask.fill_diagonal_(True)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    for keep in (True, False):
        options = {"mask": mask, "key_padding_mask": padding, "causal": True}
        known = [
            (r.MASK_IGNORED, trusted(x, key_padding_mask=padding, causal=True)[0]),
            (r.MASK_IGNORED, trusted(x)[0]),
            (r.FUTURE_SEEN, trusted(x, mask=mask, key_padding_mask=padding)[0]),
        ]
        got = own(x, **options, need_weights=keep)[0]
        same(got, trusted(x, **options)[0], known, what="the output with masks", kind="masking")


@HEADS.check
def heads_dropout(m: Any) -> None:
    own, trusted = _heads(m, 0.5)
    x = torch.randn(2, 5, 12)
    own.eval(), trusted.eval()
    right = trusted(x)[0]
    quiet_in_eval(lambda: own(x)[0], right)
    quiet_in_eval(lambda: own(x, need_weights=False)[0], right)
    own, trusted = _heads(m, 1.0)
    everything = trusted.eval()(x)[0]
    nothing = trusted.W_O.bias.expand(2, 5, 12)
    known = [(r.DROPOUT_NEVER, everything)]
    same(own.train()(x)[0], nothing, known, otherwise=r.DROPOUT_PLACE)


@HEADS.check
def heads_gradients(m: Any) -> None:
    own, trusted = _heads(m)
    gradients(
        lambda x, y: own(x, y)[0],
        lambda x, y: trusted(x, y)[0],
        x=torch.randn(2, 4, 12),
        y=torch.randn(2, 5, 12),
    )
