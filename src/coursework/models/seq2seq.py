"""Recurrent translation with additive attention: the network of the PyTorch translation tutorial.

A decoder GRU looks back on the states of an encoder GRU through the attention of Bahdanau et al. (2015),
https://arxiv.org/abs/1409.0473.

Letters: `B` batch, `S` source length, `T` target length, `E` embedding size, `H` hidden size, `H_e`
width of the encoder's states (`H`, or `2H` if bidirectional), `V` vocabulary.
"""

import torch
from torch import Tensor, nn

from coursework.models.attention import masked_softmax
from coursework.models.bilstm import run_padded
from coursework.models.checks import expect, expect_words, require
from coursework.models.dropout import Dropout
from coursework.models.embedding import WordEmbedding


class GRUEncoder(nn.Module):
    r"""Embed the source words `[B, S]` and run a GRU over them.

    .. math:: h_t = \mathrm{GRU}(\mathrm{Dropout}(E_{w_t}), h_{t-1})

    Padding is packed away: states there are zero, and the last state is that of the last word. Bahdanau et
    al. also read backwards (section 3.2), the tutorial only forwards.
    """

    def __init__(
        self, words: WordEmbedding, hidden_size: int, dropout: float, pad: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.pad_idx, self.embedding, self.dropout = pad, words, Dropout(dropout)
        self.gru = nn.GRU(words.dim, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.output_size = hidden_size * (1 + bidirectional)
        self.bridge = nn.Linear(2 * hidden_size, hidden_size) if bidirectional else None

    def forward(self, src: Tensor) -> tuple[Tensor, Tensor]:
        """States and the start of the decoder: `[B, S]` -> `[B, S, H_e]`, `[B, H]`."""
        lengths = expect_words("src", src, "B S", self.pad_idx).clamp(min=1)  # [B]
        embedded = self.dropout(self.embedding(src))  # [B, S, E]
        states, last = run_padded(self.gru, embedded, lengths)  # [B, S, H_e], [D, B, H]
        if self.bridge is None:
            return states, last[-1]
        return states, torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=1)))


class BahdanauAttention(nn.Module):
    r"""Additive attention: a small network scores how well each source state fits the decoder's.

    .. math:: e_{tj} = v_a^\top \tanh(W_a s_{t-1} + U_a h_j), \quad
              \alpha_t = \mathrm{softmax}(e_t), \quad c_t = \sum_j \alpha_{tj} h_j

    (Section 3.1, equations 5 and 6, and appendix A.1.2.) `mask` `[B, S]` is True at words; padding gets
    weight zero. `projected` are the :math:`U_a h_j`, which do not depend on t.
    """

    def __init__(self, hidden_size: int, key_size: int) -> None:
        super().__init__()
        self.W_a = nn.Linear(hidden_size, hidden_size)
        self.U_a = nn.Linear(key_size, hidden_size)
        self.v_a = nn.Linear(hidden_size, 1, bias=False)

    def forward(
        self, query: Tensor, keys: Tensor, mask: Tensor, projected: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Query `[B, H]`, keys `[B, S, H_e]` -> context `[B, H_e]`, weights `[B, S]`."""
        batch = expect("query", query, "B H", H=self.W_a.in_features)["B"]
        expect("keys", keys, "B S H_e", B=batch, H_e=self.U_a.in_features)
        projected = self.U_a(keys) if projected is None else projected  # [B, S, H]
        hidden = torch.tanh(self.W_a(query).unsqueeze(1) + projected)  # [B, S, H]
        scores = self.v_a(hidden).squeeze(2)  # [B, S]
        expect("mask", mask, "B S", B=batch, S=keys.shape[1])
        require(mask.dtype == torch.bool, f"mask must be boolean, but is {mask.dtype}.")
        weights = masked_softmax(scores.masked_fill(~mask, -torch.inf))  # [B, S]
        context = torch.bmm(weights.to(keys.dtype).unsqueeze(1), keys).squeeze(1)  # [B, H_e]
        return context, weights


class AttentionDecoder(nn.Module):
    r"""Write the target sentence with a GRU that attends to the source at every step.

    .. math:: c_t = \mathrm{Attention}(s_{t-1}, h_{1..S}), \quad
              s_t = \mathrm{GRU}([\mathrm{Dropout}(E_{y_{t-1}}) \Vert c_t], s_{t-1}), \quad
              \text{logits}_t = W_o s_t + b_o
    """

    def __init__(
        self, words: WordEmbedding, hidden_size: int, dropout: float, pad: int, key_size: int
    ) -> None:
        super().__init__()
        self.pad_idx, self.embedding, self.dropout = pad, words, Dropout(dropout)
        self.attention = BahdanauAttention(hidden_size, key_size)
        self.gru = nn.GRUCell(words.dim + key_size, hidden_size)
        self.output = nn.Linear(hidden_size, words.table.num_embeddings)

    def step(
        self, embedded: Tensor, s: Tensor, states: Tensor, mask: Tensor, projected: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One embedded word `[B, E]` further: `s` `[B, H]` -> new `s`, weights `[B, S]`."""
        context, weights = self.attention(s, states, mask, projected)  # [B, H_e], [B, S]
        return self.gru(torch.cat([embedded, context], dim=1), s), weights

    def forward(
        self, tgt: Tensor, states: Tensor, start: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Words read `[B, T]` -> logits of the next ones `[B, T, V]`, attention `[B, T, S]`."""
        expect_words("tgt", tgt, "B T", self.pad_idx, B=len(states))
        # Every input is known: embed all words and score all states in one product each.
        projected = self.attention.U_a(states)  # [B, S, H]
        s, hidden, weights = start, [], []
        for embedded in self.dropout(self.embedding(tgt)).unbind(dim=1):  # T x [B, E]
            s, alpha = self.step(embedded, s, states, mask, projected)
            hidden.append(s)
            weights.append(alpha)
        return self.output(torch.stack(hidden, dim=1)), torch.stack(weights, dim=1)


class Seq2Seq(nn.Module):
    """Sources `[B, S]` are padded at the right; targets `[B, T]` stand behind the start word."""

    def __init__(
        self,
        src_vocab: int,
        tgt_vocab: int,
        embedding_dim: int = 128,
        hidden_size: int = 128,
        dropout: float = 0.1,
        pad_idx: int = 0,
        *,
        bidirectional: bool = False,
        src_pretrained: Tensor | None = None,
        tgt_pretrained: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.pad_idx = pad_idx
        sizes = (hidden_size, dropout, pad_idx)
        words = WordEmbedding(src_vocab, embedding_dim, pad_idx, src_pretrained)
        self.encoder = GRUEncoder(words, *sizes, bidirectional)
        words = WordEmbedding(tgt_vocab, embedding_dim, pad_idx, tgt_pretrained)
        self.decoder = AttentionDecoder(words, *sizes, self.encoder.output_size)

    def attend(self, src: Tensor, tgt: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[B, T, V]` and the attention to the source `[B, T, S]` at every position."""
        states, start = self.encoder(src)  # [B, S, H_e], [B, H]
        return self.decoder(tgt, states, start, src != self.pad_idx)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Logits of the next target word at every position: `[B, T, V]`."""
        return self.attend(src, tgt)[0]

    def start(self, src: Tensor) -> "RecurrentDecoding":
        return RecurrentDecoding(self, src)


class RecurrentDecoding:
    """Translations under way; see :class:`.beam_search.Decoding`. The model is in eval mode."""

    def __init__(self, model: Seq2Seq, src: Tensor) -> None:
        self.decoder = model.decoder
        self.states, self.s = model.encoder(src)  # [R, S, H_e], [R, H]
        self.mask = src != model.pad_idx  # [R, S]
        self.projected = model.decoder.attention.U_a(self.states)  # [R, S, H]

    def step(self, words: Tensor) -> Tensor:
        embedded = self.decoder.embedding(words)  # [R, E]
        self.s, _ = self.decoder.step(embedded, self.s, self.states, self.mask, self.projected)
        return self.decoder.output(self.s)  # [R, V]

    def select(self, rows: Tensor) -> None:
        self.states, self.s = self.states[rows], self.s[rows]
        self.mask, self.projected = self.mask[rows], self.projected[rows]
