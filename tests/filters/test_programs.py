"""Programs as libseccomp makes them, run by an interpreter of the tests' own."""

from __future__ import annotations

import errno
import importlib.util
import platform
import sys
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pycontainer.declare import filters
from pycontainer.declare.filters import SeccompFilter, SyscallArgument
from pycontainer.errors import SetupError
from pycontainer.launch import filters as compiled
from pycontainer.launch.filters import program_of
from pycontainer.plan.layers import layers_of

_spec = importlib.util.spec_from_file_location("bpf", Path(__file__).with_name("bpf.py"))
assert _spec is not None and _spec.loader is not None
bpf = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bpf)

NAMES = ("getpid", "ioctl", "mkdirat", "seccomp", "clone", "read")


def number_of(name):
    return compiled._library()["seccomp_syscall_resolve_name"](name.encode())


def check(seccomp, name, arguments=(0,) * 6):
    said = bpf.answer(program_of(seccomp), number_of(name), arguments)
    assert said == bpf.value_of(bpf.expected(seccomp, name, arguments)), (name, arguments)
    return said


def test_actions():
    seccomp = SeccompFilter(
        "allow", {"getpid": "kill", "read": "log", "mkdirat": errno.EPERM, "fsync": 0}
    )
    program = program_of(seccomp)
    assert len(program) == 1
    said = {name: bpf.answer(program, number_of(name)) for name in (*NAMES, "fsync")}
    assert said == {
        "getpid": bpf.KILL,
        "read": bpf.LOG,
        "mkdirat": bpf.ERRNO | errno.EPERM,
        "fsync": bpf.ERRNO,
        "ioctl": bpf.ALLOW,
        "seccomp": bpf.ALLOW,
        "clone": bpf.ALLOW,
    }


@pytest.mark.parametrize("default", ["kill", "log", 0, errno.ENOSYS])
def test_defaults(default):
    seccomp = SeccompFilter(default, {"read": "allow"})
    assert check(seccomp, "read") == bpf.ALLOW
    check(seccomp, "getpid")


def test_foreign_abis_are_killed():
    program = program_of(SeccompFilter("allow", {"getpid": errno.EPERM}))
    for arch in {bpf.I386, bpf.ARM, 0, 0xFFFFFFFF}:
        assert bpf.answer(program, 20, arch=arch) == bpf.KILL
    if platform.machine() == "x86_64":
        for number in (39, 0, 1, 2**30 - 1):
            assert bpf.answer(program, 1 << 30 | number) == bpf.KILL  # x32


def test_calls_newer_than_libseccomp():
    said = bpf.answer(program_of(filters.NO_CHMOD), 452)
    assert said == bpf.KILL
    for name, number in compiled._NEWER.items():
        assert number_of(name) in (number, -1), name


def test_calls_of_another_architecture_count_for_nothing():
    names = dict.fromkeys(("fork", "open", "riscv_flush_icache", "s390_pci_mmio_read"), "kill")
    program_of(SeccompFilter("allow", names))


def test_unknown_names_are_reported_together_with_the_nearest():
    with pytest.raises(ValueError) as caught:
        program_of(SeccompFilter("allow", {"getpidd": "kill", "opennat": 1, "read": 1}))
    lines = str(caught.value).splitlines()
    assert lines[0] == "seccomp filter: 2 problems"
    assert lines[1].endswith("unknown system call 'getpidd'; did you mean 'getpid'?")
    assert lines[2].endswith("unknown system call 'opennat'; did you mean 'openat'?")


def test_a_missing_library(monkeypatch):
    monkeypatch.setattr(compiled, "LIBRARY", "libseccomp.so.999")
    compiled._library.cache_clear()
    try:
        with pytest.raises(SetupError) as caught:
            program_of(SeccompFilter("allow", {"getppid": 7}))
    finally:
        compiled._library.cache_clear()
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == "libseccomp.so.999"
    assert "apt-get install libseccomp2" in caught.value.__notes__[0]


def test_compiled_once():
    one = SeccompFilter("allow", {"getppid": "kill"})
    two = SeccompFilter("allow", {"getppid": "kill"})
    assert program_of(one) is program_of(two)


def test_too_long(monkeypatch):
    monkeypatch.setattr(compiled, "INSTRUCTIONS_MAX", 20)
    ranges = {SyscallArgument(0, ">", 0x5555_5555): 1}
    with pytest.raises(ValueError, match=r"comes to \d+ instructions; the kernel takes 20"):
        program_of(SeccompFilter("allow", {"ioctl": ranges}))
    both = (SyscallArgument(0, ">", 0), SyscallArgument(1, ">", 0), SyscallArgument(2, ">", 0))
    with pytest.raises(ValueError, match="its conditions come to 32768 comparisons"):
        layers_of(SeccompFilter("allow", {"ioctl": {both: 1}}))


@pytest.mark.parametrize("comparison", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("bits", [32, 64])
def test_comparisons(comparison, bits):
    for value in (0, 1, 5, 0x5412, 2**31, 2**32 - 1, *([2**32, 2**64 - 1] if bits == 64 else [])):
        condition = SyscallArgument(1, comparison, value, bits=bits)
        seccomp = SeccompFilter("allow", {"ioctl": {condition: errno.EPERM}})
        nearby = (value - 1, value, value + 1, value ^ 1 << 32, value | 1 << 63, 0, 2**64 - 1)
        for given_value in nearby:
            check(seccomp, "ioctl", (0, given_value % 2**64, 0, 0, 0, 0))


def test_negative_values():
    seccomp = SeccompFilter("allow", {"openat": {SyscallArgument(0, "==", -100): errno.EPERM}})
    assert check(seccomp, "openat", (2**64 - 100, 0, 0, 0, 0, 0)) == bpf.ERRNO | errno.EPERM
    assert check(seccomp, "openat", (2**32 - 100, 0, 0, 0, 0, 0)) == bpf.ERRNO | errno.EPERM


def test_the_strictest_case_counts():
    seccomp = SeccompFilter(
        errno.ENOSYS,
        {
            "clone": [
                ((), "allow"),
                (SyscallArgument(0, "==", 0x100, mask=0x100), errno.EPERM),
                (SyscallArgument(0, "==", 0x200, mask=0x200), "kill"),
                (SyscallArgument(0, "==", 0x400, mask=0x400), errno.EACCES),
            ]
        },
    )
    for flags in range(0, 0x800, 0x100):
        check(seccomp, "clone", (flags, 0, 0, 0, 0, 0))


def test_combined_filters_that_refuse_the_next_program():
    nothing = SeccompFilter("kill", {"read": "allow"})
    other = SeccompFilter("kill", {"read": "allow", "getpid": "allow"})
    seccomp = nothing | other
    program = program_of(seccomp)
    for name in NAMES:
        check(seccomp, name)
    for before in range(len(program) - 1):
        assert bpf.answer(program[: before + 1], number_of("seccomp")) == bpf.ALLOW


actions = st.sampled_from(["allow", "log", "kill", 0, 1, 13, 38])
numbers = st.one_of(st.integers(0, 8), st.sampled_from([0x5412, 2**31, 2**32 - 1]))
conditions = st.one_of(
    st.builds(SyscallArgument, st.integers(0, 2), st.just("=="), numbers),
    st.builds(
        SyscallArgument,
        st.integers(0, 2),
        st.sampled_from(["<", ">="]),
        st.integers(0, 3),
        bits=st.just(64),
    ),
    st.builds(
        lambda index, comparison, value, mask: SyscallArgument(
            index, comparison, value & mask, mask=mask
        ),
        st.integers(0, 2),
        st.sampled_from(["==", "!="]),
        numbers,
        st.integers(1, 255),
    ),
)
cases = st.dictionaries(
    st.one_of(st.just(()), conditions, st.tuples(conditions, conditions)),
    actions,
    min_size=1,
    max_size=3,
)


def rule_for(name):
    return st.one_of(actions, cases) if name != "seccomp" else actions


simple = st.builds(
    SeccompFilter,
    actions,
    st.fixed_dictionaries({}, optional={name: rule_for(name) for name in NAMES}),
)
arguments = st.tuples(
    *[st.one_of(numbers, numbers.map(lambda n: n | 1 << 32), st.integers(0, 2**64 - 1))] * 6
)


@settings(max_examples=300, deadline=None)
@given(st.lists(simple, min_size=1, max_size=3), st.lists(arguments, min_size=2, max_size=2))
def test_programs_answer_as_documented(parts, given_arguments):
    seccomp = parts[0]
    for part in parts[1:]:
        seccomp = seccomp | part
    try:
        program = program_of(seccomp)
    except ValueError:  # too many comparisons
        reject()
    for values in given_arguments:
        for name in NAMES:
            wanted = None
            for part in parts:
                found = bpf.expected(part, name, values)
                if wanted is None or bpf.strictness(found) >= bpf.strictness(wanted):
                    wanted = found
            assert bpf.expected(seccomp, name, values) == wanted
            said = bpf.answer(program, number_of(name), values)
            assert said == bpf.value_of(wanted), (name, values)
    for before in range(len(program) - 1):
        assert bpf.answer(program[: before + 1], number_of("seccomp")) in (bpf.ALLOW, bpf.LOG)


assert sys.byteorder == "little"
