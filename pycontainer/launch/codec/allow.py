"""What ``allow=`` may name: classes of the caller whose instances cross by name and fields.

Imported by the helper that runs in the container: no imports beyond what every Python has loaded.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Data", "check_allow"]


class Data:
    """Lets instances of one class cross, by two functions of the caller's choosing.

    Args:
        cls: the class; only its direct instances cross, not those of subclasses.
        encode: called in the container with an instance; returns a value that crosses.
        decode: called in the caller with what *encode* returned, **or anything else that the
            container sent in its place**; returns an instance of *cls* or raises.

    Immutable, hashable and, when its functions are, picklable.
    """

    __slots__ = ("cls", "decode", "encode")

    cls: type[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]

    def __init__(
        self, cls: type[Any], encode: Callable[[Any], Any], decode: Callable[[Any], Any]
    ) -> None:
        # Written by hand because the helper must not load dataclasses or attrs.
        object.__setattr__(self, "cls", cls)
        object.__setattr__(self, "encode", encode)
        object.__setattr__(self, "decode", decode)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to {name!r}: Data is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete {name!r}: Data is immutable")

    def _key(self) -> tuple[Any, ...]:
        return self.cls, self.encode, self.decode

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if type(other) is Data else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Data({self.cls!r}, {self.encode!r}, {self.decode!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Data, self._key()


def type_name(cls: type[Any]) -> str:
    """The name that the wire carries and that messages show: module and qualified name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def class_of(entry: Any) -> Any:
    """The class that an entry of ``allow=`` is about."""
    return entry.cls if type(entry) is Data else entry


def kind_of(entry: Any) -> str | None:
    """How instances cross: "data", "exception", "enum", "flag", "namedtuple", "attrs",
    "dataclass", or None for a class that is none of these."""
    if type(entry) is Data:
        return "data"
    if issubclass(entry, BaseException):
        return "exception"
    enum = sys.modules.get("enum")  # surely loaded where a class made of it exists
    if enum is not None and issubclass(entry, enum.Enum):
        return "flag" if issubclass(entry, enum.Flag) else "enum"
    if issubclass(entry, tuple) and hasattr(entry, "_fields"):
        return "namedtuple"
    # Both decorators leave their mark on the class itself; an undecorated subclass has fields that
    # neither of them knows of.
    if "__attrs_attrs__" in entry.__dict__:
        return "attrs"
    if "__dataclass_fields__" in entry.__dict__:
        return "dataclass"
    return None


def fields_of(cls: type[Any]) -> dict[str, str | None]:
    """The fields of a dataclass or attrs class: name → the argument of ``__init__`` that sets it.

    None stands for a field that ``__init__`` does not take.
    """
    plain = calls_init(cls)
    if "__attrs_attrs__" in cls.__dict__:
        return {
            field.name: (getattr(field, "alias", None) or field.name.lstrip("_"))
            if field.init and plain
            else None
            for field in cls.__attrs_attrs__
        }
    fields = sys.modules["dataclasses"].fields(cls)
    return {field.name: field.name if field.init and plain else None for field in fields}


def calls_init(cls: type[Any]) -> bool:
    """Whether a dataclass or attrs class has the ``__init__`` that its decorator makes."""
    if "__attrs_attrs__" in cls.__dict__:
        # attrs makes __attrs_init__ when the class brings an __init__ of its own.
        return "__attrs_init__" not in cls.__dict__
    return bool(cls.__dataclass_params__.init)


def needs_init_only(cls: type[Any]) -> list[str]:
    """The names of the ``InitVar`` arguments without a default, which no field can supply."""
    kept = fields_of(cls)
    return [
        name
        for name, field in getattr(cls, "__dataclass_fields__", {}).items()
        if name not in kept and field._field_type.name == "_FIELD_INITVAR" and name not in dir(cls)
    ]


def check_allow(allow: Iterable[Any]) -> tuple[Any, ...]:
    """*allow* as a tuple, each entry checked.

    Raises:
        TypeError: an entry is neither a class that crosses by its fields nor a ``Data``, or two
            entries have one name; the message lists every such entry.
    """
    if isinstance(allow, (str, bytes, type, Data)):
        raise TypeError(f"allow= takes a list of classes, not {allow!r}")
    entries = tuple(allow)
    problems: list[str] = []
    seen: dict[str, Any] = {}
    for entry in entries:
        problem = _problem(entry)
        if problem is None:
            name = type_name(class_of(entry))
            if seen.setdefault(name, entry) is not entry:
                problem = f"{name} is named twice"
        if problem is not None:
            problems.append(problem)
    if problems:
        raise TypeError("allow=: " + "; ".join(problems))
    return entries


def _problem(entry: Any) -> str | None:
    if type(entry) is Data:
        if not isinstance(entry.cls, type):
            return f"{entry!r}: the first argument is no class"
        if not (callable(entry.encode) and callable(entry.decode)):
            return f"{entry!r}: encode and decode must be callable"
        return None
    if not isinstance(entry, type):
        return f"{entry!r} is no class (name classes, not instances or strings)"
    name = type_name(entry)
    kind = kind_of(entry)
    if kind is None:
        return (
            f"{name} is no dataclass, attrs, NamedTuple, Enum or exception class; "
            f"give Data({entry.__name__}, encode, decode)"
        )
    if kind == "exception" and issubclass(entry, (SystemExit, KeyboardInterrupt, GeneratorExit)):
        return f"{name} would end the caller and never crosses"
    if kind in ("dataclass", "attrs"):
        missing = needs_init_only(entry)
        if missing:
            return (
                f"{name} takes {', '.join(missing)} and keeps no field of that name; "
                f"give Data({entry.__name__}, encode, decode)"
            )
    return None
