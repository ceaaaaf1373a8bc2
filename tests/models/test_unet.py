from typing import Any

import pytest
import torch
import torch.nn.functional as F
from parity import assert_parity, assert_same
from torch import Tensor, nn

from coursework.models.unet import Down, UNet, Up
from properties import every, refused


def small(**options: object) -> UNet:
    torch.manual_seed(0)
    return UNet(**{"down": (4, 6), "bottleneck": 5, "up": (3, 2), "out_channels": 3} | options)


class Level(nn.Module):
    def __init__(
        self, c_in: int, down: list[int], bottleneck: int, up: list[int], n: int, disable: bool
    ) -> None:
        super().__init__()
        self.disable = disable

        def block(first: int, last: int) -> nn.Sequential:
            layers = []
            for i in range(n):
                layers.append(nn.Conv2d(last if i else first, last, 3, padding="same"))
                layers.append(nn.BatchNorm2d(last))
                layers.append(nn.ReLU())
            return nn.Sequential(*layers)

        self.before = block(c_in, down[0])
        below = up[-2] if len(up) > 1 else bottleneck
        if len(down) > 1:
            self.below: nn.Module = Level(down[0], down[1:], bottleneck, up[:-1], n, disable)
        else:
            self.below = block(down[0], bottleneck)
        self.grow = nn.ConvTranspose2d(below, below, 2, stride=2)
        self.after = block(below + down[0], up[-1])

    def forward(self, x: Tensor) -> Tensor:
        left = self.before(x)
        right = self.grow(self.below(nn.MaxPool2d(2)(left)))
        return self.after(torch.cat([right, left * (not self.disable)], dim=1))

    def layers(self) -> list[nn.Module]:
        def flat(part: nn.Module) -> list[nn.Module]:
            return part.layers() if isinstance(part, Level) else list(part)

        return [*flat(self.before), *flat(self.below), self.grow, *flat(self.after)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"down": (4, 6, 8), "bottleneck": 10, "up": (7, 5, 3), "convolutions": 2},
        {"down": (3, 4, 5, 6), "bottleneck": 7, "up": (6, 5, 4, 3), "convolutions": 1},
    ],
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("disable", [True, False])
def test_matches_an_independent_recursive_network(
    options: dict[str, object], training: bool, disable: bool
) -> None:
    torch.manual_seed(1)
    own = UNet(disable_skip_connections=disable, **options).double().train(training)
    default = {"down": (64, 128), "bottleneck": 64, "up": (32, 32), "convolutions": 1}
    down, bottleneck, up, convolutions = (default | options).values()
    tree = Level(1, list(down), bottleneck, list(up), convolutions, disable)
    layers = [part for part in tree.layers() if list(part.parameters())]
    last = nn.Conv2d(up[-1], 11, 1)
    peers = [p for part in [*layers, last] for p in part.parameters()]
    reference = nn.Sequential(tree, last).double().train(training)
    for mine, theirs in zip(own.parameters(), peers, strict=True):
        assert mine.shape == theirs.shape
        theirs.data.copy_(mine)
    x = torch.randn(2, 1, 16, 32, dtype=torch.float64)
    output, expected = own(x), reference(x)
    assert_parity(output, expected, [*own.parameters()], peers, (1e-10, 1e-8))
    # also the running statistics, and how often there were any: every block is computed once
    assert_same([*own.buffers()], [*reference.buffers()], 1e-10)


def test_default_is_the_network_of_the_assignment() -> None:
    model = UNet()
    assert sum(p.numel() for p in model.parameters()) == 252_875
    assert sum(p.numel() for p in UNet(disable_skip_connections=True).parameters()) == 252_875
    assert model(torch.zeros(1, 1, 64, 84)).shape == (1, 11, 64, 84)


def test_down_and_up() -> None:
    down, up = Down(2, 4).eval(), Up(4, 4, 3).eval()
    pooled, skip = down(torch.randn(2, 2, 6, 10))
    assert pooled.shape == (2, 4, 3, 5)
    assert skip.shape == (2, 4, 6, 10)
    assert torch.equal(pooled, F.max_pool2d(skip, 2))
    assert up(pooled, skip).shape == (2, 3, 6, 10)


@every(height=(1, 13), width=(1, 13))
def test_any_size_is_padded_and_cut_back(height: int, width: int) -> None:
    model = small().double().eval()
    x = torch.randn(1, 1, height, width, dtype=torch.float64)
    output = model(x)
    assert output.shape == (1, 3, height, width)
    padded = x[:, :, [min(i, height - 1) for i in range(height + -height % 4)]]
    padded = padded[:, :, :, [min(j, width - 1) for j in range(width + -width % 4)]]
    assert_same(output, model(padded)[:, :, :height, :width])


def test_a_network_with_skips_can_be_the_one_without() -> None:
    without, embedded = small(disable_skip_connections=True).double(), small().double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    expected = without(x)
    expected.sin().sum().backward()
    embedded.load_state_dict(without.state_dict())
    for mine, theirs in zip(without.ups, embedded.ups, strict=True):
        assert not mine.block[0].weight.grad[:, mine.in_channels :].any()
        theirs.block[0].weight.data[:, theirs.in_channels :] = 0
    assert_same(embedded(x), expected)


def test_values_of_the_skip_path_do_not_matter_once_zeroed() -> None:
    """Not even values that are not numbers: they are replaced, not multiplied by zero."""
    up = small(disable_skip_connections=True).eval()
    x = torch.randn(1, 1, 8, 8)
    expected = up(x)

    def broken(self: Down, x: Tensor, forward: Any = Down.forward) -> tuple[Tensor, Tensor]:
        pooled, skip = forward(self, x)
        return pooled, skip * float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Down, "forward", broken)
        assert torch.equal(up(x), expected)
        up.disable_skip_connections = False
        assert up(x).isnan().all()


def test_an_image_is_judged_alone_in_eval_mode() -> None:
    model = small().double().eval()
    batch = torch.randn(5, 1, 12, 16, dtype=torch.float64)
    with torch.no_grad():
        together = model(batch)
        for i in range(5):
            assert_same(model(batch[i : i + 1])[0], together[i])
        model.train()  # batch statistics: here the others do matter
        assert not torch.allclose(model(batch)[:1], model(batch[:1]))


def zeros(*shape: int) -> Tensor:
    return torch.zeros(1, *shape)


test_wrong_arguments = refused(
    (lambda: Down(1, 2)(zeros(8, 8)), "x must have shape"),
    (lambda: Down(1, 2)(zeros(1, 7, 8)), "both must be even, but the input is 7 x 8"),
    (lambda: Down(1, 2)(zeros(1, 8, 7)), "both must be even, but the input is 8 x 7"),
    (lambda: Down(1, 2, convolutions=0), "at least one convolution"),
    (lambda: Up(2, 1, 3)(zeros(1, 4, 4), zeros(1, 8, 8)), "x must have shape"),
    (lambda: Up(2, 1, 3)(zeros(2, 4, 4), zeros(2, 8, 8)), "skip_connection must have shape"),
    (lambda: Up(2, 1, 3)(zeros(2, 4, 4), zeros(1, 8, 9)), "8 x 8, but is 8 x 9"),
    (lambda: Up(2, 1, 3)(zeros(2, 4, 4), torch.zeros(2, 1, 8, 8)), "batches of 1 and 2"),
    (lambda: small()(zeros(2, 8, 8)), "images must have shape"),
    (lambda: small()(zeros(1, 0, 4)), "must have pixels"),
    (lambda: UNet(down=(4,), up=(4, 4)), "same number of levels"),
    (lambda: UNet(down=(), up=()), "at least one"),
)
