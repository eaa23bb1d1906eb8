"""Row 29: capabilities and no_new_privs (runc CVE-2022-29162).

A set that is forgotten comes back with an exec: what is inheritable for a file that asks for it,
what is in the bounding set for uid 0.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from pycontainer import (
    SANDBOX,
    Container,
    call_with_container,
    container_excursion,
    exec_command,
    extend,
    host_system,
    run_command,
    start_container,
)

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
KILL = 1 << 5

CONTAINERS = {
    "sandbox": SANDBOX,
    "as uid 0": extend(SANDBOX, guest_uid=0, guest_gid=0),
    "process 1": extend(SANDBOX, child_is_pid1=True),
    # Without a filter, and an exec of uid 0 raises what the bounding set holds.
    "privileges": Container(capabilities=(), no_new_privs=False),
    "unlocked": Container(capabilities=(), no_new_privs=False, lock_mounts=False),
    "another uid": Container(capabilities=(), no_new_privs=False, guest_uid=42, guest_gid=7),
    "filter first": Container(capabilities=(), no_new_privs=False, seccomp=SANDBOX.seccomp),
}


def status_of(text) -> dict[str, Any]:
    pairs = (line.split(":", 1) for line in text.splitlines())
    return {key: value.strip() for key, value in pairs}


def read_status():
    with open("/proc/self/status") as file:
        return file.read()


def after_exec(container):
    done = run_command(
        extend(container, host_system()),
        ["cat", "/proc/self/status"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return status_of(done.stdout)


def check(status, container, mask):
    assert [int(status[name], 16) for name in SETS] == [mask] * 5
    assert status["NoNewPrivs"] == str(int(container.no_new_privs))


@pytest.mark.parametrize("name", CONTAINERS)
def test_after_an_exec(name):
    check(after_exec(CONTAINERS[name]), CONTAINERS[name], 0)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
def test_in_a_function(name, start_method):
    container = CONTAINERS[name]
    status = call_with_container(container, read_status, start_method=start_method, timeout=20)
    check(status_of(status), container, 0)


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_one_is_kept(uid, no_new_privs):
    container = Container(
        capabilities=["CAP_KILL"], guest_uid=uid, guest_gid=uid, no_new_privs=no_new_privs
    )
    check(after_exec(container), container, KILL)
    check(status_of(call_with_container(container, read_status, timeout=20)), container, KILL)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_visitor(name):
    """It may do as little: and never gets privileges by an exec, whatever the target may."""
    container = extend(CONTAINERS[name], host_system())
    with start_container(container) as running:
        status = status_of(container_excursion(running, read_status, timeout=20))
        assert [int(status[one], 16) for one in SETS] == [0] * 5
        assert status["NoNewPrivs"] == "1"
        done = exec_command(
            running, ["cat", "/proc/self/status"], capture_output=True, text=True, timeout=20
        )
        status = status_of(done.stdout)
        assert [int(status[one], 16) for one in SETS] == [0] * 5
        assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_init(name):
    """It has no filter, and no more capabilities than the program below it."""
    container = extend(CONTAINERS[name], host_system(), child_is_pid1=False)
    # It gives them up while the program starts already, out of its reach until then.
    done = run_command(
        container,
        ["sh", "-c", "sleep 0.3; cat /proc/1/status"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert [int(status_of(done.stdout)[one], 16) for one in SETS] == [0] * 5


def test_none_can_be_raised():
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        everything = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        said = [libc.capset(header, everything)]
        said += [libc.prctl(47, 2, one, 0, 0) for one in range(41)]  # PR_CAP_AMBIENT_RAISE
        said += [libc.prctl(24, 41, 0, 0, 0)]  # PR_CAPBSET_DROP
        with open("/proc/self/status") as file:
            return set(said), file.read(), os.getuid()

    for uid in (0, 1000):
        container = extend(SANDBOX, guest_uid=uid, guest_gid=uid)
        said, status, now = call_with_container(container, fn, preload=["ctypes"], timeout=20)
        assert said == {-1}
        assert now == uid
        check(status_of(status), container, 0)
