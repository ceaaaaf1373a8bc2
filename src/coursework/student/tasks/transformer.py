"""Problem 2: the layers of the Transformer and the whole, beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models import transformer as solution
from coursework.student import remarks as r
from coursework.student.checks import (
    Known,
    Task,
    gradients,
    parameter_gradients,
    quiet_in_eval,
    same,
    scatter,
    surely,
    take_weights,
)

POSITIONS = Task("PositionalEncoding", 2, "2(e)", "models.transformer", ("PositionalEncoding",))
ENCODER = Task("EncoderLayer", 2, "2(d)", "models.transformer", ("FeedForward", "EncoderLayer"))
DECODER = Task("DecoderLayer", 2, "2(e)", "models.transformer", ("DecoderLayer",))
TRANSFORMER = Task("Transformer", 2, "2(e)", "models.transformer", ("Transformer",))

Sublayer = Callable[[Tensor], Tensor]
Norm = Callable[[Tensor], Tensor]
Wrap = Callable[[Tensor, Sublayer, Norm], Tensor]


@POSITIONS.check
def encoding(m: Any) -> None:
    for width in (8, 7):
        place = torch.arange(20.0).unsqueeze(1)
        pair = torch.arange((width + 1) // 2)

        def table(exponent: Tensor, place: Tensor = place, width: int = width) -> Tensor:
            angle = place / 10000.0**exponent
            return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, :width]

        angle = place / 10000.0 ** (2 * pair / width)
        known = [
            (r.SINES_IN_HALVES, torch.cat([angle.sin(), angle.cos()], 1)[:, :width]),
            (
                r.SINE_COSINE_SWAPPED,
                torch.stack([angle.cos(), angle.sin()], 2).flatten(1)[:, :width],
            ),
            *(
                (r.FREQUENCIES, table(wrong))
                for wrong in (pair / width, 4 * pair / width, 2 * pair)
            ),
        ]
        own = m.PositionalEncoding(width, max_length=20)
        same(own.encoding, table(2 * pair / width), known, what="the encoding")


@POSITIONS.check
def added(m: Any) -> None:
    own, trusted = m.PositionalEncoding(8), solution.PositionalEncoding(8)
    x = torch.randn(2, 5, 8)
    same(own(x), trusted(x), what="the output")
    same(
        own(x, 3), trusted(x, 3), [(r.OFFSET_IGNORED, trusted(x))], what="the output with an offset"
    )


# --- the encoder's layer -----------------------------------------------------------------------


def _post(x: Tensor, sublayer: Sublayer, norm: Norm) -> Tensor:
    return norm(x + sublayer(x))


def _pre(x: Tensor, sublayer: Sublayer, norm: Norm) -> Tensor:
    return x + sublayer(norm(x))


def _no_residual(x: Tensor, sublayer: Sublayer, norm: Norm) -> Tensor:
    return norm(sublayer(x))


def _norm_first_only(x: Tensor, sublayer: Sublayer, norm: Norm) -> Tensor:
    return x + norm(sublayer(x))


def _no_norm(x: Tensor, sublayer: Sublayer, norm: Norm) -> Tensor:
    return x + sublayer(x)


def _across(norm: nn.LayerNorm) -> Norm:
    """The normalisation over positions in place of features (for as many of both)."""
    return lambda z: norm(z.mT).mT


def _over_positions(norm: nn.LayerNorm) -> Norm:
    def apply(z: Tensor) -> Tensor:
        mean, variance = z.mean(1, keepdim=True), z.var(1, keepdim=True, unbiased=False)
        even: Tensor = (z - mean) / (variance + norm.eps).sqrt()
        return even * norm.weight + norm.bias

    return apply


def _wrong_layers(
    layer: Any, x: Tensor, sublayers: list[Sublayer], wrap: Wrap, other: Wrap
) -> Known:
    """What comes out of a layer with one thing wrong."""
    norms = [getattr(layer, f"norm{k + 1}") for k in range(len(sublayers))]

    def run(wraps: list[Wrap], norms: list[Norm]) -> Tensor:
        y = x
        for how, sublayer, norm in zip(wraps, sublayers, norms, strict=True):
            y = how(y, sublayer, norm)
        return y

    n = len(sublayers)
    forgotten = [
        run([_no_residual if k == left else wrap for k in range(n)], norms) for left in range(n)
    ]
    return [
        (r.RESIDUAL_FORGOTTEN, run([_no_residual] * n, norms)),
        (r.RESIDUAL_FORGOTTEN, run([lambda z, s, norm: s(norm(z))] * n, norms)),
        *((r.RESIDUAL_ONCE, output) for output in forgotten),
        (r.NORM_ORDER_SWAPPED, run([other] * n, norms)),
        (r.NORM_BEFORE_SUM, run([_norm_first_only] * n, norms)),
        (r.NORM_MISSING, run([_no_norm] * n, norms)),
        *((r.NORM_SHARED, run([wrap] * n, [norm] * n)) for norm in norms),
        (r.NORM_AXIS, run([wrap] * n, [_across(norm) for norm in norms])),
        (r.NORM_AXIS, run([wrap] * n, [_over_positions(norm) for norm in norms])),
    ]


def _encoders(m: Any, dropout: float = 0.0, **options: Any) -> tuple[Any, Any, Any]:
    """The student's layer, the solution's, and PyTorch's, with equal weights."""
    trusted = solution.EncoderLayer(8, 2, 12, dropout, **options)
    scatter(trusted)
    builtin = nn.TransformerEncoderLayer(8, 2, 12, dropout, batch_first=True, **options)
    return (
        take_weights(m.EncoderLayer(8, 2, 12, dropout, **options), trusted),
        trusted,
        trusted.copy_to_torch(builtin),
    )


def _feed_forwards(layer: Any) -> tuple[Sublayer, Sublayer]:
    part = layer.feed_forward
    return part, lambda y: part.linear2(part.linear1(y))


@ENCODER.check
def feed_forward(m: Any) -> None:
    for name, function in (("relu", F.relu), ("gelu", F.gelu)):
        own = m.FeedForward(6, 10, activation=name)
        x = torch.randn(3, 4, 6)
        linear = own.linear2(own.linear1(x))
        right = own.linear2(function(own.linear1(x)))
        known = [(r.ACTIVATION_MISSING, linear), (r.LAST_ACTIVATED, function(right))]
        same(own(x), right, known, what=f"the feed-forward network with {name}")


@ENCODER.check
def encoder_post_norm(m: Any) -> None:
    _encoder_values(m, norm_first=False)


@ENCODER.check
def encoder_pre_norm(m: Any) -> None:
    _encoder_values(m, norm_first=True)


def _encoder_values(m: Any, norm_first: bool) -> None:
    own, trusted, builtin = _encoders(m, norm_first=norm_first)
    x = torch.randn(2, 8, 8)  # as many positions as features
    network, linear = _feed_forwards(trusted)

    def attend(y: Tensor) -> Tensor:
        output: Tensor = trusted.self_attention(y)[0]
        return output

    wrap, other = (_pre, _post) if norm_first else (_post, _pre)
    left_out = wrap(x, attend, trusted.norm1)
    known: Known = [
        *_wrong_layers(trusted, x, [attend, network], wrap, other),
        (r.ACTIVATION_MISSING, wrap(left_out, linear, trusted.norm2)),
        (r.FEED_FORWARD_MISSING, left_out),
    ]
    order = "pre-norm" if norm_first else "post-norm"
    same(own(x), builtin(x), known, what=f"the layer's output ({order})")


@ENCODER.check
def encoder_padding(m: Any) -> None:
    own, trusted, _ = _encoders(m)
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    got, right = (layer(x, key_padding_mask=padding) for layer in (own, trusted))
    words = ~padding
    known = [(r.PADDING_READ, trusted(x)[words])]
    same(got[words], right[words], known, what="the output with padding", kind="masking")


@ENCODER.check
def encoder_masks(m: Any) -> None:
    own, trusted, _ = _encoders(m)
    x, mask = torch.randn(2, 5, 8), torch.rand(5, 5) < 0.6
    mask.fill_diagonal_(True)
    known = [(r.MASK_IGNORED, trusted(x))]
    same(own(x, mask=mask), trusted(x, mask=mask), known, what="the output with a mask")
    known = [(r.FUTURE_SEEN, trusted(x))]
    same(own(x, causal=True), trusted(x, causal=True), known, what="the output with causal=True")


@ENCODER.check
def encoder_dropout(m: Any) -> None:
    own, trusted, _ = _encoders(m, 0.5)
    x = torch.randn(2, 5, 8)
    own.eval(), trusted.eval()
    quiet_in_eval(lambda: own(x), trusted(x))
    own, trusted, _ = _encoders(m, 1.0)
    right = trusted.norm2(trusted.norm1(x))  # both sub-layers dropped altogether
    known = [(r.DROPOUT_NEVER, trusted.eval()(x))]
    same(own.train()(x), right, known, otherwise=r.DROPOUT_PLACE)


@ENCODER.check
def encoder_gradients(m: Any) -> None:
    own, trusted, _ = _encoders(m)
    gradients(own, trusted, x=torch.randn(2, 5, 8))


# --- the decoder's layer -----------------------------------------------------------------------


def _decoders(m: Any, dropout: float = 0.0, **options: Any) -> tuple[Any, Any, Any]:
    trusted = solution.DecoderLayer(8, 2, 12, dropout, **options)
    scatter(trusted)
    builtin = nn.TransformerDecoderLayer(8, 2, 12, dropout, batch_first=True, **options)
    return (
        take_weights(m.DecoderLayer(8, 2, 12, dropout, **options), trusted),
        trusted,
        trusted.copy_to_torch(builtin),
    )


@DECODER.check
def decoder_values(m: Any) -> None:
    for norm_first in (False, True):
        own, trusted, builtin = _decoders(m, norm_first=norm_first)
        x, memory = torch.randn(2, 8, 8), torch.randn(2, 5, 8)
        network, _ = _feed_forwards(trusted)

        def attend(y: Tensor, layer: Any = trusted) -> Tensor:
            output: Tensor = layer.self_attention(y, causal=True)[0]
            return output

        def cross(y: Tensor, layer: Any = trusted, memory: Tensor = memory) -> Tensor:
            output: Tensor = layer.cross_attention(y, memory)[0]
            return output

        def itself(y: Tensor, layer: Any = trusted) -> Tensor:
            output: Tensor = layer.cross_attention(y)[0]
            return output

        wrap, other = (_pre, _post) if norm_first else (_post, _pre)
        first = wrap(x, attend, trusted.norm1)
        known: Known = [
            *_wrong_layers(trusted, x, [attend, cross, network], wrap, other),
            (r.FUTURE_SEEN, trusted(x, memory, causal=False)),
            (
                r.CROSS_READS_ITSELF,
                wrap(wrap(first, itself, trusted.norm2), network, trusted.norm3),
            ),
            (r.CROSS_MISSING, wrap(first, network, trusted.norm3)),
            (r.CROSS_MISSING, wrap(first, network, trusted.norm2)),
            (r.FEED_FORWARD_MISSING, wrap(first, cross, trusted.norm2)),
        ]
        hidden = nn.Transformer.generate_square_subsequent_mask(8, dtype=torch.float64)
        right = builtin(x, memory, tgt_mask=hidden)
        same(own(x, memory), right, known, what="the decoder layer's output")


@DECODER.check
def decoder_padding(m: Any) -> None:
    own, trusted, _ = _decoders(m)
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    got, right = (layer(x, memory, memory_key_padding_mask=padding) for layer in (own, trusted))
    known = [(r.PADDING_READ, trusted(x, memory))]
    same(got, right, known, what="the output with padding in the source", kind="masking")


@DECODER.check
def decoder_future(m: Any) -> None:
    own, _, _ = _decoders(m)
    x, memory = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    before = own(x, memory)
    x[:, 4:] = 3.0
    surely(own(x, memory)[:, :4], before[:, :4], r.FUTURE_SEEN)


@DECODER.check
def decoder_step_by_step(m: Any) -> None:
    own, trusted, _ = _decoders(m)
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    cache = solution.DecoderCache()
    steps = [own(x[:, t : t + 1], memory, causal=False, cache=cache) for t in range(4)]
    what = "the output of one position after the other, with a cache,"
    same(torch.cat(steps, 1), trusted(x, memory), what=what)


@DECODER.check
def decoder_dropout(m: Any) -> None:
    own, trusted, _ = _decoders(m, 0.5)
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    own.eval(), trusted.eval()
    quiet_in_eval(lambda: own(x, memory), trusted(x, memory))


@DECODER.check
def decoder_gradients(m: Any) -> None:
    own, trusted, _ = _decoders(m)
    gradients(own, trusted, x=torch.randn(2, 4, 8), memory=torch.randn(2, 5, 8))


# --- the whole ---------------------------------------------------------------------------------


def _transformers(m: Any) -> tuple[Any, solution.Transformer]:
    sizes = (11, 13, 8, 2, 1, 1, 12, 0.0)
    trusted = solution.Transformer(*sizes)
    own = take_weights(m.Transformer(*sizes), trusted)
    return own.eval(), trusted.eval()


SOURCE = torch.tensor([[3, 4, 5, 6, 2], [7, 8, 2, 0, 0]])
TARGET = torch.tensor([[1, 5, 6, 7], [1, 9, 10, 12]])


@TRANSFORMER.check
def whole(m: Any) -> None:
    own, trusted = _transformers(m)
    right = trusted(SOURCE, TARGET)
    unmasked = trusted.logits(trusted._decode(TARGET, _memory(trusted), None))
    half = trusted.logits(trusted._decode(TARGET, trusted.encode(SOURCE)[0], None))
    width, trusted.d_model = trusted.d_model, 1
    unscaled = trusted(SOURCE, TARGET)
    trusted.d_model = width
    encoding = trusted.position.encoding
    trusted.position.encoding = torch.zeros_like(encoding)
    unordered = trusted(SOURCE, TARGET)
    trusted.position.encoding = encoding
    known = [
        (r.EMBEDDING_NOT_SCALED, unscaled),
        (r.POSITIONS_MISSING, unordered),
        (r.PADDING_READ, unmasked),
        (r.PADDING_READ, half),
        (r.PADDING_READ, trusted.logits(
            trusted._decode(TARGET, _memory(trusted), trusted.encode(SOURCE)[1]))),
    ]  # fmt: skip
    same(own(SOURCE, TARGET), right, known, what="the matrix of logits")


def _memory(trusted: solution.Transformer) -> Tensor:
    """The encoder's output if nobody tells it what is padding."""
    x = trusted.position(trusted.src_embedding(SOURCE) * trusted.d_model**0.5)
    memory: Tensor = trusted.encoder(x)
    return memory


@TRANSFORMER.check
def whole_padding(m: Any) -> None:
    own, _ = _transformers(m)
    alone = own(SOURCE[1:, :3], TARGET[1:])
    surely(own(SOURCE, TARGET)[1:], alone, r.PADDING_READ)


@TRANSFORMER.check
def whole_future(m: Any) -> None:
    own, _ = _transformers(m)
    before = own(SOURCE, TARGET)
    later = TARGET.clone()
    later[:, 2:] = 3
    surely(own(SOURCE, later)[:, :2], before[:, :2], r.FUTURE_SEEN)


@TRANSFORMER.check
def whole_word_by_word(m: Any) -> None:
    own, trusted = _transformers(m)
    with torch.no_grad():
        decoding = own.start(SOURCE)
        steps = [decoding.step(words) for words in TARGET.t()]
    same(torch.stack(steps, 1), trusted(SOURCE, TARGET), otherwise=r.OFFSET_IGNORED)


@TRANSFORMER.check
def whole_gradients(m: Any) -> None:
    own, trusted = _transformers(m)
    parameter_gradients(own, trusted, lambda model: model(SOURCE, TARGET))
