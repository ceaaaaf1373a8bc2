r"""Graph convolution from edge lists, and a regression network built on it.

Convention of the whole project (and of PyTorch Geometric): `edge_index` is `[2, E]` int64, **row 0
holds the sources, row 1 the targets**; information flows from source to target, so the neighbours
:math:`\mathcal{N}(v)` of v are the sources of the edges that end in v. A matrix of the graph has
the target as row: :math:`(A x)_v = \sum_{u \in \mathcal{N}(v)} x_u`.

Letters: `N` nodes, `E` edges, `F` input features, `H` hidden units.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.dropout import Dropout, dropout

Aggregation = Literal["mean", "sum"]


def check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    """Raise ValueError unless `edge_index` is `[2, E]` int64 with ids of nodes in it.

    The largest and smallest id are looked for once for each tensor, not in every layer and step: that is
    a pass over all edges, and on a GPU a wait for all that was queued before.
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            f"edge_index must be an int64 tensor of shape [2, E] (sources, targets), "
            f"but is {edge_index.dtype} with shape {list(edge_index.shape)}."
        )
    if edge_index.numel() > 0:
        low, high = _ends(edge_index)
        if low < 0 or high >= num_nodes:
            raise ValueError(
                f"edge_index names nodes {low} to {high}, but the graph has nodes 0 to "
                f"{num_nodes - 1}."
            )


_ENDS = "_coursework_ends"


def _ends(edge_index: Tensor) -> tuple[int, int]:
    """Smallest and largest id; kept with the tensor until it is written to."""
    if edge_index.is_inference():  # its versions are not counted
        low, high = torch.aminmax(edge_index)
        return int(low), int(high)
    version, ends = getattr(edge_index, _ENDS, (None, (0, 0)))
    if version != edge_index._version:
        low, high = torch.aminmax(edge_index)
        ends = int(low), int(high)
        setattr(edge_index, _ENDS, (edge_index._version, ends))
    return ends


def neighbours(
    edge_index: Tensor, node: int, direction: Literal["in", "out", "both"] = "in"
) -> Tensor:
    r"""The distance-1 neighbours of a node, sorted, each once, without the node itself.

    Args:
        edge_index: Sources and targets.
        node: The node v, counted from 0.
        direction: `"in"` gives :math:`\mathcal{N}(v)`, the sources of edges that end in v; `"out"`
            the targets of edges that start in v; `"both"` their union. In an undirected graph,
            which stores each edge in both directions, all three agree.

    Shapes:
        - edge_index: `[2, E]`
        - output: `[number of neighbours]` int64
    """
    source, target = edge_index
    # solution:begin the neighbours in this direction | Tensor.unique
    if direction == "in":
        found = source[target == node]
    elif direction == "out":
        found = target[source == node]
    elif direction == "both":
        found = torch.cat([source[target == node], target[source == node]])
    else:
        raise ValueError(f"direction must be 'in', 'out' or 'both', but is {direction!r}.")
    return found[found != node].unique()
    # solution:end


def degrees(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Number of edges that end in each node: `[2, E]` -> `[N]` int64."""
    return torch.bincount(edge_index[1], minlength=num_nodes)


def aggregate(
    x: Tensor, edge_index: Tensor, reduction: Aggregation = "mean", num_nodes: int | None = None
) -> Tensor:
    r"""Sum or average the vectors of the neighbours, edge by edge.

    .. math:: y_v = \sum_{u \in \mathcal{N}(v)} x_u \quad\text{or}\quad
              y_v = \frac{1}{|\mathcal{N}(v)|} \sum_{u \in \mathcal{N}(v)} x_u

    A node without neighbours receives zero.

    Shapes:
        - x: `[N, F]`, edge_index: `[2, E]`
        - output: `[N, F]`
    """
    num_nodes = len(x) if num_nodes is None else num_nodes
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

    (Hamilton, *Graph Representation Learning*, 2020, equation 5.7; GraphConv of Morris et al. 2019
    for the sum.) The aggregation is written here with one `index_add`; nothing of a graph
    library is used.

    Args:
        in_features: Width of :math:`h_v`.
        out_features: Width of :math:`h_v'`.
        aggregation: `"mean"` or `"sum"` over the neighbours.
        identity: Start with :math:`W_1 = W_2 = I` (needs equal widths) instead of random weights.
        bias: Whether to add a bias vector.
        activation: :math:`\sigma`; None for none.

    Shapes:
        - x: `[N, in_features]`, edge_index: `[2, E]`
        - output: `[N, out_features]`

    Raises:
        ValueError: An option or the shape of an input does not fit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        aggregation: Aggregation = "mean",
        identity: bool = False,
        bias: bool = False,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
    ) -> None:
        super().__init__()
        if aggregation not in ("mean", "sum"):
            raise ValueError(f"The aggregation must be 'mean' or 'sum', but is {aggregation!r}.")
        if identity and in_features != out_features:
            raise ValueError(
                f"Identity weights need equal widths, but in_features is {in_features} "
                f"and out_features is {out_features}."
            )
        self.in_features = in_features
        self.aggregation: Aggregation = aggregation
        self.activation = activation
        self.W_1 = nn.Linear(in_features, out_features, bias=bias)
        self.W_2 = nn.Linear(in_features, out_features, bias=False)
        if identity:
            nn.init.eye_(self.W_1.weight)
            nn.init.eye_(self.W_2.weight)
            if bias:
                nn.init.zeros_(self.W_1.bias)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Convolve: `[N, in_features]` -> `[N, out_features]`."""
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"PlainGraphConvolution expects x of shape [N, {self.in_features}], "
                f"but got {list(x.shape)}."
            )
        check_edge_index(edge_index, len(x))
        # solution:begin the equation of the class | aggregate
        gathered = aggregate(x, edge_index, self.aggregation)  # [N, in]
        h: Tensor = self.W_1(gathered) + self.W_2(x)  # [N, out]
        return h if self.activation is None else self.activation(h)
        # solution:end


# --- sparse matrices -------------------------------------------------------------------------


def sparse_csr(row: Tensor, column: Tensor, values: Tensor | None, size: tuple[int, int]) -> Tensor:
    """A sparse CSR matrix from its entries; entries at the same place are added.

    Shapes:
        - row, column: `[E]` int64, values: `[E]` (ones if None)
        - output: `size`, layout `torch.sparse_csr`
    """
    if values is None:
        values = torch.ones(len(row), device=row.device)
    place, entry = torch.unique(row * size[1] + column, return_inverse=True)  # sorted, [E'], [E]
    merged = values.new_zeros(len(place)).index_add(0, entry, values)  # [E']
    counts = torch.bincount(place // size[1], minlength=size[0])  # [rows]
    crow = F.pad(counts.cumsum(0), (1, 0))  # [rows + 1]
    return _csr(crow, place % size[1], merged, size)


def adjacency(edge_index: Tensor, num_nodes: int) -> Tensor:
    """The matrix A with a one for each edge, row target, column source, as sparse CSR `[N, N]`."""
    check_edge_index(edge_index, num_nodes)
    source, target = edge_index
    return sparse_csr(target, source, None, (num_nodes, num_nodes))


def is_edge_index(graph: Tensor) -> bool:
    """Whether a graph is given as an edge index `[2, E]` int64, and not as a matrix.

    A graph of two nodes makes `[2, 2]` ambiguous: only an integer tensor is read as edges.
    """
    return graph.layout == torch.strided and graph.dtype == torch.int64 and graph.shape[0] == 2


def edges_and_weights(adj: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """The entries of a matrix that are not zero, as edges and their weights.

    Shapes:
        - adj: `[N, N]`, dense or sparse, row target, column source
        - output: `[2, E]` int64 (row 0 sources, row 1 targets), and `[E]`

    Raises:
        ValueError: `adj` has another shape.
    """
    if adj.shape != (num_nodes, num_nodes):
        raise ValueError(
            f"adj must be a matrix [{num_nodes}, {num_nodes}] or an int64 edge index [2, E], "
            f"but is {adj.dtype} with shape {list(adj.shape)}."
        )
    if adj.layout == torch.strided:
        i, j = adj.nonzero(as_tuple=True)  # 2 x [E]
        return torch.stack([j, i]), adj[i, j]
    if adj.layout == torch.sparse_csr:
        counts = adj.crow_indices().diff()  # [N]
        i = torch.arange(num_nodes, device=adj.device).repeat_interleave(counts)  # [E]
        j, values = adj.col_indices(), adj.values()  # [E], [E]
    else:
        coalesced = adj.to_sparse_coo().coalesce()
        (i, j), values = coalesced.indices(), coalesced.values()
    kept = values != 0  # [E], a stored zero is not an edge
    return torch.stack([j[kept], i[kept]]).to(torch.int64), values[kept]


def is_sparse(x: Tensor) -> bool:
    """Whether a tensor has a sparse layout (COO, CSR, ...)."""
    return x.layout != torch.strided


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product `[N, M] @ [M, K]` for `a` dense or sparse and `b` dense."""
    if not is_sparse(a):
        return a @ b
    # The sparse kernels know no half precision, so they keep out of an autocast region, and a matrix
    # that has been rounded on the way (Fabric rounds what a network is called with) is widened again.
    with torch.autocast(a.device.type, enabled=False):
        if a.dtype in (torch.bfloat16, torch.float16):
            a = a.to(torch.float32)
        b = b.to(a.dtype)
        if a.layout == torch.sparse_csr and not a.requires_grad:
            product: Tensor = _ConstantTimes.apply(a, b)
            return product
        return torch.sparse.mm(a, b)


class _ConstantTimes(torch.autograd.Function):
    """A constant CSR matrix times a dense one; the backward pass remembers how to transpose it.

    `torch.sparse.mm` sorts the entries anew in every backward pass, a quarter of a training step on
    a graph with 400,000 edges.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.a = a
        return torch.sparse.mm(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        a: Tensor = ctx.a
        crow, column, order = _transposition(a)
        values = a.values().index_select(0, order)
        transposed = _csr(crow, column, values, (a.shape[1], a.shape[0]))
        return None, torch.sparse.mm(transposed, gradients[0])


_PLAN = "_coursework_transposition"


def _transposition(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers and columns of the transpose of a CSR matrix, and the order of its values.

    It depends on the places of the entries alone and is kept with the matrix.
    """
    plan: tuple[Tensor, Tensor, Tensor] | None = getattr(a, _PLAN, None)
    if plan is None:
        column = a.col_indices()
        row = torch.arange(a.shape[0], device=a.device).repeat_interleave(a.crow_indices().diff())
        order = column.argsort(stable=True)
        counts = torch.bincount(column, minlength=a.shape[1])
        plan = F.pad(counts.cumsum(0), (1, 0)), row.index_select(0, order), order
        setattr(a, _PLAN, plan)
    return plan


def _csr(crow: Tensor, column: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """A CSR matrix from its parts, unchecked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, column, values, size=size, check_invariants=False)


def feature_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout for dense and sparse features; dropping an entry that is zero changes nothing."""
    if not training or p == 0.0 or not is_sparse(x):
        return dropout(x, p, training)
    if x.layout == torch.sparse_csr:
        dropped = _csr(x.crow_indices(), x.col_indices(), dropout(x.values(), p), x.shape)
        setattr(dropped, _PLAN, _transposition(x))  # the entries are where they were
        return dropped
    x = x.coalesce()
    return torch.sparse_coo_tensor(
        x.indices(), dropout(x.values(), p), x.shape, is_coalesced=True, check_invariants=False
    )


class FeatureLinear(nn.Linear):
    """`nn.Linear` that also accepts sparse features, such as words: `[N, F]` -> `[N, H]`."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute :math:`X W^T + b` for dense or sparse X."""
        if not is_sparse(input):
            return super().forward(input)
        output = multiply(input, self.weight.t())  # [N, H]
        return output if self.bias is None else output + self.bias


# --- regression ------------------------------------------------------------------------------


class GraphRegressor(nn.Module):
    r"""One real number for each node, from its own features and those of its neighbourhood.

    With :math:`d_v = |\mathcal{N}(v)|` and input :math:`x_v' = [x_v \Vert \ln(1 + d_v) \Vert e_v]`
    (own features, log-degree, optional extra columns), layer :math:`l` computes

    .. math::

        z_v &= W_0 h_v + W_1 \frac{1}{d_v} \sum_{u \in \mathcal{N}(v)} h_u
               + W_2 \frac{1}{\sqrt{d_v}} \sum_{u \in \mathcal{N}(v)} h_u + b \\
        h_v' &= h_v + \mathrm{Dropout}(\mathrm{ReLU}(\mathrm{LayerNorm}(z_v)))
                \qquad\text{(no residual in the first layer)}

    and the prediction is an MLP of :math:`[h^{(1)}_v \Vert \dots \Vert h^{(L)}_v]` (jumping
    knowledge, Xu et al. 2018, https://arxiv.org/abs/1806.03536). Separate matrices for the node and
    its neighbourhood are those of GraphSAGE (Hamilton et al. 2017, https://arxiv.org/abs/1706.02216,
    algorithm 1): on graphs where linked pages differ they must not be mixed. The mean says what the
    neighbours are like, the sum how many there are; dividing it by :math:`\sqrt{d_v}` keeps hubs
    from drowning the rest.

    The matrices act before the sums (both are linear), so sparse features meet a sparse-dense
    product in the first layer and are never made dense.

    Args:
        in_features: :math:`F`.
        hidden: :math:`H`.
        num_layers: :math:`L`.
        dropout: Dropout probability on hidden states.
        input_dropout: Dropout probability on the features.
        extra_features: Number of extra columns :math:`e_v` (such as statistics of the graph, or
            known targets of other nodes).
        use_graph: False drops every neighbour term and the degree: an MLP on the features alone,
            the baseline that shows what the graph adds.
        jumping_knowledge: Whether the output sees all layers or the last one only.
        aggregations: Which of the two neighbour terms there are, ``mean``, ``sum`` or both.

    Shapes:
        - x: `[N, F]`, dense or sparse CSR
        - graph: `edge_index` `[2, E]`, or :func:`adjacency` of it, `[N, N]`, to build it only once
        - extra: `[N, extra_features]`
        - output: `[N]`

    Raises:
        ValueError: The shape of an input does not fit, or an aggregation is unknown.
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
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, but is {num_layers}.")
        if not aggregations or not set(aggregations) <= {"mean", "sum"}:
            raise ValueError(f"aggregations is {aggregations!r}; choose from mean and sum.")
        self.in_features = in_features
        self.hidden = hidden
        self.extra_features = extra_features
        self.use_graph = use_graph
        self.jumping_knowledge = jumping_knowledge
        self.input_dropout = input_dropout
        self.aggregations = tuple(dict.fromkeys(aggregations))
        terms = 1 + len(self.aggregations) if use_graph else 1  # self, mean, sum
        dense = extra_features + (1 if use_graph else 0)
        self.features = FeatureLinear(in_features, terms * hidden)
        self.columns = nn.Linear(dense, terms * hidden, bias=False) if dense > 0 else None
        self.layers = nn.ModuleList(
            nn.Linear(hidden, terms * hidden) for _ in range(num_layers - 1)
        )
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
        num_nodes = self._check(x, extra)
        adj, degree = self._prepare(graph, num_nodes)
        z: Tensor = self.features(feature_dropout(x, self.input_dropout, self.training))  # [N, 3H]
        columns = [] if extra is None else [extra]  # [N, extra]
        if degree is not None:
            columns.append(degree.log1p())  # [N, 1]
        if self.columns is not None:
            z = z + self.columns(torch.cat(columns, dim=1))  # [N, 3H]
        h = self._activate(0, self._propagate(z, adj, degree))  # [N, H]
        states = [h]
        for index, layer in enumerate(self.layers, start=1):
            h = h + self._activate(index, self._propagate(layer(h), adj, degree))  # [N, H]
            states.append(h)
        joined = torch.cat(states, dim=1) if self.jumping_knowledge else h  # [N, L*H] or [N, H]
        prediction: Tensor = self.head(joined)  # [N, 1]
        return prediction.squeeze(1)  # [N]

    def _activate(self, index: int, z: Tensor) -> Tensor:
        """Normalisation, ReLU and dropout of one layer: `[N, H]` -> `[N, H]`."""
        h: Tensor = self.dropout(torch.relu(self.norms[index](z)))
        return h

    def _propagate(self, z: Tensor, adj: Tensor | None, degree: Tensor | None) -> Tensor:
        """Add the node's own term and the sums over its neighbours: `[N, 3H]` -> `[N, H]`."""
        if adj is None or degree is None:
            return z
        hidden = self.hidden
        own, messages = z.split([hidden, z.shape[1] - hidden], dim=1)  # [N, H], [N, 2H]
        d = degree.clamp(min=1.0)  # [N, 1]
        scale = {"mean": 1 / d, "sum": d.rsqrt()}
        sums = multiply(adj, messages).split(hidden, dim=1)  # 2 x [N, H], all still sums
        for aggregation, total in zip(self.aggregations, sums, strict=True):
            own = own + total * scale[aggregation]
        return own

    def _prepare(self, graph: Tensor | None, num_nodes: int) -> tuple[Tensor | None, Tensor | None]:
        """Adjacency matrix `[N, N]` and degrees `[N, 1]`; nothing for the features-only model."""
        if not self.use_graph:
            return None, None
        if graph is None:
            raise ValueError("GraphRegressor needs the graph: pass edge_index [2, E] or adjacency.")
        if graph.dtype == torch.int64:
            graph = adjacency(graph, num_nodes).to(self.features.weight.dtype)
        elif graph.shape != (num_nodes, num_nodes):
            raise ValueError(
                f"The adjacency matrix must be [{num_nodes}, {num_nodes}] like the features, "
                f"but is {list(graph.shape)}."
            )
        ones = torch.ones(num_nodes, 1, device=graph.device, dtype=graph.dtype)
        return graph, multiply(graph, ones)

    def _check(self, x: Tensor, extra: Tensor | None) -> int:
        """Check the shapes of the inputs and return the number of nodes."""
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"GraphRegressor expects x of shape [N, {self.in_features}], "
                f"but got {list(x.shape)}."
            )
        shape = None if extra is None else tuple(extra.shape)
        if shape != ((x.shape[0], self.extra_features) if self.extra_features else None):
            raise ValueError(
                f"GraphRegressor was built for {self.extra_features} extra columns, but extra has "
                f"shape {None if shape is None else list(shape)} for {x.shape[0]} nodes."
            )
        return x.shape[0]
