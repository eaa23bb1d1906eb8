"""What a function raised, to bytes, in the container.

An exception is written as the tuple ``(name, base, text, args, state, attributes, notes, members,
story)``: the name of its class and of the nearest built-in one, what ``str`` says, its arguments
and attributes (those that do not cross as text), the members of a group, and the story that the
traceback tells, as data: the caller makes text of it.  Everything an exception may do wrong when it
is looked at (raise in ``__str__``, for instance) ends in a placeholder.

Imported by the helper that runs in the container, hence the short list of imports.
"""

from __future__ import annotations

from . import wire
from .allow import fields_of, type_name
from .encode import encode_value, handlers_for
from .wire import MAX_CHAIN, MAX_FRAMES, MAX_TEXT
from .writer import Encoder, check_depth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

    from .writer import Chunk

__all__ = ["encode_exception"]

_MAX_PLACE = 500  # characters of a file's or function's name
_MAX_PARTS = 100  # arguments, attributes and notes of one exception
_MAX_MEMBERS = 1_000  # of one group
_MAX_GROUPS = 20  # groups in groups
_FIRST_FRAMES = 20  # of one traceback that is too long
_LAST_FRAMES = MAX_FRAMES - _FIRST_FRAMES - 1

_PACKAGE = __file__.rpartition("/launch/")[0] + "/"


def encode_exception(
    exception: BaseException, allow: Iterable[Any] = (), limit: int = wire.DEFAULT_LIMIT
) -> list[Chunk]:
    """The bytes that ``decode_exception`` makes an exception of, in pieces.

    Never raises for what the exception holds or does; what does not cross is replaced by its text.

    Args:
        exception: what the function raised.
        allow: what ``check_allow`` returned.
        limit: the most bytes for all pieces together; less than ``wire.EXCEPTION_ROOM`` means that.
    """
    limit = max(limit, wire.EXCEPTION_ROOM)
    try:
        encoder = Encoder(handlers_for(allow), limit)
        put_exception(encoder, exception, 0)
        encoder.check_size()
    except Exception:  # too large as a whole, or very unusual: its words are what matters
        return encode_value(_in_words(exception), limit=limit)
    encoder.chunks.append(encoder.buffer)
    return encoder.chunks


def put_exception(encoder: Encoder, exception: BaseException, depth: int, groups: int = 0) -> None:
    """Write *exception* into a message."""
    check_depth(depth + 12)  # what it is made of is nested as well
    encoder.open_items(wire.TUPLE, 9)
    depth += 1
    encoder.put(_class_name(type(exception)), depth)
    encoder.put(nearest_builtin(type(exception)).__name__, depth)
    encoder.put(_text(exception), depth)

    members = _members(exception)
    # The second argument of a group is its members.
    args = _args(exception) if members is None else _args(exception)[:1]
    encoder.open_items(wire.TUPLE, len(args))
    for arg in args:
        encoder.put_or_text(arg, depth + 1, _repr)

    for named in (_state(exception), _attributes(exception)):
        encoder.open_items(wire.TUPLE, 2 * len(named))
        for name, value in named:
            encoder.put(name, depth + 1)
            encoder.put_or_text(value, depth + 1, _repr)

    encoder.put(_notes(exception), depth)

    if members is None:
        encoder.put(None, depth)
    else:
        shown = members[:_MAX_MEMBERS] if groups < _MAX_GROUPS else members[:0]
        left = len(members) - len(shown)
        encoder.open_items(wire.TUPLE, len(shown) + (left > 0))
        for member in shown:
            put_exception(encoder, member, depth + 1, groups + 1)
        if left:
            words = f"… and {left} more exceptions, not sent"
            encoder.put(("builtins.Exception", "Exception", words, (words,), (), (), [], None, []),
                        depth + 1)  # fmt: skip

    encoder.put(_story(exception), depth)


def _in_words(exception: BaseException) -> tuple[Any, ...]:
    text = _text(exception)
    name = _class_name(type(exception))
    told: list[Any] = [("", name, text, [], _frames(_slot(exception, "__traceback__")), None)]
    base = nearest_builtin(type(exception))
    if issubclass(base, BaseExceptionGroup):  # a group cannot be without its members
        base = Exception
    return (name, base.__name__, text, (text,), (), (), [], None, told)


def nearest_builtin(cls: type[BaseException]) -> type[BaseException]:
    """The first built-in class that an ``except`` for *cls* may name."""
    for base in cls.__mro__:
        if base.__module__ == "builtins" and base in _BUILTIN:
            return base
    return BaseException


def _all_builtin(cls: type[BaseException], found: set[type[BaseException]]) -> None:
    if cls.__module__ == "builtins":
        found.add(cls)
        for subclass in type.__subclasses__(cls):
            _all_builtin(subclass, found)


_BUILTIN: set[type[BaseException]] = set()
_all_builtin(BaseException, _BUILTIN)


# -- looking at an exception that may misbehave ---------------------------------------------------


def _class_name(cls: type[BaseException]) -> str:
    try:
        return type_name(cls)[:_MAX_PLACE]
    except Exception:
        return "?"


def _text(value: object) -> str:
    try:
        return _short(str.__str__(str(value)))
    except BaseException:
        return f"<unprintable {_class_name(type(value))} object>"  # type: ignore[arg-type]


def _repr(value: object) -> str:
    try:
        return _short(str.__str__(repr(value)))
    except BaseException:
        return f"<unprintable {_class_name(type(value))} object>"  # type: ignore[arg-type]


def _short(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]} … {len(text) - MAX_TEXT} characters … {text[-half:]}"


def _args(exception: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = _slot(exception, "args")
    return args[:_MAX_PARTS]


def _slot(exception: BaseException, name: str) -> Any:
    # The slot of the base class: a subclass may hide it behind a property.
    return getattr(BaseException, name).__get__(exception)


def _state(exception: BaseException) -> list[tuple[str, Any]]:
    """What built-in classes keep beside ``args``."""
    found = []
    for base in type(exception).__mro__:
        if base.__module__ != "builtins":
            continue
        for name in wire.EXCEPTION_STATE.get(base.__name__, ()):
            try:
                value = getattr(base, name).__get__(exception)
            except Exception:
                continue
            if value is not None:
                found.append((name, value))
    return found


def _attributes(exception: BaseException) -> list[tuple[str, Any]]:
    """What the instance holds, and the fields of a class that keeps them in slots."""
    found: dict[str, Any] = {}
    cls = type(exception)
    try:
        if "__attrs_attrs__" in cls.__dict__ or "__dataclass_fields__" in cls.__dict__:
            for name in fields_of(cls):
                if hasattr(exception, name):
                    found[name] = getattr(exception, name)
        found.update(exception.__dict__)
    except Exception:
        pass
    pairs = [(k, v) for k, v in found.items() if type(k) is str and k != "__notes__"]
    return pairs[:_MAX_PARTS]


def _notes(exception: BaseException) -> list[str]:
    try:
        notes = getattr(exception, "__notes__", ())
        if isinstance(notes, (list, tuple)):
            return [_text(note) for note in notes[:_MAX_PARTS]]
        return [_repr(notes)]
    except Exception:
        return []


def _members(exception: BaseException) -> tuple[BaseException, ...] | None:
    if isinstance(exception, BaseExceptionGroup):
        slot: Any = BaseExceptionGroup.exceptions
        members: tuple[BaseException, ...] = slot.__get__(exception)
        return members
    return None


# -- the story ------------------------------------------------------------------------------------


def _story(exception: BaseException, groups: int = 0) -> list[tuple[Any, ...]]:
    """What a traceback shows, the first cause first.

    Each part is (how the next one follows from it, class, text, notes, frames, stories of members).
    """
    told: list[tuple[Any, ...]] = []
    seen: set[int] = set()
    current: BaseException | None = exception
    relation = ""
    while current is not None and id(current) not in seen and len(told) < MAX_CHAIN:
        seen.add(id(current))
        members = None
        # The members of the group that crosses bring their own stories.
        if current is not exception or groups:
            group = _members(current)
            if group is not None and groups < 3:
                members = [_story(member, groups + 1) for member in group[:15]]
        told.append((
            relation, _class_name(type(current)), _text(current), _notes(current),
            _frames(_slot(current, "__traceback__")), members,
        ))  # fmt: skip
        cause = _slot(current, "__cause__")
        if cause is not None:
            current, relation = cause, "cause"
        elif not _slot(current, "__suppress_context__"):
            current, relation = _slot(current, "__context__"), "context"
        else:
            current = None
    told.reverse()
    return told


def _frames(traceback: TracebackType | None) -> list[tuple[str, int, str]]:
    """(file, line, function) of each frame, without this package's own at the beginning.

    A gap in a very long traceback is an entry with the number of frames left out and no names.
    """
    first: list[tuple[str, int, str]] = []
    last: list[tuple[str, int, str]] = []
    left_out = 0
    while traceback is not None:
        code = traceback.tb_frame.f_code
        name = code.co_filename
        if first or not name.startswith(_PACKAGE):
            frame = (name[:_MAX_PLACE], traceback.tb_lineno or 0, code.co_name[:_MAX_PLACE])
            if len(first) < _FIRST_FRAMES:
                first.append(frame)
            else:
                last.append(frame)
                if len(last) > 2 * _LAST_FRAMES:
                    left_out += len(last) - _LAST_FRAMES
                    del last[:-_LAST_FRAMES]
        traceback = traceback.tb_next
    if len(last) > _LAST_FRAMES:
        left_out += len(last) - _LAST_FRAMES
        del last[:-_LAST_FRAMES]
    return first + ([("", left_out, "")] if left_out else []) + last
