"""Zachary's karate club: 34 members, 78 friendships, four communities; shipped with PyTorch Geometric."""

import hashlib
from dataclasses import dataclass

from torch import Tensor

from coursework.data import sources
from coursework.data.sources import Source
from coursework.errors import DataError


@dataclass(frozen=True)
class KarateClub:
    """The graph. ``x`` float32 ``[34, 34]`` is the identity, ``edge_index`` int64 ``[2, 156]`` has both
    directions of each edge, ``y`` int64 ``[34]`` is the community 0..3.
    """

    x: Tensor
    edge_index: Tensor
    y: Tensor
    source: Source


def load() -> KarateClub:
    """Load the graph from PyTorch Geometric, and check that it is the known one."""
    source = sources.find("karate")
    from torch_geometric.datasets import KarateClub as PyGKarateClub

    data = PyGKarateClub()[0]
    digest = hashlib.sha256(
        data.edge_index.numpy().astype("<i8").tobytes() + data.y.numpy().astype("<i8").tobytes()
    ).hexdigest()
    if data.edge_index.shape != (2, 156) or digest != source.sha256:
        raise DataError(
            "The karate club of the installed torch_geometric is not the known graph; "
            "run: pip install torch-geometric==2.8.1"
        )
    return KarateClub(data.x, data.edge_index, data.y, source)
