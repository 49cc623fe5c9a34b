"""Work shared out: over the processes of this machine, the nodes of a Ray cluster, the jobs of a job array."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Literal, TypeVar

from geocamnet.errors import DataError, GeocamnetError, missing_extra

Engine = Literal["local", "ray"]
Job = TypeVar("Job")
Done = TypeVar("Done")
_POOL_FROM = 24  # jobs; below that, starting processes takes longer than the work
_BATCH = 4  # jobs that a node of a cluster is given at a time
_AHEAD = 3  # jobs, or batches of a cluster, waiting for each core, so that none ever waits for work


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(frozen=True)
class Shard:
    """A job's share of a job array's work: every ``of``-th photograph, from the ``number``-th on."""

    number: int
    of: int

    def of_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this share; the shares of all numbers are all jobs, none twice."""
        return list(jobs[self.number - 1 :: self.of])

    def __str__(self) -> str:
        """Return what files of this share are called by: ``2-of-8``."""
        return f"{self.number}-of-{self.of}"


def read_shard(text: str, *, overwrite: bool = False) -> Shard | None:
    """Return the share that ``I/N`` names, I from 1 to N; None where nothing is asked.

    Args:
        text: what was asked.
        overwrite: whether what is there is to be made anew, which no job of several can do.

    Raises:
        DataError: not of that form, or asked together with ``overwrite``.
    """
    if not text:
        return None
    parts = text.split("/")
    try:
        number, of = (int(part) for part in parts)
    except ValueError:
        number, of = 0, 0
    if not 1 <= number <= of:
        raise DataError(f"--shard must be I/N with I from 1 to N, such as 1/8 to 8/8; received '{text}'.")
    if overwrite:
        raise DataError("--overwrite can't be used with --shard: other jobs may have begun. Delete the folder first.")
    return Shard(number, of)


def shared_out(
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    *,
    engine: Engine = "local",
    workers: int = 0,
    pool_from: int = _POOL_FROM,
) -> Generator[Done, None, None]:
    """Yield what a function makes of each job, in the order in which they are done.

    Args:
        work: a function of a module's top level; it and the jobs travel to other processes.
        jobs: what to do. Each may be done twice, where a process or node dies in the midst.
        engine: ``local`` takes processes of this machine, ``ray`` a Ray cluster, see `in_ray`.
        workers: processes of this machine; 0 means every core, 1 none beside this one.
        pool_from: fewer jobs than these are done here where ``workers`` is 0.

    Raises:
        DataError: a process died, Ray is not installed or its cluster is gone; or whatever the function raises.
    """
    if engine == "ray":
        return in_ray(work, jobs)
    return in_processes(work, jobs, workers=workers, pool_from=pool_from)


def in_processes(
    work: Callable[[Job], Done], jobs: Sequence[Job], *, workers: int, pool_from: int = _POOL_FROM
) -> Generator[Done, None, None]:
    """Yield what a function makes of each job, on this machine; see `shared_out`."""
    count = min(workers or usable_cores(), len(jobs))
    if count <= 1 or (workers == 0 and len(jobs) < pool_from):
        yield from map(work, jobs)
        return
    # spawn: the same on every system, and no half-copied threads of OpenCV as with fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker)
    try:
        waiting: set[Future[Done]] = set()
        for job in jobs:
            waiting.add(pool.submit(work, job))
            if len(waiting) >= _AHEAD * count:  # a future for every job would take memory by the number of jobs
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ready)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in ready)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that works on photographs has died, perhaps for want of memory. Run the same command again with "
            "--workers 1: what is done is kept. (A script must call this below: if __name__ == '__main__')"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_ray(work: Callable[[Job], Done], jobs: Sequence[Job]) -> Generator[Done, None, None]:
    """Yield what a function makes of each job, on the nodes of a Ray cluster; see `shared_out`.

    The cluster is the one of ``RAY_ADDRESS``, else one that runs on this machine, else one is started here. Every node
    must have this package and see the same folders under the same paths. What a node that dies has not handed in is
    done again by another.
    """
    if not jobs:
        return
    try:
        import ray
    except ImportError as error:
        raise DataError(missing_extra("ray", "cluster")) from error
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
        # A node may die any number of times; an error of the function itself is not tried again.
        remote: Any = ray.remote(max_retries=-1, num_cpus=1)(_batch)
        batches = iter([tuple(jobs[start : start + _BATCH]) for start in range(0, len(jobs), _BATCH)])
        waiting: list[Any] = []
        more = True
        while more or waiting:
            room = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while more and len(waiting) < room:
                batch = next(batches, None)
                if batch is None:
                    more = False
                else:
                    waiting.append(remote.remote(work, batch))
            if waiting:
                (ready,), waiting = ray.wait(waiting, num_returns=1)
                yield from ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, GeocamnetError):
            raise cause from error
        raise DataError(f"A node of the cluster failed ({type(cause).__name__}: {cause}).") from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise DataError(
            f"The Ray cluster can't be used ({error}). Run the same command again: what is done is kept."
        ) from error


def _batch(work: Callable[[Job], Done], jobs: tuple[Job, ...]) -> list[Done]:
    import cv2

    cv2.setNumThreads(1)  # the cluster's tasks already use every core
    return [work(job) for job in jobs]


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets the current ones finish
    cv2.setNumThreads(1)  # the processes already use every core
    parent = multiprocessing.parent_process()
    if parent is not None:

        def leave_with_parent() -> None:
            connection.wait([parent.sentinel])  # a killed parent can't tell its workers, which would wait for ever
            os._exit(1)

        threading.Thread(target=leave_with_parent, daemon=True).start()
