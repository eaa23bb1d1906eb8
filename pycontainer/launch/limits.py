"""Which mechanism holds which limit of a container that is about to start.

Decided before anything starts, from what the caller may do: a cgroup where one may be made, else
the next best.  Whatever holds a limit, meeting it gives the same verdict.
"""

from __future__ import annotations

import errno
import os
import resource
from functools import lru_cache
from typing import TYPE_CHECKING

from ..declare.container import Container
from ..declare.limits import UNLIMITED, Limits
from ..errors import SetupError
from ..plan.bounds import resource_step
from ..plan.defaults import TMPFS_SIZE
from ..plan.plan import Plan
from ..plan.steps import Op, Step
from .cgroup import LEAST_QUOTA, PERIOD, Cgroups
from .hierarchies import CPUACCT, Hierarchy, hierarchies
from .protocol import pack_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stdio import Stdio

__all__ = ["Hold", "Watch", "hold"]

_RESERVED = 2 << 30
"""Bytes that a process may map beyond twice a memory limit that is looked at.  To reserve is not to
use, and what it uses beyond the limit should meet that, not this: an allocation that fails looks
different from inside."""


class Watch:
    """What goes to one container's supervisor, and its cgroups.

    Attributes:
        order: a ``struct pc_watch``, to be put behind the order.
        cgroups: the container's, or None.
    """

    def __init__(
        self, wall: int, cpu: int, memory: int, cgroups: Cgroups | None, init: bool
    ) -> None:
        self.cgroups = cgroups
        self.order = pack_watch(
            wall,
            cpu,
            memory,
            cgroups.bits if cgroups else 0,
            len(cgroups.parents) if cgroups else 0,
            cgroups.name if cgroups else "",
            init,
        )

    @property
    def members(self) -> list[int]:
        """Descriptors for the container's process."""
        return [one.fd for one in self.cgroups.members] if self.cgroups else []

    @property
    def watched(self) -> list[int]:
        """Descriptors for its supervisor."""
        return self.cgroups.watched if self.cgroups else []

    def sent(self) -> None:
        """Both have theirs."""
        if self.cgroups:
            self.cgroups.sent()

    def remove(self, patience: float = 0.0) -> None:
        """Remove the cgroups, unless the supervisor has; *patience* in seconds."""
        if self.cgroups:
            self.cgroups.remove(patience)


class Hold:
    """How the limits of one container are held.

    Attributes:
        limits: the limits.
        plan: the plan with what they add to it.
        enforced: limit → what holds it, in words.
        tree_memory: whether ``Usage.max_rss`` is of the whole tree.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.enforced: dict[str, str] = {}
        self.bounds: dict[str, int] = {}
        self.places: dict[str, Hierarchy] = {}
        self.plan: Plan | None = None
        self.sampled = 0  # bytes, where no cgroup holds the memory

    def watch(self, init: bool) -> Watch:
        """Make the cgroups and the orders for one start.

        Arguments:
            init: an init of ours is the container's first process.

        Raises:
            SetupError: a cgroup could not be made.
        """
        limits = self.limits
        return Watch(
            _nanoseconds(limits.wall_time),
            _nanoseconds(limits.cpu_time),
            self.sampled,
            Cgroups(self.bounds, self.places) if self.bounds else None,
            init,
        )

    @property
    def watches(self) -> bool:
        """Whether the supervisor has anything to do."""
        limits = self.limits
        times = (limits.wall_time, limits.cpu_time)
        return bool(self.bounds or self.sampled) or times != (None, None)

    # ---- one limit after the other

    def _miss(self, name: str, why: str, note: str = "") -> None:
        """The limit cannot be held."""
        if not self.limits.strict:
            self.enforced[name] = f"not held: {why}"
            return
        error = SetupError(
            errno.EOPNOTSUPP, f"{name}= cannot be held: {why}", None, "hold the limits"
        )
        for line in (note, "Limits(strict=False) starts without what cannot be held"):
            if line:
                error.add_note(line)
        raise error

    def _by_cgroup(self, controller: str, bound: int) -> str:
        """Have a cgroup hold it; in which words, or "" where none may be made."""
        place = self.places.get(controller)
        if place is None:
            return ""
        self.bounds[controller] = bound
        counts = controller == CPUACCT and place.version == 2
        return f"cgroup v{place.version} {'cpu.stat' if counts else controller}"

    def choose(
        self,
        container: Container,
        below_init: bool,
        streams: Stdio,
        sweep_later: Callable[[set[str]], object],
    ) -> None:
        """Choose for each limit.

        Raises:
            SetupError: a limit cannot be held, and they are strict.
        """
        limits = self.limits
        if {limits.memory, limits.processes, limits.cpus, limits.cpu_time} != {None}:
            self.places = hierarchies(sweep_later)
        if limits.cpu_time is not None:
            counted = self._by_cgroup(CPUACCT, 0) or "the times of its processes"
            self.enforced["cpu_time"] = f"{counted}, watched; RLIMIT_CPU for each process"
        if limits.wall_time is not None:
            self.enforced["wall_time"] = "a timer"
        if limits.memory is not None:
            self._choose_memory(limits.memory)
        if limits.stack is not None:
            self._choose_stack(limits.stack)
        if limits.processes is not None:
            self._choose_processes(limits.processes, container, below_init)
        if limits.open_files is not None:
            self.enforced["open_files"] = "RLIMIT_NOFILE for each process"
        if limits.file_size is not None:
            self.enforced["file_size"] = "RLIMIT_FSIZE for each process"
        if limits.cpu_affinity is not None:
            self._choose_processors(limits.cpu_affinity)
        if limits.cpus is not None:
            quota = max(LEAST_QUOTA, round(limits.cpus * PERIOD))
            held = self._by_cgroup("cpu", quota)
            if held:
                self.enforced["cpus"] = held
            else:
                self._miss("cpus", *_no_cgroup("cpu"))
        if limits.output is not None:
            self._choose_output(streams)

    def _choose_memory(self, memory: int) -> None:
        held = self._by_cgroup("memory", memory)
        if not held:
            self.sampled = memory
            held = (
                "the memory of its processes, looked at every 10 ms; RLIMIT_DATA for each process; "
                "files in a tmpfs count by its size alone"
            )
        self.enforced["memory"] = held

    def _choose_stack(self, stack: int | str) -> None:
        most = resource.getrlimit(resource.RLIMIT_STACK)[1]
        self.enforced["stack"] = "RLIMIT_STACK for each process"
        if most != resource.RLIM_INFINITY and (stack == UNLIMITED or int(stack) > most):
            self._miss(
                "stack",
                f"the caller's own hard limit is {most} bytes",
                "as root: `prlimit --stack=unlimited --pid` of the caller, or "
                "/etc/security/limits.conf",
            )

    def _choose_processes(self, processes: int, container: Container, below_init: bool) -> None:
        user = "user" in container.namespaces
        # The kernel counts in the user namespace (user_namespaces(7)), and never for real root.
        # While it is set up a second process may be there for a moment, which writes id maps.
        held = self._by_cgroup("pids", processes + below_init + user)
        if user:
            held = f"{held}; RLIMIT_NPROC" if held else "RLIMIT_NPROC in its user namespace"
        if held:
            self.enforced["processes"] = held
        else:
            self._miss("processes", *_no_cgroup("pids"))

    def _choose_processors(self, wanted: frozenset[int]) -> None:
        there = os.sched_getaffinity(0) | frozenset(range(os.cpu_count() or 1))
        self.enforced["cpu_affinity"] = "sched_setaffinity(); it may choose other processors"
        if not wanted <= there:
            absent = ", ".join(map(str, sorted(wanted - there)))
            self._miss("cpu_affinity", f"this machine has no processor {absent}")

    def _choose_output(self, streams: Stdio) -> None:
        loose = streams.uncounted()
        self.enforced["output"] = "counted as it is read from its pipes"
        if loose:
            self._miss(
                "output",
                f"{' and '.join(loose)} goes where it is not counted",
                "give both stdout and stderr as PIPE (capture_output=True) or DEVNULL",
            )


def _nanoseconds(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1e9))


def _no_cgroup(controller: str) -> tuple[str, str]:
    """Why there is none, and what would make it possible."""
    from ..host.cgroups import delegation
    from ..host.files import HostFiles

    found = delegation(HostFiles())
    return (
        f"it takes a cgroup with the controller {controller!r}, and this process may make none",
        "; ".join((found.detail, *found.fixes)),
    )


def hold(
    container: Container,
    plan: Plan,
    *,
    below_init: bool,
    forked: bool,
    streams: Stdio,
    sweep_later: Callable[[set[str]], object],
) -> Hold | None:
    """How *container*'s limits are held when this process starts it; None where it has none.

    Arguments:
        plan: its plan.
        below_init: an init of ours is above the function or program.
        forked: the function's process is a fork of this one.
        streams: its standard streams.
        sweep_later: tells the helper of directories, before a cgroup is made in one of them: it
            removes what a caller leaves that is killed.

    Raises:
        SetupError: EOPNOTSUPP: a limit cannot be held, and ``strict`` is set.
    """
    if container.limits is None:
        return None
    held = Hold(container.limits)
    held.choose(container, below_init, streams, sweep_later)
    if held.bounds:
        sweep_later({place.directory for place in held.places.values()})
    inherited = _data() if forked and held.sampled else 0
    held.plan = _adjusted(plan, held.sampled, inherited, container.limits.processes, below_init)
    return held


def _data() -> int:
    """What this process has mapped that counts for its RLIMIT_DATA, in bytes, in GiB at that."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[5])  # proc_pid_statm(5): data and stack
    return -(-pages * resource.getpagesize() >> 30) << 30


@lru_cache(maxsize=64)
def _adjusted(
    plan: Plan, sampled: int, inherited: int, processes: int | None, below_init: bool
) -> Plan:
    """The plan for a memory that no cgroup holds, and for an init that counts as a process."""
    if not sampled and not (processes and below_init):
        return plan
    steps = [_smaller(step, sampled) if sampled else step for step in plan.steps]
    start = plan.start
    if processes and below_init:
        old = resource_step("nproc", processes)
        steps[steps.index(old, start)] = resource_step("nproc", processes + 1)
    if sampled:
        steps.insert(start, resource_step("data", inherited + 2 * sampled + _RESERVED))
    return Plan(tuple(steps), plan.hook, plan.start, plan.seccomp)


def _smaller(step: Step, memory: int) -> Step:
    """A tmpfs for which no size is given, no larger than the memory."""
    tenth = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10
    if memory >= tenth:
        return step
    size = f"size={TMPFS_SIZE}"
    if step.op is Op.ROOT_TMPFS and step.path == TMPFS_SIZE:
        return Step(Op.ROOT_TMPFS, str(memory), mode=step.mode)
    if step.op is not Op.MOUNT or step.other != "tmpfs" or size not in step.options:
        return step
    options = tuple(f"size={memory}" if one == size else one for one in step.options)
    return Step(
        step.op,
        step.path,
        step.other,
        options,
        step.content,
        step.mode,
        step.flags,
        step.numbers,
    )
