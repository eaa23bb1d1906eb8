"""A pseudo-terminal of a container's own, and what connects it with the caller's terminal.

The caller makes the pair (pty(7)).  The program gets the slave as its three streams and as its
controlling terminal; whatever it does to it, TIOCSTI included, stays there.  The caller holds the
master and copies: what is typed at its own terminal, which it sets to raw mode, goes in, what the
program writes comes out.  So Ctrl-C and Ctrl-Z act on the jobs inside, and not on the caller.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .master import Keyboard, Screen, end_of_input, ready, wait
from .stdio import DEVNULL, PIPE, STDOUT, Stdio, Stream
from .text import Text

__all__ = ["TerminalStdio"]

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # places in what tcgetattr() gives
_USUAL_SIZE = b"\x18\0\x50\0\0\0\0\0"  # struct winsize: 24 rows, 80 columns
_AHEAD = 1 << 16  # bytes that wait to be shown before the program is held up
_CHUNK = 4096  # where poll() sees room, a pipe has room for as much (pipe(7))
_AGAIN = 0.05  # seconds between looks at whether the end of the input has been read
_LEFTOVERS = 1 << 20  # bytes that are taken from those who outlive the container

Files = dict[int, Any]
"""Descriptor → (events, what to call when one has come): see ``Exchange.pump``."""


class TerminalStdio(Stdio):
    """A terminal as the standard streams of a container.

    The program has the terminal; *stdin* and *stdout* are what is at the other end of it.

    Arguments:
        stdin: where typing comes from: the caller's stdin (None), a file or descriptor, DEVNULL;
            or PIPE, for ``stdin`` to be a file of the caller's that types what is written to it.
            When it ends the terminal's end-of-file character is typed.
        stdout: where the program's output goes: the caller's stdout (None), a file or descriptor,
            DEVNULL; or PIPE, for ``stdout`` to be a file of the caller's.
        stderr: None or STDOUT for the terminal; others are the program's stderr as they are.

    Attributes:
        name: the slave's path on the host.
    """

    is_terminal = True

    def __init__(
        self, stdin: Stream, stdout: Stream, stderr: Stream, text: Text | None = None
    ) -> None:
        if stdin == STDOUT or stdout == STDOUT:
            raise ValueError("STDOUT is for stderr only")
        self._source = self._sink = self._user = -1
        self._master, self._slave = os.openpty()  # neither is inherited
        self._typed, self._shown = bytearray(), bytearray()
        self._files: Files = {}
        self._saved: list[Any] | None = None
        self.name = os.ttyname(self._slave)
        os.set_blocking(self._master, False)
        try:
            if stdin != PIPE:
                self._source = _duplicate(0 if stdin is None else stdin, os.O_RDONLY)
            if stdout != PIPE:
                self._sink = _duplicate(1 if stdout is None else stdout, os.O_WRONLY)
            if self._source >= 0 and os.isatty(self._source):
                self._user = self._source
            self._ends = self._source >= 0 and self._user < 0  # its end is to be typed
            self._prepare()
            slave = self._slave
            super().__init__(slave, slave, slave if stderr is None else stderr, text)
            if stdin == PIPE:
                keyboard: Any = Keyboard(self._master)
                self.stdin = self._file(keyboard, True)
            if stdout == PIPE:
                screen = io.BufferedReader(Screen(self._master))
                self.stdout = self._file(screen, False)
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """The size, and the modes: those of the caller's terminal where there is one."""
        modes = termios.tcgetattr(self._slave if self._user < 0 else self._user)
        if self._user < 0:
            modes[_LFLAG] &= ~termios.ECHO  # it would only repeat what nobody has typed
        termios.tcsetattr(self._slave, termios.TCSANOW, modes)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, self._size() or _USUAL_SIZE)

    def give_to(self, uid: int) -> None:
        """Let a container of host root's open its terminal by path (/dev/console).

        devpts cannot be idmapped, so the node must belong to the id of the host that the
        container's is.  With the group's right to write others could write to it (wall(1)).

        Raises:
            OSError: the caller may not.
        """
        os.fchown(self._slave, uid, -1)
        os.fchmod(self._slave, 0o600)

    def hold_files(self) -> bool:
        """Whether one of the streams is a regular file."""
        return False if self.fds[2] == self._slave else super().hold_files()

    # ---- the size of the window

    def _size(self) -> bytes | None:
        """The ``struct winsize`` of the caller's terminal (ioctl_tty(2)), or None."""
        for fd in (self._user, self._sink):
            try:
                size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)) if fd >= 0 else b""
            except OSError:
                continue  # no terminal
            if any(size[:4]):  # a serial line knows none
                return size
        return None

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's; programs get SIGWINCH."""
        size = self._size()
        if size is not None and self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    # ---- copying

    @contextmanager
    def serving(self, files: Files) -> Iterator[None]:
        """Connect the two terminals: inside the block *files* holds what is to be watched.

        The caller's terminal is in raw mode meanwhile, and as it was afterwards, also when a
        signal ends this process.  From a thread other than the main one no signal is caught: the
        size then follows when something is typed or shown.
        """
        self._files = files
        try:
            if self._ends:
                self.wake_at = time.monotonic() + _AGAIN
            with self._signals():
                self._raw()
                self._watch()
                yield
        finally:
            self._cook()
            self._detach()
            self.wake_at = None

    def _detach(self) -> None:
        for fd in (self._master, self._source, self._sink):
            self._files.pop(fd, None)
        self._files = {}

    def _watch(self) -> None:
        """Say what can be done now, and no more: poll() would not sleep."""
        master = select.POLLOUT if self._typed else 0
        if self._sink >= 0 and len(self._shown) < _AHEAD:
            master |= select.POLLIN
        wanted = (
            (self._master, master, self._serve_master),
            (self._source, 0 if len(self._typed) >= _CHUNK else select.POLLIN, self._take),
            (self._sink, select.POLLOUT if self._shown else 0, self._show),
        )
        for fd, events, act in wanted:
            if fd >= 0 and events:
                self._files[fd] = (events, act)
            else:
                self._files.pop(fd, None)

    def _serve_master(self) -> None:
        self._type()
        if self._sink >= 0 and len(self._shown) < _AHEAD:
            self._read()
        self._after()

    def _after(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.resize()
        self._watch()

    def _read(self) -> bool:
        """Take what the program has written; whether there was something."""
        try:
            data = os.read(self._master, _AHEAD)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the slave any more
            self._forget_master()
            return False
        self._shown += data
        return bool(data)

    def _take(self) -> None:
        """Read what the caller's side types."""
        try:
            data = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the caller's terminal has gone
            data = b""
        if data:
            self._typed += data
        else:
            self._files.pop(self._source, None)
            self._close("_source")
        self._type()
        self._after()

    def wake(self) -> None:
        """Type the end of the input, for whoever reads on, as often as there is nothing to read.

        Not once and for all: what is typed just before a shell begins to read key by key is no
        end any more, but a NUL (n_tty_set_termios() in the kernel's drivers/tty/n_tty.c).
        """
        self.wake_at = None if self._master < 0 else time.monotonic() + _AGAIN
        if self.wake_at is None or self._source >= 0 or self._typed:
            return
        if self._slave < 0:
            self._typed += end_of_input(self._master)
            self._ends, self.wake_at = False, None
        elif not ready(self._slave, select.POLLIN):
            self._typed += end_of_input(self._master)[:1]
        self._type()

    def _type(self) -> None:
        while self._typed and self._master >= 0:
            try:
                del self._typed[: os.write(self._master, self._typed)]
            except BlockingIOError:
                return
            except OSError:
                self._typed.clear()

    def _show(self) -> None:
        try:
            del self._shown[: os.write(self._sink, self._shown[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:
            # Who looked has gone, as when a terminal's window is closed: that is a hang-up, which
            # the kernel tells the program by SIGHUP.
            self._shown.clear()
            self._files.pop(self._sink, None)
            self._close("_sink")
            self._forget_master()
        self._after()

    def _forget_master(self) -> None:
        self._files.pop(self._master, None)
        self._close("_master")

    def finish(self) -> None:
        """The container has ended: show what is left of its output."""
        self._detach()
        self._close("_slave")
        taken = len(self._shown)
        while self._sink >= 0 and self._master >= 0 and self._read():
            if len(self._shown) - taken > _LEFTOVERS:
                break
        while self._shown and self._sink >= 0:
            wait(self._sink, select.POLLOUT)
            self._show()

    # ---- the caller's terminal

    def _raw(self) -> None:
        if self._user < 0:
            return
        try:
            modes = termios.tcgetattr(self._user)
        except termios.error:
            return  # it has gone: reading from it will tell
        self._saved = self._saved or [*modes[:_CC], list(modes[_CC])]
        # cfmakeraw() of termios(3)
        modes[_IFLAG] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        modes[_OFLAG] &= ~termios.OPOST
        modes[_CFLAG] = modes[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        modes[_LFLAG] &= ~(
            termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
        )
        modes[_CC][termios.VMIN], modes[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self._user, termios.TCSANOW, modes)

    def _cook(self) -> None:
        if self._saved is None:
            return
        try:
            termios.tcsetattr(self._user, termios.TCSANOW, self._saved)
        except termios.error:
            pass  # it has gone
        self._saved = None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Follow the size, and leave the terminal as it was where a signal ends or stops us."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def resize(number: int, frame: object) -> None:
            self.resize()
            chained = before.get(number)
            if callable(chained):
                chained(number, frame)

        def end(number: int, frame: object) -> None:
            self._cook()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

        def stop(number: int, frame: object) -> None:
            self._cook()
            os.kill(os.getpid(), signal.SIGSTOP)  # until SIGCONT

        def go_on(number: int, frame: object) -> None:
            self._raw()
            self.resize()

        wanted: list[tuple[int, Callable[[int, object], None], bool]] = [
            (signal.SIGWINCH, resize, False)
        ]
        if self._user >= 0:
            wanted += [(number, end, True) for number in _FATAL]
            wanted += [(signal.SIGTSTP, stop, True), (signal.SIGCONT, go_on, True)]
        before: dict[int, Any] = {}
        try:
            for number, handler, only_default in wanted:
                current = signal.getsignal(number)
                if current is None or (only_default and current is not signal.SIG_DFL):
                    continue  # the caller's own handlers come first
                before[number] = current
                signal.signal(number, handler)
            self.resize()  # it may have changed since the start
            yield
        finally:
            for number, handler_before in before.items():
                signal.signal(number, handler_before)

    # ---- the end

    def sent(self) -> None:
        """The child has its descriptors.

        Where the caller copies, the slave is kept until the end, as a program may close its
        terminal and open it again; a caller that reads itself must meet the end of the file.
        """
        super().sent()
        if self._sink < 0:
            self._close("_slave")

    def close(self) -> None:
        """Close everything."""
        self._cook()
        if hasattr(self, "fds"):
            super().close()
        for name in ("_slave", "_master", "_source", "_sink"):
            self._close(name)

    def __del__(self) -> None:
        if hasattr(self, "_saved"):
            self.close()

    def _close(self, name: str) -> None:
        fd = getattr(self, name)
        if fd >= 0:
            if fd == self._user:
                self._cook()
                self._user = -1
            setattr(self, name, -1)
            os.close(fd)


_FATAL = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGABRT,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def _duplicate(stream: Any, access: int) -> int:
    """A descriptor of our own for *stream*; -1 where the caller has closed it."""
    if stream == DEVNULL:
        return os.open(os.devnull, access | os.O_CLOEXEC)
    number = stream if isinstance(stream, int) else stream.fileno()
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        if error.errno == errno.EBADF and number in (0, 1):
            return os.open(os.devnull, access | os.O_CLOEXEC)
        raise
