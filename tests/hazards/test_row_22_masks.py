"""Row 22: what masks a file comes from the container, or is no device (runc CVE-2025-31133)."""

from __future__ import annotations

import os
import stat

import pytest

from pycontainer import bind, call_with_container, symlink, tmpfs


@pytest.fixture
def root(tmp_path):
    """A root with a secret, in which /dev/null is a link to a setting of the kernel's."""
    made = tmp_path / "root"
    for name in ("proc", "sys", "tmp", "etc", "dev"):
        (made / name).mkdir(parents=True)
    (made / "etc/secret").write_text("secret")
    (made / "dev/null").symlink_to("/proc/sys/kernel/hostname")
    return made


def look():
    """The text of what masks the secret, and the number of the device that it is."""
    with open("/etc/secret") as file:
        status = os.fstat(file.fileno())
        number = (os.major(status.st_rdev), os.minor(status.st_rdev))
        return file.read(), stat.S_ISCHR(status.st_mode), number, os.readlink("/dev/null")


def test_mask_when_the_containers_null_is_a_link(root):
    mounts = [bind(root / "dev", "/dev")]
    found = call_with_container(mounts, look, rootfs=root, masked_paths=["/etc/secret"])
    assert found == ("", True, (1, 3), "/proc/sys/kernel/hostname")


def test_mask_when_a_mount_makes_null_a_link(root):
    mounts = [
        bind(root / "etc", "/etc"),
        tmpfs("/dev"),
        symlink("/dev/null", "/proc/sys/kernel/hostname"),
    ]
    found = call_with_container(mounts, look, masked_paths=["/etc/secret"])
    assert found == ("", True, (1, 3), "/proc/sys/kernel/hostname")


def test_mask_on_a_host_whose_null_is_a_file(run_program, tmp_path):
    """The caller's own /dev/null is something else: no mask is better than a false one's look."""
    program = """
        import sys
        from pycontainer import SetupError, bind, call_with_container, tmpfs

        mounts = [tmpfs("/dev"), bind(sys.argv[1], "/data")]
        try:
            print(call_with_container(mounts, lambda: 1, masked_paths=["/data/secret"]))
        except SetupError as error:
            print(error.strerror, error.filename, error.__notes__)
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data/secret").write_text("secret")
    (tmp_path / "other").write_text("not the null device")
    script = 'mount --bind "$0" /dev/null && exec "$@"'
    before = ("unshare", "-Urm", "sh", "-c", script, str(tmp_path / "other"))
    done = run_program(program, str(tmp_path / "data"), before=before)
    note = "what masks a file is the null device; on this host that is no such device"
    assert done.stdout == f"No such device /dev/null {[note]!r}\n", done.stderr
