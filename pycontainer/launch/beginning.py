"""The beginning of a container: until its function or program runs, or it is known why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from .._native import lib
from ..errors import ContainerExitError, HelperError
from .exchange import Exchange
from .results import name_of
from .running import Running

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from .command import Command
    from .forkserver import Forkserver
    from .limits import Hold
    from .options import CallOptions
    from .signals import Relay
    from .stdio import Stdio

__all__ = ["ThreadsError", "begin"]

# Functions whose loading started threads: they go to a loader at once the next time.  Their code,
# or the name of what has no code: a built-in method, an object that can be called.
_threaded: set[object] = set()


class ThreadsError(Exception):
    """Loading the function started threads; the next start loads it in a process of its own."""


def begin(
    send: Callable[[int, Stdio], Exchange],
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
    """Start one, and return when it runs.

    Arguments:
        send: sends the order and the request; its argument is 0 or PC_ORDER_LOADER.

    Raises:
        as ``start``.  ThreadsError: once more, please.
    """
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
        exchange = send(loader, streams)
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
    from .words import clone_failure, load_error, setup_failure  # seldom needed

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
