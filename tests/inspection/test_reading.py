"""Texts of the kernel: mounts, networks, limits, cgroups, ids."""

from __future__ import annotations

import os
import resource
import socket
import sys

import pytest

from pycontainer.inspection import IdRange, Interface, Listener, ResourceLimit
from pycontainer.inspection import cgroups as cgroups_module
from pycontainer.inspection.cgroup_limits import read_cgroup
from pycontainer.inspection.cgroups import Hierarchy, parse_paths, place, whole_cgroup
from pycontainer.inspection.makers import _IDS, Evidence, guess_maker
from pycontainer.inspection.mountinfo import parse_mountinfo
from pycontainer.inspection.network import read_network, sockets_of
from pycontainer.inspection.privileges import (
    capabilities,
    id_map,
    inside_id,
    resource_limits,
    seccomp,
)
from pycontainer.inspection.procfs import ProcessDirectory
from pycontainer.launch.identity import FIRST_ID, IDS


def test_mounts():
    text = (
        b"30 24 0:6 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=10240k\n"
        b"31 30 8:1 /a\\040b /x\\012y\x1c ro,relatime - ext4 /dev/vda rw\n"
        b"not a mount\n"
    )
    first, second = parse_mountinfo(text)
    assert (first.id, first.parent, first.propagation) == (30, 24, ("shared:2",))
    assert first.super_options == ("rw", "size=10240k")
    assert (second.root, second.target) == ("/a b", "/x\ny\x1c")
    assert second.propagation == ("private",)
    assert second.options == ("ro", "relatime")


class Files(ProcessDirectory):
    """A process's directory of texts."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def text(self, name: str) -> str:
        try:
            return self.texts[name.removeprefix("net/")]
        except KeyError:
            raise FileNotFoundError from None


DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:     100       1    0    0    0     0          0         0      200       1    0    0
  eth0: 1234567       1    0    0    0     0          0         0   765432       1    0    0
 w\x1bg:       0       0    0    0    0     0          0         0        0       0    0    0
"""
ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.2.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.0.2.0/24 2 0 2
        |-- 10.0.2.0
           /32 link BROADCAST
        |-- 10.0.2.15
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
"""
INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000000000000000002a 02 40 20 80     eth0
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1
   1: 0F02000A:0016 0202000A:9999 01 00000000:00000000 00:00000000 00000000     0        0 78 1
"""
UDP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0 0 0 0 0 79
"""
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01    80 /run/a b\x1b
0000000000000000: 00000003 00000000 00000000 0001 03    81 /run/connected
0000000000000000: 00000002 00000000 00010000 0001 01    82 @abstract
0000000000000000: 00000002 00000000 00010000 0001 01    83
torn off
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the texts above are little-endian")
def test_a_network():
    files = Files(
        dev=DEV, route=ROUTE, fib_trie=TRIE, if_inet6=INET6, tcp=TCP, udp6=UDP6, unix=UNIX
    )
    found = read_network(files, True, sockets_of([(5, "socket:[77]"), (6, "pipe:[79]")]))
    assert found.interfaces == (
        Interface("lo", ("127.0.0.1/8", "::1/128"), 100, 200),
        Interface("eth0", ("10.0.2.15/24", "fe80::2a/64"), 1234567, 765432),
        Interface("w\x1bg", (), 0, 0),
    )
    assert found.listeners == (
        Listener("tcp", "127.0.0.1", 8080, (5,)),
        Listener("udp", "::1", 53, ()),
        Listener("unix", "/run/a b\x1b", None, ()),
        Listener("unix", "@abstract", None, ()),
    )


def test_the_hosts_network_is_that_of_others():
    """Only the container's own sockets count."""
    found = read_network(Files(dev=DEV, tcp=TCP, unix=UNIX), False, {80: [9]})
    assert found.interfaces == ()
    assert found.listeners == (Listener("unix", "/run/a b\x1b", None, (9,)),)


def test_addresses_without_a_route():
    """To their neighbours: of such there are none."""
    trie = TRIE.replace("10.0.2.15", "192.168.7.1")
    found = read_network(Files(dev=DEV, route=ROUTE, fib_trie=trie), True, {})
    names = {each.name: each.addresses for each in found.interfaces}
    assert names["?"] == ("192.168.7.1/32",)
    one = "\n".join(DEV.split("\n")[:3]) + "\n"
    found = read_network(Files(dev=one, fib_trie=TRIE), True, {})
    assert found.interfaces[0].addresses == ("10.0.2.15/32", "127.0.0.1/8")


def test_a_listener_of_this_process():
    with socket.create_server(("127.0.0.1", 0)) as server, ProcessDirectory(os.getpid()) as own:
        inode, port = os.fstat(server.fileno()).st_ino, server.getsockname()[1]
        found = read_network(own, False, {inode: [os.getpid()]})
    assert found.listeners == (Listener("tcp", "127.0.0.1", port, (os.getpid(),)),)


def test_limits_of_each_process():
    with open("/proc/self/limits") as file:
        found = {each.name: each for each in resource_limits(file.read())}

    def bound(number):
        return None if number == resource.RLIM_INFINITY else number

    assert len(found) == 16
    soft, hard = map(bound, resource.getrlimit(resource.RLIMIT_NOFILE))
    assert found["nofile"] == ResourceLimit("nofile", soft, hard, "files")
    soft, hard = map(bound, resource.getrlimit(resource.RLIMIT_CORE))
    assert found["core"] == ResourceLimit("core", soft, hard, "bytes")
    assert found["nice"].unit == ""
    assert found["rttime"].unit == "microseconds"


def test_capabilities_and_filters():
    status = {"CapEff": "0000000000200001", "CapBnd": "8000000000000000", "Seccomp": "2"}
    sets = capabilities(status)
    assert sets.effective == ("CAP_CHOWN", "CAP_SYS_ADMIN")
    assert sets.bounding == ("CAP_63",)  # of a kernel that is newer than this
    assert sets.ambient == ()
    assert (seccomp(status).mode, seccomp(status).filters) == ("filter", None)
    assert seccomp({"Seccomp": "2", "Seccomp_filters": "3"}).filters == 3


def test_id_maps():
    ranges = id_map("         0       1000          1\n         1     100000      65536\n")
    assert ranges == (IdRange(0, 1000, 1), IdRange(1, 100000, 65536))
    assert inside_id(ranges, 100005) == 6
    assert inside_id(ranges, 5) is None


def test_ids_are_those_of_the_launcher():
    assert range(FIRST_ID, FIRST_ID + IDS) == _IDS


@pytest.mark.parametrize(
    ("cgroup", "maker"),
    [
        ("0::/system.slice/docker-0123.scope", "docker"),
        ("4:memory:/docker/0123\n0::/", "docker"),
        ("0::/user.slice/user-1000.slice/user@1000.service/libpod-01.scope/container", "podman"),
        ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-01.scope", "kubernetes"),
        ("0::/lxc.payload.web/init.scope", "lxc"),
        ("0::/app.slice/app-flatpak-org.x-1.scope", "flatpak"),
        ("0::/", None),
    ],
)
def test_makers_by_cgroup(cgroup, maker):
    assert guess_maker(Evidence(9, "nginx", b"nginx\0", 0, cgroup), []) == maker


def test_makers_by_the_process_outside():
    first = Evidence(9, "bwrap", b"bwrap\0", 0, "")  # the container may call itself anything
    shim = Evidence(9, "containerd-shim", b"containerd-shim-runc-v2\0", 0, "")
    assert guess_maker(first, [shim]) == "containerd"
    for line in (
        b"/usr/bin/python3\0/usr/bin/pycontainer\0run\0x",
        b"python\0-m\0pycontainer\0run",
    ):
        assert guess_maker(first, [Evidence(9, "python", line, 0, "")]) == "pycontainer"
    assert guess_maker(Evidence(9, "x", b"x\0", FIRST_ID, ""), []) == "pycontainer"


# ---- cgroups


def test_paths_of_cgroups():
    text = "4:memory:/a:b/c\n3:cpu,cpuacct:/\n0::/x\x1c\n"
    assert parse_paths(text) == {("memory",): "/a:b/c", ("cpu", "cpuacct"): "/", ("",): "/x\x1c"}
    mounted = Hierarchy(1, ("memory",), "/docker", "/sys/fs/cgroup/memory")
    assert place(mounted, "/docker/1") == "/sys/fs/cgroup/memory/1"
    assert place(mounted, "/other") is None
    assert place(mounted, "/docker/../..") is None


def files_of(top, cgroup, **texts: str):
    directory = top / cgroup if cgroup else top
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup.procs": "", **texts}.items():
        (directory / name).write_text(text)


def test_the_cgroup_that_is_the_containers_alone(tmp_path):
    files_of(tmp_path, "slice", **{"cgroup.procs": "1\n"})
    files_of(tmp_path, "slice/box")
    files_of(tmp_path, "slice/box/inside", **{"cgroup.procs": "7\n8\n"})
    inside, box = str(tmp_path / "slice/box/inside"), str(tmp_path / "slice/box")
    assert whole_cgroup(inside, str(tmp_path), {7, 8}) == box
    assert whole_cgroup(inside, str(tmp_path), {7}) is None  # 8 is somebody else's
    files_of(tmp_path, "slice/box/other", **{"cgroup.procs": "9\n"})
    assert whole_cgroup(inside, str(tmp_path), {7, 8}) == inside
    assert whole_cgroup(str(tmp_path), str(tmp_path), {7, 8}) is None


def test_limits_of_version_2(tmp_path, monkeypatch):
    files_of(tmp_path, "", **{"cgroup.procs": "1\n"})
    usage = {
        "memory.current": "1000000\n",
        "memory.peak": "2000000\n",
        "pids.current": "1\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
    }
    files_of(tmp_path, "box", **{"memory.max": "67108864\n", "pids.max": "max\n"}, **usage)
    texts = {
        "cgroup.procs": "7\n",
        "cgroup.controllers": "cpu memory pids\n",
        "memory.max": "max\n",
        "pids.max": "20\n",
        "cpu.max": "50000 100000\n",
        "cpuset.cpus.effective": "0-1\n",
    }
    files_of(tmp_path, "box/inside", **texts, **usage)
    mounted = [Hierarchy(2, ("",), "/", str(tmp_path))]
    monkeypatch.setattr(cgroups_module, "hierarchies", lambda: mounted)
    found = read_cgroup("0::/box/inside\n", frozenset({7}))
    assert found.alone
    assert found.limits == {
        "memory": 67108864,  # of the one above
        "memory_high": None,
        "swap": None,
        "processes": 20,
        "cpus": 0.5,
        "cpuset": "0-1",
    }
    (path,) = found.paths
    assert (path.version, path.controllers) == (2, ("cpu", "memory", "pids"))
    assert (found.usage["memory"], found.usage["cpu_time"]) == (1000000, 1.5)
    shared = read_cgroup("0::/box/inside\n", frozenset({9}))
    assert not shared.alone
    assert set(shared.usage.values()) == {None}
    assert shared.limits == found.limits


def test_limits_of_version_1(tmp_path, monkeypatch):
    memory, cpu = tmp_path / "memory", tmp_path / "cpu"
    files_of(memory, "")
    texts = {
        "cgroup.procs": "7\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.usage_in_bytes": "5000\n",
    }
    files_of(memory, "box", **texts)
    files_of(cpu, "")
    texts = {"cgroup.procs": "7\n", "cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}
    files_of(cpu, "box", **texts)
    mounted = [
        Hierarchy(1, ("memory",), "/", str(memory)),
        Hierarchy(1, ("cpu", "cpuacct"), "/", str(cpu)),
    ]
    monkeypatch.setattr(cgroups_module, "hierarchies", lambda: mounted)
    text = "4:memory:/box\n3:cpu,cpuacct:/box\n2:pids:/elsewhere\n"
    found = read_cgroup(text, frozenset({7}))
    assert found.alone
    assert found.limits["memory"] is None
    assert found.limits["cpus"] is None
    assert found.usage["memory"] == 5000
    assert {each.controllers: each.directory for each in found.paths} == {
        ("memory",): str(memory / "box"),
        ("cpu", "cpuacct"): str(cpu / "box"),
        ("pids",): None,
    }
