"""The U-Net: against a construction from plain layers, any size, and the skip connections."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coursework.models.unet import Down, UNet, Up

PROPERTY = settings(max_examples=15, deadline=None, derandomize=True)


def assert_same(own: Tensor, reference: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(own, reference, atol=atol, rtol=atol)


def small(**options: object) -> UNet:
    torch.manual_seed(0)
    return UNet(**{"down": (4, 6), "bottleneck": 5, "up": (3, 2), "out_channels": 3} | options)


def plain_unet(x: Tensor, layers: nn.ModuleList, skips_on: bool) -> Tensor:
    """The network of the assignment, written out layer by layer."""
    (c1, b1, c2, b2, c3, b3, t1, c4, b4, t2, c5, b5, last) = layers
    first = F.relu(b1(c1(x)))
    second = F.relu(b2(c2(F.max_pool2d(first, 2))))
    bottom = F.relu(b3(c3(F.max_pool2d(second, 2))))
    if not skips_on:
        first, second = first * 0, second * 0
    up = F.relu(b4(c4(torch.cat([t1(bottom), second], dim=1))))
    up = F.relu(b5(c5(torch.cat([t2(up), first], dim=1))))
    return last(up)


@pytest.mark.parametrize("disable", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_matches_a_construction_from_plain_layers(training: bool, disable: bool) -> None:
    def block(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)]

    torch.manual_seed(0)
    layers = nn.ModuleList(
        [
            *block(1, 4),
            *block(4, 6),
            *block(6, 5),
            nn.ConvTranspose2d(5, 5, 2, stride=2),
            *block(5 + 6, 3),
            nn.ConvTranspose2d(3, 3, 2, stride=2),
            *block(3 + 4, 2),
            nn.Conv2d(2, 3, 1),
        ]
    ).double()
    own = small(disable_skip_connections=disable).double()
    # Both list their parameters from input to output, so weights are copied in order.
    for mine, theirs in zip(own.parameters(), layers.parameters(), strict=True):
        assert mine.shape == theirs.shape
        mine.data.copy_(theirs)
    own.train(training)
    layers.train(training)
    x = torch.randn(2, 1, 8, 12, dtype=torch.float64)
    output, expected = own(x), plain_unet(x, layers, skips_on=not disable)
    assert_same(output, expected)
    output.sin().sum().backward()
    expected.sin().sum().backward()
    for mine, theirs in zip(own.parameters(), layers.parameters(), strict=True):
        assert_same(mine.grad, theirs.grad, 1e-10)


def test_default_is_the_network_of_the_assignment() -> None:
    model = UNet()
    assert sum(p.numel() for p in model.parameters()) == 252_875
    without = UNet(disable_skip_connections=True)
    assert sum(p.numel() for p in without.parameters()) == 252_875
    assert model(torch.zeros(1, 1, 64, 84)).shape == (1, 11, 64, 84)


def test_deeper_network_by_configuration() -> None:
    model = UNet(3, 4, down=(4, 6, 8), bottleneck=10, up=(8, 6, 4), convolutions=2)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 2 * 7 + 1
    assert model(torch.zeros(2, 3, 16, 24)).shape == (2, 4, 16, 24)


def test_down_and_up() -> None:
    down, up = Down(2, 4).eval(), Up(4, 4, 3).eval()
    x = torch.randn(2, 2, 6, 10)
    pooled, skip = down(x)
    assert pooled.shape == (2, 4, 3, 5)
    assert skip.shape == (2, 4, 6, 10)
    assert torch.equal(pooled, F.max_pool2d(skip, 2))
    assert up(pooled, skip).shape == (2, 3, 6, 10)


def test_down_updates_the_batch_statistics_once() -> None:
    down = Down(1, 2)
    down(torch.randn(2, 1, 4, 4))
    norm = next(m for m in down.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.num_batches_tracked.item() == 1


@PROPERTY
@given(height=st.integers(1, 13), width=st.integers(1, 13))
def test_any_size_is_padded_and_cut_back(height: int, width: int) -> None:
    model = small().double().eval()
    x = torch.randn(1, 1, height, width, dtype=torch.float64)
    output = model(x)
    assert output.shape == (1, 3, height, width)
    padded = x[:, :, [min(i, height - 1) for i in range(height + -height % 4)]]
    padded = padded[:, :, :, [min(j, width - 1) for j in range(width + -width % 4)]]
    assert_same(output, model(padded)[:, :, :height, :width])


def test_disabled_skips_carry_nothing_and_get_no_gradient() -> None:
    on, off = small(), small(disable_skip_connections=True)
    off.load_state_dict(on.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert not torch.allclose(on(x), off(x))
    off(x).sin().sum().backward()
    on(x).sin().sum().backward()
    for up_on, up_off in zip(on.ups, off.ups, strict=True):
        weights = up_off.block[0].weight.grad
        assert weights[:, up_off.in_channels :].abs().max() == 0
        assert weights[:, : up_off.in_channels].abs().max() > 0
        assert up_on.block[0].weight.grad[:, up_on.in_channels :].abs().max() > 0


def test_a_network_with_skips_can_be_the_one_without() -> None:
    off = small(disable_skip_connections=True).eval()
    on = small().eval()
    on.load_state_dict(off.state_dict())
    with torch.no_grad():
        for up in on.ups:
            up.block[0].weight[:, up.in_channels :] = 0.0
    x = torch.randn(2, 1, 8, 8)
    assert_same(on(x), off(x), 1e-6)


def test_skip_connections_bring_the_detail_back() -> None:
    """Copying the input needs each pixel; past the bottleneck only the skips have kept it."""
    torch.manual_seed(0)
    images = (torch.rand(4, 1, 8, 8) > 0.5).float()
    targets = images.long().squeeze(1)
    losses = {}
    for disable in (True, False):
        model = small(disable_skip_connections=disable, out_channels=2)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(30):
            loss = F.cross_entropy(model(images), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[disable] = loss.item()
    assert losses[False] < 0.1 < losses[True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Down(1, 2)(torch.zeros(1, 8, 8)), "input of shape \\[B, 1, H, W\\]"),
        (lambda: Down(1, 2)(torch.zeros(1, 1, 7, 8)), "both must be even, but the input is 7 x 8"),
        (lambda: Down(1, 2, convolutions=0), "at least one convolution"),
        (lambda: Up(2, 1, 3)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)), "Expected input"),
        (
            lambda: Up(2, 1, 3)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8)),
            "Expected skip_connection",
        ),
        (
            lambda: Up(2, 1, 3)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 8, 9)),
            "8 x 8, but is 8 x 9",
        ),
        (lambda: small()(torch.zeros(1, 2, 8, 8)), "images of shape \\[B, 1, H, W\\]"),
        (lambda: UNet(down=(4,), up=(4, 4)), "same number of levels"),
        (lambda: UNet(down=(), up=()), "at least one"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
