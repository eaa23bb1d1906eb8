"""Bytes to values, in the caller.  The bytes are hostile.

No code is chosen by them: a tag leads to a constructor of a fixed table, a name is looked up in
``allow=`` and nowhere else, nothing is imported by a name that was received.  Lengths are checked
against what is there before anything is made of them, so memory stays in proportion to the bytes
(about 150 times at worst, for a flood of empty deques), and so does time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from struct import unpack_from
from typing import Any

from ..._native import ffi, lib
from ...errors import ResultError
from . import wire
from .allow import class_of, type_name
from .decode_arrays import read_array, read_scalar
from .decode_records import BUILDERS, builder_for
from .text import one_line

__all__ = ["decode_refusal", "decode_value"]

# Building dicts and sets of keys other than str and bytes: seconds of processor time that a message
# gets, and more for each key.  Hashes of numbers are no secret, so a container can choose numbers
# that collide, and building then takes quadratic time.
_GRACE = 1.0
_GRACE_PER_KEY = 1e-5
_UNWATCHED_KEYS = 64


_HUGE = 8 << 20  # bytes: from here on a copy is worth asking for huge pages


class Reader:
    """One message being read: ``position`` moves over the bytes of ``view``."""

    __slots__ = ("allow", "cached", "data", "end", "patience", "position", "view")

    def __init__(self, view: memoryview, allow: Iterable[Any]) -> None:
        self.view = view
        self.end = len(view)
        # Slices of bytes are made faster than slices of a view.
        self.data: Any = bytes(view) if self.end <= wire.INLINE else view
        self.position = 0
        self.patience = _GRACE
        self.allow = {type_name(class_of(entry)): entry for entry in allow}
        self.cached: dict[Any, Any] = {}  # of constructors that are dear

    def value(self, depth: int) -> Any:
        tag = self.data[self.position]
        self.position += 1
        return _READERS[tag](self, depth)

    def length(self) -> int:
        """A length of something whose smallest part takes a byte."""
        length: int = self.data[self.position]
        self.position += 1
        if length == 255:
            (length,) = unpack_from("<Q", self.data, self.position)
            self.position += 8
        if length > self.end - self.position:
            raise ValueError("a length beyond the end")
        return length

    def skip(self, size: int) -> int:
        """Move over *size* bytes and return where they begin."""
        start = self.position
        if size > self.end - start:
            raise ValueError("it is cut short")
        self.position = start + size
        return start

    def take(self, size: int) -> Any:
        return self.data[self.skip(size) : self.position]

    def name(self) -> str:
        return str(self.take(self.length()), "utf-8", "surrogatepass")


def decode_value(view: memoryview | bytes, allow: Iterable[Any] = ()) -> Any:
    """The value in *view*.

    Arrays are made over the memory of *view*, keep it alive and are writable if it is; everything
    else is copied.

    Args:
        view: the bytes, all of them.
        allow: what ``check_allow`` returned, the same as on the other side.

    Raises:
        ResultError: the bytes are no value that this package writes, or one that the classes of
            ``allow=`` do not accept.
    """
    reader = Reader(memoryview(view).cast("B"), allow)
    try:
        value = reader.value(0)
        if reader.position != reader.end:
            raise ValueError(f"{reader.end - reader.position} bytes too many")
    except ResultError:
        raise
    except RecursionError:
        raise ResultError("the result is nested too deeply for the caller's stack") from None
    except MemoryError:
        raise ResultError(f"no memory for a result of {wire.size_text(len(view))}") from None
    except (IndexError, KeyError):
        raise malformed("it is cut short or has an unknown tag", reader) from None
    except Exception as error:
        raise malformed(str(error) or type(error).__name__, reader) from error
    return value


def decode_refusal(view: memoryview | bytes) -> ResultError:
    """The error to raise for what ``encode_refusal`` wrote."""
    parts = decode_value(view)
    if type(parts) is not tuple or len(parts) != 3 or not all(type(p) is str for p in parts):
        return ResultError("malformed refusal of a result")
    path, reason, hint = (one_line(part[:5000]) for part in parts)
    error = ResultError(f"{path} {reason}".strip())
    if hint:
        error.add_note(hint)
    return error


def malformed(reason: str, reader: Reader) -> ResultError:
    return ResultError(f"malformed result at byte {reader.position}: {one_line(reason[:300])}")


# -- sequences ------------------------------------------------------------------------------------


def _items(reader: Reader, depth: int) -> list[Any]:
    data = reader.data
    form = data[reader.position]
    reader.position += 1
    count = data[reader.position]
    if count == 255 or count > reader.end - reader.position:
        count = reader.length()
    else:
        reader.position += 1
    if form == wire.ITEMS:
        if not count:
            return []
        if depth >= wire.MAX_DEPTH:
            raise ValueError(f"nested deeper than {wire.MAX_DEPTH} containers")
        depth += 1
        items: list[Any] = []
        add = items.append
        readers = _READERS
        for _ in range(count):
            tag = data[reader.position]
            reader.position += 1
            add(readers[tag](reader, depth))
        return items
    if form == wire.INTS or form == wire.FLOATS:
        start = reader.skip(8 * count)
        block = reader.view[start : reader.position]
        return (block.cast("q") if form == wire.INTS else block.cast("d")).tolist()
    if form == wire.TEXTS:
        start = reader.skip(4 * count)
        lengths = reader.view[start : reader.position].cast("I").tolist()
        text = str(reader.take(reader.length()), "utf-8", "surrogatepass")
        if sum(lengths) != len(text):
            raise ValueError("texts whose lengths do not add up")
        texts = []
        end = 0
        for length in lengths:
            start = end
            end += length
            texts.append(text[start:end])
        return texts
    raise KeyError(form)


def _list(reader: Reader, depth: int) -> list[Any]:
    return _items(reader, depth)


def _tuple(reader: Reader, depth: int) -> tuple[Any, ...]:
    return tuple(_items(reader, depth))


def _set(reader: Reader, depth: int) -> set[Any]:
    items = _items(reader, depth)
    found: set[Any] = set()
    for part in _portions(reader, items):
        found.update(part)
    if len(found) != len(items):
        raise ValueError("a set with equal members")
    return found


def _frozenset(reader: Reader, depth: int) -> frozenset[Any]:
    return frozenset(_set(reader, depth))


def _dict(reader: Reader, depth: int) -> dict[Any, Any]:
    keys = _items(reader, depth)
    values = iter(_items(reader, depth))
    found: dict[Any, Any] = {}
    for part in _portions(reader, keys):
        found.update(zip(part, values, strict=False))
    if len(found) != len(keys) or next(values, reader) is not reader:
        raise ValueError("a dict with equal keys or unequal lengths")
    return found


def _portions(reader: Reader, keys: list[Any]) -> Iterable[list[Any]]:
    """*keys* in portions, after each of which the time spent on hashing is looked at."""
    count = len(keys)
    if count <= _UNWATCHED_KEYS or set(map(type, keys)) <= {str, bytes}:
        yield keys
        return
    size = 512
    reader.patience += _GRACE_PER_KEY * count
    for start in range(0, count, size):
        # Time on the processor, not on the wall: a caller may be stopped or starved.
        before = time.thread_time()
        yield keys[start : start + size]
        reader.patience -= time.thread_time() - before
        if reader.patience < 0:
            raise ValueError("keys whose hashes collide")


# -- scalars --------------------------------------------------------------------------------------


def _constant(value: Any) -> Callable[[Reader, int], Any]:
    return lambda reader, depth: value


def _byte(reader: Reader, depth: int) -> int:
    value: int = reader.data[reader.position]
    reader.position += 1
    return value


def _int(reader: Reader, depth: int) -> int:
    (value,) = unpack_from("<q", reader.data, reader.position)
    reader.position += 8
    return value  # type: ignore[no-any-return]


def _long(reader: Reader, depth: int) -> int:
    return int.from_bytes(reader.take(reader.length()), "little", signed=True)


def _float(reader: Reader, depth: int) -> float:
    (value,) = unpack_from("<d", reader.data, reader.position)
    reader.position += 8
    return value  # type: ignore[no-any-return]


def _complex(reader: Reader, depth: int) -> complex:
    real, imaginary = unpack_from("<dd", reader.data, reader.position)
    reader.position += 16
    return complex(real, imaginary)


def _str(reader: Reader, depth: int) -> str:
    start = reader.position + 1
    length = reader.data[start - 1]
    end = start + length
    if length == 255 or end > reader.end:
        return str(reader.take(reader.length()), "utf-8", "surrogatepass")
    reader.position = end
    return str(reader.data[start:end], "utf-8", "surrogatepass")


def _bytes(reader: Reader, depth: int) -> bytes:
    view = reader.take(reader.length())
    if len(view) < _HUGE:
        return bytes(view)
    # Zeros that calloc has not touched; nobody else has seen the object yet.
    whole = bytes(len(view))
    lib.pc_fill_fresh(ffi.from_buffer(whole), ffi.from_buffer(view), len(view))
    return whole


def _bytearray(reader: Reader, depth: int) -> bytearray:
    return bytearray(reader.take(reader.length()))


def _range(reader: Reader, depth: int) -> range:
    return range(*_three(reader, depth))


def _slice(reader: Reader, depth: int) -> slice:
    return slice(*_three(reader, depth))


def _three(reader: Reader, depth: int) -> tuple[Any, Any, Any]:
    if depth >= wire.MAX_DEPTH:
        raise ValueError(f"nested deeper than {wire.MAX_DEPTH} containers")
    depth += 1
    return reader.value(depth), reader.value(depth), reader.value(depth)


# -- records and classes of allow= ----------------------------------------------------------------


def _record(reader: Reader, depth: int) -> Any:
    if depth >= wire.MAX_DEPTH:
        raise ValueError(f"nested deeper than {wire.MAX_DEPTH} containers")
    name = wire.RECORDS[reader.data[reader.position]]
    reader.position += 1
    return BUILDERS[name](reader.value(depth + 1), reader.cached)


def _named(reader: Reader, depth: int) -> Any:
    if depth >= wire.MAX_DEPTH:
        raise ValueError(f"nested deeper than {wire.MAX_DEPTH} containers")
    name = reader.name()
    build = reader.cached.get(name)
    if build is None:
        if name not in reader.allow:
            raise ResultError(
                f"the result holds a {one_line(name[:300])}, which allow= does not name"
            )
        build = reader.cached[name] = builder_for(reader.allow[name], reader.allow.values())
    fields = reader.value(depth + 1)
    try:
        return build(fields)
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}"[:300])
        raise ResultError(
            f"malformed result: no {one_line(name)} can be made of its fields: {reason}"
        ) from error


_READERS: dict[int, Callable[[Reader, int], Any]] = {
    wire.NONE: _constant(None),
    wire.TRUE: _constant(True),
    wire.FALSE: _constant(False),
    wire.ELLIPSIS: _constant(...),
    wire.NOT_IMPLEMENTED: _constant(NotImplemented),
    wire.BYTE: _byte,
    wire.INT: _int,
    wire.LONG: _long,
    wire.FLOAT: _float,
    wire.COMPLEX: _complex,
    wire.STR: _str,
    wire.BYTES: _bytes,
    wire.BYTEARRAY: _bytearray,
    wire.RANGE: _range,
    wire.SLICE: _slice,
    wire.LIST: _list,
    wire.TUPLE: _tuple,
    wire.SET: _set,
    wire.FROZENSET: _frozenset,
    wire.DICT: _dict,
    wire.ARRAY: read_array,
    wire.SCALAR: read_scalar,
    wire.RECORD: _record,
    wire.NAMED: _named,
}
