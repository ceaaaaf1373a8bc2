r"""The Transformer from scratch: encoder and decoder layers, stacks, and a translation model.

Paper: Vaswani et al., *Attention Is All You Need*, 2017, https://arxiv.org/abs/1706.03762.

Letters: `B` batch, `S` source length, `T` target length, `L` length of the output, `d_model` width
of the model, `d_ff` width of the feed-forward network, `h` heads, `V` vocabulary. The batch is
always the first axis. Masks follow :mod:`coursework.models.attention`: in `mask` True = may attend,
in `..._padding_mask` True = padding.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.attention import KeyValueCache, MultiHeadAttention
from coursework.models.dropout import Dropout
from coursework.models.embedding import WordEmbedding

Activation = Literal["relu", "gelu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class PositionalEncoding(nn.Module):
    r"""Add sinusoids of the position to the embeddings.

    .. math::

        PE_{(pos, 2i)} = \sin(pos / 10000^{2i/d_{model}}), \qquad
        PE_{(pos, 2i+1)} = \cos(pos / 10000^{2i/d_{model}})

    (section 3.5.) Without it the model could not tell the order of the words: attention commutes
    with permutations.

    Args:
        d_model: :math:`d_{model}`.
        dropout: Dropout probability of the sum (section 5.4).
        max_length: Number of positions that are prepared.

    Shapes:
        - x: `[B, T, d_model]`
        - output: `[B, T, d_model]`

    Raises:
        ValueError: A sequence is longer than `max_length`.
    """

    encoding: Tensor

    def __init__(self, d_model: int, dropout: float = 0.0, max_length: int = 512) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        # solution:begin the matrix encoding [max_length, d_model] of both formulas
        position = torch.arange(max_length, dtype=torch.float64).unsqueeze(1)  # [P, 1]
        exponent = torch.arange(0, d_model, 2, dtype=torch.float64) / d_model  # [ceil(d/2)]
        angle = position / 10000.0**exponent  # [P, ceil(d/2)]
        encoding = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)  # [P, d or d + 1]
        encoding = encoding[:, :d_model].to(torch.get_default_dtype())  # [P, d]
        # solution:end
        self.register_buffer("encoding", encoding, persistent=False)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the encodings of the positions `offset`, `offset + 1`, ... to `x`."""
        end = offset + x.shape[1]
        if end > len(self.encoding):
            raise ValueError(
                f"PositionalEncoding was made for {len(self.encoding)} positions, but the sequence "
                f"needs {end}; raise max_length."
            )
        output: Tensor = self.dropout(x + self.encoding[offset:end])  # [B, T, d]
        return output


class FeedForward(nn.Module):
    r"""The same small network at every position (section 3.3, equation 2).

    .. math:: \mathrm{FFN}(x) = W_2\, \sigma(W_1 x + b_1) + b_2

    Args:
        d_model: :math:`d_{model}`.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability of the hidden units.
        activation: :math:`\sigma`, `"relu"` (the paper) or `"gelu"`.
        bias: Whether the linear maps have a bias.

    Shapes:
        - x: `[..., d_model]`
        - output: `[..., d_model]`
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        dropout: float = 0.0,
        activation: Activation = "relu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation must be 'relu' or 'gelu', but is {activation!r}.")
        self.linear1 = nn.Linear(d_model, d_ff, bias=bias)
        self.linear2 = nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = Dropout(dropout)
        self.activation: str = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the same two-layer network at every position."""
        # solution:begin linear1, activation, dropout, linear2 | _ACTIVATIONS[self.activation]
        hidden = _ACTIVATIONS[self.activation](self.linear1(x))  # [..., d_ff]
        output: Tensor = self.linear2(self.dropout(hidden))  # [..., d_model]
        return output
        # solution:end


class EncoderLayer(nn.Module):
    r"""Self-attention and a feed-forward network, each with a residual connection and LayerNorm.

    .. math::

        \text{post-norm:}\quad & x \leftarrow \mathrm{LN}(x + \mathrm{Sublayer}(x)) \\
        \text{pre-norm:}\quad & x \leftarrow x + \mathrm{Sublayer}(\mathrm{LN}(x))

    Post-norm is the paper's (section 3.1); pre-norm trains without warm-up (Xiong et al. 2020,
    https://arxiv.org/abs/2002.04745).

    Args:
        d_model: :math:`d_{model}`.
        n_heads: :math:`h`.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability of the attention weights, of the hidden units and of the output
            of each sub-layer.
        activation: `"relu"` or `"gelu"`.
        norm_first: Pre-norm instead of the paper's post-norm.
        bias: Whether linear maps and normalisations have a bias.
        layer_norm_eps: The constant in the normalisation.

    Shapes:
        - x: `[B, S, d_model]`
        - mask: broadcast to `[B, h, S, S]`, True = may attend (or float, added)
        - key_padding_mask: `[B, S]`, True = padding
        - output: `[B, S, d_model]`
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        norm_first: bool = False,
        bias: bool = True,
        layer_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, dropout, bias)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation, bias)
        self.norm1 = nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm2 = nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.dropout = Dropout(dropout)
        self.norm_first = norm_first

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Transform a sequence: `[B, S, d_model]` -> `[B, S, d_model]`."""

        # solution:begin the two sub-layers, each wrapped by self._residual | hand the masks on
        def attend(y: Tensor) -> Tensor:
            output, _ = self.self_attention(
                y, mask=mask, key_padding_mask=key_padding_mask, causal=causal, need_weights=False
            )
            return output  # [B, S, d_model]

        x = self._residual(x, attend, self.norm1)
        return self._residual(x, self.feed_forward, self.norm2)
        # solution:end

    def _residual(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        """Wrap a sub-layer in dropout, residual connection and normalisation."""
        # solution:begin post-norm, or pre-norm if self.norm_first | self.dropout
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        output: Tensor = norm(x + self.dropout(sublayer(x)))
        return output
        # solution:end

    @classmethod
    def from_torch(cls, layer: nn.TransformerEncoderLayer) -> Self:
        """A copy of a `nn.TransformerEncoderLayer`, options and weights included."""
        own = cls(**_options(layer)).to(layer.linear1.weight)
        return own.copy_from_torch(layer).train(layer.training)

    def copy_from_torch(self, layer: nn.TransformerEncoderLayer) -> Self:
        """Take over the weights of `layer`."""
        _check_same_order(self.norm_first, layer)
        self.self_attention.copy_from_torch(layer.self_attn)
        for own, other in self._pairs(layer):
            own.load_state_dict(other.state_dict())
        return self

    def copy_to_torch(self, layer: nn.TransformerEncoderLayer) -> nn.TransformerEncoderLayer:
        """Give the weights to `layer` and return it."""
        _check_same_order(self.norm_first, layer)
        self.self_attention.copy_to_torch(layer.self_attn)
        for own, other in self._pairs(layer):
            other.load_state_dict(own.state_dict())
        return layer

    def _pairs(self, layer: nn.TransformerEncoderLayer) -> list[tuple[nn.Module, nn.Module]]:
        """The modules that correspond one to one."""
        return [
            (self.feed_forward.linear1, layer.linear1),
            (self.feed_forward.linear2, layer.linear2),
            (self.norm1, layer.norm1),
            (self.norm2, layer.norm2),
        ]


class DecoderCache:
    """What one decoder layer keeps between the steps of :meth:`Transformer.greedy`."""

    def __init__(self) -> None:
        self.own = KeyValueCache(growing=True)
        self.memory = KeyValueCache(growing=False)

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        self.own.select(rows)
        self.memory.select(rows)


class DecoderLayer(nn.Module):
    r"""Causal self-attention, attention to the encoder's output (the memory), feed-forward network.

    Section 3.1 and figure 1 (right); residual connections and normalisation as in
    :class:`EncoderLayer`, whose arguments it shares.

    Args:
        d_model: :math:`d_{model}`.
        n_heads: :math:`h`.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability.
        activation: `"relu"` or `"gelu"`.
        norm_first: Pre-norm instead of the paper's post-norm.
        bias: Whether linear maps and normalisations have a bias.
        layer_norm_eps: The constant in the normalisation.

    Shapes:
        - x: `[B, T, d_model]`, memory: `[B, S, d_model]`
        - mask: broadcast to `[B, h, T, T]`, memory_mask: to `[B, h, T, S]`, True = may attend
        - key_padding_mask: `[B, T]`, memory_key_padding_mask: `[B, S]`, True = padding
        - output: `[B, T, d_model]`
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        norm_first: bool = False,
        bias: bool = True,
        layer_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, dropout, bias)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, dropout, bias)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation, bias)
        self.norm1 = nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm2 = nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm3 = nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.dropout = Dropout(dropout)
        self.norm_first = norm_first

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        causal: bool = True,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """Transform the target given the memory: `[B, T, d_model]` -> `[B, T, d_model]`.

        With a `cache`, `x` holds only the newest position, which may see all earlier ones; `causal`
        must then be False.
        """

        own, other = (None, None) if cache is None else (cache.own, cache.memory)
        self_attention = partial(self.self_attention, need_weights=False, cache=own)
        cross_attention = partial(self.cross_attention, need_weights=False, cache=other)

        # solution:begin three sub-layers in self._residual | self_attention, cross_attention, all masks
        def attend(y: Tensor) -> Tensor:
            output, _ = self_attention(
                y, mask=mask, key_padding_mask=key_padding_mask, causal=causal
            )
            return output  # [B, T, d_model]

        def attend_memory(y: Tensor) -> Tensor:
            output, _ = cross_attention(
                y, memory, mask=memory_mask, key_padding_mask=memory_key_padding_mask
            )
            return output  # [B, T, d_model]

        x = self._residual(x, attend, self.norm1)
        x = self._residual(x, attend_memory, self.norm2)
        return self._residual(x, self.feed_forward, self.norm3)
        # solution:end

    def _residual(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        """Wrap a sub-layer in dropout, residual connection and normalisation."""
        # solution:begin post-norm, or pre-norm if self.norm_first | self.dropout
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        output: Tensor = norm(x + self.dropout(sublayer(x)))
        return output
        # solution:end

    @classmethod
    def from_torch(cls, layer: nn.TransformerDecoderLayer) -> Self:
        """A copy of a `nn.TransformerDecoderLayer`, options and weights included."""
        own = cls(**_options(layer)).to(layer.linear1.weight)
        return own.copy_from_torch(layer).train(layer.training)

    def copy_from_torch(self, layer: nn.TransformerDecoderLayer) -> Self:
        """Take over the weights of `layer`."""
        _check_same_order(self.norm_first, layer)
        self.self_attention.copy_from_torch(layer.self_attn)
        self.cross_attention.copy_from_torch(layer.multihead_attn)
        for own, other in self._pairs(layer):
            own.load_state_dict(other.state_dict())
        return self

    def copy_to_torch(self, layer: nn.TransformerDecoderLayer) -> nn.TransformerDecoderLayer:
        """Give the weights to `layer` and return it."""
        _check_same_order(self.norm_first, layer)
        self.self_attention.copy_to_torch(layer.self_attn)
        self.cross_attention.copy_to_torch(layer.multihead_attn)
        for own, other in self._pairs(layer):
            other.load_state_dict(own.state_dict())
        return layer

    def _pairs(self, layer: nn.TransformerDecoderLayer) -> list[tuple[nn.Module, nn.Module]]:
        """The modules that correspond one to one."""
        return [
            (self.feed_forward.linear1, layer.linear1),
            (self.feed_forward.linear2, layer.linear2),
            (self.norm1, layer.norm1),
            (self.norm2, layer.norm2),
            (self.norm3, layer.norm3),
        ]


class Encoder(nn.Module):
    """A stack of :class:`EncoderLayer`, with a last LayerNorm as in `nn.Transformer`.

    Args:
        n_layers: Number of layers (the paper's N).
        d_model: :math:`d_{model}`.
        n_heads: :math:`h`.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability.
        activation: `"relu"` or `"gelu"`.
        norm_first: Pre-norm instead of post-norm.
        final_norm: Whether to normalise the output; pre-norm needs it, and `nn.Transformer` has
            it in any case.

    Shapes:
        - x: `[B, S, d_model]`; masks as in :class:`EncoderLayer`
        - output: `[B, S, d_model]`
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        norm_first: bool = False,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_ff, dropout, activation, norm_first)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model) if final_norm else None

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Run all layers: `[B, S, d_model]` -> `[B, S, d_model]`."""
        for layer in self.layers:
            x = layer(x, mask=mask, key_padding_mask=key_padding_mask, causal=causal)
        return x if self.norm is None else self.norm(x)

    def copy_from_torch(self, stack: nn.TransformerEncoder) -> Self:
        """Take over the weights of a `nn.TransformerEncoder` of the same depth."""
        _check_same_stack(self.layers, self.norm, stack)
        for own, other in zip(self.layers, stack.layers, strict=True):
            cast(EncoderLayer, own).copy_from_torch(other)
        if self.norm is not None and stack.norm is not None:
            self.norm.load_state_dict(stack.norm.state_dict())
        return self


class Decoder(nn.Module):
    """A stack of :class:`DecoderLayer`, with a last LayerNorm as in `nn.Transformer`.

    Args:
        n_layers: Number of layers (the paper's N).
        d_model: :math:`d_{model}`.
        n_heads: :math:`h`.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability.
        activation: `"relu"` or `"gelu"`.
        norm_first: Pre-norm instead of post-norm.
        final_norm: Whether to normalise the output.

    Shapes:
        - x: `[B, T, d_model]`, memory: `[B, S, d_model]`; masks as in :class:`DecoderLayer`
        - output: `[B, T, d_model]`
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        norm_first: bool = False,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_ff, dropout, activation, norm_first)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model) if final_norm else None

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        causal: bool = True,
        caches: list[DecoderCache] | None = None,
    ) -> Tensor:
        """Run all layers: `[B, T, d_model]`, `[B, S, d_model]` -> `[B, T, d_model]`."""
        for index, layer in enumerate(self.layers):
            x = layer(
                x,
                memory,
                mask=mask,
                memory_mask=memory_mask,
                key_padding_mask=key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                causal=causal,
                cache=None if caches is None else caches[index],
            )
        return x if self.norm is None else self.norm(x)

    def copy_from_torch(self, stack: nn.TransformerDecoder) -> Self:
        """Take over the weights of a `nn.TransformerDecoder` of the same depth."""
        _check_same_stack(self.layers, self.norm, stack)
        for own, other in zip(self.layers, stack.layers, strict=True):
            cast(DecoderLayer, own).copy_from_torch(other)
        if self.norm is not None and stack.norm is not None:
            self.norm.load_state_dict(stack.norm.state_dict())
        return self


class Transformer(nn.Module):
    r"""Encoder-decoder Transformer for translation, with embeddings and output layer.

    .. math::

        m &= \mathrm{Encoder}(\sqrt{d_{model}}\, E_{src} + PE) \\
        \text{logits}_t &= W_o\, \mathrm{Decoder}(\sqrt{d_{model}}\, E_{tgt} + PE,\; m)_t

    (Vaswani et al. 2017, figure 1 and section 3.4.) Embeddings have entries of variance
    :math:`1/d_{model}`, so that after the factor :math:`\sqrt{d_{model}}` they are of the size of
    the positional encoding, and tied logits start near the unit scale.

    Args:
        src_vocab: Number of source words.
        tgt_vocab: Number of target words.
        d_model: :math:`d_{model}`.
        n_heads: :math:`h`.
        n_encoder_layers: Depth of the encoder.
        n_decoder_layers: Depth of the decoder.
        d_ff: :math:`d_{ff}`.
        dropout: Dropout probability (section 5.4).
        pad_idx: Id of the padding word in both vocabularies, to the right of the sentence.
        activation: `"relu"` or `"gelu"`.
        norm_first: Pre-norm instead of post-norm.
        tie_embeddings: Use the matrix of the target embeddings as output layer (section 3.4).
        share_embeddings: Use one matrix for source and target words, for a joint vocabulary.
        max_length: Longest sentence.
        src_pretrained: Optional embedding matrix `[src_vocab, w]`, of any width.
        tgt_pretrained: Optional embedding matrix `[tgt_vocab, w']`, of any width.
        freeze: Keep pre-trained vectors fixed.

    Shapes:
        - src: `[B, S]` int64
        - tgt: `[B, T]` int64, the target behind the start word: position t predicts word t + 1
        - output: logits `[B, T, tgt_vocab]`

    Raises:
        ValueError: Options contradict each other, or the shape of an input does not fit.
    """

    def __init__(
        self,
        src_vocab: int,
        tgt_vocab: int,
        d_model: int = 256,
        n_heads: int = 4,
        n_encoder_layers: int = 3,
        n_decoder_layers: int = 3,
        d_ff: int = 512,
        dropout: float = 0.1,
        *,
        pad_idx: int = 0,
        activation: Activation = "relu",
        norm_first: bool = False,
        tie_embeddings: bool = True,
        share_embeddings: bool = False,
        max_length: int = 512,
        src_pretrained: Tensor | None = None,
        tgt_pretrained: Tensor | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if share_embeddings and (src_vocab != tgt_vocab or tgt_pretrained is not None):
            raise ValueError(
                "share_embeddings needs one vocabulary for both languages: equal src_vocab and "
                "tgt_vocab, and pre-trained vectors (if any) passed as src_pretrained only."
            )
        self.d_model = d_model
        self.pad_idx = pad_idx
        std = d_model**-0.5
        self.src_embedding = WordEmbedding(
            src_vocab, d_model, pad_idx, src_pretrained, freeze and src_pretrained is not None, std
        )
        if share_embeddings:
            self.tgt_embedding = self.src_embedding
        else:
            self.tgt_embedding = WordEmbedding(
                tgt_vocab,
                d_model,
                pad_idx,
                tgt_pretrained,
                freeze and tgt_pretrained is not None,
                std,
            )
        self.position = PositionalEncoding(d_model, dropout, max_length)
        self.encoder = Encoder(
            n_encoder_layers, d_model, n_heads, d_ff, dropout, activation, norm_first
        )
        self.decoder = Decoder(
            n_decoder_layers, d_model, n_heads, d_ff, dropout, activation, norm_first
        )
        for parameter in [*self.encoder.parameters(), *self.decoder.parameters()]:
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.output = None if tie_embeddings else nn.Linear(d_model, tgt_vocab)

    def copy_from_torch(self, module: nn.Transformer) -> Self:
        """Take over encoder and decoder of a `nn.Transformer` (which has no embeddings)."""
        self.encoder.copy_from_torch(module.encoder)
        self.decoder.copy_from_torch(module.decoder)
        return self

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor | None]:
        """The memory and where it is padding: `[B, S]` -> `[B, S, d_model]`, `[B, S]` or None."""
        if src.ndim != 2 or src.shape[1] == 0:
            raise ValueError(
                f"The source must have shape [B, S] with S > 0, but has {list(src.shape)}."
            )
        # solution:begin mark the padding, embed the words, add the positions, run the encoder
        padding = src == self.pad_idx  # [B, S]
        # Without padding the attention needs no mask, which is faster.
        mask = padding if bool(padding.any()) else None
        x = self.position(self.src_embedding(src) * math.sqrt(self.d_model))  # [B, S, d]
        memory: Tensor = self.encoder(x, key_padding_mask=mask)  # [B, S, d]
        return memory, mask
        # solution:end

    def _decode(
        self,
        tgt: Tensor,
        memory: Tensor,
        memory_padding: Tensor | None,
        caches: list[DecoderCache] | None = None,
        offset: int = 0,
    ) -> Tensor:
        """Decoder states of the target words: `[B, T]` -> `[B, T, d_model]`.

        Padding of the target stands at its end, so the causal mask already hides it from the words.
        """
        decoder = partial(self.decoder, causal=caches is None, caches=caches)
        # solution:begin embed the words, add the positions from offset on, run the decoder | decoder
        y = self.position(self.tgt_embedding(tgt) * math.sqrt(self.d_model), offset)  # [B, T, d]
        hidden: Tensor = decoder(y, memory, memory_key_padding_mask=memory_padding)
        return hidden
        # solution:end

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all target words: `[..., d_model]` -> `[..., tgt_vocab]`."""
        if self.output is None:
            return self.tgt_embedding.logits(hidden)
        scores: Tensor = self.output(hidden)
        return scores

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Logits of the next target word at every position: `[B, T, tgt_vocab]`."""
        if tgt.ndim != 2 or tgt.shape[0] != src.shape[0] or tgt.shape[1] == 0:
            raise ValueError(
                f"The target must have shape [B, T] with T > 0 and the batch of the source "
                f"{list(src.shape)}, but has {list(tgt.shape)}."
            )
        # solution:begin encode the source, decode the target, score the words
        memory, padding = self.encode(src)  # [B, S, d], [B, S]
        return self.logits(self._decode(tgt, memory, padding))  # [B, T, V]
        # solution:end

    def start(self, src: Tensor, cached: bool = True) -> "TransformerDecoding":
        """Read the sources `[B, S]`, for a search such as :func:`.beam_search.beam_search`.

        Args:
            src: Source words.
            cached: Keep keys and values of earlier positions. Without, each step runs the decoder
                over all words so far; the scores are the same, and the cost is quadratic.
        """
        return TransformerDecoding(self, src, cached)

    @torch.no_grad()
    def greedy(self, src: Tensor, max_length: int, sos: int, eos: int) -> Tensor:
        """Translate a batch by taking the likeliest word at each step.

        Keys and values of earlier steps are kept, so each step computes one position. Dropout is
        off while translating. A finished sentence is filled with padding, and the loop ends when
        all are finished.

        Args:
            src: Source words.
            max_length: Longest output.
            sos: Id of the start word (not part of the output).
            eos: Id of the end word (part of the output).

        Shapes:
            - src: `[B, S]`
            - output: words `[B, L]`, L <= max_length
        """
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, but is {max_length}.")
        training = self.training
        self.eval()
        memory, padding = self.encode(src)  # [B, S, d], [B, S]
        caches = [DecoderCache() for _ in self.decoder.layers]
        word = torch.full((len(src),), sos, device=src.device)  # [B]
        finished = torch.zeros_like(word, dtype=torch.bool)  # [B]
        words: list[Tensor] = []
        for step in range(max_length):
            hidden = self._decode(word.unsqueeze(1), memory, padding, caches, step)  # [B, 1, d]
            word = self.logits(hidden.squeeze(1)).argmax(dim=1)  # [B]
            word = word.masked_fill(finished, self.pad_idx)
            words.append(word)
            finished = finished | (word == eos)
            if bool(finished.all()):
                break
        self.train(training)
        return torch.stack(words, dim=1)  # [B, L]


class TransformerDecoding:
    """Translations under way; see :class:`.beam_search.Decoding`.

    Args:
        model: In eval mode.
        src: Source words `[B, S]`.
        cached: Whether to keep keys and values; see :meth:`Transformer.start`.
    """

    def __init__(self, model: Transformer, src: Tensor, cached: bool = True) -> None:
        self.model = model
        self.memory, self.padding = model.encode(src)  # [R, S, d], [R, S] or None
        layers = model.decoder.layers
        self.caches = [DecoderCache() for _ in layers] if cached else None
        self.words = src.new_empty(len(src), 0)  # [R, t], read so far

    def step(self, words: Tensor) -> Tensor:
        """Append a word to each row and score the next: `[R]` -> logits `[R, V]`."""
        offset = self.words.shape[1]
        self.words = torch.cat([self.words, words.unsqueeze(1)], dim=1)  # [R, t + 1]
        if self.caches is None:
            hidden = self.model._decode(self.words, self.memory, self.padding)  # [R, t + 1, d]
        else:
            newest = self.words[:, -1:]  # [R, 1]
            hidden = self.model._decode(newest, self.memory, self.padding, self.caches, offset)
        return self.model.logits(hidden[:, -1])  # [R, V]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self.words, self.memory = self.words[rows], self.memory[rows]
        self.padding = None if self.padding is None else self.padding[rows]
        for cache in self.caches or ():
            cache.select(rows)


def _options(layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> dict[str, Any]:
    """The arguments that make a layer of ours like one of PyTorch's."""
    activation = layer.activation
    name = "gelu" if activation is F.gelu or isinstance(activation, nn.GELU) else "relu"
    if name == "relu" and not (activation is F.relu or isinstance(activation, nn.ReLU)):
        raise ValueError(f"Only relu and gelu can be copied, but the activation is {activation}.")
    return {
        "d_model": layer.linear1.in_features,
        "n_heads": layer.self_attn.num_heads,
        "d_ff": layer.linear1.out_features,
        "dropout": layer.dropout1.p,
        "activation": name,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
        "layer_norm_eps": layer.norm1.eps,
    }


def _check_same_order(norm_first: bool, layer: nn.Module) -> None:
    """Weights are copied only between two post-norm or two pre-norm layers."""
    if layer.norm_first != norm_first:
        raise ValueError(
            f"Weights can be copied only between layers of the same kind, but norm_first is "
            f"{norm_first} here and {layer.norm_first} there."
        )


def _check_same_stack(layers: nn.ModuleList, norm: nn.Module | None, stack: nn.Module) -> None:
    """Weights are copied only between stacks of the same depth with the same last normalisation."""
    others: nn.ModuleList = stack.layers  # type: ignore[assignment]
    if len(layers) != len(others) or (norm is None) != (stack.norm is None):
        raise ValueError(
            f"Weights can be copied only between stacks of the same depth that both have, or both "
            f"lack, a last LayerNorm; here are {len(layers)} layers and there {len(others)}."
        )
