"""Row 42: a standard stream is the host's own /dev/null, as under daemons.

Who is the host's root in a container, as in a step of root's, would change its mode and owner by
/proc/self/fd, for everybody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from pycontainer import DEVNULL, PIPE, host_python, run_container

PROGRAM = """
    import os

    from pycontainer import DEVNULL, Container, call_with_container, host_python

    def tamper():
        said = []
        for number in range(3):
            path = f"/proc/self/fd/{number}"
            try:
                # What they are: no test shall change the machine's.
                os.chmod(path, 0o666)
                os.chown(path, 0, 0)
                said.append("done")
            except OSError as error:
                said.append(error.strerror)
        os.write(1, b"x")
        assert os.read(0, 9) == b""
        with open("/proc/self/fd/1", "wb") as file:
            file.write(b"x")
        return said

    ids = {} if os.geteuid() else {"host_uid_start": 0, "host_gid_start": 0}
    namespaces = {"mnt", "pid", "ipc", "uts", "net"} | ({"user"} if os.geteuid() else set())
    found = [call_with_container(host_python(), tamper, namespaces=namespaces)]
    if not os.geteuid():
        found.append(call_with_container(host_python(), tamper, **ids))
    with open(3, "w") as file:
        print(*sorted({word for said in found for word in said}), sep=", ", file=file)
"""


def test_null_device_cannot_be_changed(is_root):
    reader, writer = os.pipe()
    before = os.stat(os.devnull)
    with open(reader) as said:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM).replace("open(3", f"open({writer}")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[writer],
            check=True,
        )
        os.close(writer)
        words = "Read-only file system" if is_root else "Operation not permitted"
        assert said.read() == f"{words}\n"
    after = os.stat(os.devnull)
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)


@pytest.mark.is_root
def test_null_device_that_is_asked_for():
    def tamper():
        try:
            os.chmod("/proc/self/fd/0", 0o666)
        except OSError as error:
            print(error.strerror, flush=True)

    namespaces = {"mnt", "pid", "ipc", "uts", "net"}
    done = run_container(host_python(), tamper, namespaces=namespaces, stdin=DEVNULL, stdout=PIPE)
    assert done.stdout == b"Read-only file system\n"
