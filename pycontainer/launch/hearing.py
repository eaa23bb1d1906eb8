"""What a call hears: from the supervisor of the child, and from the child itself.

What the supervisor says is trusted: started, exited, the usage.  What the child says is trusted
until the function starts, and only data afterwards.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..errors import HelperError, ResultError, SetupError
from .discard import discard
from .results import ExitStatus, Usage
from .sockets import Socket, receive

if TYPE_CHECKING:
    from .forkserver import Forkserver

__all__ = ["Hearing"]

_LONGEST = (1 << 16) + 64  # of a message; longer ones come by memfd
_VALUES = frozenset(
    (
        lib.PC_SAY_VALUE,
        lib.PC_SAY_VALUE_PICKLE,
        lib.PC_SAY_EXCEPTION,
        lib.PC_SAY_UNENCODABLE,
    )
)
_BEFORE = frozenset(
    (
        lib.PC_SAY_SETUP_FAILED,
        lib.PC_SAY_LOAD_FAILED,
        lib.PC_SAY_HOOK_FAILED,
        lib.PC_SAY_THREADED,
    )
)


class Hearing:
    """The two sockets of a call and what has come over them.

    Attributes:
        pid, pidfd: of the container's first process, once it has started.
        clone_error: the errno when it could not be cloned.
        ready: the function has started.
        refusal: (kind, body) of what the child said instead of starting it.
        outcome: (kind, body, memfd or -1) of what came of the function.
        malformed: why its last word is not one.
        status, usage: how it ended.
    """

    def __init__(self, call: Socket, status: Socket) -> None:
        self.call = call
        self._status = status
        self.pid = 0
        self.pidfd = -1
        self.clone_error = 0
        self.ready = False
        self.refusal: tuple[int, bytes] | None = None
        self.outcome: tuple[int, bytes, int] | None = None
        self.malformed: ResultError | None = None
        self.status: ExitStatus | None = None
        self.usage: Usage | None = None
        self._ended: ExitStatus | None = None
        self._loads = False  # in a process of its own first
        self._lost = False
        self._poll = select.poll()
        self._poll.register(status, select.POLLIN)
        self._poll.register(call, select.POLLIN)
        self._calling = True  # the child's socket has not ended
        self._listening = True  # and is polled
        self._draining = False
        self._visitor = -1  # a pidfd of an excursion's function; pid is the one that waits for it
        self._unsent: list[int] = []  # signals for a process that we have not heard of yet
        self.visits = False  # the function is to run in a child of the process that is known
        self._again: list[int] = []  # signals for that child, of which we have not heard yet
        self.relaying = False  # signals of the caller may come at any moment
        self._kill_at: float | None = None
        self.helper: Forkserver | None = None  # which may do what this process no longer may
        self.supervisor = 0  # a child of ours that supervises (start_method="fork")
        self.replaced = False  # the process becomes the program: its socket's end says so
        self.waiting = False  # it is set up, and waits for go()
        self.visited = False  # the program of an exec_command(), of which the other is the waiter
        self.watch: Any = None  # what its supervisor was given to hold its limits (Watch)
        self.limit = 0  # PC_WATCHED_*: which of them ended it, as its supervisor says
        self.sent: set[int] = set()  # the signals that the caller has sent
        self.owned = True  # what was started ends with this object
        self._pid = os.getpid()  # not in a fork of this process
        self._heard = ffi.new("struct pc_status *")  # of kind 0: all has been taken from it
        self._loader_fd = ffi.new("int *", -1)  # a pidfd of what loads the function, until then
        self._heard_fd = ffi.new("int *", -1)  # the pidfd

    # ---- what is known

    def _forget(self, sock: Socket) -> None:
        try:
            self._poll.unregister(sock)
        except KeyError:
            pass  # it is not polled any more

    @property
    def over(self) -> bool:
        """The container has ended, or never started."""
        return self.status is not None or self.clone_error != 0 or self._lost

    @property
    def decided(self) -> bool:
        """It is known whether the function starts, and in which process.

        The child and its supervisor are heard on two sockets, in either order.
        """
        return (
            ((self.ready or self.waiting) and self.pid != 0)
            or self.refusal is not None
            or self.over
        )

    @property
    def known(self) -> bool:
        """There is a process to kill."""
        return self.pid != 0 or self._loader_fd[0] >= 0

    # ---- hearing

    def _hear_status(self) -> None:
        heard = self._heard
        if not heard.kind:
            lib.pc_receive_status(self._status.fileno(), heard, self._heard_fd, self._loader_fd)
        # A Ctrl-C anywhere from here on finds the message where it is.
        if heard.kind == lib.PC_STATUS_STARTED:
            self.pidfd = self._heard_fd[0]
            self.pid = heard.value
            lib.pc_close(self._loader_fd)
            self._see_replaced()
            if self.pidfd < 0:
                heard.kind = 0
                raise SetupError(errno.EMFILE, None, None, "receive the child's pidfd")
            while self._unsent:
                self.signal(self._unsent[0])
                del self._unsent[0]
        elif heard.kind == lib.PC_STATUS_LOADING:
            self._loads = True
            for number in tuple(self._unsent):
                self._send(self._loader_fd[0], number)
        elif heard.kind == lib.PC_STATUS_FAILED:
            self.clone_error = heard.value
        elif heard.kind == lib.PC_STATUS_EXITED:
            self._drain()
            self.usage = Usage(
                heard.user_us / 1e6, heard.system_us / 1e6, heard.wall_ns / 1e9, heard.max_rss
            )
            self.limit = heard.limit
            self.status = self._ended or ExitStatus.of_wait_status(heard.value)
        else:
            self._lose()
        heard.kind = 0

    def _lose(self) -> None:
        """The supervisor has gone, and the container with it."""
        self._forget(self._status)
        self._drain()
        if self._loads and not self.pid and self.sent:
            # A loader that has obeyed.
            number = 9 if 9 in self.sent else next(iter(self.sent))
            self.status = self._ended or ExitStatus(signal=number)
            return
        self._lost = True
        if self.refusal is None:
            self.kill()
            raise HelperError(
                "the helper process died, and its containers with it; "
                "the function may have run or not"
            )

    def _hear_call(self) -> bool:
        """Take one message; False when there is none (now, or any more)."""
        try:
            # Never waiting: what poll() has announced, _drain() may have taken meanwhile.
            message, fds = receive(self.call, _LONGEST, 1, wait=False)
        except BlockingIOError:
            return False
        except ConnectionError:
            # It died with something of ours unread, which the kernel tells once, and before what
            # it had said: why it died, for one.
            return True
        if not message:
            self._forget(self.call)
            self._calling = self._listening = False
            self._see_replaced()
            return False
        memfd = fds[0] if fds else -1
        kind, body = message[0], message[1:]
        if kind == lib.PC_SAY_ENDED and len(body) == 4:
            if self._ended is None:
                self._ended = ExitStatus.of_wait_status(int.from_bytes(body, "little"))
        elif not self.ready and kind == lib.PC_SAY_READY:
            self._visitor, memfd = memfd, -1
            self.ready = True
            while self._again:
                self.signal(self._again[0])
                del self._again[0]
        elif not self.ready and kind == lib.PC_SAY_WAITING:
            self.waiting = True
        elif not self.ready and kind in _BEFORE and self.refusal is None:
            self.refusal = kind, _whole(body, memfd)
            memfd = -1
        elif self.ready and kind in _VALUES and self.outcome is None:
            self.outcome = kind, body, memfd
            memfd = -1
        elif self.malformed is None and self.outcome is None:
            self.malformed = ResultError(f"malformed message from the container (kind {kind})")
        if memfd >= 0:
            discard([memfd])
        return True

    def _see_replaced(self) -> None:
        """A process that executes its program closes its socket without a word."""
        if self.replaced and not self._calling and self.pid and self.refusal is None:
            self.ready = True

    def _drain(self) -> None:
        """Take what the child had said before it ended; whoever holds its socket now is late."""
        if self._calling and not self._draining:
            self._draining = True
            for _ in range(64):  # it says a handful of things; more is noise
                if not self._hear_call():
                    break
            self._draining = False

    # ---- what hearing leads to

    def kill(self) -> None:
        """Kill the container's first process."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Send a signal, as soon as it is known whom to."""
        raise NotImplementedError

    def _send(self, pidfd: int, number: int) -> None:
        raise NotImplementedError


def _whole(body: bytes, memfd: int) -> bytes:
    if memfd < 0:
        return body
    from .codec.transport import from_memfd

    return bytes(from_memfd(memfd, 1 << 24))
