"""The caller as a user of the host: its name, its groups, its ranges of subordinate ids."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from .files import HostFiles
from .refusals import Reason


def user_name(files: HostFiles) -> str:
    """The caller's login name after /etc/passwd, or its uid."""
    uid = _ids(files, "Uid")[1]
    for fields in _table(files, "/etc/passwd"):
        if len(fields) > 2 and fields[2] == uid:
            return fields[0]
    return uid


def residual_groups(files: HostFiles) -> list[str]:
    """The supplementary groups that a container of an ordinary user keeps, by name if known.

    An unprivileged process must deny setgroups(2) before it writes a gid map, and so cannot drop
    them either (user_namespaces(7)).
    """
    own = set(_ids(files, "Gid"))
    names = {fields[2]: fields[0] for fields in _table(files, "/etc/group") if len(fields) > 2}
    groups = (files.status("Groups") or "").split()
    return [names.get(group, group) for group in groups if group not in own]


def range_problems(files: HostFiles, find: Callable[[str], str | None]) -> list[Reason]:
    """What keeps an ordinary user from mapping more than one id (subuid(5), newuidmap(1))."""
    problems: list[Reason] = []
    found = {name: find(name) for name in ("newuidmap", "newgidmap")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        problems.append(
            Reason(
                f"there is no {' and no '.join(missing)}",
                "apt-get install uidmap (dnf: shadow-utils, pacman: shadow)",
            )
        )
    weak = [path for path in found.values() if path is not None and not _gains_privileges(path)]
    if weak:
        problems.append(
            Reason(
                f"{' and '.join(weak)} cannot write maps: neither set-user-id nor with a file "
                "capability",
                f"sudo chmod u+s {' '.join(weak)}",
            )
        )
    user, uid = user_name(files), _ids(files, "Uid")[1]
    for name in ("subuid", "subgid"):
        rows = _table(files, f"/etc/{name}")
        if not any(row[0] in (user, uid) and len(row) == 3 and row[2] != "0" for row in rows):
            option = "--add-subuids" if name == "subuid" else "--add-subgids"
            problems.append(
                Reason(
                    f"/etc/{name} has no range for {user}",
                    f"sudo usermod {option} 100000-165535 {user} (a range that no one else has)",
                )
            )
    if files.status("NoNewPrivs") == "1":
        problems.append(
            Reason(
                "this process has no_new_privs set, so newuidmap gains nothing when started",
                "Start it without: no_new_privs cannot be cleared (docker: leave out "
                "--security-opt no-new-privileges; systemd: NoNewPrivileges=no).",
            )
        )
    return problems


def _gains_privileges(path: str) -> bool:
    try:
        if os.stat(path).st_mode & stat.S_ISUID:
            return True
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def _ids(files: HostFiles, field: str) -> list[str]:
    """Real, effective, saved and file-system id, as /proc/self/status has them."""
    ids = (files.status(field) or "").split()
    if len(ids) == 4:
        return ids
    return [str(os.geteuid() if field == "Uid" else os.getegid())] * 4


def _table(files: HostFiles, path: str) -> list[list[str]]:
    lines = (files.read(path) or "").splitlines()
    return [line.split(":") for line in lines if line and not line.startswith("#")]
