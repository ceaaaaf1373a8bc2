"""A bidirectional LSTM that classifies sentences."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from coursework.models.checks import expect, expect_words, require
from coursework.models.embedding import WordEmbedding
from coursework.models.lstm import LSTM


def run_padded(rnn: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
    """States of padded sentences `[B, T, E]`, zeros behind the end, and the last states of each."""
    if bool((lengths == x.shape[1]).all()):
        return rnn(x)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, last = rnn(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])[0], last


class BiLSTMClassifier(nn.Module):
    r"""A bidirectional LSTM that reads a sentence and gives one logit (binary classification).

    .. math:: h_{1..T} = \mathrm{BiLSTM}(E_{w_1}, \dots, E_{w_T}), \quad z = [\max_t h_t \,\Vert\,
              \tfrac1T \sum_t h_t \,\Vert\, \overrightarrow{h}_T \,\Vert\, \overleftarrow{h}_1], \quad
              \text{logit} = w^\top z + b

    Padding, at the right, never changes the result. The cell is :class:`.LSTM` (`"own"`) or `nn.LSTM`
    (`"builtin"`): a checkpoint of one loads into the other. Dropout acts between layers and on z.
    Letters: `B` batch, `T` steps, `E` embedding size, `H` hidden size of each direction.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.3,
        padding_idx: int = 0,
        cell: Literal["builtin", "own"] = "builtin",
        *,
        embedding_dropout: float = 0.0,
        pretrained: Tensor | None = None,
    ) -> None:
        super().__init__()
        require(cell in ("builtin", "own"), f"cell must be 'builtin' or 'own', but is {cell!r}.")
        self.padding_idx = padding_idx
        self.embedding = WordEmbedding(vocab_size, embedding_dim, padding_idx, pretrained)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        recurrent = nn.LSTM if cell == "builtin" else LSTM
        between = dropout if num_layers > 1 else 0.0
        kind = {"batch_first": True, "bidirectional": True}
        self.lstm = recurrent(embedding_dim, hidden_size, num_layers, dropout=between, **kind)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(6 * hidden_size, 1)

    def pool(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The representation `z` of embedded sentences: `[B, T, E]`, `[B]` -> `[B, 6H]`."""
        sizes = expect("embedded sentences", embedded, "B T E", E=self.embedding.dim)
        expect("lengths", lengths, "B", B=sizes["B"])
        steps, whole = sizes["T"], not lengths.is_floating_point()
        within = whole and bool(((lengths >= 1) & (lengths <= steps)).all())
        require(within, f"lengths must be whole, from 1 to {steps}, but are {lengths.tolist()}.")
        lengths = lengths.to(embedded.device)  # [B]
        states, (h_n, _) = run_padded(self.lstm, embedded, lengths)  # [B, T, 2H], [2L, B, H]
        padded = torch.arange(steps, device=embedded.device) >= lengths.unsqueeze(1)  # [B, T]
        highest = states.masked_fill(padded.unsqueeze(2), -torch.inf).amax(dim=1)  # [B, 2H]
        mean = states.sum(dim=1) / lengths.unsqueeze(1)  # [B, 2H]
        return torch.cat([highest, mean, h_n[-2], h_n[-1]], dim=1)  # [B, 6H]

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logit of the positive class for each sentence: `[B, T]` -> `[B]`; lengths may be left out."""
        if lengths is None:
            # a sentence without a single word is read as one padding word, a zero vector
            lengths = expect_words("tokens", tokens, "B T", self.padding_idx).clamp(min=1)  # [B]
        embedded = self.embedding_dropout(self.embedding(tokens))  # [B, T, E]
        return self.score(self.pool(embedded, lengths))

    def score(self, pooled: Tensor) -> Tensor:
        """Logits of the representation: `[B, 6H]` -> `[B]`."""
        return self.output(self.dropout(pooled)).squeeze(1)
