"""Starting a container: everything is checked and packed before anything is started."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from .._native import lib
from ..declare.container import Container
from ..errors import ContainerExitError, HelperError, SetupError
from ..plan.compile import Plan, compile
from ..plan.pack import pack
from ..plan.steps import Step
from .command import Command
from .dispatch import Dispatch
from .exchange import Exchange
from .forkserver import Forkserver, forkserver
from .identity import identity_of, is_host_root
from .options import MAX_RESULT, CallOptions, preamble_of
from .protocol import namespace_bits, pack_order, pack_request
from .results import name_of
from .running import Running
from .set_id import guarded
from .signals import NO_RELAY, Relay
from .stdio import Stdio, occupy_standard_streams
from .words import clone_failure, load_error, setup_failure

if TYPE_CHECKING:
    from ..declare.filters import SeccompFilter
    from .limits import Hold

__all__ = ["MAX_RESULT", "CallOptions", "start", "start_join"]


def start(
    container: Container,
    fn: Callable[[], Any] | None,
    options: CallOptions,
    stdio: Callable[[], Stdio],
    deadline: float | None = None,
    quiet: bool = False,
    command: Command | None = None,
    relay: Relay = NO_RELAY,
) -> Running[Any]:
    """Start *fn* or *command* in *container*, and return when it runs.

    Arguments:
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
    server = None if fork and command is not None else forkserver(options.preload)
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
        server = forkserver(options.preload, ranges=True)
    identity = identity_of(container, host_root, None if server is None else server.sizes)
    streams = stdio()
    hooked = options.populate_filesystem is not None
    plan = compile(container)
    if not container.set_id_files:
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
            (server or forkserver()).sweep_later(directories)

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
    if command is not None and not fork:
        order_flags |= lib.PC_ORDER_COMMAND
    namespaces = namespace_bits(container.namespaces)

    def begin(loader: int, streams: Stdio) -> Exchange:
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
            running = _begin(
                begin,
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
            streams = stdio()
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
    server = forkserver(options.preload)
    streams = stdio()
    if streams.is_terminal:
        flags |= lib.PC_REQUEST_TERMINAL
    request, total = pack_request(
        flags,
        pack(Plan(tuple(filters), 0, 0), program=program),
        0,
        0,
        chunks,
        join=join,
    )
    order = pack_order(lib.PC_ORDER_JOIN | (lib.PC_ORDER_COMMAND if command else 0), 0)

    def begin(loader: int, streams: Stdio) -> Exchange:
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
            passed=() if command is None else command.passed,
        )
        return launch.by_server(server)

    running = _begin(
        begin,
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


def _name(fn: Callable[..., Any] | None, command: Command | None) -> str:
    if command is not None:
        return str(command.args)
    return "(idle)" if fn is None else name_of(fn)


# Functions whose loading started threads: they go to a loader at once the next time.  Their code,
# or the name of what has no code: a built-in method, an object that can be called.
_threaded: set[object] = set()


class ThreadsError(Exception):
    """Loading the function started threads; the next start loads it in a process of its own."""


def _begin(
    begin: Callable[[int, Stdio], Exchange],
    streams: Stdio,
    options: CallOptions,
    plan: Plan | None,
    env: Mapping[str, str],
    deadline: float | None,
    *,
    name: str,
    idle: bool,
    keep: Forkserver | None,
    loads_threads: Callable[[], Any] | None,
    quiet: bool,
    relay: Relay,
    command: Command | None = None,
    replaced: bool = False,
    held: Hold | None = None,
) -> Running[Any]:
    # Namespaces cannot be unshared in a process with threads: then the function is loaded in one
    # process, and the container forked from it.
    key: object = None
    if loads_threads is not None:
        key = getattr(loads_threads, "__code__", None) or name_of(loads_threads)
    loader = lib.PC_ORDER_LOADER if key is not None and key in _threaded else 0

    def refuse(exchange: Exchange) -> NoReturn:
        if exchange.refusal is not None and exchange.refusal[0] == lib.PC_SAY_THREADED:
            _threaded.add(key)
            raise ThreadsError
        _refuse(exchange, plan, env, options.allow, command)

    try:
        exchange = begin(loader, streams)
        exchange.helper = keep
        exchange.replaced = replaced
        hook = options.process_spawned_hook
        try:
            if quiet:
                exchange.wait_for_the_end()
            else:
                _settle(exchange, deadline, name)
                if not exchange.ready and not exchange.waiting:
                    refuse(exchange)
            streams.sent()
            running: Running[Any] = Running(
                exchange,
                streams,
                args=name if command is None else command.args,
                plan=plan,
                allow=options.allow,
                returns=options.returns,
                max_result=options.max_result,
                idle=idle,
                keep=keep,
                refuse=refuse,
                command=command is not None,
                held=held,
            )
            if hook is not None:
                with relay.during_hook():
                    hook(running)
                exchange.go()
                if not exchange.ready:  # a command: whether it can be executed is not known yet
                    _settle(exchange, deadline, name)
                    if not exchange.ready:
                        refuse(exchange)
            return running
        except BaseException:
            exchange.abandon()
            raise
    except BaseException:
        streams.close()
        raise


def _settle(exchange: Exchange, deadline: float | None, name: str) -> None:
    """Wait until the function starts, or is known not to."""
    if not exchange.pump("decided", deadline):
        patience = 0.0 if deadline is None else max(0.0, deadline - time.monotonic())
        from ..errors import ContainerTimeoutError

        raise ContainerTimeoutError(f"{name} did not start in time", None, patience)


def _refuse(
    exchange: Exchange,
    plan: Plan | None,
    env: Mapping[str, str],
    allow: tuple[Any, ...],
    command: Command | None,
) -> NoReturn:
    """Raise the reason why the function or program was not started."""
    if exchange.refusal is not None:
        kind, body = exchange.refusal
        if kind == lib.PC_SAY_SETUP_FAILED:
            raise setup_failure(body, plan, command)
        if kind == lib.PC_SAY_HOOK_FAILED:
            from .codec.raised import decode_exception

            error = decode_exception(body, allow)
            error.add_note("raised by populate_filesystem; the function has not run")
            raise error
        raise load_error(body, env)
    if exchange.clone_error:
        raise clone_failure(exchange.clone_error)
    # A signal, say one that was relayed, is not the helper's fault.
    signalled = exchange.status is not None and exchange.status.signal is not None
    limit = _LIMITS.get(exchange.limit, "")
    raise (ContainerExitError if signalled or limit else HelperError)(
        f"the container's process {f'met its limit {limit}' if limit else 'ended'} "
        f"while it was set up: {exchange.status}; "
        f"the {'function' if command is None else 'program'} has not run"
    )


_LIMITS = {
    lib.PC_WATCHED_WALL_TIME: "wall_time",
    lib.PC_WATCHED_CPU_TIME: "cpu_time",
    lib.PC_WATCHED_MEMORY: "memory",
}


def _program_of(seccomp: SeccompFilter | None) -> tuple[bytes, ...]:
    if seccomp is None:
        return ()
    from .filters import program_of  # few containers have one

    return program_of(seccomp)
