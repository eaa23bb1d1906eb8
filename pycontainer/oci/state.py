"""A runtime's private state, and what is left of it when its caller is killed.

Each run has a directory of its own, locked as long as its caller lives.  A process beside it ends
the container when the caller dies; what survives even that is swept at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .leftover_cgroups import cgroups_of, remove_cgroups
from .orphans import end_processes_of

__all__ = ["State", "opened", "sweep", "write_file"]

_PREFIX = "pycontainer-oci-"
_CONTAINER = "c"
"""The first letter of a container's name; the rest is its directory's."""

# The caller writes a line before it closes the pipe; without one it has died.  A container may just
# be in the making, hence again and again.
_WATCH = """
read -r done && exit
exec >/dev/null 2>&1
for turn in 1 2 3 4 5 6 7 8 9 10; do
    "$@"
    sleep 0.2
done
rm -rf -- "$0"
"""


class State:
    """The state of one run.

    Attributes:
        path: its directory, of mode 700.
        root: the runtime's own directory in it.
        name: the container's.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self.root = os.path.join(path, "runtime")
        self.name = _CONTAINER + os.path.basename(path).removeprefix(_PREFIX)
        self._lock = lock

    @property
    def deletion(self) -> list[str]:
        """The runtime's words for ending and forgetting the container."""
        return ["--root", self.root, "delete", "--force", self.name]

    @property
    def exists(self) -> bool:
        """Whether the runtime knows the container."""
        return os.path.lexists(os.path.join(self.root, self.name))


def write_file(path: str, content: bytes, mode: int) -> None:
    """Write a new file; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, mode)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _home() -> str:
    """Where the directories are: in a place that is nobody else's, if there is one."""
    candidates = ["/run"] if os.geteuid() == 0 else [os.environ.get("XDG_RUNTIME_DIR", "")]
    for place in candidates:
        if place and os.path.isabs(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    return "/tmp"


def _leftovers(home: str) -> Iterator[str]:
    own = os.geteuid()
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and found.st_uid == own:
                    yield entry.path


def sweep(is_call: Callable[[list[str]], bool]) -> None:
    """End and remove what callers have left that were killed.

    Where there is no place of the user's own, the directories are in /tmp, which a container of
    theirs may share: what was written down there is believed only as far as it does no harm.

    Arguments:
        is_call: whether some words are a runtime's command line as this package has it.
    """
    for path in _leftovers(_home()):
        lock = _locked(path)
        if lock is None:
            continue
        try:
            state = State(path, lock)
            end_processes_of(state.root)  # the runtime itself, which may be making the container
            call = _kept(path, "call")
            if state.exists and is_call(call):
                subprocess.run(
                    [*call, *state.deletion],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
            cgroups = _kept(path, "cgroups")
            remove_cgroups([one for one in cgroups if os.path.basename(one) == state.name])
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _kept(path: str, name: str) -> list[str]:
    """The words that the caller has written down; none where they are none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(f"{path}/{name}", flags), encoding="utf-8") as file:
            words: Any = json.load(file)
    except (OSError, ValueError, RecursionError):
        return []
    return words if isinstance(words, list) and all(isinstance(one, str) for one in words) else []


def _locked(path: str) -> int | None:
    """A descriptor that holds the directory's lock, or None: somebody has it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink:
        return fd
    os.close(fd)  # removed since it was opened
    return None


@contextlib.contextmanager
def opened(call: Sequence[str]) -> Iterator[State]:
    """A new state for as long as the ``with`` statement lasts.

    Arguments:
        call: the runtime's command line but for ``--root`` and what follows.
    """
    while True:
        path = os.path.join(_home(), _PREFIX + secrets.token_hex(8))
        os.mkdir(path, 0o700)
        lock = _locked(path)
        if lock is not None:  # else a sweep was quicker
            break
    state = State(path, lock)
    try:
        write_file(f"{path}/call", json.dumps(list(call)).encode(), 0o600)
        cgroups = cgroups_of(state.name)
        write_file(f"{path}/cgroups", json.dumps(cgroups).encode(), 0o600)
        os.mkdir(state.root, 0o700)
        watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, path, *call, *state.deletion],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            yield state
        finally:
            assert watch.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                watch.stdin.write(b"done\n")
                watch.stdin.close()
            watch.wait()
            remove_cgroups(cgroups)  # of a runtime that had to be killed
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
