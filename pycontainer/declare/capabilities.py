"""The capabilities of capabilities(7), by name.

The numbers are those of the kernel's include/uapi/linux/capability.h.  A kernel older than a
capability knows nothing of it and never grants it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import Problems, nearest

__all__ = ["ALL", "CAPABILITIES", "capability_mask"]

ALL = "all"
"""The word for "every capability that the kernel grants", in place of a set of names."""

CAPABILITIES: dict[str, int] = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_LINUX_IMMUTABLE": 9,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_BROADCAST": 11,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_IPC_OWNER": 15,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_PACCT": 20,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
    "CAP_SYS_TIME": 25,
    "CAP_SYS_TTY_CONFIG": 26,
    "CAP_MKNOD": 27,
    "CAP_LEASE": 28,
    "CAP_AUDIT_WRITE": 29,
    "CAP_AUDIT_CONTROL": 30,
    "CAP_SETFCAP": 31,
    "CAP_MAC_OVERRIDE": 32,
    "CAP_MAC_ADMIN": 33,
    "CAP_SYSLOG": 34,
    "CAP_WAKE_ALARM": 35,
    "CAP_BLOCK_SUSPEND": 36,
    "CAP_AUDIT_READ": 37,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
    "CAP_CHECKPOINT_RESTORE": 40,
}
"""Capability names and their numbers."""


def capability_names(names: str | Iterable[str]) -> str | frozenset[str]:
    """*names* in the spelling of capabilities(7): "chown" and "Cap_Chown" are CAP_CHOWN."""
    if isinstance(names, (str, bytes)):
        return names.lower() if isinstance(names, str) else names
    try:
        return frozenset(_canonical(name) for name in names)
    except TypeError:
        return names  # type: ignore[return-value]


def check_capabilities(problems: Problems, names: Any) -> None:
    """*names* must be "all" or a frozenset of names from CAPABILITIES."""
    if names == ALL:
        return
    if not isinstance(names, frozenset):
        problems.append(f"capabilities must be 'all' or a collection of names, not {names!r}")
        return
    for name in sorted(names - CAPABILITIES.keys(), key=str):
        hint = nearest(name, CAPABILITIES) if isinstance(name, str) else ""
        problems.append(f"capabilities: unknown capability {name!r}{hint}")


def capability_mask(names: Iterable[str]) -> int:
    """The bits of *names* as in a capability set of /proc/PID/status: bit n is number n."""
    mask = 0
    for name in names:
        mask |= 1 << CAPABILITIES[name]
    return mask


def _canonical(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    upper = name.upper()
    return upper if upper.startswith("CAP_") else "CAP_" + upper
