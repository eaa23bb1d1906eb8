"""The OCI configuration of a build request: every value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildRequest,
    NetworkAccess,
    ProvideBinSh,
    request_spec,
)
from pycontainer.build.constraints import Constraint
from pycontainer.build.spec import scratch_name
from pycontainer.oci import from_spec

REQUEST = BuildRequest(
    inputs={"src": "/srv/src"},
    command_args=["/bin/sh", "-c", "true"],
    working_dir="build/x",
    scratch_paths=["build", "nix/store"],
    inputs_dir="nix/store",
    outputs=["nix/store/out"],
    environment_vars={"B": b"2", "A": b"1=\xc3\xa9"},
    constraints=[AvailableReadOnlyPath("/usr"), ProvideBinSh()],
)


def mounts_of(spec):
    return {mount["destination"]: mount for mount in spec["mounts"]}


def test_as_root():
    spec = request_spec(REQUEST)
    mounts = spec.pop("mounts")
    names = ["CAP_AUDIT_WRITE", "CAP_KILL"]
    assert spec == {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,
            "user": {"uid": 1000, "gid": 100},
            "args": ["/bin/sh", "-c", "true"],
            "env": ["A=1=é", "B=2"],
            "cwd": "/build/x",
            "capabilities": {
                "bounding": names,
                "effective": names,
                "inheritable": names,
                "permitted": names,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "root", "readonly": True},
        "hostname": "localhost",
        "linux": {
            "namespaces": [
                {"type": name} for name in ("pid", "ipc", "uts", "mount", "cgroup", "network")
            ],
            "maskedPaths": [
                "/proc/kcore",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/asound",
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }
    assert [mount["destination"] for mount in mounts] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/tmp",
        "/build",
        "/nix/store",
        "/nix/store/src",
        "/usr",
        "/bin/sh",
    ]
    by_place = {mount["destination"]: mount for mount in mounts}
    assert by_place["/tmp"] == {
        "destination": "/tmp",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "noatime", "mode=700"],
    }
    assert by_place["/build"]["source"] == f"scratch/{scratch_name('build')}"
    assert by_place["/build"]["options"] == ["rbind", "rw"]
    assert by_place["/nix/store/src"]["source"] == "inputs/src"
    assert by_place["/nix/store/src"]["options"] == ["rbind", "ro", "nosuid", "nodev"]
    assert by_place["/usr"]["source"] == "/usr"
    assert by_place["/usr"]["options"] == ["rbind", "ro"]
    assert by_place["/bin/sh"]["source"] == "shell/sh"
    assert "gid=5" in by_place["/dev/pts"]["options"]


def test_rootless():
    spec = request_spec(REQUEST, rootless=True, host_uid=1234, host_gid=5678, terminal=False)
    names = [
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    ]
    capabilities = spec["process"]["capabilities"]
    assert set(capabilities) == {"bounding", "effective", "inheritable", "permitted", "ambient"}
    for kept in capabilities.values():
        assert kept == [f"CAP_{name}" for name in names]
    assert spec["linux"]["namespaces"][-1] == {"type": "user"}
    assert spec["linux"]["uidMappings"] == [{"containerID": 1000, "hostID": 1234, "size": 1}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 100, "hostID": 5678, "size": 1}]
    assert spec["process"]["terminal"] is False
    assert "gid=5" not in mounts_of(spec)["/dev/pts"]["options"]


@pytest.mark.parametrize("rootless", [False, True])
def test_with_network_access(rootless):
    request = BuildRequest(command_args=["x"], outputs=["build/o"], constraints=[NetworkAccess()])
    spec = request_spec(request, rootless=rootless)
    assert {"type": "network"} not in spec["linux"]["namespaces"]
    for name in ("resolv.conf", "services", "hosts"):
        mount = mounts_of(spec)[f"/etc/{name}"]
        assert mount["source"] == f"/etc/{name}"
        assert mount["options"] == ["rbind", "ro"]
    assert "/bin/sh" not in mounts_of(spec)


def test_no_shell_over_that_of_the_host():
    for path in ("/bin", "/bin/sh"):
        constraints: list[Constraint] = [AvailableReadOnlyPath(path), ProvideBinSh()]
        request = BuildRequest(command_args=["x"], outputs=["build/o"], constraints=constraints)
        mounts = mounts_of(request_spec(request, shell="/opt/shell"))
        assert [one["source"] for one in mounts.values()].count("/opt/shell") == 0


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("network", [False, True])
def test_it_can_be_run_here(rootless, network):
    constraints: list[Constraint] = [ProvideBinSh(), *([NetworkAccess()] if network else [])]
    request = BuildRequest(command_args=["x"], outputs=["build/o"], constraints=constraints)
    spec = request_spec(request, rootless=rootless, terminal=False)
    container, argv = from_spec(spec, bundle="/bundle")
    assert argv == ["x"]
    assert container.guest_uid == 1000
    assert container.guest_gid == 100
    assert ("net" in container.namespaces) is not network
    assert ("user" in container.namespaces) is rootless


SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "oci-runtime-schema"


@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_valid_under_the_published_schema(rootless):
    if not SCHEMAS.is_dir():
        pytest.skip("the OCI runtime schema lies outside of the repository and is not here")
    import jsonschema
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    found = {
        file.name: DRAFT4.create_resource(json.loads(file.read_text()))
        for file in SCHEMAS.glob("*.json")
    }
    registry: Any = Registry().with_resources(found.items())
    schema = jsonschema.Draft4Validator({"$ref": "config-schema.json"}, registry=registry)
    schema.validate(request_spec(REQUEST, rootless=rootless))


def test_a_scratch_name_for_each_path():
    assert len({scratch_name(path) for path in ("a/b", "a-b", "a", "b" * 4000)}) == 4
