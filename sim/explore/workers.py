"""Evaluations on other processes: of this machine, or of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, Self

from golden.integer_network import IntegerNetwork

from .evaluation import Outcome, evaluate_case
from .space import Case
from .store import source_hash

__all__ = ["ClusterWorkers", "Evaluate", "InProcess", "LocalWorkers", "WorkerError", "Workers"]

LOSSES = 3
"""Times in a row that workers may be lost before one of them has finished anything."""
CONNECT_SECONDS = 10

Evaluate = Callable[[IntegerNetwork, Case], Outcome]


class WorkerError(RuntimeError):
    """Workers are not there or do not live; what was finished before is kept."""


class Workers(Protocol):
    """Evaluates cases of one network."""

    count: int
    """Evaluations at once."""

    def run(self, cases: Mapping[str, Case]) -> Iterator[tuple[str, Outcome]]:
        """Key and outcome of each case, as they are finished.

        Raises:
            WorkerError: Workers were lost again and again.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...


class InProcess:
    """No other process."""

    count = 1

    def __init__(self, network: IntegerNetwork, *, function: Evaluate = evaluate_case) -> None:
        self._network = network
        self._function = function

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def run(self, cases: Mapping[str, Case]) -> Iterator[tuple[str, Outcome]]:
        for key, case in cases.items():
            yield key, self._function(self._network, case)


_network: IntegerNetwork | None = None
"""Of this worker process."""


def _set_network(network: IntegerNetwork) -> None:
    global _network
    _network = network


def _evaluate_here(function: Evaluate, case: Case) -> Outcome:
    assert _network is not None
    return function(_network, case)


class LocalWorkers:
    """Processes of this machine. When one is lost, all start again with what is not finished."""

    def __init__(
        self, network: IntegerNetwork, count: int, *, function: Evaluate = evaluate_case
    ) -> None:
        self.count = count
        self._network = network
        self._function = function
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def run(self, cases: Mapping[str, Case]) -> Iterator[tuple[str, Outcome]]:
        left, losses = dict(cases), 0
        while left:
            futures: dict[Future[Outcome], str] = {}
            try:
                for key, case in left.items():
                    futures[self._submit(case)] = key
                for future in as_completed(futures):
                    outcome = future.result()
                    key = futures[future]
                    del left[key]
                    losses = 0
                    yield key, outcome
            except BrokenProcessPool as error:
                self._stop()
                losses += 1
                if losses >= LOSSES:
                    name = next(iter(left.values())).config.name
                    raise WorkerError(
                        f"workers must live, but were lost {losses} times in a row with "
                        f"{len(left)} candidates left, among them {name}"
                    ) from error

    def _submit(self, case: Case) -> Future[Outcome]:
        if self._pool is None:
            # Not forked: this process has threads.
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_set_network,
                initargs=(self._network,),
            )
        return self._pool.submit(_evaluate_here, self._function, case)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _evaluate_there(
    network: IntegerNetwork, case: Case, sources: str, function: Evaluate
) -> Outcome:
    if source_hash() != sources:
        raise WorkerError(f"workers must have the sources {sources}, not {source_hash()}")
    return function(network, case)


class ClusterWorkers:
    """Workers of a Dask cluster. The scheduler gives what a lost one had to another one."""

    def __init__(
        self,
        network: IntegerNetwork,
        address: str,
        *,
        function: Evaluate = evaluate_case,
        timeout: float = CONNECT_SECONDS,
    ) -> None:
        """Connect to the scheduler; raises :class:`WorkerError` if there is none."""
        from distributed import Client

        self._function = function
        try:
            self._client = Client(address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkerError(f"scheduler must run at {address}: {error}") from error
        self.count = sum(self._client.nthreads().values())
        if not self.count:
            self._client.close()
            raise WorkerError(f"scheduler at {address} must have workers")
        self._network = network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def run(self, cases: Mapping[str, Case]) -> Iterator[tuple[str, Outcome]]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        left, losses = dict(cases), 0
        while left:
            try:
                for key, outcome in self._attempt(left):
                    del left[key]
                    losses = 0
                    yield key, outcome
            except KilledWorker as error:
                raise WorkerError(
                    f"workers must live, but were lost again and again: {error}"
                ) from error
            except FutureCancelledError as error:
                # Tasks that the scheduler has given up with the worker that had them.
                losses += 1
                if losses >= LOSSES:
                    raise WorkerError(
                        f"workers must live, but tasks were lost {losses} times in a row "
                        f"with {len(left)} candidates left"
                    ) from error

    def _attempt(self, cases: Mapping[str, Case]) -> Iterator[tuple[str, Outcome]]:
        from distributed import as_completed as as_arrived

        # A task like the others, not scattered data: the scheduler makes it again if it is lost.
        network = self._client.submit(pickle.loads, pickle.dumps(self._network), pure=False)
        futures = {
            self._client.submit(
                _evaluate_there,
                network,
                case,
                source_hash(),
                self._function,
                pure=False,
            ): key
            for key, case in cases.items()
        }
        for future in as_arrived(list(futures), loop=self._client.loop):
            yield futures[future], future.result()
