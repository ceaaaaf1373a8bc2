"""Graphs as edge lists and as sparse matrices: checks, conversions, products, dropout."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.checks import expect, require
from coursework.models.dropout import dropout

Value = TypeVar("Value")


def _remembered(x: Tensor, name: str, make: Callable[[Tensor], Value]) -> Value:
    """`make(x)`, kept with the tensor until it is written to, so that a check is done once."""
    if x.is_inference():  # its versions are not counted
        return make(x)
    written = id(x), x._version  # a copy takes the attribute along
    known, value = getattr(x, name, (None, None))
    if known != written:
        value = make(x)
        setattr(x, name, (written, value))
    return value  # type: ignore[return-value]


def check_edge_index(edge_index: Tensor, num_nodes: int | None = None) -> None:
    """Raise ValueError unless `edge_index` is `[2, E]` int64 with ids of nodes in it."""
    expect("edge_index", edge_index, "2 E")
    is_int64 = edge_index.dtype == torch.int64 and edge_index.layout == torch.strided
    found = f"{edge_index.dtype}, {edge_index.layout}, on {edge_index.device}"
    wanted = "a dense int64 tensor [2, E] (sources, targets) with its values in memory"
    require(is_int64 and not edge_index.is_meta, f"edge_index must be {wanted}, but is {found}.")
    if edge_index.numel() == 0 or num_nodes is None:
        return
    low, high = _remembered(
        edge_index, "_coursework_ends", lambda e: torch.stack(torch.aminmax(e)).tolist()
    )
    names = f"nodes {low} to {high}, but the graph has nodes 0 to {num_nodes - 1}"
    require(low >= 0 and high < num_nodes, f"edge_index names {names}.")


def simple(edge_index: Tensor) -> Tensor:
    """The same edges, each once: `[2, E]` -> `[2, E']`."""
    if edge_index.numel() == 0:
        return edge_index
    unique = _remembered(edge_index, "_coursework_simple", lambda e: e.unique(dim=1))
    return edge_index if unique.shape == edge_index.shape else unique


def sparse_csr(row: Tensor, column: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A sparse CSR matrix from its entries, each `[E]`; entries at the same place are added."""
    place, entry = torch.unique(row * size[1] + column, return_inverse=True)  # sorted, [E'], [E]
    merged = values.new_zeros(len(place)).index_add(0, entry, values)  # [E']
    counts = torch.bincount(place // max(size[1], 1), minlength=size[0])  # [rows]
    crow = F.pad(counts.cumsum(0), (1, 0))  # [rows + 1]
    return _csr(crow, place % max(size[1], 1), merged, size)


def adjacency(edge_index: Tensor, num_nodes: int) -> Tensor:
    """The matrix A with a one for each edge, row target, column source, as sparse CSR `[N, N]`."""
    check_edge_index(edge_index, num_nodes)
    source, target = edge_index
    ones = torch.ones(len(source), device=source.device)
    return sparse_csr(target, source, ones, (num_nodes, num_nodes))


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product `[N, M] @ [M, K]` for `a` dense or sparse, of any type, and `b` dense."""
    expect("the right factor", b, "M K", M=expect("the left factor", a, "N M")["M"])
    b = b if b.is_floating_point() else b.float()
    if a.layout == torch.strided:
        return a.to(b.dtype) @ b
    # The sparse kernels know no half precision, so they keep out of an autocast region, and a matrix
    # that has been rounded on the way (Fabric rounds what a network is called with) is widened again.
    with torch.autocast(a.device.type, enabled=False):
        dtype = torch.promote_types(b.dtype, torch.float32)
        a, b = a.to(dtype), b.to(dtype)
        if a.layout == torch.sparse_csr and not a.requires_grad:
            return _ConstantTimes.apply(a, b)
        return torch.sparse.mm(a, b)


class _ConstantTimes(torch.autograd.Function):
    """A constant CSR matrix times a dense one; the backward pass remembers how to transpose it, where
    `torch.sparse.mm` sorts the entries again: a quarter of a training step on 400,000 edges."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.sparse.mm(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (a,) = ctx.saved_tensors
        crow, column, order = _remembered(a, _PLAN, _transposition)
        transposed = _csr(crow, column, a.values().index_select(0, order), a.shape[::-1])
        return None, multiply(transposed, gradients[0])


_PLAN = "_coursework_transposition"


def _transposition(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers and columns of the transpose of a CSR matrix, and the order of its values."""
    column, rows = a.col_indices(), torch.arange(a.shape[0], device=a.device)
    order = column.argsort(stable=True)
    row = rows.repeat_interleave(a.crow_indices().diff()).index_select(0, order)
    return F.pad(torch.bincount(column, minlength=a.shape[1]).cumsum(0), (1, 0)), row, order


def _csr(crow: Tensor, column: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """A CSR matrix from its parts, unchecked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, column, values, size=size, check_invariants=False)


def feature_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout for dense and sparse features; dropping an entry that is zero changes nothing."""
    if not training or p == 0.0 or x.layout == torch.strided:
        return dropout(x, p, training)
    if x.layout != torch.sparse_csr:
        x = x.to_sparse_csr()
    dropped = _csr(x.crow_indices(), x.col_indices(), dropout(x.values(), p), x.shape)
    plan = _remembered(x, _PLAN, _transposition)  # the entries are where they were
    _remembered(dropped, _PLAN, lambda _: plan)
    return dropped


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:math:`X W^T + b` for dense or sparse X: `[N, F]`, `[H, F]`, `[H]` -> `[N, H]`."""
    if x.layout == torch.strided:
        return F.linear(x, weight, bias)
    output = multiply(x, weight.t())  # [N, H]
    return output if bias is None else output + bias


class FeatureLinear(nn.Linear):
    """`nn.Linear` that also accepts sparse features, such as words: `[N, F]` -> `[N, H]`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)
