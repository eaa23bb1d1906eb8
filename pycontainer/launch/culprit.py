"""Which captured thing keeps a function from being sent: the search, and the words for it."""

from __future__ import annotations

import functools
import io
import types
from collections.abc import Callable, Iterator
from typing import Any

from .references import annotations_of, code_facts, goes_by_name

__all__ = ["a_kind_of", "describe", "hint"]

# How far the search goes: references deep, and things tried in all.
_DEPTH = 40
_TRIES = 2000

_NO_SHARED_MEMORY = "a container shares no memory with you: make it inside the function"
_CALL_INSIDE = "pass the function that makes it"
_HINTS = {
    "_thread.lock": _NO_SHARED_MEMORY,
    "_thread.RLock": _NO_SHARED_MEMORY,
    "builtins.generator": "pass a list of its items, or the function that makes it",
    "builtins.coroutine": _CALL_INSIDE,
    "builtins.async_generator": _CALL_INSIDE,
    "builtins.frame": "pass the values that are wanted from it",
    "builtins.traceback": "pass it as text: traceback.format_exc()",
    "threading.Thread": "start the thread inside the function",
    "threading.Condition": _NO_SHARED_MEMORY,
    "threading.Event": _NO_SHARED_MEMORY,
    "threading.Semaphore": _NO_SHARED_MEMORY,
    "queue.Queue": _NO_SHARED_MEMORY,
    "ctypes.CDLL": "load the library inside the function",
}

# What instances of these packages' classes are made of is no concern of their users.
# fmt: off
_OPAQUE = frozenset({
    "_thread", "asyncio", "concurrent", "ctypes", "http", "io", "logging", "mmap",
    "multiprocessing", "queue", "select", "selectors", "socket", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "urllib", "weakref",
})
# fmt: on


def a_kind_of(thing: Any) -> str:
    """ "a sqlite3.Connection", "an int": the type of *thing* in a sentence."""
    kind = type(thing)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}"


def describe(fn: Any, sendable: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """Say in words where, from *fn* on, the thing is that cannot be sent.

    Args:
        fn: a function that cannot be sent.
        sendable: whether a thing by itself can be.

    Returns:
        The words up to and including the verb ("its closure variable 'c' is") and the thing;
        None when nothing that fn refers to is to blame.
    """
    words = ""
    thing = fn
    seen = {id(fn)}
    tries = 0
    for _ in range(_DEPTH):
        for noun, suffix, part in _parts(thing):
            tries += 1
            if tries > _TRIES:
                return (words, thing) if words else None
            if id(part) in seen or sendable(part):
                continue
            seen.add(id(part))
            if noun:
                words = f"{words}, whose {noun}" if words else f"its {noun}"
            else:
                words += suffix
            thing = part
            break
        else:
            break
    return (words, thing) if words else None


def hint(thing: Any) -> str:
    """What to do instead of sending *thing*."""
    if isinstance(thing, io.IOBase):
        return "open the file inside the function, or pass what it holds"
    for kind in type(thing).__mro__:
        found = _HINTS.get(f"{kind.__module__}.{kind.__qualname__}")
        if found:
            return found
    verb = "open" if hasattr(type(thing), "close") else "make"
    return f"{verb} it inside the function, or pass what it is made from"


def _parts(thing: Any) -> Iterator[tuple[str, str, Any]]:
    """What *thing* refers to and would be sent with it, as (noun, or suffix, the part)."""
    if isinstance(thing, types.FunctionType):
        if not goes_by_name(thing):
            yield from _parts_of_function(thing)
    elif isinstance(thing, types.MethodType):
        yield "object", "", thing.__self__
        yield "function", "", thing.__func__
    elif isinstance(thing, functools.partial):
        yield "function", "", thing.func
        for index, value in enumerate(thing.args):
            yield f"argument {index}", "", value
        for name, value in thing.keywords.items():
            yield f"keyword argument {name!r}", "", value
    elif isinstance(thing, dict):
        for key, value in list(thing.items()):
            yield "", f"[{key!r:.60}]", value
            yield f"key {key!r:.60}", "", key
    elif isinstance(thing, (list, tuple)):
        for index, value in enumerate(thing):
            yield "", f"[{index}]", value
    elif isinstance(thing, (set, frozenset)):
        for value in list(thing):
            yield "member", "", value
    elif isinstance(thing, types.CellType):
        try:
            yield "variable", "", thing.cell_contents
        except ValueError:
            pass
    elif isinstance(thing, (classmethod, staticmethod)):
        yield "function", "", thing.__func__
    elif isinstance(thing, property):
        for name in ("fget", "fset", "fdel"):
            yield "", f".{name}", getattr(thing, name)
    elif isinstance(thing, type):
        if not goes_by_name(thing):
            for base in thing.__bases__:
                yield f"base class {base.__name__!r}", "", base
            for name, value in list(vars(thing).items()):
                if name not in ("__dict__", "__weakref__"):
                    yield f"attribute {name!r}", "", value
    elif isinstance(thing, types.ModuleType):
        for name, value in list(vars(thing).items()):
            yield f"variable {name!r}", "", value
    elif type(thing).__module__.partition(".")[0] not in _OPAQUE:
        yield "class", "", type(thing)
        for name, value in _attributes(thing):
            yield "", f".{name}", value


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure variable {name!r}", "", cell.cell_contents
        except ValueError:
            pass
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
        yield f"default of parameter {name!r}", "", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default of parameter {name!r}", "", value
    for name in code_facts(code).global_names:
        if name in function.__globals__:
            yield f"global variable {name!r}", "", function.__globals__[name]
    for name, value in function.__dict__.items():
        yield f"attribute {name!r}", "", value
    for name, value in annotations_of(function).items():
        yield f"annotation of {name!r}", "", value


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """The state of an instance, as pickling sees it where that is a dictionary."""
    try:
        state = thing.__getstate__()
    except Exception:
        state = getattr(thing, "__dict__", None)
    # With slots, the state is (the dictionary or None, slots).
    for each in state if isinstance(state, tuple) else (state,):
        if isinstance(each, dict):
            for name, value in each.items():
                if isinstance(name, str):
                    yield name, value
