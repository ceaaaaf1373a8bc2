r"""BERT's encoder out of our :class:`.EncoderLayer`, and a classifier on it.

Paper: Devlin et al., *BERT*, 2019, https://arxiv.org/abs/1810.04805.

Letters: `B` batch, `S` tokens of a text, `d` width of the model, `V` vocabulary.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coursework.models.checks import expect_words, require
from coursework.models.dropout import Dropout
from coursework.models.transformer import EncoderLayer

# The names of the published weights -> ours, in this order: output is in the names of attention.output, too.
NAMES = {
    "embeddings.LayerNorm": "norm", "encoder.layer.": "layers.",
    "attention.output.LayerNorm": "norm1", "attention.output.dense": "self_attention.W_O",
    "attention.self.query": "self_attention.W_Q", "attention.self.key": "self_attention.W_K",
    "attention.self.value": "self_attention.W_V", "intermediate.dense": "feed_forward.linear1",
    "output.dense": "feed_forward.linear2", "output.LayerNorm": "norm2",
    "embeddings.word_embeddings": "words", "embeddings.position_embeddings": "positions",
}  # fmt: skip


class Bert(nn.Module):
    r"""States of all tokens of a text: post-norm layers, learned positions; padding has the id 0.

    .. math:: x_t = \mathrm{LN}(E_{w_t} + P_t), \qquad h = \mathrm{Layer}_L(\dots\mathrm{Layer}_1(x))
    """

    def __init__(
        self, vocab_size: int, d_model: int, n_heads: int, d_ff: int, n_layers: int,
        max_length: int = 512, dropout: float = 0.1, layer_norm_eps: float = 1e-12,
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(max_length, d_model)
        self.norm = nn.LayerNorm(d_model, eps=layer_norm_eps)
        self.dropout = Dropout(dropout)
        layers = (
            EncoderLayer(d_model, n_heads, d_ff, dropout, "gelu", layer_norm_eps=layer_norm_eps)
            for _ in range(n_layers)
        )
        self.layers = nn.ModuleList(layers)

    def load_published(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights of a published model; the parts for pairs of sentences are left out."""
        state = {}
        for name, value in weights.items():
            if "pooler" in name or name.endswith(("position_ids", "token_type_embeddings.weight")):
                continue
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            state[name] = value
        # Every token is of the first of the two sentences.
        first = weights["embeddings.token_type_embeddings.weight"][0]  # [d]
        state["positions.weight"] = state["positions.weight"] + first  # [P, d]
        self.load_state_dict(state)

    def forward(self, tokens: Tensor) -> Tensor:
        """States `[B, S, d]` of texts `[B, S]`."""
        expect_words("tokens", tokens, "B S", 0)
        length, longest = tokens.shape[1], self.positions.num_embeddings
        require(length <= longest, f"A text has {length} tokens, but at most {longest} are known.")
        padding = tokens == 0  # [B, S]
        mask = padding if bool(padding.any()) else None  # without it attention is faster
        x = self.dropout(self.norm(self.words(tokens) + self.positions.weight[:length]))
        for layer in self.layers:
            x = layer(x, key_padding_mask=mask)  # [B, S, d]
        return x


class BertClassifier(nn.Module):
    r"""One logit from the mean of all states and the first state, :math:`w^\top[\bar h \Vert h_1] + b`."""

    def __init__(self, encoder: Bert, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(2 * encoder.words.embedding_dim, 1)

    def features(self, tokens: Tensor) -> Tensor:
        """The representation of texts: `[B, S]` -> `[B, 2d]`."""
        states = self.encoder(tokens)  # [B, S, d]
        real = (tokens != 0).unsqueeze(2)  # [B, S, 1]
        mean = (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # [B, d]
        return torch.cat([mean, states[:, 0]], dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logit of the positive class for each text: `[B, S]` -> `[B]`."""
        return self.output(self.dropout(self.features(tokens))).squeeze(1)
