"""numpy's arrays and scalars to bytes: the element type as data, the shape, the elements.

Imported by the helper that runs in the container: nothing here imports numpy.
"""

from __future__ import annotations

import sys

from . import wire
from .wire import EncodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .writer import Encoder

# dtype.kind: bool, integers, floats, complex, timedelta, datetime, bytes, text, raw bytes.
KINDS = "biufcmMSUV"


def put_array(encoder: Encoder, value: Any, depth: int) -> None:
    """Write an array; its elements travel in memory order and uncopied if they are contiguous."""
    if value.flags.c_contiguous:
        order, flat = "C", value.reshape(-1)
    elif value.flags.f_contiguous:
        order, flat = "F", value.T.reshape(-1)
    else:
        encoder.check_size(value.nbytes)
        order, flat = "C", value.flatten()
    encoder.buffer.append(wire.ARRAY)
    encoder.put(_describe(value.dtype), depth + 1)
    encoder.put((order, *value.shape), depth + 1)
    encoder.put_length(value.nbytes)
    encoder.align()
    if value.nbytes:
        # Not every element type has a buffer (datetime64 has none); bytes have.
        encoder.put_buffer(memoryview(flat.view("u1")))


def put_scalar(encoder: Encoder, value: Any, depth: int) -> None:
    """Write one of numpy's own numbers, times or texts."""
    encoder.buffer.append(wire.SCALAR)
    numpy: Any = sys.modules["numpy"]
    # As elements of an array these two would lose their trailing NULs.
    if type(value) is numpy.str_:
        encoder.put(str.__str__(value), depth + 1)
    elif type(value) is numpy.bytes_:
        encoder.put(bytes(value), depth + 1)
    else:
        encoder.put((_describe(value.dtype), value.tobytes()), depth + 1)


def _describe(dtype: Any) -> Any:
    """An element type as data: its code, (base, shape) or (names, types, offsets, titles, size)."""
    if dtype.hasobject:
        raise EncodeError(
            f"is a numpy value of {dtype}, which holds Python objects",
            "return array.tolist(), or give it a type of numbers",
        )
    if dtype.itemsize == 0:
        raise EncodeError(f"is a numpy value of {dtype}, whose elements have no size")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return _describe(base), shape
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return (
            list(dtype.names),
            [_describe(field[0]) for field in fields],
            [field[1] for field in fields],
            [field[2] if len(field) > 2 else None for field in fields],
            dtype.itemsize,
        )
    if dtype.kind not in KINDS:
        raise EncodeError(f"is a numpy value of {dtype}", "return array.tolist()")
    return dtype.str
