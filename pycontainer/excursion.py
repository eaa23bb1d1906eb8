"""The front door into a running container, whoever made it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ._native import ffi, lib
from .calls import RELAYED, finish
from .declare.capabilities import CAPABILITIES
from .declare.filters import SeccompFilter
from .declare.namespaces import check_namespaces
from .errors import SetupError
from .launch.descriptor import Descriptor
from .launch.identity import FIRST_ID, IDS
from .launch.protocol import namespace_bits
from .launch.results import Completed
from .launch.running import Running, with_filters
from .launch.signals import Relay
from .launch.start import MAX_RESULT, CallOptions, start_join
from .launch.stdio import Stdio, occupy_standard_streams
from .plan.plan import Plan
from .plan.steps import Op, Refused

__all__ = ["container_excursion"]

T = TypeVar("T")

_UNCHANGED = 0xFFFFFFFF
_SYS_ADMIN = 1 << CAPABILITIES["CAP_SYS_ADMIN"]


def container_excursion(
    pid: int | Running[Any],
    fn: Callable[[], T],
    /,
    *,
    timeout: float | None = None,
    namespaces: Iterable[str] | None = None,
    owner: bool = False,
    preload: Iterable[str] = (),
    returns: str = "data",
    allow: Iterable[Any] = (),
    max_result: int = MAX_RESULT,
    env: Mapping[str, str] | None = None,
) -> T:
    """Call *fn* inside the running container of the process *pid* and return its value.

    A process of its own joins the namespaces of *pid* that differ from the caller's, takes its
    ids and at most its capabilities, and runs *fn* with the cwd "/" and an empty environment.
    Nothing is imported from the container's files: what *fn* needs must be loaded before.

    A container that this process started, and has the ``Running`` of, holds *fn* to its filter of
    system calls as well.  The kernel shows nobody but root the filter of another's: there *fn* has
    no filter, and no_new_privs alone.

    What *fn* uses counts for the limits of a container that pycontainer holds by cgroups, whoever
    started it: *fn* runs in them and ends with the container, unless *namespaces* leaves out both
    "pid" and "mnt".  Limits that are held without a cgroup do not count visitors.

    Arguments:
        pid: a process of the container, as this process sees it, or a ``Running``.
        fn: a function without parameters.
        timeout: the caller's patience, in seconds; then the visitor is killed.
        namespaces: join only these, such as ``{"net"}``; None is all that differ.  Joining any of
            them takes CAP_SYS_ADMIN in the caller's own user namespace (setns(2)).  A caller
            without it, an ordinary user, has the target's user namespace joined as well; *fn*
            then has the target's ids and at most its capabilities, as in a whole excursion.  A
            caller with it joins what is named and nothing else, and *fn* keeps the caller's ids
            and capabilities.
        owner: go by way of the user namespace that owns the target's pid namespace, as Guix does:
            for a target whose own user namespace may not be joined from here directly.
        preload: modules that *fn* needs and that are to be loaded first.  Later only the host's
            standard library can be imported, without what needs more shared libraries (``ctypes``),
            and nothing of the container's.
        returns, allow, max_result: as for ``call_with_container``.
        env: environment variables for *fn*.

    Raises:
        SetupError: ESRCH for a process that does not exist or is a zombie; EPERM for one that
            may not be joined.
        PayloadError, ContainerExitError, ContainerTimeoutError, ResultError, RemoteError,
        HelperError: as for ``call_with_container``.
        ValueError: an unknown namespace.
    """
    wanted = None
    if namespaces is not None:
        wanted = frozenset(namespaces)
        problems: list[str] = []
        check_namespaces(problems, wanted)
        if problems:
            raise ValueError("; ".join(problems))
    options = CallOptions.of(preload=preload, returns=returns, allow=allow, max_result=max_result)
    deadline = None if timeout is None else time.monotonic() + timeout
    pidfd, join, seccomp = find_target(pid, wanted, owner)

    def begin(relay: Relay) -> Running[T]:
        try:
            return start_join(
                fn,
                options,
                lambda: Stdio(None, None, None),
                dict(env or {}),
                pidfd.fd,
                join,
                owner,
                deadline,
                seccomp=seccomp,
                relay=relay,
            )
        finally:
            pidfd.close()

    completed: Completed[T] = finish(begin, timeout, deadline, RELAYED)
    return completed.result()


def find_target(
    pid: int | Running[Any], wanted: frozenset[str] | None = None, owner: bool = False
) -> tuple[Descriptor, tuple[int, int, int, int, int, tuple[int, ...]], SeccompFilter | None]:
    """A pidfd of the process *pid*, what to join and become of it, and the filter to take.

    Raises:
        TypeError: *pid* is no pid.
        SetupError: it does not exist, or may not be looked at.
    """
    number = pid.pid if isinstance(pid, Running) else pid
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"pid is a number or a Running, not {pid!r}")
    occupy_standard_streams()
    pidfd = Descriptor(os.dup(pid.pidfd) if isinstance(pid, Running) else _open(number))
    try:
        return pidfd, *_describe(number, pidfd.fd, wanted, owner, known(pid))
    except BaseException:
        pidfd.close()
        raise


def _open(pid: int) -> int:
    try:
        if pid <= 0:
            raise ProcessLookupError
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise _no_process(pid, "no such process") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a thread, not a process: pidfd_open(2)
            raise _no_process(pid, "it is a thread, not a process") from None
        raise


def _no_process(pid: int, why: str) -> SetupError:
    return SetupError(errno.ESRCH, why, f"/proc/{pid}", f"join the namespaces of process {pid}")


def _describe(
    pid: int, pidfd: int, wanted: frozenset[str] | None, owner: bool, plan: Plan | None
) -> tuple[tuple[int, int, int, int, int, tuple[int, ...]], SeccompFilter | None]:
    """What to join and become, read between opening the pidfd and a check that it still lives.

    And the filter to take, where the *plan* of the target is known.
    """
    target = ffi.new("struct pc_target *")
    error = lib.pc_look_at(pid, target)
    if error == errno.ENOENT or error == errno.ESRCH:
        raise _no_process(pid, "no such process")
    if error:
        failure = SetupError(
            errno.EPERM if error == errno.EACCES else error,
            "its namespaces may not be looked at",
            None,
            f"join the namespaces of process {pid}",
        )
        failure.add_note(
            "the process is another user's, or made itself non-dumpable: only root can join it"
        )
        raise failure
    if chr(target.state) in "ZX":
        raise _no_process(pid, "it is a zombie: its namespaces have gone")
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        raise _no_process(pid, "it has ended") from None
    except PermissionError:
        pass  # it lives
    mask = target.differing
    if wanted is not None:
        mask &= namespace_bits(wanted)
        # The power to join comes from the target's user namespace where the caller has none of its
        # own; and whoever goes by way of the owner has left the caller's.
        if owner or (mask and not lib.pc_effective_capabilities() & _SYS_ADMIN):
            mask |= target.differing & lib.PC_NS_USER
    uid = gid = _UNCHANGED
    if mask & lib.PC_NS_USER:
        uid, gid = target.uid, target.gid
        if _UNCHANGED in (uid, gid):
            _check_unmapped(pid, target)
            uid = gid = _UNCHANGED
    elif wanted is None:
        uid, gid = target.outer_uid, target.outer_gid
    capabilities = tuple(target.capabilities)
    if wanted is not None and not mask & lib.PC_NS_USER:
        # Only part of the container is joined: nothing of it says what this process may do.
        own = ffi.new("struct pc_target *")
        if lib.pc_look_at(os.getpid(), own) == 0:
            capabilities = tuple(own.capabilities)
    restrictions = 0
    seccomp = None
    if wanted is None or mask & lib.PC_NS_USER:
        restrictions |= lib.PC_JOIN_NO_NEW_PRIVILEGES
        seccomp = None if plan is None else plan.seccomp
        restrictions |= _set_id_filters(target, plan)
    return (mask, uid, gid, restrictions, pid, capabilities), seccomp


def _check_unmapped(pid: int, target: Any) -> None:
    """Ids that the target's user namespace does not map cannot be taken in there."""
    ids = (*os.getresuid(), *os.getresgid())
    if ids != (target.outer_uid,) * 3 + (target.outer_gid,) * 3:
        # The visitor would keep the caller's: host root's in somebody else's container.
        failure = SetupError(
            errno.EINVAL,
            "its ids are not mapped in its user namespace",
            None,
            f"take the ids of process {pid}",
        )
        failure.add_note(
            f"write its uid_map and gid_map, or call as user {target.outer_uid} and group "
            f"{target.outer_gid} of this system"
        )
        raise failure


def known(target: int | Running[Any]) -> Plan | None:
    """The plan of the container, if this process made it and still has the ``Running``."""
    if isinstance(target, Running):
        return target._plan
    for running in tuple(with_filters):
        if running.pid == target and running.returncode is None:
            return running._plan
    return None


def _set_id_filters(target: Any, plan: Plan | None) -> int:
    """PC_JOIN_*: what host root's containers may not do, their visitors may not do either."""
    refused = 0
    if plan is not None:
        for step in plan.steps:
            if step.op is Op.REFUSE_SET_ID:
                refused |= step.numbers[0]
    elif FIRST_ID <= target.outer_uid <= FIRST_ID + IDS and target.filters:
        # Nobody else gives out these ids, so that a bare pid is known by them.
        refused = Refused.MODES | (Refused.ATTRIBUTES if target.filters > 1 else 0)
    restrictions: int = lib.PC_JOIN_REFUSE_SET_ID if refused & Refused.MODES else 0
    return restrictions | (lib.PC_JOIN_REFUSE_ATTRIBUTES if refused & Refused.ATTRIBUTES else 0)
