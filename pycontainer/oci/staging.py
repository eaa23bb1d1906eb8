"""What a runtime needs around it on this host: its own view of ids, mounts and cgroups.

crun refuses to run where a cgroup version 2 hierarchy is mounted beside version 1 ("hybrid"), and
runc needs a root in the container that is the caller itself.  Both are satisfied in namespaces of
their own, made by unshare(1), in which the runtime then runs.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Sequence
from typing import Any

from ..declare.capabilities import CAPABILITIES
from ..errors import SetupError
from .annotations import PREFIX
from .ids import effective_capabilities
from .reach import bind_script, make_places, moved
from .state import write_file

__all__ = ["RUNTIMES", "Stage", "is_call", "stage_for"]

RUNTIMES = ("runc", "crun")

_HIERARCHIES = "/sys/fs/cgroup"
_NO_CGROUPS = "--cgroup-manager=disabled"  # crun's

# How unshare(1) is called, and what is done in its namespaces.
_MOUNTS = ("--mount", "--propagation", "slave")
_SAME_USER = (*_MOUNTS, "--user", "--map-current-user", "--keep-caps")
_SUBORDINATES = ("--user", "--map-root-user", "--map-auto", *_MOUNTS)
_WITHOUT_UNIFIED = f"umount {_HIERARCHIES}/unified"
_WITHOUT_CGROUPS = f"mount -t tmpfs -o size=4k none {_HIERARCHIES}"
_NOTHING = ":"


def _entering(namespaces: Sequence[str], step: str) -> list[str]:
    """Words before a command line that run it in namespaces of its own."""
    return ["unshare", *namespaces, "/bin/sh", "-c", f'{step} && exec "$@"', "stage"]


def is_call(words: list[str]) -> bool:
    """Whether they are the beginning of a command line as ``stage_for`` has it: words that were
    kept where others of this user's processes could write are no reason to run anything else."""
    prefixes: list[list[str]] = [
        [],
        *(
            _entering(namespaces, step)
            for namespaces in (_MOUNTS, _SAME_USER, _SUBORDINATES)
            for step in (_WITHOUT_UNIFIED, _WITHOUT_CGROUPS, _NOTHING)
        ),
    ]
    return any(
        words == [*prefix, shutil.which(runtime), *options]
        for runtime in RUNTIMES
        for prefix in prefixes
        for options in ([], [_NO_CGROUPS])
    )


class Stage:
    """How a runtime is started.

    Attributes:
        prefix: the words before the runtime's own command line.
        options: the runtime's options.
        spec: the config.json for it, or None: the bundle's own.
        held: the resources that the runtime holds by a cgroup, in OCI's words.
        not_held: those that nothing holds, and why.
    """

    def __init__(self) -> None:
        self.prefix: list[str] = []
        self.options: list[str] = []
        self.spec: dict[str, Any] | None = None
        self.held: frozenset[str] = frozenset()
        self.not_held: dict[str, str] = {}

    def reaching(self, state: str) -> list[str]:
        """The words before the runtime's command line when it runs a bundle, with all of its
        sources where the container's root can search for them.

        Arguments:
            state: the directory of the run's state.
        """
        if self.spec is None or os.geteuid() != 0:
            return self.prefix
        places = f"{state}/places"
        self.spec, pairs = moved(self.spec, places)
        if not pairs:
            return self.prefix
        os.chmod(state, 0o711)
        os.mkdir(places, 0o711)
        make_places(pairs)
        around = self.prefix or ["unshare", "--mount", "--propagation", "slave"]
        return [*around, *bind_script(pairs)]

    def write(self, directory: str) -> None:
        """Write the config.json, if it is not the bundle's."""
        os.mkdir(directory, 0o700)
        write_file(f"{directory}/config.json", json.dumps(self.spec).encode(), 0o600)


def stage_for(runtime: str, spec: dict[str, Any], bundle: str) -> Stage:
    """The stage for running *spec*, the config.json of *bundle*, by *runtime* as this user.

    Raises:
        SetupError: EPERM, for a limit that takes a cgroup, which an ordinary user has not.
    """
    stage = Stage()
    root = os.geteuid() == 0
    hybrid = is_hybrid()
    linux = spec.get("linux") or {}
    resources = linux.get("resources") or {}
    held = root and all(map(_has_controller, _bounds(resources)))
    if _bounds(resources) and not held:
        stage.spec = _without_resources(stage, spec)
    elif held:
        stage.held = frozenset(_bounds(resources))
    if runtime == "crun" and not (root and (_bounds(resources) or resources.get("devices"))):
        stage.options = [_NO_CGROUPS]
    step = ""
    namespaces: Sequence[str] = _MOUNTS
    if runtime == "crun" and hybrid:
        step = _WITHOUT_UNIFIED if root else _WITHOUT_CGROUPS
        namespaces = _MOUNTS if root else _SAME_USER
    if not root and (_needs_ids(linux) or (step and _has_ids(linux))):
        stage.spec = _of_subordinates(stage.spec or spec)
        namespaces = _SUBORDINATES
        step = step or _NOTHING
    if step:
        stage.prefix = _entering(namespaces, step)
    stage.spec = _without_access_times(stage.spec or spec) or stage.spec
    if root:
        stage.spec = _with_own_capabilities(stage.spec or spec)
    if runtime == "runc":
        stage.spec = _with_open_files(stage.spec or spec)
    if stage.spec is not None or root:
        stage.spec = _absolute(stage.spec or spec, bundle)
    return stage


def is_hybrid() -> bool:
    """Whether both versions of cgroups are mounted where runtimes look."""
    found: dict[str, str] = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, place, kind, *_ = line.split(" ")
            found[place] = kind
    return found.get(_HIERARCHIES) == "tmpfs" and found.get(f"{_HIERARCHIES}/unified") == "cgroup2"


def _has_controller(name: str) -> bool:
    """Whether there is a cgroup controller for it, of either version, where runtimes look."""
    try:
        with open(f"{_HIERARCHIES}/cgroup.controllers") as file:
            return name in file.read().split()
    except OSError:
        return os.path.isdir(f"{_HIERARCHIES}/{name}")


def _bounds(resources: dict[str, Any]) -> list[str]:
    return [name for name in ("memory", "cpu", "pids") if resources.get(name)]


def _without_resources(stage: Stage, spec: dict[str, Any]) -> dict[str, Any]:
    names = _bounds(spec["linux"]["resources"])
    annotations = spec.get("annotations") or {}
    limits = json.loads(annotations.get(f"{PREFIX}limits", "{}"))
    # The number of processes is held by RLIMIT_NPROC as well.
    needed = [name for name in names if name != "pids"]
    if limits.get("strict", True) and needed:
        raise SetupError(
            errno.EPERM,
            f"an OCI runtime holds linux.resources.{needed[0]} by a cgroup, which this user cannot "
            "make here; use runtime='native', run it as root, or say strict=False",
            None,
            "hold the limits",
        )
    stage.not_held = dict.fromkeys(needed, "not held: it takes a cgroup")
    linux = {key: value for key, value in spec["linux"].items() if key != "resources"}
    return {**spec, "linux": linux}


def _without_access_times(spec: dict[str, Any]) -> dict[str, Any] | None:
    """*spec* with binds that keep their source's access times, or None where they do.

    In a user namespace the kernel lets nobody change those of the host's mounts ("locked" in
    mount_namespaces(7)).
    """
    linux = spec.get("linux") or {}
    if not any(one.get("type") == "user" for one in linux.get("namespaces") or ()):
        return None
    mounts = [
        {
            **mount,
            "options": [one for one in mount.get("options") or () if one not in _ACCESS_TIMES],
        }
        if mount.get("type") == "bind"
        else mount
        for mount in spec.get("mounts") or ()
    ]
    return None if mounts == (spec.get("mounts") or []) else {**spec, "mounts": mounts}


_ACCESS_TIMES = {"noatime", "rnoatime", "strictatime", "rstrictatime"}


def _with_own_capabilities(spec: dict[str, Any]) -> dict[str, Any]:
    """*spec*, where it means all capabilities and has no user namespace, with those of root here:
    a machine may have taken some from root."""
    linux, process = spec.get("linux") or {}, spec.get("process") or {}
    kinds = {one.get("type") for one in linux.get("namespaces") or ()}
    if "user" in kinds or (spec.get("annotations") or {}).get(f"{PREFIX}all") != "true":
        return spec
    own = effective_capabilities()
    sets = {
        kind: [name for name in names if own >> CAPABILITIES.get(name, 63) & 1]
        for kind, names in (process.get("capabilities") or {}).items()
    }
    return {**spec, "process": {**process, "capabilities": sets}}


def _with_open_files(spec: dict[str, Any]) -> dict[str, Any]:
    """*spec* with the caller's own bound of open files: Go raises it for itself, and runc leaves
    the container with that."""
    process = spec.get("process") or {}
    bounds = process.get("rlimits") or []
    if any(one.get("type") == "RLIMIT_NOFILE" for one in bounds):
        return spec
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    known = {"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}
    return {**spec, "process": {**process, "rlimits": [*bounds, known]}}


def _needs_ids(linux: dict[str, Any]) -> bool:
    """Whether the root of the container is somebody else than the caller."""
    for key, own in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
        for one in linux.get(key) or ():
            if one.get("containerID") == 0 and one.get("hostID") != own:
                return True
    return False


def _has_ids(linux: dict[str, Any]) -> bool:
    """Whether there are more than one id, which a stage must then have as well."""
    sizes: list[int] = [one.get("size", 0) for one in linux.get("uidMappings") or ()]
    return sum(sizes) > 1


def _of_subordinates(spec: dict[str, Any]) -> dict[str, Any]:
    """*spec* in the ids of a namespace in which 0 is the caller and the rest its subordinates."""
    from ..launch.ranges import subordinate_ranges

    linux = dict(spec["linux"])
    for key, own, path in (
        ("uidMappings", os.geteuid(), "/etc/subuid"),
        ("gidMappings", os.getegid(), "/etc/subgid"),
    ):
        ranges = subordinate_ranges(path)[:1]  # unshare(1) takes the first alone
        changed = []
        for one in linux.get(key) or ():
            first = 0
            for start, count in ((own, 1), *ranges):
                if start <= one["hostID"] < start + count:
                    changed.append({**one, "hostID": first + one["hostID"] - start})
                first += count
        linux[key] = changed
    return {**spec, "linux": linux}


def _absolute(spec: dict[str, Any], bundle: str) -> dict[str, Any]:
    """*spec* for a config.json that lies elsewhere."""
    root = dict(spec.get("root") or {})
    root["path"] = os.path.join(bundle, root.get("path", "rootfs"))
    mounts = []
    for mount in spec.get("mounts") or ():
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            mounts.append({**mount, "source": os.path.join(bundle, mount["source"])})
        else:
            mounts.append(mount)
    return {**spec, "root": root, "mounts": mounts}
