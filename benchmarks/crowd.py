"""Processes that sleep, some of them in containers: what ``pycontainer ps`` looks through."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.floor import MeasurementError

CONTAINERS = 20
INSIDE = ["sh", "-c", "sleep 3600 & sleep 3600 & wait"]
IN_EACH = 4  # unshare, which waits outside, sh, and two that sleep
PROCESSES = 200


class Crowd:
    """``PROCESSES`` processes in all, from when ``gather`` returns until ``close``."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def gather(self) -> None:
        """Start them, if they do not sleep already.

        Raises:
            MeasurementError: no namespaces can be made here.
        """
        if self._started:
            return
        if shutil.which("unshare") is None:
            raise MeasurementError("unshare is not installed")
        unshare = ["unshare", "-Urmpfn", "--kill-child", "--mount-proc", *INSIDE]
        alone = PROCESSES - CONTAINERS * IN_EACH
        for argv in [unshare] * CONTAINERS + [["sleep", "3600"]] * alone:
            self._started.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 30
        while not all(map(_complete, self._started[:CONTAINERS])):
            if time.monotonic() > deadline:
                self.close()
                raise MeasurementError("unshare could not make its namespaces")
            time.sleep(0.02)

    def close(self) -> None:
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()
        self._started.clear()


def _complete(unshare: subprocess.Popen[bytes]) -> bool:
    """Whether what it starts sleeps."""
    try:
        (shell,) = _children(unshare.pid)
        return len(_children(int(shell))) == IN_EACH - 2
    except (OSError, ValueError):
        return False


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
