"""The code of an object as a reader wants it."""

from __future__ import annotations

import inspect
import re
from typing import Any

MARKER = re.compile(r"^ *# solution:(?:begin|end).*\n?", re.MULTILINE)
"""What the student edition is cut along, of no interest to a reader of the answers."""


def source_of(thing: Any) -> str:
    """Source of a function or class, without the lines that mark what the student edition leaves out."""
    return MARKER.sub("", inspect.getsource(thing))
