import pytest
import torch
from hypothesis import strategies as st

from coursework.theory import self_attention as sa
from coursework.theory.cost import measure
from properties import SEED, every

SIZE = st.integers(1, 12)


@every(st.data(), SIZE, SIZE, SIZE, SEED)
def test_every_permutation(data: st.DataObject, n: int, d: int, width: int, seed: int) -> None:
    order = torch.tensor(data.draw(st.permutations(range(n))))
    x, *weights = sa.inputs(n, d, width, seed)
    torch.testing.assert_close(
        sa.self_attention(x[order], *weights), sa.self_attention(x, *weights)[order]
    )


@every(SIZE, SIZE, SIZE)
def test_counts_are_the_formulas_for_every_size(n: int, d: int, width: int) -> None:
    tensors = sa.inputs(n, d, width)
    first, second = measure(sa.self_attention, *tensors), measure(sa.left_to_right, *tensors)
    assert first.multiply_adds == sa.project_first_count(n, d, width)
    assert second.multiply_adds == sa.left_to_right_count(n, d, width)


def test_definition_by_loops() -> None:
    x, w_q, w_k, w_v = sa.inputs(4, 3, 2)
    found = sa.self_attention(x, w_q, w_k, w_v)
    for i in range(4):
        scores = torch.stack([(x[i] @ w_q) @ (x[j] @ w_k) for j in range(4)])
        expected = sum(a * (x[j] @ w_v) for j, a in enumerate(scores.softmax(dim=0)))
        torch.testing.assert_close(found[i], expected)


def test_causal_mask_lets_nobody_look_ahead() -> None:
    x, *weights = sa.inputs(6, 4, 4)
    before = sa.self_attention(x, *weights, causal=True)
    x[4:] += 1.0
    assert torch.equal(before[:4], sa.self_attention(x, *weights, causal=True)[:4])


@pytest.mark.parametrize("n", [2, 30])
def test_positions_differ_from_place_to_place(n: int) -> None:
    assert len(torch.unique(sa.with_positions(torch.zeros(n, 16, dtype=torch.float64)), dim=0)) == n
