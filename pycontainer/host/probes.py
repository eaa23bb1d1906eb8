"""Yes-or-no questions about what this host supports.  None of them raises.

Needs the standard library only until the compiled helper is there, as ``tools/check_machine.py``
runs this before anything is installed.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "setgroups_supported",
    "unprivileged_user_namespace_supported",
    "user_namespace_supported",
]

# An attempt takes milliseconds; a machine that is busy beyond this is no machine to judge.
PATIENCE = 20.0


def user_namespace_supported() -> bool:
    """Whether the kernel has user namespaces (CONFIG_USER_NS).

    Whether anyone may make one is another question:
    :func:`unprivileged_user_namespace_supported`.
    """
    return os.path.exists("/proc/self/ns/user")


def unprivileged_user_namespace_supported() -> bool:
    """Whether an ordinary user can make a user namespace and has its capabilities there.

    It is tried, not read from settings: sysctls, AppArmor, SELinux, seccomp filters and chroots
    all have a say.  The caller tries as itself; root tries as nobody (uid 65534).
    """
    if not user_namespace_supported():
        return False
    if os.geteuid() != 0:
        return try_user_namespace() == 0
    tried = run_attempts("unprivileged_namespaces")
    return tried.get("unprivileged_namespaces") == 0


def setgroups_supported() -> bool:
    """Whether the kernel can deny setgroups(2) to a user namespace (Linux 3.19).

    Without that an unprivileged process may not write a gid map (user_namespaces(7)).
    """
    return os.path.exists("/proc/self/setgroups")


def try_user_namespace() -> int:
    """Make a user namespace as the caller; 0, or the errno of the refusal.

    A mount namespace inside it is part of the attempt, as an AppArmor profile may let the first
    be made and deny the capabilities in it.
    """
    try:
        from .._native import lib
    except ImportError:
        pass  # not compiled yet
    else:
        return int(lib.pc_probe_user_namespace())
    tried = run_attempts("user_namespace", "capabilities_inside")
    refused = [number for number in tried.values() if number]
    if refused:
        return refused[0]
    return 0 if len(tried) == 2 else errno.ENOSYS


def run_attempts(*names: str) -> Mapping[str, int]:
    """Run ``attempts.py`` and give the errno (0: it works) of each attempt that was made."""
    if not sys.executable:
        return {}
    script = Path(__file__).with_name("attempts.py")
    try:
        finished = subprocess.run(
            # -I and -S: neither the environment nor site-packages take part.
            [sys.executable, "-I", "-S", str(script), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
            check=False,
            # With a directory subprocess does not use posix_spawn(3), as it would since Python
            # 3.13: that wants clone3(2), which a filter may refuse by another errno than ENOSYS.
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.split() for line in finished.stdout.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
