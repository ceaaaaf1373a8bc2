r"""U-Net of Ronneberger et al. (2015), https://arxiv.org/abs/1505.04597, by configuration.

Letters: `B` batch, `C` channels, `H` height, `W` width. Unlike the paper's, convolutions are
padded, so the output has the size of the input.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.checks import expect, require


class Block(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU, `convolutions` times: `[B, C_in, H, W]` -> `C_out`."""

    def __init__(self, in_channels: int, out_channels: int, convolutions: int = 1) -> None:
        enough = convolutions > 0
        require(enough, f"A block needs at least one convolution, but got {convolutions}.")
        # solution:begin the layers in their order, to super().__init__ | nn.Conv2d, nn.BatchNorm2d, nn.ReLU
        layers: list[nn.Module] = []
        for index in range(convolutions):
            channels = in_channels if index == 0 else out_channels
            layers += [
                nn.Conv2d(channels, out_channels, kernel_size=3, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)
        # solution:end


class Down(nn.Module):
    """A step of the contracting path: block, then 2 x 2 max pooling.

    `[B, C_in, H, W]` with even H and W -> `[B, C_out, H/2, W/2]`, and `[B, C_out, H, W]` for the skip. The
    block is computed once: twice, as is often seen, would update the batch statistics twice.
    """

    def __init__(self, in_channels: int, out_channels: int, convolutions: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        # solution:begin self.block (a Block) and self.pool
        self.block = Block(in_channels, out_channels, convolutions)
        self.pool = nn.MaxPool2d(kernel_size=2)
        # solution:end

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled features and, before pooling, those for the skip connection."""
        size = expect("x", x, "B C H W", C=self.in_channels)
        even, found = size["H"] % 2 == size["W"] % 2 == 0, f"{size['H']} x {size['W']}"
        require(even, f"Height and width are halved: both must be even, but the input is {found}.")
        # solution:begin the features before and after pooling; the assertions are the handout's
        skip_connection = self.block(x)  # [B, C_out, H, W]
        down = self.pool(skip_connection)  # [B, C_out, H/2, W/2]
        expected_size = (x.shape[2] // 2, x.shape[3] // 2)
        assert down.shape[2:] == expected_size, f"expected {expected_size}, got {down.shape[2:]}"
        assert skip_connection.shape[2:] == x.shape[2:], f"got {skip_connection.shape[2:]}"
        return down, skip_connection
        # solution:end


class Up(nn.Module):
    """A step of the expanding path: 2 x 2 transposed convolution, concatenation, block.

    `[B, C_in, H, W]` from below, skip `[B, C_skip, 2H, 2W]` -> `[B, C_out, 2H, 2W]`.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, convolutions: int = 1
    ) -> None:
        super().__init__()
        self.in_channels, self.skip_channels = in_channels, skip_channels
        # solution:begin self.upsample (keeps its channels) and self.block | nn.ConvTranspose2d
        self.upsample = nn.ConvTranspose2d(in_channels, in_channels, kernel_size=2, stride=2)
        self.block = Block(in_channels + skip_channels, out_channels, convolutions)
        # solution:end

    def forward(self, x: Tensor, skip_connection: Tensor) -> Tensor:
        """Double height and width and merge in the skip connection."""
        size = expect("x", x, "B C H W", C=self.in_channels)
        skip = expect("skip_connection", skip_connection, "B C H W", C=self.skip_channels)
        require(
            skip == size | {"C": skip["C"], "H": 2 * size["H"], "W": 2 * size["W"]},
            f"The skip connection must be twice as high and wide as the input, "
            f"{2 * size['H']} x {2 * size['W']}, but is {skip['H']} x {skip['W']} "
            f"(batches of {size['B']} and {skip['B']}).",
        )
        # solution:begin upsample, concatenate the skip connection behind, block | torch.cat
        expected_skip_size = (2 * x.shape[2], 2 * x.shape[3])
        assert skip_connection.shape[2:] == expected_skip_size, f"must be {expected_skip_size}"
        x = self.upsample(x)  # [B, C_in, 2H, 2W]
        x = torch.cat([x, skip_connection], dim=1)  # [B, C_in + C_skip, 2H, 2W]
        return self.block(x)  # [B, C_out, 2H, 2W]
        # solution:end


class UNet(nn.Module):
    """Contract, then expand with skip connections: one score for each class at each pixel.

    The default is the network of the assignment. `down` lists the channels from the top, `up` from the
    bottom. `disable_skip_connections` sets all skips to zero. An image whose sides are not multiples of
    `2^levels` is padded by repeating its last column and row, and the scores are cut back.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 11,
        disable_skip_connections: bool = False,
        down: Sequence[int] = (64, 128),
        bottleneck: int = 64,
        up: Sequence[int] = (32, 32),
        convolutions: int = 1,
    ) -> None:
        super().__init__()
        paths = f"down is {tuple(down)} and up is {tuple(up)}; both need"
        require(len(down) == len(up) > 0, f"{paths} the same number of levels, at least one.")
        self.in_channels, self.disable_skip_connections = in_channels, disable_skip_connections
        # solution:begin self.downs, self.bottleneck, self.ups, self.output | nn.ModuleList
        channels = [in_channels, *down]
        self.downs = nn.ModuleList(
            Down(channels[level], channels[level + 1], convolutions) for level in range(len(down))
        )
        self.bottleneck = Block(channels[-1], bottleneck, convolutions)
        below = [bottleneck, *up]
        self.ups = nn.ModuleList(
            Up(below[level], skip, below[level + 1], convolutions)
            for level, skip in enumerate(reversed(down))
        )
        self.output = nn.Conv2d(below[-1], out_channels, kernel_size=1)
        # solution:end

    def forward(self, x: Tensor) -> Tensor:
        """Logits for every pixel: `[B, in_channels, H, W]` -> `[B, out_channels, H, W]`."""
        size = expect("images", x, "B C H W", C=self.in_channels)
        require(size["H"] * size["W"] > 0, f"An image must have pixels, but is {list(x.shape)}.")
        # solution:begin pad, contract, bottleneck, expand with the skip connections, scores, cut back
        height, width = x.shape[2:]
        step = 2 ** len(self.downs)
        bottom, right = -height % step, -width % step
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")  # [B, C, H', W']
        skips: list[Tensor] = []
        for down in self.downs:
            x, skip = down(x)  # [B, C_l, H'/2^l, W'/2^l], twice that size
            skips.append(torch.zeros_like(skip) if self.disable_skip_connections else skip)
        x = self.bottleneck(x)
        for up in self.ups:
            x = up(x, skips.pop())
        logits = self.output(x)  # [B, classes, H', W']
        output = logits[:, :, :height, :width]  # [B, classes, H, W]
        assert output.shape[2:] == (height, width), f"got {output.shape[2:]}"
        return output
        # solution:end
