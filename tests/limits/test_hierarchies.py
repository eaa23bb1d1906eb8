"""Where cgroups may be made, on hosts of every kind: trees that look like theirs.

A directory is no cgroup: here it gets its files when it is made, as the kernel's would.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontainer import Limits, Verdict, run_container
from pycontainer._native import lib
from pycontainer.launch import hierarchies
from pycontainer.launch import limits as launch_limits
from pycontainer.launch.cgroup import Cgroups
from pycontainer.launch.hierarchies import Hierarchy, find_hierarchies

ALL = ("memory", "pids", "cpu", "cpuacct")
FILES = {
    "memory": ["memory.max", "memory.swap.max", "memory.oom.group", "memory.peak", "memory.events"],
    "pids": ["pids.max"],
    "cpu": ["cpu.max"],
}
VERSION_1 = {
    "memory": [
        "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes",
        "memory.oom_control", "cgroup.event_control",
    ],
    "pids": ["pids.max"],
    "cpu": ["cpu.cfs_quota_us", "cpu.cfs_period_us"],
    "cpuacct": ["cpuacct.usage_user", "cpuacct.usage_sys"],
}  # fmt: skip


class Host:
    """A root directory with /proc and cgroup file systems."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts: list[str] = []
        self.own: list[str] = []
        (root / "proc/self/task/1").mkdir(parents=True)
        (root / "proc/self/task/1/children").write_text("")

    def version_1(self, target: str, controllers: str, own: str, top: str = "/") -> None:
        self.mounts.append(f"40 31 0:33 {top} {target} rw - cgroup cgroup rw,{controllers}")
        self.own.append(f"4:{controllers}:{own}")

    def version_2(self, target: str, own: str, top: str = "/") -> None:
        self.mounts.append(f"41 31 0:38 {top} {target} rw - cgroup2 cgroup2 rw,nsdelegate")
        self.own.append(f"0::{own}")

    def cgroup(self, path: str, gives: str = "", has: str = "cpu memory pids", members="") -> Path:
        """A cgroup of version 2."""
        made = self.root / path.lstrip("/")
        made.mkdir(parents=True, exist_ok=True)
        (made / "cgroup.controllers").write_text(has)
        (made / "cgroup.subtree_control").write_text(gives)
        (made / "cgroup.procs").write_text(members)
        (made / "cgroup.type").write_text("domain")
        return made

    def find(self) -> dict[str, Hierarchy]:
        (self.root / "proc/self/mountinfo").write_text("".join(f"{m}\n" for m in self.mounts))
        (self.root / "proc/self/cgroup").write_text("".join(f"{one}\n" for one in self.own))
        return {
            name: Hierarchy(place.version, place.directory.removeprefix(str(self.root)))
            for name, place in find_hierarchies(ALL, str(self.root)).items()
        }


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose mkdir() and rmdir() are a cgroup file system's."""
    make, remove = os.mkdir, os.rmdir

    def mkdir(path, mode=0o777, **options):
        make(path, mode, **options)
        parent = Path(path).parent
        if (parent / "cgroup.subtree_control").exists():
            given = (parent / "cgroup.subtree_control").read_text().replace("+", "").split()
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.kill", "cpu.stat"]
            names += [file for name in given for file in FILES[name]]
        else:
            names = ["tasks", *(file for files in VERSION_1.values() for file in files)]
        for name in names:
            (Path(path) / name).write_text("")

    def rmdir(path, **options):
        if "pycontainer." in str(path) and Path(path).exists():
            for entry in list(Path(path).iterdir()):
                if entry.is_file():
                    entry.unlink()
        remove(path, **options)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)
    return Host(tmp_path)


def test_version_1(host):
    for target, controllers in (("memory", "memory"), ("cpu,cpuacct", "cpu,cpuacct")):
        (host.root / "cg" / target / "me").mkdir(parents=True)
        host.version_1(f"/cg/{target}", controllers, "/me")
    assert host.find() == {
        "memory": Hierarchy(1, "/cg/memory/me"),
        "cpu": Hierarchy(1, "/cg/cpu,cpuacct/me"),
        "cpuacct": Hierarchy(1, "/cg/cpu,cpuacct/me"),
    }
    assert not list(host.root.rglob("pycontainer*"))


def test_version_1_that_shows_a_part(host):
    (host.root / "cg/me").mkdir(parents=True)
    host.version_1("/cg", "memory", "/docker/a/me", top="/docker/a")
    assert host.find() == {"memory": Hierarchy(1, "/cg/me")}
    host.own = ["4:memory:/docker/ab"]
    assert host.find() == {}
    host.own = ["4:memory:/../other"]
    assert host.find() == {}


def test_version_2_of_root(host):
    top = host.cgroup("/cg", gives="cpu memory pids")
    (top / "cgroup.type").unlink()
    host.version_2("/cg", "/")
    assert host.find() == dict.fromkeys(ALL, Hierarchy(2, "/cg"))


def test_version_2_above_a_scope(host):
    host.cgroup("/cg", gives="cpu memory pids")
    host.cgroup("/cg/app", gives="memory pids")
    host.cgroup("/cg/app/scope", members=f"{os.getpid()}\n1\n")
    host.version_2("/cg", "/app/scope")
    found = host.find()
    assert found["memory"] == found["pids"] == Hierarchy(2, "/cg/app")
    assert found["cpu"] == Hierarchy(2, "/cg")
    assert found["cpuacct"] == Hierarchy(2, "/cg/app/scope")


def test_version_2_delegated(host):
    """The caller moves to a child, so that its cgroup can give controllers to others."""
    host.cgroup("/cg")
    scope = host.cgroup("/cg/scope", members=f"{os.getpid()}\n")
    host.version_2("/cg", "/scope")
    host.find()
    assert (scope / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (scope / "pycontainer.caller/cgroup.procs").read_text() == str(os.getpid())


def test_version_2_with_strangers_in_it(host):
    host.cgroup("/cg")
    scope = host.cgroup("/cg/scope", members=f"{os.getpid()}\n1\n")
    host.version_2("/cg", "/scope")
    assert set(host.find()) == {"cpuacct"}
    assert not (scope / "pycontainer.caller").exists()
    assert (scope / "cgroup.subtree_control").read_text() == ""


def test_hybrid(host):
    (host.root / "cg/memory").mkdir(parents=True)
    host.version_1("/cg/memory", "memory", "/")
    host.cgroup("/cg/unified", has="", gives="")
    host.version_2("/cg/unified", "/")
    assert host.find() == {
        "memory": Hierarchy(1, "/cg/memory"),
        "cpuacct": Hierarchy(2, "/cg/unified"),
    }


def test_no_cgroups(host):
    assert host.find() == {}
    host.version_2("/nowhere", "/")
    assert host.find() == {}


def test_names_with_blanks(host):
    host.cgroup("/cg x/a b", gives="memory")
    host.version_2(r"/cg\040x", "/a b")
    assert host.find()["memory"] == Hierarchy(2, "/cg x/a b")


BOUNDS = {"memory": 1 << 20, "pids": 7, "cpu": 50_000, "cpuacct": 0}


def contents(directory: Path) -> dict[str, str]:
    return {
        path.name: path.read_text()
        for path in directory.iterdir()
        if path.is_file() and path.read_text()
    }


def test_what_is_written_to_version_2(host):
    top = host.cgroup("/cg", gives="cpu memory pids")
    made = Cgroups(BOUNDS, dict.fromkeys(ALL, Hierarchy(2, str(top))))
    directory = top / made.name
    assert contents(directory) == {
        "memory.max": "1048576",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }
    members = os.readlink(f"/proc/self/fd/{made.members[0].fd}")
    assert members == str(directory / "inside/cgroup.procs")
    files = {
        number: os.path.basename(os.readlink(f"/proc/self/fd/{fd.fd}"))
        for number, fd in made.files.items()
    }
    assert files == {
        lib.PC_WATCH_CPU_USER: "cpu.stat",
        lib.PC_WATCH_PEAK: "memory.peak",
        lib.PC_WATCH_OOM: "memory.events",
        lib.PC_WATCH_KILL: "cgroup.kill",
    }
    assert len(made.watched) == 5
    made.remove()
    assert not directory.exists()


def test_what_is_written_to_version_1(host):
    top = host.root / "cg"
    top.mkdir()
    made = Cgroups(BOUNDS, dict.fromkeys(ALL, Hierarchy(1, str(top))))
    directory = top / made.name
    found = contents(directory)
    notice = found.pop("cgroup.event_control").split()
    assert int(notice[0]) == made.files[lib.PC_WATCH_NOTICE].fd
    assert found == {
        "memory.limit_in_bytes": "1048576",
        "memory.memsw.limit_in_bytes": "1048576",
        "pids.max": "7",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
    }
    assert os.readlink(f"/proc/self/fd/{made.members[0].fd}") == str(directory / "inside/tasks")
    made.remove()
    assert not directory.exists()


def test_one_that_cannot_be_made(host):
    from pycontainer import SetupError

    place = Hierarchy(2, str(host.root / "missing"))
    with pytest.raises(SetupError, match="make a cgroup") as caught:
        Cgroups({"memory": 1}, {"memory": place})
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == place.directory


def test_sweeping(host):
    top = host.root / "cg"
    top.mkdir()
    prefix = hierarchies.name_prefix()
    _, namespace, pid, start, _ = prefix.split(".")
    kept = [f"{prefix}0", f"pycontainer.1.{2**30}.5.0", "pycontainer.caller", "other"]
    gone = [
        f"pycontainer.{namespace}.{2**30}.5.0",
        f"pycontainer.{namespace}.{pid}.{int(start) + 1}.0",
    ]
    for name in (*kept, *gone):
        os.mkdir(top / name)
        os.mkdir(top / name / "inside")
    hierarchies.sweep(str(top))
    assert {path.name for path in top.iterdir() if path.is_dir()} == set(kept)


def version_2_here() -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            own = next(
                one[3:] for one in Path("/proc/self/cgroup").read_text().splitlines()
                if one.startswith("0::")
            )  # fmt: skip
            return line.split()[4].rstrip("/") + own.rstrip("/")
    return ""


@pytest.mark.is_root
def test_a_real_one_of_version_2(monkeypatch):
    """Without controllers it still counts processor time, and kills whole."""
    directory = version_2_here()
    if not directory:
        pytest.skip("needs root; the run as root has it, where cgroup v2 is mounted")
    place = Hierarchy(2, directory)
    monkeypatch.setattr(launch_limits, "hierarchies", lambda before: {"cpuacct": place})

    def burn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                while True:
                    pass
        while True:
            pass

    completed = run_container([], burn, limits=Limits(cpu_time=0.5, wall_time=30))
    assert completed.verdict is Verdict.CPU_TIME
    assert completed.enforced["cpu_time"].startswith("cgroup v2")
    assert 0.5 <= completed.usage.user_time + completed.usage.system_time < 1.5
    assert run_container([], lambda: 5, limits=Limits(cpu_time=5)).result() == 5
