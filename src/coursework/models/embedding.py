"""Word embeddings that may start from pre-trained vectors of another width."""

import torch
from torch import Tensor, nn

from coursework.models.checks import expect


class WordEmbedding(nn.Module):
    r"""Look words up in a matrix :math:`E`, and bring them to the width of the model.

    .. math:: x_t = P\, E_{w_t}, \qquad E \in \mathbb{R}^{V \times w},\; P \in \mathbb{R}^{d \times w}

    :math:`P` is learned where pre-trained vectors have another width than `d`, else :math:`P = I`. The row of
    the padding word starts at zero and learns nothing from look-ups. Fresh vectors are drawn from N(0,
    std^2), pre-trained ones are rescaled to `std` if it is given.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        padding_idx: int | None = None,
        pretrained: Tensor | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__()
        if pretrained is None:
            weight = torch.randn(vocab_size, dim) * (1.0 if std is None else std)  # [V, d]
        else:
            expect("pretrained", pretrained, "V w", V=vocab_size)
            weight = pretrained.detach().clone().to(torch.get_default_dtype())  # [V, w]
            known = weight[weight.abs().sum(dim=1) > 0]  # [V', w]
            if std is not None and known.numel() > 1:
                weight = weight * (std / known.std().clamp(min=1e-6))
        if padding_idx is not None:
            weight[padding_idx] = 0.0
        self.dim, width = dim, weight.shape[1]
        self.table = nn.Embedding.from_pretrained(weight, freeze=False, padding_idx=padding_idx)
        self.projection = nn.Linear(width, dim, bias=False) if width != dim else None
        if self.projection is not None:
            # Variance 1/w keeps the variance of an entry: E[(Px)_i^2] = w * (1/w) * E[x_j^2].
            nn.init.normal_(self.projection.weight, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors of the words: `[...]` -> `[..., d]`."""
        vectors = self.table(tokens)  # [..., w]
        return vectors if self.projection is None else self.projection(vectors)  # [..., d]
