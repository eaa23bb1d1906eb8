"""Row 1 · links in an archive are followed from the root that is unpacked, not from the host's."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from pycontainer.shell import SoftwareError
from pycontainer.shell.unpacking import Unpacker


def archive(*members):
    """A tar archive of names with contents, or with ``("link", to)`` or ``("hard", to)``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type = tarfile.SYMTYPE if content[0] == "link" else tarfile.LNKTYPE
                info.linkname = content[1]
                content = b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


@pytest.fixture
def outside(tmp_path):
    victim = tmp_path / "outside"
    victim.mkdir()
    (victim / "file").write_text("kept")
    yield victim
    assert os.listdir(victim) == ["file"]
    assert (victim / "file").read_text() == "kept"
    assert (victim / "file").stat().st_nlink == 1


@pytest.fixture
def unpack(tmp_path):
    (tmp_path / "root").mkdir()
    unpacker = Unpacker(str(tmp_path / "root"), "it", whiteouts=True)
    return lambda *members: unpacker.unpack(archive(*members))


@pytest.mark.parametrize("to", ["{outside}", "../outside", "../../../../../../{outside}"])
def test_file_below_a_link(unpack, outside, to):
    unpack(("link", ("link", to.format(outside=outside))), ("link/new", b"x"), ("link/file", b"x"))


def test_file_where_a_link_is(unpack, outside):
    unpack(("link", ("link", f"{outside}/file")), ("link", b"mine"))


def test_hard_link_through_a_link(unpack, outside):
    with pytest.raises(SoftwareError):
        unpack(("link", ("link", str(outside))), ("mine", ("hard", "link/file")))


def test_name_that_leads_out(unpack, outside):
    with pytest.raises(SoftwareError):
        unpack(("a/../../outside/file", b"x"))


def test_whiteout_below_a_link(unpack, outside):
    unpack(("link", ("link", str(outside))))
    unpack(("link/.wh.file", b""))
    unpack(("link/.wh..wh..opq", b""))
