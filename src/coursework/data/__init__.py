"""Data sets: one module per data set, each with a loader that returns a frozen, validated dataclass.

Where the raw files come from is decided in :mod:`coursework.data.sources`: the data root, the cache,
the official download (all three verified by SHA-256), or a generated stand-in that says so loudly.
Nothing here knows of models. The submodules are imported when they are first used::

    from coursework import data

    tweets = data.sentiment140.load()
"""

from __future__ import annotations

import importlib
from types import ModuleType

SUBMODULES = (
    "embeddings",
    "eng_fra",
    "karate",
    "m2nist",
    "mnist",
    "planetoid",
    "sentiment140",
    "sources",
    "splits",
    "standins",
    "text",
    "wikipedia",
)
__all__ = list(SUBMODULES)


def __getattr__(name: str) -> ModuleType:
    if name in SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *SUBMODULES])
