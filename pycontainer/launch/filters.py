"""From filters to programs for the kernel, by libseccomp.

The library is loaded when the first filter is used; neither it nor its headers are needed to
build.  Its constants are those of seccomp.h of libseccomp 2.5.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import cache, lru_cache
from typing import Any

from .._native import ffi, lib
from ..declare.checks import nearest, refuse
from ..declare.filters import Action, SeccompFilter
from ..errors import SetupError
from ..plan.layers import Comparison, Layer, layers_of

__all__ = ["program_of"]

LIBRARY = "libseccomp.so.2"
_STEP = "compile the filter of system calls"

_FUNCTIONS = {
    "seccomp_init": "void *(*)(uint32_t)",
    "seccomp_release": "void(*)(void *)",
    "seccomp_attr_set": "int(*)(void *, int, uint32_t)",
    "seccomp_arch_add": "int(*)(void *, uint32_t)",
    "seccomp_rule_add_array": "int(*)(void *, uint32_t, int, unsigned int, const void *)",
    "seccomp_export_bpf": "int(*)(void *, int)",
    "seccomp_syscall_resolve_name": "int(*)(const char *)",
    "seccomp_syscall_resolve_num_arch": "char *(*)(uint32_t, int)",
}
_BAD_ARCH, _OPTIMIZE = 2, 8  # SCMP_FLTATR_ACT_BADARCH, SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_NATIVE = 0  # SCMP_ARCH_NATIVE
_OTHER_ABIS = {
    "x86_64": (0x40000003, 0x4000003E),  # SCMP_ARCH_X86, SCMP_ARCH_X32
    "aarch64": (0x40000028,),  # SCMP_ARCH_ARM
}
_UNKNOWN = -1  # __NR_SCMP_ERROR; smaller numbers are other architectures' calls
_NOT_EQUAL, _MASKED_EQUAL = 1, 7  # enum scmp_compare
_COMPARISON = struct.Struct("=IIQQ")  # struct scmp_arg_cmp

_ACTIONS = {"allow": 0x7FFF0000, "log": 0x7FFC0000, "kill": 0x80000000}
_ERRNO = 0x00050000

INSTRUCTIONS_MAX = 4096
"""BPF_MAXINSNS of the kernel's include/uapi/linux/bpf_common.h."""

_NEWER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
"""Calls that libseccomp 2.5 may not know.  From 424 on, a number is the same everywhere
(scripts/syscall.tbl of the kernel)."""


@lru_cache(maxsize=128)
def program_of(seccomp: SeccompFilter) -> tuple[bytes, ...]:
    """The programs of *seccomp*, one for each of its layers: arrays of ``struct sock_filter``.

    Raises:
        SetupError: libseccomp is missing, or cannot do it.
        ValueError: it names a system call that does not exist, or is too long.
    """
    functions = _library()
    layers = layers_of(seccomp)
    numbers = _numbers(functions, layers)
    return tuple(_compile(functions, layer, numbers) for layer in layers)


@cache
def _library() -> dict[str, Any]:
    functions = {}
    for name, kind in _FUNCTIONS.items():
        address = lib.pc_symbol(LIBRARY.encode(), name.encode())
        if not address:
            words = f"seccomp filters need {LIBRARY}, version 2.5 or later"
            failure = SetupError(errno.ENOENT, words, LIBRARY, _STEP)
            failure.add_note(
                "install it: Debian, Ubuntu: apt-get install libseccomp2; Fedora, Arch, Alpine: "
                "the package libseccomp"
            )
            raise failure
        functions[name] = ffi.cast(kind, address)
    return functions


def _numbers(functions: dict[str, Any], layers: tuple[Layer, ...]) -> dict[str, int]:
    """The number of each call; below -1 for one that this architecture does not have."""
    resolve = functions["seccomp_syscall_resolve_name"]
    numbers = {}
    unknown = []
    for name in sorted({name for layer in layers for name, _, _ in layer.rules}):
        number = resolve(name.encode())
        if number == _UNKNOWN:
            number = _NEWER.get(name, _UNKNOWN)
        if number == _UNKNOWN:
            unknown.append(f"unknown system call {name!r}{nearest(name, _names(functions))}")
        numbers[name] = number
    refuse("seccomp filter", unknown)
    return numbers


def _names(functions: dict[str, Any]) -> list[str]:
    """The names of this architecture's calls."""
    free = ffi.cast("void(*)(void *)", lib.pc_symbol(ffi.NULL, b"free"))
    names = [*_NEWER]
    for number in range(1024):
        text = functions["seccomp_syscall_resolve_num_arch"](_NATIVE, number)
        if text:
            names.append(ffi.string(text).decode())
            free(text)
    return names


def _compile(functions: dict[str, Any], layer: Layer, numbers: dict[str, int]) -> bytes:
    context = functions["seccomp_init"](_action(layer.default))
    if not context:
        raise _refused(errno.EINVAL, f"no filter with the default {layer.default!r}")
    try:
        set_attribute = functions["seccomp_attr_set"]
        for attribute, value in ((_BAD_ARCH, _ACTIONS["kill"]), (_OPTIMIZE, _BINARY_TREE)):
            _check(set_attribute(context, attribute, value), f"attribute {attribute}")
        if layer.other_abis:
            # Rules that are added from here on get each ABI's own number.
            for abi in _OTHER_ABIS.get(os.uname().machine, ()):
                _check(functions["seccomp_arch_add"](context, abi), f"ABI {abi:#x}")
        add = functions["seccomp_rule_add_array"]
        for name, comparisons, action in layer.rules:
            if numbers[name] < 0:
                continue
            arguments = b"".join(map(_packed, comparisons))
            _check(
                add(
                    context,
                    _action(action),
                    numbers[name],
                    len(comparisons),
                    ffi.from_buffer(arguments) if arguments else ffi.NULL,
                ),
                f"{name}: {action!r}",
            )
        return _exported(functions, context)
    finally:
        functions["seccomp_release"](context)


def _exported(functions: dict[str, Any], context: Any) -> bytes:
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        _check(functions["seccomp_export_bpf"](context, fd), "export")
        size = os.fstat(fd).st_size
        if size > INSTRUCTIONS_MAX * 8:
            raise ValueError(
                f"seccomp filter: it comes to {size // 8} instructions; the kernel takes "
                f"{INSTRUCTIONS_MAX}"
            )
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def _action(action: Action) -> int:
    return _ERRNO | action if isinstance(action, int) else _ACTIONS[action]


def _packed(comparison: Comparison) -> bytes:
    if comparison.mask:
        return _COMPARISON.pack(comparison.index, _MASKED_EQUAL, comparison.mask, comparison.value)
    return _COMPARISON.pack(comparison.index, _NOT_EQUAL, comparison.value, 0)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise _refused(-result, what)


def _refused(error: int, what: str) -> SetupError:
    return SetupError(error, f"libseccomp refuses it ({what}): {os.strerror(error)}", None, _STEP)
