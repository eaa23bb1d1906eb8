"""Which namespaces a container has, and what each of them gives."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from pathlib import Path

import pytest

from pycontainer import (
    NAMESPACES,
    ContainerExitError,
    SetupError,
    bind,
    call_with_container,
    container_excursion,
    run_container,
    start_container,
)

LINKS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
NEEDS_ROOT = sorted(NAMESPACES - {"user"})


def links():
    """The namespaces of this process."""
    return {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in LINKS}


def test_all_namespaces_differ_from_the_callers():
    inside = call_with_container([], links)
    outside = links()
    assert inside.keys() == outside.keys()
    assert not [name for name in LINKS if inside[name] == outside[name]]


@pytest.mark.parametrize("name", NEEDS_ROOT)
def test_one_namespace_and_user(name):
    # Without a pid namespace there is no /proc but the host's.
    mounts = [bind("/proc")] if name == "mnt" else []
    inside = call_with_container(mounts, links, namespaces={"user", name})
    outside = links()
    assert {one for one in LINKS if inside[one] != outside[one]} == {"user", name}


@pytest.mark.parametrize("name", sorted(NAMESPACES - {"mnt", "user"}))
def test_all_but_one_namespace(name):
    def fn():
        return os.getpid()

    assert isinstance(call_with_container([], fn, namespaces=NAMESPACES - {name}), int)


def test_all_but_mnt_sees_the_files_of_the_host(tmp_path):
    (tmp_path / "note").write_text("of the host")
    path = str(tmp_path / "note")
    names = NAMESPACES - {"mnt"}
    assert call_with_container([], lambda: Path(path).read_text(), namespaces=names) == (
        "of the host"
    )


def test_user_alone():
    def fn():
        return os.getuid(), os.getgid(), os.uname().nodename

    assert call_with_container([], fn, namespaces={"user"}) == (0, 0, os.uname().nodename)


@pytest.mark.parametrize("name", NEEDS_ROOT)
@pytest.mark.unprivileged
def test_without_user_as_an_ordinary_user(name):
    with pytest.raises(PermissionError, match="only host root can") as caught:
        call_with_container([], os.getpid, namespaces={name})
    assert isinstance(caught.value, SetupError)
    assert caught.value.errno == errno.EPERM
    assert "'user'" in str(caught.value)


@pytest.mark.parametrize("name", NEEDS_ROOT)
@pytest.mark.is_root
def test_without_user_as_root(name):
    mounts = [] if name == "pid" else [bind("/proc")]
    inside = call_with_container(mounts, links, namespaces={name, "mnt"})
    outside = links()
    assert {one for one in LINKS if inside[one] != outside[one]} == {name, "mnt"}


@pytest.mark.is_root
def test_without_user_as_root_all_others():
    def fn():
        return os.getuid(), sorted(os.listdir("/")), os.getpid()

    uid, root, pid = call_with_container([], fn, namespaces=NAMESPACES - {"user"})
    assert (uid, pid) == (0, 1)
    assert root == ["dev", "etc", "proc", "sys", "tmp"]


@pytest.mark.is_root
def test_without_user_as_root_with_guest_ids():
    def fn():
        status = Path("/proc/self/status").read_text()
        return os.getresuid(), os.getresgid(), "CapEff:\t0000000000000000" in status

    names = NAMESPACES - {"user"}
    found = call_with_container([], fn, namespaces=names, guest_uid=42, guest_gid=77)
    assert found == ((42, 42, 42), (77, 77, 77), True)


@pytest.mark.is_root
def test_without_user_as_root_with_capabilities():
    def fn():
        return "CapEff:\t0000000000000020" in Path("/proc/self/status").read_text()

    names = NAMESPACES - {"user"}
    assert call_with_container([], fn, namespaces=names, capabilities={"CAP_KILL"})


@pytest.mark.is_root
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_without_user_and_pid_as_root(method):
    names = NAMESPACES - {"user", "pid"}
    found = call_with_container([], os.getuid, namespaces=names, start_method=method)
    assert found == 0


def test_no_namespaces_at_all(is_root):
    if is_root:
        assert call_with_container([], links, namespaces=()) == links()
    else:
        with pytest.raises(SetupError, match="only host root"):
            call_with_container([], links, namespaces=())


# ---- uts


def test_hostname_default():
    assert call_with_container([], lambda: os.uname().nodename) == "localhost"
    assert call_with_container([], socket.gethostname) == "localhost"


def test_hostname_of_64_bytes():
    name = "h" * 64
    assert call_with_container([], socket.gethostname, hostname=name) == name


def test_sethostname_inside_is_not_seen_outside():
    before = socket.gethostname()

    def fn():
        socket.sethostname("changed")
        return socket.gethostname()

    assert call_with_container([], fn, namespaces={"user", "uts"}) == "changed"
    assert call_with_container([], fn, lock_mounts=False) == "changed"
    assert socket.gethostname() == before


def test_sethostname_behind_the_lock():
    """The lock is a user namespace below the one that owns the host name."""
    with pytest.raises(PermissionError):
        call_with_container([], lambda: socket.sethostname("changed"))


# ---- pid


def first_child():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return os.getpid(), pid


def test_first_fork_is_process_2():
    assert call_with_container([], first_child) == (1, 2)


def test_child_is_pid1_false():
    assert call_with_container([], first_child, child_is_pid1=False) == (2, 3)


@pytest.mark.parametrize("pid1", [True, None])
def test_child_is_pid1_true(pid1):
    assert call_with_container([], os.getpid, child_is_pid1=pid1) == 1


def test_proc_lists_pids_1_and_2_alone():
    def pids():
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())

    def fn():
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, repr(pids()).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(read, 100)

    assert call_with_container([], fn) == b"[1, 2]"
    assert call_with_container([], pids, child_is_pid1=False) == [1, 2]


def test_without_pid_there_is_no_proc():
    def fn():
        return os.getpid(), os.path.exists("/proc")

    pid, proc = call_with_container([], fn, namespaces=NAMESPACES - {"pid"})
    assert pid > 2
    assert not proc


@pytest.mark.parametrize("pid1", [True, False, None])
def test_without_pid_survivors_are_killed(pid1):
    def fn():
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write, str(os.getpid()).encode())
                time.sleep(30)
            os._exit(0)
        return int(os.read(read, 20))

    names = NAMESPACES - {"pid"}
    survivor = call_with_container([], fn, namespaces=names, child_is_pid1=pid1, timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(survivor, 0)


# ---- net


def test_loopback_is_up():
    def fn():
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        client.sendall(b"through lo")
        return accepted.recv(100)

    assert call_with_container([], fn) == b"through lo"


def test_loopback_network_false():
    def fn():
        server = socket.create_server(("127.0.0.1", 0))
        try:
            socket.create_connection(server.getsockname(), timeout=2)
        except OSError as error:
            return error.errno

    assert call_with_container([], fn, loopback_network=False) == errno.ENETUNREACH


def test_loopback_is_the_only_interface():
    assert call_with_container([], socket.if_nameindex) == [(1, "lo")]
    assert call_with_container([], lambda: os.listdir("/sys/class/net")) == ["lo"]


def test_no_way_out_of_the_net_namespace():
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()

    def fn():
        try:
            socket.create_connection(address, timeout=2)
        except OSError as error:
            return error.errno

    assert call_with_container([], fn) == errno.ECONNREFUSED
    server.close()


def test_without_net_the_callers_network_is_there():
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()

    def fn():
        with socket.create_connection(address, timeout=5) as made:
            return made.recv(10)

    with start_container([], fn, namespaces=NAMESPACES - {"net"}) as running:
        server.settimeout(10)
        accepted, _ = server.accept()
        accepted.sendall(b"hello")
        accepted.close()
        assert running.result(timeout=10) == b"hello"
    server.close()


# ---- ipc


def test_ipc_is_the_containers_own():
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.msgget(0x70796374, 0o1600)
    assert queue >= 0
    try:

        def fn():
            import ctypes

            mine = ctypes.CDLL(None, use_errno=True)
            return mine.msgget(0x70796374, 0), ctypes.get_errno()

        assert call_with_container([], fn, preload=["ctypes"]) == (-1, errno.ENOENT)
        names = NAMESPACES - {"ipc"}
        found, error = call_with_container([], fn, preload=["ctypes"], namespaces=names)
        assert (found, error) == (queue, 0) or error == errno.EACCES
    finally:
        libc.msgctl(queue, 0, None)


def test_cgroup_path_is_the_root():
    def fn():
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        return {line.split(":", 2)[2] for line in lines}

    assert call_with_container([], fn) == {"/"}


# ---- what is left of it


def test_container_exit_status_is_that_of_the_function():
    completed = run_container([], lambda: None)
    assert completed.status.exit_code == 0
    assert completed.exception is None


@pytest.mark.parametrize("pid1", [True, False])
def test_processes_end_with_the_function(pid1):
    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
                os._exit(0)
        return "done"

    start = time.monotonic()
    assert call_with_container([], fn, child_is_pid1=pid1, timeout=20) == "done"
    assert time.monotonic() - start < 10


def test_idle_container_holds_its_namespaces_until_killed():
    with start_container([]) as running:
        inside = container_excursion(running, links)
        assert inside["net"] == os.stat(f"/proc/{running.pid}/ns/net").st_ino
        pid = running.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert running.returncode == -9
    assert running.wait().exception is None


def test_no_value_is_an_error_even_with_exit_0():
    with pytest.raises(ContainerExitError, match="exit status 0"):
        call_with_container([], lambda: os._exit(0))
