"""Where runs are computed: on the cores of this machine, or on a Ray or Dask cluster. joblib sees no difference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from joblib import parallel_config, register_parallel_backend


@contextmanager
def local_processes(n_jobs: int, address: str | None) -> Iterator[None]:
    """
    Processes on this machine.

    :param n_jobs: number of processes, -1 for all cores
    :param address: has no meaning here
    """
    with parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        yield


@contextmanager
def ray_cluster(n_jobs: int, address: str | None) -> Iterator[None]:
    """
    A Ray cluster.

    :param n_jobs: number of runs at a time, -1 for as many as the cluster has cores
    :param address: of a running cluster; by default one is started on this machine for as long as the context lasts
    :raises ImportError: if Ray is missing
    """
    try:
        import ray
        from ray.util.joblib.ray_backend import RayBackend
    except ImportError as error:
        raise ImportError("backend 'ray' needs Ray: pip install sb3-udrl[ray]") from error

    class GeneratingRayBackend(RayBackend):
        """Ray's own backend, which inherits this limit of process pools without sharing their reason for it."""

        supports_return_generator = True

    n_cpus = None if address is not None or n_jobs < 1 else n_jobs
    address = address or "local"  # else Ray would take whichever cluster this machine belongs to
    with ray.init(address=address, num_cpus=n_cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR):
        register_parallel_backend("ray", GeneratingRayBackend)
        with parallel_config("ray", n_jobs=n_jobs):
            yield


@contextmanager
def dask_cluster(n_jobs: int, address: str | None) -> Iterator[None]:
    """
    A Dask cluster. Its workers should have one thread each, or their CPU seconds count all of their runs.

    :param n_jobs: number of runs at a time, -1 for as many as the cluster has workers
    :param address: of a running scheduler; by default a cluster is started on this machine for as long as the context lasts
    :raises ImportError: if Dask is missing
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("backend 'dask' needs Dask: pip install sb3-udrl[dask]") from error
    n_workers = None if n_jobs < 1 else n_jobs
    options = {} if address else {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
    with Client(address, **options), parallel_config("dask", n_jobs=n_jobs):  # type: ignore[no-untyped-call]
        yield


BACKENDS: dict[str, Callable[[int, str | None], AbstractContextManager[None]]] = {
    "loky": local_processes,
    "ray": ray_cluster,
    "dask": dask_cluster,
}
