"""A step for asyncio: ``stream_step`` gives its output as it comes, and how it ended."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType

from ..declare.checks import StrPath
from ..launch.results import Completed
from .step import Step
from .stepping import Runtime, run_step

__all__ = ["StepStream", "stream_step"]

UNREAD_MOST = 1 << 20
"""Bytes that wait for a reader; the step waits too when there are more, as at a full pipe."""


class _Work:
    """The step in a thread of its own, which knows nothing of the ``StepStream``: when that is
    dropped, its end is noticed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cancel = threading.Event()
        self.completed: Completed[None] | None = None
        self.error: BaseException | None = None
        self.chunks: deque[bytes] = deque()
        self.news = asyncio.Event()
        self.over = False
        self._loop = loop
        self._amount = 0
        self._dropping = False
        self._room = threading.Condition()

    # ---- in the thread

    def run(self, rootfs: StrPath, step: Step, runtime: Runtime, state: StrPath | None) -> None:
        try:
            self.completed = run_step(
                rootfs, step, runtime=runtime, log=self._take, cancel=self.cancel, state=state
            )
        except BaseException as error:  # raised where it is waited for
            self.error = error
        self._tell(True)

    def _take(self, data: bytes) -> None:
        with self._room:
            while self._amount >= UNREAD_MOST and not self.cancel.is_set() and not self._dropping:
                self._room.wait()
            if self._dropping:
                return
            self._amount += len(data)
            self.chunks.append(data)
        self._tell(False)

    def _tell(self, over: bool) -> None:
        try:
            self._loop.call_soon_threadsafe(self._told, over)
        except RuntimeError:  # the loop is closed: nobody will ever read
            self.stop()

    # ---- in the loop

    def _told(self, over: bool) -> None:
        self.over = self.over or over
        self.news.set()

    def next(self) -> bytes | None:
        """What has come and was not read, if there is any."""
        with self._room:
            if not self.chunks:
                return None
            data = self.chunks.popleft()
            self._amount -= len(data)
            self._room.notify()
        return data

    def drop(self) -> None:
        """Nobody reads from now on."""
        with self._room:
            self._dropping = True
            self.chunks.clear()
            self._room.notify()

    def stop(self) -> None:
        """Have the step killed."""
        with self._room:
            self.cancel.set()
            self._room.notify()


class StepStream:
    """A step that runs beside the event loop: an asynchronous iterator over its output.

    It starts when it is first awaited or iterated over, or its ``async with`` is entered, whose end
    waits for the step's and kills it after an exception, a cancellation among them.  A stream that
    is dropped kills its step.

    Attributes:
        completed: how it ended, or None as long as it has not.
    """

    def __init__(
        self, rootfs: StrPath, step: Step, runtime: Runtime, state: StrPath | None
    ) -> None:
        self._arguments = (rootfs, step, runtime, state)
        self._cancelled = False
        self._work: _Work | None = None

    @property
    def completed(self) -> Completed[None] | None:
        return None if self._work is None else self._work.completed

    def cancel(self) -> None:
        """Kill the step, at whatever moment; the iteration ends then, and the verdict is CANCELLED.

        Of this object's methods only this may be called in other threads than the event loop's.
        """
        self._cancelled = True
        if self._work is not None:
            self._work.stop()

    async def wait(self) -> Completed[None]:
        """Wait for the step's end.  Output that is not read is dropped.

        Raises:
            what ``run_step`` raises.
        """
        work = self._begun()
        work.drop()
        return await self._ended(work)

    async def aclose(self) -> None:
        """Kill the step, and wait until nothing is left of it."""
        work = self._begun()
        work.stop()
        work.drop()
        while not work.over:
            await _news(work)

    def __aiter__(self) -> StepStream:
        return self

    async def __anext__(self) -> bytes:
        work = self._begun()
        while True:
            data = work.next()
            if data is not None:
                return data
            if work.over:
                await self._ended(work)
                raise StopAsyncIteration
            await _news(work)

    async def __aenter__(self) -> StepStream:
        self._begun()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await self.aclose()
            return
        try:
            await self.wait()
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def __del__(self) -> None:
        if self._work is not None:
            self._work.stop()

    def _begun(self) -> _Work:
        if self._work is None:
            self._work = _Work(asyncio.get_running_loop())
            if self._cancelled:
                self._work.stop()
            threading.Thread(
                target=self._work.run, args=self._arguments, name="pycontainer step"
            ).start()
        return self._work

    async def _ended(self, work: _Work) -> Completed[None]:
        while not work.over:
            await _news(work)
        if work.error is not None:
            raise work.error
        assert work.completed is not None
        return work.completed


async def _news(work: _Work) -> None:
    await work.news.wait()
    work.news.clear()


def stream_step(
    rootfs: StrPath,
    step: Step,
    *,
    runtime: Runtime = "native",
    state: StrPath | None = None,
) -> StepStream:
    """Run *step* beside an event loop, which it never blocks.

    ::

        async with stream_step(rootfs, step) as stream:
            async for data in stream:
                ...
        print(stream.completed.status)

    The arguments are those of ``run_step``; what that raises is raised where the end is waited for.
    """
    return StepStream(rootfs, step, runtime, state)
