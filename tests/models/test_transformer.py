import math
from typing import Any

import parity
import pytest
import torch
from hypothesis import strategies as st
from parity import assert_parity, assert_same, gradients, normal, padding_mask, words
from torch import Tensor, nn

from coursework.models.attention import MultiHeadAttention, causal_mask
from coursework.models.torch_weights import our_names
from coursework.models.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    PositionalEncoding,
    Transformer,
)
from properties import SEED, every, refused

D, HEADS, FF = 8, 2, 12
# PyTorch's own layers warn when a padding mask meets their nested-tensor fast path.
pytestmark = pytest.mark.filterwarnings("ignore:.*nested_tensor.*:UserWarning")
FUSED = pytest.mark.parametrize("fused", [False, True], ids=["own softmax", "fused kernel"])
BOTH = [True, False]
OPTIONS = pytest.mark.parametrize(
    ("activation", "norm_first"), [("relu", False), ("relu", True), ("gelu", False)]
)

# --- positional encoding ---------------------------------------------------------------------


@pytest.mark.parametrize("d_model", [6, 7])
def test_positional_encoding_is_the_formula(d_model: int) -> None:
    encoding = PositionalEncoding(d_model, max_length=20)(torch.zeros(1, 20, d_model))[0]
    for position in (0, 1, 19):
        for k in range(d_model):
            angle = position / 10000 ** (2 * (k // 2) / d_model)
            expected = math.sin(angle) if k % 2 == 0 else math.cos(angle)
            assert encoding[position, k].item() == pytest.approx(expected, abs=1e-6)


def test_positional_encoding_is_no_weight_and_continues_at_an_offset() -> None:
    position, x = PositionalEncoding(4, max_length=9), torch.zeros(1, 9, 4)
    assert position.state_dict() == {}
    assert torch.equal(position(x[:, :4], offset=5), position(x)[:, 5:])
    with pytest.raises(ValueError, match="larger max_length"):
        position(x, offset=1)


# --- layers ----------------------------------------------------------------------------------


def masks(kind: str, n: int, m: int, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    allowed, added = causal_mask(n, m), normal(n, m, seed=5, dtype=dtype)
    return {
        "boolean": (allowed, ~allowed),
        "float": (added, added),
        "float with -inf": (added.masked_fill(~allowed, -torch.inf),) * 2,
    }.get(kind, (None, None))


def shake(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)


def pair(kind: str, dtype: torch.dtype, fused: bool, **options: object) -> tuple[Any, Any]:
    torch.manual_seed(0)
    options |= {"batch_first": True, "dtype": dtype}
    reference = getattr(nn, f"Transformer{kind}")(D, HEADS, FF, dropout=0.0, **options).eval()
    shake(reference)
    own = {"EncoderLayer": EncoderLayer, "DecoderLayer": DecoderLayer}[kind]
    return own.from_torch(reference, fused=fused), reference


def assert_layers_agree(
    own: Any, reference: Any, results: list[Tensor], inputs: list[Tensor]
) -> None:
    atol = parity.TOLERANCE[results[0].dtype]
    assert_parity(*results, inputs, atol=atol)
    mine, theirs = (
        dict(zip(module.state_dict(), gradients(y, [*module.parameters()]), strict=True))
        for module, y in zip((own, reference), results, strict=True)
    )
    torch.testing.assert_close(mine, our_names(theirs), atol=atol[1], rtol=atol[1])
    state = {name: value.clone() for name, value in reference.state_dict().items()}
    nn.init.zeros_(next(reference.parameters()))
    torch.testing.assert_close(own.copy_to_torch(reference).state_dict(), state, atol=0, rtol=0)
    assert not own.training


@FUSED
@OPTIONS
@pytest.mark.parametrize("padded", BOTH)
@pytest.mark.parametrize("kind", ["none", "boolean", "float", "float with -inf", "causal"])
@parity.DTYPES
def test_encoder_layer_matches_pytorch(
    kind: str, padded: bool, activation: str, norm_first: bool, fused: bool, dtype: torch.dtype
) -> None:
    options = {"activation": activation, "norm_first": norm_first}
    own, reference = pair("EncoderLayer", dtype, fused, **options)
    causal = kind == "causal"
    ours, theirs = masks("boolean" if causal else kind, 5, 5, dtype)
    x = normal(2, 5, D, dtype=dtype).requires_grad_()
    padding = padding_mask(5, 3) if padded else None
    output = own(x, mask=None if causal else ours, key_padding_mask=padding, causal=causal)
    hidden = padding
    if padded and theirs is not None and theirs.is_floating_point():  # PyTorch wants one type
        hidden = torch.zeros(2, 5, dtype=dtype).masked_fill(padding, -torch.inf)
    results = [output, reference(x, src_mask=theirs, src_key_padding_mask=hidden)]
    if padded:  # what stands at padding is nobody's business
        results = [y[~padding] for y in results]
    assert_layers_agree(own, reference, results, [x])


@FUSED
@OPTIONS
@pytest.mark.parametrize("kind", ["padding", "boolean", "float", "float with -inf"])
@parity.DTYPES
def test_decoder_layer_matches_pytorch(
    kind: str, activation: str, norm_first: bool, fused: bool, dtype: torch.dtype
) -> None:
    options = {"activation": activation, "norm_first": norm_first}
    own, reference = pair("DecoderLayer", dtype, fused, **options)
    inputs = [normal(2, n, D, seed=n, dtype=dtype).requires_grad_() for n in (4, 5)]
    if kind == "padding":
        hide = {"memory_key_padding_mask": padding_mask(5, 2)}
        output = own(*inputs, key_padding_mask=padding_mask(4, 3), **hide)  # causal by default
        hide["tgt_key_padding_mask"] = padding_mask(4, 3)
        expected = reference(*inputs, tgt_mask=~causal_mask(4), **hide)
    else:
        ours, theirs = masks(kind, 4, 4, dtype)
        output = own(*inputs, mask=ours, causal=False)
        expected = reference(*inputs, tgt_mask=theirs)
    assert_layers_agree(own, reference, [output, expected], inputs)


@FUSED
@pytest.mark.parametrize("norm_first", BOTH)
def test_stacks_match_the_transformer_of_pytorch(norm_first: bool, fused: bool) -> None:
    torch.manual_seed(0)
    options = {"norm_first": norm_first, "batch_first": True, "dtype": torch.float64}
    reference = nn.Transformer(D, HEADS, 2, 3, FF, 0.0, **options)
    shake(reference)
    own = Transformer(9, 9, D, HEADS, 2, 3, FF, 0.0, norm_first=norm_first, fused=fused).double()
    own.copy_from_torch(reference)
    layers = [*own.encoder.layers, *own.decoder.layers]
    assert all(layer.self_attention.fused == fused for layer in layers)
    src, tgt = normal(2, 5, D).requires_grad_(), normal(2, 4, D, seed=1).requires_grad_()
    hide = {"memory_key_padding_mask": padding_mask(5, 3)}
    expected = reference(
        src, tgt, tgt_mask=~causal_mask(4), src_key_padding_mask=padding_mask(5, 3), **hide
    )
    output = own.decoder(tgt, own.encoder(src, key_padding_mask=padding_mask(5, 3)), **hide)
    assert_parity(output, expected, [src, tgt])


def test_the_last_norm_of_a_stack_has_the_constant_of_its_layers() -> None:
    options = {"layer_norm_eps": 0.5}
    reference = nn.Transformer(D, HEADS, 1, 1, FF, 0.0, batch_first=True, **options).encoder
    own = Encoder(1, D, HEADS, FF, 0.0, **options).copy_from_torch(reference)
    x = normal(2, 5, D, dtype=torch.float32)
    assert_same(own(x), reference(x), 1e-6)


# --- the translation model -------------------------------------------------------------------


def small(**options: object) -> Transformer:
    torch.manual_seed(0)
    arguments = {"n_encoder_layers": 2, "n_decoder_layers": 2, "d_ff": FF} | options
    return Transformer(11, 13, D, HEADS, **arguments).double().eval()


@every(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    extra=(1, 3),
    norm_first=BOTH,
    fused=BOTH,
    seed=SEED,
    examples=20,
)
def test_padding_changes_nothing(
    lengths: list[int], extra: int, norm_first: bool, fused: bool, seed: int
) -> None:
    parity.check_padding(small(norm_first=norm_first, fused=fused), lengths, extra, seed)


@every(steps=(2, 6), cut=(1, 5), seed=SEED)
def test_the_future_has_no_influence(steps: int, cut: int, seed: int) -> None:
    parity.check_future(small(), steps, cut, seed)


def test_weights_start_as_the_paper_and_pytorch_have_them() -> None:
    model = Transformer(2000, 2000, D, HEADS, 1, 1, FF)
    for embedding in (model.src_embedding, model.tgt_embedding):
        assert embedding.table.weight.std().item() == pytest.approx(D**-0.5, rel=0.05)
    for layer in (*model.encoder.layers, *model.decoder.layers):
        largest = layer.feed_forward.linear1.weight.abs().max().item()
        assert D**-0.5 < largest <= math.sqrt(6 / (D + FF))  # Glorot's, not that of nn.Linear


def test_words_are_scaled_and_numbered_before_the_layers() -> None:
    model = small()
    src, tgt = words(11, 5, 3), words(13, 4, 4)
    memory, mask = model.encode(src)
    x = model.src_embedding(src) * math.sqrt(D) + model.position.encoding[:5]
    assert_same(memory, model.encoder(x, key_padding_mask=src == 0))
    assert torch.equal(mask, src == 0)
    y = model.tgt_embedding(tgt) * math.sqrt(D) + model.position.encoding[:4]
    hidden = model.decoder(y, memory, memory_key_padding_mask=src == 0)
    assert_parity(model(src, tgt), model.logits(hidden), [*model.parameters()])
    assert model.encode(words(11, 4, 4))[1] is None


@FUSED
@pytest.mark.parametrize("lengths", [(5, 3), (4, 4)])
@pytest.mark.parametrize("cached", BOTH)
def test_words_one_by_one_are_the_whole_sentence(
    cached: bool, lengths: tuple[int, ...], fused: bool
) -> None:
    model, src = small(fused=fused), words(11, *lengths)
    state = model.start(src, cached)
    assert bool(state.caches) == cached
    assert (state.padding is None) == (lengths == (4, 4))
    parity.check_steps(model, state, src)


@pytest.mark.parametrize("share", BOTH)
def test_tied_and_shared_embeddings(share: bool) -> None:
    tied = Transformer(11, 11, D, HEADS, share_embeddings=share)
    assert (tied.src_embedding is tied.tgt_embedding) == share
    hidden = normal(1, D, dtype=torch.float32)
    assert_same(tied.logits(hidden), hidden @ tied.tgt_embedding.table.weight.T, 1e-6)


def test_pretrained_vectors_of_another_width() -> None:
    model = small(src_pretrained=torch.randn(11, 5), tgt_pretrained=torch.randn(13, 6))
    logits = model(words(11, 4), words(13, 3))
    logits.sum().backward()
    assert logits.shape == (1, 3, 13)
    assert all(weights.grad is not None for weights in model.parameters())  # all are used
    src = words(11, 5, 3)
    parity.check_steps(model, model.start(src), src)
    # a projection of six numbers would leave the logits of all words six degrees of freedom
    assert torch.linalg.matrix_rank(model.logits(normal(40, D))) == min(13, D)
    assert small(tgt_pretrained=torch.randn(13, D)).output is None


def layer(**options: object) -> nn.TransformerEncoderLayer:
    options = {"batch_first": True} | options
    return nn.TransformerEncoderLayer(D, HEADS, FF, **options)  # type: ignore[arg-type]


def several_dropouts() -> nn.Module:
    found = layer()
    found.dropout2.p = 0.5
    return found


def stack(kind: type[Encoder], layers: int, theirs: str, **options: object) -> object:
    peer = nn.Transformer(D, HEADS, 1, 1, FF, batch_first=True, **options)  # type: ignore[arg-type]
    return kind(layers, D, HEADS, FF).copy_from_torch(getattr(peer, theirs))


OWN = EncoderLayer(D, HEADS, FF)


test_wrong_arguments = refused(
    (lambda: EncoderLayer(D, HEADS, FF, activation="tanh"), "activation must be"),
    (lambda: Encoder(0, D, HEADS, FF), "n_layers must be positive"),
    (lambda: small()(words(11, 4)[0], words(13, 3)), "tgt must have shape"),
    (lambda: small()(words(11, 4, 4), words(13, 3)), "tgt must have shape"),
    (lambda: small().encode(torch.zeros(2, 0).long()), "src must hold"),
    (lambda: Transformer(11, 13, D, HEADS, share_embeddings=True), "one vocabulary"),
    (lambda: Transformer(11, 11, D, HEADS, share_embeddings=True,
                         tgt_pretrained=torch.zeros(11, D)), "one vocabulary"),
    (lambda: OWN.copy_from_torch(layer(norm_first=True)), "norm_first is False here"),
    (lambda: OWN.copy_from_torch(layer(layer_norm_eps=1e-3)), "eps is"),
    (lambda: EncoderLayer.from_torch(layer(activation=torch.tanh)), "Only relu and the exact gelu"),
    (lambda: EncoderLayer.from_torch(layer(activation=nn.GELU("tanh"))), "exact gelu"),
    (lambda: EncoderLayer.from_torch(layer(activation=nn.ReLU6())), "Only relu"),
    (lambda: EncoderLayer.from_torch(several_dropouts()), "one dropout and one eps"),
    (lambda: EncoderLayer.from_torch(layer(batch_first=False)), "set batch_first=True"),
    (lambda: EncoderLayer.from_torch(layer(bias=False)), "have biases; set bias=True"),
    (lambda: OWN.copy_from_torch(layer(bias=False)), "the same biases .*linear1.bias differs"),
    (lambda: MultiHeadAttention.from_torch(
        nn.MultiheadAttention(D, HEADS, add_zero_attn=True)), "add_zero_attn cannot be copied"),
    (lambda: Encoder.from_torch(nn.TransformerEncoder(layer(), 1)), "call copy_from_torch"),
    (lambda: stack(Encoder, 1, "encoder", activation="gelu"), "activation is relu here"),
    (lambda: stack(Encoder, 2, "encoder"), "of the same depth"),
    (lambda: stack(Decoder, 6, "decoder"), "of the same depth"),
)  # fmt: skip
