"""``Container``: what it keeps, what it refuses, and what ``extend`` makes of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.declare.capabilities import CAPABILITIES, capability_mask
from pycontainer.declare.container import (
    Container,
    Environment,
    extend,
    to_container,
)
from pycontainer.declare.entries import directory, file, symlink
from pycontainer.declare.mounts import Mount, bind, overlay, sysfs, tmpfs
from pycontainer.declare.namespaces import NAMESPACES
from pycontainer.declare.options import ContainerChanges, ContainerOptions


def problems_of(**fields):
    with pytest.raises(ValueError) as caught:
        Container(**fields)
    first, *rest = str(caught.value).split("\n")
    if not rest:
        return [first.removeprefix("container: ")]
    assert first == f"container: {len(rest)} problems"
    return [line.strip() for line in rest]


def test_container_defaults():
    container = Container()
    assert container.mounts == ()
    assert container.namespaces == NAMESPACES
    assert container.rootfs is None
    assert (container.guest_uid, container.guest_gid, container.host_uids) == (0, 0, 1)
    assert container.hostname == "localhost"
    assert container.env == {}
    assert container.cwd == "/"
    assert container.capabilities == "all"
    assert container.lock_mounts and container.no_new_privs and container.loopback_network
    assert not container.writable_root
    assert container.child_is_pid1 is None


def test_container_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Container().hostname = "other"  # type: ignore[misc]


EVERYTHING = Container(
    [bind("/usr"), tmpfs("/a", size="1m"), overlay("/b"), directory("/d"), symlink("/l", "d")],
    namespaces=["user", "mnt", "uts"],
    env={"B": "2", "A": "1"},
    capabilities=["chown"],
    hostname="h",
)


def test_container_hash_equal():
    again = Container(
        [bind("/usr"), tmpfs("/a", size="1m"), overlay("/b"), directory("/d"), symlink("/l", "d")],
        namespaces=("uts", "mnt", "user"),
        env={"A": "1", "B": "2"},
        capabilities={"CAP_CHOWN"},
        hostname="h",
    )
    assert again == EVERYTHING
    assert hash(again) == hash(EVERYTHING)
    assert Container() != EVERYTHING


def test_container_pickle():
    assert pickle.loads(pickle.dumps(EVERYTHING)) == EVERYTHING


def test_container_pickle_hash_of_another_process():
    """The kept hash does not travel: str hashes differ from process to process."""
    script = (
        "import pickle, sys; from pycontainer.declare.container import Container;"
        "c = Container(hostname='h'); hash(c); sys.stdout.buffer.write(pickle.dumps(c))"
    )
    seed = {**os.environ, "PYTHONHASHSEED": "7"}
    sent = subprocess.run(
        [sys.executable, "-c", script], env=seed, stdout=subprocess.PIPE, check=True
    )
    container = pickle.loads(sent.stdout)
    assert hash(container) == hash(Container(hostname="h"))


def test_environment_mapping():
    env = Container(env={"B": "2", "A": Path("/x")}).env
    assert isinstance(env, Mapping)
    assert list(env.items()) == [("A", "/x"), ("B", "2")]
    assert env == {"A": "/x", "B": "2"}
    assert hash(env) == hash(Environment({"A": "/x", "B": "2"}))
    assert repr(env) == "{'A': '/x', 'B': '2'}"
    with pytest.raises(TypeError):
        env["C"] = "3"  # type: ignore[index]


def test_environment_copied():
    variables = {"A": "1"}
    container = Container(env=variables)
    variables["A"] = "2"
    assert container.env["A"] == "1"


def test_mounts_flattened_one_level():
    group = (bind("/a"), bind("/b"))
    assert Container([group, bind("/c")]).mounts == (*group, bind("/c"))
    assert Container(iter([iter(group)])).mounts == group
    assert problems_of(mounts=[[[bind("/a")]]]) == [
        f"mounts: {[bind('/a')]!r} is neither a mount nor an entry"
    ]


def test_mounts_equal_once():
    assert Container([bind("/a"), bind("/b"), bind("/a")]).mounts == (bind("/a"), bind("/b"))


def test_mounts_collection_yields_same_place():
    group = (bind("/a"), file("/etc/hosts", ""), bind("/b"))
    ours = file("/etc/hosts", "::1 me\n")
    assert Container([group, ours]).mounts == (bind("/a"), ours, bind("/b"))
    assert Container([group, [ours]]).mounts == (bind("/a"), ours, bind("/b"))


def test_mounts_collection_yields_to_bind_that_shows_it():
    group = [bind("/usr/lib/python3"), bind("/opt")]
    assert Container([group, bind("/usr", optional=True)]).mounts == (bind("/opt"), bind("/usr"))


@pytest.mark.parametrize(
    "cover",
    [bind("/other", "/usr"), bind("/usr", writable=True), bind("/usr", recursive=False)],
    ids=["another source", "other restrictions", "not recursive"],
)
def test_mounts_collection_hidden_by_bind_that_differs(cover):
    assert "would hide" in problems_of(mounts=[[bind("/usr/lib/python3")], cover])[0]


def test_mounts_collection_twice_inside():
    assert "is given twice" in problems_of(mounts=[[bind("/a"), bind("/b", "/a")]])[0]


def test_mounts_strays():
    assert problems_of(mounts="/usr") == ["mounts: '/usr' is a path; write bind('/usr')"]
    assert problems_of(mounts=["/usr", 3]) == [
        "mounts: '/usr' is a path; write bind('/usr')",
        "mounts: 3 is neither a mount nor an entry",
    ]
    assert problems_of(mounts=bind("/usr")) == [
        "mounts must be a collection; put the one mount in a list"
    ]
    assert problems_of(mounts=3) == ["mounts: 3 is neither a mount nor an entry"]


def test_mounts_same_target():
    assert problems_of(mounts=[bind("/a"), tmpfs("/a")]) == [
        "/a is given twice: bind at /a, tmpfs at /a"
    ]
    assert problems_of(mounts=[bind("/x", "/a"), file("/a", "")]) == [
        "/a is given twice: bind at /a, file /a"
    ]
    # The same place in another spelling.
    assert problems_of(mounts=[bind("/x", "/a/b"), bind("/y", "//a/./b/")]) == [
        "/a/b is given twice: bind at /a/b, bind at /a/b"
    ]


def test_mounts_wrong_order():
    assert problems_of(mounts=[tmpfs("/a/b"), bind("/x", "/a")]) == [
        "bind at /a would hide the earlier tmpfs at /a/b; put /a before /a/b"
    ]
    assert problems_of(mounts=[bind("/usr/lib"), bind("/usr")]) == [
        "bind at /usr would hide the earlier bind at /usr/lib; put /usr before /usr/lib"
    ]
    assert problems_of(mounts=[file("/a/b/c", ""), overlay("/x", "/a")]) == [
        "overlay at /a would hide the earlier file /a/b/c; put /a before /a/b/c"
    ]
    assert Container([bind("/x", "/a"), tmpfs("/a/b"), bind("/y", "/ab")])


def test_mounts_file_where_directory_is_needed():
    assert problems_of(mounts=[bind("/x", "/a/b"), symlink("/a", "c")]) == [
        "bind at /a/b lies below symlink /a",
        "symlink /a stands where the earlier bind at /a/b needs a directory",
    ]
    assert Container([bind("/x", "/a/b"), directory("/a", 0o700)])


def test_mounts_below_link():
    assert problems_of(mounts=[symlink("/lib", "usr/lib"), bind("/x", "/lib/a/b")]) == [
        "bind at /lib/a/b lies below symlink /lib"
    ]
    assert problems_of(mounts=[file("/a", ""), directory("/a/b")]) == [
        "directory /a/b lies below file /a"
    ]


@pytest.mark.parametrize(
    ("mounts", "problem"),
    [
        ([bind("/usr"), file("/usr/a", "")], "file /usr/a lies in the bind at /usr; nothing is"),
        ([overlay("/usr"), directory("/usr/a")], "directory /usr/a lies in the overlay at /usr; n"),
        ([directory("/proc/a")], "directory /proc/a lies in /proc, which takes no files"),
        ([symlink("/dev/pts/a", "b")], "symlink /dev/pts/a lies in /dev/pts, which takes no"),
        ([sysfs("/s"), file("/s/a", "")], "file /s/a lies in the sysfs at /s, which takes no"),
        ([Mount("/s", "tmpfs", writable=False), file("/s/a", "")], "file /s/a lies in the read-on"),
    ],
)
def test_entries_where_nothing_can_be_made(mounts, problem):
    assert problems_of(mounts=mounts)[0].startswith(problem)


def test_entries_on_tmpfs():
    Container([bind("/a"), tmpfs("/a/b"), file("/a/b/c", ""), file("/dev/shm/x", "")])
    Container([directory("/proc/a")], namespaces=NAMESPACES - {"pid"})
    Container([tmpfs("/proc"), directory("/proc/a")])


def test_entries_rootfs():
    Container(
        [tmpfs("/run"), file("/run/a", ""), file("/tmp/a", ""), file("/dev/a", "")], rootfs="/r"
    )
    assert problems_of(mounts=[file("/etc/a", "")], rootfs="/r") == [
        "file /etc/a lies in rootfs; nothing is written to the host"
    ]


def test_namespaces_unknown():
    assert problems_of(namespaces={"usr", "mount", "mnt"}) == [
        "namespaces: unknown namespace 'mount'; did you mean 'mnt'?",
        "namespaces: unknown namespace 'usr'; did you mean 'user'?",
    ]
    assert problems_of(namespaces="user") == [
        "namespaces must be a collection of names, not 'user'; write {'user'}"
    ]
    assert problems_of(namespaces=None)
    assert problems_of(namespaces=[1])


def test_namespaces_without_mnt():
    names = NAMESPACES - {"mnt"}
    assert Container(namespaces=names)
    found = problems_of(mounts=[bind("/a")], namespaces=names, rootfs="/r", writable_root=True)
    assert [problem.split(":")[0] for problem in found] == ["mounts", "rootfs", "writable_root"]
    assert problems_of(namespaces=names, root_size="1m")


def test_namespaces_that_file_systems_need():
    names = NAMESPACES - {"net"}
    assert problems_of(mounts=[sysfs()], namespaces=names) == [
        "sysfs at /sys needs the 'net' namespace"
    ]
    # Real root may mount the host's.
    assert Container([sysfs()], namespaces=names - {"user"})


def test_rootfs_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Container(rootfs="r").rootfs == str(tmp_path / "r")
    assert Container(rootfs=Path("r")).rootfs == str(tmp_path / "r")


def test_rootfs_refused():
    assert problems_of(rootfs="/") == ["rootfs is '/'; bind what the container needs of it"]
    assert problems_of(rootfs="") == ["rootfs is empty"]
    assert problems_of(rootfs="/r", root_size="1m") == [
        "root_size is for the tmpfs root; with rootfs= there is none"
    ]


@pytest.mark.parametrize("size", [1, "1", "64k", "64M", "1g", "1%", "100%"])
def test_root_size(size):
    assert Container(root_size=size).root_size == str(size)


@pytest.mark.parametrize("size", [0, -1, "", "%", "m", "1.5g", "101%", "10 %", 1.5, True, "٣"])
def test_root_size_refused(size):
    assert problems_of(root_size=size)[0].startswith("root_size")


def test_hostname():
    assert Container(hostname="a" * 64)
    assert problems_of(hostname="a" * 65) == ["hostname is 65 bytes long; the kernel takes 64"]
    assert problems_of(hostname="é" * 33) == ["hostname is 66 bytes long; the kernel takes 64"]
    assert problems_of(hostname="") == ["hostname is empty"]
    assert problems_of(hostname="a\0b") == ["hostname 'a\\x00b' contains a NUL character"]
    assert problems_of(hostname="a b") == ["hostname 'a b' contains a space, newline or slash"]
    assert problems_of(hostname="h", namespaces=NAMESPACES - {"uts"}) == [
        "hostname needs the 'uts' namespace; without it the name is the host's"
    ]


def test_ids_bounds():
    last = 2**32 - 2
    assert Container(guest_uid=last, guest_gid=last)
    assert Container(host_uid_start=last, host_gid_start=last)
    assert problems_of(guest_uid=-1, guest_gid=last + 1, host_uid_start="x", host_uids=True) == [
        "guest_uid -1 is outside 0 to 4294967294",
        "guest_gid 4294967295 is outside 0 to 4294967294",
        "host_uid_start must be an int, not 'x'",
        "host_uids must be an int, not True",
    ]
    assert problems_of(host_uids=0) == ["host_uids 0 is outside 1 to 4294967295"]
    assert problems_of(host_uid_start=last, host_uids=2) == [
        f"host_uid_start {last} and 2 ids go beyond the last id, {last}"
    ]


def test_ids_mapped():
    assert Container(guest_uid=1000, host_uid_start=0)
    assert Container(guest_uid=999, guest_gid=999, host_uids=1000)
    assert problems_of(guest_uid=1000, guest_gid=1000, host_uids=1000) == [
        "guest_uid 1000 is not mapped: host_uids maps 0 to 999",
        "guest_gid 1000 is not mapped: host_uids maps 0 to 999",
    ]


def test_ids_without_user_namespace():
    names = NAMESPACES - {"user"}
    assert Container(namespaces=names, guest_uid=5, host_uid_start=5)
    assert problems_of(namespaces=names, host_uid_start=100000) == [
        "host_uid_start 100000: without the 'user' namespace ids are the host's"
    ]


def test_env_refused():
    assert problems_of(env={"": "1", "A=B": "1", "N\0": "1"}) == [
        "env: a name is empty",
        "env: name 'A=B' contains '='",
        "env: a name 'N\\x00' contains a NUL character",
    ]
    assert problems_of(env=[("A", "1")]) == ["env must be a mapping of names to values, not list"]
    assert Container(env={"EMPTY": ""}).env["EMPTY"] == ""


def test_env_value_not_shown():
    problem = "\n".join(problems_of(env={"A": "hush\0", "B": b"hush", "C": "hush\ud800"}))
    assert "'A'" in problem and "'B'" in problem and "'C'" in problem
    assert "hush" not in problem


def test_cwd():
    assert Container(cwd=Path("/srv//x/")).cwd == "/srv/x"
    assert problems_of(cwd="srv") == [
        "cwd 'srv' is relative; a place in the container starts with '/'"
    ]
    assert problems_of(cwd="/srv/..") == ["cwd '/srv/..' contains '..'"]


def test_capabilities_spelling():
    wanted = frozenset({"CAP_CHOWN", "CAP_NET_BIND_SERVICE"})
    assert Container(capabilities=["chown", "Cap_Net_Bind_Service"]).capabilities == wanted
    assert Container(capabilities=()).capabilities == frozenset()
    assert Container(capabilities="ALL").capabilities == "all"


def test_capabilities_refused():
    assert problems_of(capabilities=["CAP_CHWON"]) == [
        "capabilities: unknown capability 'CAP_CHWON'; did you mean 'CAP_CHOWN'?"
    ]
    assert problems_of(capabilities="chown") == [
        "capabilities must be 'all' or a collection of names, not 'chown'"
    ]
    assert problems_of(capabilities=None)
    assert problems_of(capabilities=[3])


def test_capabilities_numbers():
    assert sorted(CAPABILITIES.values()) == list(range(41))
    assert capability_mask(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]) == 1 | 1 << 40


def test_places_spelling():
    container = Container(masked_paths=["/a//b/", Path("/c"), "/a/b"], readonly_paths=iter(["/d"]))
    assert container.masked_paths == ("/a/b", "/c")
    assert container.readonly_paths == ("/d",)


def test_places_refused():
    assert problems_of(masked_paths="/a", readonly_paths=["b", "/c/..", 4, "/"]) == [
        "readonly_paths 'b' is relative; a place in the container starts with '/'",
        "readonly_paths '/c/..' contains '..'",
        "readonly_paths must be a str or a path, not int",
        "readonly_paths: '/' is the root: writable_root=False makes it read-only",
        "masked_paths must be a collection of paths, not '/a'",
    ]
    assert problems_of(masked_paths=["/"]) == [
        "masked_paths: '/' is the root: name what is to be hidden"
    ]
    assert problems_of(masked_paths=7) == ["masked_paths must be a collection of paths, not 7"]


def test_places_need_mounts_of_their_own():
    found = problems_of(namespaces=["user"], masked_paths=["/a"], readonly_paths=["/b"])
    assert found == [
        f"{name}: without the 'mnt' namespace the host's mounts are seen"
        for name in ("readonly_paths", "masked_paths")
    ]


def test_flags_refused():
    assert problems_of(lock_mounts=1, no_new_privs="no", child_is_pid1=0, writable_root=None) == [
        "writable_root must be True or False, not None",
        "lock_mounts must be True or False, not 1",
        "no_new_privs must be True or False, not 'no'",
        "child_is_pid1 must be True or False, not 0",
    ]
    assert problems_of(ambient_capabilities=None, set_id_files=0) == [
        "ambient_capabilities must be True or False, not None",
        "set_id_files must be True or False, not 0",
    ]


def test_container_every_problem_at_once():
    assert len(problems_of(mounts=[3], namespaces={"x"}, hostname="", env={"": ""}, cwd="x")) == 5


def test_container_unknown_field():
    with pytest.raises(TypeError, match="hostnam"):
        Container(hostnam="x")  # type: ignore[call-arg]


def test_extend_appends_and_merges():
    base = Container([bind("/a")], env={"A": "1", "B": "1"}, hostname="h")
    longer = extend(base, bind("/b"), (bind("/c"), bind("/d")), env={"B": "2"}, cwd="/a")
    assert longer == Container(
        [bind("/a"), bind("/b"), bind("/c"), bind("/d")],
        env={"A": "1", "B": "2"},
        hostname="h",
        cwd="/a",
    )
    assert base.env == {"A": "1", "B": "1"}
    assert extend(base) is base


def test_extend_replaces_same_place():
    base = Container([bind("/a"), bind("/b")])
    assert extend(base, bind("/x", "/a")).mounts == (bind("/x", "/a"), bind("/b"))
    with pytest.raises(ValueError, match="given twice"):
        extend(base, bind("/x", "/c"), bind("/y", "/c"))


def test_extend_refused():
    with pytest.raises(ValueError, match="hostname is empty"):
        extend(Container(), hostname="")
    with pytest.raises(TypeError):
        extend(Container(), hostnam="x")  # type: ignore[call-arg]


def test_to_container():
    container = Container([bind("/a")], env={"A": "1"})
    assert to_container(container, {}) is container
    assert to_container([bind("/a")], {"env": {"A": "1"}}) == container
    assert to_container(container, {"env": {"B": "2"}}).env == {"A": "1", "B": "2"}


def test_container_options_are_the_fields():
    fields = {field.name for field in attrs.fields(Container)} - {"mounts"}
    assert set(ContainerOptions.__annotations__) == fields
    assert set(ContainerChanges.__annotations__) == fields - {"env"}


PLACES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(PLACES, max_size=6))
def test_mounts_accepted_exactly_when_none_hides_another(places):
    mounts = [bind("/x", place) for place in places]
    distinct = list(dict.fromkeys(places))
    hides = any(
        later.startswith(f"{earlier}/") is False and earlier.startswith(f"{later}/")
        for index, earlier in enumerate(distinct)
        for later in distinct[index + 1 :]
    )
    if hides:
        assert all("would hide" in problem for problem in problems_of(mounts=mounts))
    else:
        assert [mount.target for mount in Container(mounts).mounts] == distinct  # type: ignore[union-attr]


def test_a_front_door_makes_the_same_container_once():
    mounts = [tmpfs("/x")]
    first = to_container(mounts, {"hostname": "box"})
    assert first is to_container([tmpfs("/x")], {"hostname": "box"})
    assert first == Container(mounts, hostname="box")
    assert to_container(mounts, {"env": {"A": "b"}}) == Container(mounts, env={"A": "b"})


def test_a_wrong_option_is_not_taken_for_a_right_one_that_equals_it():
    to_container([], {"writable_root": True, "guest_uid": 1})
    wrong: list[Any] = [
        {"writable_root": 1, "guest_uid": 1},
        {"writable_root": True, "guest_uid": 1.0},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"writable_root|guest_uid"):
            to_container([], options)


def test_a_relative_rootfs_is_that_of_the_moment(tmp_path, monkeypatch):
    found = set()
    for name in ("a", "b"):
        (tmp_path / name / "root").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        found.add(to_container([], {"rootfs": "root"}).rootfs)
    assert found == {str(tmp_path / "a" / "root"), str(tmp_path / "b" / "root")}
