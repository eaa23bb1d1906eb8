"""list_containers: containers of every maker, and what is none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.inspection import list_containers, survey

from .conftest import HOST, MAKERS, OWN, PROGRAM, children, first_inside, started


@pytest.fixture(scope="module")
def listed(zoo):
    return {each.pid: each for each in list_containers()}


@pytest.mark.parametrize("maker", OWN)
def test_it_is_listed_once(zoo, listed, maker):
    made = zoo[maker]
    container = listed[made.first]
    assert container.kind == "container"
    assert container.complete
    assert container.parent is None
    assert " ".join(container.namespaces) == OWN[maker]
    others = {each.pid for each in listed.values() if each.pid != made.first}
    assert others.isdisjoint(container.pids)
    assert made.outside not in others


@pytest.mark.parametrize("maker", OWN)
def test_maker(zoo, listed, maker):
    expected = maker.partition(",")[0]
    if maker == "unshare, without a pid namespace":
        expected = None  # unshare has become the program
    assert listed[zoo[maker].first].maker == expected


@pytest.mark.parametrize("maker", OWN)
def test_its_program_is_shown_and_not_its_init(zoo, listed, maker):
    container = listed[zoo[maker].first]
    assert container.command == ("cat",)
    assert container.program_pid in container.pids
    assert container.processes == len(container.pids)
    assert container.processes == (2 if maker in ("pycontainer", "bwrap") else 1)


@pytest.mark.parametrize("maker", OWN)
def test_whose_it_is(zoo, listed, maker):
    """Host root's containers of pycontainer run as nobody's id; they are root's."""
    container = listed[zoo[maker].first]
    assert container.uid == os.geteuid()
    if container.uid == 0:
        assert container.user == "root"
    assert container.process_uid == os.stat(f"/proc/{container.program_pid}").st_uid


@pytest.mark.parametrize("maker", OWN)
def test_age_and_memory(zoo, listed, maker):
    container = listed[zoo[maker].first]
    assert 0 <= container.age < 3600
    # An init of ours hides from everybody but root.
    assert container.memory_source in ("pss", "cgroup", "pss+rss" if os.geteuid() else "pss")
    assert 50 << 10 < container.memory < 64 << 20
    assert (container.cgroup is not None) == (container.memory_source == "cgroup")


def test_nested():
    inner = 'unshare -Urmpf --kill-child --mount-proc "$@"; true'
    with started([*MAKERS["unshare"], "sh", "-c", inner, "sh"]) as made:
        outer = {each.pid: each for each in list_containers()}[made.first]
        nested = [each for each in list_containers() if each.parent == outer.pid]
        assert len(nested) == 1
        assert nested[0].namespaces == ("mnt", "pid", "user")
        assert nested[0].command == ("cat",)
        assert set(nested[0].pids) < set(outer.pids)
        assert outer.processes == 3  # with the unshare that waits for the inner one
        assert outer.memory > nested[0].memory


def test_bwrap_in_a_container_of_ours(tmp_path):
    options = ["--host-system", "--no-tty"]
    bwrap = ["bwrap", "--ro-bind", "/", "/", "--unshare-user", "--unshare-uts"]
    with started([*PROGRAM, "run", *options, "--", *bwrap]) as made:
        listed = {each.pid: each for each in list_containers()}
        (nested,) = [each for each in listed.values() if each.parent == made.first]
        assert nested.namespaces == ("mnt", "user", "uts")
        assert nested.maker == "bwrap"
        assert listed[made.first].maker == "pycontainer"


def test_function():
    with pc.start_container([], lambda: time.sleep(60)) as running:
        containers = {each.pid: each for each in list_containers()}
        running.kill()
    assert containers[running.pid].maker == "pycontainer"
    assert containers[running.pid].processes == 1
    assert os.getpid() not in containers


def parent_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def own_spares():
    """Children of this process's helpers that wait in namespaces of their own."""
    found = []
    for each in list_containers(everything=True):
        try:
            if each.kind == "spare" and parent_of(parent_of(each.pid)) == os.getpid():
                found.append(each)
        except FileNotFoundError:
            pass  # it has been used meanwhile, or has waited for long enough
    return found


def test_what_is_kept_ready_is_no_container():
    for _ in range(50):
        pc.call_with_container([], lambda: 1)
        spares = own_spares()
        if spares:
            break
    assert spares
    containers = {each.pid for each in list_containers()}
    for spare in spares:
        assert spare.pid not in containers
        assert "mnt" not in spare.namespaces
        assert {"pid", "net"} <= set(spare.namespaces)
        assert spare.maker == "pycontainer"


def test_container_with_the_lock_is_one():
    with pc.start_command([pc.host_system()], ["sleep", "60"]) as running:
        found = [each for each in list_containers() if running.pid in each.pids]
        running.kill()
    (container,) = found
    assert container.command == ("sleep", "60")
    assert container.uid == os.geteuid()


def test_a_network_alone_is_no_container():
    with started(["unshare", "-Urn"], "user") as made:
        found = survey()
        assert made.first not in {each.pid for each in found.containers}
        assert found.others > 0
        (part,) = [e for e in list_containers(everything=True) if e.pid == made.first]
        assert part.kind == "part"
        assert part.namespaces == ("net", "user")


@pytest.mark.is_root
def test_mounts_alone_are_no_container():
    """As a service with PrivateTmp has them."""
    with started(["unshare", "-m"], "mnt") as made:
        assert made.first not in {each.pid for each in list_containers()}
        (part,) = [e for e in list_containers(everything=True) if e.pid == made.first]
        assert part.namespaces == ("mnt",)


def test_a_visitor_is_none_either():
    with started(MAKERS["unshare"]) as made:
        enter = ["nsenter", "-t", str(made.first), "-U", "-m", "-n", "--preserve-credentials"]
        with started(enter, "net") as visitor:
            containers = {each.pid: each for each in list_containers()}
            assert visitor.first not in containers
            assert visitor.first not in containers[made.first].pids
            (part,) = [e for e in list_containers(everything=True) if e.pid == visitor.first]
            assert part.kind == "visitor"


def test_what_joins_all_of_it_is_in_it():
    with started(MAKERS["unshare"]) as made:
        enter = ["nsenter", "-t", str(made.first), "-U", "-m", "-n", "-p", "--preserve-credentials"]
        with started(enter) as visitor:
            (container,) = [e for e in list_containers() if visitor.first in e.pids]
            assert container.pid == made.first


def test_zombies_do_not_count():
    # cat does not wait for the child that the shell has left to it.
    wait = ["sh", "-c", "sleep 0.01 & echo up; exec cat"]
    with started(MAKERS["unshare"], wait=wait) as made:
        (zombie,) = children(made.first)
        while open(f"/proc/{zombie}/stat").read().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        (container,) = [each for each in list_containers() if each.pid == made.first]
        assert container.pids == (made.first,)


def test_processes_that_end_meanwhile():
    script = "while :; do unshare -Urmpf true; done"
    with subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL) as busy:
        try:
            for _ in range(30):
                for each in list_containers(everything=True):
                    assert each.processes > 0
        finally:
            busy.kill()


def test_cgroup_of_a_container_with_limits():
    """Where it has one of its own, and nowhere else."""
    with pc.start_command(
        [pc.host_system()],
        ["sleep", "60"],
        limits=pc.Limits(memory=64 << 20, processes=20, strict=False),
    ) as running:
        (container,) = [each for each in list_containers() if running.pid in each.pids]
        running.kill()
    if container.cgroup is None:
        assert container.memory_source == "pss"
    else:
        assert "pycontainer" in container.cgroup
        assert os.path.basename(container.cgroup) != "inside"  # the one with the limits
        assert container.memory_source == "cgroup"


LIST = (
    "import json, attrs, pycontainer.inspection as i; s = i.survey(); "
    "print(json.dumps([s.unreadable, [attrs.asdict(c) for c in s.containers]]))"
)


@pytest.mark.is_root
def test_an_ordinary_user_sees_what_anybody_may(zoo):
    """Another user's containers are there, with what is known of them."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", LIST],
        user=65534,
        group=65534,
        extra_groups=[],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unreadable, containers = json.loads(done.stdout)
    assert unreadable > 0
    listed = {each["pid"]: each for each in containers}
    for maker, made in zoo.items():
        if maker == "unshare, without a pid namespace":
            known = "mnt user"
        else:
            known = " ".join(k for k in OWN[maker].split() if k in ("mnt", "pid", "user"))
        each = listed[made.first]
        assert not each["complete"]
        assert " ".join(each["namespaces"]) == known
        assert each["memory_source"] in ("rss", "cgroup")


@pytest.mark.is_root
def test_where_processes_are_hidden():
    """A proc file system with hidepid: what is not to be seen is no error."""
    script = (
        "import os\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "import pycontainer.inspection as i\n"
        "s = i.survey(); print(s.unreadable > 0, len(s.containers))\n"
        "try: i.inspect_container(os.getppid())\n"
        "except PermissionError as e: print(e.strerror)\n"
    )
    mount = 'mount -t proc -o hidepid=noaccess proc /proc; "$@"; true'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == "True 0\nonly its owner and root may look at it\n", done.stderr


@pytest.mark.unprivileged
def test_how_much_an_ordinary_user_does_not_see():
    assert survey().unreadable > 0


def test_a_proc_of_another_pid_namespace_is_refused():
    script = (
        "import os, pycontainer.inspection as i\n"
        "try: i.list_containers()\n"
        "except OSError as e: print(e)"
    )
    done = subprocess.run(
        ["unshare", "-Urpf", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert "another pid namespace" in done.stdout, done.stderr


def test_a_container_is_its_own_host():
    """Inside, the init's namespaces are no container's."""
    script = "import pycontainer.inspection as i; print(i.list_containers())"
    bwrap = ["bwrap", *HOST, "--unshare-all", "--unshare-user"]
    done = subprocess.run(
        [*bwrap, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == "[]\n", done.stderr


def test_first_inside_agrees(zoo):
    """The tests' own idea of a first process is not the package's."""
    assert first_inside(zoo["unshare"].outside, "pid") == zoo["unshare"].first
