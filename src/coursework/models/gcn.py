r"""The graph convolutional network of Kipf & Welling (2017), https://arxiv.org/abs/1609.02907."""

import math

import torch
from torch import Tensor, nn

from coursework.models import sparse
from coursework.models.checks import expect, probability, require
from coursework.models.dropout import Dropout
from coursework.models.sparse import sparse_csr


def add_self_loops(edge_index: Tensor, num_nodes: int) -> Tensor:
    """The edges `[2, E]` plus one loop at every node (loops that are there are not doubled): `[2, E']`."""
    # solution:begin one loop at every node, and no loop twice
    loops = torch.arange(num_nodes, device=edge_index.device).expand(2, -1)  # [2, N]
    return torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loops], dim=1)
    # solution:end


def normalise_adjacency(edge_index: Tensor, num_nodes: int) -> Tensor:
    r"""The propagation matrix with self-loops and symmetric normalisation.

    .. math:: \hat A = \tilde D^{-1/2} (A + I) \tilde D^{-1/2}, \qquad
              \tilde D_{vv} = \sum_u (A + I)_{vu}

    (Equation 2 and section 2.2.) The weight of neighbour u for node v is
    :math:`1/\sqrt{\tilde d_v \tilde d_u}`: fixed by the degrees, of edges that end in a node, not learned.
    Of the edges `[2, E]` (sources, targets) one that is listed twice counts once, and a loop that is there
    already is not doubled. The output, `[N, N]`, is sparse CSR of the default dtype, row target.
    """
    sparse.check_edge_index(edge_index, num_nodes)
    # solution:begin the entries of the propagation matrix | add_self_loops, torch.bincount, sparse_csr
    source, target = add_self_loops(edge_index, num_nodes).unique(dim=1)  # 2 x [E']
    degree = torch.bincount(target, minlength=num_nodes).to(torch.get_default_dtype())  # [N]
    scale = degree.rsqrt()  # [N], finite because of the self-loops
    values = scale[target] * scale[source]  # [E']
    return sparse_csr(target, source, values, (num_nodes, num_nodes))
    # solution:end


def check_sizes(features: int, input: Tensor, adj: Tensor) -> None:
    """Refuse an input without that many features, and a matrix of another number of nodes."""
    nodes = expect("input", input, "N F", F=features)["N"]
    expect("adj, the matrix of normalise_adjacency,", adj, "N N", N=nodes)


class GraphConvolution(nn.Module):
    r"""One graph convolution: transform each node, then add up the neighbourhood.

    .. math:: H' = \hat A\,(H W + \mathbf{1} b^\top)

    (Equation 2, without the activation.) The bias is inside the propagation, as in the assignment; the
    authors' code adds it to the sums. Input and `adj`, used as it is, may be dense or sparse.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        # solution:begin self.linear | nn.Linear
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        # solution:end

    def forward(self, input: Tensor, adj: Tensor) -> Tensor:
        """Convolve: `[N, F]`, `[N, N]` -> `[N, F']`."""
        check_sizes(self.in_features, input, adj)
        # solution:begin transform the nodes, then sum over the neighbours | torch.spmm takes a sparse adj
        return torch.spmm(adj, self.linear(input))  # [N, F']
        # solution:end


class SparseGraphConvolution(GraphConvolution):
    """The same layer, faster: both products take sparse matrices of any type and layout, and the backward
    pass of the sum remembers the transpose of `adj` instead of sorting its entries in every step.
    """

    def forward(self, input: Tensor, adj: Tensor) -> Tensor:
        check_sizes(self.in_features, input, adj)
        h = sparse.linear(input, self.linear.weight, self.linear.bias)  # [N, F']
        return sparse.multiply(adj, h)  # [N, F']


def sparse_kernels(network: nn.Module) -> nn.Module:
    """Compute each :class:`GraphConvolution` of a network as a :class:`SparseGraphConvolution`."""
    for part in network.modules():
        # in a student edition the name GraphConvolution is the student's layer, which is to be run as it is
        if type(part) is SparseGraphConvolution.__base__:
            part.__class__ = SparseGraphConvolution
    return network


class GCN(nn.Module):
    r"""Two graph convolutions with ReLU and dropout between them.

    .. math:: Z = \hat A\, \mathrm{Dropout}(\mathrm{ReLU}(\hat A X W^{(0)}))\, W^{(1)}

    (Equation 9; the softmax is left to the loss, so these are logits.)
    """

    def __init__(
        self, nfeat: int, n_hidden: int, n_classes: int, dropout: float, bias: bool = True
    ) -> None:
        super().__init__()
        # solution:begin two graph convolutions gc1 and gc2, an activation relu, a dropout layer dropout
        self.gc1 = GraphConvolution(nfeat, n_hidden, bias)
        self.gc2 = GraphConvolution(n_hidden, n_classes, bias)
        self.relu = nn.ReLU()
        self.dropout = Dropout(dropout)
        # solution:end

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Logits of the classes: `[N, nfeat]`, `[N, N]` -> `[N, n_classes]`."""
        # solution:begin convolution, activation, dropout, convolution; return the logits
        h = self.relu(self.gc1(x, adj))  # [N, n_hidden]
        logits: Tensor = self.gc2(self.dropout(h), adj)  # [N, n_classes]
        return logits
        # solution:end


class DeepGCN(nn.Module):
    r"""Any number of graph convolutions (`layers`, with the last one), to see what depth does.

    .. math:: H^{(1)} = \mathrm{ReLU}(\hat A X W^{(0)}), \qquad
              H^{(l+1)} = \mathrm{ReLU}\big(\hat A\,\mathrm{Dropout}(H^{(l)}) W^{(l)}\big),

    the last layer without ReLU. With `initial` :math:`= \alpha > 0` the next layer reads :math:`(1-\alpha)`
    of it plus :math:`\alpha H^{(1)}`, as in :class:`GCNII` but after the ReLU. Without this term the rows of
    :math:`H^{(l)}` become alike as :math:`l` grows (Li et al. 2018, https://arxiv.org/abs/1801.07606).
    """

    def __init__(
        self, nfeat: int, n_hidden: int, n_classes: int, layers: int, dropout: float, initial: float
    ) -> None:
        super().__init__()
        require(layers >= 2, f"layers must be at least 2, but is {layers}.")
        probability("initial", initial, open_end=True)
        self.first = SparseGraphConvolution(nfeat, n_hidden)
        between = (SparseGraphConvolution(n_hidden, n_hidden) for _ in range(layers - 2))
        self.between = nn.ModuleList(between)
        self.last = SparseGraphConvolution(n_hidden, n_classes)
        self.dropout = Dropout(dropout)
        self.initial = initial

    def hidden(self, x: Tensor, adj: Tensor) -> Tensor:
        """What the last convolution reads: `[N, nfeat]` -> `[N, n_hidden]`."""
        first = h = torch.relu(self.first(x, adj))  # [N, n_hidden]
        for layer in self.between:
            h = torch.relu(layer(self.dropout(h), adj))  # [N, n_hidden]
            if self.initial > 0:
                h = (1 - self.initial) * h + self.initial * first
        return h

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Logits of the classes: `[N, nfeat]`, `[N, N]` -> `[N, n_classes]`."""
        return self.last(self.dropout(self.hidden(x, adj)), adj)


def spread(h: Tensor) -> Tensor:
    r"""Mean cosine distance over all pairs, in [0, 1]: 0 where all rows of `[N, H]` point the same way. A row
    of zeros, which has no direction, counts as being at a distance of 1 from every row.

    .. math:: 1 - \frac{1}{N^2} \sum_{v,w} \cos(h_v, h_w)
              = 1 - \Big\lVert \frac{1}{N} \sum_v \frac{h_v}{\lVert h_v \rVert} \Big\rVert^2
    """
    unit = nn.functional.normalize(h, dim=1)  # [N, H]
    return 1 - unit.mean(dim=0).square().sum()


class GCNIIConvolution(nn.Module):
    r"""A graph convolution with initial residual and identity mapping (equation 5 of Chen et al. 2020).

    .. math:: H^{(l)} = \big((1-\alpha)\hat A H^{(l-1)} + \alpha H^{(0)}\big)
              \big((1-\beta_l) I + \beta_l W^{(l)}\big), \qquad \beta_l = \ln(1 + \lambda/l)
    """

    def __init__(self, width: int, layer: int, alpha: float, strength: float) -> None:
        super().__init__()
        probability("alpha", alpha)
        require(layer > 0 and strength > 0, "layer and strength (lambda) must be positive.")
        self.alpha = alpha
        self.beta = math.log(1 + strength / layer)
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, first: Tensor, adj: Tensor) -> Tensor:
        """Convolve: `[N, H]`, `[N, H]`, `[N, N]` -> `[N, H]`."""
        expect("adj", adj, "N N", N=len(h))
        mixed = (1 - self.alpha) * sparse.multiply(adj, h) + self.alpha * first  # [N, H]
        return (1 - self.beta) * mixed + self.beta * self.linear(mixed)  # [N, H]


class GCNII(nn.Module):
    """A linear layer, any number of :class:`GCNIIConvolution`, and a linear layer to the classes:
    https://arxiv.org/abs/2007.02133."""

    def __init__(
        self,
        nfeat: int,
        n_hidden: int,
        n_classes: int,
        layers: int,
        dropout: float,
        alpha: float = 0.1,
        strength: float = 0.5,
    ) -> None:
        super().__init__()
        require(layers >= 1, f"layers must be at least 1, but is {layers}.")
        self.first = sparse.FeatureLinear(nfeat, n_hidden)
        self.convolutions = nn.ModuleList(
            GCNIIConvolution(n_hidden, layer, alpha, strength) for layer in range(1, layers + 1)
        )
        self.last = nn.Linear(n_hidden, n_classes)
        self.dropout = Dropout(dropout)

    def hidden(self, x: Tensor, adj: Tensor) -> Tensor:
        """What the last layer reads: `[N, nfeat]` -> `[N, n_hidden]`."""
        first = h = torch.relu(self.first(x))  # [N, n_hidden]
        for convolution in self.convolutions:
            h = torch.relu(convolution(self.dropout(h), first, adj))
        return h

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Logits of the classes: `[N, nfeat]`, `[N, N]` -> `[N, n_classes]`."""
        return self.last(self.dropout(self.hidden(x, adj)))
