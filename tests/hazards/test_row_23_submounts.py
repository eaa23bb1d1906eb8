"""Row 23: read-only that misses submounts.

A bind of a directory shows what is mounted below it too; a read-only one is so all the way down.
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


def test_submount_below_a_read_only_bind(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "sub").mkdir()
    answer = in_private_mounts(
        """
        import errno, json, os, subprocess, sys
        from pycontainer import bind, call_with_container

        source = sys.argv[1]
        def mount(target):
            subprocess.run(["mount", "-t", "tmpfs", "none", target], check=True)
            os.chmod(target, 0o777)
        mount(f"{source}/sub")
        os.mkdir(f"{source}/sub/deeper")
        mount(f"{source}/sub/deeper")
        for directory in ("", "/sub", "/sub/deeper"):
            with open(f"{source}{directory}/file", "w") as file:
                os.fchmod(file.fileno(), 0o666)

        def fn():
            found = []
            for directory in ("/data", "/data/sub", "/data/sub/deeper"):
                for act in (
                    lambda: os.open(f"{directory}/file", os.O_WRONLY),
                    lambda: os.open(f"{directory}/new", os.O_CREAT | os.O_WRONLY),
                    lambda: os.chmod(f"{directory}/file", 0o777),
                    lambda: os.unlink(f"{directory}/file"),
                ):
                    try:
                        act()
                        found.append(f"{directory} written")
                    except OSError as error:
                        found.append(errno.errorcode[error.errno])
            return found

        read_only = call_with_container([bind(source, "/data")], fn, timeout=20)
        print(json.dumps(read_only))
        """,
        tmp_path,
    )
    assert answer == ["EROFS"] * 12


def test_submount_below_a_rootfs(tmp_path):
    for name in ("proc", "sys", "dev", "tmp", "sub"):
        (tmp_path / name).mkdir()
    answer = in_private_mounts(
        """
        import errno, json, os, subprocess, sys
        from pycontainer import call_with_container

        source = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "none", f"{source}/sub"], check=True)
        os.chmod(f"{source}/sub", 0o777)

        def fn():
            try:
                os.open("/sub/new", os.O_CREAT | os.O_WRONLY)
            except OSError as error:
                return errno.errorcode[error.errno]

        print(json.dumps(call_with_container([], fn, rootfs=source, timeout=20)))
        """,
        tmp_path,
    )
    assert answer == "EROFS"


@pytest.mark.parametrize("writable", [True, False])
def test_submount_of_a_bind_that_is_not_recursive(tmp_path, writable):
    """What is mounted below is not there; an ordinary user's kernel refuses to look below it."""
    (tmp_path / "sub").mkdir()
    answer = in_private_mounts(
        """
        import json, os, subprocess, sys
        from pycontainer import SetupError, bind, call_with_container

        source, writable = sys.argv[1], sys.argv[2] == "True"
        subprocess.run(["mount", "-t", "tmpfs", "none", f"{source}/sub"], check=True)
        with open(f"{source}/sub/secret", "w"):
            pass
        only = bind(source, "/data", recursive=False, writable=writable)
        try:
            seen = call_with_container([only], lambda: os.listdir("/data/sub"), timeout=20)
        except SetupError as error:
            seen = "refused"
        print(json.dumps(seen))
        """,
        tmp_path,
        writable,
    )
    assert answer in ([], "refused")
