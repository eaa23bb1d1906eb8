"""Large data: it arrives as it was, and is not copied on the way into the payload."""

from __future__ import annotations

import mmap

import pytest

from pycontainer.launch import reconstruct
from pycontainer.launch.payload import dump_payload

np = pytest.importorskip("numpy")
MEGABYTE = 1 << 20


def loaded(payload):
    """Load here what the child would load from mapped memory."""
    data = mmap.mmap(-1, payload.size)
    for chunk in payload.chunks:
        data.write(chunk)
    return reconstruct.load_payload(data)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_are_not_copied(kind):
    data = kind(b"x" * MEGABYTE)
    payload = dump_payload(len, extra=data)
    assert payload.size == sum(memoryview(chunk).nbytes for chunk in payload.chunks)
    assert any(
        chunk is data or (isinstance(chunk, memoryview) and chunk.obj is data)
        for chunk in payload.chunks
    )
    assert loaded(payload)[3] == data
    assert type(loaded(payload)[3]) is kind


@pytest.mark.parametrize("count", [1, 2, 7])
def test_arrays_travel_beside_the_pickle(count):
    arrays = [np.arange(10_000 + n, dtype=np.float64) for n in range(count)]
    payload = dump_payload(len, extra=arrays)
    for array in arrays:
        assert any(
            isinstance(chunk, memoryview) and np.shares_memory(np.frombuffer(chunk), array)
            for chunk in payload.chunks
            if len(chunk) >= 80_000
        )
    back = loaded(payload)[3]
    for array, one in zip(arrays, back, strict=True):
        assert (one == array).all()
        assert one.flags.writeable
        assert one.flags.aligned
        assert one.ctypes.data % 64 == 0


def test_array_read_only_stays_so():
    array = np.arange(10_000)
    array.flags.writeable = False
    assert not loaded(dump_payload(len, extra=array))[3].flags.writeable


def test_array_from_read_only_memory_is_copied():
    array = np.arange(10_000)
    back = reconstruct.load_payload(bytes(dump_payload(len, extra=array)))[3]
    assert back.flags.writeable
    assert (back == array).all()


def test_array_not_contiguous():
    array = np.arange(20_000).reshape(100, 200)[:, ::2]
    fortran = np.asfortranarray(np.arange(20_000).reshape(100, 200))
    back = loaded(dump_payload(len, extra=(array, fortran)))[3]
    assert (back[0] == array).all()
    assert (back[1] == fortran).all()
    assert back[1].flags.f_contiguous


def test_array_small_and_of_objects():
    arrays = [np.arange(3), np.array([None, "a"], dtype=object), np.array(5), np.empty((0, 3))]
    back = loaded(dump_payload(len, extra=arrays))[3]
    for one, other in zip(arrays, back, strict=True):
        assert (one == other).all()
        assert one.shape == other.shape


def test_one_array_twice_stays_one():
    array = np.arange(10_000)
    first, second = loaded(dump_payload(len, extra=(array, array)))[3]
    assert first is second


def test_array_in_a_closure(run):
    array = np.ones(10_000)
    assert run(lambda: float(array.sum())).value == 10_000.0
