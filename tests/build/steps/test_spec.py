"""``step_spec``: the values of OBuilder's sandbox, one and all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pycontainer import bind
from pycontainer.build import Step, step_spec
from pycontainer.oci import from_spec

CAPABILITIES = {
    f"CAP_{name}"
    for name in (
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    )
}


def mounts_of(spec):
    return {mount["destination"]: mount for mount in spec["mounts"]}


def options_of(spec, place):
    return set(mounts_of(spec)[place]["options"])


def kinds_of(spec):
    return {one["type"] for one in spec["linux"]["namespaces"]}


def test_process():
    step = Step(["a", "b"], cwd="/w", hostname="h", user=(3, 4), env={"X": "y", "A": ""})
    spec = step_spec("/root/fs", step)
    assert spec["ociVersion"] == "1.0.1"
    assert spec["root"] == {"path": "/root/fs", "readonly": False}
    assert spec["hostname"] == "h"
    process = spec["process"]
    assert process["terminal"] is False
    assert process["user"] == {"uid": 3, "gid": 4}
    assert process["args"] == ["a", "b"]
    assert process["env"] == ["A=", "X=y"]
    assert process["cwd"] == "/w"
    assert process["noNewPrivileges"] is False
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    assert process["capabilities"].keys() == {"bounding", "effective", "inheritable", "permitted"}
    assert all(set(kept) == CAPABILITIES for kept in process["capabilities"].values())
    assert "seccomp" not in spec["linux"]


def test_mounts():
    spec = step_spec("/fs", Step(["true"]), files="/run/x")
    assert list(mounts_of(spec)) == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/shm",
        "/dev/mqueue",
        "/etc/hosts",
    ]
    kinds = {place: mount["type"] for place, mount in mounts_of(spec).items()}
    assert kinds == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/sys": "sysfs",
        "/sys/fs/cgroup": "cgroup",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/etc/hosts": "bind",
    }
    assert options_of(spec, "/proc") == {"nosuid", "noexec", "nodev"}
    assert options_of(spec, "/dev") == {"nosuid", "strictatime", "mode=755", "size=65536k"}
    assert options_of(spec, "/dev/pts") == {
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    }
    assert "ro" in options_of(spec, "/sys")
    assert "ro" in options_of(spec, "/sys/fs/cgroup")
    assert {"mode=1777", "size=65536k"} <= options_of(spec, "/dev/shm")
    assert mounts_of(spec)["/etc/hosts"]["source"] == "/run/x/hosts"
    assert options_of(spec, "/etc/hosts") == {"ro", "rbind", "rprivate"}


def test_masks():
    linux = step_spec("/fs", Step(["true"]))["linux"]
    assert set(linux["maskedPaths"]) == {
        *(
            f"/proc/{name}"
            for name in (
                "acpi",
                "asound",
                "kcore",
                "keys",
                "latency_stats",
                "timer_list",
                "timer_stats",
                "sched_debug",
                "scsi",
            )
        ),
        "/sys/firmware",
    }
    assert set(linux["readonlyPaths"]) == {
        f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")
    }


def test_network():
    spec = step_spec("/fs", Step(["true"]))
    assert kinds_of(spec) == {"pid", "ipc", "uts", "mount", "network"}
    spec = step_spec("/fs", Step(["true"], network=True))
    assert kinds_of(spec) == {"pid", "ipc", "uts", "mount"}
    assert mounts_of(spec)["/etc/resolv.conf"]["source"] == "/etc/resolv.conf"
    assert options_of(spec, "/etc/resolv.conf") == {"ro", "rbind", "rprivate"}
    spec = step_spec("/fs", Step(["true"], network=True), resolv_conf=None)
    assert "/etc/resolv.conf" not in mounts_of(spec)


def test_secrets_and_mounts_come_last():
    step = Step(
        ["true"],
        secrets={"/b": b"hush", "/a": b"hush"},
        mounts=[bind("/x", "/m"), bind("/y", "/n", writable=True, recursive=False)],
    )
    spec = step_spec("/fs", step, files="/run/x")
    last = [(mount["destination"], mount["source"]) for mount in spec["mounts"][-4:]]
    assert last == [
        ("/a", "/run/x/secrets/0"),
        ("/b", "/run/x/secrets/1"),
        ("/m", "/x"),
        ("/n", "/y"),
    ]
    assert options_of(spec, "/a") == {"rbind", "rprivate", "ro"}
    assert options_of(spec, "/m") == {"rbind", "rprivate", "nosuid", "nodev", "ro", "rro"}
    assert options_of(spec, "/n") == {"bind", "rprivate", "nosuid", "nodev", "rw"}
    assert "hush" not in json.dumps(spec)


@pytest.mark.parametrize(
    ("machine", "architectures"),
    [
        ("x86_64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        ("aarch64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
    ],
)
def test_fast_sync(machine, architectures):
    spec = step_spec("/fs", Step(["true"], fast_sync=True), machine=machine)
    (rule,) = spec["linux"]["seccomp"]["syscalls"]
    names = {"fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range"}
    assert spec["linux"]["seccomp"]["architectures"] == architectures
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"
    assert (set(rule["names"]), rule["action"], rule["errnoRet"]) == (names, "SCMP_ACT_ERRNO", 0)


def test_fast_sync_on_a_machine_that_is_not_known():
    with pytest.raises(ValueError, match="'riscv64' are not known"):
        step_spec("/fs", Step(["true"], fast_sync=True), machine="riscv64")


def test_rootless():
    step = Step(["true"], network=True, secrets={"/s": b""})
    spec = step_spec("/fs", step, uid_map=[(0, 1000, 1)], gid_map=[(0, 100, 1)])
    assert kinds_of(spec) == {"pid", "ipc", "uts", "mount", "user"}
    assert spec["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "gid=5" not in options_of(spec, "/dev/pts")  # a group that is not there
    assert mounts_of(spec)["/sys"]["type"] == "bind"
    assert {"ro", "rro"} <= options_of(spec, "/sys")
    assert {"nosuid", "nodev", "noexec"} <= options_of(spec, "/s")
    spec = step_spec("/fs", step, uid_map=[(0, 1000, 1)], gid_map=[(0, 100, 1), (1, 5000, 9)])
    assert "gid=5" in options_of(spec, "/dev/pts")


@pytest.mark.parametrize("network", [True, False])
def test_can_be_read_as_a_container(network):
    step = Step(["/a", "b"], user=(7, 8), fast_sync=True, network=network, cwd="/w")
    container, argv = from_spec(step_spec("/fs", step), bundle="/bundle")
    assert argv == ["/a", "b"]
    assert (container.guest_uid, container.guest_gid, container.cwd) == (7, 8, "/w")
    assert frozenset(container.capabilities) == CAPABILITIES
    assert not container.ambient_capabilities and not container.no_new_privs
    assert container.rootfs == "/fs" and container.writable_root
    assert "/proc/kcore" in container.masked_paths and "/proc/sys" in container.readonly_paths
    assert container.limits is not None and container.limits.open_files == 1024


RANGES = {"uid_map": [(0, 1001, 1), (1, 100000, 99)], "gid_map": [(0, 1002, 1), (1, 5000, 99)]}


def spec_of_ranges(**changes):
    spec = step_spec("/fs", Step(["true"], user=(7, 8)), **{**RANGES, **changes})
    ids = {"host_uids": 100, "host_uid_start": 1001, "host_gid_start": 1002}
    spec["annotations"] = {"org.pycontainer.ids": json.dumps(ids)}
    return spec


def test_ranges_can_be_read_as_a_container():
    """The user's own id, and subordinate ones behind it."""
    container, _ = from_spec(spec_of_ranges())
    assert (container.host_uids, container.guest_uid, container.guest_gid) == (100, 7, 8)
    assert (container.host_uid_start, container.host_gid_start) == (1001, 1002)


@pytest.mark.parametrize(
    "extents",
    [
        [(0, 1001, 1), (1, 100000, 98)],
        [(0, 1001, 1), (2, 100000, 99)],
        [(0, 1003, 1), (1, 100000, 99)],
        [(1, 1001, 1), (2, 100000, 99)],
    ],
)
def test_ranges_that_are_others(extents):
    with pytest.raises(ValueError, match=r"linux\.uidMappings"):
        from_spec(spec_of_ranges(uid_map=extents))


def test_is_pure():
    """It works without the compiled helper, and looks at nothing of the host."""
    script = (
        "import sys; sys.modules['pycontainer._native._helper'] = None\n"
        "from pycontainer.build import Step, step_spec\n"
        "step = Step(['true'], secrets={'/s': b''}, network=True, fast_sync=True)\n"
        "print(len(step_spec('/nowhere', step, machine='x86_64')['mounts']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "10\n", done.stderr
