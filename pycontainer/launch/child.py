"""Python's part in the helper process and in every child that it clones.

The helper is lean: this module and what it imports are all that a container's memory holds before
its function is loaded, so nothing is imported here that a function may do without.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import gc
import marshal
import os
import sys

from .._native import ffi, lib
from . import reconstruct
from .codec.encode import encode_value
from .codec.exceptions import encode_exception
from .codec.transport import to_wire
from .outcome import flush, interrupted, outcome, prepare_streams
from .stdlib import HostsOwn, Stdlib, hold_stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

__all__ = ["run_loaded", "serve"]

_stdlib: Stdlib | None = None

FAILED = 125  # the exit status of a child that reported why it could not start


def serve(
    control: int,
    caller: int,
    preload: Sequence[str],
    rehearsal: bytes,
    ranges: bool,
    stdlib: str,
    hidden: Sequence[str],
) -> NoReturn:
    """Be the helper: clone children on the orders that come on *control*, until the end.

    Args:
        control: the caller's socket.  The first message on it says that all is well, or why not.
        caller: a pidfd of the caller.
        preload: modules to import first.
        rehearsal: a preamble and payload as a request has them.
        ranges: live in a user namespace of one's own, which the caller maps.
        stdlib: the directory with the standard library.
        hidden: directories in it that do not belong to it.
    """
    global _stdlib
    try:
        for name in preload:
            __import__(name)
            if _threads() > 1 and not _threads_end():
                # A process with threads cannot be cloned safely, nor unshare a user namespace.
                raise RuntimeError(f"preload={name!r} started a thread; it cannot be preloaded")
    except BaseException as error:
        os.write(control, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(1)
    os.chdir("/")  # the caller's directory may be on a file system that is to be unmounted
    _stdlib = hold_stdlib(stdlib, hidden)
    if _stdlib is not None:
        sys.meta_path.append(_stdlib)
    if ranges:
        _check(control, lib.pc_enter_user_namespace(control), "make a user namespace")
    _check(control, _leave_keyring(), "join a new session keyring")
    _rehearse(rehearsal, 16)
    gc.collect()
    gc.freeze()
    os.write(control, b"ok")
    served = lib.pc_serve(control, caller)
    if served == lib.PC_SERVED_SPARE:
        _rehearse(rehearsal, 1)
        lib.pc_await_order()
        served = lib.PC_SERVED_CHILD
    if served == lib.PC_SERVED_CHILD:
        _be_child()
    os._exit(0)


def _check(control: int, error: int, step: str) -> None:
    """Tell the caller what was refused, if anything was, and end."""
    if error:
        os.write(control, f"refused {error} {step}".encode())
        os._exit(1)


def _leave_keyring() -> int:
    """Leave the caller's session keyring; an errno."""
    error: int = lib.pc_leave_keyring()
    if error:
        import errno
        import time

        deadline = time.monotonic() + 1
        # The keyrings of containers that have just ended count until the kernel has collected them.
        while error == errno.EDQUOT and time.monotonic() < deadline:
            time.sleep(0.01)
            error = lib.pc_leave_keyring()
    return error


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _threads_end() -> bool:
    """Whether this thread is alone in a moment: join() returns before the kernel has ended one."""
    import time

    deadline = time.monotonic() + 0.25
    while _threads() > 1:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def _rehearse(data: bytes, times: int) -> None:
    """Do what every child does, before there is anything to do.

    In the helper: the interpreter specialises code as it runs and fills caches, and so no child
    has to.  In a spare child, while nobody waits for it: the pages that a call writes to are
    copied, one fault each.
    """
    size = ffi.sizeof("struct pc_request")
    memory = ffi.new("char[]", size + len(data))
    request = ffi.cast("struct pc_request *", memory)
    request.payload, request.payload_length = size, len(data)
    ffi.memmove(memory + size, data, len(data))
    environment = dict(os.environb)
    path, argv, prefixes = sys.path[:], sys.argv[:], (sys.prefix, sys.exec_prefix)
    for _ in range(times):
        call = Call(request)
        fn = _load(call)[0]
        for stage in (prepare_streams, flush):
            stage()
        _, chunks, _ = outcome(call, fn)
        to_wire(chunks)
    sys.path[:], sys.argv[:] = path, argv
    sys.prefix, sys.exec_prefix = prefixes
    os.environb.clear()
    os.environb.update(environment)


class Call:
    """What one child is to do, read from its request."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.flags: int = request.flags
        start = ffi.cast("char *", request) + request.payload
        view = memoryview(ffi.buffer(start, request.payload_length))
        length = 8 + int.from_bytes(view[:8], "little")
        (
            self.path,
            self.argv,
            self.prefix,
            self.exec_prefix,
            self.env,
            self.returns,
            self.max_result,
        ) = marshal.loads(view[8:length])
        self.payload = view[length + -length % 64 :]
        self.allow: Sequence[Any] = ()
        self.kept: list[Any] = []


def _be_child() -> NoReturn:
    """Load the function with the host's eyes, become the container, run it.  Ends the process."""
    try:
        _take_signals()
        call = Call(lib.pc_current_request())
        modules = len(sys.modules)
        try:
            fn, populate = _load(call)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            _say_load_failure(error)
            os._exit(FAILED)
        threaded = len(sys.modules) != modules and _threads() > 1
        if lib.pc_is_join():
            _join(call, fn, threaded)
        if lib.pc_is_loader():
            if threaded and os.fork():
                os._exit(0)  # the threads end here; the supervisor goes on alone
            lib.pc_supervise_loaded()
            _take_signals()
        elif threaded:
            lib.pc_say(lib.PC_SAY_THREADED, ffi.NULL, 0)
            os._exit(FAILED)
        _become_container(call, fn, populate)
    except KeyboardInterrupt:
        _end_interrupted()
    except BaseException as error:  # a defect of ours: it must not pass for the function's
        _say_load_failure(error)
        os._exit(FAILED)


def _load(call: Call) -> tuple[Callable[[], Any], Callable[[], Any] | None]:
    """The function and the populate hook, with the caller's settings in place."""
    sys.path[:] = call.path
    sys.argv[:] = call.argv
    sys.prefix, sys.exec_prefix = call.prefix, call.exec_prefix
    _set_environment(call)
    fn, populate, call.allow, _ = reconstruct.load_payload(call.payload)
    if call.returns == "pickle":
        import cloudpickle  # noqa: F401 - later the file may be out of reach
    return fn, populate


def _set_environment(call: Call) -> None:
    environment = os.environb
    for name in list(environment):
        del environment[name]
    environment.update(call.env)


def run_loaded(
    fn: Callable[[], Any], populate: Callable[[], Any] | None, allow: Sequence[Any]
) -> NoReturn:
    """In a child that has the function already (``start_method="fork"``)."""
    # The caller's garbage stays: what it would close has other numbers here.
    gc.freeze()
    try:
        _forget_handlers()
        _take_signals()
        call = Call(lib.pc_current_request())
        call.allow = allow
        _set_environment(call)
        if call.returns == "pickle":
            import cloudpickle  # noqa: F401
        _become_container(call, fn, populate)
    except KeyboardInterrupt:
        _end_interrupted()
    except BaseException as error:
        _say_load_failure(error)
        os._exit(FAILED)


def _forget_handlers() -> None:
    """The caller's handlers are not those of this process, also as Python knows them."""
    for number in _signal.valid_signals():
        if callable(_signal.getsignal(number)):
            _signal.signal(number, _signal.SIG_DFL)


def _take_signals() -> None:
    """From here on a Ctrl-C is a KeyboardInterrupt, and other signals end this process."""
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    lib.pc_take_signals()


def _end_interrupted() -> NoReturn:
    """Ended by SIGINT before the function started."""
    kind, chunks, code = interrupted()
    _say(kind, chunks)
    os._exit(code)


def _say_load_failure(error: BaseException) -> None:
    variable = ""
    if reconstruct.wants_environment(error):
        variable = "environment"
    words = (
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        reconstruct.failed_import(error),
        variable,
    )
    chunks = encode_value((*words, b"".join(encode_exception(error))))
    _say(lib.PC_SAY_LOAD_FAILED, chunks)


def _say(kind: int, chunks: Sequence[Any]) -> None:
    """Send a message to the caller, by memfd if it is long.  The caller may have gone."""
    message = to_wire(chunks)
    if isinstance(message, int):
        lib.pc_say_with(kind, ffi.NULL, 0, message)
        os.close(message)
    else:
        lib.pc_say_with(kind, ffi.from_buffer(message), len(message), -1)


def _become_container(
    call: Call, fn: Callable[[], Any], populate: Callable[[], Any] | None
) -> NoReturn:
    if lib.pc_run_plan(0):
        os._exit(FAILED)
    _forget_finders(call)
    if populate is not None:
        try:
            populate()
        except BaseException as error:
            _say(lib.PC_SAY_HOOK_FAILED, encode_exception(error, call.allow))
            os._exit(FAILED)
    if lib.pc_run_plan(1):
        os._exit(FAILED)
    if call.flags & lib.PC_REQUEST_INIT:
        refused = lib.pc_fork_below_init()
        if refused:
            _say_setup_failed(refused, lib.PC_STAGE_FORK)
    if lib.pc_run_plan(2):
        os._exit(FAILED)
    _say(lib.PC_SAY_READY, [])
    if call.flags & lib.PC_REQUEST_WAIT and lib.pc_wait_for_word():
        os._exit(FAILED)
    _run(call, fn)


def _say_setup_failed(error: int, stage: int) -> NoReturn:
    failure = ffi.new("struct pc_failure *", {"step": -1, "error": error, "stage": stage})
    lib.pc_say(lib.PC_SAY_SETUP_FAILED, failure, ffi.sizeof("struct pc_failure"))
    os._exit(FAILED)


def _forget_finders(call: Call) -> None:
    """What the finders know of directories is the host's.

    The old ones stay alive: freeing them would write to the pages of a thousand names.
    """
    call.kept.append(sys.path_importer_cache)
    sys.path_importer_cache = {}


def _join(call: Call, fn: Callable[[], Any], threaded: bool) -> NoReturn:
    """An excursion: join, fork, run.  Nothing is imported from the container."""
    waiting = os.getpid()
    if threaded:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        pid = os.fork()
        if pid:
            lib.pc_init(pid, -1)
        _take_signals()
    call.kept += sys.meta_path, sys.path_hooks
    sys.meta_path, sys.path_hooks, sys.path = [HostsOwn(_stdlib)], [], []
    _forget_finders(call)
    failure = ffi.new("struct pc_failure *")
    if lib.pc_join(call.request, failure):
        lib.pc_say(lib.PC_SAY_SETUP_FAILED, failure, ffi.sizeof("struct pc_failure"))
        os._exit(FAILED)
    if threaded and os.getppid() != waiting:
        os._exit(FAILED)  # it was killed before pc_join() tied this process to it
    error = lib.pc_fork_visitor()
    if error:
        _say_setup_failed(error, lib.PC_STAGE_FORK)
    error = lib.pc_close_all_but_call()
    if error:
        _say_setup_failed(error, lib.PC_STAGE_START)
    lib.pc_say_ready_as_visitor()
    _run(call, fn)


def _run(call: Call, fn: Callable[[], Any]) -> NoReturn:
    """Run the function, send its value or exception, end the process."""
    try:
        prepare_streams()
        kind, chunks, code = outcome(call, fn)
    except KeyboardInterrupt:
        kind, chunks, code = interrupted()
    flush()
    if kind:
        try:
            _say(kind, chunks)
        except BaseException as error:
            _say(lib.PC_SAY_EXCEPTION, encode_exception(error, call.allow))
    os._exit(code)
