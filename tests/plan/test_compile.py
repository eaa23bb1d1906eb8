"""``compile``: which steps a container has, in which order."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pycontainer.declare import arrangement, mounts
from pycontainer.declare.container import Container
from pycontainer.declare.entries import directory, file, symlink
from pycontainer.declare.mounts import Mount, bind, device, overlay, tmpfs
from pycontainer.declare.namespaces import NAMESPACES
from pycontainer.plan import defaults
from pycontainer.plan.compile import Plan, compile
from pycontainer.plan.steps import PHASES, MountAttr, Op, Step, StepFlag

RO, NOSUID, NODEV, NOEXEC = (
    MountAttr.READ_ONLY,
    MountAttr.NO_SUID,
    MountAttr.NO_DEV,
    MountAttr.NO_EXEC,
)
CREATE = StepFlag.CREATE_TARGET
RECURSIVE = StepFlag.RECURSIVE
OPTIONAL = StepFlag.OPTIONAL


def ops(plan):
    return [step.op for step in plan.steps]


def files(container):
    """The steps on files that are not those of the same container without mounts."""
    steps = [step for step in compile(container).steps if step.phase == "files"]
    plain = compile(Container(rootfs=container.rootfs, namespaces=container.namespaces)).steps
    return [step for step in steps if step not in plain]


def at(container, path):
    return [step for step in compile(container).steps if step.path == path]


def below(container, path):
    return [s for s in compile(container).steps if s.phase == "files" and s.path.startswith(path)]


def test_compile_order():
    found = [
        op
        for op in ops(compile(Container(capabilities=())))
        if op.name
        not in ("MOUNT", "BIND", "MAKE_DIRECTORY", "MAKE_SYMLINK", "WRITE_FILE", "CONSOLE")
    ]
    assert found == [
        Op.MAP_IDS, Op.BECOME, Op.NEW_KEYRING, Op.MAKE_PRIVATE, Op.ROOT_TMPFS, Op.PIVOT,
        Op.SET_HOSTNAME, Op.LOOPBACK_UP, Op.ROOT_READ_ONLY, Op.LOCK, Op.CHANGE_DIRECTORY,
        Op.LIMIT_CAPABILITIES, Op.NO_NEW_PRIVILEGES, Op.SET_LIMIT,
    ]  # fmt: skip


def test_compile_phases_in_order():
    for container in (Container([bind("/a")], capabilities=()), Container(rootfs="/r")):
        places = [PHASES.index(step.phase) for step in compile(container).steps]
        assert places == sorted(places)


def test_compile_hook():
    plan = compile(Container())
    assert plan.steps_before_hook + plan.steps_after_hook == plan.steps
    assert plan.steps_before_hook[-1].op is Op.LOOPBACK_UP
    assert plan.steps_after_hook[0].op is Op.ROOT_READ_ONLY


def test_compile_cached():
    assert compile(Container([bind("/a")])) is compile(Container([bind("/a")]))
    assert compile(Container(env={"A": "1"})).steps == compile(Container()).steps


def test_compile_without_mnt():
    plan = compile(Container(namespaces=NAMESPACES - {"mnt"}))
    assert ops(plan) == [
        Op.MAP_IDS, Op.BECOME, Op.NEW_KEYRING, Op.SET_HOSTNAME, Op.LOOPBACK_UP,
        Op.CHANGE_DIRECTORY, Op.NO_NEW_PRIVILEGES, Op.SET_LIMIT,
    ]  # fmt: skip


def test_compile_without_user():
    plan = compile(Container(namespaces=NAMESPACES - {"user"}, guest_uid=7))
    assert Op.MAP_IDS not in ops(plan)
    assert Op.LOCK not in ops(plan)
    assert Step(Op.BECOME, numbers=(7, 0)) in plan.steps


def test_compile_without_namespaces():
    assert ops(compile(Container(namespaces=()))) == [
        Op.NEW_KEYRING, Op.BECOME, Op.CHANGE_DIRECTORY, Op.NO_NEW_PRIVILEGES, Op.SET_LIMIT,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "op"),
    [
        ({"lock_mounts": False}, Op.LOCK),
        ({"writable_root": True}, Op.ROOT_READ_ONLY),
        ({"loopback_network": False}, Op.LOOPBACK_UP),
        ({"no_new_privs": False}, Op.NO_NEW_PRIVILEGES),
        ({"namespaces": NAMESPACES - {"uts"}}, Op.SET_HOSTNAME),
        ({"namespaces": NAMESPACES - {"net"}}, Op.LOOPBACK_UP),
    ],
)
def test_compile_option_removes_step(option, op):
    assert op in ops(compile(Container()))
    assert op not in ops(compile(Container(**option)))


def test_compile_ids():
    one = compile(Container(guest_uid=5, guest_gid=6)).steps
    assert one[:2] == (Step(Op.MAP_IDS, numbers=(5, 6, 1)), Step(Op.BECOME, numbers=(5, 6)))
    many = compile(Container(guest_uid=5, guest_gid=6, host_uids=100)).steps
    assert many[:2] == (Step(Op.MAP_IDS, numbers=(0, 0, 100)), Step(Op.BECOME, numbers=(5, 6)))


def test_compile_capabilities():
    assert Op.LIMIT_CAPABILITIES not in ops(compile(Container()))
    kept = compile(Container(capabilities=["chown", "kill"])).steps
    assert Step(Op.LIMIT_CAPABILITIES, numbers=(0b100001,)) in kept

    plain = compile(Container(capabilities=["chown"], ambient_capabilities=False)).steps
    assert Step(Op.LIMIT_CAPABILITIES, numbers=(1, 1)) in plain


def test_compile_places():
    plan = compile(Container(readonly_paths=["/a"], masked_paths=["/b", "/c"]))
    where = StepFlag.OPTIONAL_TARGET
    null = Step(Op.HOLD_MASKS, "/dev/null", numbers=(os.makedev(1, 3),))
    after_hook = plan.steps_after_hook[:5]
    assert plan.steps[plan.steps.index(null) + 1].op is Op.PIVOT
    assert after_hook == (
        Step(Op.ROOT_READ_ONLY),
        Step(Op.MAKE_READ_ONLY, "/a", flags=where),
        Step(Op.MASK, "/b", flags=where),
        Step(Op.MASK, "/c", flags=where),
        Step(Op.LOCK),
    )
    assert Op.HOLD_MASKS not in ops(compile(Container(readonly_paths=["/a"])))


def test_compile_names():
    steps = compile(Container(hostname="h", cwd="/srv", root_size="5m")).steps
    assert Step(Op.SET_HOSTNAME, "h") in steps
    assert Step(Op.CHANGE_DIRECTORY, "/srv") in steps
    assert Step(Op.ROOT_TMPFS, "5m", mode=0o755) in steps


def test_defaults_follow_namespaces():
    assert at(Container(), "/proc") and at(Container(), "/sys")
    assert not at(Container(namespaces=NAMESPACES - {"pid"}), "/proc")
    assert not at(Container(namespaces=NAMESPACES - {"net"}), "/sys")
    assert not at(Container(namespaces=NAMESPACES - {"net"}), "/etc/hosts")


def test_defaults_kernel_file_systems():
    closed = NOSUID | NODEV | NOEXEC
    assert at(Container(), "/proc") == [
        Step(Op.MOUNT, "/proc", "proc", flags=CREATE, numbers=(closed,))
    ]
    assert at(Container(), "/sys") == [
        Step(
            Op.MOUNT,
            "/sys",
            "sysfs",
            flags=CREATE | StepFlag.IGNORE_EPERM,
            numbers=(closed | RO,),
        )
    ]


@pytest.mark.parametrize("path", ["/dev", "/dev/shm", "/tmp"])
def test_defaults_tmpfs_are_bounded(path):
    (step,) = at(Container(), path)
    assert step.options[0].startswith("size=")
    assert step.attributes & NOSUID


def test_defaults_devices():
    devices = [s for s in compile(Container()).steps if s.flags & StepFlag.DEVICE]
    assert [s.path for s in devices] == [
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")
    ]
    for step in devices:
        assert step.other == step.path
        assert step.flags == StepFlag.DEVICE | OPTIONAL | CREATE
        assert step.attributes == RO | NOSUID | NOEXEC


def test_defaults_links():
    links = {s.path: s.other for s in compile(Container()).steps if s.op is Op.MAKE_SYMLINK}
    assert links == {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
        "/dev/ptmx": "pts/ptmx",
    }


def content(container, path):
    (step,) = at(container, path)
    return step.content.decode().splitlines()


def test_defaults_hosts():
    assert content(Container(), "/etc/hosts") == ["127.0.0.1 localhost", "::1 localhost"]
    named = Container(hostname="h")
    assert content(named, "/etc/hosts")[2:] == ["127.0.0.1 h"]
    assert at(named, "/etc/hosts")[0].mode == 0o444


def test_defaults_accounts():
    assert content(Container(), "/etc/passwd") == [
        "root:x:0:0:root:/:/bin/sh",
        "nobody:x:65534:65534:nobody:/:/bin/sh",
    ]
    guest = Container(guest_uid=1000, guest_gid=100)
    assert content(guest, "/etc/passwd") == [
        "root:x:0:0:root:/:/bin/sh",
        "guest:x:1000:100:guest:/:/bin/sh",
        "nobody:x:65534:65534:nobody:/:/bin/sh",
    ]
    assert content(guest, "/etc/group") == ["root:x:0:", "guest:x:100:", "nogroup:x:65534:"]


def test_defaults_accounts_of_known_ids():
    """Each id has one name, whichever ids the guest has."""
    nobody = Container(guest_uid=65534, guest_gid=65534)
    assert len(content(nobody, "/etc/passwd")) == len(content(nobody, "/etc/group")) == 2
    assert content(Container(guest_gid=5), "/etc/passwd")[0] == "root:x:0:5:root:/:/bin/sh"


def test_defaults_replaced_by_mount():
    (step,) = at(Container([tmpfs("/tmp", size="1m")]), "/tmp")
    assert step.options == ("size=1m", "mode=755")
    assert at(Container([bind("/x", "/proc")]), "/proc")[0].op is Op.BIND


def test_defaults_replaced_by_entry():
    (step,) = at(Container([file("/etc/hosts", "x")]), "/etc/hosts")
    assert step.content == b"x"
    assert [s.op for s in at(Container([symlink("/tmp", "var/tmp")]), "/tmp")] == [Op.MAKE_SYMLINK]


@pytest.mark.parametrize(
    "mount", [bind("/etc"), tmpfs("/etc"), overlay("/etc"), symlink("/etc", "usr/etc")]
)
def test_defaults_below_a_mount_are_left_out(mount):
    assert not below(Container([mount]), "/etc/passwd")
    assert not below(Container([mount]), "/etc/hosts")


def test_defaults_below_bind_of_dev():
    assert [s.op for s in below(Container([bind("/dev")]), "/dev")] == [Op.BIND]


def test_defaults_make_way_for_directories():
    """A mount of the container's own below a default link needs a directory there."""
    found = below(Container([bind("/x", "/dev/fd/x")]), "/dev/fd")
    assert [s.op for s in found] == [Op.MAKE_DIRECTORY, Op.BIND]


def test_defaults_rootfs():
    steps = compile(Container(rootfs="/r")).steps
    assert steps[4] == Step(Op.ROOT_DIRECTORY, "/r", flags=RECURSIVE, numbers=(RO | NODEV,))
    assert not [s for s in steps if s.op in (Op.MAKE_DIRECTORY, Op.WRITE_FILE)]
    for step in steps:
        if step.phase == "files":
            assert step.flags & StepFlag.OPTIONAL_TARGET
        if step.flags & CREATE:
            assert step.path.startswith("/dev/")  # on the tmpfs that is mounted there
    assert Op.ROOT_READ_ONLY not in [s.op for s in steps]


def test_rootfs_writable():
    steps = compile(Container(rootfs="/r", writable_root=True)).steps
    assert steps[4] == Step(Op.ROOT_DIRECTORY, "/r", flags=RECURSIVE, numbers=(NODEV,))


def test_bind_step():
    assert files(Container([bind("/a", "/b")])) == [
        Step(Op.BIND, "/b", "/a", flags=RECURSIVE | CREATE, numbers=(RO | NOSUID | NODEV,))
    ]
    loose = bind(
        "/a", writable=True, recursive=False, optional=True, nosuid=False, nodev=False, noexec=True
    )
    assert files(Container([loose])) == [
        Step(Op.BIND, "/a", "/a", flags=CREATE | OPTIONAL, numbers=(NOEXEC,))
    ]


def test_device_step():
    assert files(Container([device("/dev/fuse")])) == [
        Step(
            Op.BIND,
            "/dev/fuse",
            "/dev/fuse",
            flags=CREATE | StepFlag.DEVICE,
            numbers=(RO | NOSUID | NOEXEC,),
        )
    ]


def test_mount_step():
    mount = Mount("/a", "tmpfs", atime="strict", nosymfollow=True, optional=True)
    attributes = NOSUID | NODEV | MountAttr.STRICT_ATIME | MountAttr.NO_SYMFOLLOW
    assert files(Container([mount])) == [
        Step(Op.MOUNT, "/a", "tmpfs", ("size=10%",), flags=CREATE | OPTIONAL, numbers=(attributes,))
    ]
    assert files(Container([Mount("/a", "tmpfs", options=["size=1m"])]))[0].options == ("size=1m",)


def test_parents_made_once():
    container = Container([bind("/x", "/a/b/c"), bind("/x", "/a/b/d"), file("/a/e/f", "")])
    assert [(s.op, s.path) for s in files(container)] == [
        (Op.MAKE_DIRECTORY, "/a"),
        (Op.MAKE_DIRECTORY, "/a/b"),
        (Op.BIND, "/a/b/c"),
        (Op.BIND, "/a/b/d"),
        (Op.MAKE_DIRECTORY, "/a/e"),
        (Op.WRITE_FILE, "/a/e/f"),
    ]
    assert {s.mode for s in files(container) if s.op is Op.MAKE_DIRECTORY} == {0o755}


def test_parents_shared_with_defaults():
    assert [s.path for s in files(Container([bind("/x", "/etc/x"), bind("/x", "/tmp/x")]))] == [
        "/etc/x",
        "/tmp/x",
    ]


def test_parents_have_the_mode_of_a_later_directory():
    container = Container([bind("/x", "/a/b"), directory("/a", 0o700)])
    assert files(container)[0] == Step(Op.MAKE_DIRECTORY, "/a", mode=0o700)
    assert [s.path for s in files(container)] == ["/a", "/a/b"]


@pytest.mark.parametrize(
    "ground",
    [bind("/x", "/a"), overlay("/x", "/a"), Mount("/a", "tmpfs", writable=False)],
    ids=["bind", "overlay", "read-only tmpfs"],
)
def test_nothing_made_where_nothing_may_be(ground):
    """Below a bind the target must exist: on the host nothing is created."""
    steps = files(Container([ground, bind("/y", "/a/b/c")]))
    assert steps[-1].path == "/a/b/c"
    assert not steps[-1].flags & CREATE
    assert not [s for s in steps if s.path == "/a/b"]


def test_nothing_made_in_rootfs():
    assert files(Container([bind("/y", "/a/b"), tmpfs("/run")], rootfs="/r")) == [
        Step(Op.BIND, "/a/b", "/y", flags=RECURSIVE, numbers=(RO | NOSUID | NODEV,)),
        Step(Op.MOUNT, "/run", "tmpfs", ("size=10%", "mode=755"), numbers=(NOSUID | NODEV,)),
    ]


def test_made_on_tmpfs_in_bind():
    steps = files(Container([bind("/x", "/a"), tmpfs("/a/b"), bind("/y", "/a/b/c/d")]))
    assert [(s.op, s.path, bool(s.flags & CREATE)) for s in steps] == [
        (Op.BIND, "/a", True),
        (Op.MOUNT, "/a/b", False),
        (Op.MAKE_DIRECTORY, "/a/b/c", False),
        (Op.BIND, "/a/b/c/d", True),
    ]


def test_made_on_tmpfs_in_rootfs():
    steps = files(Container([tmpfs("/run"), file("/run/a/b", "x")], rootfs="/r"))
    assert [s.path for s in steps] == ["/run", "/run/a", "/run/a/b"]


def test_nothing_made_in_proc():
    (step,) = files(Container([bind("/dev/null", "/proc/kcore")]))
    assert not step.flags & CREATE


def test_entries_in_order_with_mounts():
    container = Container(
        [file("/a", "1"), tmpfs("/t"), symlink("/t/l", "m"), directory("/t/d", 0o1777)]
    )
    assert files(container) == [
        Step(Op.WRITE_FILE, "/a", content=b"1", mode=0o644),
        Step(
            Op.MOUNT,
            "/t",
            "tmpfs",
            ("size=10%", "mode=755"),
            flags=CREATE,
            numbers=(NOSUID | NODEV,),
        ),
        Step(Op.MAKE_SYMLINK, "/t/l", "m"),
        Step(Op.MAKE_DIRECTORY, "/t/d", mode=0o1777),
    ]


def test_overlay_temporary():
    attributes = (NOSUID | NODEV,)
    assert files(Container([overlay(["/x", "/y"], "/a/o")])) == [
        Step(Op.MAKE_DIRECTORY, "/a", mode=0o755),
        Step(Op.MOUNT, "/a/o", "tmpfs", ("size=10%", "mode=755"), flags=CREATE, numbers=attributes),
        Step(Op.MAKE_DIRECTORY, "/a/o/upper", mode=0o755),
        Step(Op.MAKE_DIRECTORY, "/a/o/work", mode=0o755),
        Step(Op.BIND, "/a/o/lower0", "/x", flags=CREATE, numbers=(RO | NOSUID | NODEV,)),
        Step(Op.BIND, "/a/o/lower1", "/y", flags=CREATE, numbers=(RO | NOSUID | NODEV,)),
        Step(
            Op.MOUNT,
            "/a/o",
            "overlay",
            ("lowerdir=lower0:lower1", "upperdir=upper", "workdir=work", "userxattr"),
            numbers=attributes,
        ),
    ]


def test_overlay_with_upper():
    names = NAMESPACES - {"user"}
    (step,) = files(Container([overlay("/x", upper="/u", work="/w")], namespaces=names))
    assert step.options == ("lowerdir=/x", "upperdir=/u", "workdir=/w")
    assert step.flags == CREATE


def test_tree_steps():
    plan = compile(Container([bind("/a"), tmpfs("/t"), bind("/b")], rootfs="/r"))
    assert [s.op for s in plan.tree_steps[:2]] == [Op.ROOT_DIRECTORY, Op.BIND]
    assert [s.path for s in plan.tree_steps[-2:]] == ["/a", "/b"]


def test_thousand_binds_are_linear():
    steps = files(Container([bind(f"/s/{i}", f"/t/{i}") for i in range(1000)]))
    assert len(steps) == 1001


def test_plan_by_value():
    plan = compile(Container())
    assert plan == Plan(plan.steps, plan.hook, plan.start)


def test_same_words_in_both_layers():
    """declare must not import plan, so two constants are spelled twice."""
    tmpfs_defaults = {
        step.path for step in defaults.default_steps(Container()) if step.other == "tmpfs"
    }
    assert tmpfs_defaults == arrangement._DEFAULT_TMPFS
    assert mounts.TMPFS_SIZE == defaults.TMPFS_SIZE


def test_compile_without_user_namespace_keeps_capabilities_until_they_are_cut():
    names = NAMESPACES - {"user"}
    options: dict[str, Any] = {"namespaces": names, "guest_uid": 7}
    assert Step(Op.BECOME, numbers=(7, 0)) in compile(Container(**options)).steps
    kept = compile(Container(capabilities=["chown"], **options))
    become = Step(Op.BECOME, numbers=(7, 0, 1))
    assert become in kept.steps
    assert (
        become.describe()
        == "become uid 7 and gid 0, with no other groups, and keep the capabilities"
    )
    assert kept.steps.index(become) < ops(kept).index(Op.LIMIT_CAPABILITIES)
