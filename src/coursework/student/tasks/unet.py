"""Problem 5: the blocks of the U-Net and the whole, beside plain functions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models import unet as solution
from coursework.student import remarks as r
from coursework.student.checks import (
    Finding,
    Known,
    Task,
    parameter_gradients,
    same,
    scatter,
    take_weights,
)

DOWN = Task("Down", 5, "4.1", "models.unet", ("Block", "Down"))
UP = Task("Up", 5, "4.1", "models.unet", ("Up",))
UNET = Task("UNet", 5, "4.1", "models.unet", ("UNet",))


def _parts(block: nn.Sequential) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = block[0], block[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm


def _normed(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


def _block(block: nn.Sequential, x: Tensor) -> Tensor:
    convolution, norm = _parts(block)
    return _normed(norm, convolution(x)).relu()


@DOWN.check
def block(m: Any) -> None:
    trusted = solution.Block(3, 4)
    scatter(trusted)
    own = m.Block(3, 4)
    x = torch.randn(2, 3, 6, 8)
    kinds = [type(layer).__name__ for layer in own]
    if "BatchNorm2d" not in kinds:
        raise Finding(r.BLOCK_NO_NORM)
    if "ReLU" not in kinds:
        raise Finding(r.BLOCK_NO_RELU)
    if kinds.index("ReLU") < kinds.index("BatchNorm2d"):
        raise Finding(r.BLOCK_ORDER)
    take_weights(own, trusted)
    same(own(x), _block(trusted, x), what="the output of Block")


@DOWN.check
def block_of_two(m: Any) -> None:
    trusted = solution.Block(3, 4, 2)
    own = take_weights(m.Block(3, 4, 2), trusted)
    x = torch.randn(2, 3, 6, 8)
    first, second = nn.Sequential(*list(trusted)[:3]), nn.Sequential(*list(trusted)[3:])
    same(own(x), _block(second, _block(first, x)), what="the output of a Block of two convolutions")


def _downs(m: Any) -> tuple[Any, solution.Down]:
    trusted = solution.Down(3, 4)
    scatter(trusted)
    return take_weights(m.Down(3, 4), trusted), trusted


@DOWN.check
def down(m: Any) -> None:
    own, trusted = _downs(m)
    x = torch.randn(2, 3, 6, 8)
    skip = _block(trusted.block, x)
    pooled = F.max_pool2d(skip, 2)
    known: Known = [
        (r.RETURNED_SWAPPED, (skip, pooled)),
        (r.SKIP_POOLED, (pooled, pooled)),
        (r.SKIP_RAW, (pooled, x)),
        (r.AVERAGED, (F.avg_pool2d(skip, 2), skip)),
        (r.AVERAGED, (F.interpolate(skip, scale_factor=0.5, mode="bilinear"), skip)),
    ]
    same(own(x), (pooled, skip), known, what="the pair (pooled, skip)")


@DOWN.check
def computed_once(m: Any) -> None:
    own, _ = _downs(m)
    own(torch.randn(2, 3, 6, 8))
    counted = {
        int(part.num_batches_tracked)
        for part in own.modules()
        if isinstance(part, nn.BatchNorm2d) and part.num_batches_tracked is not None
    }
    if max(counted, default=1) > 1:
        raise Finding(r.DOUBLE_CONVOLUTION)


@DOWN.check
def down_gradients(m: Any) -> None:
    own, trusted = _downs(m)
    x = torch.randn(2, 3, 6, 8)
    parameter_gradients(own, trusted, lambda module: torch.cat([z.flatten() for z in module(x)]))


def _ups(m: Any) -> tuple[Any, solution.Up]:
    trusted = solution.Up(4, 4, 5)
    scatter(trusted)
    return take_weights(m.Up(4, 4, 5), trusted), trusted


@UP.check
def up(m: Any) -> None:
    own, trusted = _ups(m)
    x, skip = torch.randn(2, 4, 3, 4), torch.randn(2, 4, 6, 8)
    larger = trusted.upsample(x)

    def joined(*parts: Tensor) -> Tensor:
        return _block(trusted.block, torch.cat(parts, dim=1))

    convolution, norm = _parts(trusted.block)
    known: Known = [
        (r.CONCATENATION_ORDER, joined(skip, larger)),
        (r.SKIP_UNUSED, joined(larger, torch.zeros_like(skip))),
        (r.SKIP_UNUSED, joined(larger, larger)),
        (r.BLOCK_NO_RELU, _normed(norm, convolution(torch.cat([larger, skip], 1)))),
    ]
    same(own(x, skip), joined(larger, skip), known, what="the output of Up")


@UP.check
def up_gradients(m: Any) -> None:
    own, trusted = _ups(m)
    x, skip = torch.randn(2, 4, 3, 4), torch.randn(2, 4, 6, 8)
    parameter_gradients(own, trusted, lambda module: module(x, skip))


# --- the whole ---------------------------------------------------------------------------------


def _nets(m: Any, disable: bool = False) -> tuple[Any, solution.UNet]:
    sizes: dict[str, Any] = {"down": (4, 4), "bottleneck": 4, "up": (4, 4)}
    trusted = solution.UNet(1, 3, disable, **sizes)
    scatter(trusted)
    return take_weights(m.UNet(1, 3, disable, **sizes), trusted), trusted


def _written_out(
    net: solution.UNet, x: Tensor, keep: float = 1.0, bottleneck: bool = True
) -> Tensor:
    """The whole network in plain functions."""
    first = _block(net.downs[0].block, x)  # type: ignore[arg-type, union-attr]
    second = _block(net.downs[1].block, F.max_pool2d(first, 2))  # type: ignore[arg-type, union-attr]
    y = F.max_pool2d(second, 2)
    y = _block(net.bottleneck, y) if bottleneck else y
    for part, skip in zip(net.ups, (second, first), strict=True):
        both = torch.cat([part.upsample(y), keep * skip], 1)  # type: ignore[operator]
        y = _block(part.block, both)  # type: ignore[arg-type]
    logits: Tensor = net.output(y)
    return logits


def _run(net: Any, x: Tensor) -> Any:
    try:
        return net(x)
    except ValueError as error:
        if "skip connection must be twice as high" in str(error):
            raise Finding(r.SKIPS_ORDER) from error
        raise


@UNET.check
def unet(m: Any) -> None:
    own, trusted = _nets(m)
    x = torch.randn(2, 1, 8, 12)
    right = _written_out(trusted, x)
    known: Known = [
        (r.SKIPS_ALWAYS_OFF, _written_out(trusted, x, keep=0.0)),
        (r.BOTTLENECK_MISSING, _written_out(trusted, x, bottleneck=False)),
        (r.SOFTMAX_AT_END, right.softmax(1)),
        (r.SOFTMAX_AT_END, right.log_softmax(1)),
        (r.LAST_ACTIVATED, right.relu()),
    ]
    same(_run(own, x), right, known, what="the output of UNet")


@UNET.check
def without_skips(m: Any) -> None:
    own, trusted = _nets(m, disable=True)
    x = torch.randn(2, 1, 8, 12)
    known = [(r.SKIPS_STAY, _written_out(trusted, x))]
    right = _written_out(trusted, x, keep=0.0)
    same(_run(own, x), right, known, what="the output without skip connections")


@UNET.check
def odd_sides(m: Any) -> None:
    own, trusted = _nets(m)
    x = torch.randn(2, 1, 7, 10)
    padded = F.pad(x, (0, 2, 0, 1), mode="replicate")
    whole = _written_out(trusted, padded)
    other = _written_out(trusted, F.pad(x, (2, 0, 1, 0), mode="replicate"))
    known: Known = [
        (r.CUT_WRONG_SIDE, whole[:, :, 1:, 2:]),
        (r.CUT_WRONG_SIDE, other[:, :, 1:, 2:]),
        (r.CUT_WRONG_SIDE, other[:, :, :7, :10]),
    ]
    what = "the output for sides that are no multiples of 4"
    same(_run(own, x), whole[:, :, :7, :10], known, what=what)


@UNET.check
def unet_computed_once(m: Any) -> None:
    own, _ = _nets(m)
    _run(own, torch.randn(2, 1, 8, 12))
    for part in own.modules():
        if isinstance(part, nn.BatchNorm2d) and int(part.num_batches_tracked or 0) > 1:
            raise Finding(r.DOUBLE_CONVOLUTION)


@UNET.check
def unet_size(m: Any) -> None:
    count = sum(parameter.numel() for parameter in m.UNet().parameters())
    if count != 252_875:
        words = f"The assignment's network has 252,875 parameters, this one {count:,}."
        raise Finding(r.Remark("shape", words), named=False)


@UNET.check
def unet_gradients(m: Any) -> None:
    own, trusted = _nets(m)
    x = torch.randn(2, 1, 8, 12)
    parameter_gradients(own, trusted, lambda net: _run(net, x))
