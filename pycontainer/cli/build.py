"""``pycontainer build``: a build that a JSON file describes."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from .building import Saying
from .option import Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..build.builds import BuildResult
    from ..build.request import BuildRequest

__all__ = ["BUILD", "run"]

FAILED, CANCELLED = 1, 130

BUILD: tuple[Option, ...] = (
    Option(
        "Options",
        "--store",
        "DIR",
        "Where results are kept. Default: $PYCONTAINER_STORE, else pycontainer/store of "
        "$XDG_DATA_HOME or ~/.local/share.",
    ),
    Option("Options", "--runtime", "NAME", "native, runc or crun. Default: native."),
    Option("Options", "--log", "FILE", "What the build writes goes there. Default: stderr."),
    Option("Options", "--max-builds", "NUMBER", "Of the store at once. Default: one a processor."),
    Option("Options", "--keep", "NAME", "Keep the result from garbage collections, as NAME."),
    Option("Options", "--json", "", "The result as one line of JSON."),
    Option("Options", "--quiet -q", "", "Do not say on stderr what is being done."),
    Option("Options", "--dry-run", "", "Print the build's config.json, and stop."),
)

_HELP = """\
Build what REQUEST.json asks for, in a container, or find it in the store: a build whose request is
known is not run again.

REQUEST.json is an object: command_args, outputs, and if wanted inputs, working_dir, scratch_paths,
inputs_dir, environment_vars, constraints, additional_files, refscan_needles. "-" is stdin.
docs/builds.md has an example."""
_EPILOG = """\
On stdout: each output, and where the store has it. The exit status is 0 when there is a result, 1
when the build has failed, 130 when it was interrupted, 125 when pycontainer has failed or a
constraint is not met."""


def run(arguments: list[str]) -> int:
    """Run a command line without its ``build``; return the exit status.

    Raises:
        MisuseError, ValueError: it, or the request, is wrong.
        ConstraintError, SetupError, OSError: nothing could be built.
    """
    given, words = read(
        "pycontainer build",
        BUILD,
        arguments,
        help=_HELP,
        epilog=_EPILOG,
        usage="[OPTIONS] REQUEST.json",
        interspersed=True,
    )
    options = {name: values[-1] if values else "" for name, values in given}
    if len(words) != 1:
        raise MisuseError("it takes one REQUEST.json" + (f", not {len(words)}" if words else ""))
    runtime: Any = options.get("--runtime", "native")
    if runtime not in ("native", "runc", "crun"):
        raise MisuseError(f"--runtime is native, runc or crun, not {runtime!r}")
    from ..build.document import from_document

    request = from_document(*_document(words[0]))
    if "--dry-run" in options:
        return _print_spec(request, runtime)
    from ..build.builds import build
    from ..build.failures import BuildCancelledError, BuildError
    from ..build.store import DirectoryStore

    store = DirectoryStore(_store(options), max_builds=_number(options.get("--max-builds")))
    cancel = threading.Event()
    before = [
        (number, signal.signal(number, lambda *_: cancel.set()))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        with Saying("--quiet" in options, options.get("--log")) as say:
            result = build(
                request, store, runtime=runtime, log=say.log, cancel=cancel, started=say.part
            )
            say.end(result)
    except BuildCancelledError as error:
        print(f"pycontainer build: {error}", file=sys.stderr)
        return CANCELLED
    except BuildError as error:
        lines = [f"pycontainer build: {error}"]
        if "--log" in options:  # else they have just been seen
            lines += [
                f"  {line}"
                for note in getattr(error, "__notes__", [])
                for line in note.splitlines()
            ]
        print(*lines, sep="\n", file=sys.stderr)
        return FAILED
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if "--keep" in options:
        store.add_root(options["--keep"], result.hash)
    _print(result, "--json" in options)
    return 0


def _document(name: str) -> tuple[Any, str]:
    """What the file holds, and the directory that its paths are relative to."""
    try:
        if name == "-":
            return json.load(sys.stdin), "."
        with open(name, encoding="utf-8") as file:
            return json.load(file), os.path.dirname(name) or "."
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MisuseError(f"{name} is no JSON: {error}") from None


def _store(options: dict[str, str]) -> str:
    named = options.get("--store") or os.environ.get("PYCONTAINER_STORE")
    if named:
        return named
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):  # one that is not is to be ignored (XDG Base Directory)
        data = os.path.expanduser("~/.local/share")
    return os.path.join(data, "pycontainer", "store")


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise MisuseError(f"--max-builds takes a positive number, not {text!r}")
    return int(text)


def _print_spec(request: BuildRequest, runtime: str) -> int:
    from ..build.bundle import shell_for, spec_here

    json.dump(spec_here(request, shell_for(request), runtime), sys.stdout, indent=2)
    print()
    return 0


def _print(result: BuildResult, as_json: bool) -> None:
    if as_json:
        outputs = {
            path: {"path": one.path, "hash": one.hash, "references": list(one.references)}
            for path, one in result.outputs.items()
        }
        print(json.dumps({"outputs": outputs, "hash": result.hash, "cached": result.cached}))
        return
    for path, one in result.outputs.items():
        print(f"{path}  {one.path}")
        if one.references:
            print(f"  has {' '.join(one.references)}")
