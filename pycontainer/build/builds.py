"""Building: ``build``."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any, Literal

from attrs import field, frozen

from ..declare.checks import StrPath
from ..launch.results import Completed, Verdict
from .bundle import Bundle, make_bundle, shell_for
from .failures import BuildCancelledError, BuildError, ConstraintError
from .log import Tail
from .machine import unmet
from .request import BuildRequest, SortedMap
from .scan import ChangedError, UnfitFileError, scan
from .store import BuildOutput, Check, Store, StoredPath, Workplace
from .trees import open_below

__all__ = ["BuildOutput", "BuildResult", "build", "request_hash"]

Log = StrPath | IO[bytes] | Callable[[bytes], object]
Runtime = Literal["native", "runc", "crun"]


def _by_path(outputs: Mapping[str, BuildOutput]) -> Mapping[str, BuildOutput]:
    return SortedMap(outputs)


@frozen
class BuildResult:
    """A build that has succeeded, now or before.

    Attributes:
        outputs: the request's paths to what the store holds.
        hash: of the request: what the store keeps the result under.
        cached: nothing was run: the store had it.
        completed: how its command ended; None if it was cached.
    """

    outputs: Mapping[str, BuildOutput] = field(converter=_by_path)
    hash: str
    cached: bool
    completed: Completed[None] | None = None


def build(
    request: BuildRequest,
    store: Store,
    *,
    runtime: Runtime = "native",
    log: Log | None = None,
    cancel: threading.Event | None = None,
    started: Callable[[str], object] | None = None,
) -> BuildResult:
    """Build *request*, or find in *store* what was built of it before.

    A request is known by its hash: of everything in it, and of the content of its inputs and of
    the shell that it is given.  What it sees by ``AvailableReadOnlyPath`` counts by its path only.

    Arguments:
        runtime: what runs the container: pycontainer itself, or runc or crun, which must be
            installed.
        log: gets what the command writes to stdout and stderr as it comes: a path, a binary file,
            or a callable taking bytes.
        cancel: when it is set the build ends, whatever it is doing.
        started: called with a word or two when a part of the work begins.

    Raises:
        ConstraintError: the machine does not meet the request's constraints; all are named.
        BuildError: the command failed, or an output is missing or unfit; a note has the last of
            what it has written.
        BuildCancelledError: *cancel* was set.
        FileNotFoundError, OSError: an input cannot be read, or the store cannot be written to.
        SetupError: the kernel refused a step, or the program is not there.
    """
    say = started or (lambda words: None)
    check = _checker(cancel)
    check()
    problems = unmet(request)
    if problems:
        raise ConstraintError(problems)
    with store.open() as place:
        say("inputs")
        inputs = _take_inputs(place, request, check)
        digest = request_hash(request, {name: one.hash for name, one in inputs.items()})
        known = place.find(digest)
        if known is not None:
            return BuildResult(known, digest, True)
        say("waiting")
        with place.turn(digest, check):
            known = place.find(digest)  # somebody has built it meanwhile
            if known is not None:
                return BuildResult(known, digest, True)
            shell = shell_for(request)
            path = os.path.join(place.directory, "bundle")
            bundle = make_bundle(path, request, inputs, shell, runtime)
            say("building")
            completed = _run(bundle, runtime, log, cancel)
            say("outputs")
            outputs = _take_outputs(place, bundle, completed, check)
            check()
            place.keep(digest, outputs)
            return BuildResult(outputs, digest, False, completed)


def request_hash(request: BuildRequest, inputs: Mapping[str, str]) -> str:
    """What *request* is known by: "sha256:" and 64 hexadecimal digits.

    It asks the machine for nothing but the shell, if the request has ``ProvideBinSh``.

    Arguments:
        inputs: the hash of each input's content.
    """
    from .document import to_document

    shell = shell_for(request)
    document = {
        "format": 1,
        **to_document(request),
        "inputs": dict(inputs),
        "shell": None if shell is None else _hash_of(shell.path),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _hash_of(path: str) -> str:
    """The hash of a file of the host, read once as long as it stays as it is."""
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    return _hash_then(path, status.st_ino, status.st_size, *times)


@functools.lru_cache(maxsize=4)
def _hash_then(path: str, *_signature: int) -> str:
    return scan(path).hash


def _checker(cancel: threading.Event | None) -> Check:
    def check() -> None:
        if cancel is not None and cancel.is_set():
            raise BuildCancelledError

    return check


def _take_inputs(place: Workplace, request: BuildRequest, check: Check) -> dict[str, StoredPath]:
    taken = {}
    for name, path in request.inputs.items():
        try:
            taken[name] = place.take_input(path, check)
        except OSError as error:
            error.add_note(f"it is of the input {name!r}, {path}")
            raise
    return taken


def _run(
    bundle: Bundle, runtime: Runtime, log: Log | None, cancel: threading.Event | None
) -> Completed[None]:
    from ..oci import run_bundle

    with Tail(log) as tail:
        completed = run_bundle(bundle.path, runtime=runtime, log=tail.write, cancel=cancel)
        if completed.verdict is Verdict.CANCELLED:
            raise BuildCancelledError(completed=completed)
        if completed.returncode:
            error = BuildError(f"{bundle.request.command_args[0]}: {completed.status}", completed)
            tail.note(error)
            raise error
        absent = [path for path in bundle.request.outputs if not _is_there(bundle, path)]
        if absent:
            words = f"the command succeeded and did not make {', '.join(absent)}"
            error = BuildError(words, completed)
            tail.note(error)
            raise error
    return completed


def _is_there(bundle: Bundle, output: str) -> bool:
    try:
        os.close(_open_output(bundle, output))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _open_output(bundle: Bundle, output: str) -> int:
    """An O_PATH descriptor of what the build has left there; no link on the way is followed."""
    folder, path = bundle.output_place(output)
    scratch = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not path:
        return scratch
    try:
        return open_below(scratch, path)
    finally:
        os.close(scratch)


def _take_outputs(
    place: Workplace, bundle: Bundle, completed: Completed[Any], check: Check
) -> dict[str, BuildOutput]:
    needles = bundle.request.refscan_needles
    outputs = {}
    for output in bundle.request.outputs:
        fd = _open_output(bundle, output)
        try:
            outputs[output] = place.take_output(fd, output, needles, check)
        except (UnfitFileError, ChangedError) as error:
            raise BuildError(f"output {error.filename} {error.strerror}", completed) from None
        finally:
            os.close(fd)
    return outputs
