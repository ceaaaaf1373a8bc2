import copy
from collections.abc import Callable

import pytest
import torch
from parity import assert_parity, assert_same, gradients, normal, random_graph
from torch import Tensor

from coursework.models import sparse as sparse_module
from coursework.models.graph_conv import aggregate
from coursework.models.sparse import (
    FeatureLinear,
    adjacency,
    check_edge_index,
    feature_dropout,
    multiply,
    simple,
    sparse_csr,
)
from properties import SEED, every, refused

HAND = torch.tensor([[0, 2, 1, 3], [1, 1, 0, 3]])
LAYOUTS = pytest.mark.parametrize(
    "form", [Tensor.to_sparse_csr, Tensor.to_sparse_coo, Tensor.to_sparse_csc]
)
Form = Callable[[Tensor], Tensor]


def counted(patch: pytest.MonkeyPatch, owner: object, name: str) -> list[int]:
    calls: list[int] = []
    real = getattr(owner, name)
    patch.setattr(owner, name, lambda *x, **y: (calls.append(1), real(*x, **y))[1])
    return calls


# --- edges -----------------------------------------------------------------------------------


def test_ids_are_looked_for_again_after_every_write() -> None:
    check_edge_index(HAND[:, :0], 1)  # no edge names no node
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            edge_index = HAND.clone()
            check_edge_index(edge_index, 4)
            check_edge_index(edge_index, 4)
            edge_index[0, 1] = 7
            with pytest.raises(ValueError, match="nodes 0 to 7"):
                check_edge_index(edge_index, 4)
            edge_index[0, 1] = -2
            with pytest.raises(ValueError, match="nodes -2 to 3"):
                check_edge_index(edge_index, 4)


def test_what_is_remembered_of_a_graph_does_not_pass_to_a_copy() -> None:
    edge_index = HAND.clone()
    simple(edge_index)
    copied = copy.deepcopy(edge_index)
    for tensor in (edge_index, copied):  # the same number of writes
        tensor[:, 1] = tensor[:, 0]
    assert simple(copied).shape[1] == HAND.shape[1] - 1


def test_ids_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, edge_index = counted(monkeypatch, torch, "aminmax"), HAND.clone()
    for _ in range(3):
        check_edge_index(edge_index, 4)
    assert len(looked) == 1


def test_edges_once_each_are_kept_as_they_are() -> None:
    twice = torch.cat([HAND, HAND[:, :1]], dim=1)
    assert simple(HAND) is HAND
    assert simple(HAND[:, :0]).shape == (2, 0)
    assert torch.equal(simple(twice), HAND.unique(dim=1))
    dense = adjacency(
        twice, 4
    ).to_dense()  # rows are targets; an edge that is listed twice is a two
    assert torch.equal(dense, torch.tensor([[0.0, 1, 0, 0], [2, 0, 1, 0], [0] * 4, [0, 0, 0, 1]]))


test_wrong_arguments = refused(
    (lambda: check_edge_index(HAND.T, 4), r"shape \[2, E\]"),
    (lambda: check_edge_index(HAND.float(), 4), "int64"),
    (lambda: check_edge_index(HAND.int(), 4), "int64"),
    (lambda: check_edge_index(HAND.to_sparse_coo(), 4), "dense int64"),
    (lambda: check_edge_index(HAND.to("meta"), 4), "in memory"),
    (lambda: check_edge_index(HAND, 3), "nodes 0 to 3, but the graph has nodes 0 to 2"),
    (lambda: check_edge_index(HAND - 1, 4), "nodes -1 to 2"),
    (lambda: multiply(torch.eye(3), torch.eye(4)), "the right factor must have shape"),
)


# --- matrices --------------------------------------------------------------------------------


@every(n=(1, 8), edges=(0, 30), seed=SEED)
def test_matrix_and_edge_list_agree(n: int, edges: int, seed: int) -> None:
    edge_index, x = random_graph(n, edges, seed), normal(n, 3, seed=seed)
    matrix = adjacency(edge_index, n).double()
    assert matrix.layout == torch.sparse_csr
    whole = torch.arange(n)[:, None]
    for form in (matrix, matrix.to_dense(), matrix.to_sparse_coo()):
        assert_same(multiply(form, x), aggregate(x, edge_index, "sum"))
        assert_same(multiply(form * 0.5, whole), multiply(form * 0.5, whole.float()))


@LAYOUTS
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_products_with_a_matrix_that_was_rounded(half: torch.dtype, form: Form) -> None:
    matrix, x = form(adjacency(HAND, 4).to_dense()), normal(4, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        product = multiply(matrix.to(half), x.to(half))
    assert product.dtype == torch.float32
    assert_same(product, aggregate(x.to(half).float(), HAND, "sum"), 1e-6)


def test_the_backward_pass_keeps_out_of_an_autocast_region() -> None:
    matrix, b = adjacency(HAND, 4), torch.ones(4, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        multiply(matrix, b).sum().backward()
    assert_same(b.grad, matrix.to_dense().sum(0)[:, None].expand(4, 3))


def test_a_matrix_that_is_learned_gets_its_gradient() -> None:
    a, b = normal(4, 4), normal(4, 3)
    learned, dense = a.to_sparse_csr().requires_grad_(), a.clone().requires_grad_()
    (found,) = gradients(multiply(learned, b), [learned])
    assert_same((found.to_dense(),), gradients(dense @ b, [dense]))


@every(n=(1, 12), m=(1, 9), entries=(0, 40), seed=(0, 99))
def test_gradient_of_a_sparse_product_is_that_of_the_dense_one(
    n: int, m: int, entries: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    row, column = (torch.randint(k, (entries,), generator=generator) for k in (n, m))
    a = sparse_csr(row, column, normal(entries, seed=seed), (n, m))
    b = normal(m, 3, seed=1).requires_grad_()
    for _ in range(2):  # the second time from what the first one kept
        assert_parity(multiply(a, b), a.to_dense() @ b, [b])


def test_a_matrix_that_was_written_to_is_transposed_anew() -> None:
    a, b = torch.eye(3).to_sparse_csr(), normal(3, 2).float().requires_grad_()
    multiply(a, b).sum().backward()
    a.copy_(torch.eye(3).roll(1, 1).to_sparse_csr())
    assert_parity(multiply(a, b), a.to_dense() @ b, [b])
    product = multiply(a, b)
    a.values().mul_(10)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_the_transposition_is_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sorts = counted(monkeypatch, Tensor, "argsort")
    a, layer = adjacency(random_graph(20, 60), 20).double(), FeatureLinear(20, 4).double()
    for _ in range(5):
        multiply(a, layer(feature_dropout(a, 0.5, True))).sum().backward()
    assert len(sorts) == 1


# --- sparse features -------------------------------------------------------------------------


@LAYOUTS
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layer_takes_sparse_features(form: Form, bias: bool) -> None:
    dense = normal(6, 5) * (normal(6, 5, seed=1) > 0)
    sparse, linear = form(dense), FeatureLinear(5, 3, bias=bias).double()
    assert_parity(linear(sparse), linear(dense), [linear.weight])


def test_only_sparse_features_meet_the_sparse_product(monkeypatch: pytest.MonkeyPatch) -> None:
    met, linear = counted(monkeypatch, sparse_module, "multiply"), FeatureLinear(5, 3).double()
    linear(normal(6, 5))
    assert met == []
    linear(normal(6, 5).to_sparse_csr())
    assert met == [1]


@LAYOUTS
def test_dropout_of_sparse_features(form: Form) -> None:
    dense = normal(6, 5) * (normal(6, 5, seed=1) > 0)
    x = form(dense)
    assert feature_dropout(x, 0.0, training=True) is x
    assert torch.equal(feature_dropout(x, 0.5, training=False).to_dense(), dense)
    dropped = feature_dropout(x, 0.5, training=True).to_dense()
    assert ((dropped == 0) | (dropped == 2 * dense)).all()
    assert feature_dropout(x, 1.0, training=True).to_dense().abs().sum() == 0


def test_dropped_features_keep_their_own_values_in_the_backward_pass() -> None:
    edges = random_graph(30, 200)
    x = sparse_csr(edges[0], edges[1], normal(edges.shape[1]), (30, 30))
    b = normal(30, 4).requires_grad_()
    torch.manual_seed(0)
    first, second = (feature_dropout(x, 0.5, True) for _ in range(2))
    assert not torch.equal(first.to_dense(), second.to_dense())
    for dropped in (first, second):
        assert_parity(multiply(dropped, b), dropped.to_dense() @ b, [b])
