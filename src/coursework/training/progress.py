"""Progress that people see and stored outputs do not: plain text bars, off wherever output is kept."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from coursework import settings

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar on stdout that erases itself, unless ``COURSEWORK_PROGRESS=0``.

    Plain text: notebook widgets do not survive being stored, and thousands of their messages break nbval.
    """
    options = {"total": total, "leave": False, "mininterval": 0.5, "dynamic_ncols": True}
    hidden = not settings.progress()
    yield from tqdm(iterable, description, file=sys.stdout, disable=hidden, **options)
