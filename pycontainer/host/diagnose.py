"""Say what this host lets containers do, what blocks them, and which command changes that.

>>> from pycontainer import diagnose
>>> print(diagnose())  # doctest: +SKIP
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

from attrs import frozen

from . import accounts, cgroups
from .files import HostFiles
from .probes import run_attempts
from .refusals import CAP_SYS_ADMIN, NAMESPACE_LIMITS, Reason, explain_clone_error, reasons_for

__all__ = ["Finding", "Report", "diagnose", "explain_clone_error"]

OLDEST_KERNEL = (5, 14)

Status: TypeAlias = Literal["works", "limited", "blocked", "unknown"]

# Names and numbers as in capabilities(7), with what a root caller loses without each.
ROOT_CAPABILITIES = {
    "CAP_SETGID": (6, "mapping a range of groups"),
    "CAP_SETUID": (7, "mapping a range of users"),
    "CAP_SYS_ADMIN": (CAP_SYS_ADMIN, "idmapped binds"),
    # Needed since Linux 5.12 to map the parent's uid 0 (user_namespaces(7)).
    "CAP_SETFCAP": (31, "host_uid_start=0"),
}


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        status: "works"; "limited": containers start without this feature; "blocked": they do not
            start; "unknown": it could not be tried.
        detail: what was found.
        fixes: commands or settings that change it, any one of which may do.
    """

    subject: str
    status: Status
    detail: str
    fixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.status:8}{self.subject}: {self.detail}"]
        lines += [f"{'':10}fix: {fix}" for fix in self.fixes]
        return "\n".join(lines)


@frozen
class Report:
    """What ``diagnose()`` found; ``str()`` of it is for people, ``findings`` for programs."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing blocks containers.  A feature may still be limited."""
        return not any(finding.status == "blocked" for finding in self.findings)

    def __str__(self) -> str:
        last = "Containers work here." if self.ok else "Containers do not work here yet."
        if self.ok and any(finding.status == "limited" for finding in self.findings):
            last = "Containers work here, with the limits above."
        return "\n".join([*map(str, self.findings), last])


def diagnose() -> Report:
    """Look at this host, and try what containers need of the kernel.

    Takes some hundredths of a second.  Changes nothing; the attempts happen in processes of their
    own.  Never raises for what it finds.
    """
    attempts = dict(run_attempts())
    root = os.geteuid() == 0
    try:
        # The rest of the diagnosis works where this is not compiled.
        from .._native import lib  # noqa: F401
    except ImportError as error:
        missing: list[Finding] = [_no_helper(error)]
    else:
        missing = []
        if root:
            attempts["idmapped_mount"] = _try_idmapped_mount()
    return Report((*missing, *examine(HostFiles(), attempts, root=root).findings))


def _no_helper(error: ImportError) -> Finding:
    """It was not built, or for another Python."""
    return Finding(
        "compiled helper",
        "blocked",
        f"it does not load: {error}",
        (
            "pip install --force-reinstall pycontainer-linux",
            f"{sys.executable or 'python3'} _build_ffi.py, in a checkout",
            "either needs a C compiler and Python's headers: apt-get install gcc python3-dev",
        ),
    )


def _try_idmapped_mount() -> int:
    """The errno with which a clone of the root's tree refuses to be idmapped; 0 if it does not."""
    from .._native import lib

    ids = b"0 1879048192 65536\n"
    namespace = lib.pc_make_user_namespace(ids, ids)
    if namespace < 0:
        return int(-namespace)
    tree = lib.pc_open_source(b"/", False, 0, namespace)
    os.close(namespace)
    if tree < 0:
        return int(-tree)
    os.close(tree)
    return 0


def examine(files: HostFiles, attempts: Mapping[str, int], *, root: bool) -> Report:
    """The report on the host that *files* shows.

    Args:
        files: its /proc, /sys and /etc.
        attempts: name → errno, as ``run_attempts()`` gives; what is not in it was not tried.
        root: whether the caller has uid 0, be it in a user namespace of its own.
    """
    looks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _kernel(files),
        lambda: _user_namespaces(files, attempts),
        lambda: _proc(files, attempts),
        lambda: _setgroups(files),
        lambda: _filters(files, attempts),
        lambda: _memory(files),
    ]
    if root and not files.in_user_namespace():
        looks += [lambda: _root(files, attempts)]
    elif root:
        looks += [lambda: _groups(files), lambda: _mapped(files)]
    else:
        looks += [lambda: _groups(files), lambda: _ranges(files)]
    return Report(tuple(finding for look in looks for finding in look()))


def _kernel(files: HostFiles) -> Iterator[Finding]:
    release = files.read("/proc/sys/kernel/osrelease")
    if release is None:
        yield Finding(
            "/proc", "blocked", "it is not mounted, or unreadable", ("mount -t proc proc /proc",)
        )
        return
    numbers = release.split("-")[0].split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdigit())
    if version < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        yield Finding(
            "kernel",
            "blocked",
            f"Linux {release} lacks calls that {wanted} has (mount_setattr, openat2, clone3)",
            (f"Boot Linux {wanted} or newer.",),
        )
    else:
        yield Finding("kernel", "works", f"Linux {release}")


def _user_namespaces(files: HostFiles, attempts: Mapping[str, int]) -> Iterator[Finding]:
    subject = "user namespaces"
    refusal = attempts.get("user_namespace")
    if refusal is None:
        # What can be said without trying: settings that leave no doubt.
        sure = [*_zero_limits(files)]
        if sure:
            yield _blocked(subject, sure)
        else:
            yield Finding(subject, "unknown", "no attempt could be made")
        return
    if refusal:
        yield _blocked(subject, reasons_for(refusal, files))
        return
    inside = attempts.get("capabilities_inside", 0)
    if inside:
        yield _blocked("capabilities in a user namespace", reasons_for(inside, files))
        return
    other_limits = [*_zero_limits(files)]
    if other_limits:
        yield _blocked("namespaces", other_limits)
    yield Finding(subject, "works", "this user can make one and has its capabilities there")
    if attempts.get("unprivileged_namespaces"):
        reasons = reasons_for(attempts["unprivileged_namespaces"], files)
        yield Finding(
            "user namespaces of ordinary users",
            "limited",
            "; ".join(reason.why for reason in reasons),
            tuple(reason.fix for reason in reasons),
        )


def _zero_limits(files: HostFiles) -> Iterator[Reason]:
    if any(files.sysctl(f"user.max_{name}_namespaces") == 0 for name in NAMESPACE_LIMITS):
        yield from reasons_for(errno.ENOSPC, files)


def _blocked(subject: str, reasons: list[Reason]) -> Finding:
    detail = "; ".join(reason.why for reason in reasons)
    return Finding(subject, "blocked", detail, tuple(reason.fix for reason in reasons))


def _proc(files: HostFiles, attempts: Mapping[str, int]) -> Iterator[Finding]:
    refusal = attempts.get("mount_proc")
    if attempts.get("user_namespace") or attempts.get("capabilities_inside"):
        return  # said already
    masked = [
        mount.target
        for mount in files.mounts()
        # Empty for this purpose, so the kernel lets it be covered (fs/proc/root.c).
        if mount.target.startswith("/proc/") and mount.target != "/proc/sys/fs/binfmt_misc"
    ]
    if refusal == 0:
        yield Finding("/proc in containers", "works", "a new one can be mounted")
    elif refusal is None and not masked:
        yield Finding("/proc in containers", "unknown", "no attempt could be made")
    else:
        name = errno.errorcode.get(refusal, str(refusal)) if refusal else "EPERM"
        if masked:
            shown = ", ".join(masked[:4]) + (" …" if len(masked) > 4 else "")
            detail = (
                f"mounting it gives {name}, as parts of the caller's own /proc are covered "
                f"({shown}), and the kernel shows nobody more than the caller sees"
            )
        else:
            detail = f"mounting it gives {name}"
        engine = files.engine()
        fixes = {
            "docker": ("docker run --security-opt systempaths=unconfined …",),
            "podman": ("podman run --security-opt unmask=ALL …",),
        }.get(
            engine or "",
            (
                "Uncover it in the outer container (docker: --security-opt systempaths=unconfined; "
                "podman: --security-opt unmask=ALL; Kubernetes: procMount: Unmasked).",
            ),
        )
        without = 'Or leave "pid" out of namespaces=, so that no new /proc is needed.'
        yield Finding("/proc in containers", "blocked", detail, (*fixes, without))


def _setgroups(files: HostFiles) -> Iterator[Finding]:
    if not files.exists("/proc/self/setgroups"):
        yield Finding(
            "group maps",
            "blocked",
            "there is no /proc/self/setgroups, without which no gid map can be written",
            ("Boot Linux 5.14 or newer with CONFIG_USER_NS.",),
        )
    elif files.read("/proc/self/setgroups") == "deny":
        yield Finding(
            "group maps",
            "limited",
            "setgroups is denied in the caller's user namespace already, and so in all below it",
        )
    else:
        yield Finding("group maps", "works", "setgroups can be denied")


def _filters(files: HostFiles, attempts: Mapping[str, int]) -> Iterator[Finding]:
    refusal = attempts.get("load_libseccomp")
    if refusal is None:
        yield Finding("seccomp filters", "unknown", "no attempt could be made")
    elif refusal:
        yield Finding(
            "seccomp filters",
            "limited",
            "the library libseccomp.so.2 is missing, so seccomp= cannot be used",
            ("apt-get install libseccomp2 (dnf and pacman: libseccomp)",),
        )
    else:
        yield Finding("seccomp filters", "works", "libseccomp is there")
    if files.status("Seccomp") == "2":
        engine = files.engine()
        yield Finding(
            "the caller's own seccomp filter",
            "works" if attempts.get("user_namespace") == 0 else "unknown",
            "containers inherit it" + (f" (from {engine})" if engine else ""),
        )


def _memory(files: HostFiles) -> Iterator[Finding]:
    where = cgroups.delegation(files)
    yield Finding("limits of whole containers", where.status, where.detail, where.fixes)


def _root(files: HostFiles, attempts: Mapping[str, int]) -> Iterator[Finding]:
    lacking = {
        name: loss
        for name, (number, loss) in ROOT_CAPABILITIES.items()
        if not files.has_capability(number)
    }
    if lacking:
        losses = ", ".join(f"{name} ({loss})" for name, loss in lacking.items())
        options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in lacking)
        yield Finding(
            "capabilities of root",
            "limited",
            f"this root lacks {losses}",
            (f"docker run {options} …, or run as an ordinary user, who needs none of them",),
        )
    else:
        yield Finding("capabilities of root", "works", "all that containers use")
    if attempts.get("user_namespace"):
        return  # said already
    refusal = attempts.get("idmapped_mount")
    if refusal is None:
        yield Finding("idmapped binds", "unknown", "the C library has no mount_setattr to try with")
    elif refusal:
        name = errno.errorcode.get(refusal, str(refusal))
        kinds = [mount.fstype for mount in files.mounts() if mount.target == "/"]
        kind = f" (of type {kinds[-1]})" if kinds else ""
        yield Finding(
            "idmapped binds",
            "limited",
            f'idmapping a bind of "/"{kind} gives {name}; not every file system can be idmapped '
            "(overlay cannot)",
            ("Bind from another file system, bind read-only, or set host_uid_start=0.",),
        )
    else:
        yield Finding("idmapped binds", "works", 'a bind of "/" can be idmapped')


def _groups(files: HostFiles) -> Iterator[Finding]:
    residual = accounts.residual_groups(files)
    if residual:
        yield Finding(
            "supplementary groups",
            "limited",
            f"containers keep the caller's groups {', '.join(residual)}, as an ordinary user may "
            "not drop them; what these may read or write on the host stays so in writable binds",
            ("Run it as a user in no other group: sudo setpriv --reuid USER --clear-groups …",),
        )
    else:
        yield Finding("supplementary groups", "works", "there are none to keep")


def _ranges(files: HostFiles) -> Iterator[Finding]:
    subject = "ranges of ids (host_uids above 1)"
    problems = accounts.range_problems(files, find=shutil.which)
    if problems:
        detail = "; ".join(problem.why for problem in problems)
        yield Finding(subject, "limited", detail, tuple(problem.fix for problem in problems))
    else:
        user = accounts.user_name(files)
        yield Finding(subject, "works", f"/etc/subuid and /etc/subgid have ranges for {user}")


def _mapped(files: HostFiles) -> Iterator[Finding]:
    """Root of a user namespace hands on what it was given."""
    subject = "ranges of ids (host_uids above 1)"
    extents = (files.read("/proc/self/uid_map") or "").splitlines()
    count = sum(int(extent.split()[2]) for extent in extents)
    if count > 1:
        yield Finding(subject, "works", f"the caller's user namespace maps {count} ids")
    else:
        yield Finding(
            subject,
            "limited",
            "the caller's user namespace maps one id, and containers cannot get more",
            ("Make the outer namespace with a range: unshare --map-auto --map-root-user …",),
        )
