"""Say why the kernel refused new namespaces, and which command changes that.

Needs the standard library only, as ``tools/check_machine.py`` runs this before anything is
installed.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NamedTuple

from .files import HostFiles

CAP_SYS_ADMIN = 21

NAMESPACE_LIMITS = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time")

# The kernel refuses a user namespace below 32 others, and a pid namespace likewise
# (user_namespaces(7), pid_namespaces(7)).
DEEPEST = 32


class Reason(NamedTuple):
    """Why something is refused, and the command or setting that changes it."""

    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.why}. {self.fix}"


def explain_clone_error(error: int, root: str | os.PathLike[str] = "/") -> list[str]:
    """Explain *error*, the errno with which clone3(2) or unshare(2) refused new namespaces.

    Reads the host's settings and changes nothing.  Each line is a reason with its remedy: what
    surely refuses where that is known, otherwise everything that may have.

    Args:
        error: EPERM, EACCES, ENOSPC, EUSERS, ENOSYS, EINVAL, EAGAIN or another.
        root: the directory whose /proc and marks are read; tests give another one.
    """
    return [str(reason) for reason in reasons_for(error, HostFiles(root))]


def reasons_for(error: int, files: HostFiles) -> list[Reason]:
    """As :func:`explain_clone_error`, in two parts for each reason."""
    if error in (errno.EPERM, errno.EACCES):
        found = _forbidden(files)
    elif error in (errno.ENOSPC, errno.EUSERS):
        found = _limits(files)
    elif error == errno.ENOSYS:
        found = _absent(files)
    elif error == errno.EINVAL:
        found = _invalid(files)
    elif error == errno.EAGAIN:
        found = [
            Reason(
                "The user or its cgroup has as many processes as it may have",
                "Raise the limit (`ulimit -u`, pids.max of the cgroup) or end some.",
            )
        ]
    else:
        found = []
    name = errno.errorcode.get(error, str(error))
    return found or [
        Reason(
            f"The kernel refused new namespaces with {name} ({os.strerror(error)}), and none of "
            f"the usual settings explains it",
            "clone(2) lists what the error means; `dmesg | tail` may hold a security module's "
            "word on it.",
        )
    ]


def _forbidden(files: HostFiles) -> list[Reason]:
    """EPERM and EACCES: a setting, a place, or a filter forbids it."""
    sure: list[Reason] = []
    privileged = files.has_capability(CAP_SYS_ADMIN)
    if files.sysctl("kernel.unprivileged_userns_clone") == 0 and not privileged:
        sure.append(
            Reason(
                "kernel.unprivileged_userns_clone is 0: only root may make user namespaces",
                _sysctl("kernel.unprivileged_userns_clone=1"),
            )
        )
    if files.sysctl("kernel.apparmor_restrict_unprivileged_userns") == 1 and not privileged:
        profile = files.apparmor_profile()
        program = os.path.realpath(sys.executable) if sys.executable else "the interpreter"
        sure.append(
            Reason(
                "AppArmor keeps unprivileged user namespaces from programs without a profile that "
                "allows them (kernel.apparmor_restrict_unprivileged_userns is 1"
                + (f", this process has the profile {profile!r})" if profile else ")"),
                f"Give {program} a profile with a `userns,` rule in /etc/apparmor.d, or: "
                + _sysctl("kernel.apparmor_restrict_unprivileged_userns=0"),
            )
        )
    if files.chrooted():
        sure.append(
            Reason(
                "This process lives in a chroot, where the kernel lets nobody make a user "
                "namespace (unshare(2))",
                "Start it with pivot_root instead of chroot: `bwrap --bind DIR / …` or "
                "`systemd-nspawn -D DIR …`.",
            )
        )
    if _caller_is_unmapped(files):
        sure.append(
            Reason(
                "The caller's user or group has no mapping in its own user namespace",
                "Write /proc/PID/uid_map and gid_map of this namespace before, or run "
                "`unshare --map-root-user`.",
            )
        )
    return (
        sure
        or _filters(files)
        or [
            Reason(
                "No setting refuses this.  A chroot to a mount point would: the kernel lets nobody "
                "make a user namespace in a chroot, and this kind cannot be seen from inside.  So "
                "would a security module other than AppArmor and SELinux",
                "Leave the chroot (with pivot_root, bwrap or systemd-nspawn instead), or see "
                "`dmesg | tail` for the module's word on it.",
            )
        ]
    )


def _filters(files: HostFiles) -> list[Reason]:
    """What may refuse without leaving a setting to read."""
    found: list[Reason] = []
    engine = files.engine()
    if files.status("Seccomp") == "2":
        found.append(
            Reason(
                "A seccomp filter governs this process and may refuse clone, clone3 or unshare"
                + (f"; it runs in {engine}, whose default filter does" if engine else ""),
                _unconfined(engine, "seccomp"),
            )
        )
    profile = files.apparmor_profile()
    if profile:
        found.append(
            Reason(
                f"AppArmor confines this process with the profile {profile!r}, which may have no "
                "`userns,` rule",
                _unconfined(engine, "apparmor")
                if engine
                else "Add `userns,` to it in /etc/apparmor.d and run apparmor_parser -r.",
            )
        )
    if files.read("/sys/fs/selinux/enforce") == "1":
        found.append(
            Reason(
                "SELinux is enforcing and may refuse user_namespace create",
                "`ausearch -m avc -ts recent` shows the refusal and audit2allow the rule.",
            )
        )
    return found


def _limits(files: HostFiles) -> list[Reason]:
    """ENOSPC, and EUSERS of old kernels: a count or the depth is used up."""
    found: list[Reason] = []
    for name in NAMESPACE_LIMITS:
        limit = files.sysctl(f"user.max_{name}_namespaces")
        if limit == 0:
            found.append(
                Reason(
                    f"user.max_{name}_namespaces is 0: nobody may make {name} namespaces here",
                    _sysctl(f"user.max_{name}_namespaces=15000"),
                )
            )
    if found:
        return found
    counts = ", ".join(
        f"{name} {limit}"
        for name in NAMESPACE_LIMITS
        if (limit := files.sysctl(f"user.max_{name}_namespaces")) is not None
    )
    return [
        Reason(
            "As many namespaces exist as this user may have, here or in a user namespace above"
            + (f" (the limits here: {counts})" if counts else ""),
            "End containers that are left over (`lsns` lists them), or raise "
            "user.max_*_namespaces with sysctl.",
        ),
        Reason(
            f"Otherwise user or pid namespaces are nested {DEEPEST} deep, the most there can be",
            "Start the container from a namespace further out.",
        ),
    ]


def _absent(files: HostFiles) -> list[Reason]:
    """ENOSYS: no such call, or a filter that pretends so."""
    if files.status("Seccomp") == "2":
        engine = files.engine()
        return [
            Reason(
                "A seccomp filter answers that clone3 does not exist"
                + (f" (this process runs in {engine})" if engine else ""),
                _unconfined(engine, "seccomp"),
            )
        ]
    release = files.read("/proc/sys/kernel/osrelease") or os.uname().release
    return [
        Reason(
            f"Linux {release} has no clone3", "Linux 5.14 or newer is needed; update the kernel."
        )
    ]


def _invalid(files: HostFiles) -> list[Reason]:
    """EINVAL: a namespace that this kernel was built without, or a threaded caller."""
    names = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")
    absent = [name for name in names if not files.exists(f"/proc/self/ns/{name}")]
    if absent:
        options = ", ".join(
            f"CONFIG_{'CGROUPS' if name == 'cgroup' else f'{name.upper()}_NS'}"
            for name in absent
            if name != "mnt"
        )
        return [
            Reason(
                f"This kernel has no {' and no '.join(absent)} namespaces",
                f"Boot one that was built with {options}." if options else "Is /proc mounted?",
            )
        ]
    threads = files.status("Threads")
    if threads not in (None, "1"):
        return [
            Reason(
                f"This process has {threads} threads, and only a process with one may unshare or "
                "join a user namespace (unshare(2), setns(2))",
                'Use start_method="forkserver", whose helper has one thread.',
            )
        ]
    return []


def _caller_is_unmapped(files: HostFiles) -> bool:
    """create_user_ns (kernel/user_namespace.c) wants both ids of the caller mapped."""
    for name, field in (("uid_map", "Uid"), ("gid_map", "Gid")):
        extents, ids = files.read(f"/proc/self/{name}"), files.status(field)
        if extents is None or ids is None or len(ids.split()) < 2:
            continue
        effective = int(ids.split()[1])
        spans = [tuple(map(int, line.split())) for line in extents.splitlines()]
        if not any(first <= effective < first + count for first, _, count in spans):
            return True
    return False


def _sysctl(setting: str) -> str:
    return f"`sudo sysctl -w {setting}`; to keep it, put that line into /etc/sysctl.d/."


def _unconfined(engine: str | None, module: str) -> str:
    option = f"--security-opt {module}=unconfined"
    if engine in ("docker", "podman"):
        return f"`{engine} run {option} …`, or a profile that allows it."
    return f"Start it without that filter (docker and podman: {option})."
