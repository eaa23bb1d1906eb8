"""A seccomp filter that refuses one system call: for helpers (as ``preload=``) and for callers.

``REFUSING`` in a module made from this text names the call; see test_row_05.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, AND, EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

# On x86-64 and on aarch64; the newer ones have one number everywhere.
NUMBERS = {
    "capget": (125, 90),
    "capset": (126, 91),
    "chdir": (80, 49),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "dup3": (292, 24),
    "fchdir": (81, 50),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "ioctl": (16, 29),
    "keyctl": (250, 219),
    "mkdirat": (258, 34),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "setgroups": (116, 159),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "socket": (41, 198),
    "statx": (332, 291),
    "symlinkat": (266, 36),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "write": (1, 64),
}


def refuse(name: str, argument: int = -1, mask: int = 0, value: int = 0) -> None:
    """Have the kernel answer EPERM to a call; only where argument & mask == value, if given."""
    number = NUMBERS[name][os.uname().machine == "aarch64"]
    code = [(LOAD, 0, 0, 0), (EQUAL, 0, 1 if argument < 0 else 4, number)]
    if argument >= 0:
        code += [(LOAD, 0, 0, 16 + 8 * argument), (AND, 0, 0, mask), (EQUAL, 0, 1, value)]
    code += [(RETURN, 0, 0, ERRNO | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    memory = ctypes.create_string_buffer(program)
    filter_program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
