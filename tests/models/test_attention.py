import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import DTYPES, TOLERANCE, assert_parity, assert_same, gradients, normal, padding_mask
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
from properties import SEED, every, refused

FUSED = pytest.mark.parametrize("fused", [True, False])

# --- the function ----------------------------------------------------------------------------


def test_attention_by_hand() -> None:
    # Scores ln 3 and 0 give the weights 3/4 and 1/4.
    Q, K = torch.tensor([[math.log(3.0)]]), torch.tensor([[1.0], [0.0]])
    output, weights = attention(Q, K, torch.tensor([[4.0], [8.0]]))
    assert_same(weights, torch.tensor([[0.75, 0.25]]), 1e-6)
    assert_same(output, torch.tensor([[5.0]]), 1e-6)
    scores = torch.tensor([[0.0, 1.0], [-torch.inf, 3.0], [-torch.inf, -torch.inf]])
    rows = masked_softmax(scores)
    assert_same(rows[:2], scores[:2].softmax(dim=-1), 1e-7)
    assert rows[2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal"])
@DTYPES
def test_attention_matches_pytorch(kind: str, scale: float | None, dtype: torch.dtype) -> None:
    shapes = ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6))
    inputs = [normal(*s, seed=k, dtype=dtype).requires_grad_() for k, s in enumerate(shapes)]
    mask = {"bool": normal(2, 1, 5, 7, seed=3) > -1.0, "float": normal(5, 7).to(dtype)}.get(kind)
    causal = kind == "causal"
    output, weights = attention(*inputs, mask=mask, scale=scale, causal=causal)
    expected = F.scaled_dot_product_attention(
        *inputs, attn_mask=mask, scale=scale, is_causal=causal
    )
    assert weights.shape == (2, 3, 5, 7)
    assert_parity(output, expected, inputs, atol=TOLERANCE[dtype])


def test_cosine_similarity() -> None:
    Q, K = normal(3, 4), normal(5, 4, seed=1)
    expected = F.cosine_similarity(Q.unsqueeze(1), K.unsqueeze(0), dim=-1).softmax(dim=-1)
    weights = attention_weights(Q, K, similarity="cosine")
    assert_same(weights, expected)
    assert_same(attention_weights(10 * Q, 0.1 * K, similarity="cosine"), weights)
    assert attention_weights(0 * Q.half(), K.half(), similarity="cosine").isfinite().all()
    batch = attention_weights(Q.expand(2, 6, 3, 4), K.expand(2, 6, 5, 4), similarity="cosine")
    assert_same(batch, weights.expand(2, 6, 3, 5))


@every(n=(1, 6), m=(1, 6), causal=[True, False], similarity=["dot", "cosine"], seed=SEED)
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


@every(n=(1, 8), seed=SEED)
def test_self_attention_commutes_with_permutations(n: int, seed: int) -> None:
    X, W = normal(n, 4, seed=seed), normal(3, 4, 4, seed=seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    output, weights = attention(*(X @ W))
    permuted, permuted_weights = attention(*(X[order] @ W))
    assert_same(permuted, output[order])
    assert_same(permuted_weights, weights[order][:, order])


# --- the linear-time variant -----------------------------------------------------------------


@every(n=(1, 9), m=(1, 9), phi=[elu_plus_one, torch.exp], seed=SEED)
def test_linear_attention_equals_the_quadratic_sum(
    n: int, m: int, phi: Callable[[Tensor], Tensor], seed: int
) -> None:
    Q, K, V = normal(2, n, 3, seed=seed), normal(2, m, 3, seed=seed + 1), normal(2, m, 4, seed=2)
    similarity = phi(Q) @ phi(K).transpose(-2, -1)  # [2, n, m]
    expected = (similarity / similarity.sum(dim=-1, keepdim=True)) @ V
    assert_same(linear_attention(Q, K, V, phi), expected)
    if phi is elu_plus_one:
        assert_same(linear_attention(Q, K, V), expected)


def test_feature_map_is_elu_plus_one() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5])
    assert_same(elu_plus_one(x), torch.tensor([math.exp(-2.0), 1.0, 1.5]), 1e-7)
    assert elu_plus_one(torch.tensor(-43.0)).log() == pytest.approx(-43)
    far = torch.full((1, 1, 3), -200.0)  # elu(x) + 1 is zero there, and so is each denominator
    assert_same(linear_attention(far, far, x[None, None]), x[None, None], 1e-6)


# --- several heads ---------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("masked", [True, False])
@DTYPES
def test_multi_head_matches_pytorch_with_and_without_the_fused_kernel(
    heads: int, masked: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(8, heads, batch_first=True, dtype=dtype)
    nn.init.normal_(reference.in_proj_bias)
    nn.init.normal_(reference.out_proj.bias)
    inputs = [normal(2, n, 8, seed=n, dtype=dtype).requires_grad_() for n in (5, 6, 6)]
    allowed, padding = (causal_mask(5, 6), padding_mask(6, 4)) if masked else (None, None)
    expected, expected_weights = reference(
        *inputs,
        attn_mask=None if allowed is None else ~allowed,
        key_padding_mask=padding,
        average_attn_weights=False,
    )
    wanted = gradients(expected, [*inputs, reference.out_proj.weight, reference.in_proj_weight])
    for built, asked in product([True, False], [True, False, None]):
        own = MultiHeadAttention.from_torch(reference, fused=built)
        output, weights = own(*inputs, mask=allowed, key_padding_mask=padding, fused=asked)
        assert_same(output, expected, TOLERANCE[dtype][0])
        if built if asked is None else asked:
            assert weights is None
        else:
            assert_same(weights, expected_weights, TOLERANCE[dtype][0])
        parameters = [getattr(own, f"W_{letter}").weight for letter in "OQKV"]
        found = gradients(output, [*inputs, *parameters])
        assert_same([*found[:4], torch.cat(found[4:])], list(wanted), TOLERANCE[dtype][1])


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@DTYPES
def test_the_fused_kernel_gives_what_the_own_softmax_gives(
    kind: str, causal: bool, padded: bool, dtype: torch.dtype
) -> None:
    own = MultiHeadAttention(8, 2).to(dtype)
    x = normal(2, 5, 8, dtype=dtype).requires_grad_()
    mask = {"float": normal(2, 1, 5, 5).to(dtype), "bool": normal(5, 5) > -0.5}.get(kind)
    padding = torch.tensor([[True], [False]]).expand(2, 5) if padded else None
    options = {"mask": mask, "key_padding_mask": padding, "causal": causal}
    (slow, weights), (fast, _) = (own(x, **options, fused=fused) for fused in (False, True))
    assert_parity(fast, slow, [x, *own.parameters()], atol=TOLERANCE[dtype])
    if padded:  # the first sample may attend to nothing at all
        assert (weights[0] == 0).all()
        assert_same(slow[0], own.W_O.bias.expand(5, 8))


def test_weights_go_to_pytorch_and_back() -> None:
    own = MultiHeadAttention(8, 2, dropout=0.1).eval()
    module = own.copy_to_torch(nn.MultiheadAttention(8, 2, 0.1, batch_first=True)).eval()
    x = normal(2, 3, 8, dtype=torch.float32)
    assert_same(module(x, x, x)[0], own(x)[0], 2e-6)
    back = MultiHeadAttention.from_torch(module)
    assert (back.dropout, back.fused, back.training) == (0.1, False, False)
    assert all(torch.equal(back.state_dict()[k], v) for k, v in own.state_dict().items())


def test_weights_start_as_those_of_glorot_without_biases() -> None:
    own = MultiHeadAttention(30, 2)
    for linear in (own.W_Q, own.W_K, own.W_V, own.W_O):
        assert 30**-0.5 < linear.weight.abs().max() <= 0.1**0.5  # sqrt(6 / 60)
        assert not linear.bias.any()


@FUSED
def test_dropout_acts_on_the_weights_only_while_training(fused: bool) -> None:
    own = MultiHeadAttention(8, 2, dropout=0.5, fused=fused)
    own.W_O = nn.Identity()
    query, same = normal(1, 6, 8, dtype=torch.float32), torch.ones(1, 6, 8)
    heads = own(query, query, same)[0].unflatten(2, (2, 4)) / own.W_V(same[0, 0]).unflatten(
        0, (2, 4)
    )
    # all values are alike: what is left of the weights scales a head, and dropped values would not
    assert_same(heads, heads[..., :1].expand_as(heads), 1e-5)
    assert heads.std() > 0.1
    own.eval()
    assert torch.equal(own(query)[0], own(query)[0])


@FUSED
def test_cache_gives_the_result_of_the_whole_sequence(fused: bool) -> None:
    own = MultiHeadAttention(8, 2, fused=fused).double()
    x, memory = normal(2, 4, 8), normal(2, 3, 8, seed=1)
    growing, fixed = KeyValueCache(growing=True), KeyValueCache(growing=False)
    whole, crossed = own(x, causal=True)[0], own(x, memory)[0]
    for t in range(4):
        assert_same(own(x[:, t : t + 1], cache=growing)[0], whole[:, t : t + 1])
        assert_same(own(x[:, t : t + 1], memory, cache=fixed)[0], crossed[:, t : t + 1])
    assert [cache.held[0].shape[2] for cache in (growing, fixed)] == [4, 3]


def test_rows_of_a_cache_are_dropped_and_copied() -> None:
    cache, rows = KeyValueCache(growing=False), torch.tensor([1, 1, 0])
    cache.select(rows)  # nothing is in it yet
    K, V = normal(2, 1, 3, 4), normal(2, 1, 3, 5, seed=1)
    cache.update((K, V))
    cache.select(rows)
    assert_same(cache.update(()), (K[rows], V[rows]), 0.0)


HEADS, X = MultiHeadAttention(8, 2).eval(), normal(1, 5, 8, dtype=torch.float32)


@pytest.mark.parametrize(
    "mask",
    [
        torch.from_numpy(np.triu(np.full((5, 5), -np.inf), 1)),
        torch.zeros(5, 5).half(),
        torch.full((5, 5), -torch.inf),
        torch.ones(1, 2, 1, 5).bool(),
        torch.arange(5) < 3,
    ],
)
def test_a_mask_of_any_type_means_the_same_on_both_paths(mask: Tensor) -> None:
    slow, fast = (HEADS(X, mask=mask, fused=fused)[0] for fused in (False, True))
    assert_same(fast, slow, 1e-6)
    assert MultiHeadAttention(8, 2).bfloat16()(X.bfloat16(), mask=mask)[0].dtype == torch.bfloat16


@FUSED
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": X[0]}, "query must have shape"),
        ({"key": X[..., :7]}, "key must have shape"),
        ({"key": torch.ones(2, 5, 8)}, "key must have shape"),
        ({"value": torch.ones(1, 100_000, 8)}, "value must have shape"),
        ({"value": X[:, :3]}, "value must have shape"),
        ({"mask": torch.ones(5, 5).long()}, "boolean or floating point, but is torch.int64"),
        ({"mask": np.zeros((5, 5))}, "must be a tensor, but is a ndarray"),
        ({"mask": torch.zeros(6, 5)}, "must broadcast to the scores"),
        ({"mask": torch.zeros(1, 1, 1, 5, 5)}, "must broadcast to the scores"),
        ({"key_padding_mask": torch.zeros(1, 5)}, "must be boolean"),
        ({"key_padding_mask": padding_mask(4)}, "key_padding_mask must have shape"),
    ],
)
def test_what_does_not_fit_is_refused_on_both_paths(
    change: dict, message: str, fused: bool
) -> None:
    with pytest.raises(ValueError, match=message):
        HEADS(**{"query": X} | change, fused=fused)


def test_dropout_is_a_probability() -> None:
    with pytest.raises(ValueError, match="dropout must be a probability"):
        MultiHeadAttention(8, 2, -0.5, fused=True)


@FUSED
def test_empty_and_shapeless_attention(fused: bool) -> None:
    assert HEADS(X[:0], fused=fused)[0].shape == (0, 5, 8)
    nothing, _ = HEADS(X, X[:, :0], fused=fused)
    assert_same(nothing, HEADS.W_O.bias.expand(1, 5, 8), 1e-6)
    assert torch.equal(linear_attention(X, X[:, :0], X[:, :0]), torch.zeros_like(X))
    on_meta = MultiHeadAttention(8, 2).to("meta")
    assert on_meta(X.to("meta"), causal=True, fused=fused)[0].shape == (1, 5, 8)


test_wrong_arguments = refused(
    (lambda: attention(X, normal(1, 5, 3), X), "K must have shape"),
    (lambda: attention(X, X, X[:, :4]), "V must have shape"),
    (lambda: attention(X, X, X, similarity="rbf"), "similarity must be"),  # type: ignore[arg-type]
    (lambda: attention(X, X, X, mask=torch.ones(5, 5).long()), "boolean or floating point"),
    (lambda: attention(X[..., :0], X[..., :0], X), "width d_k"),
    (lambda: linear_attention(X, X, X[:, :2]), "V must have shape"),
    (lambda: MultiHeadAttention(8, 3), "multiple of n_heads"),
    (lambda: MultiHeadAttention(0, 1), "multiple of n_heads"),
    (lambda: MultiHeadAttention(8, 0), "multiple of n_heads"),
    (lambda: HEADS.copy_from_torch(nn.MultiheadAttention(8, 4, batch_first=True)), "can be copied only"),
    (lambda: HEADS.copy_from_torch(nn.MultiheadAttention(8, 2, kdim=4)), "can be copied only"),
)  # fmt: skip
