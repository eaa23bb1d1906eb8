"""What is read of a process that is to be joined."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from pycontainer._native import ffi, lib


@pytest.mark.is_root
def test_map_of_340_lines():
    """As many as the kernel takes (user_namespaces(7)); they fill three pages."""
    first, count = 5000, 340
    uid = first + count - 1
    take = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    with subprocess.Popen(["setpriv", *take, "unshare", "-U", "sleep", "30"]) as process:
        try:
            ours = os.stat("/proc/self/ns/user").st_ino
            deadline = time.monotonic() + 10
            while os.stat(f"/proc/{process.pid}/ns/user").st_ino == ours:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            # Written within a page; read, each column is eleven characters wide.
            lines = "".join(f"{2 * n + 1} {first + n} 1\n" for n in range(count))
            for name in ("gid_map", "uid_map"):
                fd = os.open(f"/proc/{process.pid}/{name}", os.O_WRONLY)
                assert os.write(fd, lines.encode()) == len(lines)
                os.close(fd)
            target = ffi.new("struct pc_target *")
            assert lib.pc_look_at(process.pid, target) == 0
        finally:
            process.kill()
    assert (target.outer_uid, target.outer_gid) == (uid, uid)
    assert (target.uid, target.gid) == (2 * count - 1, 2 * count - 1)
