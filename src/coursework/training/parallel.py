"""Many seeds side by side: one process with one thread for each, on this machine or on a cluster.

Trainings of small models do not gain from a second thread, but many of them run side by side. joblib
does the work, in processes of this machine (``loky``) or in the workers of a Dask scheduler (``dask``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar, get_args

from coursework.errors import ConfigError

Backend = Literal["loky", "dask"]
T = TypeVar("T")


def _single_threaded(function: Callable[[int], T], number: int) -> T:
    from coursework.training.threads import limited_threads

    with limited_threads(1):
        return function(number)


def map_seeds(
    function: Callable[[int], T],
    seeds: Sequence[int],
    jobs: int,
    *,
    backend: Backend = "loky",
    scheduler: str | None = None,
) -> Iterator[T]:
    """Call a picklable function with every seed, ``jobs`` at a time; the results come in order.

    ``scheduler`` is the address of a Dask scheduler (``tcp://host:8786``); None starts a local one.

    Raises:
        ConfigError: If the backend is unknown, or its package is not installed.
    """
    import joblib

    if backend not in get_args(Backend):
        raise ConfigError(f"backend is {backend!r}; choose from {', '.join(get_args(Backend))}.")
    cluster = _dask(jobs, scheduler) if backend == "dask" else contextlib.nullcontext()
    with cluster, joblib.parallel_config(backend=backend, n_jobs=jobs):
        tasks = (joblib.delayed(_single_threaded)(function, number) for number in seeds)
        # Dask's backend hands its results over all at once.
        streamed = "generator" if backend == "loky" else "list"
        yield from joblib.Parallel(return_as=streamed)(tasks)


def _dask(jobs: int, scheduler: str | None) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "The dask backend needs a package that is not installed; run `pip install distributed`."
        ) from error
    if scheduler:
        return Client(scheduler)
    return Client(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
