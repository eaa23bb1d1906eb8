"""Mounts and entries from many hands in one root."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.declare.arrangement import place_of
from pycontainer.shell.arranging import arranged


def places(items):
    return [place_of(item) for item in items]


def test_parents_come_first():
    items = arranged([pc.tmpfs("/a-b"), pc.tmpfs("/a/b")], [pc.bind("/usr", "/a")], [])
    assert places(items) == ["/a", "/a/b", "/a-b"]


def test_the_later_one_stays():
    [one] = arranged([pc.tmpfs("/x")], [pc.bind("/usr", "/x")], [pc.bind("/etc", "/x")])
    assert one == pc.bind("/etc", "/x")


def test_below_what_is_shared_the_shell_has_nothing_of_its_own():
    own: list[Any] = [pc.tmpfs("/home/me"), pc.file("/etc/passwd", "")]
    assert arranged(own, [], [pc.bind("/srv", "/home")]) == [
        pc.file("/etc/passwd", ""),
        pc.bind("/srv", "/home"),
    ]


def test_software_goes_over_what_is_shared():
    items = arranged([], [pc.bind("/p/.venv")], [pc.bind("/p", writable=True)])
    assert places(items) == ["/p", "/p/.venv"]


def test_places_move_along_links():
    links = [pc.symlink("/lib", "usr/lib"), pc.symlink("/usr/lib", "/other/lib")]
    items = arranged([pc.bind("/etc", "/lib/x")], links, [])
    assert "/other/lib/x" in places(items)
    pc.Container(items)  # nothing lies below a link


def test_links_in_a_circle():
    with pytest.raises(ValueError, match="too many links"):
        arranged([pc.bind("/etc", "/a/x")], [pc.symlink("/a", "/b"), pc.symlink("/b", "/a")], [])


def test_repetitions_are_left_out():
    items = arranged(
        [], [pc.bind("/usr"), pc.bind("/usr/lib"), pc.bind("/usr/share", "/usr/x")], []
    )
    assert places(items) == ["/usr", "/usr/x"]
    items = arranged([], [pc.bind("/usr/lib")], [pc.bind("/usr", writable=True)])
    assert places(items) == ["/usr", "/usr/lib"]


@pytest.fixture
def rootfs(tmp_path):
    for name in ("usr/bin", "etc/ssl", "home", "proc", "dev", "var/tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("")
    (tmp_path / "etc/motd").write_text("hello\n")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "var/tmp").chmod(0o1777)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_a_root_file_system_is_split_where_things_are_in_it(rootfs):
    items = arranged(
        [pc.tmpfs("/home/me"), pc.file("/etc/passwd", "me")], [], [], rootfs=str(rootfs)
    )
    assert {place_of(item): type(item).__name__ for item in items} == {
        "/bin": "Symlink",
        "/etc": "Directory",
        "/etc/motd": "Mount",
        "/etc/passwd": "File",
        "/etc/ssl": "Mount",
        "/home": "Directory",
        "/home/me": "Mount",
        "/usr": "Mount",
        "/var": "Mount",
    }
    look = pc.call_with_container(
        items, lambda: (open("/etc/motd").read(), open("/etc/passwd").read(), os.listdir("/home"))
    )
    assert look == ("hello\n", "me", ["me"])


def test_a_root_file_system_with_links(rootfs):
    items = arranged([pc.file("/bin/tool", "")], [], [], rootfs=str(rootfs))
    assert "/usr/bin/tool" in places(items)


def test_a_writable_one_keeps_no_changes(rootfs):
    (rootfs / "usr/bin/x").write_text("before")
    items = arranged([pc.file("/etc/passwd", "")], [], [], rootfs=str(rootfs), writable=True)

    def change():
        with open("/usr/bin/x", "w") as file:
            file.write("after")
        os.mkdir("/etc/new")
        with open("/usr/bin/x") as file:
            return file.read()

    assert pc.call_with_container(items, change, writable_root=True) == "after"
    assert (rootfs / "usr/bin/x").read_text() == "before"
    assert not (rootfs / "etc/new").exists()


@pytest.mark.parametrize("length", [0, 1, 38, 39, 40, 60])
def test_no_link_of_a_root_file_system_leads_to_the_host(rootfs, length):
    """However many there are, what is found is what is in the root file system."""
    secret = rootfs / "home"  # and a directory of that name outside, of which nothing is shown
    (secret / "secret").touch()
    links = [f"link{number}" for number in range(length)]
    for one, other in itertools.pairwise(["way", *links, str(secret).lstrip("/")]):
        (rootfs / one).symlink_to(f"/{other}")
    own = [pc.tmpfs("/way/me")]
    if length >= 40:
        with pytest.raises(ValueError, match="too many links"):
            arranged(own, [], [], rootfs=str(rootfs))
        return
    items = arranged(own, [], [], rootfs=str(rootfs))
    assert f"{secret}/me" in places(items)
    assert not any(place.endswith("way/secret") for place in places(items))
    assert f"{secret}/secret" not in places(items)
