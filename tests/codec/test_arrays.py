"""numpy's arrays and scalars cross; the memory is the reader's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pycontainer.launch.codec.decode import decode_value
from pycontainer.launch.codec.encode import EncodeError, encode_value


def cross(value: Any) -> Any:
    return decode_value(memoryview(bytearray(b"".join(encode_value(value)))))


def check(value: Any) -> Any:
    after = cross(value)
    assert type(after) is type(value)
    assert after.dtype == value.dtype
    assert after.shape == value.shape
    assert after.tobytes() == value.tobytes()
    return after


dtypes = (
    hnp.scalar_dtypes()
    | hnp.byte_string_dtypes(min_len=1)
    | hnp.unicode_string_dtypes(min_len=1)
    | hnp.array_dtypes(max_size=3)
)


@given(hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0)))
@settings(max_examples=300, deadline=None)
def test_round_trip_generated(value: Any) -> None:
    if value.dtype.itemsize:
        check(value)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_round_trip_generated_views(data: st.DataObject) -> None:
    base = np.arange(120).reshape(2, 3, 4, 5)
    view = base[data.draw(hnp.basic_indices(base.shape))].transpose()
    if isinstance(view, np.ndarray):
        check(view)


aligned = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"]}, align=True)
titled = np.dtype([(("a title", "a"), "<i4"), ("b", "<M8[ms]", (2, 2))])


@pytest.mark.parametrize(
    "value",
    [
        np.array(5.0),
        np.zeros((0, 3)),
        np.arange(6).reshape(2, 3).T,
        np.arange(10)[::-2],
        np.arange(6, dtype=">i4"),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[25us]"),
        np.array([True, False]),
        np.array(["a", "é\U0001f600"]),
        np.array([b"a\0b", b""]),
        np.array([1 + 2j], "c8"),
        np.array([1], "longdouble"),
        np.array([1.5], "f2"),
        np.zeros(2, aligned),
        np.zeros(2, titled),
        np.zeros(2, "V5"),
        np.zeros(3, [("x", [("y", "?"), ("z", "S3")], (2,))]),
        np.broadcast_to(np.int8(3), (4, 4)),
    ],
    ids=lambda v: f"{v.dtype.str}{v.shape}",
)
def test_round_trip(value: Any) -> None:
    check(value)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.float32("nan"),
        np.int8(-1),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex128(1j),
        np.datetime64("2020-01-01T01:02:03.004"),
        np.datetime64("NaT"),
        np.timedelta64(3, "h"),
        np.longdouble(1) / 3,
        np.str_("a\0"),
        np.str_("\udc80"),
        np.bytes_(b"a\0"),
        np.void(b"abc"),
        np.array([(1, 2.0)], "i4,f8")[0],
    ],
    ids=lambda v: type(v).__name__,
)
def test_round_trip_scalar(value: Any) -> None:
    after = cross(value)
    assert type(after) is type(value)
    if isinstance(value, (np.str_, np.bytes_)):
        assert bytes(str(after), "utf-8", "surrogatepass") == bytes(
            str(value), "utf-8", "surrogatepass"
        )
    else:
        assert after.dtype == value.dtype
        assert after.tobytes() == value.tobytes()


def test_order_is_kept() -> None:
    assert cross(np.arange(6).reshape(2, 3).T).flags.f_contiguous


def test_arrays_are_writable_where_the_view_is_and_share_it() -> None:
    view = memoryview(bytearray(b"".join(encode_value(np.zeros(100_000)))))
    array = decode_value(view)
    assert array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(view, "u1"))
    assert not decode_value(bytes(view)).flags.writeable


def test_arrays_are_aligned_in_the_stream() -> None:
    for lead in range(70):
        value = {"x" * lead: 1, "a": np.arange(30_000.0), "b": np.arange(5, dtype="i8")}
        view = memoryview(bytearray(b"".join(encode_value(value))))
        start = np.frombuffer(view, "u1").ctypes.data
        after = decode_value(view)
        assert after["a"].flags.aligned
        assert after["b"].flags.aligned
        assert (after["a"].ctypes.data - start) % 64 == 0


def test_unaligned_view_is_copied() -> None:
    data = b"".join(encode_value(np.arange(10.0)))
    for shift in range(1, 9):
        view = memoryview(bytearray(bytes(shift) + data))[shift:]
        after = decode_value(view)
        assert after.flags.aligned
        assert after.flags.writeable
        assert list(after) == list(range(10))


def test_large_contiguous_array_is_not_copied() -> None:
    array = np.zeros(1 << 17)
    chunks = encode_value([array])
    assert any(
        len(c) == array.nbytes and np.shares_memory(np.frombuffer(c, "u1"), array) for c in chunks
    )


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(1, [("a", "i4"), ("b", "O")]),
        np.zeros(1, "V0"),
        np.ma.array([1]),
        np.zeros(1, "i4,i4").view(np.recarray),
        np.dtype("i4"),
        np.random.default_rng(0),
    ],
    ids=lambda v: type(v).__name__,
)
def test_refused(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_value([value])
    assert caught.value.path == "result[0]"


def test_refused_of_objects_has_a_hint() -> None:
    with pytest.raises(EncodeError, match="numpy value of object") as caught:
        encode_value(np.array([None]))
    assert "tolist" in caught.value.hint


def test_too_large() -> None:
    with pytest.raises(EncodeError, match="too large"):
        encode_value(np.zeros(1000), limit=5000)
