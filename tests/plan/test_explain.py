"""``explain`` and ``describe``: plans in words."""

from __future__ import annotations

import pytest

from pycontainer.declare.container import Container
from pycontainer.declare.entries import directory, file, symlink
from pycontainer.declare.mounts import bind, overlay
from pycontainer.plan.compile import explain
from pycontainer.plan.steps import Op, Step, StepFlag, show

GOLDEN = """\
identity
   1 map one user and one group to uid 1000 and gid 100
   2 become uid 1000 and gid 100, with no other groups
   3 join a new, empty session keyring
root
   4 make all mounts private, so that none propagates
   5 take an empty tmpfs as the root (size=10%, mode 755)
files
   6 mount proc at /proc (nosuid, nodev, noexec)
   7 mount sysfs at /sys (read-only, nosuid, nodev, noexec), if the kernel allows it
   8 mount tmpfs at /dev (size=1m, mode=755, nosuid, noexec, strictatime)
   9 bind device /dev/null read-only at /dev/null (nosuid, noexec), if it exists
  10 bind device /dev/zero read-only at /dev/zero (nosuid, noexec), if it exists
  11 bind device /dev/full read-only at /dev/full (nosuid, noexec), if it exists
  12 bind device /dev/random read-only at /dev/random (nosuid, noexec), if it exists
  13 bind device /dev/urandom read-only at /dev/urandom (nosuid, noexec), if it exists
  14 bind device /dev/tty read-only at /dev/tty (nosuid, noexec), if it exists
  15 link /dev/fd to /proc/self/fd
  16 link /dev/stdin to /proc/self/fd/0
  17 link /dev/stdout to /proc/self/fd/1
  18 link /dev/stderr to /proc/self/fd/2
  19 mount devpts at /dev/pts (newinstance, ptmxmode=0666, mode=0620, nosuid, noexec)
  20 link /dev/ptmx to pts/ptmx
  21 mount tmpfs at /dev/shm (size=10%, mode=1777, nosuid, nodev)
  22 bind the terminal of stdin at /dev/console, if it is one
  23 mount tmpfs at /tmp (size=10%, mode=1777, nosuid, nodev)
  24 make the directory /etc (mode 755)
  25 write /etc/passwd (97 bytes, mode 644)
  26 write /etc/group (40 bytes, mode 644)
  27 write /etc/hosts (52 bytes, mode 444)
  28 bind /usr read-only at /usr (nosuid, nodev)
  29 link /bin to usr/bin
  30 make the directory /srv (mode 755)
  31 bind /home/me writable at /srv/me (nosuid, nodev), without submounts, if it exists
  32 make the directory /run (mode 700)
  33 write /run/motd (1 byte, mode 644)
pivot
  34 pivot to the new root and detach the old one
network and names
  35 set the host name to builder
  36 bring the loopback device up
populate
     (a populate_filesystem hook runs here)
lock
  37 make the root read-only
  38 lock the mounts in a second user and mount namespace
privileges
  39 change to the directory /srv
  40 keep CAP_CHOWN, CAP_KILL alone
  41 allow no new privileges
start
  42 bound RLIMIT_CORE of each process: 1
"""


def test_explain_golden():
    container = Container(
        [
            bind("/usr"),
            symlink("/bin", "usr/bin"),
            bind("/home/me", "/srv/me", writable=True, recursive=False, optional=True),
            directory("/run", 0o700),
            file("/run/motd", "x"),
        ],
        hostname="builder",
        guest_uid=1000,
        guest_gid=100,
        cwd="/srv",
        capabilities=["kill", "chown"],
    )
    assert explain(container) == GOLDEN


def test_explain_rootfs_and_overlay():
    text = explain(Container([overlay("/x")], rootfs="/r", host_uids=10, capabilities=()))
    assert "map 10 users and groups, from uid 0 and gid 0 on" in text
    assert "take /r as the root, read-only (nodev)\n" in text
    assert "mount tmpfs at /tmp (size=10%, mode=1777, nosuid, nodev), if there is such a place" in (
        text
    )
    assert "bind /x read-only at /x/lower0" in text
    assert "mount overlay at /x (lowerdir=lower0, upperdir=upper, workdir=work, userxattr, " in text
    assert "give up every capability" in text


def test_explain_places():
    container = Container(
        readonly_paths=["/proc/sys"],
        masked_paths=["/proc/acpi"],
        capabilities=["chown"],
        ambient_capabilities=False,
    )
    text = explain(container)
    assert "hold the host's /dev/null and an empty tmpfs, to hide things behind\n" in text
    assert "make /proc/sys read-only, if there is such a place\n" in text
    assert "hide /proc/acpi, if there is such a place\n" in text
    assert "keep CAP_CHOWN alone, none of them ambient\n" in text


@pytest.mark.parametrize("op", list(Op))
def test_describe_every_op(op):
    step = Step(op, "/path", "other", numbers=(1, 2, 3)[: 2 if op is Op.BECOME else 3])
    words = step.describe()
    assert words and "\n" not in words
    assert step.phase


def test_describe_device_and_tree():
    flags = StepFlag.DEVICE | StepFlag.TREE
    assert Step(Op.BIND, "/d", "/d", flags=flags).describe() == "bind device /d writable at /d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr", "/usr"),
        ("/é", "/é"),
        ("/a b", "'/a b'"),
        ("/a\x1b[2J", "'/a\\x1b[2J'"),
        ("/\udcff", "'/\\udcff'"),
        ("/\u202e", "'/\\u202e'"),
        ("", "''"),
    ],
)
def test_show(text, shown):
    """What is printed cannot move the cursor or turn the direction of the text."""
    assert show(text) == shown
