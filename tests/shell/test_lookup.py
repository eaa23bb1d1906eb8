"""What is where in a container before it runs."""

from __future__ import annotations

import os
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.shell.lookup import Lookup


@pytest.fixture
def tree(tmp_path):
    """A small root file system."""
    for name in ("usr/bin", "etc", "opt/tool/bin", "home"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr/bin/sh").write_text("#!\n")
    (tmp_path / "usr/bin/sh").chmod(0o755)
    (tmp_path / "usr/bin/plain").write_text("text")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "etc/sh").symlink_to("/bin/sh")
    (tmp_path / "etc/up").symlink_to("../../../usr")
    (tmp_path / "etc/round").symlink_to("round")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\n")
    return tmp_path


def test_links_are_followed_inside(tree):
    lookup = Lookup([], str(tree))
    assert lookup.source("/bin/sh") == str(tree / "usr/bin/sh")
    assert lookup.source("/etc/sh") == str(tree / "usr/bin/sh")  # and not the host's /bin/sh
    assert lookup.source("/etc/up/bin/sh") == str(tree / "usr/bin/sh")
    assert not lookup.exists("/etc/round")
    assert not lookup.exists("/bin/missing")


def test_programs(tree):
    lookup = Lookup([], str(tree))
    assert lookup.is_program("/bin/sh")
    assert not lookup.is_program("/bin/plain")
    assert not lookup.is_program("/usr")
    assert lookup.find_program("sh", ["/opt", "/bin"]) == "/bin/sh"
    assert lookup.find_program("plain", ["/opt", "/bin"]) is None


def test_later_things_hide_earlier_ones(tree):
    (tree / "opt/tool/bin/x").write_text("")
    items: list[Any] = [
        pc.bind(tree / "opt/tool", "/usr"),
        pc.tmpfs("/opt"),
        pc.file("/opt/program", "#!/bin/sh\n", 0o755),
        pc.symlink("/opt/link", "program"),
    ]
    lookup = Lookup(items, str(tree))
    assert lookup.names("/usr/bin") == ["x"]
    assert lookup.names("/opt") == ["link", "program"]
    assert lookup.is_program("/opt/link")
    assert lookup.content("/opt/link") == b"#!/bin/sh\n"
    assert not lookup.exists("/opt/tool")
    assert not lookup.exists("/bin/sh")


def test_a_bind_of_a_link_shows_what_it_leads_to(tree):
    assert Lookup([pc.bind(tree / "bin", "/x")]).is_program("/x/sh")
    (tree / "link").symlink_to("usr/bin/sh")
    assert Lookup([pc.bind(tree / "link", "/x")]).is_program("/x")


def test_names_that_mounts_bring(tree):
    lookup = Lookup([pc.bind(tree, "/a/b/c")])
    assert lookup.names("/") == ["a"]
    assert lookup.names("/a/b") == ["c"]
    assert "usr" in lookup.names("/a/b/c")


def test_layers(tree, tmp_path):
    upper = tmp_path / "upper"
    (upper / "bin").mkdir(parents=True)
    (upper / "bin/new").write_text("")
    lookup = Lookup([pc.overlay([upper, tree / "usr"], "/o")])
    assert lookup.names("/o/bin") == ["new", "plain", "sh"]
    assert lookup.source("/o/bin/sh") == str(tree / "usr/bin/sh")


@pytest.mark.is_root
def test_whiteouts(tree, tmp_path):
    upper = tmp_path / "upper"
    (upper / "bin").mkdir(parents=True)
    os.mknod(upper / "bin/sh", 0o020000, os.makedev(0, 0))
    assert not Lookup([pc.overlay([upper, tree / "usr"], "/o")]).exists("/o/bin/sh")


def test_a_fifo_is_no_content(tree):
    os.mkfifo(tree / "etc/fifo")
    lookup = Lookup([], str(tree))
    assert lookup.content("/etc/fifo") is None
    assert lookup.content("/etc/passwd") == b"root:x:0:0::/:\n"
