"""Row 28: setgroups and id maps (CVE-2014-8989, CVE-2018-7169).

A group may be what forbids access, so an ordinary user cannot drop one and must not be able to by
way of a user namespace.  Root's groups are dropped, and what stays is reported.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap

import pytest

from pycontainer import call_with_container, diagnose


def in_container():
    found: list[int | None] = []
    for groups in ([], [0], [4, 24]):
        try:
            os.setgroups(groups)
            found.append(0)
        except OSError as error:
            found.append(error.errno)
    with open("/proc/self/setgroups") as file:
        return found, file.read().strip()


@pytest.mark.unprivileged
def test_setgroups_unprivileged():
    found, state = call_with_container([], in_container, timeout=20)
    assert found == [errno.EPERM] * 3
    assert state == "deny"


@pytest.mark.unprivileged
def test_setgroups_in_a_nested_namespace():
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x10000000) == 0
        try:
            with open("/proc/self/setgroups", "w") as file:
                file.write("allow")
        except OSError:
            pass
        return in_container()

    found, state = call_with_container([], fn, preload=("ctypes",), timeout=20)
    assert found == [errno.EPERM] * 3
    assert state == "deny"


CALLER = """
    import json, os, sys
    os.setgroups([4, 24, 4242])
    if sys.argv[1] == "user":
        os.setresgid(1001, 1001, 1001)
        os.setresuid(1001, 1001, 1001)
    from pycontainer import call_with_container, diagnose

    def fn():
        with open("/proc/self/status") as file:
            groups = next(line for line in file if line.startswith("Groups:")).split()[1:]
        try:
            os.setgroups([])
            dropped = True
        except OSError:
            dropped = False
        return dropped, groups

    method = sys.argv[2]
    dropped, groups = call_with_container([], fn, start_method=method, timeout=20)
    print(json.dumps([dropped, groups, str(diagnose())]))
"""


def call_with_groups(who, method):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALLER), who, method],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd="/",
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.is_root
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_groups_of_root_are_dropped(method):
    _, groups, _ = call_with_groups("root", method)
    assert groups == []


@pytest.mark.is_root
def test_groups_of_a_user_stay_and_are_reported():
    """They cannot be dropped (dropping one may give access), so diagnose() names them."""
    dropped, groups, report = call_with_groups("user", "forkserver")
    assert not dropped
    assert len(groups) == 3
    (line,) = [line for line in report.splitlines() if "supplementary groups" in line]
    for group in ("4242", "24", "4"):
        by_name = subprocess.run(["getent", "group", group], capture_output=True, text=True)
        name = by_name.stdout.partition(":")[0]
        assert group in line or (name and name in line), report


def test_without_groups_nothing_is_reported():
    if set(os.getgroups()) - {os.getegid()}:
        pytest.skip("this user has supplementary groups")
    assert "there are none to keep" in str(diagnose()) or os.geteuid() == 0
