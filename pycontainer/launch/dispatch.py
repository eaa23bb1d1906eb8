"""Sending one child off: the order to the helper, the request to the child itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .._native import ffi, lib
from ..plan.steps import Step
from .descriptor import Descriptor
from .exchange import Exchange
from .identity import Identity
from .protocol import INLINE
from .signals import Relay
from .sockets import pair, send
from .stdio import Stdio
from .supervisors import reap_supervisors

if TYPE_CHECKING:
    from .forkserver import Forkserver
    from .limits import Watch

__all__ = ["Dispatch"]


class Dispatch:
    """What goes to one child: the order, the request, its descriptors."""

    def __init__(
        self,
        order: bytes,
        request: list[Any],
        total: int,
        streams: Stdio,
        steps: tuple[Step, ...],
        identity: Identity | None,
        relay: Relay,
        target: int = -1,
        program: bool = False,
        watch: Watch | None = None,
        loader: bool = False,
        members: Sequence[Descriptor] = (),
        passed: tuple[int, ...] = (),
    ) -> None:
        self._order = order if watch is None else order + watch.order
        # A loader supervises by itself: it has the supervisor's with its request.
        self._loader = loader
        self._watch = watch
        self._request = request
        self._total = total
        self._streams = streams
        self._steps = steps
        self._identity = identity
        self._relay = relay
        self._target = target
        self._program = program
        self._members = members  # of its target's cgroups
        self._passed = passed

    def by_server(self, server: Forkserver) -> Exchange:
        """Order a child from the helper."""
        call, call_child = pair()
        status, status_server = pair()
        exchange = Exchange(call, status)
        try:
            with call_child, status_server:
                cwd = _current_directory()
                fds = [*self._streams.fds, call_child.fileno(), status_server.fileno(), cwd.fd]
                if self._target >= 0:
                    fds.append(self._target)
                    exchange.visits, exchange.visited = True, self._program
                if self._watch is not None and not self._loader:
                    fds += self._watch.watched
                self._relay.follow(exchange)
                server.order(self._order, fds)
                exchange.watch = self._watch
        except BaseException:
            exchange.close()
            raise
        self._send(exchange)
        return exchange

    def _send(self, exchange: Exchange) -> None:
        try:
            fds = [member.fd for member in self._members]
            if self._watch is not None:
                fds = self._watch.members + (self._watch.watched if self._loader else [])
            fds = [*fds, *self._passed]
            if self._total > INLINE:
                from .codec.transport import to_memfd

                memfd = to_memfd(self._request)
                try:
                    send(exchange.call, [self._request[0]], [memfd, *fds])
                finally:
                    os.close(memfd)
            else:
                send(exchange.call, self._request, fds)
            if self._watch is not None:
                self._watch.sent()
            if self._steps and self._identity is not None:
                from .trees import send_trees  # host root alone has some

                send_trees(exchange.call, self._steps, self._identity)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the child has ended: why, it or its supervisor says
        except BaseException:
            exchange.abandon()
            raise

    def by_fork(
        self,
        fn: Callable[[], Any] | None,
        populate: Callable[[], Any] | None,
        allow: tuple[Any, ...],
    ) -> Exchange:
        """Fork this process; the child clones the container and supervises it.

        *fn* is None for a program: its process never comes back to Python.
        """
        run: Callable[..., NoReturn] | None = None
        if fn is not None:
            from .child import run_loaded  # now: in the fork the files may be the container's

            run = run_loaded
        reap_supervisors()
        call, call_child = pair()
        status, status_server = pair()
        exchange = Exchange(call, status)
        cwd = _current_directory()
        caller = os.getpid()
        watched = Descriptor(os.pidfd_open(caller))
        with call_child, status_server:
            fds = [*self._streams.fds, call_child.fileno(), status_server.fileno(), cwd.fd, -1]
            order = ffi.from_buffer("struct pc_order *", self._order)
            watch = ffi.NULL
            if self._watch is not None:
                exchange.watch = self._watch
                fds += self._watch.watched
                watch = ffi.from_buffer("struct pc_watch *", self._watch.order)
            numbers = ffi.new("int[]", fds)
            self._relay.follow(exchange)
            if run is None:
                exchange.supervisor = lib.pc_fork_supervisor(order, numbers, watch, watched.fd)
                if exchange.supervisor < 0:
                    error, exchange.supervisor = -exchange.supervisor, 0
                    raise OSError(error, os.strerror(error))
            else:
                try:
                    exchange.supervisor = os.fork()
                    if exchange.supervisor == 0:
                        # The terminal's signals are for the caller, who relays them; the
                        # supervisor's death would be the container's.
                        os.setsid()
                        lib.pc_supervise_one(order, numbers, watch, watched.fd, False)
                        run(fn, populate, allow)
                finally:
                    # Whatever happens in the fork, a Ctrl-C of the caller's say: it must not
                    # return into the caller's code.
                    if os.getpid() != caller:
                        os._exit(125)  # as child.FAILED
        self._send(exchange)
        return exchange


def _current_directory() -> Descriptor:
    try:
        return Descriptor(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:  # removed, or no longer ours to enter
        return Descriptor(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
