"""Let torchvision be imported beside a torch build that its compiled operators do not fit.

The torchvision wheel of the package index is linked against CUDA. Beside a CPU-only torch its
``_C`` library does not load, and ``import torchvision`` then fails because it registers fake kernels
for operators that nobody declared (``operator torchvision::nms does not exist``). torchmetrics and
Lightning fail with it, as they import torchvision when it is installed. Declaring the two schemas is
enough: everything of torchvision that is pure Python works, and calling one of the two operators says
plainly that the compiled library is missing.

The declaration waits until torchvision is imported for the first time (a one-shot finder at the head of
``sys.meta_path``), so importing this package does not import torch.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: Any = None  # a torch.library.Library takes its schemas with it when it is collected


def declare_missing_operators() -> bool:
    """Declare torchvision's operator schemas where its compiled library cannot provide them.

    Returns:
        True where the schemas had to be declared, False where the compiled library loads.
    """
    global _library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or _library is not None:
        return False
    import torch

    for folder in spec.submodule_search_locations or ():
        for binary in sorted(Path(folder).glob("_C*")):
            try:
                torch.ops.load_library(str(binary))
            except OSError:
                continue
            return False
    _library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        _library.define(schema)
    return True


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; calls :func:`declare_missing_operators` once, when torchvision is asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            declare_missing_operators()
        return None


def install() -> None:
    """Arrange for the declaration, unless torchvision is there already. Calling it twice is harmless."""
    if "torchvision" in sys.modules:
        return
    if not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())
