"""Name what this machine lacks for building and running pycontainer, before anything is installed.

Run by the system's interpreter with nothing but its standard library; prints one paragraph for
each thing that is missing, with the command that brings it, and exits 1 when there is any.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

OLDEST_KERNEL = (5, 14)

# What a package is called, by the ID or ID_LIKE of /etc/os-release (see os-release(5)).
_INSTALL = {
    "debian": "apt-get install {}",
    "fedora": "dnf install {}",
    "arch": "pacman -S {}",
    "alpine": "apk add {}",
    "suse": "zypper install {}",
}
_PACKAGES = {
    "venv": {"debian": "python3-venv", "suse": "python3-pip"},
    "compiler": {"debian": "build-essential", "arch": "base-devel", "alpine": "build-base"},
    "libc headers": {"debian": "libc6-dev", "fedora": "glibc-devel", "alpine": "musl-dev"},
    "kernel headers": {
        "debian": "linux-libc-dev",
        "fedora": "kernel-headers",
        "arch": "linux-api-headers",
        "alpine": "linux-headers",
        "suse": "linux-glibc-devel",
    },
    "python headers": {"debian": "python3-dev", "alpine": "python3-dev", "arch": "python"},
}
_ELSEWHERE = {
    "venv": "python3 with venv and ensurepip",
    "compiler": "gcc",
    "libc headers": "the C library's headers",
    "kernel headers": "the kernel's headers (linux/*.h)",
    "python headers": "python3-devel",
}


def install_command(what: str) -> str:
    """The command that brings *what*, a key of the table above, on this distribution."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    families = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for family in families:
        for known, command in _INSTALL.items():
            if family.startswith(known) or (known == "suse" and "suse" in family):
                return command.format(_PACKAGES[what].get(known, _ELSEWHERE[what]))
    return f"install {_ELSEWHERE[what]}"


def missing_for_venv() -> list[str]:
    """Debian ships the venv module in python3 and what it needs (ensurepip) in python3-venv."""
    absent = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not absent:
        return []
    minor = f"python3.{sys.version_info.minor}-venv"
    return [
        f"{sys.executable} has no {' and no '.join(absent)} module, so no virtual environment can "
        f"be made: {install_command('venv')}   (for a second interpreter: {minor})"
    ]


def missing_for_compiling() -> list[str]:
    """A compiler, and the headers that the compiled helper includes, each tried by including it."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return [
            f"There is no C compiler ({compiler[0]}; the variable CC would name another): "
            f"{install_command('compiler')}"
        ]
    python_headers = sysconfig.get_path("include")
    for header, package in (
        ("stdio.h", "libc headers"),
        ("linux/mount.h", "kernel headers"),
        ("Python.h", "python headers"),
    ):
        tried = subprocess.run(
            [*compiler, "-E", "-I", python_headers, "-x", "c", "-o", os.devnull, "-"],
            input=f"#include <{header}>\n".encode(),
            capture_output=True,
            check=False,
        )
        if tried.returncode != 0:
            where = f" (looked in {python_headers} too)" if header == "Python.h" else ""
            return [f"There is no <{header}>{where}: {install_command(package)}"]
    return []


def missing_in_kernel() -> list[str]:
    """A kernel that is new enough and lets this user make user namespaces."""
    if sys.platform != "linux":
        return [f"This is {sys.platform}; containers here are made of Linux namespaces."]
    release = os.uname().release
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if version < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return [f"Linux is {release}, and {oldest} or newer is needed (mount_setattr, openat2)."]
    # The library's own words.  What is imported here needs the standard library only.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from pycontainer.host.probes import try_user_namespace
    from pycontainer.host.refusals import explain_clone_error

    refusal = try_user_namespace()
    return explain_clone_error(refusal) if refusal else []


def main() -> int:
    missing = [*missing_for_venv(), *missing_for_compiling(), *missing_in_kernel()]
    if not missing:
        return 0
    print("pycontainer cannot be built and run here yet:", file=sys.stderr)
    for paragraph in missing:
        print(f"  - {paragraph}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
