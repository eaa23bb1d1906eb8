"""The caller's half of a payload: a function becomes bytes, or an error that says why not.

Functions, classes and modules that the child can import go by name.  The rest goes by value:
whatever ``__main__`` defines, lambdas, functions inside functions, and everything of a module
whose name would not find the same file in the child (a test runner loaded it from a path).

``pickler.py`` takes things apart, ``references.py`` knows what goes by name, ``culprit.py`` finds
what cannot be sent.
"""

from __future__ import annotations

import functools
import marshal
import pickle
import types
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import PayloadError
from . import reconstruct
from .pickler import Pickler
from .references import hooked_locations

__all__ = ["Payload", "dump_payload", "load_failure"]

# NumPy likes its data aligned; a cache line also keeps two buffers from sharing one.
_ALIGNMENT = 64


class Payload:
    """A function as bytes.

    Attributes:
        chunks: what to write, in order.  Some may be views of objects that the function holds:
            write them before those can change.
        size: the length of all chunks together, in bytes.
        imports: the modules that loading imports besides those that the pickle names.
    """

    __slots__ = ("chunks", "imports", "size")

    def __init__(self, chunks: list[bytes | memoryview], size: int, imports: tuple[str, ...]):
        self.chunks = chunks
        self.size = size
        self.imports = imports

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks)


def dump_payload(
    fn: Callable[..., Any],
    *,
    allow: Iterable[Any] = (),
    populate: Callable[..., Any] | None = None,
    preload: Iterable[str] = (),
    extra: Any = None,
) -> Payload:
    """Pickle *fn* for a child; ``reconstruct.load_payload`` gives back what went in.

    Args:
        fn: what the child will call.
        allow: the classes that results may hold; pickled in one graph with fn, so that a class
            is the same object in both.
        populate: the hook that fills the root file system, if any.
        preload: names of modules to import in the child, whatever fn's code says.
        extra: anything else that the child needs.

    Raises:
        PayloadError: fn is not callable, or it captured something that cannot be sent.
    """
    if not callable(fn):
        from . import culprit  # for messages alone

        raise PayloadError(
            f"fn must be a function, not {culprit.a_kind_of(fn)}; "
            "to send a call, wrap it: lambda: f(x)"
        )
    chunks: list[bytes | memoryview] = [b"\0\0\0\0"]
    buffers: list[pickle.PickleBuffer] = []
    pickler = Pickler(_Sink(chunks), buffers)
    pickler.imports.extend(preload)
    pickler.note_imports_of(fn)
    try:
        # The list is last: by then the functions before it have named their imports.
        pickler.dump((fn, populate, tuple(allow), extra, pickler.imports))
    except Exception as error:
        raise _explained(error, fn, allow, populate, extra) from error
    size = sum(map(len, chunks))
    locations = hooked_locations()
    if buffers or locations:
        size = _append_buffers(chunks, size, buffers, dict(locations))
    return Payload(chunks, size, tuple(pickler.imports))


def load_failure(
    error: str, *, module: str = "", environment: Iterable[str] | None = None, detail: str = ""
) -> PayloadError:
    """The error for a function that did not load in the child.

    Args:
        error: the exception in words, such as ``KeyError: 'API_KEY'``.
        module: what ``reconstruct.failed_import`` said of it.
        environment: the names that the container's environment holds, if
            ``reconstruct.wants_environment`` said that one was missed; else None.
        detail: the traceback in the child, attached as a note.
    """
    words = "could not load the function in the container: "
    words += f"importing module {module!r} raised {error}" if module else error
    if environment is not None:
        names = ", ".join(sorted(environment))
        holds = f"holds only {names}" if names else "is empty"
        words += f" (the container's environment {holds}: env={{...}})"
    failure = PayloadError(words)
    if detail:
        failure.add_note(detail.rstrip())
    return failure


class _Sink:
    """What a pickler writes to.  Large bytes arrive as themselves and are kept, not copied."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: list[bytes | memoryview]) -> None:
        self._chunks = chunks

    def write(self, data: Any) -> None:
        chunks = self._chunks
        if type(data) is bytes:
            chunks.append(data)
        else:  # a bytearray, or a PickleBuffer over anything
            chunks.append(memoryview(data).cast("B"))


def _append_buffers(
    chunks: list[bytes | memoryview],
    size: int,
    buffers: list[pickle.PickleBuffer],
    locations: dict[str, Any],
) -> int:
    """Append *buffers* and write the header, which says where they are; return the new size."""
    views = [buffer.raw() for buffer in buffers]
    pickled = size - reconstruct.HEADER_LENGTH
    # The header's length depends on the offsets in it, and they on the length.  marshal writes
    # an int in 5 bytes or, from 2**31 on, in more: two rounds settle nearly always, a third does.
    header = b""
    while True:
        end = reconstruct.HEADER_LENGTH + len(header) + pickled
        places: list[tuple[int, int, bool]] = []
        parts: list[bytes | memoryview] = []
        for view in views:
            gap = -end % _ALIGNMENT
            parts += (bytes(gap), view)
            places.append((end + gap, view.nbytes, not view.readonly))
            end += gap + view.nbytes
        # Version 2 has no references, so that the length does not depend on shared objects.
        again = marshal.dumps((places, locations), 2)
        if len(again) == len(header):
            break
        header = again
    chunks[0] = len(again).to_bytes(reconstruct.HEADER_LENGTH, "little") + again
    chunks += parts
    return end


# ---- when it cannot be sent --------------------------------------------------------------------


def _sendable(thing: Any) -> bool:
    """Whether *thing* by itself can be pickled; what it becomes is thrown away."""
    try:
        Pickler(_Nowhere()).dump(thing)
    except Exception:
        return False
    return True


class _Nowhere:
    """What a pickler writes to when only whether it can is asked."""

    def write(self, data: Any) -> None:
        pass


def _explained(
    error: Exception,
    fn: Any,
    allow: Iterable[Any],
    populate: Callable[..., Any] | None,
    extra: Any,
) -> PayloadError:
    """The error for what *fn*, or another part of the payload, captured."""
    parts: list[tuple[str, Any]] = [
        (_name(fn), fn),
        (f"populate_filesystem {_name(populate)}", populate),
        ("the classes in allow", tuple(allow)),
        ("what goes with the function", extra),
    ]
    what, part = next((each for each in parts if not _sendable(each[1])), parts[0])
    cause: BaseException = error
    while cause.__context__ is not None and isinstance(cause, pickle.PicklingError):
        cause = cause.__context__
    if isinstance(cause, RecursionError):
        return PayloadError(
            f"cannot send {what}: something that it refers to is nested too deeply to be "
            "pickled; raise sys.setrecursionlimit(), or send it in pieces"
        )
    from . import culprit

    found = culprit.describe(part, _sendable)
    if found is None:
        return PayloadError(f"cannot send {what}: {error}")
    words, thing = found
    made = PayloadError(
        f"cannot send {what}: {words} is {culprit.a_kind_of(thing)}, "
        f"which cannot be pickled; {culprit.hint(thing)}"
    )
    made.add_note(f"pickling it raised {type(error).__name__}: {error}")
    return made


def _name(fn: Any) -> str:
    """The function in an error message: <function f>, <lambda at file:line>."""
    if isinstance(fn, types.FunctionType):
        if fn.__name__ == "<lambda>":
            return f"<lambda at {fn.__code__.co_filename}:{fn.__code__.co_firstlineno}>"
        return f"<function {fn.__qualname__}>"
    if isinstance(fn, types.MethodType):
        return f"<bound method {fn.__func__.__qualname__}>"
    if isinstance(fn, functools.partial):
        return f"functools.partial({_name(fn.func)})"
    if isinstance(fn, types.BuiltinFunctionType):
        return f"<built-in function {fn.__name__}>"
    return f"<{type(fn).__qualname__} object>"
