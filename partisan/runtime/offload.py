"""Work that blocks, in threads or processes of the operating system."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from partisan.runtime.parts import NodePart

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Place = Literal["thread", "process"]


class OffloadCalls(NodePart):
    """The method of a node that runs what blocks."""

    _executors: dict[str, Executor]
    _offloaded: set[Future[Any]]  # what has not returned yet, whether it is waited for or not

    async def offload(self, function: Callable[..., Result], *args: Any, to: Place = "thread") -> Result:
        """Run `function(*args)` where it holds up nobody; return what it returns, raise what it raises.

        Whoever waits may be cancelled, or be a process that ends: what has not begun then never does, and what has is
        abandoned: its result is thrown away. Inside the function there is no current process: hand it what it needs,
        and let it call `node.threadsafe` to send.

        Args:
            to: "thread", one of `offload_threads`; or "process", one of `offload_processes` interpreters of their own,
                for what computes in Python: function, arguments and result are pickled then, by this program only.
                Raises BrokenExecutor if one of them dies.
        """
        self._check()
        if to not in ("thread", "process"):
            raise ValueError(f"offload to {to!r}: it is to a thread or to a process")
        try:
            future = self._begin(to, function, args)
        except BrokenExecutor:  # a worker has died since: the others went with it
            del self._executors[to]
            future = self._begin(to, function, args)
        return await future

    def _begin(self, to: Place, function: Callable[..., Result], args: tuple[Any, ...]) -> asyncio.Future[Result]:
        """Hand it over, in such a way that the loop knows. Raises BrokenExecutor."""
        return self.loop.run_in_executor(_Noting(self._executor(to), self._offloaded), _run, function, args)

    def _executor(self, to: Place) -> Executor:
        found = self._executors.get(to)
        if found is not None:
            return found
        if to == "thread":
            found = ThreadPoolExecutor(self.config.offload_threads, thread_name_prefix=f"{self.name}-offload")
        else:  # not by fork: the child would have this one's sockets, and locks that its threads hold
            found = ProcessPoolExecutor(self.config.offload_processes, multiprocessing.get_context("spawn"))
        self._executors[to] = found
        return found

    def _stop_offloading(self) -> None:
        """Begin nothing any more, and wait for nothing: threads go on until their function returns, processes end."""
        executors, self._executors = self._executors, {}
        for executor in executors.values():
            running = list((getattr(executor, "_processes", None) or {}).values())
            executor.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
        left = sum(future.running() for future in list(self._offloaded))
        if left:
            log.warning("%s stops while %d offloaded functions run: nobody waits for them", self.name, left)


class _Noting(Executor):
    """An executor that notes what has not returned yet."""

    def __init__(self, executor: Executor, running: set[Future[Any]]) -> None:
        self._executor = executor
        self._running = running

    def submit(self, function: Callable[..., Result], /, *args: Any, **options: Any) -> Future[Result]:
        future = self._executor.submit(function, *args, **options)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future


def _run(function: Callable[..., Result], args: tuple[Any, ...]) -> Result:
    try:
        return function(*args)
    except StopIteration as error:  # no future can hold it
        raise RuntimeError(f"{function!r} raised StopIteration") from error
