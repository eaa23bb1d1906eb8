"""Sending one child off: the order to the helper, the request to the child itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from .._native import ffi, lib
from ..plan.steps import Step
from .codec.transport import to_memfd
from .descriptor import Descriptor
from .exchange import Exchange, reap_supervisors
from .forkserver import Forkserver
from .identity import Identity
from .protocol import INLINE
from .stdio import Stdio
from .trees import send_trees

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
        target: int = -1,
    ) -> None:
        self._order = order
        self._request = request
        self._total = total
        self._streams = streams
        self._steps = steps
        self._identity = identity
        self._target = target

    def by_server(self, server: Forkserver) -> Exchange:
        """Order a child from the helper."""
        call, call_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status, status_server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        exchange = Exchange(call, status)
        try:
            with call_child, status_server:
                cwd = _current_directory()
                fds = [*self._streams.fds, call_child.fileno(), status_server.fileno(), cwd.fd]
                if self._target >= 0:
                    fds.append(self._target)
                server.order(self._order, fds)
        except BaseException:
            exchange.close()
            raise
        self._send(exchange)
        return exchange

    def _send(self, exchange: Exchange) -> None:
        try:
            if self._total > INLINE:
                memfd = to_memfd(self._request)
                try:
                    socket.send_fds(exchange.call, [self._request[0]], [memfd])
                finally:
                    os.close(memfd)
            else:
                exchange.call.sendmsg(self._request)
            if self._steps and self._identity is not None:
                send_trees(exchange.call, self._steps, self._identity)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the child has ended: why, it or its supervisor says
        except BaseException:
            exchange.abandon()
            raise

    def by_fork(
        self, fn: Callable[[], Any], populate: Callable[[], Any] | None, allow: tuple[Any, ...]
    ) -> Exchange:
        """Fork this process; the child clones the container and supervises it."""
        from . import child

        reap_supervisors()
        call, call_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status, status_server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        exchange = Exchange(call, status)
        cwd = _current_directory()
        caller = os.getpid()
        watched = Descriptor(os.pidfd_open(caller))
        with call_child, status_server:
            fds = [*self._streams.fds, call_child.fileno(), status_server.fileno(), cwd.fd, -1]
            try:
                exchange.supervisor = os.fork()
                if exchange.supervisor == 0:
                    # The terminal's signals are for the caller, who relays them; the supervisor's
                    # death would be the container's.
                    os.setsid()
                    order = ffi.from_buffer("struct pc_order *", self._order)
                    lib.pc_supervise_one(order, ffi.new("int[]", fds), watched.fd, False)
                    child.run_loaded(fn, populate, allow)
            finally:
                # Whatever happens in the fork, a Ctrl-C of the caller's say: it must not return
                # into the caller's code.
                if os.getpid() != caller:
                    os._exit(child.FAILED)
        self._send(exchange)
        return exchange


def _current_directory() -> Descriptor:
    try:
        return Descriptor(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:  # removed, or no longer ours to enter
        return Descriptor(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
