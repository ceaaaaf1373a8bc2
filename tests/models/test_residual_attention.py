import pytest
import torch
from parity import assert_same, normal

from coursework.models.residual_attention import Candidates, ResidualAttention
from coursework.models.sparse import sparse_csr
from properties import every, refused


def candidates(n: int, seed: int = 0, width: int = 3) -> Candidates:
    g = torch.Generator().manual_seed(seed)
    picked = (torch.rand(n, n, generator=g) < 0.4) & ~torch.eye(n, dtype=torch.bool)
    picked[0] = False  # one that has none
    pointers = torch.cat([torch.zeros(1, dtype=torch.long), picked.sum(1).cumsum(0)])
    others = picked.nonzero()[:, 1]
    return Candidates(pointers, others, normal(len(others), width, seed=seed + 1))


def model(**options: bool) -> ResidualAttention:
    torch.manual_seed(0)
    return ResidualAttention(5, 3, **options).double().eval()


def test_nodes_without_candidates() -> None:
    c = Candidates(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 2]), torch.ones(2, 1))
    assert c.of(torch.tensor([2, 1]))[0].tolist() == [0, 1]


@pytest.mark.parametrize("query", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_is_the_formula_in_loops(query: bool, residual: bool, grouped: bool) -> None:
    n = 9
    net, c = model(query=query, residual=residual), candidates(n)
    assert sum(p.numel() for p in net.parameters()) == 5891 + 65 * residual + 2048 * query
    x, y = normal(n, 5, seed=3), normal(n, seed=4)
    known = torch.arange(n) % 3 != 0
    y[~known] = torch.nan  # has no influence
    group = torch.arange(n) // 2 if grouped else None
    prediction, guess = net(x, c, y, known, group=group)
    h = net.rest(net.linear1(x))
    f = net.guess(h).squeeze(1)
    assert_same(guess, f)
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
                score = score + net.W_Q(h[i]) @ net.W_K(h[c.nodes[p]]) / 4
            scores.append(score)
        alpha = torch.stack(scores).softmax(0)
        share = torch.zeros(()) if net.gate is None else net.gate(h[i]).sigmoid()[0]
        expected = f[i]
        for weight, p in zip(alpha[1:], pairs, strict=True):
            j = c.nodes[p]
            expected = expected + weight * (y[j] - share * f[j] - (1 - share) * f[i])
        assert_same(prediction[i], expected)


@every(n=(2, 14), seed=(0, 99))
def test_neither_own_nor_unknown_labels_have_influence(n: int, seed: int) -> None:
    net, c = model(), candidates(n, seed)
    x, y = normal(n, 5, seed=seed), normal(n, seed=seed + 1)
    known = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.6
    before, _ = net(x, c, y, known)
    hidden = torch.where(known, y, torch.nan)
    assert torch.equal(net(x, c, hidden, known)[0], before)  # bit for bit
    for i in range(n):
        after, _ = net(x, c, y + 100 * (torch.arange(n) == i), known)
        assert after[i] == before[i]
        seen = known[i] and bool((c.nodes == i).any())
        assert seen != torch.equal(after, before), "others must see it"


@every(n=(2, 14), seed=(0, 99))
def test_rows_are_predicted_as_in_the_whole(n: int, seed: int) -> None:
    net, c = model(), candidates(n, seed)
    x, y = normal(n, 5, seed=seed), normal(n, seed=seed + 1)
    known = torch.arange(n) % 2 == 0
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: max(1, n // 2)]
    assert_same(net(x, c, y, known, rows)[0], net(x, c, y, known)[0][rows])


def test_sparse_features_and_gradients() -> None:
    net, c = model(), candidates(7)
    x = (normal(7, 5) > 0.5).double()
    y, known = normal(7, seed=2), torch.arange(7) != 3
    row, column = x.nonzero().T
    same = sparse_csr(row, column, x[row, column], (7, 5))
    dense = net(x, c, y, known)[0]
    assert_same(net(same, c, y, known)[0], dense)
    dense.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


C, ALL = candidates(5), torch.ones(5, dtype=torch.bool)


test_wrong_arguments = refused(
    (lambda: model()(normal(4, 5), C, normal(5), ALL), "must have shape .* with N = 5"),
    (lambda: model()(normal(5, 5), C, normal(5), torch.ones(5)), "boolean"),
)  # fmt: skip
