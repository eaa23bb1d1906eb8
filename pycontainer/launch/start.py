"""Starting a container: everything is checked and packed before anything is started."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .._native import lib
from ..errors import SetupError
from ..plan.bounds import affinity_step
from ..plan.pack import pack
from ..plan.plan import Plan
from ..plan.steps import Step
from .beginning import ThreadsError, begin
from .command import Command
from .descriptor import Descriptor
from .dispatch import Dispatch
from .exchange import Exchange
from .identity import identity_of, is_host_root
from .options import MAX_RESULT, CallOptions, preamble_of
from .protocol import namespace_bits, pack_order, pack_request
from .results import name_of
from .running import Running
from .signals import NO_RELAY, Relay
from .stdio import Stdio, occupy_standard_streams

if TYPE_CHECKING:
    from ..declare.container import Container
    from ..declare.filters import SeccompFilter
    from .forkserver import Forkserver
    from .limits import Hold

__all__ = ["MAX_RESULT", "CallOptions", "ThreadsError", "start", "start_join"]


def start(
    container: Container,
    fn: Callable[[], Any] | None,
    options: CallOptions,
    stdio: Callable[[], Stdio],
    deadline: float | None = None,
    quiet: bool = False,
    command: Command | None = None,
    relay: Relay = NO_RELAY,
    plan: Plan | None = None,
) -> Running[Any]:
    """Start *fn* or *command* in *container*, and return when it runs.

    Arguments:
        plan: the container's, where it is known.
        relay: what becomes of the caller's signals.
        quiet: return at once; whether it ran is known at its end.  Each message that is waited
            for wakes this process beside the container, on a processor that it could use.

    Raises:
        PayloadError: fn cannot be sent or loaded.
        SetupError: the kernel refused a step; fn has not run.
        ContainerTimeoutError: *deadline* (monotonic) passed.
        HelperError: the helper died.
    """
    fork = options.start_method == "fork"
    program = _program_of(container.seccomp)
    chunks: list[Any] = []
    if fn is not None:
        from . import payload as payloads

        if not callable(fn):
            payloads.dump_payload(fn)  # words the error
        chunks = [preamble_of(container.env, options)]
        if not fork:
            data = payloads.dump_payload(
                fn, allow=options.allow, populate=options.populate_filesystem
            )
            chunks += data.chunks
    elif command is not None:
        chunks = [command.pack()]
    elif options.populate_filesystem is not None:
        raise ValueError("populate_filesystem= needs a function to run after it")
    occupy_standard_streams()
    # Whoever forks for a program, which is C throughout, needs no helper.
    server = None if fork and command is not None else _helper(options.preload)
    if server is None:
        host_root = is_host_root(lib.pc_effective_capabilities())
    else:
        host_root = server.host_root
    if container.host_uids > 1 and not host_root:
        if fork:
            raise SetupError(
                errno.EPERM,
                "an ordinary user's fork() cannot have more than one id; use the forkserver",
                None,
                "map ids",
            )
        server = _helper(options.preload, ranges=True)
    identity = identity_of(container, host_root, None if server is None else server.sizes)
    own_ids = identity.host_root and not identity.mount_uid_map  # the host's, in the container
    streams = _guarded(stdio(), own_ids)
    hooked = options.populate_filesystem is not None
    if plan is None:
        from ..plan.compile import compile  # with all the classes of declarations

        plan = compile(container)
    if identity.host_root and not container.set_id_files:
        from .set_id import guarded

        plan = guarded(plan, identity, container.guest_uid, streams, hooked)
    flags = 0
    if streams.is_terminal:
        flags |= lib.PC_REQUEST_TERMINAL
        if identity.host_root:
            streams.give_to(identity.host_uid(container.guest_uid))
    below_init = container.child_is_pid1 is False or "pid" not in container.namespaces
    if command is not None:
        flags |= lib.PC_REQUEST_COMMAND
        below_init = below_init or container.child_is_pid1 is None
    elif fn is None:
        flags |= lib.PC_REQUEST_IDLE
    if below_init and not flags & lib.PC_REQUEST_IDLE:
        flags |= lib.PC_REQUEST_INIT
    if options.process_spawned_hook is not None:
        flags |= lib.PC_REQUEST_WAIT
    if server is None:
        flags |= lib.PC_REQUEST_HIDE_INIT
    held: Hold | None = None
    if container.limits is not None:
        from .limits import hold  # few containers have some

        def sweep_later(directories: set[str]) -> None:
            (server or _helper()).sweep_later(directories)

        below = bool(flags & lib.PC_REQUEST_INIT)
        held = hold(
            container,
            plan,
            below_init=below,
            forked=fork and fn is not None,
            streams=streams,
            sweep_later=sweep_later,
        )
    if held is not None:
        assert held.plan is not None
        plan = held.plan
    if server is not None and not fork:
        plan = _on_own_processors(plan, server)
    trees = identity.host_root and "user" in container.namespaces
    own = not identity.by_parent
    request, total = pack_request(
        flags,
        pack(plan, trees=trees, program=program),
        plan.hook,
        plan.start,
        chunks,
        maps=(
            identity.uid_map if own else "",
            identity.gid_map if own else "",
            identity.lock_uid_map,
            identity.lock_gid_map,
        ),
        lock_mapper=identity.by_parent,
    )
    order_flags = lib.PC_ORDER_PARENT_MAPS if identity.by_parent else 0
    if command is not None:
        order_flags |= lib.PC_ORDER_COMMAND
    namespaces = namespace_bits(container.namespaces)

    def send(loader: int, streams: Stdio) -> Exchange:
        order = pack_order(order_flags | loader, namespaces, identity.uid_map, identity.gid_map)
        steps = plan.tree_steps if trees else ()
        watch = None
        if held is not None and held.watches:
            watch = held.watch(bool(flags & (lib.PC_REQUEST_INIT | lib.PC_REQUEST_IDLE)))
        launch = Dispatch(
            order,
            request,
            total,
            streams,
            steps,
            identity,
            relay,
            watch=watch,
            loader=loader != 0,
            passed=() if command is None else command.passed,
        )
        try:
            if server is None or (fork and fn is not None):
                return launch.by_fork(fn, options.populate_filesystem, options.allow)
            return launch.by_server(server)
        except BaseException:
            if watch is not None:
                watch.remove(1.0)
            raise

    kept = not quiet  # the Running is the user's, who may drop it and leave the container
    quiet = quiet and options.process_spawned_hook is None
    while True:
        try:
            running = begin(
                send,
                streams,
                options,
                plan,
                container.env,
                deadline,
                name=_name(fn, command),
                idle=fn is None and command is None,
                keep=server,
                loads_threads=None if fork else fn,
                quiet=quiet,
                command=command,
                replaced=command is not None and not below_init,
                held=held,
                relay=relay,
            )
        except ThreadsError:
            streams = _guarded(stdio(), own_ids)
            continue
        running._exchange.owned = not kept
        return running


def start_join(
    fn: Callable[[], Any] | None,
    options: CallOptions,
    stdio: Callable[[], Stdio],
    env: Mapping[str, str],
    target: int,
    join: tuple[int, int, int, int, int, tuple[int, ...]],
    owner: bool,
    deadline: float | None,
    quiet: bool = True,
    command: Command | None = None,
    seccomp: SeccompFilter | None = None,
    relay: Relay = NO_RELAY,
) -> Running[Any]:
    """Start *fn* or *command* in the namespaces of the process of the pidfd *target*.

    Arguments:
        seccomp: a filter that the target has.
    """
    program = _program_of(seccomp)
    filters: list[Step] = []
    if seccomp is not None:
        from ..plan.layers import filter_steps

        filters = filter_steps(seccomp)
    flags = lib.PC_REQUEST_JOIN_OWNER if owner else 0
    chunks: list[Any]
    if command is not None:
        flags |= lib.PC_REQUEST_COMMAND
        chunks = [command.pack()]
    else:
        assert fn is not None
        from . import payload as payloads

        data = payloads.dump_payload(fn, allow=options.allow)
        chunks = [preamble_of(env, options), *data.chunks]
    if options.process_spawned_hook is not None:
        flags |= lib.PC_REQUEST_WAIT
        quiet = False
    server = _helper(options.preload)
    streams = _guarded(stdio(), server.host_root)  # whose ids the target has is not known here
    if streams.is_terminal:
        flags |= lib.PC_REQUEST_TERMINAL
    request, total = pack_request(
        flags,
        pack(_on_own_processors(Plan(tuple(filters), 0, 0), server), program=program),
        0,
        0,
        chunks,
        join=join,
    )
    order = pack_order(lib.PC_ORDER_JOIN | (lib.PC_ORDER_COMMAND if command else 0), 0)

    def send(loader: int, streams: Stdio) -> Exchange:
        launch = Dispatch(
            order,
            request,
            total,
            streams,
            (),
            None,
            relay,
            target,
            command is not None,
            members=_cgroups_of(join[4]) if join[0] & _INSIDE else (),
            passed=() if command is None else command.passed,
        )
        return launch.by_server(server)

    running = begin(
        send,
        streams,
        options,
        None,
        env,
        deadline,
        name=_name(fn, command),
        idle=False,
        keep=server,
        loads_threads=None,
        quiet=quiet,
        command=command,
        relay=relay,
    )
    running._filtered = seccomp is not None
    return running


_INSIDE = lib.PC_NS_PID | lib.PC_NS_MNT
"""Who joins one of these lives in the container, and ends with it."""


def _cgroups_of(pid: int) -> list[Descriptor]:
    """What a visitor of the process *pid* enters: its limits are the visitor's too."""
    from .hierarchies import files_of_members

    found = []
    for path in files_of_members(pid):
        try:
            found.append(Descriptor(os.open(path, os.O_WRONLY | os.O_CLOEXEC)))
        except OSError:
            pass  # it has ended; or these are another user's, whom only root visits
    return found


def _name(fn: Callable[..., Any] | None, command: Command | None) -> str:
    if command is not None:
        return str(command.args)
    return "(idle)" if fn is None else name_of(fn)


def _on_own_processors(plan: Plan, server: Forkserver) -> Plan:
    """The plan for this thread, which may have been moved to others than the helper runs on."""
    processors = os.sched_getaffinity(0)
    return plan if processors == server.processors else _moved(plan, frozenset(processors))


@lru_cache(maxsize=64)
def _moved(plan: Plan, processors: frozenset[int]) -> Plan:
    steps = plan.steps
    return Plan(
        (*steps[: plan.start], affinity_step(processors), *steps[plan.start :]),
        plan.hook,
        plan.start,
        plan.seccomp,
    )


def _helper(preload: tuple[str, ...] = (), ranges: bool = False) -> Forkserver:
    from .forkserver import forkserver  # a command line does without

    return forkserver(preload, ranges=ranges)


def _program_of(seccomp: SeccompFilter | None) -> tuple[bytes, ...]:
    if seccomp is None:
        return ()
    from .filters import program_of  # few containers have one

    return program_of(seccomp)


def _guarded(streams: Stdio, own_ids: bool) -> Stdio:
    """*streams* for a container that may have the host's own ids."""
    if own_ids:
        streams.guard_null()
    return streams
