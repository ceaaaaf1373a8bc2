"""The gradient through time against its bound, and against the products of its steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coursework.experiments import gates

RADII = (0.5, 1.0, 1.5)


def inputs(steps: int, seed: int = 0, scale: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, 3, generator=generator, dtype=torch.float64) * scale


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_jacobians_are_products_of_the_steps(kind: str) -> None:
    cell = gates.vanilla_cell(3, 4, 1.2, 0) if kind == "rnn" else gates.gated_cell(3, 4, 1.0, 0)
    x = inputs(5)
    found = gates.jacobians(cell, x)
    size = 4 if kind == "rnn" else 8
    assert found.shape == (5, 4, size)
    product = torch.eye(size, dtype=torch.float64)[:4]  # dh_T / ds_T
    torch.testing.assert_close(found[0], product)
    before = [torch.zeros(1, size, dtype=torch.float64), *gates.states(cell, x)]
    for lag in range(1, 5):
        step = torch.autograd.functional.jacobian(
            lambda s, t=5 - lag: gates._step(cell, x[t][None], s[None])[0], before[5 - lag][0]
        )
        product = product @ step
        torch.testing.assert_close(found[lag], product, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("seed", range(5))
def test_rnn_gradient_respects_its_bound(radius: float, seed: int) -> None:
    cell, bound = gates.vanilla_cell(3, 8, radius, seed), radius ** np.arange(40)
    assert torch.linalg.matrix_norm(cell.weight_hh, ord=2).item() == pytest.approx(radius)
    assert torch.linalg.eigvals(cell.weight_hh).abs().max().item() == pytest.approx(radius)
    norms = torch.linalg.matrix_norm(gates.jacobians(cell, inputs(40, seed)), ord=2).numpy()
    assert (norms <= bound * (1 + 1e-12)).all()
    # where tanh is linear the bound is attained, so no smaller one holds
    straight = gates.jacobians(cell, torch.zeros(40, 3, dtype=torch.float64))
    np.testing.assert_allclose(torch.linalg.matrix_norm(straight, ord=2), bound, rtol=1e-10)


def test_cell_state_passes_the_gradient_on_by_the_forget_gates_alone() -> None:
    cell, x = gates.gated_cell(3, 4, 2.0, 0), inputs(6)
    with torch.no_grad():
        cell.weight_hh.zero_()  # only the direct path is left
    c = gates.states(cell, x)[-1][0, 4:]
    sums = x @ cell.weight_ih.T + cell.bias_ih
    forget, out = sums[2:, 4:8].sigmoid(), sums[-1, 12:].sigmoid()
    path = out * (1 - c.tanh() ** 2) * forget.prod(dim=0)  # dh_6 / dc_2
    found = gates.jacobians(cell, x)
    torch.testing.assert_close(found[4, :, 4:], torch.diag(path), atol=1e-14, rtol=1e-12)
    assert not found[4, :, :4].any()  # h_2 is read by nobody


def test_flow_is_tidy_and_says_what_the_text_says() -> None:
    options = {"steps": 30, "hidden_size": 12, "repeats": 2}
    flow = gates.gradient_flow((0.8, 1.3), (0.0, 3.0), **options)
    assert list(flow) == ["RNN 0.8", "RNN 1.3", "LSTM 0", "LSTM 3"]
    assert all(norms.shape == (2, 30) for norms in flow.values())
    assert all(np.allclose(norms[:, 0], 1.0) for norms in flow.values())  # dh_T / ds_T = [I, 0]
    assert gates.decay(np.stack([0.9 ** np.arange(50)] * 2)) == pytest.approx(0.9)
    assert gates.decay(flow["RNN 0.8"]) < 0.8
    assert gates.decay(flow["LSTM 0"]) < gates.decay(flow["LSTM 3"])
    assert flow["LSTM 3"][:, -1].min() > 100 * flow["LSTM 0"][:, -1].max()
    again = gates.gradient_flow((0.8, 1.3), (0.0, 3.0), **options)
    assert all(np.array_equal(flow[name], again[name]) for name in flow)
