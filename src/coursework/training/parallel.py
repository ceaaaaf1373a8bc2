"""Many seeds side by side: one process with one thread for each, on this machine or on a cluster.

Trainings of small models do not gain from a second thread, but many of them run side by side. joblib
does the work; which processes it uses is its *backend*:

* ``loky``: processes of this machine;
* ``dask``: the workers of a Dask scheduler, here or elsewhere (needs the package ``distributed``);
* ``ray``: the workers of a Ray cluster (needs ``ray``).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar, get_args

from coursework.errors import ConfigError

Backend = Literal["loky", "dask", "ray"]
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
    """Call a function with every seed, several at a time, and yield the results in order.

    Args:
        function: Picklable; what it returns must be, too.
        seeds: Its arguments.
        jobs: How many at a time.
        backend: Where they run.
        scheduler: Address of the cluster's scheduler (``tcp://host:8786``); None starts a local one.

    Raises:
        ConfigError: If the backend is unknown, or its package is not installed.
    """
    import joblib

    with _cluster(backend, jobs, scheduler), joblib.parallel_config(backend=backend, n_jobs=jobs):
        tasks = (joblib.delayed(_single_threaded)(function, number) for number in seeds)
        # Dask's backend hands its results over all at once.
        streamed = "generator" if backend == "loky" else "list"
        yield from joblib.Parallel(return_as=streamed)(tasks)


@contextlib.contextmanager
def _cluster(backend: str, jobs: int, scheduler: str | None) -> Iterator[None]:
    """Connect to the cluster of a backend, or start one on this machine."""
    if backend not in get_args(Backend):
        raise ConfigError(f"backend is {backend!r}; choose from {', '.join(get_args(Backend))}.")
    if backend == "dask":
        distributed: Any = _package("distributed", "dask distributed")
        options = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.Client(scheduler) if scheduler else distributed.Client(**options):
            yield
        return
    if backend == "ray":
        ray: Any = _package("ray", "ray")
        ray.init(**({"address": scheduler} if scheduler else {"num_cpus": jobs}))
        importlib.import_module("ray.util.joblib").register_ray()
        try:
            yield
        finally:
            ray.shutdown()
        return
    yield


def _package(name: str, to_install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"The backend needs a package that is not installed; run `pip install {to_install}`."
        ) from error
