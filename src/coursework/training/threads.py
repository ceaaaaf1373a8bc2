"""How many threads a computation takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch, scikit-learn and the linear algebra below them compute with ``count`` threads inside.

    Small matrices gain nothing from a second thread, and where cores are shared the threads wait for
    each other longer than they work. One thread also always sums in the same order.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
