"""How many threads a computation takes, and many seeds side by side: on this machine or on a cluster."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import joblib
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from coursework.errors import ConfigError, TrainingError

BACKENDS = ("loky", "dask")
T = TypeVar("T")


@contextlib.contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch, scikit-learn and the linear algebra below them compute with ``count`` threads inside: one
    always sums in the same order, and small matrices gain nothing from a second."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


def _single_threaded(function: Callable[[int], T], number: int) -> T:
    with limited_threads(1):
        return function(number)


def map_seeds(
    function: Callable[[int], T], seeds: Sequence[int], jobs: int, backend: str = "loky",
    scheduler: str | None = None,
) -> Iterator[T]:  # fmt: skip
    """Call a picklable function with every seed, ``jobs`` at a time; without ``scheduler`` Dask is local."""
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {backend!r}; choose from {', '.join(BACKENDS)}.")
    if scheduler and backend != "dask":
        what = f"The scheduler {scheduler} belongs to the backend dask, but backend is {backend!r}"
        raise ConfigError(f"{what}; add --backend dask, or leave --scheduler out.")
    cluster: Any = contextlib.nullcontext()
    if backend == "dask":
        try:
            from distributed import Client
        except ImportError as error:
            what = "The dask backend needs a package that is not installed"
            raise ConfigError(f"{what}; run `pip install distributed`.") from error
        local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        cluster = Client(scheduler) if scheduler else Client(**local)
    with cluster, joblib.parallel_config(backend=backend, n_jobs=jobs):
        tasks = (joblib.delayed(_single_threaded)(function, number) for number in seeds)
        # Dask's backend hands its results over all at once.
        streamed = "generator" if backend == "loky" else "list"
        try:
            yield from joblib.Parallel(return_as=streamed)(tasks)
        except TerminatedWorkerError as error:
            what = "The process of a seed was ended, perhaps for lack of memory"
            raise TrainingError(f"{what}; give fewer --jobs, and --resume.") from error
