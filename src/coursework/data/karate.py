"""Zachary's karate club: 34 members, 78 friendships, four communities; shipped with PyTorch Geometric."""

import hashlib
from typing import NamedTuple

from torch import Tensor

from coursework.data import sources
from coursework.data.sources import Source
from coursework.errors import DataError


class KarateClub(NamedTuple):
    x: Tensor  # the identity, float32 [34, 34]
    edge_index: Tensor  # both directions of each edge, int64 [2, 156]
    y: Tensor  # community 0..3, int64 [34]
    source: Source


def load() -> KarateClub:
    """Load the graph from PyTorch Geometric, and check that it is the known one."""
    source = sources.find("karate")
    from torch_geometric.datasets import KarateClub as PyGKarateClub

    data = PyGKarateClub()[0]
    content = b"".join(part.numpy().astype("<i8").tobytes() for part in (data.edge_index, data.y))
    if hashlib.sha256(content).hexdigest() != source.sha256:
        what = "The karate club of the installed torch_geometric is not the known graph"
        raise DataError(f"{what}; run: pip install torch-geometric==2.8.1")
    return KarateClub(data.x, data.edge_index, data.y, source)
