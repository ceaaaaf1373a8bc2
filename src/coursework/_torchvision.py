"""Let torchvision be imported beside a torch build that its compiled operators do not fit.

There its import fails, because it registers fake kernels for operators that nobody declared (``operator
torchvision::nms does not exist``). With the two schemas declared first, what is Python works.
"""

import contextlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
library: Any = None  # a torch.library.Library takes its schemas with it when it is collected


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; declares the schemas when torchvision is imported for the first time."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            declare_missing_operators()


def declare_missing_operators() -> None:
    """Declare the schemas where torchvision's compiled library cannot provide them."""
    global library
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or library is not None:
        return
    folders = map(Path, spec.submodule_search_locations or ())
    for binary in sorted(file for folder in folders for file in folder.glob("_C*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(binary))
            return
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)


def install() -> None:
    """Arrange for the declaration, unless torchvision is there already; may be called twice."""
    arranged = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not arranged:
        sys.meta_path.insert(0, _BeforeTorchvision())
