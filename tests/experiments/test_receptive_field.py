"""What a U-Net's pixel sees, against brute force; what each stage makes of a canvas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coursework.experiments import segmentation
from coursework.experiments.receptive_field import receptive_field, share_in_view, walk_through
from coursework.models.unet import UNet


def changed_pixels(model: UNet, row: int, column: int) -> tuple[int, int]:
    """Receptive field by brute force: which single pixels change the output?"""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.bias, 1.0)  # keeps the units alive
    model.double().eval()
    seen = set()
    with torch.no_grad():
        for _ in range(4):
            image = torch.rand(1, 1, 32, 32, dtype=torch.float64)
            before = model(image)[0, :, row, column]
            for i in range(32):
                stack = image.repeat(32, 1, 1, 1)
                stack[range(32), 0, i, range(32)] += 3.0  # becomes the maximum of its window
                after = model(stack)[:, :, row, column]
                seen |= {(i, int(j)) for j in (after != before).any(1).nonzero()}
    rows, columns = {i for i, _ in seen}, {j for _, j in seen}
    return max(rows) - min(rows) + 1, max(columns) - min(columns) + 1


@pytest.mark.parametrize("offset", [0, 1])
def test_receptive_field_is_what_a_pixel_depends_on(offset: int) -> None:
    torch.manual_seed(0)
    model = UNet(1, 3, down=(4,), bottleneck=4, up=(4,))
    expected = receptive_field(model, offset)
    assert changed_pixels(model, 16 + offset, 16 + offset) == expected == (10, 10)


def test_receptive_field_of_the_assignment_is_smaller_than_a_digit() -> None:
    model = UNet()
    assert [receptive_field(model, k)[0] for k in range(4)] == [22, 26, 26, 22]
    assert receptive_field(model) == (26, 26)
    assert receptive_field(UNet(disable_skip_connections=True)) == (26, 26)
    for preset in ("quick", "deep"):
        deep = segmentation.build(segmentation.PRESETS[preset], skip=True)
        assert min(receptive_field(deep, 0)) > 40  # 20 pixels of ink to either side


def test_share_in_view() -> None:
    digit = np.zeros((1, 28, 28), np.uint8)
    digit[0, 4:24, 14] = 255  # a stroke of 20 pixels
    assert share_in_view(digit, (39, 39)) == 1.0
    assert share_in_view(digit, (1, 1)) == pytest.approx(1 / 20)
    window = [sum(abs(a - b) <= 5 for b in range(20)) / 20 for a in range(20)]
    assert share_in_view(digit, (11, 1)) == pytest.approx(np.mean(window))


def test_walk_through_lists_every_parameter_once() -> None:
    rows = walk_through(UNet())
    assert rows[0] == ("input", "1 × 64 × 84", 0)
    assert rows[-1][2] == 252_875 == sum(row[2] for row in rows[:-1])
    assert rows[-2][1] == "11 × 64 × 84"
    assert ("bottleneck", "64 × 16 × 21", 73_920) in rows
