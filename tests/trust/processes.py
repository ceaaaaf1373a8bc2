"""The environment of fresh processes, and where their scripts are."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent


def environment(threads: int = 1, hash_seed: str = "0", **more: str) -> dict[str, str]:
    """The environment of a fresh process: no data root, no network."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COURSEWORK_")}
    kept |= {
        "COURSEWORK_OFFLINE": "1",
        "COURSEWORK_PROGRESS": "0",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": hash_seed,
    }
    return kept | more
