"""What Python packs is what the compiled helper reads."""

from __future__ import annotations

from enum import IntFlag

import pytest

from pycontainer._native import ffi, lib
from pycontainer.launch import protocol
from pycontainer.plan.pack import STEP
from pycontainer.plan.steps import MountAttr, Op, Refused, StepFlag


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("pc_step", STEP),
        ("pc_order", protocol.ORDER),
        ("pc_request", protocol.REQUEST),
        ("pc_failure", protocol.FAILURE),
        ("pc_watch", protocol.WATCH),
    ],
)
def test_sizes(name, layout):
    assert layout.size == ffi.sizeof(f"struct {name}")


@pytest.mark.parametrize(
    ("enum", "prefix"),
    [
        (Op, "PC_OP_"),
        (StepFlag, "PC_STEP_"),
        (MountAttr, "PC_MOUNT_"),
        (Refused, "PC_REFUSE_"),
    ],
)
def test_numbers(enum, prefix):
    helpers = {
        name.removeprefix(prefix): getattr(lib, name)
        for name in dir(lib)
        if name.startswith(prefix)
    }
    assert {member.name: member.value for member in enum} == helpers
    if issubclass(enum, IntFlag):
        assert all(member.value & (member.value - 1) == 0 for member in enum)


def test_request_fields_lie_where_they_are_packed():
    packed = protocol.REQUEST.pack(*range(1, 26))
    request = ffi.from_buffer("struct pc_request *", packed)
    names = [name for name, _ in ffi.typeof("struct pc_request").fields if name[0] != "j"]
    values = [getattr(request, name) for name in names]
    assert values == [*range(1, 15), 20]
    assert list(request.join_capabilities) == list(range(21, 26))


def test_order_fields_lie_where_they_are_packed():
    order = ffi.from_buffer("struct pc_order *", protocol.pack_order(2, 5, "0 1 1\n", "0 2 1\n"))
    assert (order.magic, order.flags, order.namespaces) == (lib.PC_MAGIC, 2, 5)
    assert ffi.string(order.uid_map) == b"0 1 1\n"
    assert ffi.string(order.gid_map) == b"0 2 1\n"


def test_namespaces():
    names = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")
    bits = [protocol.namespace_bits(frozenset({name})) for name in names]
    assert sorted(bits) == [1 << n for n in range(7)]
    assert protocol.namespace_bits(frozenset(names)) == 127
