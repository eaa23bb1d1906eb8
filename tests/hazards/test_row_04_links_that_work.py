"""Row 4: a fix for row 1 that is over-strict (bubblewrap#801).

A root where /var/run is a link to /run, and directories that may be searched but not read, are as
old as Unix.  Links are resolved inside the root, not refused, and a directory on the way is only
passed through.
"""

from __future__ import annotations

import os

import pytest

from pycontainer import bind, call_with_container, directory

TO = ["/run", "../run", "../../../../run", "./../run/.", "/var/lib/../../run", "/one"]


@pytest.fixture
def root(tmp_path):
    """A rootfs with /run and /var, in which a test makes the link."""
    root = tmp_path / "root"
    for name in ("proc", "sys", "dev", "tmp", "run/x", "var/lib"):
        (root / name).mkdir(parents=True)
    (root / "run/f").touch()
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("/run")
    return root


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "mine").write_text("mine")
    return source


def read(path):
    with open(path) as opened:
        return opened.read()


@pytest.mark.parametrize("to", TO)
def test_rootfs(root, source, to):
    (root / "var/run").symlink_to(to)
    mounts = [bind(source, "/var/run/x"), bind(source / "mine", "/var/run/f")]
    fn = lambda: (read("/run/x/mine"), read("/var/run/x/mine"), read("/run/f"))  # noqa: E731
    assert call_with_container(mounts, fn, rootfs=root) == ("mine",) * 3


@pytest.mark.parametrize("to", TO[:5])
def test_link_in_a_bind(tmp_path, source, to):
    """The root is our own, and the link came with a directory of the host."""
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/run").symlink_to(to)
    mounts = [directory("/run/x"), bind(tmp_path / "var", "/var"), bind(source, "/var/run/x")]
    assert call_with_container(mounts, lambda: read("/run/x/mine")) == "mine"


def test_target_is_a_link(root, source):
    (root / "link").symlink_to("/run/x")
    fn = lambda: (read("/run/x/mine"), os.readlink("/link"))  # noqa: E731
    assert call_with_container([bind(source, "/link")], fn, rootfs=root) == ("mine", "/run/x")


@pytest.mark.parametrize("mode", [0o311, 0o111, 0o711])
def test_parent_that_may_only_be_searched(root, source, mode):
    (root / "run").chmod(mode)
    fn = lambda: read("/run/x/mine")  # noqa: E731
    assert call_with_container([bind(source, "/run/x")], fn, rootfs=root) == "mine"


@pytest.mark.is_root
@pytest.mark.parametrize("mode", [0o311, 0o711])
@pytest.mark.parametrize("name", ["run", "run/x"])
def test_directory_of_somebody_else_that_may_only_be_searched(root, source, name, mode):
    """Its owner has no id in the container, so that no capability helps there."""
    (root / name).chmod(mode)
    os.chown(root / name, 200_000, 200_000)
    fn = lambda: read("/run/x/mine")  # noqa: E731
    assert call_with_container([bind(source, "/run/x")], fn, rootfs=root) == "mine"


@pytest.mark.parametrize("mode", [0o311, 0o111])
def test_source_below_what_may_only_be_searched(tmp_path, source, mode):
    above = tmp_path / "above"
    above.mkdir()
    source.rename(above / "source")
    above.chmod(mode)
    mounts = [bind(above / "source", "/x")]
    assert call_with_container(mounts, lambda: read("/x/mine")) == "mine"
