"""Deep graph convolutions of Chen et al. (2020), GCNII, https://arxiv.org/abs/2007.02133."""

import math

import torch
from torch import Tensor, nn

from coursework.models.checks import expect, probability, require
from coursework.models.dropout import Dropout
from coursework.models.sparse import FeatureLinear, multiply


class GCNIIConvolution(nn.Module):
    r"""A graph convolution with initial residual and identity mapping (equation 5); `adj` dense or sparse.

    .. math:: H^{(l)} = \big((1-\alpha)\hat A H^{(l-1)} + \alpha H^{(0)}\big)
              \big((1-\beta_l) I + \beta_l W^{(l)}\big), \qquad \beta_l = \ln(1 + \lambda/l)
    """

    def __init__(self, width: int, layer: int, alpha: float, strength: float) -> None:
        super().__init__()
        probability("alpha", alpha)
        require(layer > 0 and strength > 0, "layer and strength (lambda) must be positive.")
        self.alpha = alpha
        self.beta = math.log(1 + strength / layer)
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, first: Tensor, adj: Tensor) -> Tensor:
        """Convolve: `[N, H]`, `[N, H]`, `[N, N]` -> `[N, H]`."""
        expect("adj", adj, "N N", N=len(h))
        mixed = (1 - self.alpha) * multiply(adj, h) + self.alpha * first  # [N, H]
        return (1 - self.beta) * mixed + self.beta * self.linear(mixed)  # [N, H]


class GCNII(nn.Module):
    """A linear layer, any number of :class:`GCNIIConvolution`, and a linear layer to the classes."""

    def __init__(
        self,
        nfeat: int,
        n_hidden: int,
        n_classes: int,
        layers: int,
        dropout: float,
        alpha: float = 0.1,
        strength: float = 0.5,
    ) -> None:
        super().__init__()
        require(layers >= 1, f"layers must be at least 1, but is {layers}.")
        self.first = FeatureLinear(nfeat, n_hidden)
        self.convolutions = nn.ModuleList(
            GCNIIConvolution(n_hidden, layer, alpha, strength) for layer in range(1, layers + 1)
        )
        self.last = nn.Linear(n_hidden, n_classes)
        self.dropout = Dropout(dropout)

    def hidden(self, x: Tensor, adj: Tensor) -> Tensor:
        """What the last layer reads: `[N, nfeat]` -> `[N, n_hidden]`."""
        first = h = torch.relu(self.first(x))  # [N, n_hidden]
        for convolution in self.convolutions:
            h = torch.relu(convolution(self.dropout(h), first, adj))
        return h

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Logits of the classes: `[N, nfeat]`, `[N, N]` -> `[N, n_classes]`."""
        return self.last(self.dropout(self.hidden(x, adj)))
