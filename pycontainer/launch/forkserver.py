"""The helper process that clones containers, from the caller's side.

A lean interpreter (``-I -S``, no site, no cloudpickle) that holds nothing of the caller's heap and
has one thread: cloning it costs the same whatever the caller holds, and no lock or secret of the
caller's is in a container.  One helper a process and a set of preloaded modules; a new one when
what it inherited no longer matches the caller (ids, groups, capabilities, limits, nice value,
cgroup, namespaces), and never one shared across a fork.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import signal
import socket
import sys
import threading

import _cffi_backend

from .. import __file__ as _package_file
from .._native import ffi, lib
from ..errors import HelperError, SetupError
from .descriptor import Descriptor
from .identity import is_host_root
from .protocol import Preamble, pack_signal, pack_sweep

__all__ = ["Forkserver", "forkserver"]

_START = """\
import sys
sys.path += {path!r}
import builtins, _sitebuiltins
builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
from pycontainer.launch.child import serve
serve(3, 4, {preload!r}, {rehearsal!r}, {ranges!r}, {stdlib!r}, {hidden!r})
"""

_ABOVE = 16  # descriptors handed to the helper start here, so that none overwrites another

# What the locale and the loader need; the containers' environments are their own.
_KEPT = ("GLIBC_TUNABLES", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME")
# A preloaded library must not start its pool of threads.
_ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR")


class Forkserver:
    """A running helper.

    Attributes:
        pid: of the helper.
        host_root: whether it may hand out any id of the host.
        fingerprint: of the state that it took over from the caller.
        sizes: of the ranges of users and groups in its user namespace, if it has its own.
    """

    def __init__(self, preload: tuple[str, ...], fingerprint: bytes, ranges: bool) -> None:
        self.fingerprint = fingerprint
        self.sizes = None
        if ranges:
            from .ranges import sizes_of_ranges  # few need it

            self.sizes = sizes_of_ranges()
        self.host_root = is_host_root(lib.pc_effective_capabilities())
        self.processors = os.sched_getaffinity(0)  # of this thread, which the helper has as well
        self.owner = os.getpid()
        self._swept: set[str] = set()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self.pid = _start(theirs, preload, ranges)
            word = ours.recv(1 << 16)
            if word == b"map":
                from .ranges import map_ranges

                map_ranges(self.pid)
                ours.send(b"mapped")
                word = ours.recv(1 << 16)
        except BaseException:
            if hasattr(self, "pid"):
                _stop(ours, self.pid)
            ours.close()
            raise
        self._control = ours
        if word != b"ok":
            self.close()
            raise _not_started(word.decode(errors="replace"))

    def order(self, message: bytes, fds: list[int]) -> None:
        """Have a child cloned; from any thread, since one message is sent whole.

        Raises:
            HelperError: the helper has died.
            SetupError: ETOOMANYREFS: too many descriptors of this user are under way (unix(7)).
        """
        try:
            socket.send_fds(self._control, [message], fds)
        except ConnectionError as error:
            raise HelperError("the helper process has died") from error
        except OSError as error:
            step = "hand the descriptors to the helper process"
            raise SetupError(error.errno or 0, None, None, step) from error

    def signal(self, pidfd: int, number: int) -> None:
        """Have the helper send a signal: it keeps the ids with which it started.

        Raises:
            HelperError, SetupError: as for ``order``.
        """
        self.order(pack_signal(number), [pidfd])

    def sweep_later(self, directories: set[str]) -> None:
        """Have the helper remove this process's cgroups in *directories* when it has gone.

        It is told before the first is made.
        """
        if directories <= self._swept:
            return
        from .hierarchies import name_prefix

        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        parents = [Descriptor(os.open(path, flags)) for path in sorted(directories)]
        self.order(pack_sweep(name_prefix()), [parent.fd for parent in parents])
        self._swept = directories

    def alive(self) -> bool:
        """Whether its socket is still open."""
        try:
            return self._control.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """End the helper; its containers die with it."""
        if self.owner == os.getpid():
            self.owner = 0
            _stop(self._control, self.pid)
        self._control.close()

    def __del__(self) -> None:
        if hasattr(self, "_control"):
            self.close()


def _stop(control: socket.socket, pid: int) -> None:
    """End a helper and wait for its end."""
    try:
        # For every copy of the socket: a fork of this process may hold one for long.
        control.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # ENOTCONN: it has ended
    control.close()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # somebody else's os.wait() was quicker


def _start(control: socket.socket, preload: tuple[str, ...], ranges: bool) -> int:
    executable = sys.executable
    if not executable:
        raise HelperError(
            "sys.executable is not set, so no helper can be started; use start_method='fork'"
        )
    refused = ffi.new("int *")
    tree = lib.pc_clone_root_read_only(refused)
    if tree < 0:
        raise _no_view(-tree, refused[0])
    fds = [tree]
    try:
        fds.append(os.pidfd_open(os.getpid()))
        raised = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in fds]
        fds += raised
        fds.append(fcntl.fcntl(control.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE))
        tree_at, caller_at, control_at = fds[2:]
        # Executed from the read-only clone: a container cannot chmod or write its interpreter
        # through /proc/self/exe.  argv[0] is the path as the caller has it, which is where the
        # interpreter finds its prefix.
        program = f"/proc/self/fd/{tree_at}{os.path.realpath(executable)}"
        package = os.path.dirname(os.path.dirname(os.path.abspath(_package_file)))
        path = [package, os.path.dirname(_cffi_backend.__file__)]
        path += sys.path if preload else []
        stdlib = os.path.dirname(os.path.abspath(os.__file__))
        start = _START.format(
            path=path,
            preload=preload,
            rehearsal=_rehearsal(),
            ranges=ranges,
            stdlib=stdlib,
            hidden=_not_of_the_stdlib(stdlib),
        )
        return os.posix_spawn(
            program,
            [executable, *_options(), "-c", start],
            _environment(preload),
            file_actions=[
                *((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)),
                (os.POSIX_SPAWN_DUP2, control_at, 3),
                (os.POSIX_SPAWN_DUP2, caller_at, 4),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except OSError as error:
        raise SetupError(error.errno or 0, None, None, "start the helper process") from error
    finally:
        for fd in fds:
            os.close(fd)


def _not_of_the_stdlib(stdlib: str) -> tuple[str, ...]:
    """Directories in that of the standard library that belong to others, relative to it."""
    inside = os.path.realpath(stdlib) + "/"
    names = {"dist-packages", "site-packages"}
    names |= {path.removeprefix(inside) for path in map(os.path.realpath, sys.path)}
    return tuple(
        sorted(
            name
            for name in names - {"", "lib-dynload"}
            if not name.startswith("/") and os.path.isdir(inside + name)
        )
    )


def _rehearsal() -> bytes:
    """A request's preamble and payload, for the helper to warm itself up with."""
    from .payload import dump_payload

    preamble = Preamble.pack(sys.path, sys.argv, (sys.prefix, sys.exec_prefix), {}, "data", 1 << 20)
    return preamble + b"\0" * (-len(preamble) % 64) + bytes(dump_payload(lambda: None))


def _options() -> list[str]:
    options = ["-I", "-S", "-B"]
    if sys.flags.optimize:
        options.append("-" + "O" * sys.flags.optimize)
    if sys.flags.utf8_mode:
        options += ["-X", "utf8"]
    return options


def _environment(preload: tuple[str, ...]) -> dict[str, str]:
    # malloc(3) asks for huge pages for large blocks: the faults of fresh memory are most of what
    # a large argument costs.  Kernels and C libraries without them ignore it.
    kept = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    kept |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    if preload:
        kept |= {f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD}
    return kept


def _no_namespaces(error: int) -> SetupError:
    from ..host.refusals import explain_clone_error

    failure = SetupError(error, None, None, "make a user namespace")
    for line in explain_clone_error(error):
        failure.add_note(line)
    return failure


def _no_view(error: int, refused: int) -> SetupError:
    """The error for the read-only "/" that the helper would be executed from."""
    if refused == lib.PC_VIEW_NAMESPACE:
        return _no_namespaces(error)
    step, call = {
        lib.PC_VIEW_CLONE: ("clone the mounts of / for the helper", "open_tree"),
        lib.PC_VIEW_READ_ONLY: ("make the helper's view of / read-only", "mount_setattr"),
    }[refused]
    failure = SetupError(error, None, "/", step)
    if error in (errno.EPERM, errno.ENOSYS):
        failure.add_note(
            f"the kernel is older than 5.12, or a seccomp filter, as Docker's, or a security "
            f"module refuses {call}(2): allow it there"
        )
    return failure


def _not_started(word: str) -> SetupError | HelperError:
    """The error for what a helper said instead of "ok"."""
    if not word.startswith("refused "):
        return HelperError(f"the helper process did not start: {word or 'it ended at once'}")
    _, number, step = word.split(" ", 2)
    error = int(number)
    if step == "make a user namespace":
        return _no_namespaces(error)
    from .words import keyring_note

    failure = SetupError(error, None, None, f"{step} for the helper")
    failure.add_note(keyring_note(error))
    return failure


# ---- the one of this process -----------------------------------------------------------------

_running: dict[tuple[tuple[str, ...], bool], Forkserver] = {}
_lock = threading.Lock()


def forkserver(preload: tuple[str, ...] = (), ranges: bool = False) -> Forkserver:
    """The helper for calls from this process, as it is now; started when needed.

    Arguments:
        preload: modules that it has loaded.
        ranges: it has a user namespace with all ids that an ordinary user may map.

    Raises:
        SetupError: no user namespace can be made; its notes say why.
        HelperError: the helper does not start.
    """
    fingerprint = _fingerprint()
    key = preload, ranges
    server = _running.get(key)
    if server is not None and server.fingerprint == fingerprint and server.alive():
        return server
    with _lock:
        server = _running.get(key)
        if server is None or server.fingerprint != fingerprint or not server.alive():
            # One that containers still run under lives on in their Running.
            server = _running[key] = Forkserver(preload, fingerprint, ranges)
        return server


def _fingerprint() -> bytes:
    buffer = ffi.new("char[]", 1 << 14)
    length = lib.pc_fingerprint(buffer, len(buffer))
    if length < 0:
        if -length == errno.ENOENT:
            raise SetupError(errno.ENOENT, "is /proc mounted?", "/proc/thread-self", "read /proc")
        raise SetupError(-length, None, "/proc/thread-self", "read this process's credentials")
    return bytes(ffi.buffer(buffer, length))


def _forget() -> None:
    """In the child of a fork: the helper is the parent's."""
    global _lock
    _running.clear()
    _lock = threading.Lock()


def _end() -> None:
    while _running:
        _running.popitem()[1].close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_end)
