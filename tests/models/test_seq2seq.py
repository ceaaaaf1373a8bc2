import parity
import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from parity import assert_parity, assert_same, words

from coursework.models.seq2seq import BahdanauAttention, Seq2Seq
from properties import SEED, every, refused

BIDIRECTIONAL = pytest.mark.parametrize("bidirectional", [True, False])


def small(**options: object) -> Seq2Seq:
    torch.manual_seed(0)
    return Seq2Seq(11, 13, 4, 6, **options).double().eval()


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    attention = BahdanauAttention(6, key_size=5).double()
    query, keys = torch.randn(2, 6).double(), torch.randn(2, 3, 5).double()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    context, weights = attention(query, keys, mask)
    for b in range(2):
        hidden = torch.tanh(attention.W_a(query[b]) + attention.U_a(keys[b]))  # [S, H]
        alpha = attention.v_a(hidden).squeeze(1)[mask[b]].softmax(dim=0)
        assert_same(weights[b][mask[b]], alpha)
        assert_same(context[b], alpha @ keys[b][mask[b]])
    assert weights[1].tolist() == [1.0, 0.0, 0.0]
    same, _ = attention(query, keys, mask, attention.U_a(keys))
    assert_same(same, context)


def test_attention_to_nothing_is_nothing() -> None:
    torch.manual_seed(0)
    attention = BahdanauAttention(6, 6)
    assert attention.v_a.bias is None  # it would move all scores alike
    query, keys = torch.randn(3, 6), torch.randn(3, 4, 6)
    for found in attention(query, keys, torch.zeros(3, 4, dtype=torch.bool)):
        assert not found.any()  # without words


def test_decoder_is_the_recurrence_of_the_tutorial() -> None:
    model = small()
    src, tgt = words(11, 5, 3), words(13, 4, 4)
    states, s = model.encoder(src)
    expected = []
    for t in range(4):
        embedded = model.decoder.embedding(tgt[:, t])
        context, _ = model.decoder.attention(s, states, src != 0)
        s = model.decoder.gru(torch.cat([embedded, context], dim=1), s)
        expected.append(model.decoder.output(s))
    assert_parity(model(src, tgt), torch.stack(expected, dim=1), [*model.parameters()])


@BIDIRECTIONAL
def test_a_decoder_starts_from_the_ends_of_each_sentence(bidirectional: bool) -> None:
    encoder = small(bidirectional=bidirectional).encoder
    states, start = encoder(words(11, 5, 3))
    assert states.shape == (2, 5, 12 if bidirectional else 6)
    assert states[1, 3:].abs().sum() == 0
    for row, length in enumerate((5, 3)):
        last = states[row, length - 1, :6]
        if bidirectional:
            last = torch.tanh(encoder.bridge(torch.cat([last, states[row, 0, 6:]])))
        assert_same(start[row], last)


@every(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    extra=(1, 3),
    bidirectional=[True, False],
    seed=SEED,
    examples=20,
)
def test_padding_changes_nothing(
    lengths: list[int], extra: int, bidirectional: bool, seed: int
) -> None:
    model = small(bidirectional=bidirectional)
    parity.check_padding(model, lengths, extra, seed)
    src = words(11, *lengths, seed=seed)
    tgt = words(13, *([4] * len(lengths)), seed=seed)
    _, weights = model.attend(F.pad(src, (0, extra)), tgt)
    assert_same(weights[:, :, : src.shape[1]], model.attend(src, tgt)[1])
    assert weights[:, :, src.shape[1] :].abs().sum() == 0
    assert_same(weights.sum(dim=2), torch.ones(len(lengths), 4).double())


@every(steps=(2, 6), cut=(1, 5), seed=SEED)
def test_the_future_has_no_influence(steps: int, cut: int, seed: int) -> None:
    parity.check_future(small(), steps, cut, seed)


@BIDIRECTIONAL
def test_words_one_by_one_are_the_whole_sentence(bidirectional: bool) -> None:
    model, src = small(bidirectional=bidirectional), words(11, 5, 3)
    parity.check_steps(model, model.start(src), src)


def test_pretrained_vectors_of_another_width() -> None:
    model = small(src_pretrained=torch.randn(11, 3), tgt_pretrained=torch.randn(13, 4))
    assert model.encoder.embedding.projection is not None
    assert model.decoder.embedding.projection is None
    model(words(11, 4), words(13, 3)).sum().backward()
    assert model.encoder.embedding.projection.weight.grad is not None


SRC, TGT = words(11, 4), words(13, 3)


test_wrong_arguments = refused(
    (lambda: small()(SRC[0], TGT), "src must have shape"),
    (lambda: small()(words(11, 4, 4), TGT), "tgt must have shape"),
    (lambda: small()(SRC, TGT[:, :0]), "tgt must hold"),
    (lambda: small().encoder(torch.zeros(2, 0).long()), "src must hold"),
    (lambda: small()(F.pad(SRC, (1, 0)), TGT), "padding .* in front of a word"),
    (lambda: BahdanauAttention(6, 6)(torch.ones(1, 6), torch.ones(1, 2, 6), torch.ones(1, 2)),
     "mask must be boolean"),
    (lambda: BahdanauAttention(6, 6)(torch.ones(1, 6), torch.ones(1, 2, 5), torch.ones(1, 2).bool()),
     "keys must have shape"),
)  # fmt: skip
