"""Let torchvision be imported beside a torch build that its compiled operators do not fit.

There its import fails, because it registers fake kernels for operators that nobody declared (``operator
torchvision::nms does not exist``). With the two schemas declared first, what is Python works.
"""

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
library: Any = None  # a torch.library.Library takes its schemas with it when it is collected


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
    for name in ("nms", "qnms"):
        library.define(name + SCHEMA)


def _find_spec(name: str, *_: Any) -> None:
    """Finds nothing; declares the schemas when torchvision is imported for the first time."""
    if name == "torchvision":
        sys.meta_path.remove(FINDER)
        declare_missing_operators()


FINDER: Any = SimpleNamespace(find_spec=_find_spec)  # one of those that the import system asks


def install() -> None:
    """Arrange for the declaration, unless torchvision is there already; may be called twice."""
    if "torchvision" not in sys.modules and FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
