"""Gates along a text against `nn.LSTM`, and the gradient through time against its bound."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from coursework.data.text import Vocabulary
from coursework.errors import ConfigError
from coursework.experiments import gates
from coursework.models.lstm import LSTM

RADII = (0.5, 1.0, 1.5)


def inputs(steps: int, seed: int = 0, scale: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, 3, generator=generator, dtype=torch.float64) * scale


def classifier(hidden: int = 6) -> Any:
    torch.manual_seed(0)
    words = Vocabulary.from_counts({"so": 3, "good": 2, "bad": 1}, ("<pad>", "<unk>"), 1, 10)
    return SimpleNamespace(
        model=SimpleNamespace(
            embedding=nn.Embedding(len(words), 4),
            lstm=nn.LSTM(4, hidden, bidirectional=True, batch_first=True),
        ),
        vocabulary=words,
        predict=lambda text: np.array([0.25], dtype=np.float32),
    )


@pytest.mark.parametrize("module", [nn.LSTM, LSTM])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"bidirectional": True}])
def test_unrolled_states_are_those_of_the_layer(module: Any, options: dict[str, bool]) -> None:
    lstm = module(3, 5, dtype=torch.float64, **options)
    x = inputs(7)
    found = gates.unroll(lstm, x)
    output, (_, c_n) = lstm(x)
    torch.testing.assert_close(found["h"], output[:, :5], atol=1e-13, rtol=0)
    torch.testing.assert_close(found["c"][-1], c_n[0], atol=1e-13, rtol=0)
    for name in ("i", "f", "o"):
        assert (found[name] > 0).all()
        assert (found[name] < 1).all()
    before = torch.cat([torch.zeros(1, 5, dtype=torch.float64), found["c"][:-1]])
    update = found["f"] * before + found["i"] * found["g"]
    torch.testing.assert_close(found["c"], update, atol=1e-13, rtol=0)


def test_trace_of_a_text() -> None:
    network = classifier()
    found = gates.trace(network, "SO good, zebra http://t.co/x")
    assert found.tokens[:2] == ["so", "good"]
    assert "zebra" in found.tokens
    assert found.probability == 0.25
    ids = torch.tensor([network.vocabulary.encode(found.tokens)])
    expected = network.model.lstm(network.model.embedding(ids))[0][0, :, :6]  # [T, H]
    np.testing.assert_allclose(found.values["h"], expected.detach().numpy(), atol=2e-6)
    assert {name: value.shape for name, value in found.values.items()} == {
        name: (len(found.tokens), 6) for name in ("i", "f", "g", "o", "c", "h")
    }
    with pytest.raises(ConfigError, match="No word is left"):
        gates.trace(network, "  ")


def test_moving_units_memory_and_decay() -> None:
    cells = np.zeros((4, 3))
    cells[:, 2] = [0, 5, 0, 5]
    cells[:, 0] = [0, 1, 0, 1]
    found = gates.Trace([], {"c": cells}, 0.5)
    assert gates.moving_units([found], 2).tolist() == [2, 0]
    assert len(gates.moving_units([found, found], 9)) == 3
    forget = np.exp([[-0.5, -1 / 3], [-0.5, -1.0]])  # geometric means e^-0.5 and e^-2/3
    np.testing.assert_allclose(gates.memory(forget), [2.0, 1.5])
    assert gates.decay(np.stack([0.9 ** np.arange(50)] * 2)) == pytest.approx(0.9)


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
    cell, x = gates.vanilla_cell(3, 8, radius, seed), inputs(40, seed)
    assert torch.linalg.matrix_norm(cell.weight_hh, ord=2).item() == pytest.approx(radius)
    assert torch.linalg.eigvals(cell.weight_hh).abs().max().item() == pytest.approx(radius)
    norms = gates.spectral_norms(gates.jacobians(cell, x))
    bound, coarse = gates.rnn_bound(cell, x), radius ** np.arange(40)
    assert (norms <= bound * (1 + 1e-12)).all()
    assert (bound <= coarse * (1 + 1e-12)).all()
    assert (norms[1:] > 0).all()


@pytest.mark.parametrize("radius", RADII)
def test_rnn_bound_is_attained_where_tanh_is_linear(radius: float) -> None:
    cell, x = gates.vanilla_cell(3, 8, radius, 0), torch.zeros(30, 3, dtype=torch.float64)
    norms = gates.spectral_norms(gates.jacobians(cell, x))
    np.testing.assert_allclose(norms, radius ** np.arange(30), rtol=1e-10)
    np.testing.assert_allclose(gates.rnn_bound(cell, x), norms, rtol=1e-10)
    assert (norms > (0.99 * radius) ** np.arange(30))[1:].all()  # no smaller bound holds


def test_cell_state_passes_the_gradient_on_by_the_forget_gates_alone() -> None:
    cell, x = gates.gated_cell(3, 4, 2.0, 0), inputs(6)
    with torch.no_grad():
        cell.weight_hh.zero_()  # only the direct path is left
    lstm = nn.LSTM(3, 4, dtype=torch.float64)
    lstm.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    values = gates.unroll(lstm, x)
    found = gates.jacobians(cell, x)
    c = values["c"][-1]
    path = values["o"][-1] * (1 - c.tanh() ** 2) * values["f"][2:].prod(dim=0)  # dh_6 / dc_2
    torch.testing.assert_close(found[4, :, 4:], torch.diag(path), atol=1e-14, rtol=1e-12)
    assert not found[4, :, :4].any()  # h_2 is read by nobody


def test_flow_is_tidy_and_says_what_the_text_says() -> None:
    options = {"steps": 30, "hidden_size": 12, "repeats": 2}
    flow = gates.gradient_flow((0.8, 1.3), (0.0, 3.0), **options)
    names = ["RNN 0.8", "RNN 0.8 bound", "RNN 1.3", "RNN 1.3 bound", "LSTM 0", "LSTM 3"]
    assert sorted(flow) == sorted(["lag", *names])
    assert flow["lag"].tolist() == list(range(30))
    assert all(flow[name].shape == (2, 30) for name in names)
    assert all(np.allclose(flow[name][:, 0], 1.0) for name in names)  # dh_T / ds_T = [I, 0]
    assert gates.decay(flow["RNN 0.8"]) < 0.8
    assert gates.decay(flow["LSTM 0"]) < gates.decay(flow["LSTM 3"])
    assert flow["LSTM 3"][:, -1].min() > 100 * flow["LSTM 0"][:, -1].max()
    again = gates.gradient_flow((0.8, 1.3), (0.0, 3.0), **options)
    assert all(np.array_equal(flow[name], again[name]) for name in flow)
