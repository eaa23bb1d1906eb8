"""Row 30: nested user namespaces.

Root in a namespace of one's own reaches parts of the kernel that were written for root alone; most
ways out of a container begin there.  Two walls: the filter, and the kernel's own bound.
"""

from __future__ import annotations

import errno

import pytest

from pycontainer import (
    SANDBOX,
    UNTRUSTED,
    Container,
    SeccompFilter,
    call_with_container,
    extend,
    host_system,
    run_command,
)

WAYS = {
    "unshare_user": "EPERM",
    "unshare_mount": "EPERM",
    "unshare_time": "EPERM",
    "clone_user": "EPERM",
    "clone_user_high": "EPERM",
    "clone_net": "EPERM",
    "clone3_user": "ENOSYS",
    "setns_user": "EPERM",
    "setns_pidfd": "EPERM",
    "thread_clone": "EPERM",
}

CONTAINERS = {
    "sandbox": SANDBOX,
    "as uid 0": extend(SANDBOX, guest_uid=0, guest_gid=0),
    # The filter alone: with every capability there is nothing else that says no.
    "capabilities": Container(seccomp=UNTRUSTED),
    "privileges": Container(seccomp=UNTRUSTED, no_new_privs=False),
    "unlocked": Container(seccomp=UNTRUSTED, lock_mounts=False),
    "process 1": extend(SANDBOX, child_is_pid1=True),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_way_is_refused(say, name):
    assert say(CONTAINERS[name], *WAYS) == WAYS


def test_unshare_of_util_linux():
    done = run_command(
        extend(SANDBOX, host_system()), ["unshare", "-U", "true"], capture_output=True, timeout=20
    )
    assert done.returncode != 0
    assert b"Operation not permitted" in done.stderr


# The call that stands for all: what the filter refuses otherwise does not matter to the kernel.
ONLY_UNSHARE = SeccompFilter("allow", {"unshare": errno.EPERM})


@pytest.mark.parametrize("lock_mounts", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_kernel_refuses_too(say, lock_mounts, uid):
    """Whatever gets past a filter."""
    container = Container(
        seccomp=ONLY_UNSHARE, capabilities=(), lock_mounts=lock_mounts, guest_uid=uid, guest_gid=uid
    )
    # ENOSPC: user_namespaces(7).
    ways = {"unshare_user": "EPERM", "clone_user": "ENOSPC", "clone3_user": "ENOSPC"}
    assert say(container, *ways) == ways


def test_the_bound_cannot_be_lifted():
    def fn():
        path = "/proc/sys/user/max_user_namespaces"
        try:
            with open(path, "w") as file:
                file.write("1")
        except OSError:
            pass
        with open(path) as file:
            return file.read()

    for uid in (0, 1000):
        container = extend(SANDBOX, guest_uid=uid, guest_gid=uid)
        assert call_with_container(container, fn, timeout=20) == "0\n"


def test_elsewhere_they_work(say):
    """A container without such a filter may have them: pycontainer itself runs in one."""
    ways = {"unshare_user": "0", "clone_user": "0", "clone3_user": "0"}
    assert say(Container(), *ways) == ways
    assert say(Container(capabilities=()), *ways) == ways
