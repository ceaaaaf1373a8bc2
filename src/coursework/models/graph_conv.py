r"""Graph convolution from edge lists, and a regression network built on it.

Convention of the whole project (and of PyTorch Geometric): `edge_index` is `[2, E]` int64, **row 0
holds the sources, row 1 the targets**; the neighbours :math:`\mathcal{N}(v)` of v are the sources of
the edges that end in v. A matrix has the target as row. An edge that is listed twice counts twice.

Letters: `N` nodes, `E` edges, `F` input features, `H` hidden units.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from coursework.models import sparse
from coursework.models.checks import expect, require
from coursework.models.dropout import Dropout
from coursework.models.sparse import FeatureLinear, feature_dropout, multiply

Aggregation = Literal["mean", "sum"]


def neighbours(edge_index: Tensor, node: int) -> Tensor:
    """The distance-1 neighbours of a node `[n]`: the sources of the edges that end in it, sorted, each
    once, without the node itself."""
    sparse.check_edge_index(edge_index)
    source, target = edge_index
    # solution:begin the neighbours of the node | Tensor.unique
    found = source[target == node]
    return found[found != node].unique()
    # solution:end


def degrees(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Number of edges that end in each node: `[2, E]` -> `[N]` int64."""
    sparse.check_edge_index(edge_index, num_nodes)
    return torch.bincount(edge_index[1], minlength=num_nodes)


def aggregate(x: Tensor, edge_index: Tensor, reduction: Aggregation = "mean") -> Tensor:
    r"""Sum or average the vectors `[N, F]` of the neighbours, edge by edge, zero without any: `[N, F]`.

    .. math:: y_v = \sum_{u \in \mathcal{N}(v)} x_u \quad\text{or}\quad
              y_v = \frac{1}{|\mathcal{N}(v)|} \sum_{u \in \mathcal{N}(v)} x_u
    """
    num_nodes = expect("x", x, "N F")["N"]
    sparse.check_edge_index(edge_index, num_nodes)
    source, target = edge_index
    # solution:begin take the vector of the source of each edge to its target | Tensor.index_add, degrees
    messages = x.index_select(0, source)  # [E, F]
    total = x.new_zeros(num_nodes, *x.shape[1:]).index_add(0, target, messages)  # [N, F]
    if reduction == "sum":
        return total
    if reduction == "mean":
        count = degrees(edge_index, num_nodes).clamp(min=1)  # [N]
        return total / count.to(total.dtype).unsqueeze(1)
    raise ValueError(f"The aggregation must be 'mean' or 'sum', but is {reduction!r}.")
    # solution:end


class PlainGraphConvolution(nn.Module):
    r"""One layer of plain graph convolution over the distance-1 neighbourhood.

    .. math:: h_v' = \sigma\Big(W_1 \operatorname*{agg}_{u \in \mathcal{N}(v)} h_u + W_2 h_v\Big)

    (Hamilton, *Graph Representation Learning*, 2020, equation 5.7.) Nothing of a graph library is used. With
    `identity` the weights start as :math:`W_1 = W_2 = I`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        aggregation: Aggregation = "mean",
        identity: bool = False,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
    ) -> None:
        super().__init__()
        known = aggregation in ("mean", "sum")
        require(known, f"The aggregation must be 'mean' or 'sum', but is {aggregation!r}.")
        possible, widths = not identity or in_features == out_features, (in_features, out_features)
        require(possible, f"Identity weights need equal widths, but the layer has {widths}.")
        self.in_features, self.activation = in_features, activation
        self.aggregation: Aggregation = aggregation
        self.W_1 = nn.Linear(in_features, out_features, bias=False)
        self.W_2 = nn.Linear(in_features, out_features, bias=False)
        if identity:
            nn.init.eye_(self.W_1.weight)
            nn.init.eye_(self.W_2.weight)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Convolve: `[N, in_features]` -> `[N, out_features]`."""
        expect("x", x, "N F", F=self.in_features)
        # solution:begin the equation of the class | aggregate
        gathered = aggregate(x, edge_index, self.aggregation)  # [N, in]
        h = self.W_1(gathered) + self.W_2(x)  # [N, out]
        return h if self.activation is None else self.activation(h)
        # solution:end


class GraphRegressor(nn.Module):
    r"""One real number for each node, from its own features and those of its neighbourhood.

    With :math:`d_v = |\mathcal{N}(v)|` and input :math:`[x_v \Vert \ln(1 + d_v) \Vert e_v]` (own features,
    log-degree, optional extra columns), a layer computes

    .. math:: z_v &= W_0 h_v + b_0 + \sum_{u \in \mathcal{N}(v)} \Big(
              \frac{1}{d_v} (W_1 h_u + b_1) + \frac{1}{\sqrt{d_v}} (W_2 h_u + b_2)\Big), \\
              h_v' &= h_v + \mathrm{Dropout}(\mathrm{ReLU}(\mathrm{LayerNorm}(z_v)))

    (the first one without :math:`h_v +`), and the prediction is an MLP of :math:`[h^{(1)}_v \Vert \dots \Vert
    h^{(L)}_v]` (jumping knowledge, Xu et al. 2018, https://arxiv.org/abs/1806.03536; without it of the last
    layer only). :math:`\sqrt{d_v}` bounds the sums of hubs. The matrices act before the sums, so
    sparse features are never made dense. Without `use_graph` it is an MLP. x is `[N, F]`, dense or sparse
    CSR; the graph is :func:`.adjacency` of the edges.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 128,
        num_layers: int = 2,
        dropout: float = 0.5,
        input_dropout: float = 0.0,
        extra_features: int = 0,
        use_graph: bool = True,
        jumping_knowledge: bool = True,
        aggregations: Sequence[str] = ("mean", "sum"),
    ) -> None:
        super().__init__()
        require(num_layers > 0, f"num_layers must be at least 1, but is {num_layers}.")
        known = bool(aggregations) and set(aggregations) <= {"mean", "sum"}
        require(known, f"aggregations is {aggregations!r}; choose from mean and sum.")
        self.in_features, self.hidden, self.extra_features = in_features, hidden, extra_features
        self.use_graph, self.jumping_knowledge = use_graph, jumping_knowledge
        self.input_dropout = input_dropout
        self.aggregations = tuple(dict.fromkeys(aggregations))
        terms = 1 + len(self.aggregations) if use_graph else 1  # self, mean, sum
        dense = extra_features + (1 if use_graph else 0)
        self.features = FeatureLinear(in_features, terms * hidden)
        self.columns = nn.Linear(dense, terms * hidden, bias=False) if dense > 0 else None
        layers = (nn.Linear(hidden, terms * hidden) for _ in range(num_layers - 1))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(num_layers))
        self.dropout = Dropout(dropout)
        width = hidden * num_layers if jumping_knowledge else hidden
        self.head = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, 1)
        )

    def forward(
        self, x: Tensor, graph: Tensor | None = None, extra: Tensor | None = None
    ) -> Tensor:
        """Predict one number for each node: `[N, F]` -> `[N]`."""
        num_nodes = expect("x", x, "N F", F=self.in_features)["N"]
        if self.extra_features or extra is not None:
            expect("extra", extra, "N extra", N=num_nodes, extra=self.extra_features)
        links = self._prepare(graph, num_nodes) if self.use_graph else None
        z = self.features(feature_dropout(x, self.input_dropout, self.training))  # [N, 3H]
        columns = [] if extra is None else [extra]  # [N, extra]
        if links is not None:
            columns.append(links[1].log1p())  # [N, 1]
        if self.columns is not None:
            z = z + self.columns(torch.cat(columns, dim=1))  # [N, 3H]
        states = [self._propagate(0, z, links)]  # [N, H]
        for index, layer in enumerate(self.layers, start=1):
            states.append(states[-1] + self._propagate(index, layer(states[-1]), links))
        joined = torch.cat(states, dim=1) if self.jumping_knowledge else states[-1]
        return self.head(joined).squeeze(1)  # [N]

    def _propagate(self, index: int, z: Tensor, links: tuple[Tensor, Tensor] | None) -> Tensor:
        """The rest of a layer: own term, scaled sums over the neighbours: `[N, 3H]` -> `[N, H]`."""
        if links is not None:
            adj, degree = links
            z, messages = z.tensor_split([self.hidden], dim=1)  # [N, H], [N, 2H]
            d = degree.clamp(min=1.0)  # [N, 1]
            scale = {"mean": 1 / d, "sum": d.rsqrt()}
            sums = multiply(adj, messages).split(self.hidden, dim=1)  # 2 x [N, H]
            for aggregation, total in zip(self.aggregations, sums, strict=True):
                z = z + total * scale[aggregation]
        return self.dropout(torch.relu(self.norms[index](z)))

    def _prepare(self, graph: Tensor | None, num_nodes: int) -> tuple[Tensor, Tensor]:
        """Adjacency matrix `[N, N]` and degrees `[N, 1]`."""
        if graph is None:
            raise ValueError("The graph is missing: pass the adjacency of its edges.")
        dtype = self.features.weight.dtype
        expect("graph", graph, "N N", N=num_nodes)
        ones = torch.ones(num_nodes, 1, device=graph.device, dtype=dtype)
        return graph, multiply(graph, ones)


class ColumnRegressor(nn.Module):
    r"""One real number for each node from columns that were carried along the links beforehand.

    The prediction is :math:`w^\top (h + \mathrm{ReLU}(W_2 h))` with :math:`h = \mathrm{ReLU}(W_1 x)`, and
    dropout on x and after each ReLU. All of the graph is in the columns: a step costs no sum over links. If
    the last ``guesses`` columns are predictions, their mean is added: the network learns to correct it. With
    weights w of zero the correction is at first the same for all rows.
    """

    def __init__(
        self, columns: int, hidden: int, dropout: float, input_dropout: float, guesses: int = 0
    ) -> None:
        super().__init__()
        self.guesses = guesses
        self.W_1, self.W_2 = nn.Linear(columns, hidden), nn.Linear(hidden, hidden)
        self.w = nn.Linear(hidden, 1)
        if guesses:
            nn.init.zeros_(self.w.weight)
        self.input_dropout, self.dropout = Dropout(input_dropout), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Predict: `[B, columns]` -> `[B]`."""
        expect("x", x, "B columns", columns=self.W_1.in_features)
        h = self.dropout(torch.relu(self.W_1(self.input_dropout(x))))  # [B, H]
        h = h + self.dropout(torch.relu(self.W_2(h)))  # [B, H]
        correction: Tensor = self.w(h).squeeze(1)  # [B]
        return correction + x[:, -self.guesses :].mean(1) if self.guesses else correction
