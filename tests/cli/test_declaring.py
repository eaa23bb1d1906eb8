"""Options and the containers that they declare."""

from __future__ import annotations

import os

import pytest

import pycontainer as pc
from pycontainer.cli.declaring import Declaration
from pycontainer.cli.options import RUN
from pycontainer.cli.parse import MisuseError, parse
from pycontainer.declare.limits import Limits


def declared(line):
    parsed = parse(RUN, line.split() if isinstance(line, str) else line)
    assert parsed is not None
    given, _ = parsed
    declaration = Declaration()
    for name, values in given:
        declaration.add(name, values)
    return declaration.container()


FILES = [
    ("--bind /a /b", pc.bind("/a", "/b", writable=True)),
    ("--bind-try /a /b", pc.bind("/a", "/b", writable=True, optional=True)),
    ("--ro-bind /a /b", pc.bind("/a", "/b")),
    ("--ro-bind-try /a /b", pc.bind("/a", "/b", optional=True)),
    ("--dev-bind /a /b", pc.bind("/a", "/b", writable=True, nodev=False)),
    ("--dev-bind-try /a /b", pc.bind("/a", "/b", writable=True, nodev=False, optional=True)),
    ("--tmpfs /a", pc.tmpfs("/a")),
    ("--size 64m --perms 1777 --tmpfs /a", pc.tmpfs("/a", size="64m", mode=0o1777)),
    ("--dir /a", pc.directory("/a")),
    ("--perms 0700 --dir /a", pc.directory("/a", 0o700)),
    ("--symlink /b /a", pc.symlink("/a", "/b")),
    ("--proc /p", pc.proc("/p")),
    ("--mqueue /q", pc.mqueue("/q")),
    ("--overlay-src /l --tmp-overlay /o", pc.overlay("/l", "/o")),
    ("--overlay-src /l --overlay-src /m --tmp-overlay /o", pc.overlay(["/m", "/l"], "/o")),
    (
        "--overlay-src /l --overlay /u /w /o",
        pc.overlay("/l", "/o", upper="/u", work="/w"),
    ),
    (
        "--overlay-src /l --overlay-src /m --ro-overlay /o",
        pc.Mount("/o", "overlay", options=["lowerdir=/m:/l"], writable=False),
    ),
    ("--host-system", pc.host_system()),
    ("--host-python", pc.host_python()),
]


@pytest.mark.parametrize(("line", "mount"), FILES, ids=[line for line, _ in FILES])
def test_files(line, mount):
    assert declared(line) == pc.Container([mount])


def test_files_keep_their_order():
    assert declared("--tmpfs /a --ro-bind /x /a/b --tmpfs /a/b/c").mounts == (
        pc.tmpfs("/a"),
        pc.bind("/x", "/a/b"),
        pc.tmpfs("/a/b/c"),
    )


def test_a_file_from_a_descriptor():
    read, write = os.pipe()
    os.write(write, b"text")
    os.close(write)
    line = ["--perms", "0600", "--file", str(read), "/f"]
    assert declared(line) == pc.Container([pc.file("/f", b"text", 0o600)])


def test_a_relative_source_is_of_the_current_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert declared("--bind . /x") == pc.Container([pc.bind(tmp_path, "/x", writable=True)])


FIELDS = [
    ("--proc /proc --dev /dev --die-with-parent --new-session -i --unshare-all", {}),
    ("--rootfs /r", {"rootfs": "/r"}),
    ("--rootfs /r --writable-root", {"rootfs": "/r", "writable_root": True}),
    ("--writable-root --read-only", {}),
    ("--root-size 1m", {"root_size": "1m"}),
    ("--share-net", {"namespaces": pc.NAMESPACES - {"net"}}),
    ("--share-net --unshare-net", {}),
    ("--unshare-all --share-net --share-ipc", {"namespaces": pc.NAMESPACES - {"net", "ipc"}}),
    ("--network none", {}),
    ("--hostname h", {"hostname": "h"}),
    ("--uid 3 --gid 4", {"guest_uid": 3, "guest_gid": 4}),
    ("--user 3", {"guest_uid": 3, "guest_gid": 3}),
    ("-u 3:4", {"guest_uid": 3, "guest_gid": 4}),
    ("--setenv A b -e C=d=e --unsetenv A", {"env": {"C": "d=e"}}),
    ("--setenv A b --clearenv --setenv B c", {"env": {"B": "c"}}),
    ("-e GIVEN -e ABSENT", {"env": {"GIVEN": "by the caller"}}),
    ("--chdir /tmp", {"cwd": "/tmp"}),
    ("-w /tmp", {"cwd": "/tmp"}),
    ("--cap-drop ALL", {"capabilities": ()}),
    ("--cap-drop ALL --cap-add chown --cap-add CAP_KILL", {"capabilities": ["chown", "kill"]}),
    ("--cap-add chown", {}),
    ("--cap-drop ALL --cap-add ALL", {}),
    ("--no-ambient", {"ambient_capabilities": False}),
    ("--mask /proc/acpi --mask /a/", {"masked_paths": ["/proc/acpi", "/a"]}),
    ("--remount-ro /proc/sys", {"readonly_paths": ["/proc/sys"]}),
    ("--security-opt mask=/a:/b", {"masked_paths": ["/a", "/b"]}),
    ("--mask /a --mask /b --security-opt unmask=/a:/c", {"masked_paths": ["/b"]}),
    ("--mask /a --remount-ro /b --security-opt unmask=ALL", {}),
    ("--new-privileges", {"no_new_privs": False}),
    ("--security-opt no-new-privileges=false", {"no_new_privs": False}),
    ("--security-opt no-new-privileges --security-opt seccomp=unconfined", {}),
    ("--as-pid-1", {"child_is_pid1": True}),
    ("--init", {"child_is_pid1": False}),
]


@pytest.mark.parametrize(("line", "fields"), FIELDS, ids=[line for line, _ in FIELDS])
def test_fields(monkeypatch, line, fields):
    monkeypatch.setenv("GIVEN", "by the caller")
    monkeypatch.delenv("ABSENT", raising=False)
    assert declared(line) == pc.Container(**fields)


def test_host_network_shares_the_network():
    wanted = pc.Container([pc.host_network()], namespaces=pc.NAMESPACES - {"net"})
    assert declared("--host-network") == declared("--network host") == wanted


LIMITS = [
    ("--memory 512m", {"memory": "512m"}),
    ("-m 512m", {"memory": 512 << 20}),
    ("--cpus 0.5", {"cpus": 0.5}),
    ("--cpuset-cpus 0-2,4", {"cpu_affinity": {0, 1, 2, 4}}),
    ("--pids-limit 8", {"processes": 8}),
    ("--timeout 1.5", {"wall_time": 1.5}),
    ("--cpu-time 2", {"cpu_time": 2.0}),
    ("--ulimit nofile=64", {"open_files": 64}),
    ("--ulimit nproc=5:9", {"processes": 9}),
    ("--ulimit fsize=1m", {"file_size": "1m"}),
    ("--ulimit cpu=3", {"cpu_time": 3.0}),
    ("--ulimit stack=8m", {"stack": "8m"}),
    ("--ulimit stack=unlimited", {"stack": "unlimited"}),
    ("--output-limit 1m", {"output": "1m"}),
    ("--memory 1g --no-strict-limits", {"memory": "1g", "strict": False}),
]


@pytest.mark.parametrize(("line", "limits"), LIMITS, ids=[line for line, _ in LIMITS])
def test_limits(line, limits):
    assert declared(line) == pc.Container(limits=Limits(**limits))


def test_what_is_begun_must_be_finished():
    for line in ("--size 1m", "--perms 700", "--overlay-src /x"):
        with pytest.raises(MisuseError, match=line.split()[0]):
            declared(line)
