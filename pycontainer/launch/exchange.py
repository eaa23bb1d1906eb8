"""One call's conversation: with the supervisor of the child, and with the child itself."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from .._native import lib
from ..errors import HelperError, SetupError
from .discard import discard
from .hearing import Hearing
from .sockets import discard_unread
from .supervisors import leave_supervisor, reap_supervisors

__all__ = ["Exchange"]

KILL_AFTER = 5.0
"""Seconds between a relayed signal and SIGKILL."""
_GLANCE = 1.0  # seconds between looks at whether a signal has been relayed
_PATIENCE = 30.0  # seconds for the kernel to end what was killed; then something is wrong


class Exchange(Hearing):
    """A call's conversation: waiting for what is said, saying, and ending it."""

    # ---- waiting

    def pump(
        self,
        until: str,
        deadline: float | None = None,
        files: dict[int, Any] | None = None,
        stdio: Any = None,
    ) -> bool:
        """Take what comes until the attribute *until* is true, or *deadline* (monotonic) passes.

        Arguments:
            files: descriptors to watch as well: fd → (events, what to call when one has come).
            stdio: a ``Stdio`` that may want to be woken.

        Returns whether it is true.

        Raises:
            HelperError: the helper died, and with it the container.
        """
        while not getattr(self, until):
            if self.over:
                return bool(getattr(self, until))
            wake_at = None if stdio is None else stdio.wake_at
            wait = self._wait(deadline, wake_at)
            if files:
                for fd, (events, _) in files.items():
                    self._poll.register(fd, events)
            try:
                events_now = self._poll.poll(wait)
            finally:
                for fd in files or ():
                    self._poll.unregister(fd)
            for fd, _ in events_now:
                if fd == self._status.fileno():
                    self._hear_status()
                elif fd == self.call.fileno():
                    self._hear_call()
                elif files and fd in files:
                    files[fd][1]()
            if stdio is not None and wake_at is not None and time.monotonic() >= wake_at:
                stdio.wake()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_at = None
                self.kill()
            # Also when something has come: a flood would keep us here for ever.
            if deadline is not None and time.monotonic() >= deadline:
                return bool(getattr(self, until))
        return True

    def _wait(self, deadline: float | None, wake_at: float | None) -> float | None:
        """How long poll(2) may sleep, in milliseconds."""
        times = [one for one in (deadline, wake_at, self._kill_at) if one is not None]
        if not times and not self.relaying:
            return None
        now = time.monotonic()
        if self.relaying:
            # A signal that comes while poll(2) sleeps changes none of its arguments: the
            # interpreter runs the handler and sleeps on (PEP 475).
            times.append(now + _GLANCE)
        return max(0.0, min(times) - now) * 1000

    def wait_for_the_end(self) -> None:
        """Hear what the child has said only when it has ended."""
        self._forget(self.call)
        self._listening = False

    def _listen(self) -> None:
        """Hear what the child says at once, after all."""
        if self._calling and not self._listening:
            self._listening = True
            self._poll.register(self.call, select.POLLIN)

    # ---- saying

    def go(self) -> None:
        """Let the function start (after PC_REQUEST_WAIT)."""
        self.waiting = False
        try:
            self.call.send(b"\0")
        except OSError:
            pass  # it has ended: the status tells

    def kill(self) -> None:
        """Kill the container's first process; the kernel ends the rest."""
        self.signal(9)

    def signal(self, number: int) -> None:
        """Send a signal, as soon as it is known whom to; none once it has ended."""
        if not self.over:
            self.sent.add(number)
        if self.pidfd < 0 and not self.over:
            self._unsent.append(number)
            self._send(self._loader_fd[0], number)
        elif self.pidfd >= 0 and self.status is None:
            import signal

            pidfd = self.pidfd
            if self.visits:
                if not self._listening:
                    self._drain()  # whether there is a visitor by now
                if self._visitor >= 0:
                    # Killed, a function's waiter takes it along; a program's takes its whole
                    # group, after it has ended.
                    if number != signal.SIGKILL or self.visited:
                        pidfd = self._visitor
                elif number != signal.SIGKILL and not self.ready and not self.visited:
                    # The joiner obeys while it loads and joins, and is deaf once it has a child.
                    # Then the child has the signal as soon as it can be told.  A program's passes
                    # it on.
                    self._again.append(number)
                    self._listen()
            self._send(pidfd, number)

    def _send(self, pidfd: int, number: int) -> None:
        if pidfd < 0:
            return
        import signal

        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            # This process has given up its ids since (setuid(2)).
            if self.helper is None:
                raise
            self.helper.signal(pidfd, number)

    def relay(self, number: int) -> None:
        """Pass a signal of the caller's on; the second one, or five seconds, kills."""
        if self._kill_at is not None:
            self.kill()
        else:
            self._kill_at = time.monotonic() + KILL_AFTER
            self.signal(number)

    def abandon(self, patience: float = _PATIENCE) -> None:
        """Kill what was started, whatever state it is in, wait for its end, and close.

        Arguments:
            patience: seconds for the helper's answer, and for the end.
        """
        try:
            self._know(patience)
            self.kill()
            self.pump("over", time.monotonic() + patience)
        except HelperError:
            pass
        except BaseException:
            self.kill()  # a second Ctrl-C: do not wait
            raise
        finally:
            self.close()

    def _know(self, patience: float) -> None:
        """Hear which process it is."""
        try:
            if self._heard.kind:  # what heard it was interrupted
                self._hear_status()
            if self.pid == 0 and not self.over:
                # The helper answers an order in a millisecond; then there is something to kill.
                self.pump("known", time.monotonic() + patience)
        except SetupError:
            pass
        if self.pid and self.pidfd < 0 and not self.over:
            # There was no number left for the pidfd: the call's is to be had.  The supervisor says
            # when it has reaped the process, so that until then the pid is its own.
            self._forget(self.call)
            self._calling = self._listening = False
            self.call.close()
            try:
                self.pidfd = self._heard_fd[0] = os.pidfd_open(self.pid)
            except OSError:
                pass  # it has ended; or another thread was quicker, and it ends by itself
            self.pump("over", time.monotonic())

    def drop(self) -> None:
        """Nobody has this any more."""
        if self.owned and not self.over and self.call.fileno() >= 0 and self._pid == os.getpid():
            self.abandon(2.0)
        else:
            self.close()

    def __del__(self) -> None:
        if hasattr(self, "_heard_fd"):  # the last that __init__() sets
            self.drop()

    def close(self) -> None:
        """Close the sockets, the pidfd, an unread result."""
        if self._calling and self._pid == os.getpid() and self.call.fileno() >= 0:
            self._calling = self._listening = False
            discard_unread(self.call)
        self.call.close()
        self._status.close()
        watch, self.watch = self.watch, None
        if watch is not None:
            # The supervisor has removed them, unless there was none, or it has died.
            watch.remove(1.0 if self._lost else 0.0)
        self.pidfd = -1
        lib.pc_close(self._loader_fd)
        lib.pc_close(self._heard_fd)
        # Each is forgotten first: its number may be somebody else's right after.
        visitor, self._visitor = self._visitor, -1
        outcome, self.outcome = self.outcome, None
        if visitor >= 0:
            os.close(visitor)
        if outcome and outcome[2] >= 0:
            discard([outcome[2]])
        if self.supervisor > 0:
            # A Ctrl-C on any line finds it here or there, so that no zombie of ours stays.
            leave_supervisor(self.supervisor)
            self.supervisor = 0
            reap_supervisors(0 if self.over else os.WNOHANG)
