"""Progress that people see and stored outputs do not: plain text bars, off wherever output is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from coursework import settings

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar on stdout that erases itself.

    The bar is plain text (notebook widgets do not survive being stored, and thousands of their
    messages break nbval) and it is silent when ``COURSEWORK_PROGRESS=0``, which the notebook runner
    and the tests set.

    Args:
        iterable: What to iterate over.
        description: Words before the bar.
        total: Number of items where ``len`` cannot tell.
    """
    if not settings.progress():
        yield from iterable
        return
    from tqdm import tqdm

    yield from tqdm(
        iterable,
        desc=description,
        total=total,
        file=sys.stdout,
        leave=False,
        mininterval=0.5,
        dynamic_ncols=True,
    )
