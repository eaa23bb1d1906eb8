"""Values cross and come back equal, of the same type; what does not cross says where and why."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import grp
import ipaddress
import math
import os
import pathlib
import pwd
import resource
import signal
import socket
import struct
import subprocess
import time
import types
import zoneinfo
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.errors import ResultError
from pycontainer.launch.codec import wire
from pycontainer.launch.codec.decode import decode_refusal, decode_value
from pycontainer.launch.codec.encode import EncodeError, encode_refusal, encode_value


def cross(value: Any, allow: Any = (), **options: Any) -> Any:
    return decode_value(b"".join(encode_value(value, allow, **options)), allow)


def same(a: Any, b: Any) -> bool:
    """Equal and of one type all the way down; nan equals nan, -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple, collections.deque)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.keys()), list(b.keys())) and same(list(a.values()), list(b.values()))
    return bool(a == b)


hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=6),
    max_leaves=6,
)
values = st.recursive(
    hashable
    | st.floats()
    | st.complex_numbers()
    | st.binary().map(bytearray)
    | st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.ip_addresses(),
    lambda inner: (
        st.lists(inner)
        | st.lists(st.integers(), min_size=4)
        | st.lists(st.text(st.characters(codec=None)), min_size=4)
        | st.lists(st.floats(), min_size=4)
        | st.tuples(inner, inner, inner)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.lists(inner).map(collections.deque)
    ),
    max_leaves=30,
)


@given(values)
@settings(max_examples=400, deadline=None)
def test_round_trip_generated(value: Any) -> None:
    assert same(cross(value), value)


@pytest.mark.parametrize(
    "value",
    [
        0,
        255,
        256,
        -1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        10**1000,
        [2**63] * 5,
        [True, False, True, True, False],
        [1, 2, 3, True],
        "\ud800\udc00\udfff",
        ["a", "\udc80", "", "\U0001f600", "é"],
        "x" * 100_000,
        b"x" * 100_000,
        [b"x" * 20_000, "y" * 20_000, bytearray(20_000)] * 3,
        ...,
        NotImplemented,
        slice(1, None, "x"),
        range(0, -(10**30), -7),
        collections.deque([1, 2], maxlen=2),
        collections.deque(maxlen=0),
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.Counter("hello"),
        collections.Counter({"x": -1}),
        datetime.date.min,
        datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.time(1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=-3), "x")),
        datetime.UTC,
        datetime.timedelta.min,
        zoneinfo.ZoneInfo("UTC"),
        decimal.Decimal("-0.00"),
        decimal.Decimal("1E+999999"),
        decimal.Decimal("-Infinity"),
        fractions.Fraction(-3, 7),
        pathlib.PurePosixPath("/a/b"),
        pathlib.PureWindowsPath("c:\\x"),
        pathlib.Path("x\udc80"),
        ipaddress.ip_address("fe80::1%eth0"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::/0"),
        ipaddress.ip_interface("10.1.2.3/8"),
        ipaddress.ip_interface("::1/64"),
        types.SimpleNamespace(a=1, b=[2]),
        os.terminal_size((80, 24)),
        os.uname(),
        time.localtime(),
        time.gmtime(0),
        pwd.getpwuid(0),
        grp.getgrgid(0),
        resource.getrusage(resource.RUSAGE_SELF),
        signal.SIGINT,
        signal.SIG_IGN,
        signal.SIG_BLOCK,
        socket.AF_INET6,
        socket.SOCK_STREAM,
        socket.MSG_PEEK | socket.MSG_DONTWAIT,
        socket.AI_PASSIVE,
    ],
    ids=lambda v: type(v).__name__,
)
def test_round_trip_each_type(value: Any) -> None:
    assert same(cross(value), value)


def test_stat_result_keeps_nanoseconds() -> None:
    before = os.stat("/")
    after = cross(before)
    assert type(after) is os.stat_result
    assert after.__reduce__()[1] == before.__reduce__()[1]
    assert after.st_mtime_ns == before.st_mtime_ns


def test_struct_time_keeps_zone() -> None:
    before = time.localtime()
    assert (cross(before).tm_zone, cross(before).tm_gmtoff) == (before.tm_zone, before.tm_gmtoff)


def test_datetime_keeps_fold() -> None:
    assert cross(datetime.datetime(2020, 1, 1, fold=1)).fold == 1
    assert cross(datetime.time(1, fold=1)).fold == 1


def test_timezone_utc_is_the_one() -> None:
    assert cross(datetime.UTC) is datetime.UTC


@pytest.mark.parametrize("text", ["NaN", "-sNaN12"])
def test_decimal_nan(text: str) -> None:
    assert str(cross(decimal.Decimal(text))) == text


def test_completed_process() -> None:
    done = subprocess.CompletedProcess(["x", pathlib.Path("y")], 3, b"out", None)
    assert vars(cross(done)) == vars(done)


def test_shared_reference_arrives_as_copies() -> None:
    shared = [1]
    one, two = cross([shared, shared])
    assert one == two == [1]
    assert one is not two


def test_nan_payload_is_kept() -> None:
    nan = struct.unpack("<d", b"\x01\x02\x03\x04\x05\x06\xf8\x7f")[0]
    assert math.isnan(nan)
    assert struct.pack("<d", cross(nan)) == struct.pack("<d", nan)


def test_depth_at_the_limit() -> None:
    value: Any = []
    for _ in range(wire.MAX_DEPTH):
        value = [value]
    assert cross(value) == value
    with pytest.raises(EncodeError, match=f"nested deeper than {wire.MAX_DEPTH}"):
        encode_value([value])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: collections.OrderedDict(a=x),
        lambda x: collections.deque([x]),
        lambda x: types.SimpleNamespace(a=x),
        lambda x: slice(x),
        lambda x: {"k": x},
        lambda x: (x,),
        lambda x: frozenset([x]),
        lambda x: subprocess.CompletedProcess(x, 0),
    ],
    ids=["ordered", "deque", "namespace", "slice", "dict", "tuple", "frozenset", "completed"],
)
def test_depth_what_is_encoded_is_decoded(wrap: Any) -> None:
    value: Any = ()
    deepest = 0
    for depth in range(wire.MAX_DEPTH + 2):
        value = wrap(value)
        try:
            data = b"".join(encode_value(value))
        except EncodeError:
            break
        decode_value(data)
        deepest = depth
    assert 60 < deepest <= wire.MAX_DEPTH
    assert "nested deeper" in refusal(value).reason


# -- what does not cross --------------------------------------------------------------------------


class Plain:
    pass


class MyDict(dict):
    pass


class MyInt(int):
    pass


class Colour(enum.Enum):
    RED = 1


class Row(NamedTuple):
    a: int


def refusal(value: Any, **options: Any) -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        encode_value(value, **options)
    return caught.value


def test_refusal_names_the_place_and_the_class() -> None:
    error = refusal([{"when": Plain()}])
    assert str(error) == f"result[0]['when'] is a {__name__}.Plain"
    assert "Data(Plain, encode, decode)" in error.hint


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Plain(), "result"),
        ({1: Plain()}, "result[1]"),
        ({"x": (1, Plain())}, "result['x'][1]"),
        ({Plain(): 1}, "result (a key)"),
        ([1, [{Row(1): 1}]], "result[1][0] (a key)"),
        ({Plain()}, "result{…}"),
        ({frozenset([Row(1)])}, "result{…}{…}"),
        (types.SimpleNamespace(x=[Plain()]), "result.x[0]"),
        (collections.deque([1, Plain()]), "result[1]"),
        (collections.OrderedDict(a=Plain()), "result['a']"),
        (collections.Counter({Plain(): 1}), "result (a key)"),
        (subprocess.CompletedProcess(cast(Any, [Plain()]), 0), "result.args[0]"),
        (slice(Plain()), "result"),
        ([0, 0, 0, 0, Plain()], "result[4]"),
        ({(1, 2): Plain()}, "result[<tuple>]"),
        ({"k" * 1000: Plain()}, f"result['{'k' * 60}']"),
    ],
    ids=lambda v: v[:40] if type(v) is str else "",
)
def test_refusal_path(value: Any, path: str) -> None:
    assert refusal(value).path == path


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (MyDict(a=1), "return dict(...)"),
        (MyInt(3), "return int(...)"),
        (Colour.RED, "allow=[Colour]"),
        (Row(1), "allow=[Row]"),
        (iter([1]), "return list(...)"),
        ({}.keys(), "return list(...)"),
        (map(str, []), "return list(...)"),
        (memoryview(b"x"), "return bytes(...)"),
        (len, "results are data"),
        (refusal, "results are data"),
        (os, "results are data"),
        (ValueError("x"), "allow=[ValueError]"),
        (functools.partial(len), "return plain data"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_refusal_hint(value: Any, hint: str) -> None:
    assert hint in refusal(value).hint


def test_refusal_of_a_cycle() -> None:
    value: list[Any] = [1]
    value.append({"x": [value]})
    error = refusal(value)
    assert str(error) == "result[1]['x'][0] contains itself"


def test_refusal_of_a_class_that_borrows_a_name() -> None:
    fake = type("Decimal", (), {"__module__": "decimal"})
    assert "is a decimal.Decimal" in str(refusal(fake()))


def test_refusal_of_a_zone_from_a_file() -> None:
    with open(pathlib.Path(zoneinfo.TZPATH[0]) / "UTC", "rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file, key="UTC")
    assert "ZoneInfo" in str(refusal([zone]))


@pytest.mark.parametrize(
    "value",
    [b"x" * 2000, "x" * 2000, bytearray(2000), [1] * 300, [1.0] * 300, ["x"] * 2000, 1 << 20_000,
     list(map(str, range(600))), [None] * 2000, dict.fromkeys(range(1000)), ["é" * 1500]],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_refusal_too_large(value: Any) -> None:
    assert sum(map(len, encode_value(value))) > 1500
    error = refusal(value, limit=1500)
    assert "is too large" in error.reason
    assert "max_result is 1500 bytes" in error.reason
    assert "max_result=" in error.hint


def test_refusal_of_billions_of_copies() -> None:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value]
    assert "is too large" in str(refusal(value, limit=100_000))


def test_limit_is_exact() -> None:
    value = {"a": [1, 2.5, "x" * 300], "b": b"y" * 100}
    size = sum(map(len, encode_value(value)))
    encode_value(value, limit=size)
    refusal(value, limit=size - 1)


def test_refusal_travels() -> None:
    error = refusal([Plain()])
    result = decode_refusal(b"".join(encode_refusal(error)))
    assert isinstance(result, ResultError)
    assert str(result) == f"result[0] is a {__name__}.Plain"
    assert result.__notes__ == [error.hint]


def test_refusal_travels_escaped() -> None:
    error = EncodeError("is \x1b[31m\nred", "", "result")
    assert str(decode_refusal(b"".join(encode_refusal(error)))) == "result is \\x1b[31m\\nred"


def test_large_buffers_are_not_copied() -> None:
    big = bytearray(1 << 20)
    chunks = encode_value({"a": big, "b": b"z" * (1 << 20)})
    assert any(type(c) is memoryview and c.obj is big for c in chunks)
    assert len(chunks) == 5
