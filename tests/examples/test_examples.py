"""Every example runs and says what it is there to say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SAYS = {
    "audit.py": [
        "unshare: cat\n    the host's namespaces: net ipc uts cgroup\n",
        "    CAP_SYS_ADMIN\n    no filter of system calls\n    set-id programs work\n",
        "    writable: / (",
    ],
    "bundles.py": [
        "native: box: 6 * 7= 42 0  exit status 0",
        "runc: box: 6 * 7= 42 0  exit status 0",
        "crun: box: 6 * 7= 42 0  exit status 0",
        "changed: changed\nrefused: config.json: linux.sysctl",
    ],
    "explain.py": ["bind /srv/data read-only at /data", "lock the mounts"],
    "inspect_others.py": ["elsewhere, uid 0: 1 sh, ", " cat, ", "['lo']"],
    "neighbours.py": ["'site'", "in its network:   hello from inside"],
    "plugin.py": ["Score(name='ada', points=6.0)", "refused: result[0] is a __main__.Score"],
    "populate.py": ["greeting = hello; Read-only file system"],
    "programs.py": [
        "HELLO",
        "exit status 3 b'oh no\\n'",
        "interpreter is not in the container: /opt/ruby/bin/ruby",
        "back comes a line",
        "in there are ['container-init', 'cat', 'ps']",
    ],
    "python_inside.py": ["a holds b; process 2"],
    "sandbox.py": [
        "read the host's files: ENOENT",
        "leave a set-id program: EPERM",
        "work in /tmp: yes",
        "unshare failed: Operation not permitted",
        "the shell forked: SECCOMP",
    ],
    "scratch_copy.py": [
        "inside:  ['DONE', 'main.c']",
        "outside: ['a.log', 'b.log', 'main.c']",
    ],
    "shells.py": [
        "in True /home/ada",
        "there are ['ada'] ['",  # where the interpreter comes from elsewhere, no "bin"
        "left in the project: ['result']",
        "no environment: did you mean",
    ],
    "steps.py": [
        "secret of 7 bytes; exit status 0",
        "secrets: {'/run/secrets/token': ...}",
        "ended:    exit status 0",
        "in the root: ['program', 'source']",
        "network: ['lo']",
    ],
    "threads.py": ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"],
    "tour.py": ["counted in a container", "Read-only file system", "interfaces: lo"],
    "wrapper.py": [
        "0 Ada Grace",
        "0 Grace Ada",
        "shadow: No such file",
        "outside: ['names', 'sort']",
    ],
}

# Those that take a test of their own.
ELSEWHERE = {"build_program.py": "tests/build/test_real_build.py"}


def test_every_example_is_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SAYS, *ELSEWHERE}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert words in done.stdout


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")
def test_inspect_a_container_of_bwrap():
    argv = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--as-pid-1", "cat"]
    argv[1:1] = ["--info-fd", "2"]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1, text=True) as bwrap:
        assert bwrap.stdin is not None and bwrap.stdout is not None and bwrap.stderr is not None
        information = ""
        while not information.rstrip().endswith("}"):
            information += bwrap.stderr.readline()
        bwrap.stdin.write("up\n")
        bwrap.stdin.flush()
        bwrap.stdout.readline()
        pid = json.loads(information)["child-pid"]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "inspect_others.py", str(pid)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        bwrap.stdin.close()
    assert done.returncode == 0, done.stderr
    assert f"uid {os.geteuid()}: 1 cat, " in done.stdout
