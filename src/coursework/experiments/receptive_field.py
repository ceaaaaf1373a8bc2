"""Looking into a U-Net: what each stage makes of a canvas, and how much of it one pixel can see."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.unet import Down, UNet, Up


def walk_through(model: UNet, height: int = 64, width: int = 84) -> list[tuple[str, str, int]]:
    """Every stage, the shape of its output for one canvas, and its parameters; the sum comes last."""
    stages: dict[str, nn.Module] = {}
    for number, down in enumerate(model.downs, start=1):
        stages[f"Down {number}: convolution (the skip)"] = cast(Down, down).block
        stages[f"Down {number}: pool"] = cast(Down, down).pool
    stages["bottleneck"] = model.bottleneck
    for number, up in zip(range(len(model.ups), 0, -1), model.ups, strict=True):
        stages[f"Up {number}: transposed convolution"] = cast(Up, up).upsample
        stages[f"Up {number}: convolution of both"] = cast(Up, up).block
    stages["1 x 1 convolution to the classes"] = model.output
    rows = [("input", f"1 × {height} × {width}", 0)]

    def note(stage: str, module: nn.Module, _: Any, output: Tensor) -> None:
        size = sum(p.numel() for p in module.parameters())
        rows.append((stage, " × ".join(map(str, output.shape[1:])), size))

    handles = [m.register_forward_hook(partial(note, stage)) for stage, m in stages.items()]
    was_training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, height, width))
    model.train(was_training)
    for handle in handles:
        handle.remove()
    return [*rows, ("sum", "", sum(p.numel() for p in model.parameters()))]


def receptive_field(model: UNet, offset: int | None = None) -> tuple[int, int]:
    """Height and width in pixels of the input that one output pixel can depend on, by gradient.

    In a copy of the network all weights are positive and pooling takes the mean, so that no path is
    hidden by a cancelling sum, a dead unit or a maximum elsewhere; the box around the non-zero gradients
    of one output pixel is then the receptive field. It depends on where the pixel lies on the pooling
    grid: ``offset`` is that row and column, None the largest field of all of them.
    """
    probe = copy.deepcopy(model).cpu().double()
    for module in list(probe.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            # the size of the weights does not matter, only that products of many do not vanish
            nn.init.constant_(module.weight, 1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size))
    probe.eval().requires_grad_(False)
    side = 64
    while True:  # on larger and larger images, until no field touches the border
        boxes = []
        with torch.enable_grad():
            image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
            output = probe(image).sum(dim=(0, 1))  # [side, side]
            for k in range(2 ** len(model.downs)) if offset is None else [offset]:
                pixel = output[side // 2 + k, side // 2 + k]
                (seen,) = torch.autograd.grad(pixel, image, retain_graph=True)
                boxes.append(_box(seen[0, 0] != 0))
        whole = [box for box in boxes if box is not None]
        if len(whole) == len(boxes):
            return max(h for h, _ in whole), max(w for _, w in whole)
        side *= 2


def _box(seen: Tensor) -> tuple[int, int] | None:
    """Height and width of the box around what is true, None if it touches the border."""
    size = []
    for line in (seen.any(1), seen.any(0)):
        places = line.nonzero()  # [count, 1]
        first, last = int(places[0]), int(places[-1])
        if first == 0 or last == len(line) - 1:
            return None
        size.append(last - first + 1)
    return size[0], size[1]


def share_in_view(digits: np.ndarray, field: tuple[int, int]) -> float:
    """Share of its digit's ink that a pixel of ink can see, mean over the ink of ``[n, H, W]`` digits.

    ``field`` is the height and width of the receptive field, centred on the pixel.
    """
    ink = torch.from_numpy(digits > 0).double()  # [n, H, W]
    within = ink
    for axis, size in ((1, field[0]), (2, field[1])):
        length = within.shape[axis]
        sums = F.pad(within.cumsum(axis), (1, 0) if axis == 2 else (0, 0, 1, 0))  # one longer
        places = torch.arange(length)
        first = (places - size // 2).clamp(min=0)
        last = (places + (size - 1) // 2 + 1).clamp(max=length)
        within = sums.index_select(axis, last) - sums.index_select(axis, first)  # [n, H, W]
    share = within / ink.sum(dim=(1, 2), keepdim=True).clamp(min=1)  # [n, H, W]
    return float(share[ink > 0].mean())
