"""``container_excursion`` into containers, into oneself, and with only some namespaces."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from pycontainer import (
    ContainerExitError,
    ContainerTimeoutError,
    RemoteError,
    bind,
    container_excursion,
    file,
    start_container,
    tmpfs,
)

SIX = ("user", "ipc", "uts", "net", "pid", "mnt")


def links():
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in SIX}


@pytest.fixture
def idle(tmp_path):
    (tmp_path / "shared").mkdir()
    mounts = [tmpfs("/mnt"), file("/etc/motd", "inside"), bind(tmp_path / "shared", "/shared")]
    with start_container(mounts, hostname="visited", env={"A": "b"}) as running:
        yield running


def test_the_same_six_namespaces(idle):
    target = {name: os.readlink(f"/proc/{idle.pid}/ns/{name}") for name in SIX}
    assert container_excursion(idle, links) == target
    assert container_excursion(idle.pid, links) == target
    own = links()
    assert not [name for name in SIX if target[name] == own[name]]


def test_into_oneself():
    assert container_excursion(os.getpid(), links) == links()
    assert container_excursion(os.getpid(), lambda: "value") == "value"


def test_value_and_exception(idle):
    assert container_excursion(idle, lambda: [1, {"a": b"c"}]) == [1, {"a": b"c"}]
    with pytest.raises(KeyError, match="missing"):
        container_excursion(idle, lambda: dict[str, int]()["missing"])


def test_sees_the_files(idle):
    def fn():
        return Path("/etc/motd").read_text(), sorted(os.listdir("/")), os.getcwd()

    text, names, cwd = container_excursion(idle, fn)
    assert text == "inside"
    assert names == ["dev", "etc", "mnt", "proc", "shared", "sys", "tmp"]
    assert cwd == "/"


def test_leaves_traces_for_the_next(idle):
    container_excursion(idle, lambda: Path("/mnt/trace").write_text("was here"))
    assert container_excursion(idle, lambda: Path("/mnt/trace").read_text()) == "was here"


def test_hostname_and_environment(idle):
    def fn():
        return os.uname().nodename, dict(os.environ)

    assert container_excursion(idle, fn) == ("visited", {})
    assert container_excursion(idle, fn, env={"X": "y"}) == ("visited", {"X": "y"})


def test_ids(idle):
    assert container_excursion(idle, lambda: (os.getresuid(), os.getresgid())) == (
        (0, 0, 0),
        (0, 0, 0),
    )


def test_guest_ids():
    with start_container([], guest_uid=42, guest_gid=77) as running:
        inside = container_excursion(running, lambda: (os.getresuid(), os.getresgid()))
    assert inside == ((42, 42, 42), (77, 77, 77))


def test_capabilities_are_at_most_the_targets():
    def fn():
        lines = Path("/proc/self/status").read_text().splitlines()
        return {line.split(":\t")[0]: line.split(":\t")[1] for line in lines if ":\t" in line}

    with start_container([], capabilities={"CAP_KILL"}) as running:
        status = container_excursion(running, fn)
    assert int(status["CapEff"], 16) & ~(1 << 5) == 0
    assert int(status["CapBnd"], 16) & ~(1 << 5) == 0
    assert status["NoNewPrivs"] == "1"


def test_pid_namespace(idle):
    def fn():
        return os.getpid(), sorted(int(n) for n in os.listdir("/proc") if n.isdigit())

    pid, pids = container_excursion(idle, fn)
    assert pid > 1
    assert {1, pid} <= set(pids)
    assert len(pids) <= 3


def test_only_net(idle):
    inode = os.stat(f"/proc/{idle.pid}/ns/net").st_ino

    def fn():
        return os.stat("/proc/self/ns/net").st_ino, os.getcwd(), os.path.exists("/etc/motd")

    found, cwd, _ = container_excursion(idle, fn, namespaces={"net"})
    assert (found, cwd) == (inode, "/")


def test_files_of_the_host_with_only_uts(idle, tmp_path):
    (tmp_path / "of_the_host").write_text("here")
    path = str(tmp_path / "of_the_host")

    def fn():
        return Path(path).exists(), os.uname().nodename

    assert container_excursion(idle, fn, namespaces={"uts"}) == (True, "visited")


def test_owner_has_power_over_the_mounts(idle):
    """The lock keeps umount(2) from the container, not from the owner of its pid namespace."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        return libc.umount2(b"/mnt", 2), ctypes.get_errno()

    assert container_excursion(idle, fn, preload=["ctypes"]) == (-1, errno.EINVAL)
    if os.geteuid() == 0:
        assert container_excursion(idle, fn, preload=["ctypes"], owner=True)[1] != errno.EPERM


def test_no_value(idle):
    with pytest.raises(ContainerExitError, match="exit status 3") as caught:
        container_excursion(idle, lambda: os._exit(3))
    assert caught.value.completed is not None
    assert caught.value.completed.returncode == 3
    with pytest.raises(ContainerExitError, match="signal 6"):
        container_excursion(idle, os.abort)
    assert idle.poll() is None


def test_timeout(idle):
    start = time.monotonic()
    with pytest.raises(ContainerTimeoutError):
        container_excursion(idle, lambda: time.sleep(30), timeout=0.2)
    assert time.monotonic() - start < 5
    assert idle.poll() is None
    # The visitor has gone.
    pids = container_excursion(idle, lambda: [n for n in os.listdir("/proc") if n.isdigit()])
    assert len(pids) <= 3


def test_container_ends_while_visited(idle):
    import threading

    threading.Timer(0.2, idle.kill).start()
    with pytest.raises(ContainerExitError):
        container_excursion(idle, lambda: time.sleep(30), timeout=20)


def test_output_goes_to_the_caller(idle, tmp_path):
    # capfd would do, but xdist's workers share a stdout.
    saved = os.dup(1)
    with open(tmp_path / "out", "wb") as out:
        os.dup2(out.fileno(), 1)
        try:
            container_excursion(idle, lambda: print("from inside"))
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    assert (tmp_path / "out").read_bytes() == b"from inside\n"


def test_custom_exception(idle):
    class Odd(ValueError):
        pass

    def fn():
        raise Odd("words")

    with pytest.raises(RemoteError, match="words") as caught:
        container_excursion(idle, fn)
    assert isinstance(caught.value, ValueError)


def test_large_value(idle):
    assert len(container_excursion(idle, lambda: bytes(5 << 20))) == 5 << 20


def test_user_database_is_that_of_the_target(idle):
    import pwd

    assert container_excursion(idle, lambda: pwd.getpwuid(0).pw_name) == "root"


def test_into_a_container_that_somebody_else_made():
    """unshare(1)'s, with a user, pid and mount namespace."""
    command = "unshare --user --map-root-user --pid --mount --uts --fork --mount-proc sleep 60"
    with subprocess.Popen(command.split()) as outer:
        try:
            inner = wait_for_child(outer.pid)
            target = os.readlink(f"/proc/{inner}/ns/mnt")
            found = container_excursion(
                inner, lambda: (os.readlink("/proc/self/ns/mnt"), os.getuid(), os.getpid())
            )
            assert found[:2] == (target, 0)
            assert found[2] > 1
        finally:
            outer.kill()
            try:
                os.kill(inner, 9)
            except (ProcessLookupError, UnboundLocalError):
                pass


def wait_for_child(pid):
    """The first child of *pid* that has become sleep(1)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                return int(child)
        time.sleep(0.01)
    raise AssertionError("unshare(1) started nothing")


def test_many_excursions(idle):
    assert {container_excursion(idle, os.getuid) for _ in range(10)} == {0}
