import math

import pytest
import torch
from hypothesis import strategies as st

from coursework.theory import pooling_attention as pa
from properties import every

#: Few different values, zero among them: ties and zeros are the cases that matter.
TOKENS = st.lists(
    st.one_of(st.integers(0, 3).map(float), st.floats(-50, 50)), min_size=1, max_size=25
).map(lambda x: torch.tensor(x, dtype=torch.float64))


@every(TOKENS, (0, 6))
def test_answer_for_every_sequence(x: torch.Tensor, k: int) -> None:
    expected = [max(x[max(0, i - k) : i + k + 1].tolist()) for i in range(len(x))]
    found = pa.hard_attention(pa.constant_query_scores(x, k), x)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@every(TOKENS, TOKENS, (-20.0, 20.0), (0, 4))
def test_a_zero_query_sees_no_token(
    x: torch.Tensor, other: torch.Tensor, w_q: float, k: int
) -> None:
    n = min(len(x), len(other))
    x, other = x[:n].clone(), other[:n].clone()
    x[0] = other[0] = 0.0
    rows = [pa.content_query_scores(tokens, k, w_q)[0] for tokens in (x, other)]
    assert torch.equal(rows[0], rows[1])


def test_it_fails_where_the_token_is_zero_and_only_there() -> None:
    x = pa.random_activations(200, 0)
    wrong = pa.wrong_positions(x, 3, pa.content_query_scores)
    assert len(wrong) > 50
    assert bool((x[wrong] == 0).all())
    assert len(pa.wrong_positions(x, 3, pa.constant_query_scores)) == 0


@every(TOKENS, (0, 5), (0.01, 5.0))
def test_softmax_is_within_its_bound(x: torch.Tensor, k: int, temperature: float) -> None:
    gap = pa.max_pool(x, k) - pa.soft_pooling(x, k, temperature)
    assert float(gap.min()) >= -1e-9
    assert float(gap.max()) <= temperature * torch.log(torch.tensor(2.0 * k + 1)) + 1e-5


def test_scores_by_hand() -> None:
    x = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    off = -math.inf
    assert pa.window_bias(3, 1).tolist() == [[0, 0, off], [0, 0, 0], [off, 0, 0]]
    assert pa.constant_query_scores(x, 1).tolist() == [[3, -1, off], [3, -1, 2], [off, -1, 2]]
    assert pa.content_query_scores(x, 1).tolist() == [[9, -3, off], [-3, 1, -2], [off, -2, 4]]


def test_an_output_above_the_maximum_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pa, "soft_pooling", lambda x, k, temperature: pa.max_pool(x, k) + 1e-6)
    check = pa.check_temperature()
    assert check.measured == math.inf
    assert not check.holds
