"""Attention from scratch against PyTorch's kernels and modules, and its properties."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coursework.models.attention import (
    KeyValueCache,
    MultiHeadAttention,
    attention,
    attention_weights,
    causal_mask,
    elu_plus_one,
    linear_attention,
    masked_softmax,
)

PROPERTY = settings(max_examples=20, deadline=None, derandomize=True)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(own: Tensor, reference: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


# --- the function ----------------------------------------------------------------------------


def test_attention_by_hand() -> None:
    # Scores ln 3 and 0 give the weights 3/4 and 1/4.
    Q = torch.tensor([[math.log(3.0)]])
    K = torch.tensor([[1.0], [0.0]])
    V = torch.tensor([[4.0], [8.0]])
    output, weights = attention(Q, K, V)
    assert_same(weights, torch.tensor([[0.75, 0.25]]), 1e-6)
    assert_same(output, torch.tensor([[5.0]]), 1e-6)


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_matches_pytorch(kind: str, scale: float | None, dtype: torch.dtype) -> None:
    Q, K, V = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 6, seed=2)
    Q, K, V = (x.to(dtype).requires_grad_() for x in (Q, K, V))
    mask = None
    if kind == "bool":
        mask = normal(2, 1, 5, 7, seed=3) > -1.0
    elif kind == "float":
        mask = normal(5, 7, seed=3).to(dtype)
    causal = kind == "causal"
    output, weights = attention(Q, K, V, mask=mask, scale=scale, causal=causal)
    expected = F.scaled_dot_product_attention(
        Q, K, V, attn_mask=mask, scale=scale, is_causal=causal
    )
    assert weights.shape == (2, 3, 5, 7)
    assert_same(output, expected, 2e-6 if dtype == torch.float32 else 1e-12)
    found = torch.autograd.grad(output.sin().sum(), (Q, K, V))
    reference = torch.autograd.grad(expected.sin().sum(), (Q, K, V))
    for mine, theirs in zip(found, reference, strict=True):
        assert_same(mine, theirs, 1e-5 if dtype == torch.float32 else 1e-12)


def test_cosine_similarity() -> None:
    Q, K = normal(3, 4), normal(5, 4, seed=1)
    expected = F.cosine_similarity(Q.unsqueeze(1), K.unsqueeze(0), dim=-1).softmax(dim=-1)
    weights = attention_weights(Q, K, similarity="cosine")
    assert_same(weights, expected)
    assert_same(attention_weights(10 * Q, 0.1 * K, similarity="cosine"), weights)
    batch = attention_weights(Q.expand(2, 6, 3, 4), K.expand(2, 6, 5, 4), similarity="cosine")
    assert_same(batch, weights.expand(2, 6, 3, 5))


@PROPERTY
@given(
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    causal=st.booleans(),
    similarity=st.sampled_from(["dot", "cosine"]),
    seed=st.integers(0, 2**16),
)
def test_rows_sum_to_one_or_to_zero(
    n: int, m: int, causal: bool, similarity: str, seed: int
) -> None:
    Q = normal(n, 3, seed=seed).requires_grad_()
    K, V = normal(m, 3, seed=seed + 1), normal(m, 2, seed=seed + 2)
    mask = normal(n, m, seed=seed + 3) > 0.3
    output, weights = attention(Q, K, V, mask=mask, causal=causal, similarity=similarity)
    allowed = mask & causal_mask(n, m) if causal else mask
    assert (weights[~allowed] == 0).all()
    assert_same(weights.sum(dim=-1), allowed.any(dim=-1).double())
    assert (output[~allowed.any(dim=-1)] == 0).all()
    (gradient,) = torch.autograd.grad(output.sum(), Q)
    assert gradient.isfinite().all()
    additive = torch.zeros(n, m, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    same, _ = attention(Q, K, V, mask=additive, causal=causal, similarity=similarity)
    assert_same(same, output)


@PROPERTY
@given(n=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_self_attention_commutes_with_permutations(n: int, seed: int) -> None:
    X = normal(n, 4, seed=seed)
    W = [normal(4, 4, seed=seed + k) for k in (1, 2, 3)]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    output, weights = attention(X @ W[0], X @ W[1], X @ W[2])
    permuted, permuted_weights = attention(X[order] @ W[0], X[order] @ W[1], X[order] @ W[2])
    assert_same(permuted, output[order])
    assert_same(permuted_weights, weights[order][:, order])


def test_masked_softmax_is_softmax_where_a_key_is_left() -> None:
    scores = torch.tensor([[0.0, 1.0], [-torch.inf, 3.0], [-torch.inf, -torch.inf]])
    weights = masked_softmax(scores)
    assert_same(weights[:2], scores[:2].softmax(dim=-1), 1e-7)
    assert weights[2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: attention(x, normal(4, 3), x), "K must have shape"),
        (lambda x: attention(x, x, normal(5, 4)), "V must have shape"),
        (lambda x: attention(x, x, x, similarity="rbf"), "similarity must be"),
        (lambda x: attention(x, x, x, mask=torch.ones(4, 4).long()), "boolean or floating point"),
    ],
)
def test_attention_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(normal(4, 4))


# --- the linear-time variant -----------------------------------------------------------------


@PROPERTY
@given(n=st.integers(1, 9), m=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_linear_attention_equals_the_quadratic_sum(n: int, m: int, seed: int) -> None:
    Q, K, V = normal(2, n, 3, seed=seed), normal(2, m, 3, seed=seed + 1), normal(2, m, 4, seed=2)
    similarity = elu_plus_one(Q) @ elu_plus_one(K).transpose(-2, -1)  # [2, n, m]
    expected = (similarity / similarity.sum(dim=-1, keepdim=True)) @ V
    assert_same(linear_attention(Q, K, V), expected)


def test_feature_map_is_elu_plus_one() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert_same(elu_plus_one(x), torch.tensor([math.exp(-2.0), 1.0, 4.0]), 1e-7)


def test_linear_attention_takes_another_feature_map() -> None:
    Q, K, V = normal(4, 3), normal(5, 3, seed=1), normal(5, 2, seed=2)
    similarity = Q.exp() @ K.exp().T
    expected = similarity / similarity.sum(dim=1, keepdim=True) @ V
    assert_same(linear_attention(Q, K, V, feature_map=torch.exp), expected)


# --- several heads ---------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_multi_head_matches_pytorch(
    heads: int, bias: bool, masked: bool, dtype: torch.dtype, atol: float
) -> None:
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(8, heads, bias=bias, batch_first=True, dtype=dtype)
    if bias:
        nn.init.normal_(reference.in_proj_bias)
        nn.init.normal_(reference.out_proj.bias)
    own = MultiHeadAttention.from_torch(reference)
    query, key = normal(2, 5, 8, dtype=dtype), normal(2, 6, 8, seed=1, dtype=dtype)
    value = normal(2, 6, 8, seed=2, dtype=dtype)
    allowed = padding = None
    if masked:
        allowed = causal_mask(5, 6)
        padding = torch.zeros(2, 6, dtype=torch.bool)
        padding[1, 4:] = True
    inputs = [query.requires_grad_(), key.requires_grad_(), value.requires_grad_()]
    expected, expected_weights = reference(
        *inputs,
        attn_mask=None if allowed is None else ~allowed,
        key_padding_mask=padding,
        average_attn_weights=False,
    )
    gradients = torch.autograd.grad(
        expected.sin().sum(), [*inputs, reference.out_proj.weight, reference.in_proj_weight]
    )
    for need_weights in (True, False):
        output, weights = own(
            *inputs, mask=allowed, key_padding_mask=padding, need_weights=need_weights
        )
        assert_same(output, expected, atol)
        if need_weights:
            assert_same(weights, expected_weights, atol)
        else:
            assert weights is None
        parameters = [own.W_O.weight, own.W_Q.weight, own.W_K.weight, own.W_V.weight]
        found = torch.autograd.grad(output.sin().sum(), [*inputs, *parameters])
        stacked = [*found[:4], torch.cat(found[4:])]
        for mine, theirs in zip(stacked, gradients, strict=True):
            assert_same(mine, theirs, max(atol, 1e-5 if dtype == torch.float32 else 0.0))


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("causal", [True, False])
def test_fast_path_is_the_plain_path_with_every_mask(kind: str, causal: bool) -> None:
    own = MultiHeadAttention(8, 2).double()
    x = normal(2, 5, 8)
    mask = normal(2, 1, 5, 5, seed=1) if kind == "float" else normal(5, 5, seed=1) > -0.5
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0] = True  # nothing at all to attend to in the first sample
    options = {"mask": mask, "key_padding_mask": padding, "causal": causal}
    slow, weights = own(x, **options)
    fast, _ = own(x, **options, need_weights=False)
    assert_same(fast, slow)
    assert (weights[0] == 0).all()
    assert_same(slow[0], own.W_O.bias.expand(5, 8))


@pytest.mark.parametrize("bias", [True, False])
def test_weights_go_to_pytorch_and_back(bias: bool) -> None:
    own = MultiHeadAttention(8, 2, dropout=0.1, bias=bias).eval()
    module = own.to_torch()
    x = normal(2, 3, 8, dtype=torch.float32)
    assert module.dropout == 0.1
    assert_same(module(x, x, x)[0], own(x)[0], 2e-6)
    back = MultiHeadAttention.from_torch(module)
    for name, value in own.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)


def test_dropout_acts_on_the_weights_only_while_training() -> None:
    assert MultiHeadAttention(8, 2).dropout == 0
    own = MultiHeadAttention(8, 2, dropout=0.5)
    x = normal(2, 6, 8, dtype=torch.float32)
    assert not torch.equal(own(x)[0], own(x)[0])
    own.eval()
    assert torch.equal(own(x)[0], own(x)[0])


def test_cache_gives_the_result_of_the_whole_sequence() -> None:
    own = MultiHeadAttention(8, 2).double()
    x, memory = normal(2, 4, 8), normal(2, 3, 8, seed=1)
    growing, fixed = KeyValueCache(growing=True), KeyValueCache(growing=False)
    whole, _ = own(x, causal=True)
    crossed, _ = own(x, memory)
    for t in range(4):
        step, _ = own(x[:, t : t + 1], cache=growing)
        assert_same(step, whole[:, t : t + 1])
        step, _ = own(x[:, t : t + 1], memory, cache=fixed)
        assert_same(step, crossed[:, t : t + 1])
    assert growing.keys is not None
    assert growing.keys.shape == (2, 2, 4, 4)
    assert fixed.keys is not None
    assert fixed.keys.shape == (2, 2, 3, 4)


def test_rows_of_a_cache_are_dropped_and_copied() -> None:
    cache = KeyValueCache(growing=False)
    rows = torch.tensor([1, 1, 0])
    cache.select(rows)  # nothing is in it yet
    assert cache.stored() is None
    K, V = normal(2, 1, 3, 4), normal(2, 1, 3, 5, seed=1)
    cache.update(K, V)
    cache.select(rows)
    stored = cache.stored()
    assert stored is not None
    assert torch.equal(stored[0], K[rows])
    assert torch.equal(stored[1], V[rows])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultiHeadAttention(8, 3), "multiple of n_heads"),
        (lambda: MultiHeadAttention(8, 2)(torch.zeros(5, 8)), "query must have shape"),
        (
            lambda: MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8), torch.zeros(1, 5, 7)),
            "key must have shape",
        ),
        (
            lambda: MultiHeadAttention(8, 2)(
                torch.zeros(1, 5, 8), key_padding_mask=torch.zeros(1, 4, dtype=torch.bool)
            ),
            "key_padding_mask must have shape",
        ),
        (
            lambda: MultiHeadAttention(8, 2).copy_from_torch(nn.MultiheadAttention(8, 4)),
            "can be copied only",
        ),
        (
            lambda: MultiHeadAttention(8, 2).copy_from_torch(nn.MultiheadAttention(8, 2, kdim=4)),
            "can be copied only",
        ),
    ],
)
def test_multi_head_rejects_wrong_arguments(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
