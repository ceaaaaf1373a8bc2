"""The Transformer from scratch against PyTorch's layers and stacks, and its properties."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coursework.models.attention import causal_mask
from coursework.models.beam_search import beam_search
from coursework.models.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    PositionalEncoding,
    Transformer,
    TransformerDecoding,
)

PROPERTY = settings(max_examples=15, deadline=None, derandomize=True)
D, HEADS, FF = 8, 2, 12
# PyTorch's own layers warn when a padding mask meets their nested-tensor fast path.
pytestmark = pytest.mark.filterwarnings("ignore:.*nested_tensor.*:UserWarning")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(own: Tensor, reference: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def padding_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)


def shake(module: nn.Module) -> None:
    """Random biases and normalisation weights, so that no parameter can be forgotten."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)


# --- positional encoding ---------------------------------------------------------------------


@pytest.mark.parametrize("d_model", [6, 7])
def test_positional_encoding_is_the_formula(d_model: int) -> None:
    encoding = PositionalEncoding(d_model, max_length=20)(torch.zeros(1, 20, d_model))[0]
    for position in (0, 1, 19):
        for k in range(d_model):
            angle = position / 10000 ** (2 * (k // 2) / d_model)
            expected = math.sin(angle) if k % 2 == 0 else math.cos(angle)
            assert encoding[position, k].item() == pytest.approx(expected, abs=1e-6)


def test_positional_encoding_is_no_weight() -> None:
    position = PositionalEncoding(4)
    assert position.state_dict() == {}
    assert position.encoding.shape == (512, 4)
    assert position.dropout.p == 0


def test_positional_encoding_continues_at_an_offset() -> None:
    position = PositionalEncoding(4, max_length=9)
    x = torch.zeros(1, 9, 4)
    assert torch.equal(position(x[:, :4], offset=5), position(x)[:, 5:])
    with pytest.raises(ValueError, match="raise max_length"):
        position(x, offset=1)


# --- layers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("masks", ["none", "padding", "causal", "both"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-6), (torch.float64, 1e-12)])
def test_encoder_layer_matches_pytorch(
    masks: str, activation: str, norm_first: bool, dtype: torch.dtype, atol: float
) -> None:
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(
        D,
        HEADS,
        FF,
        dropout=0.0,
        activation=activation,
        norm_first=norm_first,
        batch_first=True,
        dtype=dtype,
    )
    shake(reference)
    own = EncoderLayer.from_torch(reference)
    x = normal(2, 5, D, dtype=dtype)
    x_own, x_ref = x.clone().requires_grad_(), x.clone().requires_grad_()
    padding = padding_mask(5, 3) if masks in ("padding", "both") else None
    causal = masks in ("causal", "both")
    expected = reference(
        x_ref, src_mask=~causal_mask(5) if causal else None, src_key_padding_mask=padding
    )
    output = own(x_own, key_padding_mask=padding, causal=causal)
    if padding is not None:  # what stands at padding is nobody's business
        output, expected = output[~padding], expected[~padding]
    assert_same(output, expected, atol)
    output.sin().sum().backward()
    expected.sin().sum().backward()
    assert_same(x_own.grad, x_ref.grad, max(atol, 1e-5 if dtype == torch.float32 else 0))
    back = own.copy_to_torch(
        nn.TransformerEncoderLayer(
            D, HEADS, FF, activation=activation, norm_first=norm_first, dtype=dtype
        )
    )
    for name, value in reference.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    assert_gradients_of_encoder_layer(own, reference, 2e-5 if dtype == torch.float32 else 1e-12)


def assert_gradients_of_encoder_layer(
    own: EncoderLayer, reference: nn.TransformerEncoderLayer, atol: float
) -> None:
    heads = own.self_attention
    pairs = [
        (
            torch.cat([heads.W_Q.weight.grad, heads.W_K.weight.grad, heads.W_V.weight.grad]),
            reference.self_attn.in_proj_weight.grad,
        ),
        (
            torch.cat([heads.W_Q.bias.grad, heads.W_K.bias.grad, heads.W_V.bias.grad]),
            reference.self_attn.in_proj_bias.grad,
        ),
    ]
    modules = [
        (heads.W_O, reference.self_attn.out_proj),
        (own.feed_forward.linear1, reference.linear1),
        (own.feed_forward.linear2, reference.linear2),
        (own.norm1, reference.norm1),
        (own.norm2, reference.norm2),
    ]
    for mine, theirs in modules:
        pairs += [(mine.weight.grad, theirs.weight.grad), (mine.bias.grad, theirs.bias.grad)]
    assert len(pairs) == len(list(reference.parameters()))
    for found, expected in pairs:
        assert_same(found, expected, atol)


def test_encoder_layer_matches_the_fast_path_of_pytorch() -> None:
    reference = nn.TransformerEncoderLayer(D, HEADS, FF, batch_first=True).eval()
    own = EncoderLayer.from_torch(reference)
    assert not own.training
    padding = padding_mask(5, 3)
    x = normal(2, 5, D, dtype=torch.float32)
    with torch.no_grad():
        expected = reference(x, src_key_padding_mask=padding)
        output = own(x, key_padding_mask=padding)
    assert_same(output[~padding], expected[~padding], 5e-6)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("masked", [True, False])
def test_decoder_layer_matches_pytorch(masked: bool, activation: str, norm_first: bool) -> None:
    torch.manual_seed(0)
    reference = nn.TransformerDecoderLayer(
        D,
        HEADS,
        FF,
        dropout=0.0,
        activation=activation,
        norm_first=norm_first,
        batch_first=True,
        dtype=torch.float64,
    )
    shake(reference)
    own = DecoderLayer.from_torch(reference)
    inputs = [normal(2, 4, D).requires_grad_(), normal(2, 5, D, seed=1).requires_grad_()]
    tgt_padding = padding_mask(4, 3) if masked else None
    src_padding = padding_mask(5, 2) if masked else None
    expected = reference(
        *inputs,
        tgt_mask=~causal_mask(4),
        tgt_key_padding_mask=tgt_padding,
        memory_key_padding_mask=src_padding,
    )
    output = own(*inputs, key_padding_mask=tgt_padding, memory_key_padding_mask=src_padding)
    assert_same(output, expected)
    found = torch.autograd.grad(output.sin().sum(), inputs)
    for mine, theirs in zip(found, torch.autograd.grad(expected.sin().sum(), inputs), strict=True):
        assert_same(mine, theirs)
    back = own.copy_to_torch(
        nn.TransformerDecoderLayer(
            D, HEADS, FF, activation=activation, norm_first=norm_first, dtype=torch.float64
        )
    )
    for name, value in reference.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)


# PyTorch: a boolean mask forbids, ours allows; a float mask is added in both.
MASKS: dict[str, Callable[[int, int], tuple[Tensor, Tensor]]] = {
    "boolean": lambda n, m: (causal_mask(n, m), ~causal_mask(n, m)),
    "float": lambda n, m: (normal(n, m, seed=5), normal(n, m, seed=5)),
    "float with -inf": lambda n, m: (
        normal(n, m, seed=5).masked_fill(~causal_mask(n, m), -torch.inf),
        normal(n, m, seed=5).masked_fill(~causal_mask(n, m), -torch.inf),
    ),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_layers_match_pytorch_under_any_mask_and_without_bias(
    kind: str, norm_first: bool, bias: bool, dtype: torch.dtype, atol: float
) -> None:
    torch.manual_seed(0)
    options = {
        "dropout": 0.0, "norm_first": norm_first, "bias": bias, "batch_first": True, "dtype": dtype,
    }  # fmt: skip
    x, memory = (normal(2, n, D, dtype=dtype).requires_grad_() for n in (5, 4))
    ours, theirs = MASKS[kind](5, 5)
    ours_memory, theirs_memory = MASKS[kind](5, 4)
    if ours.is_floating_point():
        ours, theirs, ours_memory, theirs_memory = (
            mask.to(dtype) for mask in (ours, theirs, ours_memory, theirs_memory)
        )
    encoder = nn.TransformerEncoderLayer(D, HEADS, FF, **options)  # type: ignore[arg-type]
    decoder = nn.TransformerDecoderLayer(D, HEADS, FF, **options)  # type: ignore[arg-type]
    own_encoder, own_decoder = EncoderLayer.from_torch(encoder), DecoderLayer.from_torch(decoder)
    assert (own_encoder.feed_forward.linear1.bias is None) is not bias
    results = [
        (own_encoder(x, mask=ours), encoder(x, src_mask=theirs)),
        (
            own_decoder(x, memory, mask=ours, memory_mask=ours_memory, causal=False),
            decoder(x, memory, tgt_mask=theirs, memory_mask=theirs_memory),
        ),
    ]
    for mine, expected in results:
        assert_same(mine, expected, atol)
        inputs = [x, memory] if mine is results[1][0] else [x]
        found = torch.autograd.grad(mine.sin().sum(), inputs)
        wanted = torch.autograd.grad(expected.sin().sum(), inputs)
        for gradient, reference in zip(found, wanted, strict=True):
            assert_same(gradient, reference, 1e-5 if dtype == torch.float32 else atol)


@pytest.mark.parametrize("norm_first", [True, False])
def test_stacks_match_the_transformer_of_pytorch(norm_first: bool) -> None:
    torch.manual_seed(0)
    reference = nn.Transformer(
        D, HEADS, 2, 3, FF, dropout=0.0, norm_first=norm_first, batch_first=True
    ).double()
    shake(reference)
    own = Transformer(
        9, 9, D, HEADS, 2, 3, FF, dropout=0.0, norm_first=norm_first, tie_embeddings=False
    ).double()
    own.copy_from_torch(reference)
    src, tgt = normal(2, 5, D).requires_grad_(), normal(2, 4, D, seed=1).requires_grad_()
    padding = padding_mask(5, 3)
    expected = reference(
        src,
        tgt,
        tgt_mask=~causal_mask(4),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    memory = own.encoder(src, key_padding_mask=padding)
    output = own.decoder(tgt, memory, memory_key_padding_mask=padding)
    assert_same(output, expected)
    found = torch.autograd.grad(output.sin().sum(), (src, tgt))
    gradients = torch.autograd.grad(expected.sin().sum(), (src, tgt))
    for mine, theirs in zip(found, gradients, strict=True):
        assert_same(mine, theirs)


@PROPERTY
@given(n=st.integers(2, 6), seed=st.integers(0, 2**16))
def test_encoder_layer_commutes_with_permutations(n: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = EncoderLayer(D, HEADS, FF).double().eval()
    x, order = normal(1, n, D, seed=seed), torch.randperm(n)
    assert_same(layer(x[:, order]), layer(x)[:, order])


# --- the translation model -------------------------------------------------------------------


def small(**options: object) -> Transformer:
    torch.manual_seed(0)
    arguments = {"n_encoder_layers": 2, "n_decoder_layers": 2, "d_ff": FF} | options
    return Transformer(11, 13, D, HEADS, **arguments).double().eval()


def words(vocabulary: int, *lengths: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, vocabulary, (len(lengths), max(lengths)), generator=generator)
    return tokens.masked_fill(padding_mask(*lengths), 0)


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    extra=st.integers(1, 3),
    norm_first=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_padding_changes_nothing(
    lengths: list[int], extra: int, norm_first: bool, seed: int
) -> None:
    model = small(norm_first=norm_first)
    src = words(11, *lengths, seed=seed)
    tgt = words(13, *([4] * len(lengths)), seed=seed)
    logits = model(src, tgt)
    assert logits.shape == (len(lengths), 4, 13)
    assert_same(model(F.pad(src, (0, extra)), tgt), logits)
    assert_same(model(src, F.pad(tgt, (0, extra)))[:, :4], logits)
    for row, length in enumerate(lengths):
        assert_same(model(src[row : row + 1, :length], tgt[row : row + 1])[0], logits[row])


@PROPERTY
@given(steps=st.integers(2, 6), cut=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_the_future_has_no_influence(steps: int, cut: int, seed: int) -> None:
    cut = min(cut, steps - 1)
    model = small()
    src, tgt = words(11, 4, seed=seed), words(13, steps, seed=seed)
    changed = tgt.clone()
    changed[:, cut:] = (changed[:, cut:] - 3 + 1) % 10 + 3
    before, after = model(src, tgt), model(src, changed)
    assert_same(after[:, :cut], before[:, :cut])
    assert not torch.allclose(after[:, cut], before[:, cut])


@pytest.mark.parametrize("norm_first", [True, False])
def test_greedy_is_the_step_by_step_argmax(norm_first: bool) -> None:
    model = small(norm_first=norm_first)
    src = words(11, 5, 3, 1)
    found = beam_search(model, src, width=1, max_length=6, sos=1, eos=2).words
    tgt = torch.full((3, 1), 1)
    finished = torch.zeros(3, dtype=torch.bool)
    for step in range(found.shape[1]):
        scores = model(src, tgt)[:, -1].index_fill(1, torch.tensor(0), -torch.inf)
        word = scores.argmax(dim=1).masked_fill(finished, 0)
        assert torch.equal(found[:, step], word)
        tgt = torch.cat([tgt, word.unsqueeze(1)], dim=1)
        finished |= word == 2
    assert found.shape[1] == 6 or bool(finished.all())


def test_defaults() -> None:
    model = Transformer(11, 13)
    assert (model.d_model, model.pad_idx, model.position.encoding.shape) == (256, 0, (512, 256))
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (3, 3)
    for layer in (*model.encoder.layers, *model.decoder.layers):
        assert layer.self_attention.n_heads == 4
        assert layer.feed_forward.linear1.out_features == 512
    assert model.output is None
    stacks = (Encoder(1, D, HEADS, FF).layers, Decoder(1, D, HEADS, FF).layers)
    own = (EncoderLayer(D, HEADS, FF), DecoderLayer(D, HEADS, FF))
    for layer in (*model.encoder.layers, *model.decoder.layers, *stacks[0], *stacks[1], *own):
        assert not layer.norm_first
        assert layer.dropout.p == layer.self_attention.dropout == 0.1
        assert layer.norm1.bias is not None
    feed_forward = FeedForward(D, FF)
    assert feed_forward.dropout.p == 0
    assert feed_forward.linear1.bias is not None
    assert feed_forward.linear2.bias is not None


def test_weights_start_as_the_paper_and_pytorch_have_them() -> None:
    model = Transformer(2000, 2000, D, HEADS, 1, 1, FF)
    for embedding in (model.src_embedding, model.tgt_embedding):
        assert embedding.table.weight.std().item() == pytest.approx(D**-0.5, rel=0.05)
    for layer in (*model.encoder.layers, *model.decoder.layers):
        largest = layer.feed_forward.linear1.weight.abs().max().item()
        assert D**-0.5 < largest <= math.sqrt(6 / (D + FF))  # Glorot's, not that of nn.Linear


def test_words_are_scaled_and_numbered_before_the_layers() -> None:
    """Section 3.4: the embedding times the root of the width, then the positions."""
    model = small()
    src, tgt = words(11, 5, 3), words(13, 4, 4)
    memory, mask = model.encode(src)
    x = model.src_embedding(src) * math.sqrt(D) + model.position.encoding[:5]
    assert_same(memory, model.encoder(x, key_padding_mask=src == 0))
    assert torch.equal(mask, src == 0)
    y = model.tgt_embedding(tgt) * math.sqrt(D) + model.position.encoding[:4]
    hidden = model.decoder(y, memory, memory_key_padding_mask=src == 0)
    assert_same(model(src, tgt), model.logits(hidden))
    assert model.encode(words(11, 4, 4))[1] is None


@pytest.mark.parametrize("lengths", [(5, 3), (4, 4)])
@pytest.mark.parametrize("cached", [True, False, None])
def test_words_one_by_one_are_the_whole_sentence(
    cached: bool | None, lengths: tuple[int, ...]
) -> None:
    model = small()
    src, tgt = words(11, *lengths), words(13, 4, 4)
    whole = model(src, tgt)
    state = model.start(src) if cached is None else model.start(src, cached)
    assert (state.caches is None) == (cached is False)
    assert (state.padding is None) == (lengths == (4, 4))
    for t in range(3):
        assert_same(state.step(tgt[:, t]), whole[:, t])
    rows = torch.tensor([1, 1, 0])
    state.select(rows)
    assert_same(state.step(tgt[rows, 3]), whole[rows, 3])
    assert TransformerDecoding(model, src).caches is not None


def test_the_shortest_output_is_an_output() -> None:
    found = beam_search(small(), words(11, 2, 2), width=1, max_length=1, sos=1, eos=2)
    assert found.words.shape == (2, 1)


def test_tied_embeddings_share_one_matrix() -> None:
    tied, untied = small(), small(tie_embeddings=False)
    difference = sum(p.numel() for p in untied.parameters()) - sum(
        p.numel() for p in tied.parameters()
    )
    assert difference == 13 * D + 13
    hidden = normal(1, D)
    assert_same(tied.logits(hidden), hidden @ tied.tgt_embedding.table.weight.T)


def test_shared_embeddings_are_one_module() -> None:
    model = Transformer(11, 11, D, HEADS, 1, 1, FF, share_embeddings=True)
    assert model.src_embedding is model.tgt_embedding
    assert len({id(p) for p in model.parameters()}) == len(list(model.parameters()))


def test_pretrained_vectors_of_another_width() -> None:
    torch.manual_seed(0)
    model = Transformer(
        11,
        13,
        D,
        HEADS,
        1,
        1,
        FF,
        src_pretrained=torch.randn(11, 5),
        tgt_pretrained=torch.randn(13, 6),
    )
    logits = model(words(11, 4), words(13, 3))
    logits.sum().backward()
    assert logits.shape == (1, 3, 13)
    assert model.src_embedding.projection.weight.grad is not None


def test_overfits_one_batch() -> None:
    torch.manual_seed(0)
    model = Transformer(11, 13, 16, 2, 1, 1, 32, dropout=0.0)
    src, out = words(11, 5, 4, 3), words(13, 5, 3, 4)
    for row, length in enumerate((5, 3, 4)):
        out[row, length - 1] = 2
    tgt = F.pad(out, (1, 0), value=1)[:, :-1]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        loss = F.cross_entropy(model(src, tgt).flatten(0, 1), out.flatten(), ignore_index=0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
    found = beam_search(model.eval(), src, width=1, max_length=5, sos=1, eos=2)
    assert torch.equal(found.words, out)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EncoderLayer(D, HEADS, FF, activation="tanh"), "activation must be"),
        (lambda: small()(words(11, 4)[0], words(13, 3)), "tgt must have shape"),
        (lambda: small()(words(11, 4, 4), words(13, 3)), "tgt must have shape"),
        (lambda: small().encode(torch.zeros(2, 0).long()), "src must hold"),
        (lambda: Transformer(11, 13, D, HEADS, share_embeddings=True), "one vocabulary"),
        (
            lambda: EncoderLayer(D, HEADS, FF).copy_from_torch(
                nn.TransformerEncoderLayer(D, HEADS, FF, norm_first=True)
            ),
            "norm_first is False here",
        ),
        (
            lambda: EncoderLayer.from_torch(
                nn.TransformerEncoderLayer(D, HEADS, FF, activation=torch.tanh)
            ),
            "Only relu and the exact gelu",
        ),
        (
            lambda: Encoder(2, D, HEADS, FF).copy_from_torch(nn.Transformer(D, HEADS, 1).encoder),
            "of the same depth",
        ),
        (
            lambda: Decoder(6, D, HEADS, FF, final_norm=False).copy_from_torch(
                nn.Transformer(D, HEADS, 1).decoder
            ),
            "of the same depth",
        ),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
