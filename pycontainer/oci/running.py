"""Running a bundle: natively, or by an OCI runtime: ``run_bundle``."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import IO, Any, Literal, TypeAlias

from ..launch.following import Event, follow, takes, to_stdout
from ..launch.results import Completed, ExitStatus, Usage, Verdict
from .reading import from_spec, read_config

__all__ = ["Log", "run_bundle"]

Log: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Callable[[bytes], object]"
"""Where output goes: a file that is written anew, a binary file, or what takes bytes."""


def run_bundle(
    path: str | os.PathLike[str],
    *,
    runtime: Literal["native", "runc", "crun"] = "native",
    log: Log | None = None,
    cancel: Event | None = None,
) -> Completed[None]:
    """Run the bundle in the directory *path*, wait for its end, and say how it ended.

    Arguments:
        runtime: "native" is pycontainer itself; the others are programs that must be installed.
        log: gets stdout and stderr as they come; stdin is empty then.  None: all three are the
            caller's.
        cancel: a ``threading.Event``.  When it is set, before or at any moment later, the container
            is killed, and the verdict is CANCELLED.

    A runtime reports a program that signal n killed as one that exits with 128+n, and so does
    ``status`` then, but for what was killed here.

    Raises:
        OSError: there is no config.json, or the runtime is not installed.
        ValueError: the config.json is not valid, or "native" does not support something in it.
        SetupError: the container could not be made, or the program is not in it.
    """
    bundle = os.path.abspath(path)
    spec = read_config(bundle)
    if runtime not in ("native", "runc", "crun"):
        raise ValueError(f"runtime must be 'native', 'runc' or 'crun', not {runtime!r}")
    if cancel is not None and cancel.is_set():
        return _never_started(spec)
    with contextlib.ExitStack() as closing:
        take: Callable[[bytes], object] | None = None
        if log is not None:
            take, end = takes(log)
            closing.callback(end)
        if runtime == "native":
            return _run_here(spec, bundle, take, cancel)
        from .runtimes import run_by

        return run_by(runtime, spec, bundle, take, cancel)


def _never_started(spec: dict[str, Any]) -> Completed[None]:
    process = spec.get("process") or {}
    return Completed(
        process.get("args"),
        ExitStatus(signal=int(signal.SIGKILL)),
        Verdict.CANCELLED,
        Usage(0.0, 0.0, 0.0, 0),
    )


def _run_here(
    spec: dict[str, Any],
    bundle: str,
    take: Callable[[bytes], object] | None,
    cancel: Event | None,
) -> Completed[None]:
    from ..launch.command import Command
    from ..launch.start import CallOptions, start
    from ..launch.stdio import PIPE, STDOUT, Stdio

    container, argv = from_spec(spec, bundle=bundle)
    counted = container.limits is not None and container.limits.output is not None
    if take is None and counted:
        take = to_stdout

    # An empty pipe, as runtimes give: /dev/null is the host's own, whose mode root inside could
    # change where its id is that of root outside.
    empty, end = os.pipe()
    os.close(end)

    def streams() -> Stdio:
        if take is None:
            return Stdio(None, None, None)
        return Stdio(empty, PIPE, STDOUT)

    try:
        running = start(
            container,
            None,
            CallOptions(),
            streams,
            quiet=True,
            command=Command.of(argv, container.env),
        )
    finally:
        os.close(empty)
    return follow(running, take or to_stdout, cancel)
