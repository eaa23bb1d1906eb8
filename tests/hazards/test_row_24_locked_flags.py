"""Row 24: locked flags (runc#1229).

The flags of a mount that comes from a more privileged namespace cannot be cleared, and the old
remount clears what it does not name: EPERM.  Flags are only ever added here.
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


@pytest.mark.parametrize("flags", ["nosuid,nodev,noexec", "nosuid", "noatime,nodev", "ro,noexec"])
def test_bind_of_a_restricted_source(tmp_path, flags):
    answer = in_private_mounts(
        """
        import json, os, subprocess, sys
        from pycontainer import bind, call_with_container

        source, flags = sys.argv[1:]
        subprocess.run(["mount", "-t", "tmpfs", "none", source], check=True)
        os.chmod(source, 0o777)
        with open(f"{source}/file", "w") as file:
            file.write("seen")
        subprocess.run(["mount", "-o", f"remount,bind,{flags}", source], check=True)

        def fn():
            with open("/proc/self/mountinfo") as file:
                for line in file:
                    if line.split()[4] == "/data":
                        options = line.split()[5]
            with open("/data/file") as file:
                return file.read(), sorted(options.split(","))

        mounts = [bind(source, "/data", nosuid=False, nodev=False)]
        plain = call_with_container(mounts, fn, timeout=20)
        print(json.dumps(plain))
        """,
        tmp_path,
        flags,
    )
    content, options = answer
    assert content == "seen"
    assert set(flags.split(",")) | {"ro"} <= set(options)


def test_bind_twice_restricted(tmp_path):
    """From inside a container, where the lock has frozen what the outer one has set."""
    (tmp_path / "file").write_text("seen")
    answer = in_private_mounts(
        """
        import json, os, subprocess, sys
        from pycontainer import bind, call_with_container

        source = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", source], check=True)
        with open(f"{source}/file", "w") as file:
            file.write("seen")
        subprocess.run(["mount", "-o", "remount,bind,nosuid,nodev,noexec", source], check=True)
        mounts = [bind(source, "/a"), bind(source, "/b", writable=True, noexec=True)]
        read = lambda: (open("/a/file").read(), open("/b/file").read())
        print(json.dumps(call_with_container(mounts, read, timeout=20)))
        """,
        tmp_path,
    )
    assert answer == ["seen", "seen"]
