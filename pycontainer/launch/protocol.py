"""The messages of ``_native/pycontainer.h`` as Python packs and reads them.

The layouts are checked against the compiled helper's own by a test.
"""

from __future__ import annotations

import marshal
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from .._native import lib
from ..plan.pack import Packed

__all__ = [
    "FAILURE",
    "INLINE",
    "ORDER",
    "REQUEST",
    "WATCH",
    "Preamble",
    "namespace_bits",
    "pack_order",
    "pack_request",
    "pack_signal",
    "pack_sweep",
    "pack_watch",
]

ORDER = struct.Struct("<IIII256s256s")
REQUEST = struct.Struct("<12I2Q6I5Q")
FAILURE = struct.Struct("<4i")
WATCH = struct.Struct("<3Q4I96s")

INLINE = 1 << 16
"""The longest request that travels as one message, in bytes; a longer one goes by memfd."""

_ALIGNMENT = 64  # of the payload: arrays in it stay where they are

_NAMESPACES = {
    "user": lib.PC_NS_USER,
    "pid": lib.PC_NS_PID,
    "mnt": lib.PC_NS_MNT,
    "net": lib.PC_NS_NET,
    "ipc": lib.PC_NS_IPC,
    "uts": lib.PC_NS_UTS,
    "cgroup": lib.PC_NS_CGROUP,
}


def namespace_bits(names: frozenset[str]) -> int:
    """The helper's bits for *names*."""
    bits = 0
    for name in names:
        bits |= _NAMESPACES[name]
    return bits


def pack_order(flags: int, namespaces: int, uid_map: str = "", gid_map: str = "") -> bytes:
    """A ``struct pc_order``."""
    return ORDER.pack(lib.PC_MAGIC, flags, namespaces, 0, uid_map.encode(), gid_map.encode())


def pack_watch(
    wall: int, cpu: int, memory: int, files: int, parents: int, name: str, init: bool = False
) -> bytes:
    """A ``struct pc_watch``: nanoseconds, nanoseconds, bytes, what comes along, a cgroup's name,
    and whether an init of ours comes first."""
    return WATCH.pack(wall, cpu, memory, files, parents, init, 0, name.encode())


def pack_sweep(prefix: str) -> bytes:
    """The order to remove cgroups whose names begin with *prefix* when the caller has gone."""
    return ORDER.pack(lib.PC_MAGIC, lib.PC_ORDER_SWEEP, 0, 0, prefix.encode(), b"")


def pack_signal(number: int) -> bytes:
    """A ``struct pc_order`` that has the helper send a signal."""
    return ORDER.pack(lib.PC_MAGIC, lib.PC_ORDER_SIGNAL, 0, number, b"", b"")


class Preamble:
    """What Python in the child needs before the payload: a marshalled tuple.

    Fields, in order: sys.path, sys.argv, sys.prefix, sys.exec_prefix, the environment, how the
    result returns ("data" or "pickle"), its most bytes, whether a function is to run below an
    init, whether it joins.
    """

    @staticmethod
    def pack(
        path: Sequence[str],
        argv: Sequence[str],
        prefixes: tuple[str, str],
        env: Mapping[str, str],
        returns: str,
        max_result: int,
    ) -> bytes:
        data = marshal.dumps(
            (
                list(path),
                list(argv),
                *prefixes,
                {os.fsencode(k): os.fsencode(v) for k, v in env.items()},
                returns,
                max_result,
            )
        )
        return len(data).to_bytes(8, "little") + data


def pack_request(
    flags: int,
    plan: Packed,
    before_hook: int,
    before_start: int,
    payload: Sequence[Any] = (),
    *,
    maps: tuple[str, str, str, str] = ("", "", "", ""),
    lock_mapper: bool = False,
    join: tuple[int, int, int, int, int, tuple[int, ...]] = (0, 0, 0, 0, 0, (0,) * 5),
) -> tuple[list[Any], int]:
    """A ``struct pc_request`` with all that follows it: pieces to be sent one after the other.

    Arguments:
        plan: the packed steps.
        before_hook, before_start: how many come before the populate hook, and before the process
            that runs the function.
        payload: a preamble and the payload's chunks.
        maps: what the child writes itself: uid, gid, and the same for the lock.
        join: namespaces, uid, gid, PC_JOIN_*, pid, capability sets, for an excursion.
    """
    steps, blob = plan.steps, plan.blob
    offsets = []
    for text in maps:
        offsets.append(len(blob) if text else 0)
        if text:
            blob += text.encode() + b"\0"
    text_at = REQUEST.size + len(steps)
    payload_at = -(-(text_at + len(blob)) // _ALIGNMENT) * _ALIGNMENT
    if payload:
        # The preamble is padded too, so that the payload proper begins aligned.
        preamble, *rest = payload
        payload = [preamble, b"\0" * (-len(preamble) % _ALIGNMENT), *rest]
    size = sum(map(len, payload))
    namespaces, uid, gid, no_new_privileges, pid, capabilities = join

    def header(flags: int) -> bytes:
        return REQUEST.pack(
            lib.PC_MAGIC,
            flags,
            REQUEST.size,
            before_hook,
            len(steps) // 48,
            text_at,
            len(blob),
            *offsets,
            lock_mapper,
            payload_at,
            size,
            namespaces,
            uid,
            gid,
            no_new_privileges,
            pid,
            before_start,
            *capabilities,
        )

    total = payload_at + size
    if total > INLINE:
        flags |= lib.PC_REQUEST_MEMFD
    padding = b"\0" * (payload_at - text_at - len(blob))
    return [header(flags), steps, blob, padding, *payload], total
