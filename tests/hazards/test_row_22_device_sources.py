"""Row 22: what is to be a device, or to mask something, is a file of somebody's.

runc CVE-2025-31133, CVE-2025-52565: /dev/null of the root is a link to a file of /proc, which is
then bound, writable, in the place of what was to be masked.
"""

from __future__ import annotations

import errno
import os
import stat

import pytest

from pycontainer import SetupError, bind, call_with_container, device
from pycontainer.declare.mounts import Mount

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}


@pytest.fixture
def root(tmp_path):
    """A root whose devices are links: to a setting of the kernel's, and to the host."""
    made = tmp_path / "root"
    for name in ("proc", "dev", "sys", "tmp", "etc"):
        (made / name).mkdir(parents=True)
    for name in DEVICES:
        (made / "dev" / name).symlink_to("/proc/sys/kernel/hostname")
    return made


def test_devices_of_a_root_that_has_links_there(root):
    def fn():
        found = {}
        for name in DEVICES:
            status = os.lstat(f"/dev/{name}")
            found[name] = (
                stat.S_ISCHR(status.st_mode),
                os.major(status.st_rdev),
                os.minor(status.st_rdev),
            )
        return found

    found = call_with_container([], fn, rootfs=root)
    assert found == {name: (True, *numbers) for name, numbers in DEVICES.items()}
    for name in DEVICES:
        assert os.readlink(root / "dev" / name) == "/proc/sys/kernel/hostname"


def test_device_directory_that_is_a_link(root, victim):
    for path in (root / "dev").iterdir():
        path.unlink()
    (root / "dev").rmdir()
    (root / "dev").symlink_to(victim)
    try:
        call_with_container([], lambda: None, rootfs=root)
    except SetupError:
        pass  # refused, or without /dev: the victim's own check sees the rest


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file", "block device"])
def test_device_that_is_none(tmp_path, kind):
    place = tmp_path / "null"
    if kind == "file":
        place.write_text("of the host")
    elif kind == "directory":
        place.mkdir()
    elif kind == "link to a file":
        (tmp_path / "file").write_text("of the host")
        place.symlink_to("file")
    else:
        if os.geteuid() != 0:
            pytest.skip("needs root; the run as root has it")
        os.mknod(place, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    with pytest.raises(SetupError) as caught:
        call_with_container([device(place)], lambda: None)
    assert caught.value.errno == errno.ENODEV
    assert caught.value.filename == str(place)


def test_source_is_looked_up_before_the_container_has_a_say(root, tmp_path):
    """A mask of the container's own: its source is the host's, whatever lies at that path."""
    (tmp_path / "empty").write_text("")
    (root / "etc/secret").write_text("secret")
    mask = bind(tmp_path / "empty", "/etc/secret")
    assert isinstance(mask, Mount)

    def fn():
        with open("/etc/secret") as file:
            return file.read()

    assert call_with_container([mask], fn, rootfs=root) == ""
