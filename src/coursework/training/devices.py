"""Which device, precision and processes a training runs on."""

import logging
import os
import platform
from typing import Any

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def choose_precision(wanted: str = "auto") -> str:
    """``bf16-mixed`` where the hardware multiplies bfloat16: a GPU, or a CPU with the instructions (both may
    also emulate them; on a CPU that is four times slower than float32)."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if native else "32-true"
    fast: bool = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)()
    if platform.machine().lower() in ("x86_64", "amd64"):
        names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
        fast &= any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return "bf16-mixed" if fast else "32-true"


def processes() -> int:
    """How many processes ``torchrun`` has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def make_fabric(precision: str = "auto") -> Any:
    """A Fabric: on the GPU where there is one, of all processes where ``torchrun`` started several."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the precision is recorded
    kind = "cuda" if torch.cuda.is_available() else "cpu"  # MPS lacks float64 and sparse matrices
    if processes() == 1:
        return Fabric(accelerator=kind, devices=1, precision=choose_precision(precision))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
    spread = {"strategy": "ddp", "devices": local, "num_nodes": processes() // local}
    fabric = Fabric(accelerator=kind, precision=choose_precision(precision), **spread)
    fabric.launch()
    return fabric


def first_process() -> bool:
    """Whether this is the process that writes: the only one, or the first under ``torchrun``."""
    return int(os.environ.get("RANK", "0")) == 0
