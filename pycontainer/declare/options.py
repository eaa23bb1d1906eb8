"""The fields of ``Container`` as keywords, for those who read types.

A module of its own: making these classes takes as long as making ``Container``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

from .checks import StrPath

if TYPE_CHECKING:
    from .filters import SeccompFilter
    from .limits import Limits

__all__ = ["ContainerChanges", "ContainerOptions"]


class ContainerChanges(TypedDict, total=False):
    """The fields of ``Container`` other than ``mounts`` and ``env``, as keywords."""

    namespaces: Iterable[str]
    rootfs: StrPath | None
    writable_root: bool
    root_size: int | str | None
    default_files: bool
    hostname: str
    guest_uid: int
    guest_gid: int
    host_uids: int
    host_uid_start: int | None
    host_gid_start: int | None
    cwd: StrPath
    lock_mounts: bool
    child_is_pid1: bool | None
    loopback_network: bool
    capabilities: Literal["all"] | Iterable[str]
    ambient_capabilities: bool
    no_new_privs: bool
    seccomp: SeccompFilter | None
    limits: Limits | None
    set_id_files: bool
    readonly_paths: Iterable[StrPath]
    masked_paths: Iterable[StrPath]


class ContainerOptions(ContainerChanges, total=False):
    """The fields of ``Container`` other than ``mounts``: the ``**options`` of every front door."""

    env: Mapping[str, StrPath]
