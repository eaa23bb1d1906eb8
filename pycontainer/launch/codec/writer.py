"""One message being written, in the container: the buffer, and what holds other values.

Imported by the helper that runs in the container, hence the short list of imports.
"""

from __future__ import annotations

from struct import error as struct_error
from struct import pack

from . import wire
from .wire import EncodeError, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Handler = Callable[["Encoder", Any, int], None]
    Handlers = dict[type[Any], Handler]  # an unknown type raises EncodeError
    Chunk = bytes | bytearray | memoryview


class Encoder:
    """One message being written.

    Small pieces gather in ``buffer``; a large one closes the buffer and follows it uncopied.
    """

    __slots__ = ("before", "buffer", "chunks", "handlers", "limit")

    def __init__(self, handlers: Handlers, limit: int) -> None:
        self.handlers = handlers
        self.limit = limit
        self.chunks: list[Chunk] = []
        self.before = 0  # bytes in chunks
        self.buffer = bytearray()

    def put(self, value: Any, depth: int) -> None:
        self.handlers[type(value)](self, value, depth)

    def put_or_text(self, value: Any, depth: int, text: Callable[[Any], str]) -> None:
        """Write *value*, or *text* of it if it does not cross."""
        chunks, before, written = len(self.chunks), self.before, len(self.buffer)
        buffer = self.buffer
        try:
            self.put(value, depth)
            self.check_size()
        except Exception:
            del self.chunks[chunks:]
            self.before = before
            self.buffer = buffer
            del buffer[written:]
            self.put(text(value), depth)

    def put_length(self, length: int) -> None:
        if length < 255:
            self.buffer.append(length)
        else:
            self.buffer += pack("<BQ", 255, length)

    def put_name(self, name: str) -> None:
        data = name.encode("utf-8", "surrogatepass")
        self.put_length(len(data))
        self.buffer += data

    def put_buffer(self, data: bytes | bytearray | memoryview) -> None:
        """Write the bytes of *data*, uncopied when they are many."""
        length = len(data)
        if length < wire.LARGE:
            self.buffer += data
            return
        self.check_size(length)
        self.chunks.append(self.buffer)
        # A view, because a caller of ours may join or write but must never change it.
        self.chunks.append(data if type(data) is bytes else memoryview(data))
        self.before += len(self.buffer) + length
        self.buffer = bytearray()

    def align(self) -> None:
        """Write one byte and as many zeros as it says; the stream's next byte is aligned."""
        padding = -(self.before + len(self.buffer) + 1) % wire.ALIGNMENT
        self.buffer.append(padding)
        self.buffer += bytes(padding)

    def open_items(self, tag: int, count: int) -> None:
        """Begin a sequence whose items the caller writes one by one."""
        self.buffer += bytes((tag, wire.ITEMS))
        self.put_length(count)

    def put_fields(self, fields: dict[str, Any], depth: int, owner: object) -> None:
        """Write a dict whose keys are attributes of *owner*."""
        self.buffer.append(wire.DICT)
        names = list(fields)
        put_items(self, names, depth, fields)
        try:
            put_items(self, list(fields.values()), depth, owner)
        except EncodeError as error:
            if error.trail and type(error.trail[-1][1]) is int:
                error.trail[-1] = (owner, f".{names[error.trail[-1][1]]}")
            raise

    def check_size(self, more: int = 0) -> None:
        size = self.before + len(self.buffer) + more
        if size > self.limit:
            raise EncodeError(
                f"is too large: {size_text(size)} or more as bytes, "
                f"max_result is {size_text(self.limit)}",
                "pass a larger max_result=, or write it to a file in a writable bind",
            )


def put_items(encoder: Encoder, values: Sequence[Any], depth: int, owner: object) -> None:
    """Write the items of a sequence of *owner*, whose tag has been written."""
    count = len(values)
    if count > 3:
        kinds = set(map(type, values))
        if len(kinds) == 1:
            block = _BLOCKS.get(kinds.pop())
            if block is not None and block(encoder, values, count):
                return
    buffer = encoder.buffer
    buffer.append(wire.ITEMS)
    encoder.put_length(count)
    if not count:
        return
    check_depth(depth)
    depth += 1
    handlers = encoder.handlers
    at = 0
    try:
        for value in values:
            handlers[type(value)](encoder, value, depth)
            at += 1
        if encoder.before + len(encoder.buffer) > encoder.limit:
            at = -1
            encoder.check_size()
    except EncodeError as error:
        error.trail.append((owner, at if at >= 0 else ""))
        raise


def check_depth(depth: int) -> None:
    """Refuse to go deeper than the decoder would follow."""
    if depth >= wire.MAX_DEPTH:
        raise EncodeError(
            f"is nested deeper than {wire.MAX_DEPTH} containers",
            "flatten it, for instance into a list of rows that name their parents",
        )


def _int_block(encoder: Encoder, values: Sequence[Any], count: int) -> bool:
    encoder.check_size(8 * count)
    try:
        data = pack(f"<{count}q", *values)
    except struct_error:  # beyond 64 bits
        return False
    encoder.buffer.append(wire.INTS)
    encoder.put_length(count)
    encoder.put_buffer(data)
    return True


def _float_block(encoder: Encoder, values: Sequence[Any], count: int) -> bool:
    encoder.check_size(8 * count)
    encoder.buffer.append(wire.FLOATS)
    encoder.put_length(count)
    encoder.put_buffer(pack(f"<{count}d", *values))
    return True


def _text_block(encoder: Encoder, values: Sequence[Any], count: int) -> bool:
    lengths = list(map(len, values))
    encoder.check_size(4 * count + sum(lengths))
    try:
        table = pack(f"<{count}I", *lengths)
    except struct_error:
        return False
    data = "".join(values).encode("utf-8", "surrogatepass")
    encoder.buffer.append(wire.TEXTS)
    encoder.put_length(count)
    encoder.put_buffer(table)
    encoder.put_length(len(data))
    encoder.put_buffer(data)
    return True


_BLOCKS: dict[type[Any], Callable[[Encoder, Sequence[Any], int], bool]] = {
    int: _int_block,
    float: _float_block,
    str: _text_block,
}


def put_dict(encoder: Encoder, value: dict[Any, Any], depth: int) -> None:
    """Write a dict: its keys, then its values."""
    encoder.buffer.append(wire.DICT)
    keys = list(value)
    try:
        put_items(encoder, keys, depth, keys)
    except EncodeError as error:
        if error.trail:
            error.trail[-1] = (value, " (a key)")
        raise
    try:
        put_items(encoder, list(value.values()), depth, value)
    except EncodeError as error:
        if error.trail and type(error.trail[-1][1]) is int:
            error.trail[-1] = (value, f"[{_key_text(keys[error.trail[-1][1]])}]")
        raise


def _key_text(key: Any) -> str:
    kind = type(key)
    if kind is str or kind is bytes:
        return repr(key[:60])
    if kind is float or key is None or (kind in (int, bool) and key.bit_length() < 200):
        return repr(key)
    return f"<{kind.__name__}>"
