"""The compiled helper under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]

SCRIPT = """
import os, sys
import pycontainer as pc
from pycontainer.launch import forkserver

# The sanitizers must be loaded first in the helper, too.
forkserver._KEPT += ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")

def sanitized():
    return "libasan" in open("/proc/self/maps").read() and pc.__file__

assert pc.call_with_container([pc.host_python()], sanitized).startswith(sys.argv[1])
mounts = [
    pc.bind("/usr", "/u"),
    pc.bind("/etc/passwd", "/p"),
    pc.tmpfs("/x", size="1m"),
    pc.overlay("/etc", "/o"),
    pc.directory("/a/b"),
    pc.file("/a/f", "text"),
    pc.symlink("/a/l", "f"),
    pc.mqueue(),
]
assert pc.call_with_container(mounts, lambda: open("/a/l").read()) == "text"
keywords = [
    {"child_is_pid1": False},
    {"capabilities": ["CAP_KILL"], "guest_uid": 7, "hostname": "box"},
    {"start_method": "fork"},
    {"namespaces": {"user", "mnt"}},
    {"populate_filesystem": lambda: os.mkdir("/made")},
    {"rootfs": sys.argv[2]},
    {
        "masked_paths": ["/proc/uptime", "/proc/sys", "/proc/cpuinfo", "/absent/x"],
        "readonly_paths": ["/tmp", "/absent"],
        "populate_filesystem": lambda: os.mkdir("/made"),
        "capabilities": ["CAP_KILL"],
        "ambient_capabilities": False,
    },
]
for words in keywords:
    for _ in range(3):  # the second and third with a spare
        assert pc.call_with_container([], os.getuid, **words) == words.get("guest_uid", 0)
def busy():
    while True:
        pass

from pycontainer.launch import limits as launch_limits

for places in (launch_limits.hierarchies, lambda before: {}):  # with cgroups, and without
    launch_limits.hierarchies = places
    for method in ("forkserver", "fork"):
        for limits in (pc.Limits(wall_time=0.3), pc.Limits(cpu_time=0.3, processes=20)):
            ended = pc.run_container([], busy, limits=limits, start_method=method)
            assert ended.verdict in (pc.Verdict.WALL_TIME, pc.Verdict.CPU_TIME), ended
with pc.start_container([]) as box:
    for _ in range(3):
        assert pc.container_excursion(box, os.getpid) > 1
full = [pc.tmpfs("/small", size="4k"), pc.file("/small/file", "x" * 100_000)]
for wrong in ([pc.bind("/nowhere")], full):
    try:
        pc.call_with_container(wrong, os.getpid)
    except pc.SetupError:
        pass
    else:
        raise AssertionError(wrong)
assert len(pc.call_with_container([], lambda: bytes(300_000))) == 300_000
assert len(pc.call_with_container([], lambda data=bytes(300_000): data)) == 300_000
host = pc.host_system()
script = pc.file("/script", "#!/nowhere/interpreter", mode=0o755)
for words in ({}, {"child_is_pid1": True}, {"namespaces": {"user", "mnt"}}):
    for _ in range(3):
        assert pc.run_command([host], ["sh", "-c", "exit 5"], **words).returncode == 5
    for program in ("nowhere", "/script", "/usr", "/usr/lib/os-release"):
        try:
            pc.run_command([host, script], [program], **words)
        except pc.SetupError as error:
            assert error.filename == program
        else:
            raise AssertionError(program)
from pycontainer.launch.command import Command
from pycontainer.launch.foreground import start_program

numbers = [os.dup2(os.open("/dev/null", os.O_RDWR), number) for number in range(100, 164)]
given = ["bash", "-c", "test $LISTEN_PID = $$ && : >&100 >&163"]
for words in ({}, {"child_is_pid1": True}):
    command = Command.of(given, {}, passed=numbers, pid_variable="LISTEN_PID")
    assert start_program(pc.Container([host], **words), command, False).wait().returncode == 0
with pc.start_command([host], ["sleep", "60"]) as box:
    assert pc.exec_command(box, ["bash", "-c", ": >&163"], pass_fds=numbers).returncode == 0
    for _ in range(3):
        assert pc.exec_command(box, ["sh", "-c", "exit 5"], env={"A": "b"}).returncode == 5
    box.kill()
pc.diagnose()
print("well")
"""


def library(name: str) -> str:
    found = subprocess.run(
        ["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert os.path.isabs(found), f"the compiler has no {name}: Debian has it in libgcc-12-dev"
    return found


@pytest.mark.timeout(180)
def test_calls_under_the_sanitizers(tmp_path):
    shutil.copytree(
        TREE / "pycontainer",
        tmp_path / "tree" / "pycontainer",
        ignore=shutil.ignore_patterns("*.so", "*.o", "_helper.c", "__pycache__"),
    )
    shutil.copy(TREE / "_build_ffi.py", tmp_path / "tree")
    built = subprocess.run(
        [sys.executable, "_build_ffi.py"],
        cwd=tmp_path / "tree",
        env=os.environ | {"PYCONTAINER_SANITIZE": "1", "PYCONTAINER_WERROR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (tmp_path / "rootfs").mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o777)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "tree", tmp_path / "rootfs"],
        env=os.environ
        | {
            "PYTHONPATH": str(tmp_path / "tree"),
            "LD_PRELOAD": f"{library('libasan.so')}:{library('libubsan.so')}",
            # CPython itself does not free everything at its end.
            "ASAN_OPTIONS": f"detect_leaks=0:log_path={logs}/address",
            "UBSAN_OPTIONS": f"halt_on_error=1:log_path={logs}/undefined",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    reports = [path.read_text() for path in logs.iterdir()]
    assert not reports, "\n".join(reports)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "well\n"
