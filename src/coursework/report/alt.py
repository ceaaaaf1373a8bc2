"""Alternative text of every figure, from ``alt.toml``."""

import re
import tomllib
from pathlib import Path

ALT: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

SHOWN = re.compile(r"figures\.show\(\s*\w+\s*,\s*[\"']([\w-]+)[\"']")


def text(name: str) -> str:
    """Alternative text of a figure; its name in words where none is written."""
    return ALT.get(name) or f"Figure {name.replace('_', ' ')}"


def names(source: str) -> list[str]:
    """Figures that a cell shows: those named in ``figures.show``, and names of ``ALT`` handed on."""
    found = SHOWN.findall(source)
    found += [name for name in re.findall(r"[\"']([1-6]_\w+)[\"']", source) if name in ALT]
    return list(dict.fromkeys(found))
