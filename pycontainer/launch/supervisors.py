"""Children of the caller that each supervise one container (``start_method="fork"``)."""

from __future__ import annotations

import os

__all__ = ["leave_supervisor", "reap_supervisors"]

_supervisors: list[int] = []  # children of ours that nobody waits for any more


def leave_supervisor(pid: int) -> None:
    """Nobody waits for this one any more; ``reap_supervisors()`` does."""
    _supervisors.append(pid)


def reap_supervisors(options: int = os.WNOHANG) -> None:
    """Wait for the supervisor that was left last, and look at the others.

    A container that goes on when its ``Running`` has gone leaves one behind.
    """
    for pid in _supervisors[::-1]:
        try:
            if os.waitpid(pid, options)[0] == 0:
                continue
        except ChildProcessError:
            pass  # SIGCHLD is ignored, or somebody else's os.wait() was quicker
        finally:
            options = os.WNOHANG
        if pid in _supervisors:  # another thread may have been here
            _supervisors.remove(pid)


os.register_at_fork(after_in_child=_supervisors.clear)
