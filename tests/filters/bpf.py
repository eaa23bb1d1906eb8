"""Classic BPF as the kernel runs it on a ``struct seccomp_data`` (seccomp(2)), and what a filter
should answer by its documented rules, written down a second time.
"""

from __future__ import annotations

import functools
import platform
import struct

from pycontainer.declare.filters import SeccompFilter, cases_of

NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
I386, ARM = 0x40000003, 0x40000028
KILL, ALLOW, LOG, ERRNO = 0x80000000, 0x7FFF0000, 0x7FFC0000, 0x00050000


@functools.lru_cache(maxsize=16)
def _decoded(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<HBBI", program))


def run(program: bytes, number: int, arguments=(0,) * 6, arch: int = NATIVE) -> int:
    """What one program returns."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *arguments)
    code = _decoded(program)
    a = at = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:  # LD | W | ABS
            (a,) = struct.unpack_from("<I", data, k)
        elif op == 0x54:  # ALU | AND
            a &= k
        elif op == 0x05:  # JMP | JA
            at += k
        elif op == 0x06:  # RET
            return k
        else:
            holds = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: a & k != 0}[op]
            at += yes if holds else no


def answer(programs, number: int, arguments=(0,) * 6, arch: int = NATIVE) -> int:
    """What the kernel does with several: the strictest, of two errnos the newest."""
    kept = ALLOW
    for program in reversed(programs):  # the newest first
        value = run(program, number, arguments, arch)
        if _order(value) < _order(kept):
            kept = value
    return kept


def _order(value: int) -> int:
    action = value & 0xFFFF0000
    return action - (1 << 32) if action & 0x80000000 else action


def value_of(action) -> int:
    return (
        ERRNO | action
        if isinstance(action, int)
        else {"kill": KILL, "allow": ALLOW, "log": LOG}[action]
    )


def holds(argument, arguments) -> bool:
    """Whether a condition holds, by its documentation."""
    width = (1 << argument.bits) - 1
    given = arguments[argument.index] & width
    if argument.mask is not None:
        given &= argument.mask
    return {
        "==": given == argument.value,
        "!=": given != argument.value,
        "<": given < argument.value,
        "<=": given <= argument.value,
        ">": given > argument.value,
        ">=": given >= argument.value,
    }[argument.comparison]


def strictness(action) -> int:
    return 2 if isinstance(action, int) else {"allow": 0, "log": 1, "kill": 3}[action]


def expected(seccomp: SeccompFilter, name: str, arguments=(0,) * 6):
    """The action for a call, by the words of ``SeccompFilter``."""
    result = None
    for part in (seccomp, *seccomp.also):
        found = None
        for conditions, action in cases_of(part.rules.get(name, part.default)):
            applies = all(holds(one, arguments) for one in conditions)
            if applies and (found is None or strictness(action) >= strictness(found)):
                found = action
        if found is None:
            found = part.default
        if result is None or strictness(found) >= strictness(result):
            result = found
    return result
