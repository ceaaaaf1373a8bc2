r"""Recurrent translation with additive attention: the network of the PyTorch translation tutorial.

An encoder GRU reads the source sentence, a decoder GRU writes the target sentence one word at a
time and looks back at the encoder through the attention of Bahdanau et al. (2015),
https://arxiv.org/abs/1409.0473.

Letters: `B` batch, `S` source length, `T` target length, `L` length of the output, `E` embedding
size, `H` hidden size, `H_e` width of the encoder's states (`H`, or `2H` if bidirectional), `V`
vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from coursework.models.attention import masked_softmax
from coursework.models.dropout import Dropout
from coursework.models.embedding import WordEmbedding


class GRUEncoder(nn.Module):
    r"""Embed the source words and run a GRU over them.

    .. math:: h_t = \mathrm{GRU}(\mathrm{Dropout}(E_{w_t}), h_{t-1})

    Padding is packed away: it changes neither the states nor the last state.

    Args:
        vocab_size: :math:`V`.
        embedding_dim: :math:`E`.
        hidden_size: :math:`H`.
        dropout: Dropout probability on the embedded words.
        pad_idx: Id of the padding word, to the right of the sentence.
        bidirectional: Also read backwards, as Bahdanau et al. do (section 3.2); the tutorial
            reads forwards only.
        pretrained: Optional embedding matrix `[V, w]`; see :class:`WordEmbedding`.
        freeze: Keep the pre-trained vectors fixed.

    Shapes:
        - src: `[B, S]` int64
        - output: states `[B, S, H_e]` (zero at padding) and the start of the decoder `[B, H]`
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        dropout: float = 0.1,
        pad_idx: int = 0,
        bidirectional: bool = False,
        pretrained: Tensor | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.pad_idx = pad_idx
        self.embedding = WordEmbedding(vocab_size, embedding_dim, pad_idx, pretrained, freeze)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.output_size = hidden_size * (2 if bidirectional else 1)
        self.bridge = nn.Linear(2 * hidden_size, hidden_size) if bidirectional else None

    def forward(self, src: Tensor) -> tuple[Tensor, Tensor]:
        """Encode: `[B, S]` -> `[B, S, H_e]`, `[B, H]`."""
        if src.ndim != 2 or src.shape[1] == 0:
            raise ValueError(
                f"The source must have shape [B, S] with S > 0, but has {list(src.shape)}."
            )
        embedded = self.dropout(self.embedding(src))  # [B, S, E]
        lengths = (src != self.pad_idx).sum(dim=1).cpu().clamp(min=1)  # [B]
        if bool((lengths == src.shape[1]).all()):
            states, last = self.gru(embedded)  # [B, S, H_e], [D, B, H]
        else:
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            packed_states, last = self.gru(packed)
            states, _ = pad_packed_sequence(
                packed_states, batch_first=True, total_length=src.shape[1]
            )
        if self.bridge is None:
            return states, last[-1]
        return states, torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=1)))


class BahdanauAttention(nn.Module):
    r"""Additive attention: a small network scores how well each source state fits the decoder's.

    .. math::

        e_{tj} = v_a^\top \tanh(W_a s_{t-1} + U_a h_j), \qquad
        \alpha_t = \mathrm{softmax}(e_t), \qquad c_t = \sum_j \alpha_{tj} h_j

    (Bahdanau et al. 2015, section 3.1, equations 5 and 6, and appendix A.1.2.) Padding words get
    weight zero. :math:`U_a h_j` does not depend on t: compute it once with :meth:`project`.

    Args:
        hidden_size: :math:`H`, width of the query :math:`s_{t-1}` and of the tanh layer.
        key_size: Width of the states :math:`h_j`; `hidden_size` if left out.

    Shapes:
        - query: `[B, H]`, keys: `[B, S, key_size]`, projected: `[B, S, H]`
        - mask: `[B, S]` boolean, True = a word, False = padding
        - output: context `[B, key_size]`, weights `[B, S]`
    """

    def __init__(self, hidden_size: int, key_size: int | None = None) -> None:
        super().__init__()
        self.W_a = nn.Linear(hidden_size, hidden_size)
        self.U_a = nn.Linear(hidden_size if key_size is None else key_size, hidden_size)
        self.v_a = nn.Linear(hidden_size, 1, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """The part of the score that no step changes: `[B, S, key_size]` -> `[B, S, H]`."""
        projected: Tensor = self.U_a(keys)
        return projected

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        mask: Tensor | None = None,
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the context vector and the attention weights."""
        if projected is None:
            projected = self.project(keys)  # [B, S, H]
        hidden = torch.tanh(self.W_a(query).unsqueeze(1) + projected)  # [B, S, H]
        scores: Tensor = self.v_a(hidden).squeeze(2)  # [B, S]
        if mask is None:
            weights = scores.softmax(dim=1)  # [B, S]
        else:
            weights = masked_softmax(scores.masked_fill(~mask, -torch.inf))  # [B, S]
        context = torch.bmm(weights.to(keys.dtype).unsqueeze(1), keys).squeeze(1)  # [B, key_size]
        return context, weights


class AttentionDecoder(nn.Module):
    r"""Write the target sentence with a GRU that attends to the source at every step.

    .. math::

        c_t &= \mathrm{Attention}(s_{t-1}, h_{1..S}) \\
        s_t &= \mathrm{GRU}([\mathrm{Dropout}(E_{y_{t-1}}) \Vert c_t], s_{t-1}) \\
        \text{logits}_t &= W_o s_t + b_o

    Args:
        vocab_size: :math:`V`.
        embedding_dim: :math:`E`.
        hidden_size: :math:`H`.
        dropout: Dropout probability on the embedded words.
        pad_idx: Id of the padding word.
        key_size: :math:`H_e`, width of the encoder's states; `hidden_size` if left out.
        pretrained: Optional embedding matrix `[V, w]`; see :class:`WordEmbedding`.
        freeze: Keep the pre-trained vectors fixed.

    Shapes:
        - tgt: `[B, T]` int64, the words that are read (the sentence behind the start word)
        - states: `[B, S, H_e]`, start: `[B, H]`, mask: `[B, S]`, True = a word
        - output: logits `[B, T, V]`, attention `[B, T, S]`
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        dropout: float = 0.1,
        pad_idx: int = 0,
        key_size: int | None = None,
        pretrained: Tensor | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        key_size = hidden_size if key_size is None else key_size
        self.embedding = WordEmbedding(vocab_size, embedding_dim, pad_idx, pretrained, freeze)
        self.dropout = Dropout(dropout)
        self.attention = BahdanauAttention(hidden_size, key_size)
        self.gru = nn.GRUCell(embedding_dim + key_size, hidden_size)
        self.output = nn.Linear(hidden_size, vocab_size)

    def step(
        self, word: Tensor, s: Tensor, states: Tensor, mask: Tensor, projected: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One word further: `word` `[B]`, `s` `[B, H]` -> new `s` `[B, H]`, weights `[B, S]`."""
        embedded = self.dropout(self.embedding(word))  # [B, E]
        return self._advance(embedded, s, states, mask, projected)

    def _advance(
        self, embedded: Tensor, s: Tensor, states: Tensor, mask: Tensor, projected: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The recurrence, for a word that is embedded already."""
        context, weights = self.attention(s, states, mask, projected)  # [B, H_e], [B, S]
        s = self.gru(torch.cat([embedded, context], dim=1), s)  # [B, H]
        return s, weights

    def forward(
        self,
        tgt: Tensor,
        states: Tensor,
        start: Tensor,
        mask: Tensor,
        teacher_forcing: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of the next word at every position; see :class:`Seq2Seq` for the options."""
        projected = self.attention.project(states)  # [B, S, H]
        s, weights = start, []
        if teacher_forcing >= 1.0:
            # Every input is known: embed all words and score all states in one product each.
            hidden = []
            for embedded in self.dropout(self.embedding(tgt)).unbind(dim=1):  # T x [B, E]
                s, alpha = self._advance(embedded, s, states, mask, projected)
                hidden.append(s)
                weights.append(alpha)
            return self.output(torch.stack(hidden, dim=1)), torch.stack(weights, dim=1)
        logits: list[Tensor] = []
        for t in range(tgt.shape[1]):
            word = tgt[:, t]  # [B]
            forced = torch.rand((), generator=generator).item() < teacher_forcing
            if t > 0 and not forced:
                word = logits[-1].detach().argmax(dim=1)  # [B], the decoder's own choice
            s, alpha = self.step(word, s, states, mask, projected)
            logits.append(self.output(s))  # [B, V]
            weights.append(alpha)
        return torch.stack(logits, dim=1), torch.stack(weights, dim=1)


class Seq2Seq(nn.Module):
    r"""Encoder, attention and decoder: from a source sentence to a target sentence.

    Args:
        src_vocab: Number of source words.
        tgt_vocab: Number of target words.
        embedding_dim: :math:`E`.
        hidden_size: :math:`H`.
        dropout: Dropout probability on embedded words.
        pad_idx: Id of the padding word, in both vocabularies.
        bidirectional: Whether the encoder also reads backwards.
        src_pretrained: Optional embedding matrix `[src_vocab, w]`, of any width.
        tgt_pretrained: Optional embedding matrix `[tgt_vocab, w']`, of any width.
        freeze: Keep pre-trained vectors fixed.

    Shapes:
        - src: `[B, S]` int64, padded at the right
        - tgt: `[B, T]` int64, the target behind the start word: position t predicts word t + 1
        - output: logits `[B, T, tgt_vocab]`

    Raises:
        ValueError: The shape of an input does not fit.
    """

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
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.pad_idx = pad_idx
        self.encoder = GRUEncoder(
            src_vocab,
            embedding_dim,
            hidden_size,
            dropout,
            pad_idx,
            bidirectional,
            src_pretrained,
            freeze and src_pretrained is not None,
        )
        self.decoder = AttentionDecoder(
            tgt_vocab,
            embedding_dim,
            hidden_size,
            dropout,
            pad_idx,
            self.encoder.output_size,
            tgt_pretrained,
            freeze and tgt_pretrained is not None,
        )

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        teacher_forcing: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Logits of the next target word at every position: `[B, T, V]`.

        Args:
            src: Source words.
            tgt: Target words behind the start word.
            teacher_forcing: Probability that a step reads the true previous word instead of the
                decoder's own choice; drawn once a step for the whole batch.
            generator: Source of those draws.
        """
        if tgt.ndim != 2 or tgt.shape[0] != src.shape[0] or tgt.shape[1] == 0:
            raise ValueError(
                f"The target must have shape [B, T] with T > 0 and the batch of the source "
                f"{list(src.shape)}, but has {list(tgt.shape)}."
            )
        states, start = self.encoder(src)  # [B, S, H_e], [B, H]
        logits: Tensor
        logits, _ = self.decoder(
            tgt, states, start, src != self.pad_idx, teacher_forcing, generator
        )
        return logits

    def start(self, src: Tensor) -> "RecurrentDecoding":
        """Read the sources `[B, S]`, for a search such as :func:`.beam_search.beam_search`."""
        return RecurrentDecoding(self, src)

    @torch.no_grad()
    def greedy(self, src: Tensor, max_length: int, sos: int, eos: int) -> tuple[Tensor, Tensor]:
        """Translate a batch by taking the likeliest word at each step.

        Dropout is off while translating. A finished sentence is filled with padding, and the loop
        ends when all are finished.

        Args:
            src: Source words.
            max_length: Longest output.
            sos: Id of the start word (not part of the output).
            eos: Id of the end word (part of the output).

        Shapes:
            - src: `[B, S]`
            - output: words `[B, L]`, attention `[B, L, S]` (zero behind the end), L <= max_length
        """
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, but is {max_length}.")
        training = self.training
        self.eval()
        states, s = self.encoder(src)  # [B, S, H_e], [B, H]
        mask = src != self.pad_idx  # [B, S]
        projected = self.decoder.attention.project(states)  # [B, S, H]
        word = torch.full((len(src),), sos, device=src.device)  # [B]
        finished = torch.zeros_like(word, dtype=torch.bool)  # [B]
        words, weights = [], []
        for _ in range(max_length):
            s, alpha = self.decoder.step(word, s, states, mask, projected)  # [B, H], [B, S]
            word = self.decoder.output(s).argmax(dim=1)  # [B]
            word = word.masked_fill(finished, self.pad_idx)
            words.append(word)
            weights.append(alpha.masked_fill(finished.unsqueeze(1), 0.0))
            finished = finished | (word == eos)
            if bool(finished.all()):
                break
        self.train(training)
        return torch.stack(words, dim=1), torch.stack(weights, dim=1)


class RecurrentDecoding:
    """Translations under way; see :class:`.beam_search.Decoding`.

    Args:
        model: In eval mode.
        src: Source words `[B, S]`.
    """

    def __init__(self, model: Seq2Seq, src: Tensor) -> None:
        self.decoder = model.decoder
        self.states, self.s = model.encoder(src)  # [R, S, H_e], [R, H]
        self.mask = src != model.pad_idx  # [R, S]
        self.projected = model.decoder.attention.project(self.states)  # [R, S, H]

    def step(self, words: Tensor) -> Tensor:
        """Append a word to each row and score the next: `[R]` -> logits `[R, V]`."""
        self.s, _ = self.decoder.step(words, self.s, self.states, self.mask, self.projected)
        logits: Tensor = self.decoder.output(self.s)
        return logits  # [R, V]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self.states, self.s = self.states[rows], self.s[rows]
        self.mask, self.projected = self.mask[rows], self.projected[rows]
