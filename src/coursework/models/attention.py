r"""Attention from scratch: dot-product and cosine, multi-head, and the linear-time variant.

Paper: Vaswani et al., *Attention Is All You Need*, 2017, https://arxiv.org/abs/1706.03762.

Letters: `B` batch, `N` queries, `M` keys, `d_k` width of a query and key, `d_v` width of a value,
`d_model` width of the model, `h` heads. `...` are any leading axes (batch, heads), broadcast.

Masks: a boolean `mask` is **True = may attend**, a float one is added to the scores; both broadcast to
`[..., N, M]`. `key_padding_mask` `[B, M]` is **True = padding, ignored** (as in `nn.Transformer`). A query
that may attend to nothing gets weights and output zero: the empty sum, which, unlike NaN, cannot spread.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.checks import expect, probability, require
from coursework.models.dropout import dropout
from coursework.models.torch_weights import TorchWeights

Similarity = Literal["dot", "cosine"]


def masked_softmax(scores: Tensor) -> Tensor:
    r"""Softmax of `[..., N, M]` by rows; a row of only :math:`-\infty` becomes zeros, not NaN."""
    empty = torch.isneginf(scores).all(dim=-1, keepdim=True)  # [..., N, 1]
    # Filling before the softmax keeps NaN out of the backward pass as well.
    return scores.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)


def causal_mask(n: int, m: int | None = None, device: torch.device | None = None) -> Tensor:
    """Boolean mask `[N, M]` that lets position i attend to positions j <= i only (True = may)."""
    # solution:begin a boolean matrix, True where i may attend to j | Tensor.tril
    return torch.ones(n, n if m is None else m, dtype=torch.bool, device=device).tril()
    # solution:end


def checked_mask(mask: Tensor | None, scores: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """The mask for scores of this shape, boolean or of their type; all paths check here."""
    if mask is None:
        return None
    require(isinstance(mask, Tensor), f"A mask must be a tensor, but is a {type(mask).__name__}.")
    right = mask.dtype == torch.bool or mask.is_floating_point()
    require(right, f"A mask must be boolean or floating point, but is {mask.dtype}.")
    shape, missing = list(mask.shape), len(scores) - mask.ndim
    fits = missing >= 0 and all(n in (1, m) for n, m in zip(shape, scores[missing:], strict=True))
    require(fits, f"A mask must broadcast to the scores {list(scores)}, but has {shape}.")
    return mask if mask.dtype == torch.bool else mask.to(dtype)


def _forbid(mask: Tensor | None, allowed: Tensor) -> Tensor:
    """A mask that forbids what is not allowed as well."""
    if mask is None:
        return allowed
    return mask & allowed if mask.dtype == torch.bool else mask.masked_fill(~allowed, -torch.inf)


def _apply_mask(scores: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Write the masks into the scores `[..., N, M]`."""
    mask = checked_mask(mask, scores.shape, scores.dtype)
    if causal:
        mask = _forbid(mask, causal_mask(scores.shape[-2], scores.shape[-1], scores.device))
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask


def attention_weights(
    Q: Tensor,
    K: Tensor,
    *,
    mask: Tensor | None = None,
    scale: float | None = None,
    similarity: Similarity = "dot",
    causal: bool = False,
) -> Tensor:
    r"""The weights :math:`\mathrm{softmax}(s\, Q K^\top)` of :func:`attention`: `[..., N, M]`.

    The default `scale` :math:`s` is :math:`1/\sqrt{d_k}` for the dot product, 1 for the cosine
    :math:`q^\top k / (|q| |k|)`. With `causal`, query i may attend to keys j <= i only.
    """
    width = expect("Q", Q, "... N d_k")["d_k"]
    expect("K", K, "... M d_k", d_k=width)
    require(width > 0, "Queries and keys must have a width d_k of at least 1, but it is 0.")
    known = similarity in ("dot", "cosine")
    require(known, f"similarity must be 'dot' or 'cosine', but is {similarity!r}.")
    if similarity == "cosine":
        Q, K = (F.normalize(x, dim=-1, eps=max(1e-12, torch.finfo(x.dtype).tiny)) for x in (Q, K))
        scale = 1.0 if scale is None else scale
    # solution:begin scaled scores, masks, softmax | the masks are given: _apply_mask, masked_softmax
    scale = 1.0 / math.sqrt(Q.shape[-1]) if scale is None else scale
    scores = (Q * scale) @ K.transpose(-2, -1)  # [..., N, M]
    if mask is None and not causal:
        return scores.softmax(dim=-1)
    return masked_softmax(_apply_mask(scores, mask, causal))
    # solution:end


def attention(Q: Tensor, K: Tensor, V: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    r"""Each query receives the average of the values, weighted by its similarity to the keys.

    .. math:: \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\Big(\frac{QK^\top}{\sqrt{d_k}}\Big) V

    (Equation 1 of the paper; :math:`O(NM(d_k + d_v))` time, :math:`O(NM)` memory.) Q `[..., N, d_k]`,
    K `[..., M, d_k]`, V `[..., M, d_v]` -> output `[..., N, d_v]`, weights `[..., N, M]`, whose rows sum to
    one or are zero. `options` are those of :func:`attention_weights`.
    """
    expect("V", V, "... M d_v", M=expect("K", K, "... M d_k")["M"])
    # solution:begin the weights, then the weighted sum of the values
    weights = attention_weights(Q, K, **options)  # [..., N, M]
    return weights @ V, weights  # [..., N, d_v], [..., N, M]
    # solution:end


def elu_plus_one(x: Tensor) -> Tensor:
    r"""Feature map :math:`\phi(x) = \mathrm{elu}(x) + 1` (Katharopoulos et al., eq. 7); no product is 0."""
    return torch.where(x > 0, x + 1, x.clamp(math.log(torch.finfo(x.dtype).tiny) / 2, 0).exp())


def linear_attention(
    Q: Tensor, K: Tensor, V: Tensor, feature_map: Callable[[Tensor], Tensor] = elu_plus_one
) -> Tensor:
    r"""Attention in linear time, with a kernel :math:`\phi(q)^\top\phi(k) > 0` for the exponential.

    .. math:: y_i^\top = \frac{\phi(q_i)^\top S}{\phi(q_i)^\top z}, \qquad
              S = \sum_j \phi(k_j) v_j^\top, \quad z = \sum_j \phi(k_j)

    (Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236, equations 4 to 6.) `S` and `z` do not
    depend on i: :math:`O((N + M)\, m\, d_v)` time. Shapes are those of :func:`attention`.
    """
    sizes = expect("K", K, "... M d_k", d_k=expect("Q", Q, "... N d_k")["d_k"])
    expect("V", V, "... M d_v", M=sizes["M"])
    phi_q, phi_k = feature_map(Q), feature_map(K)  # [..., N, m], [..., M, m]
    S = phi_k.transpose(-2, -1) @ V  # [..., m, d_v]
    if sizes["M"] == 0:
        return phi_q @ S  # zeros, as those of attention to nothing
    z = phi_k.sum(dim=-2).unsqueeze(-1)  # [..., m, 1]
    return (phi_q @ S) / (phi_q @ z)  # [..., N, d_v] / [..., N, 1]


class KeyValueCache:
    """Projected keys and values `[B, h, M, d_k]`, kept between the steps of a decoder.

    `growing` in self-attention, where each step appends its own; elsewhere they are projected once.
    """

    def __init__(self, growing: bool) -> None:
        self.growing = growing
        self.held: tuple[Tensor, ...] = ()

    def update(self, new: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """All keys and values; new ones are made (`new` may be lazy) only where they are needed."""
        if self.growing or not self.held:
            pairs = zip(self.held, new, strict=True) if self.held else zip(new, strict=True)
            self.held = tuple(torch.cat(pair, dim=-2) for pair in pairs)
        return self.held

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        self.held = tuple(x[rows] for x in self.held)


class MultiHeadAttention(TorchWeights):
    r"""Several attentions side by side, each in its own learned subspace.

    .. math:: \mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \dots, \mathrm{head}_h)\, W^O,
              \quad \mathrm{head}_i = \mathrm{Attention}(Q W^Q_i, K W^K_i, V W^V_i)

    (Section 3.2.2), with :math:`d_k = d_v = d_{model} / h`. The :math:`W_i` of all heads are the row blocks
    of one linear layer. Dropout acts on the weights. With `fused`, softmax and weighted sum are left to
    PyTorch's kernel, which keeps no weights.
    """

    options = ("n_heads",)

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0, fused: bool = False) -> None:
        super().__init__()
        fits = n_heads > 0 and d_model > 0 and d_model % n_heads == 0
        require(fits, f"d_model must be a multiple of n_heads: {d_model} is not of {n_heads}.")
        probability("dropout", dropout)
        self.d_model, self.n_heads, self.d_k = d_model, n_heads, d_model // n_heads
        self.dropout, self.fused = dropout, fused
        linears = [nn.Linear(d_model, d_model) for _ in range(4)]
        self.W_Q, self.W_K, self.W_V, self.W_O = linears
        for linear in linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def _split(self, x: Tensor) -> Tensor:
        """Cut the width into heads: `[B, N, d_model]` -> `[B, h, N, d_k]`."""
        # solution:begin cut the last axis into heads and move them before the positions
        return x.unflatten(-1, (self.n_heads, self.d_k)).transpose(1, 2)
        # solution:end

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
        fused: bool | None = None,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend: query `[B, N, d_model]`, key and value `[B, M, d_model]` -> `[B, N, d_model]` and the
        weights `[B, h, N, M]`, None if fused. `mask` broadcasts to them; `key_padding_mask` is `[B, M]`.
        `key` defaults to `query`, `value` to `key`, and `fused` to the module's own."""
        key = query if key is None else key
        value = key if value is None else value
        sizes = expect("query", query, "B N d_model", d_model=self.d_model)
        sizes = expect("key", key, "B M d_model", B=sizes["B"], d_model=self.d_model)
        # The fused kernel reads as many values as there are keys, whether they are there or not.
        expect("value", value, "B M d_model", B=sizes["B"], M=sizes["M"], d_model=self.d_model)
        Q = self._split(self.W_Q(query))  # [B, h, N, d_k]
        new = (self._split(linear(x)) for linear, x in ((self.W_K, key), (self.W_V, value)))
        K, V = new if cache is None else cache.update(new)  # 2 x [B, h, M, d_k]
        mask = _with_padding(mask, key_padding_mask, Q, K)  # [..., N, M]
        # solution:begin attend in each head, dropout on the weights, join the heads, W_O | dropout(x, p)
        p = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if self.fused if fused is None else fused:
            heads = _kernel(Q, K, V, mask, p, causal)  # [B, h, N, d_k]
        else:
            weights = attention_weights(Q, K, mask=mask, causal=causal)  # [B, h, N, M]
            heads = dropout(weights, p) @ V  # [B, h, N, d_k]
        return self.W_O(heads.transpose(1, 2).flatten(2)), weights  # [B, N, d_model]
        # solution:end


def _kernel(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None, p: float, causal: bool) -> Tensor:
    """Softmax and weighted sum by PyTorch's fused kernel: `[B, h, N, d_k]`."""
    alone = causal and mask is None  # the kernel takes one of the two
    mask = None if mask is None else torch.atleast_2d(mask)
    if causal and not alone:
        mask = _forbid(mask, causal_mask(Q.shape[-2], K.shape[-2], Q.device))
    return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, dropout_p=p, is_causal=alone)


def _with_padding(
    mask: Tensor | None, key_padding_mask: Tensor | None, Q: Tensor, K: Tensor
) -> Tensor | None:
    """Check both kinds of mask and combine them into one that broadcasts to `[B, h, N, M]`."""
    mask = checked_mask(mask, (*Q.shape[:-1], K.shape[-2]), Q.dtype)
    if key_padding_mask is None:
        return mask
    expect("key_padding_mask", key_padding_mask, "B M", B=K.shape[0], M=K.shape[-2])
    kind = key_padding_mask.dtype
    require(kind == torch.bool, f"key_padding_mask must be boolean (True = padding), not {kind}.")
    return _forbid(mask, ~key_padding_mask[:, None, None, :])  # [B, 1, 1, M], or more
