r"""The graph attention network of Veličković et al. (2018), https://arxiv.org/abs/1710.10903.

Letters: `N` nodes, `E` edges, `K` heads, `F` input features per node, `F'` output features per
head. Node i attends to node j if there is an edge from j (source) to i (target).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models import sparse
from coursework.models.checks import expect, require
from coursework.models.dropout import dropout
from coursework.models.sparse import FeatureLinear, feature_dropout


def width_of_heads(out_features: int, n_heads: int, is_concat: bool) -> int:
    """Output features of each head, where the heads are concatenated or averaged."""
    fits = n_heads > 0 and not (is_concat and out_features % n_heads)
    sizes = f"{out_features} is not of {n_heads}"
    require(fits, f"out_features must be a multiple of n_heads: {sizes}.")
    return out_features // n_heads if is_concat else out_features


class DenseGraphAttentionLayer(nn.Module):
    r"""Graph attention as the assignment prescribes it, with all pairs of nodes in memory.

    :class:`GraphAttentionLayer` with `share_attention` has the same equations, outputs and gradients without
    the :math:`O(N^2 K F')` time and memory. `adj_mat` is not zero at (i, j) where i attends to j.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_heads: int,
        is_concat: bool = True,
        dropout: float = 0.6,
        alpha: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_hidden = width_of_heads(out_features, n_heads, is_concat)
        self.n_heads, self.is_concat = n_heads, is_concat
        # solution:begin W, attention, activation, softmax (over which dim?), dropout_layer | nn.Softmax
        self.W = nn.Linear(in_features, n_heads * self.n_hidden, bias=False)
        self.attention = nn.Linear(2 * self.n_hidden, 1, bias=False)
        self.activation = nn.LeakyReLU(negative_slope=alpha)
        self.softmax = nn.Softmax(dim=1)  # over j, the neighbours of i
        self.dropout_layer = nn.Dropout(dropout)
        # solution:end

    def forward(self, h: Tensor, adj_mat: Tensor) -> Tensor:
        """Attend to the neighbours: `[N, F]`, `[N, N]` -> `[N, out_features]`."""
        n_nodes = expect("h", h, "N F")["N"]
        expect("adj_mat", adj_mat, "N N", N=n_nodes)
        linked = bool((adj_mat != 0).any(dim=1).all())
        require(linked, "adj_mat has a row of zeros: a node without neighbours; add self-loops.")
        # solution:begin s, all pairs [s_i, s_j], their scores, the mask, the weights a | torch.cat
        s = self.W(h).view(n_nodes, self.n_heads, self.n_hidden)  # [N, K, F']
        s_i = s.repeat_interleave(n_nodes, dim=0)  # [N*N, K, F']: 0 0 0 1 1 1 2 2 2
        s_j = s.repeat(n_nodes, 1, 1)  # [N*N, K, F']: 0 1 2 0 1 2 0 1 2
        pairs = torch.cat([s_i, s_j], dim=-1)  # [N*N, K, 2F']
        pairs = pairs.view(n_nodes, n_nodes, self.n_heads, 2 * self.n_hidden)
        e = self.activation(self.attention(pairs)).squeeze(-1)  # [N, N, K]
        e = e.masked_fill(adj_mat.unsqueeze(-1) == 0, -torch.inf)
        a = self.dropout_layer(self.softmax(e))  # [N, N, K]
        # solution:end
        h_prime = torch.einsum("ijk,jkf->ikf", a, s)  # [N, K, F']
        # solution:begin concatenate the heads, or take their mean
        return h_prime.flatten(1) if self.is_concat else h_prime.mean(dim=1)
        # solution:end


def edges_of(adj: Tensor, num_nodes: int) -> Tensor:
    """The edges `[2, E]` of a graph, each once."""
    sparse.check_edge_index(adj, num_nodes)
    return sparse.simple(adj)


def edge_softmax(scores: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    r"""Softmax of the scores over the edges that end in the same node (equation 2).

    .. math:: \alpha_{ij} = \frac{\exp(e_{ij} - m_i)}{\sum_{k \in \mathcal{N}(i)} \exp(e_{ik} - m_i)},
              \qquad m_i = \max_{k \in \mathcal{N}(i)} e_{ik}

    The maximum only keeps the exponential from overflowing. Scores `[E, K]`, target `[E]` -> `[E, K]`.
    """
    # solution:begin equation 2, over the edges that end in the same node | Tensor.index_add
    heads = scores.shape[1]
    index = target.unsqueeze(1).expand(-1, heads)  # [E, K]
    highest = scores.new_full((num_nodes, heads), -torch.inf)  # [N, K]
    highest = highest.scatter_reduce(0, index, scores.detach(), "amax")
    numerator = (scores - highest.index_select(0, target)).exp()  # [E, K]
    denominator = scores.new_zeros(num_nodes, heads).index_add(0, target, numerator)  # [N, K]
    return numerator / denominator.index_select(0, target)
    # solution:end


class GraphAttentionLayer(nn.Module):
    r"""Every node averages its neighbours with weights that it computes from their features.

    .. math:: e_{ij} = \mathrm{LeakyReLU}(a^\top [s_i \Vert s_j]), \quad
              \alpha_{ij} = \mathrm{softmax}_j(e_{ij}), \quad
              h_i' = \sum_{j \in \mathcal{N}(i)} \alpha_{ij} s_j, \quad s_i = W h_i

    for each of the `K` heads (equations 1 to 4; heads are concatenated, equation 5, or averaged, equation 6;
    the activation is left to the network). :class:`DenseGraphAttentionLayer` makes :math:`[s_i \Vert s_j]`
    for all pairs, on Cora 939 MB in float32. Here `a` is cut into the halves that meet :math:`s_i` and
    :math:`s_j`, and the softmax runs over the edges that exist: time :math:`O(N F K F' + E K F')`, memory
    :math:`O((N + E) K F')`. A node without edges gets the bias, or zeros.

    `dropout` acts on the attention weights, `message_dropout` on the :math:`s_j` in the sum, as in the
    authors' code, which has a `bias` too. `share_attention` has one vector `a` for all heads, as in the
    assignment's starter code. `alpha` is the negative slope of the leaky ReLU. `h` is dense or sparse; `adj`
    is an edge index `[2, E]` int64 of sources j and targets i. Self-loops are not added.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_heads: int,
        is_concat: bool = True,
        dropout: float = 0.6,
        alpha: float = 0.2,
        share_attention: bool = False,
        bias: bool = False,
        message_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features, self.n_heads, self.is_concat = in_features, n_heads, is_concat
        self.n_hidden = width_of_heads(out_features, n_heads, is_concat)
        self.dropout, self.message_dropout, self.alpha = dropout, message_dropout, alpha
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        # solution:begin self.W without bias; self.a_l, self.a_r with a row for each head (one if shared)
        vectors = 1 if share_attention else n_heads
        self.W = FeatureLinear(in_features, n_heads * self.n_hidden, bias=False)
        self.a_l = nn.Parameter(torch.empty(vectors, self.n_hidden))  # meets s_i, the target
        self.a_r = nn.Parameter(torch.empty(vectors, self.n_hidden))  # meets s_j, the source
        # solution:end
        for weight in (self.W.weight, self.a_l, self.a_r):
            nn.init.xavier_uniform_(weight)  # over all heads at once, as in PyTorch Geometric

    def transform(self, h: Tensor) -> Tensor:
        """The transformed nodes :math:`s = W h`, cut into heads: `[N, F]` -> `[N, K, F']`."""
        expect("h", h, "N F", F=self.in_features)
        # solution:begin s = W h, reshaped into heads | Tensor.view
        s: Tensor = self.W(h)  # [N, K*F']
        return s.view(-1, self.n_heads, self.n_hidden)
        # solution:end

    def edge_attention(self, s: Tensor, edge_index: Tensor) -> Tensor:
        r"""The weights :math:`\alpha_{ij}` of all edges: `[N, K, F']`, `[2, E]` -> `[E, K]`."""
        # solution:begin the scores of the edges, the activation, the softmax | self.alpha, edge_softmax
        source, target = edge_index
        left = (s * self.a_l).sum(dim=-1)  # [N, K]
        right = (s * self.a_r).sum(dim=-1)  # [N, K]
        scores = left.index_select(0, target) + right.index_select(0, source)  # [E, K]
        return edge_softmax(F.leaky_relu(scores, self.alpha), target, s.shape[0])
        # solution:end

    def combine(self, h_prime: Tensor) -> Tensor:
        """Concatenate or average the heads: `[N, K, F']` -> `[N, K*F']` or `[N, F']`."""
        # solution:begin concatenate the heads, or take their mean; add self.bias if there is one
        output = h_prime.flatten(1) if self.is_concat else h_prime.mean(dim=1)
        return output if self.bias is None else output + self.bias
        # solution:end

    def forward(self, h: Tensor, adj: Tensor) -> Tensor:
        """Attend to the neighbours: `[N, F]`, edges `[2, E]` -> `[N, out_features]`."""
        # solution:begin transform, attend, dropout on the weights, weighted sum, combine | edges_of
        s = self.transform(h)  # [N, K, F']
        edge_index = edges_of(adj, s.shape[0])  # [2, E]
        source, target = edge_index
        weights = self.edge_attention(s, edge_index)  # [E, K]
        weights = dropout(weights, self.dropout, self.training)
        kept = dropout(s, self.message_dropout, self.training)  # [N, K, F']
        messages = weights.unsqueeze(2) * kept.index_select(0, source)  # [E, K, F']
        h_prime = torch.zeros_like(s).index_add(0, target, messages.to(s.dtype))  # [N, K, F']
        return self.combine(h_prime)
        # solution:end


class GAT(nn.Module):
    """Two graph attention layers: concatenated heads, ELU, then one head for the classes.

    (Section 3.3.) `n_hidden` is the *concatenated* width of the first layer. Dropout acts on the inputs of
    both layers and on the attention weights, and with `drop_messages` also on what is summed.
    """

    def __init__(
        self,
        nfeat: int,
        n_hidden: int,
        n_classes: int,
        dropout: float,
        alpha: float,
        n_heads: int,
        share_attention: bool = False,
        bias: bool = False,
        drop_messages: bool = False,
    ) -> None:
        super().__init__()
        # solution:begin self.layer1 with n_heads heads, self.layer2 with one, self.dropout (a number)
        extra = (alpha, share_attention, bias, dropout if drop_messages else 0.0)
        self.layer1 = GraphAttentionLayer(nfeat, n_hidden, n_heads, True, dropout, *extra)
        self.layer2 = GraphAttentionLayer(n_hidden, n_classes, 1, False, dropout, *extra)
        self.dropout = dropout
        # solution:end

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Logits of the classes: `[N, nfeat]`, edges `[2, E]` -> `[N, n_classes]`."""
        # solution:begin dropout, layer 1, ELU, dropout, layer 2; return the logits | feature_dropout
        edge_index = edges_of(adj, x.shape[0])  # [2, E], once for both layers
        x = feature_dropout(x, self.dropout, self.training)  # [N, nfeat]
        h = F.elu(self.layer1(x, edge_index))  # [N, n_hidden]
        h = dropout(h, self.dropout, self.training)
        logits: Tensor = self.layer2(h, edge_index)  # [N, n_classes]
        return logits
        # solution:end
