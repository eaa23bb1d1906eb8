"""``UNTRUSTED`` and ``SANDBOX``: what is in them, without a container."""

from __future__ import annotations

import errno
import importlib.util
import pickle
from pathlib import Path

import pytest

from pycontainer import NAMESPACES, NO_SYNC, SANDBOX, UNTRUSTED, Container, SeccompFilter, extend
from pycontainer.declare.untrusted import ALLOWED, REFUSED
from pycontainer.launch import filters
from pycontainer.launch.filters import program_of
from pycontainer.plan.compile import compile
from pycontainer.plan.layers import filter_steps, layers_of
from pycontainer.plan.pack import STEP, pack
from pycontainer.plan.steps import Op

_spec = importlib.util.spec_from_file_location("bpf", Path(__file__).with_name("bpf.py"))
assert _spec is not None and _spec.loader is not None
bpf = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bpf)

LISTED = [name for names in (*ALLOWED.values(), *REFUSED.values()) for name in names.split()]
EPERM, ENOSYS = bpf.ERRNO | errno.EPERM, bpf.ERRNO | errno.ENOSYS


def known():
    """The names and numbers of this architecture's calls."""
    resolve = filters._library()["seccomp_syscall_resolve_name"]
    numbers = {}
    for name in filters._names(filters._library()):
        number = resolve(name.encode())
        numbers[name] = number if number >= 0 else filters._NEWER[name]
    return numbers


def test_each_name_is_listed_once():
    assert len(set(LISTED)) == len(LISTED)


def test_each_name_exists_here_or_elsewhere():
    resolve = filters._library()["seccomp_syscall_resolve_name"]
    wrong = [n for n in LISTED if resolve(n.encode()) == -1 and n not in filters._NEWER]
    assert not wrong


def test_what_is_not_listed_does_not_exist():
    program = program_of(UNTRUSTED)
    numbers = known()
    said = {name: bpf.answer(program, number) for name, number in numbers.items()}
    unlisted = numbers.keys() - set(UNTRUSTED.rules)
    assert {said[name] for name in unlisted} == {ENOSYS}
    assert {"clone3", "openat2", "io_uring_setup", "fsopen", "mount_setattr"} <= unlisted
    for number in set(range(1024)) - set(numbers.values()):
        assert bpf.answer(program, number) == ENOSYS


def test_what_is_listed():
    program = program_of(UNTRUSTED)
    numbers = known()
    for names, wanted in ((ALLOWED, bpf.ALLOW), (REFUSED, EPERM)):
        for name in " ".join(names.values()).split():
            if name in numbers:
                assert bpf.answer(program, numbers[name]) == wanted, name


def test_few_programs_and_short_ones():
    """The kernel reads each at every start: 0.3 microseconds an instruction."""
    assert len(layers_of(UNTRUSTED)) == 2
    assert sum(map(len, program_of(UNTRUSTED))) // 8 < 700


def test_untrusted_does_not_loosen():
    for seccomp in (UNTRUSTED | SeccompFilter("allow", {"mount": "allow"}), NO_SYNC | UNTRUSTED):
        program = program_of(seccomp)
        numbers = known()
        assert bpf.answer(program, numbers["mount"]) == EPERM
        assert bpf.answer(program, numbers["clone3"]) == ENOSYS
    assert bpf.answer(program, numbers["fsync"]) == bpf.ERRNO


def test_sandbox_is_data():
    assert pickle.loads(pickle.dumps(SANDBOX)) == SANDBOX
    assert hash(pickle.loads(pickle.dumps(SANDBOX))) == hash(SANDBOX)
    assert extend(SANDBOX, guest_uid=7).seccomp is UNTRUSTED


def test_sandbox_closes_every_door():
    assert SANDBOX.namespaces == NAMESPACES
    assert SANDBOX.capabilities == frozenset()
    assert SANDBOX.no_new_privs
    assert SANDBOX.lock_mounts
    assert not SANDBOX.writable_root
    assert SANDBOX.rootfs is None
    assert SANDBOX.guest_uid != 0
    assert SANDBOX.env == {}
    limits = SANDBOX.limits
    assert limits is not None
    assert limits.strict
    assert None not in (limits.memory, limits.processes, limits.open_files, limits.file_size)
    assert None not in (limits.wall_time, limits.cpu_time)
    # No host's file, and every file system in memory has a bound of its own.
    steps = compile(SANDBOX).steps
    assert all(step.path.startswith("/dev/") for step in steps if step.op is Op.BIND)
    for step in steps:
        if step.op is Op.MOUNT and step.other == "tmpfs":
            (size,) = [option for option in step.options if option.startswith("size=")]
            assert size.endswith("m")


@pytest.mark.parametrize("fields", [{}, {"lock_mounts": False}, {"no_new_privs": False}])
def test_no_user_namespaces_below_a_filter_that_refuses_them(fields):
    operations = [step.op for step in compile(Container(seccomp=UNTRUSTED, **fields)).steps]
    assert Op.NO_USER_NAMESPACES in operations
    for seccomp in (None, NO_SYNC):
        operations = [step.op for step in compile(Container(seccomp=seccomp, **fields)).steps]
        assert Op.NO_USER_NAMESPACES not in operations


def test_packed_programs():
    plan = compile(Container(seccomp=UNTRUSTED))
    program = program_of(UNTRUSTED)
    packed = pack(plan, program=program)
    found = []
    for row in STEP.iter_unpack(packed.steps):
        op, _, _, _, at, _, length, *_ = row
        if op == Op.INSTALL_FILTER:
            found.append(packed.blob[at : at + length])
    assert tuple(found) == program
    assert len(filter_steps(UNTRUSTED)) == len(program)
    assert pack(plan, program=program) is packed
