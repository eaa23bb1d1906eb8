"""Values to bytes, in the container.

Types are found by identity and never imported: a value of ``datetime`` proves that its module is
loaded.  Only exact types cross, because a subclass may mean more than its base's data.  A reference
that is shared arrives as copies; a cycle is an error.

Imported by the helper that runs in the container, hence the short list of imports.
"""

from __future__ import annotations

import sys
from struct import pack

from . import wire
from .allow import class_of, fields_of, kind_of, type_name
from .arrays import put_array, put_scalar
from .records import FIELDS, PUBLIC_NAMES, RECORDS_OF_FIELDS, hint_for
from .wire import EncodeError
from .writer import Encoder, check_depth, put_dict, put_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .writer import Chunk, Handler, Handlers

__all__ = ["EncodeError", "encode_refusal", "encode_value"]


def encode_value(
    value: Any,
    allow: Iterable[Any] = (),
    limit: int = wire.DEFAULT_LIMIT,
    name: str = "result",
) -> list[Chunk]:
    """The bytes of *value*, in pieces to be written one after the other.

    Large buffers are not copied: write the pieces before the value changes.

    Args:
        value: the value.
        allow: what ``check_allow`` returned.
        limit: the most bytes that all pieces may have together.
        name: what paths in errors begin with.

    Raises:
        EncodeError: something in it does not cross, or it is too large or nested too deeply.
    """
    encoder = Encoder(handlers_for(allow), limit)
    try:
        encoder.put(value, 0)
        encoder.check_size()
    except EncodeError as error:
        _set_path(error, name)
        raise
    except RecursionError:
        raise EncodeError("is nested too deeply for what is left of the stack", "", name) from None
    encoder.chunks.append(encoder.buffer)
    return encoder.chunks


def encode_refusal(error: EncodeError) -> list[Chunk]:
    """The bytes that ``decode_refusal`` makes a ResultError of."""
    return encode_value((error.path[:4096], error.reason[:4096], error.hint[:4096]))


def handlers_for(allow: Iterable[Any]) -> Handlers:
    """The table that an Encoder for this ``allow=`` works with."""
    entries = tuple(allow)
    if not entries:
        return _HANDLERS
    table = _Table(_HANDLERS)
    table.update((class_of(entry), _handler_for(entry)) for entry in entries)
    return table


def _set_path(error: EncodeError, name: str) -> None:
    steps: list[str] = []
    seen: set[int] = set()
    for owner, step in reversed(error.trail):
        if id(owner) in seen:
            error.reason = "contains itself"
            error.hint = "a cycle does not cross; return the parts and join them in the caller"
            break
        seen.add(id(owner))
        steps.append(f"[{step}]" if type(step) is int else step)
    text = "".join(steps)
    error.path = name + (text if len(text) < 500 else f"{text[:200]}…{text[-200:]}")
    error.trail.clear()


# -- sequences ------------------------------------------------------------------------------------


def _list(encoder: Encoder, value: list[Any], depth: int) -> None:
    encoder.buffer.append(wire.LIST)
    put_items(encoder, value, depth, value)


def _tuple(encoder: Encoder, value: tuple[Any, ...], depth: int) -> None:
    encoder.buffer.append(wire.TUPLE)
    put_items(encoder, value, depth, value)


def _set(encoder: Encoder, value: set[Any], depth: int) -> None:
    encoder.buffer.append(wire.SET)
    _unordered(encoder, list(value), depth, value)


def _frozenset(encoder: Encoder, value: frozenset[Any], depth: int) -> None:
    encoder.buffer.append(wire.FROZENSET)
    _unordered(encoder, list(value), depth, value)


def _unordered(encoder: Encoder, values: list[Any], depth: int, owner: object) -> None:
    try:
        put_items(encoder, values, depth, owner)
    except EncodeError as error:
        if error.trail and error.trail[-1][0] is owner and error.trail[-1][1] != "":
            error.trail[-1] = (owner, "{…}")
        raise


# -- scalars --------------------------------------------------------------------------------------


def _int(encoder: Encoder, value: int, depth: int) -> None:
    if 0 <= value < 256:
        encoder.buffer += bytes((wire.BYTE, value))
    elif -0x8000_0000_0000_0000 <= value < 0x8000_0000_0000_0000:
        encoder.buffer += pack("<Bq", wire.INT, value)
    else:
        length = value.bit_length() // 8 + 1
        encoder.check_size(length)
        encoder.buffer.append(wire.LONG)
        encoder.put_length(length)
        encoder.put_buffer(value.to_bytes(length, "little", signed=True))


def _float(encoder: Encoder, value: float, depth: int) -> None:
    encoder.buffer += pack("<Bd", wire.FLOAT, value)


def _complex(encoder: Encoder, value: complex, depth: int) -> None:
    encoder.buffer += pack("<Bdd", wire.COMPLEX, value.real, value.imag)


def _str(encoder: Encoder, value: str, depth: int) -> None:
    if len(value) > wire.LARGE:
        encoder.check_size(len(value))
    data = value.encode("utf-8", "surrogatepass")  # file names hold lone surrogates
    length = len(data)
    buffer = encoder.buffer
    buffer.append(wire.STR)
    if length < 255:
        buffer.append(length)
        buffer += data
    else:
        encoder.put_length(length)
        encoder.put_buffer(data)


def _bytes(encoder: Encoder, value: bytes, depth: int) -> None:
    encoder.buffer.append(wire.BYTES)
    encoder.put_length(len(value))
    encoder.put_buffer(value)


def _bytearray(encoder: Encoder, value: bytearray, depth: int) -> None:
    encoder.buffer.append(wire.BYTEARRAY)
    encoder.put_length(len(value))
    encoder.put_buffer(value)


def _constant(tag: int) -> Handler:
    def put(encoder: Encoder, value: Any, depth: int) -> None:
        encoder.buffer.append(tag)

    return put


def _bool(encoder: Encoder, value: bool, depth: int) -> None:
    encoder.buffer.append(wire.TRUE if value else wire.FALSE)


def _span(tag: int) -> Handler:
    def put(encoder: Encoder, value: Any, depth: int) -> None:
        check_depth(depth)
        encoder.buffer.append(tag)
        for part in (value.start, value.stop, value.step):
            encoder.put(part, depth + 1)

    return put


# -- records and classes of allow= ----------------------------------------------------------------


def _record(index: int, name: str) -> Handler:
    head = bytes((wire.RECORD, index))
    fields = FIELDS.get(name)

    def put_data(encoder: Encoder, value: Any, depth: int) -> None:
        check_depth(depth)
        encoder.buffer += head
        try:
            encoder.put(fields(value), depth + 1)  # type: ignore[misc]
        except EncodeError as error:
            if error.trail:  # the place in our own tuple says nothing to the reader
                error.trail[-1] = (value, "")
            raise

    def put_mapping(encoder: Encoder, value: Any, depth: int) -> None:
        check_depth(depth)
        encoder.buffer += head
        put_dict(encoder, value, depth + 1)

    def put_fields(encoder: Encoder, value: Any, depth: int) -> None:
        check_depth(depth)
        encoder.buffer += head
        encoder.put_fields(vars(value), depth + 1, value)

    if name in RECORDS_OF_FIELDS:
        return put_fields
    return put_mapping if fields is None else put_data


def _handler_for(entry: Any) -> Handler:
    cls = class_of(entry)
    kind = kind_of(entry)
    encoded_name = type_name(cls)

    def put(encoder: Encoder, value: Any, depth: int) -> None:
        check_depth(depth)
        encoder.buffer.append(wire.NAMED)
        encoder.put_name(encoded_name)
        if kind in ("attrs", "dataclass"):
            encoder.put_fields(_fields(value, names, encoded_name), depth + 1, value)
        elif kind == "namedtuple":
            _no_extras(value, (), encoded_name)
            _tuple(encoder, tuple(value), depth + 1)
        elif kind == "enum":
            encoder.put(value.name, depth + 1)
        elif kind == "flag":
            encoder.put(value.value, depth + 1)
        elif kind == "exception":
            from .exceptions import put_exception

            put_exception(encoder, value, depth + 1)
        else:
            encoder.put(_encode_data(entry, value), depth + 1)

    names = tuple(fields_of(cls)) if kind in ("attrs", "dataclass") else ()
    return put


def _encode_data(entry: Any, value: Any) -> Any:
    try:
        return entry.encode(value)
    except Exception as error:
        name = type_name(entry.cls)
        raise EncodeError(f"is a {name} whose Data.encode raised {type(error).__name__}") from error


def _fields(value: Any, names: tuple[str, ...], cls: str) -> dict[str, Any]:
    # A field without a value (init=False, never set) stays without one.
    found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    _no_extras(value, names, cls)
    return found


def _no_extras(value: Any, names: tuple[str, ...], cls: str) -> None:
    """Refuse attributes that are no fields: they would be dropped in silence."""
    for name in getattr(value, "__dict__", ()):
        if name not in names:
            # functools.cached_property keeps its value under its own name; it can be made again.
            if type(getattr(type(value), name, None)).__name__ == "cached_property":
                continue
            raise EncodeError(
                f"is a {cls} with the attribute {name!r}, which is no field of it",
                "make it a field, or name the class as Data(cls, encode, decode)",
            )


class _Table(dict):  # type: ignore[type-arg]
    """Type → handler; a type of ``wire.RECORDS`` or numpy is entered when it is first met."""

    __slots__ = ()

    def __missing__(self, kind: type[Any]) -> Handler:
        handler = self[kind] = _find(kind)
        return handler


def _find(kind: type[Any]) -> Handler:
    """The handler of a type that is told by its identity: its name proves nothing."""
    if kind.__module__ == "numpy":
        numpy = sys.modules.get("numpy")
        if getattr(numpy, kind.__name__, None) is kind:
            if kind is numpy.ndarray:  # type: ignore[union-attr]
                return put_array
            if issubclass(kind, numpy.generic):  # type: ignore[union-attr]
                return put_scalar
    name = PUBLIC_NAMES.get((kind.__module__, kind.__qualname__))
    if name is not None:
        module, _, attribute = name.partition(".")
        if getattr(sys.modules.get(module), attribute, None) is kind:
            return _record(wire.RECORDS.index(name), name)
    raise EncodeError(f"is a {type_name(kind)}", hint_for(kind))


_HANDLERS = _Table(
    {
        type(None): _constant(wire.NONE),
        type(...): _constant(wire.ELLIPSIS),
        type(NotImplemented): _constant(wire.NOT_IMPLEMENTED),
        bool: _bool,
        int: _int,
        float: _float,
        complex: _complex,
        str: _str,
        bytes: _bytes,
        bytearray: _bytearray,
        range: _span(wire.RANGE),
        slice: _span(wire.SLICE),
        list: _list,
        tuple: _tuple,
        set: _set,
        frozenset: _frozenset,
        dict: put_dict,
    }
)
