"""Row 31 · no set-id file and no device comes out of an archive."""

from __future__ import annotations

import io
import stat
import tarfile

import pytest

from pycontainer.shell.unpacking import Unpacker


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        (tarfile.REGTYPE, 0o4755),
        (tarfile.REGTYPE, 0o2755),
        (tarfile.DIRTYPE, 0o6777),
        (tarfile.CHRTYPE, 0o666),
        (tarfile.BLKTYPE, 0o666),
        (tarfile.FIFOTYPE, 0o666),
    ],
)
def test_set_id_and_devices(tmp_path, kind, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.type, info.mode, info.devmajor, info.devminor = kind, mode, 1, 3
        tar.addfile(info)
    buffer.seek(0)
    unpacker = Unpacker(str(tmp_path), "it")
    unpacker.unpack(buffer)
    unpacker.finish()
    for found in tmp_path.iterdir():
        status = found.lstat()
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        assert status.st_mode & 0o6000 == 0
