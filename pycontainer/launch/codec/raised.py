"""Bytes to what a function raised, in the caller.  The bytes are hostile.

Exact built-in exceptions and classes of ``allow=`` are made without running an ``__init__`` of the
caller's: ``__new__`` of the nearest built-in class gets the arguments, then arguments and
attributes are set.  Every other class becomes a ``RemoteError``.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable
from types import MemberDescriptorType
from typing import Any

from ...errors import RemoteError, ResultError
from . import wire
from .allow import kind_of, type_name
from .decode import decode_value
from .text import one_line, printable

__all__ = ["RemoteTraceback", "decode_exception", "exception_of"]


class RemoteTraceback(Exception):  # noqa: N818 (it tells of an error and is none)
    """The ``__cause__`` of an exception that came out of a container; ``str`` is its traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"  # after "RemoteTraceback: " a traceback needs a line of its own


_BUILTIN: dict[str, type[BaseException]] = {
    cls.__name__: cls
    for cls in vars(builtins).values()
    if isinstance(cls, type) and issubclass(cls, BaseException)
}
# A StopIteration would end a generator of the caller's in silence.
_CROSSING = {
    f"builtins.{name}": cls
    for name, cls in _BUILTIN.items()
    if issubclass(cls, Exception) and not issubclass(cls, (StopIteration, StopAsyncIteration))
}


_SHAPES: tuple[tuple[type, ...], ...] = (
    (str,),
    (str,),
    (str,),
    (tuple,),
    (tuple,),
    (tuple,),
    (list,),
    (tuple, type(None)),
    (list,),
)


def decode_exception(view: memoryview | bytes, allow: Iterable[Any] = ()) -> BaseException:
    """The exception to raise for what ``encode_exception`` wrote, its ``__cause__`` set.

    Args:
        view: the bytes, all of them.
        allow: what ``check_allow`` returned, the same as on the other side.

    Raises:
        ResultError: the bytes are no exception that this package writes.
    """
    allow = tuple(allow)
    try:
        return exception_of(decode_value(view, allow), allow)
    except ResultError:
        raise
    except Exception as error:
        reason = one_line(str(error))[:300]
        raise ResultError(f"malformed exception of a container: {reason}") from error


def exception_of(parts: Any, allow: Iterable[Any]) -> BaseException:
    """The exception of the tuple that ``exceptions.put_exception`` writes.

    Raises:
        ValueError: *parts* is no such tuple.
    """
    if type(parts) is not tuple or len(parts) != 9:
        raise ValueError("it does not have nine parts")
    name, base_name, text, args, state, attributes, notes, members, story = parts
    for part, shape in zip(parts, _SHAPES, strict=True):
        if type(part) not in shape:
            raise ValueError(f"a {type(part).__name__} in the wrong place")
    _check_texts(text, *notes)
    base = _BUILTIN.get(base_name)
    if base is None:
        raise ValueError("no such built-in exception")
    if members is not None:
        args = (text_of_group(args, text), [exception_of(member, allow) for member in members])
    allowed = {type_name(e): e for e in allow if isinstance(e, type) and kind_of(e) == "exception"}
    told = story_text(story)
    cls = allowed.get(name) or _CROSSING.get(name)
    made: BaseException | None = None
    if name == "builtins.BaseExceptionGroup" and members:
        cls = ExceptionGroup  # its members are exceptions by now
    if cls is not None:
        try:
            made = _make(cls, args)
            _set_state(made, state)
        except Exception:
            made = None  # arguments that the class does not take, for instance as text
    if made is not None:
        for key, value in _pairs(attributes):
            _set_attribute(made, key, value)
    else:
        made = _remote_error(base, name, text, args, told)
        try:
            _set_state(made, state)
        except Exception:
            pass
    _calm(made)
    for note in notes:
        BaseException.add_note(made, printable(note))
    made.__cause__ = RemoteTraceback(told)
    return made


def _check_texts(*texts: Any) -> None:
    # The sender shortens them; to escape hundreds of megabytes would take a minute.
    for text in texts:
        if type(text) is not str or len(text) > 2 * wire.MAX_TEXT:
            raise ValueError("no text, or too much of it")


def text_of_group(args: tuple[Any, ...], text: str) -> str:
    """The message of a group, whose ``str`` has the number of members as well."""
    return args[0] if args and type(args[0]) is str else text


def _pairs(flat: tuple[Any, ...]) -> list[tuple[str, Any]]:
    names, values = flat[::2], flat[1::2]
    if len(names) != len(values) or not all(type(name) is str for name in names):
        raise ValueError("attributes without names")
    return list(zip(names, values, strict=True))


def _native(cls: type[BaseException]) -> type[BaseException]:
    """The built-in class whose ``__new__`` lays out an instance of *cls*."""
    return next(base for base in cls.__mro__ if _BUILTIN.get(base.__name__) is base)


def _make(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    native: Any = _native(cls)
    if issubclass(native, UnicodeError) and native is not UnicodeError:
        _check_unicode_error(native, args)
    made: BaseException = native.__new__(cls, *args)
    if not issubclass(native, BaseExceptionGroup):
        # Built-in code; it reads the arguments where __new__ did not.
        initialise: Any = native.__init__
        initialise(made, *args)
        _set_slot(BaseException, "args", made, args)
    return made


def _check_unicode_error(native: type[BaseException], args: tuple[Any, ...]) -> None:
    # Some versions of CPython crash in str() if the positions are not in the object (gh-123378).
    where, start, end = args[-4:-1] if native is not UnicodeTranslateError else args[:3]
    if not 0 <= start <= end <= len(where):
        raise ValueError("positions outside of the object")


def _set_slot(cls: type[BaseException], name: str, made: BaseException, value: Any) -> None:
    getattr(cls, name).__set__(made, value)


def _set_state(made: BaseException, state: tuple[Any, ...]) -> None:
    values = dict(_pairs(state))
    for base in type(made).__mro__:
        if _BUILTIN.get(base.__name__) is base:
            for name in wire.EXCEPTION_STATE.get(base.__name__, ()):
                if name in values:
                    _set_slot(base, name, made, values[name])


def _set_attribute(made: BaseException, name: str, value: Any) -> None:
    """Set what an instance holds itself; what its class defines is not for the bytes to replace."""
    # The traceback module of Python 3.12 imports what ImportError.name says if there is name_from.
    if name == "name_from" or (name.startswith("__") and name.endswith("__")):
        return
    for cls in type(made).__mro__:
        if name not in cls.__dict__:
            continue
        known = cls.__dict__[name]
        if type(known) is MemberDescriptorType and cls.__module__ != "builtins":
            known.__set__(made, value)
        elif not callable(known) and not hasattr(type(known), "__get__"):
            made.__dict__[name] = value
        return
    made.__dict__[name] = value


def _calm(made: BaseException) -> None:
    """Clear what would make the printing of a traceback fail or never end.

    A SyntaxError is shown with as many carets as its offsets say.
    """
    if not isinstance(made, SyntaxError):
        return
    for name in ("lineno", "offset", "end_lineno", "end_offset"):
        number = getattr(SyntaxError, name).__get__(made)
        if type(number) is not int or not -1 <= number <= 10_000_000:
            _set_slot(SyntaxError, name, made, None)
        elif "offset" in name and number > 10_000:
            _set_slot(SyntaxError, name, made, 10_000)
    for name in ("msg", "filename", "text"):
        value = getattr(SyntaxError, name).__get__(made)
        if type(value) is not str or len(value) > 2 * wire.MAX_TEXT:
            _set_slot(SyntaxError, name, made, None)


# -- RemoteError ----------------------------------------------------------------------------------

_remote_classes: dict[type[BaseException], type[RemoteError]] = {}


def _remote_error(
    base: type[BaseException], name: str, text: str, args: tuple[Any, ...], told: str
) -> RemoteError:
    """A RemoteError that is a *base* too, where that is an exception that may cross."""
    if f"builtins.{base.__name__}" not in _CROSSING:
        base = Exception
    cls = _remote_class(base)
    try:
        made = _make(cls, args)
    except Exception:
        if issubclass(base, BaseExceptionGroup):
            raise ValueError("a group that has no members") from None
        made = base.__new__(cls)
        _set_slot(BaseException, "args", made, args)
    assert isinstance(made, RemoteError)
    made.type_name = one_line(name)
    made.traceback_text = told
    made.__dict__["_text"] = printable(text)
    return made


def _remote_class(base: type[BaseException]) -> type[RemoteError]:
    made = _remote_classes.get(base)
    if made is None:
        body = {
            "__module__": RemoteError.__module__,
            "__qualname__": RemoteError.__qualname__,
            "__doc__": RemoteError.__doc__,
            "__str__": _remote_str,
            "__reduce__": _remote_reduce,
        }
        bases = (RemoteError,) if issubclass(RemoteError, base) else (RemoteError, base)
        made = _remote_classes[base] = type("RemoteError", bases, body)
    return made


def _remote_str(self: Any) -> str:
    text = self.__dict__.get("_text", "")
    shown = self.type_name.removeprefix("__main__.").removeprefix("builtins.")
    return f"{shown}: {text}" if text else shown


def _remote_reduce(self: Any) -> tuple[Any, ...]:
    args = self.args
    if issubclass(type(self), BaseExceptionGroup):
        args = (self.message, list(self.exceptions))
    parts = (_native(type(self)).__name__, self.type_name, self._text, args, self.traceback_text)
    return _unpickle, parts, {"__notes__": self.__notes__} if hasattr(self, "__notes__") else None


def _unpickle(base: str, name: str, text: str, args: tuple[Any, ...], told: str) -> RemoteError:
    return _remote_error(_BUILTIN[base], name, text, args, told)


# -- the traceback as text ------------------------------------------------------------------------

_BETWEEN = {
    "": "",
    "cause": "\nThe above exception was the direct cause of the following exception:\n\n",
    "context": "\nDuring handling of the above exception, another exception occurred:\n\n",
}


def story_text(story: list[Any]) -> str:
    """The story of an exception as a traceback shows it, without a newline at the end.

    Raises:
        ValueError: *story* is no such list.
    """
    return printable("".join(_told(story, 0)).rstrip("\n"))


def _told(story: Any, depth: int) -> list[str]:
    if type(story) is not list or depth > 20 or len(story) > wire.MAX_CHAIN:
        raise ValueError("a traceback that is no list")
    lines: list[str] = []
    for relation, name, text, notes, frames, members in story:
        if not (type(name) is type(text) is str and type(notes) is type(frames) is list):
            raise ValueError("a traceback of the wrong parts")
        if len(frames) > wire.MAX_FRAMES:
            raise ValueError("a traceback too long")
        _check_texts(name, text, *notes)
        if frames:
            lines.append("Traceback (most recent call last):\n")
        for file, line, function in frames:
            lines.append(_frame(file, line, function))
        shown = one_line(name).removeprefix("__main__.").removeprefix("builtins.")
        lines.append(f"{shown}: {text}\n" if text else f"{shown}\n")
        lines.extend(f"{note}\n" for note in notes)
        for number, member in enumerate(members or (), 1):
            inner = "".join(_told(member, depth + 1)).splitlines()
            lines.append(f"  --- {number} ---\n")
            lines.extend(f"    {line}\n" for line in inner)
        lines.append(_BETWEEN[relation])
    return lines


def _frame(file: Any, line: Any, function: Any) -> str:
    _check_texts(file, function)
    if type(line) is not int or line.bit_length() > 64:
        raise ValueError("a frame of the wrong parts")
    if not file:
        return f"  ... {line} frames left out ...\n"
    source = _loaded_line(file, line)
    shown = f"    {source}\n" if source else ""
    return f'  File "{one_line(file)}", line {line}, in {one_line(function)}\n{shown}'


def _loaded_line(file: str, line: int) -> str:
    """A line of source that the caller has in memory: no file that a container names is opened."""
    linecache = sys.modules.get("linecache")
    entry = linecache.cache.get(file) if linecache is not None else None
    if entry is None or len(entry) != 4 or not 0 < line <= len(entry[2]):
        return ""
    return str(entry[2][line - 1]).strip()
