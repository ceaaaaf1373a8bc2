"""The networks, written in plain PyTorch: one module for each architecture.

Nothing here reads data, trains or prints; every model can be checked against a trusted
implementation (`tests/models`) by copying weights.
"""

from coursework.models.attention import (
    MultiHeadAttention,
    attention,
    attention_weights,
    causal_mask,
    linear_attention,
)
from coursework.models.embedding import WordEmbedding
from coursework.models.gat import GAT, GraphAttentionLayer, dense_attention_reference, edges_of
from coursework.models.gcn import GCN, GraphConvolution, add_self_loops, normalise_adjacency
from coursework.models.grand import GRAND, consistency_loss
from coursework.models.graph_conv import (
    GraphRegressor,
    PlainGraphConvolution,
    adjacency,
    aggregate,
    neighbours,
)
from coursework.models.lstm import LSTM, BiLSTMClassifier, LSTMCell
from coursework.models.residual_attention import Candidates, ResidualAttention
from coursework.models.seq2seq import AttentionDecoder, BahdanauAttention, GRUEncoder, Seq2Seq
from coursework.models.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    PositionalEncoding,
    Transformer,
)
from coursework.models.unet import Down, UNet, Up

__all__ = [
    "GAT",
    "GCN",
    "GRAND",
    "LSTM",
    "AttentionDecoder",
    "BahdanauAttention",
    "BiLSTMClassifier",
    "Candidates",
    "Decoder",
    "DecoderLayer",
    "Down",
    "Encoder",
    "EncoderLayer",
    "GRUEncoder",
    "GraphAttentionLayer",
    "GraphConvolution",
    "GraphRegressor",
    "LSTMCell",
    "MultiHeadAttention",
    "PlainGraphConvolution",
    "PositionalEncoding",
    "ResidualAttention",
    "Seq2Seq",
    "Transformer",
    "UNet",
    "Up",
    "WordEmbedding",
    "add_self_loops",
    "adjacency",
    "aggregate",
    "attention",
    "attention_weights",
    "causal_mask",
    "consistency_loss",
    "dense_attention_reference",
    "edges_of",
    "linear_attention",
    "neighbours",
    "normalise_adjacency",
]
