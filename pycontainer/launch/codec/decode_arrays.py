"""numpy's arrays and scalars from bytes that are hostile."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import wire
from .arrays import KINDS

if TYPE_CHECKING:
    from .decode import Reader


def read_array(reader: Reader, depth: int) -> Any:
    """An array over the reader's own memory, or a copy where that is not aligned."""
    numpy = _numpy()
    dtype = _dtype(numpy, reader.value(depth + 1))
    shape = reader.value(depth + 1)
    if type(shape) is not tuple or not shape or shape[0] not in ("C", "F"):
        raise ValueError("an array without a shape")
    order, *lengths = shape
    count = 1
    for length in lengths:
        if type(length) is not int or length < 0:
            raise ValueError("an array of a negative length")
        count *= length
        if count.bit_length() > 63:
            raise ValueError("an array of too many elements")
    size = reader.length()
    padding = reader.data[reader.position]
    reader.position += 1
    if padding >= wire.ALIGNMENT:
        raise ValueError("an array with too much padding")
    reader.skip(padding)
    if count * dtype.itemsize != size:
        raise ValueError("an array whose shape and bytes do not agree")
    start = reader.skip(size)
    if not size:
        return numpy.empty(lengths, dtype, order)
    array = numpy.frombuffer(reader.view[start : reader.position], dtype, count)
    if not array.flags.aligned:
        array = array.copy()
    check_elements(numpy, array)
    return array.reshape(lengths, order=order)


def read_scalar(reader: Reader, depth: int) -> Any:
    """One of numpy's own numbers, times or texts."""
    numpy = _numpy()
    value = reader.value(depth + 1)
    if type(value) is str:
        return numpy.str_(value)
    if type(value) is bytes:
        return numpy.bytes_(value)
    description, data = value
    dtype = _dtype(numpy, description)
    if type(data) is not bytes or len(data) != dtype.itemsize or dtype.subdtype is not None:
        raise ValueError("a numpy scalar of the wrong size")
    array = numpy.frombuffer(bytearray(data), dtype, 1)
    check_elements(numpy, array)
    return array[0]


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise ValueError("it holds a numpy value, and numpy cannot be imported here") from error


def _dtype(numpy: Any, description: Any) -> Any:
    """The element type that ``arrays._describe`` described."""
    if type(description) is str:
        # numpy reads whole languages from strings; only its own plain codes are let in.
        code = description[1:2]
        plain = description[2:].partition("[")[0]
        known = len(description) < 40 and description[:1] in ("<", ">", "|") and code in KINDS
        if not (known and plain.isascii() and (plain.isdigit() or code in "mM")):
            raise ValueError("an array of an unknown type")
        dtype = numpy.dtype(description)
        if dtype.str != description:
            raise ValueError("an array of an unknown type")
    elif type(description) is not tuple:
        raise ValueError("an array of an unknown type")
    elif len(description) == 2:
        base, shape = description
        if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array of an unknown type")
        dtype = numpy.dtype((_dtype(numpy, base), shape))
    else:
        names, formats, offsets, titles, size = description
        if not len(names) == len(formats) == len(offsets) == len(titles):
            raise ValueError("an array of an unknown type")
        dtype = numpy.dtype(
            {
                "names": list(map(_name, names)),
                "formats": [_dtype(numpy, inner) for inner in formats],
                "offsets": list(map(_integer, offsets)),
                "titles": [title if title is None else _name(title) for title in titles],
                "itemsize": _integer(size),
            }
        )
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError("an array of an unknown type")
    return dtype


def _name(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("an array field without a name")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("an array field of a negative size")
    return value


def check_elements(numpy: Any, array: Any) -> None:
    """Refuse bytes that are no value of their type.

    numpy trusts them: it counts truth values by adding bytes, and makes strings of code points that
    do not exist, which CPython then uses as an index into its tables.
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            check_elements(numpy, array[name])
    elif dtype.kind == "b":
        if numpy.ascontiguousarray(array).view("u1").max(initial=0) > 1:
            raise ValueError("a truth value that is neither")
    elif dtype.kind == "U":
        points = numpy.ascontiguousarray(array).view(dtype.byteorder + "u4")
        if points.max(initial=0) > 0x10FFFF:
            raise ValueError("a code point beyond the last")
