"""Row 25: propagation (runc#2404).

On a host whose mounts are shared (systemd's are), what is mounted later below a bind would appear
in the container, and what the container mounts would appear on the host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest


def in_private_mounts(body, *arguments):
    """What *body* prints as JSON, run where it may mount and nobody else sees it."""
    # Root has a mount namespace of its own; anybody else needs a user namespace around it.
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    ran = subprocess.run(
        [*unshare, sys.executable, "-c", textwrap.dedent(body), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


BODY = """
    import json, os, subprocess, sys
    from pycontainer import PIPE, bind, start_container

    source, lock, start, writable = sys.argv[1:]
    mount = lambda *arguments: subprocess.run(["mount", *arguments], check=True)
    mount("--bind", source, source)
    mount("--make-rshared", "/")
    os.chmod(source, 0o777)

    def fn():
        import ctypes

        os.mkdir("/tmp/mine")
        with open("/tmp/mine/file", "w"):
            pass
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"/tmp/mine", b"/data/inside", None, 4096, None):  # MS_BIND
            return f"cannot mount: {ctypes.get_errno()}"
        os.write(1, b"mounted")
        os.read(0, 1)
        with open("/proc/self/mountinfo") as file:
            words = [word for line in file for word in line.split()]
        tags = [word for word in words if word.startswith(("shared:", "master:"))]
        return [os.listdir("/data/later"), os.listdir("/data"), tags]

    options = {} if start == "default" else {"host_uid_start": 0}
    with start_container(
        [bind(source, "/data", writable=writable == "True")], fn, stdin=PIPE, stdout=PIPE,
        preload=("ctypes",), lock_mounts=lock == "True", **options,
    ) as running:
        assert running.stdout.read(7) == b"mounted", running.result()
        mount("-t", "tmpfs", "none", source + "/later")
        with open(source + "/later/file", "w"):
            pass
        outside = os.listdir(source + "/inside")
        running.stdin.write(b"x")
        inside = running.result(timeout=20)
    print(json.dumps([inside, outside]))
"""


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("start", ["default", pytest.param("host", marks=pytest.mark.is_root)])
def test_mounts_after_the_start(tmp_path, lock, writable, start):
    for name in ("later", "inside"):
        (tmp_path / name).mkdir()
    inside, outside = in_private_mounts(BODY, tmp_path, lock, start, writable)
    assert outside == [], "a mount of the container has reached the host"
    later, names, tags = inside
    assert later == [], "a mount of the host has reached the container"
    assert sorted(names) == ["inside", "later"]
    assert tags == []
