"""A container as the Python that makes it: what is read back is what was written."""

from __future__ import annotations

import errno

import pytest

import pycontainer as pc
from pycontainer.shell.spelling import spell

HOSTILE = [
    "/plain",
    "/it's",
    '/say "x"',
    "/both ' and \"",
    "/back\\slash",
    "/new\nline",
    '/"""',
    "/{brace}",
    "/é",
    "/not-utf-8-\udcff",
    '/");__import__("os").system("x',
]

CONTAINERS = [
    pc.Container(),
    pc.SANDBOX,
    pc.extend(
        pc.SANDBOX, pc.host_system(), pc.bind("/srv", "/data", writable=True), env={"A": "b"}
    ),
    pc.Container([pc.host_system(), pc.host_python(), pc.host_network()]),
    *(
        pc.Container(
            [pc.bind(path), pc.bind("/x", path + "2"), pc.file("/f", path)], env={"A": path}
        )
        for path in HOSTILE
    ),
    pc.Container([pc.file("/f", b"\x00\xff binary\n", 0o600), pc.file("/g", "two\nlines\n")]),
    pc.Container(
        [
            pc.tmpfs("/a"),
            pc.tmpfs("/b", size="64m", mode=0o1777),
            pc.directory("/c", 0o700),
            pc.symlink("/d", "a/../b"),
            pc.overlay("/usr", "/e"),
            pc.overlay(["/usr", "/etc"], "/f"),
            pc.overlay("/usr", "/g", upper="/u", work="/w"),
            pc.device("/dev/fuse"),
            pc.mqueue("/m"),
            pc.proc("/p"),
            pc.sysfs("/s"),
            pc.devpts("/t"),
            pc.Mount("/i", "tmpfs", options=["nr_inodes=5"], writable=False, atime="none"),
            pc.Mount("/j", "bind", "/srv", nosymfollow=True),
            pc.bind("/etc", recursive=False, optional=True, nosuid=False, nodev=False, noexec=True),
        ]
    ),
    pc.Container(
        namespaces=pc.NAMESPACES - {"net"},
        hostname="box",
        guest_uid=1,
        guest_gid=2,
        host_uids=10,
        capabilities=["chown", "kill"],
        cwd="/tmp",
        no_new_privs=False,
        writable_root=True,
        root_size="1m",
        child_is_pid1=False,
        limits=pc.Limits(memory="1g", cpu_affinity=[0, 2], cpus=0.5, stack="unlimited"),
    ),
    pc.Container(namespaces={"user", "mnt"}),
    pc.Container(rootfs="/srv", capabilities=()),
    *(
        pc.Container(seccomp=one)
        for one in (
            pc.NO_SYNC,
            pc.UNTRUSTED | pc.NO_CHMOD,
            pc.NO_FORK | pc.NO_CHROOT | pc.NO_SETRLIMIT,
            pc.SeccompFilter("allow", {"mkdir": errno.EPERM, "getpid": "kill"}),
            pc.SeccompFilter("kill", {"read": "allow"}) | pc.NO_SYNC,
            pc.SeccompFilter(
                "allow", {"ioctl": {pc.SyscallArgument(1, "==", 0x5412): errno.EPERM}}
            ),
            pc.SeccompFilter(
                "allow",
                {
                    "clone": [
                        (
                            (
                                pc.SyscallArgument(0, "==", 1, mask=1),
                                pc.SyscallArgument(1, ">", -1, bits=64),
                            ),
                            "kill",
                        ),
                        ((), "log"),
                    ]
                },
            ),
        )
    ),
]


@pytest.mark.parametrize("container", CONTAINERS, ids=range(len(CONTAINERS)))
def test_it_comes_back(container):
    text, names = spell(container)
    made = eval(text, {name: getattr(pc, name) for name in names})
    assert made == container
    assert made.mounts == container.mounts
    text.encode()  # it can stand in a file


def test_it_is_to_be_read():
    container = pc.Container(
        [pc.tmpfs("/a", size="1m"), pc.bind("/srv", "/data", writable=True)],
        namespaces=pc.NAMESPACES - {"net"},
        seccomp=pc.UNTRUSTED,
    )
    assert (
        spell(container)[0]
        == """\
Container(
    [
        tmpfs("/a", size="1m"),
        bind("/srv", "/data", writable=True),
    ],
    namespaces=NAMESPACES - {"net"},
    seccomp=UNTRUSTED,
)"""
    )
    assert spell(pc.Container()) == ("Container()", frozenset({"Container"}))
