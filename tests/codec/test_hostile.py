"""Bytes of a container are hostile: whatever they are, only ResultError comes out, promptly."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import ipaddress
import os
import pathlib
import pickle
import random
import resource
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import types
import uuid
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.errors import ResultError
from pycontainer.launch.codec import wire
from pycontainer.launch.codec.decode import decode_value
from pycontainer.launch.codec.encode import encode_value
from pycontainer.launch.codec.exceptions import encode_exception
from pycontainer.launch.codec.raised import decode_exception


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any


ALLOW = (Point,)
SAMPLES: list[Any] = [
    None,
    [1, 2.5, "é\udc80", b"bytes", bytearray(b"x"), 10**40, -5, 1j, True, ...],
    {"a": [1, 2, 3, 4], "b": ["x", "yy", "", "z"], "c": [1.0] * 5, (1, 2): {3, 4}},
    [datetime.datetime.now(datetime.UTC), datetime.date.min, datetime.timedelta(1)],
    [decimal.Decimal("1.5"), Fraction(1, 3), uuid.UUID(int=5), range(1, 9, 2), slice(1, 2)],
    [pathlib.Path("/x"), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
    [os.stat("/"), os.uname(), time.localtime(), signal.SIGINT, ZoneInfo("Europe/Berlin")],
    [types.SimpleNamespace(a=1), collections.deque([1], 2), collections.Counter("aab")],
    [np.arange(6.0).reshape(2, 3), np.zeros(2, "M8[ns]"), np.float32(1), np.str_("x")],
    np.zeros(3, [("a", "<i4"), ("b", "<U2"), ("c", "?", (2,))]),
    [Point(1, [2]), subprocess.CompletedProcess("x", 1), frozenset([1, "a"])],
]
ENCODED = [b"".join(encode_value(sample, ALLOW)) for sample in SAMPLES]


def refused(data: bytes, match: str = "malformed") -> None:
    with pytest.raises(ResultError, match=match):
        decode_value(data, ALLOW)


def only_result_error(data: bytes) -> None:
    try:
        decode_value(memoryview(bytearray(data)), ALLOW)
    except ResultError:
        pass


@given(st.binary(max_size=200))
@settings(max_examples=1500, deadline=None)
def test_random_bytes(data: bytes) -> None:
    only_result_error(data)


TAGS = st.sampled_from(sorted({*b"NTFEXbizdcsyaRSltefmACrngIDU", 0, 1, 2, 3, 5, 200, 255}))


@given(st.lists(TAGS, max_size=40).map(bytes))
@settings(max_examples=3000, deadline=None)
def test_random_tags(data: bytes) -> None:
    only_result_error(data)


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_mutations(number: int) -> None:
    chance = random.Random(number)
    original = ENCODED[number]
    for _ in range(1500):
        data = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            what = chance.random()
            if what < 0.6 and at < len(data):
                data[at] = chance.choice((chance.randrange(256), 0, 1, 255, 127, 128))
            elif what < 0.8:
                del data[at : at + chance.randint(1, 8)]
            else:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
        only_result_error(bytes(data))


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_every_prefix_is_refused(number: int) -> None:
    for end in range(len(ENCODED[number])):
        refused(ENCODED[number][:end])


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_trailing_bytes_are_refused(number: int) -> None:
    refused(ENCODED[number] + b"\0", "1 bytes too many")


def test_empty() -> None:
    refused(b"")


@pytest.mark.parametrize("tag", "iszyalteRfm")
@pytest.mark.parametrize("form", ["", "g", "I", "D", "U"])
@pytest.mark.parametrize("length", [300, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_huge_lengths_allocate_nothing(tag: str, form: str, length: int) -> None:
    data = (tag + form).encode() + struct.pack("<BQ", 255, length) + b"N" * 20
    tracemalloc.start()
    try:
        with pytest.raises(ResultError):
            decode_value(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_deep_nesting() -> None:
    for opening in (
        b"lg\x01",
        b"tg\x01",
        b"eg\x01",
        b"r\x00",
        b"mg\x01Ng\x01",
        b"R",
        b"n\x01x",
        b"A",
        b"C",
    ):
        with pytest.raises(ResultError):
            decode_value(opening * 100_000)


def test_deep_stack_of_the_caller() -> None:
    data = b"lg\x01" * 150 + b"lg\x00"

    def down(levels: int) -> Any:
        return down(levels - 1) if levels else decode_value(data)

    with pytest.raises(ResultError, match="stack"):
        down(sys.getrecursionlimit() - 250)


@pytest.mark.parametrize(
    "data",
    [
        b"s\x02\xff\xfe",
        b"s\x01\x80",
        b"ltg\x00",
        b"eg\x01lg\x00",  # an unhashable member
        b"mg\x01lg\x00g\x01N",  # an unhashable key
        b"eg\x02b\x01b\x01",  # equal members
        b"mg\x02b\x01Tg\x02NN",  # equal keys
        b"mg\x01b\x01g\x00",
        b"mg\x01b\x01g\x02NN",
        b"lU\x01\x05\x00\x00\x00\x01x",  # lengths that do not add up
        b"Rb\x01b\x02b\x00",  # range() of step 0
        b"Rs\x01xb\x02b\x01",
        b"r\xff",
        b"r\x00N",
        b"?",
    ],
)
def test_malformed(data: bytes) -> None:
    refused(data)


def record(name: str, value: Any) -> bytes:
    return bytes((wire.RECORD, wire.RECORDS.index(name))) + b"".join(encode_value(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("collections.deque", (1, [1, 2])),
        ("collections.deque", (-1, [])),
        ("collections.deque", (1 << 70, [])),
        ("collections.deque", (None, "text")),
        ("collections.OrderedDict", [1]),
        ("collections.Counter", "abc"),
        ("datetime.date", (0, 0, 0)),
        ("datetime.date", (b"\x07\xe4\x01\x01",)),  # the form that pickle uses
        ("datetime.date", (2020, 1)),
        ("datetime.date", (2020, 1, 1, None, 0)),
        ("datetime.time", (1, 2, 3, 4, None)),
        ("datetime.time", (1, 2, 3, 4, None, 7)),
        ("datetime.time", (b"x" * 6, None)),
        ("datetime.timedelta", (1.5, 0, 0)),
        ("datetime.datetime", (b"x" * 10, None)),
        ("datetime.datetime", ("x", 1)),
        ("datetime.datetime", (2020, 1, 1, 0, 0, 0, 0, "UTC", 0)),
        ("datetime.timedelta", (10**10, 0, 0)),
        ("datetime.timezone", (1,)),
        ("zoneinfo.ZoneInfo", "../../../etc/passwd"),
        ("zoneinfo.ZoneInfo", "/etc/passwd"),
        ("zoneinfo.ZoneInfo", "tzdata.zi"),
        ("zoneinfo.ZoneInfo", ""),
        ("zoneinfo.ZoneInfo", "os/path"),
        ("zoneinfo.ZoneInfo", "a\0b"),
        ("zoneinfo.ZoneInfo", "x" * 5000),
        ("decimal.Decimal", "x"),
        ("decimal.Decimal", 1),
        ("fractions.Fraction", (1, 0)),
        ("fractions.Fraction", ("1", 2)),
        ("fractions.Fraction", (1 << 100_000, 1)),
        ("uuid.UUID", b"short"),
        ("pathlib.PosixPath", b"x"),
        ("ipaddress.IPv4Address", "1" * 1000),
        ("ipaddress.IPv4Address", 7),
        ("ipaddress.IPv4Network", "10.0.0.1/8"),
        ("types.SimpleNamespace", {1: 2}),
        ("os.stat_result", ((1, 2), {})),
        ("os.stat_result", ([0] * 10, {})),
        ("os.stat_result", ((0,) * 500, {})),
        ("subprocess.CompletedProcess", {"x": 1}),
        ("signal.Signals", 0),
        ("signal.Signals", 1 << 200),
        ("signal.Signals", "SIGINT"),
        ("socket.MsgFlag", 1 << 200),
        ("socket.MsgFlag", -1),
        ("socket.AddressInfo", 1 << 30),
    ],
    ids=lambda v: ascii(v)[:40] if type(v) is not tuple else "tuple",
)
def test_malformed_record(name: str, value: Any) -> None:
    refused(record(name, value))


def test_zone_key_never_imports() -> None:
    before = set(sys.modules)
    for key in ("antigravity", "this/that", "America/Nowhere"):
        refused(record("zoneinfo.ZoneInfo", key))
    new = {
        m
        for m in set(sys.modules) - before
        if not m.startswith(("tzdata", "importlib", "zoneinfo"))
    }
    assert not {"this", "antigravity"} & new
    assert not any("Nowhere" in m or m.endswith((".this", ".America")) for m in sys.modules)


def test_name_outside_of_allow() -> None:
    data = b"n\x0asubprocess" + b"N"
    refused(data, "allow=")
    refused(b"n\x05\x1b[2J\n" + b"N", r"\\x1b")
    with pytest.raises(ResultError, match="allow="):
        decode_value(ENCODED[-1])


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/pycontainer-was-unpickled",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused_and_not_run(protocol: int) -> None:
    for data in (pickle.dumps(Evil(), protocol), pickle.dumps([1, "x"], protocol)):
        with pytest.raises(ResultError):
            decode_value(data)
        with pytest.raises(ResultError):
            decode_exception(data)
    assert not os.path.exists("/tmp/pycontainer-was-unpickled")


# -- time and memory ------------------------------------------------------------------------------


def test_colliding_numbers_end_promptly() -> None:
    """Multiples of 2**61 - 1 all hash to 0: a dict of them takes quadratic time."""
    prime = (1 << 61) - 1
    keys = [prime * i for i in range(1, 300_000)]
    for data in (
        b"".join(encode_value(keys)).replace(b"l", b"e", 1),
        b"m" + b"".join(encode_value(keys))[1:] + b"".join(encode_value([0] * len(keys)))[1:],
    ):
        start = time.thread_time()
        refused(data, "collide")
        assert time.thread_time() - start < 10


def test_many_small_colliding_dicts_end_promptly() -> None:
    prime = (1 << 61) - 1
    one = b"".join(encode_value([prime * i for i in range(3, 12_000)])).replace(b"l", b"e", 1)
    count = 100
    start = time.thread_time()
    refused(b"lg" + bytes((count,)) + one * count, "collide")
    assert time.thread_time() - start < 10


def test_many_honest_keys_pass() -> None:
    value = {i * 7: i for i in range(200_000)}
    assert decode_value(b"".join(encode_value(value))) == value
    members = {(i, Fraction(i, 7)) for i in range(20_000)}
    assert decode_value(b"".join(encode_value(members))) == members


@pytest.mark.parametrize("one", [b"lg\x00", b"eg\x00", b"mg\x00g\x00", b"r\x00tg\x02Nlg\x00", b"N"])
def test_memory_in_proportion(one: bytes) -> None:
    count = 20_000
    data = b"lg" + struct.pack("<BQ", 255, count) + one * count
    tracemalloc.start()
    try:
        decode_value(data)
        assert tracemalloc.get_traced_memory()[1] < 200 * len(data)
    finally:
        tracemalloc.stop()


def test_long_fractions_end_promptly() -> None:
    chance = random.Random(1)
    one = record(
        "fractions.Fraction",
        (chance.getrandbits(wire.MAX_FRACTION_BITS), chance.getrandbits(wire.MAX_FRACTION_BITS)),
    )
    start = time.thread_time()
    decode_value(b"lg\x64" + one * 100)
    assert (time.thread_time() - start) / (len(one) * 100) < 2e-6  # seconds a byte


# -- arrays ---------------------------------------------------------------------------------------


def array(dtype: Any, shape: Any, data: bytes, size: int | None = None) -> bytes:
    parts = b"".join(encode_value(dtype)) + b"".join(encode_value(shape))
    size = len(data) if size is None else size
    length = bytes((size,)) if size < 255 else struct.pack("<BQ", 255, size)
    return b"A" + parts + length + b"\0" + data


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("|O", ("C", 1), b"\0" * 8),
        ("O", ("C", 1), b"\0" * 8),
        ("object", ("C", 1), b"\0" * 8),
        ("<i4,O", ("C", 1), b"\0" * 12),
        ("<i4", ("C", -1), b"\0" * 4),
        ("<i4", ("C", 2), b"\0" * 4),
        ("<i4", ("C", 1 << 62, 4), b""),
        ("<i4", ("C", 1 << 62, 0), b""),
        ("<i4", ("C", *[1] * 70), b"\0" * 4),
        ("<i4", ("X", 1), b"\0" * 4),
        ("<i4", (1,), b"\0" * 4),
        ("<i4", ("C", True), b"\0" * 4),
        ("<i5", ("C", 1), b"\0" * 5),
        ("<V0", ("C", 1 << 40), b""),
        ("|V0", ("C", 1), b""),
        ("<U99999999999999999", ("C", 0), b""),
        ("<M8[../x]", ("C", 1), b"\0" * 8),
        ("<M8[ns]]]", ("C", 1), b"\0" * 8),
        ("<T16", ("C", 1), b"\0" * 16),
        (5, ("C", 1), b"\0" * 8),
        (None, ("C", 1), b"\0" * 8),
        (("|O", (2,)), ("C", 1), b"\0" * 16),
        (("<i4", (-2,)), ("C", 1), b"\0" * 16),
        (("<i4", (1 << 40,)), ("C", 0), b""),
        ((["a"], ["|O"], [0], [None], 8), ("C", 1), b"\0" * 8),
        ((["a"], ["<i8"], [4], [None], 8), ("C", 1), b"\0" * 8),
        ((["a"], ["<i8"], [-4], [None], 8), ("C", 1), b"\0" * 8),
        ((["a", "a"], ["<i4", "<i4"], [0, 4], [None, None], 8), ("C", 1), b"\0" * 8),
        ((["a"], ["<i4"], [0], [None], 1 << 40), ("C", 0), b""),
        (([1], ["<i4"], [0], [None], 4), ("C", 1), b"\0" * 4),
        (([], [], [], [], 0), ("C", 1), b""),
        ("|b1", ("C", 2), b"\x01\x02"),
        ("<U1", ("C", 1), b"\xff\xff\xff\xff"),
        (">U1", ("C", 1), b"\x00\x11\x00\x00"),
        ((["a"], ["<U1"], [0], [None], 4), ("C", 1), b"\xff\xff\xff\xff"),
        ((["a"], [("|b1", (2,))], [0], [None], 2), ("C", 1), b"\x00\x02"),
    ],
    ids=lambda v: ascii(v)[:40],
)
def test_malformed_array(dtype: Any, shape: Any, data: bytes) -> None:
    refused(array(dtype, shape, data))


def test_malformed_array_padding() -> None:
    good = array("<i4", ("C", 1), b"\0" * 4)
    assert decode_value(good) == [0]
    refused(good[:-5] + b"\x40" + b"\0" * 64 + b"\0" * 4)
    refused(array("<i4", ("C", 1), b"\0" * 4, 1 << 40))


def test_array_of_many_fields_ends_promptly() -> None:
    count = 5000
    dtype = (
        [str(i) for i in range(count)],
        ["|u1"] * count,
        list(range(count)),
        [None] * count,
        count,
    )
    start = time.thread_time()
    value = decode_value(array(dtype, ("C", 1), bytes(count)))
    assert value.shape == (1,)
    assert time.thread_time() - start < 2


# -- exceptions -----------------------------------------------------------------------------------


def exception_bytes() -> bytes:
    try:
        try:
            raise KeyError("x")
        except KeyError as error:
            raise ExceptionGroup("g", [OSError(2, "no", "f"), ValueError(1)]) from error
    except ExceptionGroup as error:
        error.add_note("n")
        return b"".join(encode_exception(error))


def test_exception_mutations() -> None:
    original = exception_bytes()
    assert isinstance(decode_exception(original), ExceptionGroup)
    chance = random.Random(0)
    for _ in range(4000):
        data = bytearray(original)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            made = decode_exception(bytes(data))
        except ResultError:
            continue
        assert isinstance(made, Exception)
        str(made), repr(made)


def test_exception_every_prefix_is_refused() -> None:
    original = exception_bytes()
    for end in range(len(original)):
        with pytest.raises(ResultError):
            decode_exception(original[:end])


@pytest.mark.parametrize("value", [None, 1, (), ("x",) * 9, [1] * 9, ValueError])
def test_exception_that_is_no_exception(value: Any) -> None:
    try:
        data = b"".join(encode_value(value))
    except Exception:
        data = b"junk"
    with pytest.raises(ResultError):
        decode_exception(data)


def test_memory_limit_is_not_needed() -> None:
    """A process with little memory refuses claims of much."""
    code = (
        "import resource, sys; from pycontainer.launch.codec.decode import decode_value\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))\n"
        "import struct\n"
        "for tag in b'syaz':\n"
        "    try: decode_value(bytes((tag, 255)) + struct.pack('<Q', 1 << 35))\n"
        "    except Exception as e: print(type(e).__name__)\n"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.split() == ["ResultError"] * 4
    assert resource.RLIMIT_AS
