"""Which system calls a container may make: ``SeccompFilter``, and filters for one purpose each.

Nothing here asks the kernel or libseccomp: names of system calls are looked up when a container
is started, before anything of it is.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from .checks import Problems, check_flag, is_int, refuse

__all__ = [
    "NO_CHMOD",
    "NO_CHROOT",
    "NO_FORK",
    "NO_SETRLIMIT",
    "NO_SYNC",
    "SeccompFilter",
    "SyscallArgument",
]

Action: TypeAlias = "str | int"
Conditions: TypeAlias = "tuple[SyscallArgument, ...]"
Cases: TypeAlias = "tuple[tuple[Conditions, Action], ...]"
"""What happens to one system call: the conditions that must all hold, and the action then."""
GivenRule: TypeAlias = "Action | Mapping[Any, Action] | Iterable[tuple[Any, Action]]"

ERRNO_MAX = 4095
"""The kernel cuts larger ones (MAX_ERRNO in its include/linux/err.h)."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@frozen
class SyscallArgument:
    """A condition: how an argument of a system call compares with a value.

    Numbers are unsigned; a negative one stands for the same bits.

    Attributes:
        index: which argument, 0 to 5.
        comparison: "==", "!=", "<", "<=", ">" or ">=".
        value: what it is compared with.
        mask: the bits that are compared, for "==" and "!="; None is all.
        bits: how wide the argument is.  32 compares the low half of the register, which is all
            that the kernel looks at where the argument is an int: an ioctl's request, flags, a
            mode.  (Compared as 64 there, a bit set in the other half would slip through.)  64 is
            for pointers, sizes and offsets.

    Raises:
        ValueError: listing every bad field.
    """

    index: int
    comparison: str
    value: int
    mask: int | None = field(default=None, kw_only=True)
    bits: int = field(default=32, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        if not is_int(self.index) or not 0 <= self.index <= 5:
            problems.append(f"index {self.index!r} is no argument's: 0 to 5")
        if self.comparison not in _COMPARISONS:
            problems.append(
                f"comparison {self.comparison!r} is not one of {', '.join(_COMPARISONS)}"
            )
        if not is_int(self.bits) or self.bits not in (32, 64):
            problems.append(f"bits must be 32 or 64, not {self.bits!r}")
        else:
            self._check_numbers(problems)
        refuse("argument of a system call", problems)

    def _check_numbers(self, problems: Problems) -> None:
        for name in ("value", "mask"):
            number: Any = getattr(self, name)
            if number is None and name == "mask":
                continue
            if not is_int(number):
                problems.append(f"{name} must be an int, not {number!r}")
            elif not -(1 << self.bits - 1) <= number < 1 << self.bits:
                problems.append(f"{name} {number:#x} does not fit into {self.bits} bits")
            else:
                object.__setattr__(self, name, number % (1 << self.bits))
        if problems or self.mask is None:
            return
        if self.comparison not in ("==", "!="):
            problems.append(f"mask goes with '==' and '!=', not with {self.comparison!r}")
        elif self.mask == 0:
            problems.append("mask 0 compares nothing")
        elif self.value & ~self.mask:
            problems.append(f"value {self.value:#x} has bits that mask {self.mask:#x} leaves out")


class Rules(Mapping[str, "Action | Cases"]):
    """Actions by the name of the system call, immutable and hashable, in the order of the names."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Mapping[str, GivenRule]) -> None:
        self._rules: dict[str, Any] = dict(
            sorted(((name, _cases_of(rule)) for name, rule in rules.items()), key=_name_of)
        )

    def __getitem__(self, name: str) -> Action | Cases:
        rule: Action | Cases = self._rules[name]
        return rule

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __hash__(self) -> int:
        return hash(tuple(self._rules.items()))

    def __repr__(self) -> str:
        return repr(self._rules)

    def __reduce__(self) -> tuple[Any, ...]:
        return Rules, (self._rules,)


def _name_of(rule: tuple[Any, Any]) -> str:
    return str(rule[0])


def _cases_of(rule: Any) -> Any:
    """*rule* as an action or cases; what it cannot be read as is left for the check to name."""
    if isinstance(rule, (str, int)):
        return rule
    pairs = rule.items() if isinstance(rule, Mapping) else rule
    try:
        cases = tuple(
            ((given,) if isinstance(given, SyscallArgument) else tuple(given), action)
            for given, action in pairs
        )
        hash(cases)
    except (TypeError, ValueError):
        return rule
    return cases[0][1] if len(cases) == 1 and cases[0][0] == () else cases


def _tuple_of(filters: Iterable[SeccompFilter]) -> tuple[SeccompFilter, ...]:
    return tuple(filters)


def _rules_of(rules: Mapping[str, GivenRule]) -> Rules:
    return Rules(rules) if isinstance(rules, Mapping) else rules


@frozen(cache_hash=True)
class SeccompFilter:
    """Which system calls a container may make, by name (seccomp(2)).

    ``SeccompFilter("allow", {"getpid": "kill", "mkdir": errno.EPERM, "fsync": 0})``

    An action is "allow"; "log" (allow, and note it in the kernel's log); "kill" (the process, by
    SIGSYS); or an errno that the call fails with: 0 is a success that is only pretended.  A rule
    is an action, or actions by conditions on the arguments:

    ``{"ioctl": {SyscallArgument(1, "==", termios.TIOCSTI): errno.EPERM}}``

    A tuple of conditions holds when all of them do.  Where several cases apply to a call, the
    strictest action counts (kill, then an errno, log, allow; of two errnos the later one); where
    none does, the default.  ``a | b`` holds both filters: the stricter of their two answers
    counts, of two errnos that of ``b``.

    The filter is for the processor's own ABI.  Calls by another (on x86-64: of i386, as by
    ``int 0x80``, and of x32) have other numbers, and end the process; with ``other_abis=True`` the
    rules are for them too, by name.

    It holds for the container's function or program and all that they start, but not for the
    small init above them.  With ``no_new_privs=False`` it takes CAP_SYS_ADMIN in the container.

    Attributes:
        default: the action for calls without a rule.
        rules: an action or cases, by the name of the call.  A name of another architecture's is
            of no effect; one of no architecture's is a ValueError at the start.
        also: further filters that hold as well; ``|`` fills it.
        other_abis: allow calls by the processor's other ABIs, as 32-bit programs make them, and
            hold them to the same rules.  Not for what is to be a wall: other ABIs have other ways
            to do the same thing.

    Raises:
        ValueError: listing every bad action, name and condition.
    """

    default: Action = "allow"
    rules: Rules = field(default=Rules({}), converter=_rules_of)
    also: tuple[SeccompFilter, ...] = field(default=(), converter=_tuple_of, kw_only=True)
    other_abis: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_action(problems, "default", self.default)
        rules: Any = self.rules
        if isinstance(rules, Rules):
            for name, rule in rules.items():
                _check_rule(problems, name, rule)
        else:
            problems.append(f"rules must be a mapping of names to actions, not {rules!r}")
        for other in self.also:
            if not isinstance(other, SeccompFilter):
                problems.append(f"also must hold filters, not {other!r}")
        check_flag(problems, "other_abis", self.other_abis)
        refuse("seccomp filter", problems)

    def __or__(self, other: SeccompFilter) -> SeccompFilter:
        """A filter that allows what both allow."""
        if not isinstance(other, SeccompFilter):
            return NotImplemented
        simple = self.default == other.default == "allow" and not self.also and not other.also
        if not simple or self.other_abis != other.other_abis:
            return evolve(self, also=(*self.also, evolve(other, also=()), *other.also))
        merged: dict[str, GivenRule] = dict(self.rules)
        for name, rule in other.rules.items():
            merged[name] = (*cases_of(merged[name]), *cases_of(rule)) if name in merged else rule
        return SeccompFilter("allow", merged, other_abis=self.other_abis)


def cases_of(rule: Any) -> Cases:
    """A rule as cases: an action alone is the case without conditions."""
    return (((), rule),) if isinstance(rule, (str, int)) else rule


def _check_action(problems: Problems, where: str, action: Any) -> None:
    if action in ("allow", "kill", "log") and isinstance(action, str):
        return
    if not is_int(action):
        problems.append(f"{where} must be 'allow', 'log', 'kill' or an errno, not {action!r}")
    elif not 0 <= action <= ERRNO_MAX:
        problems.append(f"{where} {action} is no errno: 0 to {ERRNO_MAX}")


def _check_rule(problems: Problems, name: Any, rule: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append(f"{name!r} is no name of a system call, such as 'openat'")
        return
    if isinstance(rule, (str, int)):
        _check_action(problems, f"{name}: the action", rule)
        return
    if not isinstance(rule, tuple):
        problems.append(f"{name}: neither an action nor actions by conditions: {rule!r}")
        return
    if not rule:
        problems.append(f"{name}: there are no conditions")
    for conditions, action in rule:
        _check_action(problems, f"{name}: the action", action)
        for condition in conditions:
            if not isinstance(condition, SyscallArgument):
                problems.append(f"{name}: a condition is a SyscallArgument, not {condition!r}")
    if name == "seccomp" and any(conditions for conditions, _ in rule):
        # A second program is installed by this call; see plan/layers.py.
        problems.append("seccomp: its own rule cannot have conditions")


CLONE_THREAD = 0x10000

NO_SYNC = SeccompFilter(
    "allow",
    dict.fromkeys(("fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range"), 0),
)
"""Writing to disk is only pretended: for builds and tests whose files nobody needs after a crash
of the machine.  They get faster, and nothing is lost while it runs."""

NO_FORK = SeccompFilter(
    "allow",
    {
        "fork": "kill",
        "vfork": "kill",
        "clone": {SyscallArgument(0, "==", 0, mask=CLONE_THREAD): "kill"},
        # Its flags lie in memory, where a filter cannot look.  C libraries that hear that there
        # is no such call take clone, and threads still start.
        "clone3": errno.ENOSYS,
    },
)
"""No further processes: who starts one is killed.  Threads may be started."""

NO_CHMOD = SeccompFilter(
    "allow", dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2"), "kill")
)
"""Nobody changes the mode of a file: who tries is killed."""

NO_SETRLIMIT = SeccompFilter(
    "allow",
    # Without a new limit (a null pointer) prlimit64 only reads; getrlimit(3) is made of it.
    {"setrlimit": "kill", "prlimit64": {SyscallArgument(2, "!=", 0, bits=64): "kill"}},
)
"""Resource limits stay as they are: who sets one is killed."""

NO_CHROOT = SeccompFilter("allow", {"chroot": "kill"})
"""Nobody changes the root directory: who tries is killed."""
