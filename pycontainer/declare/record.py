"""Frozen data whose classes cost next to nothing to make.

attrs writes and compiles the methods of a class anew in every process, which takes a third of a
millisecond: little for a program that lives, and much for a command line with a dozen classes.
"""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Self

__all__ = ["HashedRecord", "Record", "set_field"]

set_field = object.__setattr__
"""Set a field of a new record, which is frozen for everybody but its own ``__init__``."""

_getters: dict[type, Callable[[Any], tuple[Any, ...]]] = {}


def _names(kind: type[Record]) -> list[str]:
    slots: tuple[str, ...] = kind.__slots__
    return [name for name in slots if not name.startswith("_")]


def _values(record: Record) -> tuple[Any, ...]:
    kind = type(record)
    if kind not in _getters:
        names = _names(kind)
        get = attrgetter(*names)
        # Of one name an attrgetter makes no tuple.
        _getters[kind] = get if len(names) > 1 else lambda one: (get(one),)
    return _getters[kind](record)


class Record:
    """Equality, hash and repr over the ``__slots__`` of a class, and no way to change them.

    Their order is that of the repr.  One whose name begins with an underscore takes no part.  A
    class is either an attrs class that leaves these methods out (``frozen(eq=False, repr=False)``),
    or has an ``__init__`` of its own that uses ``set_field``.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash((type(self), _values(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self._shown(name)}" for name in _names(type(self)))
        return f"{type(self).__qualname__}({shown})"

    def _shown(self, name: str) -> str:
        return repr(getattr(self, name))

    def __getstate__(self) -> dict[str, Any]:
        slots: tuple[str, ...] = type(self).__slots__
        return {name: getattr(self, name) for name in slots if name != "__weakref__"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            set_field(self, name, value)

    def _with(self, **changes: Any) -> Self:
        """A copy in which some slots are others; nothing is checked."""
        copy = object.__new__(type(self))
        copy.__setstate__(self.__getstate__() | changes)
        return copy


class HashedRecord(Record):
    """A record that holds many others: its hash is found out once."""

    __slots__ = ("_hash",)

    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            found = super().__hash__()
            set_field(self, "_hash", found)
            return found
