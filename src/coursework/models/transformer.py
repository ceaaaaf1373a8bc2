r"""The Transformer from scratch: encoder and decoder layers, stacks, and a translation model.

Paper: Vaswani et al., *Attention Is All You Need*, 2017, https://arxiv.org/abs/1706.03762.

Letters: `B` batch, `S` source length, `T` target length, `d_model` width of the model, `d_ff` width
of the feed-forward network, `h` heads, `V` vocabulary. Masks follow :mod:`.attention`: in `mask`
True = may attend, in `..._padding_mask` True = padding.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.attention import KeyValueCache, MultiHeadAttention
from coursework.models.checks import expect, expect_words, require
from coursework.models.dropout import Dropout
from coursework.models.embedding import WordEmbedding
from coursework.models.torch_weights import TorchWeights

Activation = Literal["relu", "gelu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class PositionalEncoding(nn.Module):
    r"""Add sinusoids of the position to the embeddings.

    .. math:: PE_{(pos, 2i)} = \sin(pos / 10000^{2i/d_{model}}), \quad
              PE_{(pos, 2i+1)} = \cos(pos / 10000^{2i/d_{model}})

    (Section 3.5.) Without it the model could not tell the order of the words. Dropout acts on the sum.
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
        """Add the encodings of the positions from `offset` on: `[B, T, d_model]` -> the same."""
        length, width = self.encoding.shape
        end = offset + expect("x", x, "B T d_model", d_model=width)["T"]
        few = f"There are {length} positions, but {end} are needed; shorten the text"
        require(end <= length, f"{few}, or give PositionalEncoding a larger max_length.")
        return self.dropout(x + self.encoding[offset:end])  # [B, T, d]


class FeedForward(nn.Module):
    r"""The same small network at every position (section 3.3, equation 2).

    .. math:: \mathrm{FFN}(x) = W_2\, \mathrm{Dropout}(\sigma(W_1 x + b_1)) + b_2
    """

    def __init__(
        self, d_model: int, d_ff: int, dropout: float = 0.0, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        known = activation in _ACTIVATIONS
        require(known, f"activation must be 'relu' or 'gelu', but is {activation!r}.")
        self.linear1 = nn.Linear(d_model, d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)
        self.dropout = Dropout(dropout)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Two linear maps at every position: `[..., d_model]` -> the same."""
        # solution:begin linear1, activation, dropout, linear2 | _ACTIVATIONS[self.activation]
        hidden = _ACTIVATIONS[self.activation](self.linear1(x))  # [..., d_ff]
        return self.linear2(self.dropout(hidden))  # [..., d_model]
        # solution:end


class EncoderLayer(TorchWeights):
    r"""Self-attention and a feed-forward network, each with a residual connection and LayerNorm.

    .. math:: x \leftarrow \mathrm{LN}(x + \mathrm{Sublayer}(x)) \;\text{(post-norm)}, \qquad
              x \leftarrow x + \mathrm{Sublayer}(\mathrm{LN}(x)) \;\text{(pre-norm)}

    Post-norm is the paper's (section 3.1); pre-norm trains without warm-up (Xiong et al. 2020,
    https://arxiv.org/abs/2002.04745). Dropout acts on attention weights, hidden units and the output of each
    sub-layer. `mask` broadcasts to `[B, h, S, S]`; `key_padding_mask` is `[B, S]`.
    """

    options = ("activation", "norm_first")
    reads_memory = False  # a decoder layer does: one attention and one normalisation more

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        norm_first: bool = False,
        layer_norm_eps: float = 1e-5,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, dropout, fused)
        if self.reads_memory:
            self.cross_attention = MultiHeadAttention(d_model, n_heads, dropout, fused)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation)
        norm = partial(nn.LayerNorm, d_model, eps=layer_norm_eps)
        self.norm1, self.norm2 = norm(), norm()
        if self.reads_memory:
            self.norm3 = norm()
        self.dropout = Dropout(dropout)
        self.activation, self.norm_first = activation, norm_first

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Transform a sequence: `[B, S, d_model]` -> the same."""
        # solution:begin the two sub-layers, each wrapped by self._residual | hand the masks on
        masks = {"mask": mask, "key_padding_mask": key_padding_mask, "causal": causal}
        x = self._residual(x, lambda y: self.self_attention(y, **masks)[0], self.norm1)
        return self._residual(x, self.feed_forward, self.norm2)
        # solution:end

    def _residual(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        """Wrap a sub-layer in dropout, residual connection and normalisation."""
        # solution:begin post-norm, or pre-norm if self.norm_first | self.dropout
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))
        # solution:end


# of the target, of the memory: what one layer keeps
Cache = tuple[KeyValueCache | None, KeyValueCache | None]


class DecoderLayer(EncoderLayer):
    """Causal self-attention, attention to the encoder's output (the memory), feed-forward network."""

    reads_memory = True

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        causal: bool = True,
        cache: Cache = (None, None),
    ) -> Tensor:
        """Transform the target given the memory: `[B, T, d_model]`, `[B, S, d_model]` -> as `x`.

        With a `cache`, `x` is the newest position alone, which sees all earlier ones without `causal`.
        """
        self_attention = partial(self.self_attention, cache=cache[0])
        cross_attention = partial(self.cross_attention, cache=cache[1])
        # solution:begin three sub-layers in self._residual | self_attention, cross_attention, all masks
        masks = {"mask": mask, "key_padding_mask": key_padding_mask, "causal": causal}
        x = self._residual(x, lambda y: self_attention(y, **masks)[0], self.norm1)
        of_memory = {"key_padding_mask": memory_key_padding_mask}
        x = self._residual(x, lambda y: cross_attention(y, memory, **of_memory)[0], self.norm2)
        return self._residual(x, self.feed_forward, self.norm3)
        # solution:end


class Encoder(TorchWeights):
    """A stack of layers, arguments as there, with a last LayerNorm as in `nn.Transformer`."""

    layer: type[EncoderLayer] = EncoderLayer

    def __init__(self, n_layers: int, d_model: int, *sizes: Any, **options: Any) -> None:
        super().__init__()
        require(n_layers > 0, f"n_layers must be positive, but is {n_layers}.")
        layers = (self.layer(d_model, *sizes, **options) for _ in range(n_layers))
        self.layers = nn.ModuleList(layers)
        like: Any = self.layers[-1]
        self.norm = nn.LayerNorm(d_model, like.norm1.eps)

    def forward(
        self, x: Tensor, *memory: Tensor, caches: Sequence[Cache] = (), **masks: Any
    ) -> Tensor:
        """Run all layers, those of a decoder with a memory: `[B, T, d_model]` -> the same."""
        for layer, cache in zip_longest(self.layers, caches):
            kept = {"cache": cache} if cache else {}
            x = layer(x, *memory, **kept, **masks)
        return self.norm(x)


class Decoder(Encoder):
    """A stack of :class:`DecoderLayer`."""

    layer = DecoderLayer


class Transformer(TorchWeights):
    r"""Encoder-decoder Transformer for translation, with embeddings and output layer.

    .. math:: m = \mathrm{Encoder}(\sqrt{d_{model}}\, E_{src} + PE), \quad
              \text{logits}_t = E\, \mathrm{Decoder}(\sqrt{d_{model}}\, E_{tgt} + PE,\; m)_t

    (Figure 1 and section 3.4.) The output layer is the matrix :math:`E` of the target embeddings (Press &
    Wolf 2017), which with a joint vocabulary the source may share; where these are projected from vectors of
    another width it is a matrix of its own, of full rank. Its entries have variance :math:`1/d_{model}`, so
    the logits start near the unit scale. Sources `[B, S]` have padding at their end, targets `[B, T]` stand
    behind the start word: position t predicts word t + 1.
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
        norm_first: bool = False,
        share_embeddings: bool = False,
        src_pretrained: Tensor | None = None,
        tgt_pretrained: Tensor | None = None,
        fused: bool = False,
    ) -> None:
        super().__init__()
        require(
            not share_embeddings or (src_vocab == tgt_vocab and tgt_pretrained is None),
            "share_embeddings needs one vocabulary for both languages: equal src_vocab and "
            "tgt_vocab, and pre-trained vectors (if any) passed as src_pretrained only.",
        )
        self.d_model, self.pad_idx = d_model, pad_idx
        std = d_model**-0.5
        self.src_embedding = WordEmbedding(src_vocab, d_model, pad_idx, src_pretrained, std=std)
        self.tgt_embedding = self.src_embedding
        if not share_embeddings:
            self.tgt_embedding = WordEmbedding(tgt_vocab, d_model, pad_idx, tgt_pretrained, std)
        self.output: nn.Linear | None = None
        if self.tgt_embedding.projection is not None:
            self.output = nn.Linear(d_model, tgt_vocab, bias=False)
            nn.init.normal_(self.output.weight, std=std)
        self.position = PositionalEncoding(d_model, dropout)
        sizes = (d_model, n_heads, d_ff, dropout)
        options = {"norm_first": norm_first, "fused": fused}
        self.encoder = Encoder(n_encoder_layers, *sizes, **options)
        self.decoder = Decoder(n_decoder_layers, *sizes, **options)
        for parameter in [*self.encoder.parameters(), *self.decoder.parameters()]:
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor | None]:
        """The memory and where it is padding: `[B, S]` -> `[B, S, d_model]`, `[B, S]` or None."""
        expect_words("src", src, "B S", self.pad_idx)
        # solution:begin mark the padding, embed the words, add the positions, run the encoder
        padding = src == self.pad_idx  # [B, S]
        # Without padding the attention needs no mask, which is faster.
        mask = padding if bool(padding.any()) else None
        x = self.position(self.src_embedding(src) * math.sqrt(self.d_model))  # [B, S, d]
        memory = self.encoder(x, key_padding_mask=mask)  # [B, S, d]
        return memory, mask
        # solution:end

    def _decode(
        self,
        tgt: Tensor,
        memory: Tensor,
        memory_padding: Tensor | None,
        caches: Sequence[Cache] = (),
        offset: int = 0,
    ) -> Tensor:
        """Decoder states of the target words: `[B, T]` -> `[B, T, d_model]`."""
        # Padding of the target stands at its end: the causal mask hides it from the words.
        decoder = partial(self.decoder, causal=not caches, caches=caches)
        # solution:begin embed the words, add the positions from offset on, run the decoder | decoder
        y = self.position(self.tgt_embedding(tgt) * math.sqrt(self.d_model), offset)  # [B, T, d]
        return decoder(y, memory, memory_key_padding_mask=memory_padding)  # [B, T, d]
        # solution:end

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all target words: `[..., d_model]` -> `[..., tgt_vocab]`."""
        own = self.tgt_embedding.table if self.output is None else self.output
        return F.linear(hidden, own.weight)  # [..., V]

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Logits of the next target word at every position: `[B, T, tgt_vocab]`."""
        expect_words("tgt", tgt, "B T", self.pad_idx, B=len(src))
        # solution:begin encode the source, decode the target, score the words
        memory, padding = self.encode(src)  # [B, S, d], [B, S]
        return self.logits(self._decode(tgt, memory, padding))  # [B, T, V]
        # solution:end

    def start(self, src: Tensor, cached: bool = True) -> "TransformerDecoding":
        """Read the sources `[B, S]`; not `cached`, each step decodes all words so far once more."""
        return TransformerDecoding(self, src, cached)


class TransformerDecoding:
    """Translations under way; see :class:`.beam_search.Decoding`. The model is in eval mode."""

    def __init__(self, model: Transformer, src: Tensor, cached: bool = True) -> None:
        self.model = model
        self.memory, self.padding = model.encode(src)  # [R, S, d], [R, S] or None
        layers = model.decoder.layers if cached else ()
        self.caches = [(KeyValueCache(growing=True), KeyValueCache(growing=False)) for _ in layers]
        self.words = src.new_empty(len(src), 0)  # [R, t], read so far

    def step(self, words: Tensor) -> Tensor:
        self.words = torch.cat([self.words, words.unsqueeze(1)], dim=1)  # [R, t + 1]
        read = self.words[:, -1:] if self.caches else self.words
        offset = self.words.shape[1] - read.shape[1]
        hidden = self.model._decode(read, self.memory, self.padding, self.caches, offset)
        return self.model.logits(hidden[:, -1])  # [R, V]

    def select(self, rows: Tensor) -> None:
        self.words, self.memory = self.words[rows], self.memory[rows]
        self.padding = None if self.padding is None else self.padding[rows]
        for cache in chain(*self.caches):
            cache.select(rows)
