"""inspect_container: what it says of containers of every maker is what is true of them."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

import pycontainer as pc
from pycontainer.declare.capabilities import CAPABILITIES
from pycontainer.inspection import inspect_container, list_containers
from pycontainer.inspection.procfs import MOST_COMMAND

from .conftest import HOST, MAKERS, OWN, PROGRAM, children, namespaces, numbers, started

HIDES = pytest.mark.unprivileged  # an init of ours hides from everybody but root


def program_of(maker, made):
    """A process that may be looked at."""
    if maker == "pycontainer":
        return children(made.first)[0]
    return made.first


@pytest.fixture(scope="module")
def inspected(zoo):
    return {maker: inspect_container(program_of(maker, made)) for maker, made in zoo.items()}


@pytest.mark.parametrize("maker", OWN)
def test_namespaces(zoo, inspected, maker):
    found = inspected[maker]
    own = [each.kind for each in found.namespaces if each.own]
    assert " ".join(own) == OWN[maker]
    there = {each.kind: f"{each.kind}:[{each.number}]" for each in found.namespaces}
    assert there.items() >= namespaces(found.pid).items()
    assert found.container == zoo[maker].first
    assert found.kind == "container"
    assert not found.made_here
    assert found.unread.keys() <= {"open_files"}


@pytest.mark.parametrize("maker", OWN)
def test_processes(zoo, inspected, maker):
    found = inspected[maker]
    by_pid = {each.pid: each for each in found.processes}
    assert zoo[maker].first in by_pid
    assert found.pid in by_pid
    for each in found.processes:
        assert each.inside == int(numbers(each.pid)[-1])
        assert each.rss > 0
        assert each.threads == 1
    program = next(each for each in found.processes if each.command == ("cat",))
    assert program.state == "S"


@pytest.mark.parametrize("maker", OWN)
def test_ids(inspected, maker):
    found = inspected[maker]
    lines = Path(f"/proc/{found.pid}/uid_map").read_text().splitlines()
    assert [(e.inside, e.outside, e.count) for e in found.uid_map] == [
        tuple(map(int, line.split())) for line in lines
    ]
    assert found.setgroups == Path(f"/proc/{found.pid}/setgroups").read_text().strip()
    mapped = maker.startswith("bwrap") or ("runc" in maker and os.geteuid() == 0)
    assert found.inside_uid == (os.geteuid() if mapped else 0)


@pytest.mark.parametrize("maker", OWN)
def test_privileges(inspected, maker):
    found = inspected[maker]
    status = Path(f"/proc/{found.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for field, names in (
        ("CapEff", found.capabilities.effective),
        ("CapPrm", found.capabilities.permitted),
        ("CapInh", found.capabilities.inheritable),
        ("CapBnd", found.capabilities.bounding),
        ("CapAmb", found.capabilities.ambient),
    ):
        assert sum(1 << CAPABILITIES[name] for name in names) == int(fields[field], 16)
    assert found.no_new_privileges == (fields["NoNewPrivs"] == "1")
    assert {"none": "0", "filter": "2"}[found.seccomp.mode] == fields["Seccomp"]
    soft, hard = resource.prlimit(found.pid, resource.RLIMIT_NOFILE)
    limit = next(each for each in found.rlimits if each.name == "nofile")
    assert (limit.soft, limit.hard) == (soft, hard)


@pytest.mark.parametrize("maker", OWN)
def test_mounts(inspected, maker):
    found = inspected[maker]
    lines = Path(f"/proc/{found.pid}/mountinfo").read_text().splitlines()
    assert [each.id for each in found.mounts] == [int(line.split()[0]) for line in lines]
    assert any(each.target == "/" for each in found.mounts)
    for each in found.mounts:
        assert os.statvfs("/") is not None
        assert each.target.startswith("/")


@pytest.mark.parametrize("maker", OWN)
def test_network(inspected, maker):
    network = inspected[maker].network
    assert network.own == ("net" in OWN[maker].split())
    if not network.own:
        assert network.interfaces == ()
    elif maker in ("pycontainer", "bwrap", "bwrap, as pid 1"):  # these bring lo up
        assert [each.name for each in network.interfaces] == ["lo"]
        assert "127.0.0.1/8" in network.interfaces[0].addresses
    else:
        assert [each.name for each in network.interfaces] == ["lo"]


@pytest.mark.parametrize("maker", OWN)
def test_open_files(zoo, inspected, maker):
    found = inspected[maker]
    program = next(each.pid for each in found.processes if each.command == ("cat",))
    files = {each.fd: each for each in found.open_files if each.pid == program}
    for fd in (0, 1):
        assert files[fd].target == os.readlink(f"/proc/{program}/fd/{fd}")
    if maker != "runc":  # which stands between with pipes of its own
        assert (files[0].mode, files[1].mode) == ("r", "w")
    assert {each.pid for each in found.open_files} <= {each.pid for each in found.processes}


def test_environment_only_on_request(zoo):
    options = ["--unshare-all", "--unshare-user", "--setenv", "SECRET", "x=\n\x1by"]
    with started(["bwrap", *HOST, *options, "--as-pid-1"]) as made:
        assert inspect_container(made.first).environment is None
        environment = inspect_container(made.first, environment=True).environment
    assert environment is not None
    assert environment["SECRET"] == "x=\n\x1by"


LISTENS = """\
import os, socket, sys
tcp = socket.create_server(("127.0.0.1", 8080))
six = socket.create_server(("::1", 8081), family=socket.AF_INET6)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 5353))
unix = socket.socket(socket.AF_UNIX)
unix.bind("\\0name")
unix.listen()
peer = socket.create_connection(("127.0.0.1", 8080))
print("up", flush=True)
sys.stdin.read()
"""


def test_listeners():
    with started(MAKERS["bwrap"], wait=[sys.executable, "-c", LISTENS]) as made:
        (program,) = children(made.first)
        found = inspect_container(made.first)
    listeners = {(e.protocol, e.address, e.port) for e in found.network.listeners}
    assert listeners == {
        ("tcp", "127.0.0.1", 8080),
        ("tcp", "::1", 8081),
        ("udp", "0.0.0.0", 5353),
        ("unix", "@name", None),
    }
    assert all(program in each.pids for each in found.network.listeners)
    (lo,) = found.network.interfaces
    assert set(lo.addresses) == {"127.0.0.1/8", "::1/128"}
    assert lo.received > 0


ADDRESS = """\
import fcntl, socket, struct, sys
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def order(number, argument):  # netdevice(7)
    fcntl.ioctl(control, number, struct.pack("16s16s", b"lo", argument))
order(0x8916, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton("10.9.8.7")))
order(0x891C, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton("255.255.255.0")))
order(0x8914, struct.pack("H", 1))
print("up", flush=True)
sys.stdin.read()
"""


def test_an_address_of_another_network():
    with started(MAKERS["unshare"], wait=[sys.executable, "-c", ADDRESS]) as made:
        (lo,) = inspect_container(made.first).network.interfaces
    assert "10.9.8.7/24" in lo.addresses


def test_listeners_in_the_hosts_network():
    """Those of the container and nobody else's."""
    script = LISTENS.replace("8080", "0").replace("8081", "0").replace("5353", "0")
    script = script.replace('(("127.0.0.1", 0))\nprint', "(tcp.getsockname())\nprint")
    script = script.replace("\\\\0name", f"\\\\0pycontainer-test-{os.getpid()}")
    bwrap = MAKERS["bwrap, few namespaces"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        with started(bwrap, "uts", wait=[sys.executable, "-c", script]) as made:
            found = inspect_container(made.first)
        port = server.getsockname()[1]
    assert not found.network.own
    assert len([each for each in found.network.listeners if each.protocol != "unix"]) == 3
    assert port not in {each.port for each in found.network.listeners}
    assert all(each.pids for each in found.network.listeners)


def test_ours_says_what_was_asked_for():
    container = pc.Container(
        [pc.host_system(), pc.tmpfs("/data", size="1m")],
        capabilities={"CAP_CHOWN", "CAP_KILL"},
        seccomp=pc.NO_SYNC | pc.NO_CHMOD,
        cwd="/data",
        limits=pc.Limits(memory=64 << 20, processes=30, open_files=100, strict=False),
    )
    with pc.start_command(container, ["sleep", "60"]) as running:
        program = children(running.pid)[0]
        assert inspect_container(running).container == running.pid
        found = inspect_container(program)
        running.kill()
    assert found.maker == "pycontainer"
    for names in attrs.astuple(found.capabilities):
        assert set(names) <= {"CAP_CHOWN", "CAP_KILL"}
    assert set(found.capabilities.effective) == {"CAP_CHOWN", "CAP_KILL"}
    assert found.seccomp.mode == "filter"
    assert found.seccomp.filters is None or found.seccomp.filters >= 1
    assert found.no_new_privileges
    assert (found.cwd, found.root, found.inside_uid) == ("/data", "/", 0)
    assert found.executable is not None
    assert found.executable.endswith("/sleep")
    (data,) = [each for each in found.mounts if each.target == "/data"]
    assert (data.fstype, data.read_only) == ("tmpfs", False)
    assert "size=1024k" in data.options
    usr = next(each for each in found.mounts if each.target == "/usr")
    assert usr.read_only
    assert usr.root == "/usr" or usr.root.endswith("/usr")
    limit = next(each for each in found.rlimits if each.name == "nofile")
    assert limit.soft == 100
    if found.cgroup.alone:
        assert found.cgroup.limits["memory"] == 64 << 20
        assert (found.cgroup.usage["memory"] or 0) > 0


def test_a_false_proc_is_not_believed(tmp_path):
    """The container has /proc files of its own making (hazard 13)."""
    for name in ("self", "1"):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "status").write_text("CapEff:\t0000000000000000\nSeccomp:\t2\n")
        (tmp_path / name / "mountinfo").write_text("1 0 0:1 / /false rw - tmpfs x rw\n")
    bwrap = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--ro-bind", str(tmp_path), "/proc"]
    options = ["--unshare-all", "--unshare-user", "--as-pid-1"]
    with started([*bwrap, *options]) as made:
        found = inspect_container(made.first)
    assert "/false" not in {each.target for each in found.mounts}
    assert found.seccomp.mode == "none"
    assert {each.kind for each in found.namespaces if each.own} >= {"pid", "mnt"}


# ---- what is no container


def test_this_process():
    found = inspect_container(os.getpid())
    assert found.container is None
    assert found.kind == "host"
    assert not any(each.own for each in found.namespaces)
    assert found.pid in {each.pid for each in found.processes}
    assert {each.pid for each in found.open_files} == {os.getpid()}


def test_what_a_container_comes_from(zoo):
    made = zoo["bwrap"]
    found = inspect_container(made.outside)
    assert found.container is None
    assert found.made_here == (made.first,)


def test_a_namespace_that_is_no_container():
    with started(["unshare", "-Urn"], "user") as made:
        found = inspect_container(made.first)
    assert (found.container, found.kind) == (None, "part")
    assert {each.kind for each in found.namespaces if each.own} == {"net", "user"}


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 10**12])
def test_no_such_process(pid):
    with pytest.raises(ProcessLookupError, match="no such process"):
        inspect_container(pid)


@pytest.mark.parametrize("pid", ["1", 1.0, True, None])
def test_no_number(pid):
    with pytest.raises(TypeError, match="pid is a number"):
        inspect_container(pid)


def test_one_that_has_ended():
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(ProcessLookupError):
        inspect_container(process.pid)


def test_a_zombie():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError, match=f"{os.getpid()}.*zombie"):
            inspect_container(process.pid)


def test_a_thread():
    ready, done = threading.Event(), threading.Event()

    def wait():
        ready.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        ready.wait()
        with pytest.raises(ProcessLookupError, match=f"thread of process {os.getpid()}"):
            inspect_container(thread.native_id or 0)
    finally:
        done.set()
        thread.join()


def test_processes_that_end_while_they_are_read():
    script = "while :; do true & sleep 0.001; wait; done"
    with started(MAKERS["unshare"], wait=["sh", "-c", f"echo up; {script}"]) as made:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            found = inspect_container(made.first)
            assert made.first in {each.pid for each in found.processes}
        os.kill(made.outside, 9)


def test_a_command_line_of_any_length():
    """A process says itself where it ends, gigabytes further on if it likes."""
    words = ["w" * 1000] * 500
    with started(MAKERS["unshare"], wait=["sh", "-c", "echo up; read line", *words]) as made:
        found = inspect_container(made.first, environment=True)
        [listed] = [each for each in list_containers() if made.first in each.pids]
    for command in (found.command, listed.command):
        assert command[:2] == ("sh", "-c")
        assert len("\0".join(command)) <= MOST_COMMAND
    assert (found.environment or {})["PATH"]


@pytest.mark.unprivileged
def test_another_users_process():
    """What anybody may read, and why there is no more."""
    found = inspect_container(1)
    assert found.capabilities.bounding
    assert found.container is None
    assert {"namespaces", "open_files", "executable"} <= found.unread.keys()
    assert found.namespaces == ()
    assert "root" in found.unread["namespaces"]


def test_an_init_of_ours():
    """It hides from everybody but root; its container is known nevertheless."""
    with started([*PROGRAM, "run", "--host-system", "--no-tty", "--"]) as made:
        found = inspect_container(made.first)
    assert found.container == made.first
    assert len(found.processes) == 2
    assert bool(found.unread) == (os.geteuid() != 0)
