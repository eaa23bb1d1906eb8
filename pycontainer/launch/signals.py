"""Signals of the caller that go to a container while the caller waits for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ContainerExitError
from .exchange import Exchange

__all__ = ["NO_RELAY", "Relay", "relaying"]


class Relay:
    """What becomes of the caller's signals between the start of a call and its end.

    Until something has been ordered the caller's own handler runs at once, and the call ends: by
    what the handler raises or, when it returns, before the order.  From the order on a signal goes
    to the container, and the caller's handler has it when the call has ended.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = tuple(signals)
        self._before: dict[int, Any] = {}
        self._exchange: Exchange | None = None
        self._came: list[int] = []  # what the caller's own handlers are still to hear of
        self._stopped = 0  # what they have heard of, before anything was started
        self._raised: BaseException | None = None  # by them, at that
        self._hooked = False

    def install(self) -> None:
        """Take the signals over from the handlers that are there now."""
        for number in self._signals:
            handler = signal.getsignal(number)
            # None is a handler that is not Python's: it could not be put back.
            if handler is not None and handler is not signal.SIG_IGN and handler != self._take:
                self._before[number] = handler
                signal.signal(number, self._take)

    def restore(self) -> None:
        """Put back the handlers, but for those that somebody else has put there since."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._take:
                signal.signal(number, handler)

    def _take(self, number: int, frame: Any) -> None:
        exchange = self._exchange
        if exchange is None:
            self._stopped = number
        if exchange is None or self._hooked:
            self._react(number, frame)
        else:
            self._came.append(number)
        if exchange is not None:
            exchange.relay(number)

    def _react(self, number: int, frame: Any) -> None:
        handler = self._before[number]
        if callable(handler):
            try:
                handler(number, frame)
            except BaseException as error:
                self._raised = error  # it may be lost: in a finalizer, in a careless "except"
                raise
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)
            signal.signal(number, self._take)  # the default was not to end the process

    def follow(self, exchange: Exchange) -> None:
        """Relay to what is about to be ordered.

        Raises:
            ContainerExitError: a signal came before.  Or what the caller's own handler has raised.
        """
        if not self._signals:
            return
        self._exchange = exchange
        exchange.relaying = bool(self._before)
        if self._raised is not None:
            raise self._raised
        for number in (self._stopped, *self._came):
            if number:
                raise ContainerExitError(
                    f"signal {number} came before the container was started; nothing has run in it"
                )

    @contextmanager
    def during_hook(self) -> Iterator[None]:
        """Code of the caller's runs: its handlers are not kept waiting, and it may change them."""
        self._hooked = True
        try:
            yield
        finally:
            self._hooked = False
            self.install()

    def deliver(self) -> None:
        """Give what has been relayed to the caller's own handlers."""
        self._exchange = self._raised = None  # they hold this object, by way of tracebacks
        # A Ctrl-C ends in KeyboardInterrupt, whatever the function did.
        if self._came:
            signal.raise_signal(self._came[0])


NO_RELAY = Relay(())
"""Signals take the caller's own action throughout."""


@contextmanager
def relaying(signals: Iterable[int]) -> Iterator[Relay]:
    """Relay *signals* to what is started in the block; afterwards the caller gets them itself.

    Handlers can be installed in the main thread alone (signal(2) is the process's): elsewhere
    nothing is, and the caller's own handlers run as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield NO_RELAY
        return
    relay = Relay(signals)
    try:
        relay.install()
        yield relay
    finally:
        try:
            relay.restore()
        except BaseException:  # the handler that was just restored, for a signal that has come
            relay.restore()
            raise
        relay.deliver()
