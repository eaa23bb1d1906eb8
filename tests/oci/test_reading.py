"""``from_spec``: what others write, what somebody has changed, and everything that is wrong."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import Container, Limits, bind, directory, tmpfs
from pycontainer.oci import from_spec, to_spec

PREFIX = "org.pycontainer."


def spec_of(container: Container | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(json.dumps(to_spec(container or Container(), ["true"])))
    return spec


def problems_of(spec: dict[str, Any]) -> list[str]:
    with pytest.raises(ValueError) as caught:
        from_spec(spec)
    first, *rest = str(caught.value).splitlines()
    return [line.strip() for line in rest] or [first.removeprefix("config.json: ")]


def changed(**sections: Any) -> dict[str, Any]:
    """A config.json with members set: ``process__user__umask=0``."""
    spec = spec_of()
    for path, value in sections.items():
        *above, name = path.split("__")
        place = spec
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return spec


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (changed(ociVersion="2.0"), "ociVersion: '2.0' is not supported: 1.x is"),
        (changed(hooks={"poststop": [{}, {}]}), "hooks.poststop[0]: not supported"),
        (changed(domainname="x"), "domainname: not supported"),
        (changed(process__terminal=True), "process.terminal: a terminal is the caller's"),
        (changed(process__args=[]), "process.args: the program is missing"),
        (changed(process__args="true"), "process.args: must be an array, not 'true'"),
        (changed(process__env=["A=1", "A=2"]), "process.env[1]: 'A' is there twice"),
        (changed(process__env=["A"]), "process.env[0]: 'A' has no '='"),
        (changed(process__user__umask=0), "process.user.umask: 18 (0o22)"),
        (changed(process__user__additionalGids=[5]), "process.user.additionalGids: not supp"),
        (changed(process__user__uid="0"), "process.user.uid: must be an integer, not '0'"),
        (changed(process__apparmorProfile="x"), "process.apparmorProfile: not supported"),
        (changed(process__oomScoreAdj=5), "process.oomScoreAdj: not supported"),
        (changed(process__capabilities__bounding=[]), "process.capabilities.bounding: must be"),
        (
            changed(process__rlimits=[{"type": "RLIMIT_MEMLOCK", "soft": 1, "hard": 1}]),
            "process.rlimits[0].type: 'RLIMIT_MEMLOCK' is not supported",
        ),
        (
            changed(process__rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]),
            "process.rlimits[0]: soft and hard must be the same",
        ),
        (
            changed(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]),
            "process.rlimits: RLIMIT_CPU, of each process, is not supported",
        ),
        (
            changed(process__rlimits=[{"type": "RLIMIT_CORE", "soft": 9, "hard": 9}]),
            "process.rlimits[0]: core dumps are off here",
        ),
        (changed(linux__devices=[{"path": "/dev/x"}]), "linux.devices[0]: not supported"),
        (changed(linux__sysctl={"a.b": "1"}), "linux.sysctl.a.b: not supported"),
        (changed(linux__cgroupsPath="/x"), "linux.cgroupsPath: not supported"),
        (changed(linux__rootfsPropagation="shared"), "linux.rootfsPropagation: all is private"),
        (
            changed(linux__namespaces=[{"type": "time"}]),
            "linux.namespaces[0].type: 'time' is not supported",
        ),
        (
            changed(linux__namespaces=[{"type": "pid", "path": "/proc/1/ns/pid"}]),
            "linux.namespaces[0].path: not supported",
        ),
        (changed(linux__resources__blockIO={"weight": 10}), "linux.resources.blockIO.weight: not"),
        (changed(linux__resources__memory={"swap": 5}), "linux.resources.memory.swap: not supp"),
        (
            changed(linux__resources__memory={"limit": 4096, "swap": 8192}),
            "linux.resources.memory.swap: must be that of limit",
        ),
        (
            changed(linux__resources__devices=[{"allow": True, "access": "rwm"}]),
            "linux.resources.devices[0]: not supported",
        ),
        (changed(annotations__run__oci=1), "annotations['run']: must be a str"),
        (
            {**spec_of(), "annotations": {"run.oci.keep_original_groups": "1"}},
            "annotations['run.oci.keep_original_groups']: not supported",
        ),
        (
            {**spec_of(), "annotations": {f"{PREFIX}nonsense": "1"}},
            f"annotations['{PREFIX}nonsense']: not supported",
        ),
        (
            {**spec_of(), "annotations": {f"{PREFIX}limits": "{"}},
            f"annotations['{PREFIX}limits']: no JSON",
        ),
        (
            {**spec_of(), "annotations": {f"{PREFIX}ids": '{"host": 1}'}},
            f"annotations['{PREFIX}ids']: 'host' is not supported",
        ),
        (changed(linux__netDevices={"eth0": {}}), "linux.netDevices: not supported"),
        (changed(linux__resources__cpu={"period": 5}), "linux.resources.cpu.period: not supp"),
    ],
)
def test_one_problem(spec, problem):
    assert any(line.startswith(problem) for line in problems_of(spec)), problems_of(spec)


@pytest.mark.parametrize("version", [{}, {f"{PREFIX}version": "1"}])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in ("defaults", "entries", "mounts") for text in ("5", "null")),
        *((name, "[5]") for name in ("ids", "limits", "mounts", "seccomp", "all", "version")),
        *(("mounts", f'{{"/proc": {text}}}') for text in ("5", '{"own": "x"}', '{"implied": 5}')),
        ("entries", "[" * 100_000),
    ],
)
def test_annotations_of_another_type(version, name, text):
    spec = spec_of()
    spec["annotations"] = {**version, f"{PREFIX}{name}": text}
    where = f"annotations['{PREFIX}{name}']: "
    assert any(line.startswith(where) for line in problems_of(spec)), problems_of(spec)


@pytest.mark.parametrize("name", ["set_id_files", "version", "ids", "entries"])
def test_what_an_image_says_is_no_word_of_ours(name):
    """A converter of images copies their labels among the annotations, whoever wrote them."""
    text = {"set_id_files": "true", "version": "1", "ids": "{}", "entries": "[]"}[name]
    spec = spec_of()
    spec["annotations"] = {"org.opencontainers.image.os": "linux", f"{PREFIX}{name}": text}
    problem = f"annotations['{PREFIX}{name}']: is with annotations of an image, which may not say"
    assert any(line.startswith(problem) for line in problems_of(spec)), problems_of(spec)


@pytest.mark.parametrize("destination", [{}, [], 5, None])
def test_a_place_that_is_no_text(destination):
    spec = spec_of()
    spec["mounts"] = [{"destination": destination, "type": "proc"}]
    assert any(line.startswith("mounts[0]") for line in problems_of(spec))


def test_maps_without_a_user_namespace():
    maps = [{"containerID": 0, "hostID": 0, "size": 1}]
    spec = {"ociVersion": "1.0.2", "process": {"args": ["x"]}, "linux": {"gidMappings": maps}}
    assert "linux.gidMappings: there is no 'user' namespace" in problems_of(spec)


def test_all_problems_at_once():
    spec = changed(
        hooks={"prestart": [{}]}, linux__devices=[{}, {}], process__selinuxLabel="x", other=1
    )
    assert problems_of(spec) == [
        "process.selinuxLabel: not supported",
        "linux.devices[0]: not supported",
        "linux.devices[1]: not supported",
        "hooks.prestart[0]: not supported",
        "other: not supported",
    ]


def test_no_object():
    assert problems_of([]) != []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ({"destination": 3}, "mounts[0].destination: must be a str, not 3"),
        ({"destination": "/x", "options": "ro"}, "mounts[0].options: must be a list"),
        ({"destination": "/x", "uidMappings": [{}]}, "mounts[0].uidMappings: not supported"),
        (
            {"destination": "/x", "type": "bind", "source": "/y", "options": ["shared"]},
            "mounts[0].options[0]: 'shared' is not supported",
        ),
        ({"destination": "/x", "type": "bind", "options": ["bind"]}, "mounts[0].source: a bind"),
        (
            {"destination": "/x", "type": "bind", "source": "/y", "options": ["bind", "what=1"]},
            "mounts[0].options: 'what=1' is not supported for a bind",
        ),
        ({"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}, "mounts[0].options[0]"),
        ({"destination": "/../x", "type": "tmpfs"}, "mounts[0]: tmpfs: target '/../x' contains"),
    ],
)
def test_mounts_that_are_not_supported(mount, problem):
    spec = {**spec_of(), "mounts": [mount], "annotations": {}}
    assert any(line.startswith(problem) for line in problems_of(spec)), problems_of(spec)


# ---- what somebody has changed


def test_a_changed_hostname():
    spec = changed(hostname="other")
    assert from_spec(spec)[0] == Container(hostname="other")


def test_a_changed_default_mount_is_one_of_the_containers_own():
    spec = spec_of()
    (shm,) = (mount for mount in spec["mounts"] if mount["destination"] == "/dev/shm")
    shm["options"] = ["nosuid", "nodev", "size=5m", "mode=1777"]
    container = from_spec(spec)[0]
    (item,) = container.mounts
    assert isinstance(item, pc.Mount)
    assert (item.target, item.options) == ("/dev/shm", ("size=5m", "mode=1777"))
    assert container.default_files


def test_a_default_mount_that_is_gone_is_missed():
    spec = spec_of()
    del spec["mounts"][1]
    assert problems_of(spec) == [f"mounts[1]: {PREFIX}defaults says that /sys is here"]


def test_another_mount():
    spec = spec_of(Container([tmpfs("/a"), directory("/a/b")]))
    spec["mounts"].append({"destination": "data", "source": "files", "options": ["bind", "ro"]})
    container = from_spec(spec, bundle="/bundle")[0]
    assert container.mounts == (
        tmpfs("/a"),
        directory("/a/b"),
        bind("/bundle/files", "/data", recursive=False, nosuid=False, nodev=False),
    )


def test_annotations_that_contradict():
    spec = spec_of(Container(limits=Limits(cpu_time=5), seccomp=pc.NO_SYNC, host_uid_start=7))
    spec["process"]["rlimits"] = []
    spec["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_LOG"
    spec["linux"]["uidMappings"][0]["hostID"] = 8
    problems = problems_of(spec)
    assert len(problems) == 3
    for start in ("linux.uidMappings", "process.rlimits: RLIMIT_CPU", "linux.seccomp: is not"):
        assert any(problem.startswith(start) for problem in problems), problems


def test_a_filter_that_is_gone():
    spec = spec_of(Container(seccomp=pc.NO_SYNC))
    del spec["linux"]["seccomp"]
    assert problems_of(spec) == [f"linux.seccomp: is not there, but {PREFIX}seccomp is"]


# ---- what others write


def test_a_terminal_that_the_caller_gives():
    assert from_spec(changed(process__terminal=True), terminal=True)[0] == Container()


def test_capabilities_of_others():
    for inheritable, ambient, expected in (
        ([], [], False),
        ([], ["CAP_KILL"], False),  # the kernel does not raise what is not inheritable
        (["CAP_KILL"], ["CAP_KILL"], True),
        (["CAP_KILL"], [], False),
    ):
        spec = spec_of()
        for name in ("bounding", "effective", "permitted"):
            spec["process"]["capabilities"][name] = ["CAP_KILL"]
        spec["process"]["capabilities"].update(inheritable=inheritable, ambient=ambient)
        container = from_spec(spec)[0]
        assert container.capabilities == frozenset({"CAP_KILL"})
        assert container.ambient_capabilities is expected


def test_no_capabilities_are_none():
    spec = spec_of()
    del spec["process"]["capabilities"]
    assert from_spec(spec)[0].capabilities == frozenset()


def test_limits_of_others():
    spec = {**spec_of(), "annotations": {}}
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]
    spec["linux"]["resources"] = {
        "memory": {"limit": 1 << 30},
        "cpu": {"quota": 50000, "period": 100000},
        "pids": {"limit": 5},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    limits = from_spec(spec)[0].limits
    assert limits == Limits(open_files=9, memory=1 << 30, cpus=0.5, processes=5)


def test_a_filter_of_others():
    spec = {**spec_of(), "annotations": {}}
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 0, "value": 255, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                    {"index": 1, "value": 5, "op": "SCMP_CMP_GT"},
                ],
            },
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33},
            {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }
    argument = pc.SyscallArgument
    assert from_spec(spec)[0].seccomp == pc.SeccompFilter(
        errno.EPERM,
        {
            "read": "allow",
            "write": "allow",
            "clone": {
                (argument(0, "==", 0, mask=255, bits=64), argument(1, ">", 5, bits=64)): "allow"
            },
            "mkdir": 33,
            "ptrace": "kill",
        },
    )
    spec["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_NOTIFY"
    spec["linux"]["seccomp"]["listenerPath"] = "/x"
    spec["linux"]["seccomp"]["architectures"] = ["SCMP_ARCH_MIPS"]
    problems = problems_of(spec)
    assert "linux.seccomp.listenerPath: not supported" in problems
    assert "linux.seccomp.syscalls[0].action: 'SCMP_ACT_NOTIFY' is not supported" in problems
    assert any(line.startswith("linux.seccomp.architectures: SCMP_ARCH_") for line in problems)


def test_the_program_is_process_1_of_others_containers():
    spec = {**spec_of(), "annotations": {"org.example.note": "anything"}}
    container = from_spec(spec)[0]
    assert container.child_is_pid1 is True
    assert container.default_files is False
    assert container.rootfs is not None
    places = [
        getattr(item, "target", None) or getattr(item, "path", "") for item in container.mounts
    ]
    assert "/dev/null" in places
    assert "/dev/stdin" in places
