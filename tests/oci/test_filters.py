"""A filter as "linux.seccomp": rules of which it does not matter which one is looked at first."""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from pycontainer import NO_FORK, NO_SETRLIMIT, NO_SYNC, UNTRUSTED, SeccompFilter, SyscallArgument
from pycontainer.declare.filters import cases_of
from pycontainer.oci.filters import of_filter

from .generated import CALLS, FILTERS

ALL = 2**64 - 1
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 0x5412, 0xFFFF, 2**32 - 1, 2**32, 2**63, ALL, 0o4000, 0x10000000]),
    st.integers(0, ALL),
)


def strictest(actions: list[Any]) -> Any:
    """Kill, then an errno, log, allow; of two errnos the later one."""
    ranks = {"allow": 0, "log": 1, "kill": 3}
    found = actions[0]
    for action in actions[1:]:
        if ranks.get(action, 2) >= ranks.get(found, 2):
            found = action
    return found


def holds(condition: SyscallArgument, arguments: list[int]) -> bool:
    ones = 2**condition.bits - 1
    number = arguments[condition.index] & ones
    value = condition.value
    if condition.mask is not None:
        number &= condition.mask
    return {
        "==": number == value,
        "!=": number != value,
        "<": number < value,
        "<=": number <= value,
        ">": number > value,
        ">=": number >= value,
    }[condition.comparison]


def declared(seccomp: SeccompFilter, name: str, arguments: list[int]) -> Any:
    """What the filter says, by its own documentation."""
    answers = []
    for part in (seccomp, *seccomp.also):
        rule = part.rules.get(name)
        actions = [
            action
            for conditions, action in (() if rule is None else cases_of(rule))
            if all(holds(one, arguments) for one in conditions)
        ]
        answers.append(strictest(actions) if actions else part.default)
    return strictest(answers)


def matches(argument: dict[str, Any], arguments: list[int]) -> bool:
    number, value = arguments[argument["index"]], argument["value"]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return number & value == argument["valueTwo"]
    return (number == value) is (argument["op"] == "SCMP_CMP_EQ")


def exported(spec: dict[str, Any], name: str, arguments: list[int]) -> Any:
    """What the rules of OCI say; they must not say two things."""
    found = {
        (rule["action"], rule.get("errnoRet"))
        for rule in spec["syscalls"]
        if name in rule["names"] and all(matches(one, arguments) for one in rule.get("args", ()))
    }
    assert len(found) <= 1
    action, errno_ret = (
        found.pop() if found else (spec["defaultAction"], spec.get("defaultErrnoRet"))
    )
    return {
        "SCMP_ACT_ALLOW": "allow",
        "SCMP_ACT_LOG": "log",
        "SCMP_ACT_KILL_PROCESS": "kill",
    }.get(action, errno_ret)


@settings(max_examples=80, deadline=None)
@given(FILTERS, CALLS, st.lists(st.lists(NUMBERS, min_size=6, max_size=6), min_size=8, max_size=8))
@example(NO_SYNC | NO_FORK | NO_SETRLIMIT, "clone", [[0] * 6, [0x10000] * 6])
@example(UNTRUSTED, "ioctl", [[0, 0x5412, 0, 0, 0, 0], [0, 0x5412 + 2**32] + [0] * 4, [0] * 6])
@example(UNTRUSTED, "clone", [[0x10000000] * 6, [0x1200011] * 6])
@example(UNTRUSTED, "socket", [[1] * 6, [2, 1, 6, 0, 0, 0], [2, 3, 255, 0, 0, 0], [40] * 6])
@example(UNTRUSTED, "openat", [[0, 0, 0o100, 0o4777, 0, 0], [0, 0, 0, 0o4777, 0, 0]])
def test_it_says_the_same(seccomp, name, calls):
    try:
        spec = of_filter(seccomp)
    except ValueError as error:
        if "too many" not in str(error) and "the most is" not in str(error):
            raise
        reject()
    for arguments in calls:
        wanted = declared(seccomp, name, arguments)
        assert exported(spec, name, arguments) == wanted, (name, arguments)


def test_cases_that_overlap():
    cases: Any = {
        SyscallArgument(1, "==", 0o4000, mask=0o4000): errno.EPERM,
        SyscallArgument(1, "==", 0o1, mask=0o1): "kill",
    }
    spec = of_filter(SeccompFilter("allow", {"chmod": cases}))
    assert exported(spec, "chmod", [0, 0o4001, 0, 0, 0, 0]) == "kill"
    assert exported(spec, "chmod", [0, 0o4000, 0, 0, 0, 0]) == errno.EPERM
    assert exported(spec, "chmod", [0, 0, 0, 0, 0, 0]) == "allow"


def test_rules_that_change_nothing_are_left_out():
    """libseccomp refuses a rule with the default's action."""
    for seccomp in (UNTRUSTED, NO_SYNC | NO_FORK, SeccompFilter(5, {"read": 5, "write": 0})):
        spec = of_filter(seccomp)
        default = spec["defaultAction"], spec.get("defaultErrnoRet")
        for rule in spec["syscalls"]:
            assert (rule["action"], rule.get("errnoRet")) != default
