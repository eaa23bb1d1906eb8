"""runc and crun, and what they leave to whoever calls them: limits, cancelling, cleaning up."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import time
from typing import Any

from ..errors import SetupError
from ..host.processes import children_of
from ..launch.following import GLANCE, Event, to_stdout
from ..launch.results import Completed, ExitStatus, Usage, Verdict
from .annotations import PREFIX
from .process import Process, Take
from .staging import Stage, is_call, stage_for
from .state import State, opened, sweep

__all__ = ["run_by"]

_PATIENCE = 3.0
"""Seconds for a runtime to end after its container has been deleted."""


def run_by(
    runtime: str,
    spec: dict[str, Any],
    bundle: str,
    take: Take | None,
    cancel: Event | None,
) -> Completed[None]:
    """Run *bundle* by the program *runtime*; see ``run_bundle``.

    The output of a program that writes to both its streams may come in another order: a runtime
    copies each by itself.
    """
    program = shutil.which(runtime)
    if program is None:
        error = FileNotFoundError(errno.ENOENT, f"{runtime} is not installed", runtime)
        error.add_note(f"Debian, Ubuntu: apt-get install {runtime}")
        raise error
    stage = stage_for(runtime, spec, bundle)
    words = [program, *stage.options]
    sweep(is_call)
    with opened([*stage.prefix, *words]) as state:
        place = bundle
        call = [*stage.reaching(state.path), *words]
        if stage.spec is not None:
            place = os.path.join(state.path, "bundle")
            stage.write(place)
        delete = [*stage.prefix, *words, *state.deletion]
        return _Run(call, delete, state, spec, place, stage, take, cancel).run()


class _Run:
    """One run of a runtime."""

    def __init__(
        self,
        call: list[str],
        delete: list[str],
        state: State,
        spec: dict[str, Any],
        bundle: str,
        stage: Stage,
        take: Take | None,
        cancel: Event | None,
    ) -> None:
        self._call = call
        self._deletion = delete
        self._stage = stage
        self._state = state
        self._bundle = bundle
        self._cancel = cancel
        self._args = (spec.get("process") or {}).get("args")
        annotations: dict[str, str] = spec.get("annotations") or {}
        limits: dict[str, Any] = json.loads(annotations.get(f"{PREFIX}limits", "{}"))
        self._wall_time: float | None = limits.get("wall_time")
        self._cpu_time: float | None = limits.get("cpu_time")
        self._most: int | None = limits.get("output")
        self._processors: list[int] | None = limits.get("cpu_affinity")
        self._take = take
        if take is None and self._most is not None:
            self._take = to_stdout
        self._enforced = _enforced(spec, limits, stage)
        self._amount = 0
        self._verdict: Verdict | None = None

    def run(self) -> Completed[None]:
        log = os.path.join(self._state.path, "log")
        command = [
            *self._call,
            "--root",
            self._state.root,
            "--log",
            log,
            "--log-format",
            "json",
            "run",
            "--bundle",
            self._bundle,
            self._state.name,
        ]
        began = time.monotonic()
        process = self._start(command)
        try:
            self._follow(process, began)
        except BaseException:
            self._kill(process)
            raise
        finally:
            process.close()
            if self._state.exists:
                self._delete()
        status, usage = process.status, process.usage
        return self._completed(status, usage, time.monotonic() - began, log)

    def _start(self, command: list[str]) -> Process:
        known = os.sched_getaffinity(0)
        if self._processors is not None:
            os.sched_setaffinity(0, self._processors)  # this thread's, and what it starts
        try:
            return Process(command, self._take)
        finally:
            if self._processors is not None:
                os.sched_setaffinity(0, known)

    def _follow(self, process: Process, began: float) -> None:
        poll = select.poll()
        poll.register(process.pidfd, select.POLLIN)
        for fd in process.outputs:
            poll.register(fd, select.POLLIN)
        open_ones = set(process.outputs)
        ended = False
        while not ended:
            for fd, _ in poll.poll(self._wait(began)):
                if fd == process.pidfd:
                    ended = True
                elif self._read(fd, process.outputs[fd]) == 0:
                    poll.unregister(fd)
                    open_ones.discard(fd)
            if not ended:
                self._look(began, process)
                if self._verdict is not None:
                    self._kill(process)
                    break
        for fd in open_ones:
            # A pipe's worth at most: who holds it may outlive the container.
            for _ in range(16):
                if not self._read(fd, process.outputs[fd]):
                    break
        process.reap()

    def _wait(self, began: float) -> float | None:
        """How long poll(2) may sleep, in milliseconds."""
        if self._cancel is not None or self._cpu_time is not None:
            return GLANCE * 1000
        if self._wall_time is not None:
            return max(0.0, began + self._wall_time - time.monotonic()) * 1000 + 1
        return None

    def _look(self, began: float, process: Process) -> None:
        """See whether it has to end."""
        if self._verdict is not None:
            return
        if self._cancel is not None and self._cancel.is_set():
            self._verdict = Verdict.CANCELLED
        elif self._wall_time is not None and time.monotonic() - began >= self._wall_time:
            self._verdict = Verdict.WALL_TIME
        elif self._cpu_time is not None and _used(process.pid) >= self._cpu_time:
            self._verdict = Verdict.CPU_TIME

    def _read(self, pipe: int, take: Take) -> int | None:
        """Hand on what is in a pipe: how many bytes; 0 at its end, None if there are none now."""
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return None
        left = len(data) if self._most is None else self._most - self._amount
        self._amount += min(len(data), left)
        if left > 0 and data:
            take(data[:left])
        if len(data) > left:
            self._verdict = self._verdict or Verdict.OUTPUT
        return len(data)

    def _delete(self) -> None:
        subprocess.run(
            self._deletion,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    def _kill(self, process: Process) -> None:
        """End the container, which may be in the making, and the runtime."""
        deadline = time.monotonic() + _PATIENCE
        while not process.wait(0.0):
            if self._state.exists:
                self._delete()
            if process.wait(GLANCE):
                break
            if time.monotonic() > deadline:
                process.kill()
        process.reap()
        if self._state.exists:
            self._delete()

    def _completed(self, status: int, usage: Usage, wall: float, log: str) -> Completed[None]:
        ended = ExitStatus.of_wait_status(status)
        if self._verdict is not None:
            ended = ExitStatus(signal=int(signal.SIGKILL))
            return Completed(self._args, ended, self._verdict, usage, enforced=self._enforced)
        if ended.exit_code:
            _raise_failure(log)
        verdict = Verdict.EXIT if ended.returncode else Verdict.OK
        return Completed(self._args, ended, verdict, usage, enforced=self._enforced)


def _enforced(spec: dict[str, Any], limits: dict[str, Any], stage: Stage) -> dict[str, str]:
    """What holds each limit."""
    process = spec.get("process") or {}
    bounds = {one.get("type") for one in process.get("rlimits") or ()}
    held = {name: how for name, how in _HERE.items() if limits.get(name) is not None}
    for name, kind in _RLIMITS.items():
        if kind in bounds:
            held.setdefault(name, kind)
    for name, key in (("memory", "memory"), ("cpus", "cpu"), ("processes", "pids")):
        if key in stage.held:
            held[name] = "a cgroup"
        elif key in stage.not_held:
            held[name] = stage.not_held[key]
    return held


_HERE = {
    "wall_time": "the caller's clock",
    "cpu_time": "RLIMIT_CPU, and the caller's looks",
    "output": "the caller's count",
    "cpu_affinity": "sched_setaffinity",
}
_RLIMITS = {
    "processes": "RLIMIT_NPROC",
    "open_files": "RLIMIT_NOFILE",
    "file_size": "RLIMIT_FSIZE",
    "stack": "RLIMIT_STACK",
}


def _used(pid: int) -> float:
    """Processor time of all below a process, in seconds."""
    ticks = 0
    left = children_of(pid)
    while left:
        one = left.pop()
        left += children_of(one)
        try:
            with open(f"/proc/{one}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        # utime, stime, cutime, cstime (proc_pid_stat(5))
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _raise_failure(log: str) -> None:
    """Raise why there was no program to run, if the runtime says so."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [json.loads(line) for line in file if line.startswith("{")]
    except (OSError, ValueError):
        return
    said = [line.get("msg", "") for line in lines if line.get("level") in ("error", "fatal")]
    if not said:
        return
    words = said[-1]
    number = next((code for text, code in _ERRORS.items() if text in words.lower()), errno.EINVAL)
    executing = "exec" in words and number in (errno.ENOENT, errno.EACCES)
    step = "execute the program" if executing else "run the bundle"
    error = SetupError(number, words, None, step)
    for line in said[:-1]:
        error.add_note(line)
    if "no user mapping found" in words:
        error.add_note(
            "runc needs an id for the container's 0; crun does not.  Give this user some: "
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
        )
    raise error


_ERRORS = {
    "executable file not found": errno.ENOENT,
    "no such file or directory": errno.ENOENT,
    "permission denied": errno.EACCES,
    "not permitted": errno.EPERM,
}
