"""Residual attention: against the formula in loops, and that no label reaches its own node."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import PROPERTY, normal, refused, train
from torch import Tensor

from coursework.models.residual_attention import Candidates, ResidualAttention
from coursework.models.sparse import sparse_csr


def candidates(n: int, seed: int = 0, width: int = 3) -> Candidates:
    g = torch.Generator().manual_seed(seed)
    picked = (torch.rand(n, n, generator=g) < 0.4) & ~torch.eye(n, dtype=torch.bool)
    counts = picked.sum(1)
    pointers = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    others = picked.nonzero()[:, 1]
    return Candidates(pointers, others, normal(len(others), width, seed=seed + 1))


def model(**options: bool) -> ResidualAttention:
    torch.manual_seed(0)
    return ResidualAttention(5, 3, 8, 9, 6, **options).double().eval()


def test_defaults() -> None:
    net = ResidualAttention(5, 3)
    assert net.linear1.out_features == 64
    assert net.pair[0].out_features == 32
    assert net.gate is not None
    assert net.W_Q is not None
    assert net.W_K is not None
    assert net.W_Q.weight.shape == net.W_K.weight.shape == (16, 64)
    assert net.W_Q.bias is None
    assert net.W_K.bias is None
    assert (net.rest[1].p, net.rest[4].p, net.input_dropout) == (0.3, 0.3, 0.1)
    assert model(residual=False).gate is None
    assert model(query=False).W_Q is None


def test_nodes_without_candidates_and_graphs_without_nodes() -> None:
    c = Candidates(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 2]), torch.ones(2, 1))
    assert c.owners().tolist() == [1, 1]
    assert c.of(torch.tensor([2, 1]))[0].tolist() == [0, 1]
    assert c.to(torch.device("cpu")) is c
    empty = Candidates(torch.tensor([0]), torch.zeros(0, dtype=torch.long), torch.zeros(0, 1))
    assert empty.owners().tolist() == []


@pytest.mark.parametrize("query", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_is_the_formula_in_loops(query: bool, residual: bool, grouped: bool) -> None:
    n = 9
    net, c = model(query=query, residual=residual), candidates(n)
    x, y = normal(n, 5, seed=3), normal(n, seed=4)
    known = torch.arange(n) % 3 != 0
    group = torch.arange(n) // 2 if grouped else None
    prediction, guess = net(x, c, y, known, group=group)
    h = net.rest(net.linear1(x))
    f = net.guess(h).squeeze(1)
    torch.testing.assert_close(guess, f)
    for i in range(n):
        pairs = [
            p
            for p in range(int(c.pointers[i]), int(c.pointers[i + 1]))
            if known[c.nodes[p]] and (group is None or group[c.nodes[p]] != group[i])
        ]
        scores = [net.nobody(h[i])[0]]
        for p in pairs:
            score = net.pair(c.features[p])[0]
            if net.W_Q is not None and net.W_K is not None:
                score = score + net.W_Q(h[i]) @ net.W_K(h[c.nodes[p]]) / 3
            scores.append(score)
        alpha = torch.stack(scores).softmax(0)
        share = torch.zeros(()) if net.gate is None else net.gate(h[i]).sigmoid()[0]
        expected = f[i]
        for weight, p in zip(alpha[1:], pairs, strict=True):
            j = c.nodes[p]
            expected = expected + weight * (y[j] - share * f[j] - (1 - share) * f[i])
        torch.testing.assert_close(prediction[i], expected, atol=1e-12, rtol=1e-12)


@PROPERTY
@given(st.integers(2, 14), st.integers(0, 99))
def test_neither_own_nor_unknown_labels_have_influence(n: int, seed: int) -> None:
    net, c = model(), candidates(n, seed)
    x, y = normal(n, 5, seed=seed), normal(n, seed=seed + 1)
    known = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.6
    before, _ = net(x, c, y, known)
    hidden = torch.where(known, y, torch.nan)
    assert torch.equal(net(x, c, hidden, known)[0], before)  # bit for bit
    for i in range(n):
        changed = y.clone()
        changed[i] += 100
        after, _ = net(x, c, changed, known)
        assert after[i] == before[i]
        looks = c.nodes[int(c.pointers[i]) : int(c.pointers[i + 1])]
        if known[i] and bool((c.nodes == i).any()):
            assert not torch.equal(after, before), "others must see it"
        assert i not in looks


@PROPERTY
@given(st.integers(2, 14), st.integers(0, 99))
def test_labels_of_the_own_group_have_no_influence(n: int, seed: int) -> None:
    net, c = model(), candidates(n, seed)
    x, y = normal(n, 5, seed=seed), normal(n, seed=seed + 1)
    group = torch.arange(n) % 3
    known = torch.ones(n, dtype=torch.bool)
    before, _ = net(x, c, y, known, group=group)
    for k in range(3):
        after, _ = net(x, c, torch.where(group == k, y + 7, y), known, group=group)
        assert torch.equal(after[group == k], before[group == k])


@PROPERTY
@given(st.integers(2, 14), st.integers(0, 99))
def test_rows_are_predicted_as_in_the_whole(n: int, seed: int) -> None:
    net, c = model(), candidates(n, seed)
    x, y = normal(n, 5, seed=seed), normal(n, seed=seed + 1)
    known = torch.arange(n) % 2 == 0
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: max(1, n // 2)]
    whole, some = net(x, c, y, known)[0], net(x, c, y, known, rows)[0]
    torch.testing.assert_close(some, whole[rows], atol=1e-12, rtol=1e-12)
    h = net.rest(net.linear1(x))
    _, place, weights, nobody = net.attend(h, c, known, rows, None)
    torch.testing.assert_close(nobody.index_add(0, place, weights), torch.ones(len(rows)).double())


def test_without_known_labels_the_guess_remains() -> None:
    net, c = model(), candidates(6)
    prediction, guess = net(normal(6, 5), c, normal(6), torch.zeros(6, dtype=torch.bool))
    assert torch.equal(prediction, guess)


def test_sparse_features_and_gradients() -> None:
    net, c = model(), candidates(7)
    x = (normal(7, 5) > 0.5).double()
    y, known = normal(7, seed=2), torch.arange(7) != 3
    row, column = x.nonzero().T
    same = sparse_csr(row, column, x[row, column], (7, 5))
    dense, sparse = net(x, c, y, known)[0], net(same, c, y, known)[0]
    torch.testing.assert_close(dense, sparse)
    dense.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_learns_to_copy_twins() -> None:
    """Pairs of equal labels: only looking at the twin can predict them."""
    torch.manual_seed(0)
    n = 80
    y = torch.randn(n // 2).repeat_interleave(2)
    twin = torch.arange(n) ^ 1
    stranger = (torch.arange(n) + 2) % n
    nodes = torch.stack([twin, stranger], 1).flatten()
    features = torch.tensor([1.0, 0.0]).repeat(n).unsqueeze(1)
    c = Candidates(torch.arange(n + 1) * 2, nodes, features)
    net = ResidualAttention(1, 1, 8, 4, 8, dropout=0.0, input_dropout=0.0)
    known, x = torch.ones(n, dtype=torch.bool), torch.zeros(n, 1)
    assert train(net, lambda: (net(x, c, y, known)[0] - y).abs().mean(), 150, 0.02) < 0.1
    assert float((y - y.median()).abs().mean()) > 0.5


C, ALL = candidates(5), torch.ones(5, dtype=torch.bool)


def changed(**parts: Tensor) -> Candidates:
    return dataclasses.replace(C, **parts)


test_wrong_arguments = refused(
    (lambda: Candidates(torch.tensor([0, 1, 1]), torch.tensor([0]), torch.zeros(1, 1)),
     "its own candidate"),
    (lambda: changed(pointers=C.pointers + 1), "rise from 0"),
    (lambda: changed(pointers=torch.zeros(0, dtype=torch.long)), "rise from 0"),
    (lambda: changed(pointers=torch.tensor([0, 3, 1, 2, 2, len(C.nodes)])), "rise from 0"),
    (lambda: changed(nodes=C.nodes + 5), "node number from 0 to 4"),
    (lambda: changed(nodes=torch.full_like(C.nodes, 5)), "node number from 0 to 4"),
    (lambda: changed(nodes=C.nodes - 1), "node number from 0 to 4"),
    (lambda: changed(features=C.features[1:]), "features must have shape"),
    (lambda: model()(normal(4, 5), C, normal(5), ALL), "must have shape .* with N = 5"),
    (lambda: model()(normal(5, 5), C, normal(5), torch.ones(5)), "boolean"),
    (lambda: ResidualAttention(0, 3), "at least 1"),
    (lambda: ResidualAttention(2, 3, dropout=1.0), r"in \[0, 1\)"),
    (lambda: ResidualAttention(2, 3, input_dropout=1.0), r"in \[0, 1\)"),
)  # fmt: skip


def test_candidates_are_checked_once_and_right_for_ever() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        C.nodes = C.nodes + 1  # type: ignore[misc]
