"""``SeccompFilter`` and ``SyscallArgument`` as data."""

from __future__ import annotations

import errno
import pickle
from typing import Any

import pytest

from pycontainer.declare.container import Container
from pycontainer.declare.filters import (
    NO_CHMOD,
    NO_CHROOT,
    NO_FORK,
    NO_SETRLIMIT,
    NO_SYNC,
    SeccompFilter,
    SyscallArgument,
)
from pycontainer.plan.compile import compile, explain
from pycontainer.plan.layers import layers_of
from pycontainer.plan.steps import Op


def test_equal_whatever_the_order():
    one = SeccompFilter("allow", {"mkdir": 1, "getpid": "kill"})
    two = SeccompFilter("allow", {"getpid": "kill", "mkdir": 1})
    assert one == two
    assert hash(one) == hash(two)
    assert one != SeccompFilter("allow", {"getpid": "kill", "mkdir": 2})


def test_forms_of_a_rule():
    condition = SyscallArgument(1, "==", 7)
    forms: list[Any] = [{condition: 1}, {(condition,): 1}, [(condition, 1)], (((condition,), 1),)]
    assert len({SeccompFilter("allow", {"ioctl": form}) for form in forms}) == 1
    assert SeccompFilter("allow", {"ioctl": {(): 1}}) == SeccompFilter("allow", {"ioctl": 1})


def test_pickles():
    for seccomp in (NO_FORK, NO_FORK | SeccompFilter("kill", {"read": "allow"})):
        again = pickle.loads(pickle.dumps(seccomp))
        assert again == seccomp
        assert hash(again) == hash(seccomp)
        assert again.rules == seccomp.rules


def test_rules_read_as_a_mapping():
    assert dict(NO_SYNC.rules) == dict.fromkeys(
        ("fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"), 0
    )
    with pytest.raises(TypeError):
        NO_SYNC.rules["read"] = 1  # type: ignore[index]


def test_every_problem_at_once():
    with pytest.raises(ValueError) as caught:
        SeccompFilter(
            "no",
            {
                "Read": 1,
                "x": {},
                "y": -1,
                "z": True,
                "a": {SyscallArgument(0, "==", 1): "stop"},
                "b": [(5, 1)],
                "c": 4096,
                "seccomp": {SyscallArgument(0, "==", 1): 3},
            },
        )
    assert str(caught.value).splitlines() == [
        "seccomp filter: 9 problems",
        "  default must be 'allow', 'log', 'kill' or an errno, not 'no'",
        "  'Read' is no name of a system call, such as 'openat'",
        "  a: the action must be 'allow', 'log', 'kill' or an errno, not 'stop'",
        "  b: neither an action nor actions by conditions: [(5, 1)]",
        "  c: the action 4096 is no errno: 0 to 4095",
        "  seccomp: its own rule cannot have conditions",
        "  x: there are no conditions",
        "  y: the action -1 is no errno: 0 to 4095",
        "  z: the action must be 'allow', 'log', 'kill' or an errno, not True",
    ]
    with pytest.raises(ValueError, match="rules must be a mapping"):
        SeccompFilter("allow", ["read"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seccomp must be a SeccompFilter or None, not 'all'"):
        Container(seccomp="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"index": 6}, "index 6 is no argument's: 0 to 5"),
        ({"index": True}, "index True is no argument's"),
        ({"comparison": "="}, "comparison '=' is not one of =="),
        ({"value": 1 << 32}, "value 0x100000000 does not fit into 32 bits"),
        ({"value": "1"}, "value must be an int, not '1'"),
        ({"bits": 16}, "bits must be 32 or 64, not 16"),
        ({"mask": 0}, "mask 0 compares nothing"),
        ({"mask": 2}, "value 0x1 has bits that mask 0x2 leaves out"),
        ({"mask": 1, "comparison": "<"}, "mask goes with '==' and '!=', not with '<'"),
    ],
)
def test_bad_arguments(fields, words):
    with pytest.raises(ValueError, match=r".") as caught:
        SyscallArgument(**({"index": 0, "comparison": "==", "value": 1} | fields))
    assert words in str(caught.value)


def test_or_takes_the_stricter():
    seccomp = SeccompFilter("allow", {"read": 1, "write": "kill", "open": 1}) | SeccompFilter(
        "allow", {"read": "kill", "write": 1, "open": 2}
    )
    (layer, *more) = layers_of(seccomp)
    assert not more
    assert {name: action for name, _, action in layer.rules} == {
        "read": "kill",
        "write": "kill",
        "open": 2,
    }
    with pytest.raises(TypeError):
        SeccompFilter() | {"read": 1}  # type: ignore[operator]


def test_presets_combine():
    everything = NO_SYNC | NO_FORK | NO_CHMOD | NO_SETRLIMIT | NO_CHROOT
    assert len(layers_of(everything)) == 1
    assert everything.rules["clone3"] == errno.ENOSYS
    assert set(everything.rules) == {
        *("fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range"),
        *("fork", "vfork", "clone", "clone3"),
        *("chmod", "fchmod", "fchmodat", "fchmodat2"),
        *("setrlimit", "prlimit64", "chroot"),
    }


def operations(container):
    plan = compile(container)
    return [step.op for step in plan.steps], plan.start


def test_the_last_step():
    steps, start = operations(Container(seccomp=NO_FORK, capabilities=()))
    assert steps[-1] is Op.INSTALL_FILTER
    assert steps[start - 2 : start] == [Op.LIMIT_CAPABILITIES, Op.NO_NEW_PRIVILEGES]


def test_before_the_capabilities_it_takes():
    container = Container(seccomp=NO_FORK, capabilities=(), no_new_privs=False)
    steps, start = operations(container)
    assert steps[-2:] == [Op.INSTALL_FILTER, Op.LIMIT_CAPABILITIES]
    assert not {Op.INSTALL_FILTER, Op.LIMIT_CAPABILITIES} & set(steps[:start])


def test_explained():
    seccomp = SeccompFilter("allow", {"mkdir": errno.EPERM, "fsync": 0, "fork": "kill"})
    last = explain(Container(seccomp=seccomp)).splitlines()[-1]
    assert last.split(maxsplit=1)[1] == (
        "filter system calls: allow for all; but kill for fork; pretended success for fsync; "
        "EPERM for mkdir"
    )
