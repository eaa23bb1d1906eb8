"""``write_bundle``: what it writes, with which modes and owners, and what it leaves alone."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import Container, bind, directory, file, host_system, overlay, symlink, tmpfs
from pycontainer.launch.command import SEARCH_PATH
from pycontainer.oci import from_spec, program, write_bundle
from pycontainer.oci.spec import mappings, to_spec


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_modes_and_contents(tmp_path):
    container = Container(
        [
            directory("/a/b", 0o700),
            file("/a/b/secret", "s", 0o400),
            symlink("/a/link", "/etc"),
            tmpfs("/w", mode=0o1770),
            file("/w/in", b"\xff"),
        ]
    )
    bundle = write_bundle(tmp_path / "b", container, ["/a/x"])
    root = tmp_path / "b" / "rootfs"
    assert mode(tmp_path / "b") == 0o700
    assert mode(tmp_path / "b" / "config.json") == 0o600
    assert json.loads((tmp_path / "b" / "config.json").read_text()) == bundle.spec
    assert mode(root / "a" / "b") == 0o700
    assert mode(root / "a" / "b" / "secret") == 0o400
    assert (root / "a" / "link").readlink() == Path("/etc")
    assert mode(root / "w") == 0o1770
    assert (root / "w" / "in").read_bytes() == b"\xff"
    assert (root / "etc" / "hosts").read_text().startswith("127.0.0.1")
    (copied,) = (one for one in bundle.spec["mounts"] if "tmpcopyup" in one["options"])
    assert copied["destination"] == "/w"
    assert from_spec(bundle.spec) == (container, ["/a/x"])


def test_owners(tmp_path, is_root):
    bundle = write_bundle(
        tmp_path / "b", Container([file("/f", "x")], guest_uid=5, guest_gid=6), ["/f"]
    )
    found = (tmp_path / "b" / "rootfs" / "f").stat()
    top = (tmp_path / "b").stat()
    if is_root:
        start = bundle.spec["linux"]["uidMappings"][0]["hostID"]
        assert start > 65536
        assert (found.st_uid, found.st_gid) == (start + 5, start + 6)
        assert (top.st_uid, top.st_gid) == (start, start)
    else:
        assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
        assert top.st_uid == os.geteuid()
        own = [one for one in bundle.spec["linux"]["uidMappings"] if one["containerID"] == 5]
        assert own == [{"containerID": 5, "hostID": os.geteuid(), "size": 1}]


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir(mode=0o755)
    for name in ("full", "link"):
        with pytest.raises(FileExistsError):
            write_bundle(tmp_path / name, Container(), ["x"])
    assert os.listdir(tmp_path / "full") == ["x"]
    assert os.listdir(tmp_path / "empty") == []
    write_bundle(tmp_path / "empty", Container(), ["x"])
    assert mode(tmp_path / "empty") == 0o700


def test_nothing_is_left_of_one_that_fails(tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr("pycontainer.oci.bundle.write_file", refuse)
    with pytest.raises(OSError, match="no room"):
        write_bundle(tmp_path / "b", Container(), ["x"])
    assert os.listdir(tmp_path) == []


def test_text_that_is_no_utf_8(tmp_path):
    container = Container([bind("/a", os.fsdecode(b"/\xff"))], env={"A": os.fsdecode(b"\xfe")})
    with pytest.raises(ValueError, match=r"UTF-8.*process\.env\[0\], mounts\[6\]\.destination"):
        write_bundle(tmp_path / "b", container, ["x"])
    assert os.listdir(tmp_path) == []


def test_optional_binds(tmp_path):
    container = Container(
        [
            bind(tmp_path / "absent", "/absent", optional=True),
            bind(tmp_path, "/there", optional=True),
        ]
    )
    bundle = write_bundle(tmp_path / "b", container, ["x"])
    places = {mount["destination"] for mount in bundle.spec["mounts"]}
    assert "/there" in places and "/absent" not in places
    assert not (tmp_path / "b" / "rootfs" / "absent").exists()


def test_a_rootfs_is_left_as_it_is(tmp_path):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "out").symlink_to("/tmp")
    before = sorted(os.listdir(root))
    container = Container(
        [tmpfs("/data"), bind(tmp_path, "/data/b"), bind(tmp_path, "/none", optional=True)],
        rootfs=root,
    )
    bundle = write_bundle(tmp_path / "b", container, ["x"])
    assert sorted(os.listdir(root)) == before
    assert [one["destination"] for one in bundle.spec["mounts"]] == ["/proc", "/data", "/data/b"]
    assert from_spec(bundle.spec)[0].rootfs == str(root)
    with pytest.raises(ValueError, match="lies in a tmpfs over rootfs"):
        write_bundle(
            tmp_path / "c", Container([tmpfs("/data"), file("/data/f", "")], rootfs=root), ["x"]
        )


def test_overlays(tmp_path):
    (tmp_path / "lower").mkdir()
    container = Container([overlay(tmp_path / "lower", "/o")])
    bundle = write_bundle(tmp_path / "b", container, ["x"])
    options = bundle.spec["mounts"][-1]["options"]
    assert f"upperdir={tmp_path}/b/overlays/0/upper" in options
    assert (tmp_path / "b" / "overlays" / "0" / "work").is_dir()
    assert from_spec(bundle.spec)[0] == container


def test_a_program_without_a_slash(tmp_path):
    system = host_system()
    found = write_bundle(tmp_path / "a", Container([system]), ["sh"]).spec["process"]["args"]
    assert found[0].endswith("/sh") and os.path.exists(found[0])
    with_path = Container([system], env={"PATH": "/bin"})
    assert write_bundle(tmp_path / "b", with_path, ["sh"]).spec["process"]["args"] == ["sh"]
    entry = Container([file("/usr/local/bin/tool", "#!", 0o755)])
    found = write_bundle(tmp_path / "c", entry, ["tool"]).spec["process"]["args"]
    assert found == ["/usr/local/bin/tool"]
    assert program.SEARCH_PATH == SEARCH_PATH


def test_links_of_a_rootfs_are_followed_inside_of_it(tmp_path):
    root = tmp_path / "root"
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "bin").symlink_to("/usr/bin")
    (root / "usr" / "bin" / "tool").write_text("#!")
    (root / "usr" / "bin" / "tool").chmod(0o755)
    (root / "usr" / "bin" / "out").symlink_to("../../../../../bin/sh")
    view = program.view_of(Container(rootfs=root))
    assert view.find("/bin/tool") == f"{root}/usr/bin/tool"
    assert view.find("/usr/bin/out") == f"{root}/usr/bin/sh"
    (root / "loop").symlink_to("loop")
    assert view.find("/loop") is None


def test_remove(tmp_path):
    (tmp_path / "outside").write_text("mine")
    bundle = write_bundle(tmp_path / "b", Container(writable_root=True), ["x"])
    (tmp_path / "b" / "rootfs" / "link").symlink_to(tmp_path / "outside")
    bundle.remove()
    assert os.listdir(tmp_path) == ["outside"]


def test_ids_that_nobody_has_asked_for():
    container = Container(guest_uid=3, host_uids=10)
    assert mappings(container) == (((0, 0x70000000, 10),),) * 2
    spec = to_spec(container, ["x"], uid_map=[(0, 5, 1), (1, 100, 9)])
    assert spec["linux"]["uidMappings"] == [
        {"containerID": 0, "hostID": 5, "size": 1},
        {"containerID": 1, "hostID": 100, "size": 9},
    ]
    assert from_spec(spec)[0] == container
    fixed = to_spec(pc.extend(container, host_uid_start=0), ["x"], uid_map=[(0, 5, 1)])
    assert fixed["linux"]["uidMappings"][0]["hostID"] == 0


@pytest.mark.parametrize(
    ("argv", "error"), [("true", TypeError), ([], ValueError), ([""], ValueError), ([3], TypeError)]
)
def test_no_command(argv, error):
    with pytest.raises(error):
        to_spec(Container(), argv)
