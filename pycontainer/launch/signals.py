"""Signals of the caller that go to a container while the caller waits for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .running import Running

__all__ = ["relaying"]


@contextmanager
def relaying(running: Running[Any], signals: Iterable[int]) -> Iterator[None]:
    """Relay *signals* to *running* inside the block; afterwards the caller gets them itself.

    Handlers can be installed in the main thread alone (signal(2) is the process's): elsewhere
    nothing is, and the caller's own handlers run as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def relay(number: int, frame: object) -> None:
        came.append(number)
        running.relay(number)

    before: dict[int, Any] = {}
    try:
        for number in signals:
            handler = signal.getsignal(number)
            if handler is not None and handler is not signal.SIG_IGN:
                before[number] = signal.signal(number, relay)
        running.relaying = bool(before)
        yield
    finally:
        running.relaying = False
        try:
            _restore(before)
        except BaseException:  # the handler that was just restored, for a signal that has come
            _restore(before)
            raise
        # The caller's own reaction: a Ctrl-C ends in KeyboardInterrupt, whatever the function did.
        if came:
            signal.raise_signal(came[0])


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
