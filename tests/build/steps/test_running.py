"""``run_step``: what a step sees, what it may do, and what it leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontainer import SetupError, Verdict, bind, host_system
from pycontainer.build import Step, run_step
from pycontainer.build.runs import runs_directory

from .conftest import ENV, shell

ROOT = os.geteuid() == 0
KEPT = 0xA80401FB
"""The capabilities of SETPCAP, SETFCAP and so on, as /proc/PID/status shows them."""


def test_what_a_step_sees(run):
    done, output = run(
        "id -u; id -g; hostname; pwd; ulimit -n; ulimit -Hn; cat /etc/hosts; env | sort",
        cwd="/tmp",
        hostname="box",
    )
    assert (done.status.exit_code, done.verdict) == (0, Verdict.OK)
    lines = output.splitlines()
    assert lines[:6] == ["0", "0", "box", "/tmp", "1024", "1024"]
    assert lines[6] == "127.0.0.1 localhost builder"
    # runc adds HOME.
    assert {"LC_ALL=C", "PATH=/usr/bin:/bin", "PWD=/tmp"} == set(lines[7:]) - {"HOME=/"}


def test_capabilities_are_exactly_these(run):
    done, output = run("grep ^Cap /proc/self/status; grep NoNewPrivs /proc/self/status")
    lines = dict(line.split(":\t") for line in output.splitlines())
    found = {name: int(value, 16) for name, value in lines.items()}
    assert found == {
        "CapInh": KEPT,
        "CapPrm": KEPT,
        "CapEff": KEPT,
        "CapBnd": KEPT,
        "CapAmb": 0,
        "NoNewPrivs": 0,
    }
    assert done.verdict is Verdict.OK


def test_another_user(run):
    script = "exec 2>&1; id -u; id -g; grep ^Cap /proc/self/status; touch /tmp/x; touch /x"
    done, output = run(script, user=(1000, 1000))
    lines = output.splitlines()
    assert lines[:2] == ["1000", "1000"]
    found = dict(line.split(":\t") for line in lines[2:7])
    assert {name: int(value, 16) for name, value in found.items()} == {
        "CapInh": KEPT,  # what a file could give it
        "CapPrm": 0,
        "CapEff": 0,
        "CapBnd": KEPT,
        "CapAmb": 0,
    }
    assert "/x" in lines[7] and "ermission denied" in lines[7]
    assert done.status.exit_code == 1


def test_mounts(run):
    _, output = run("cut -d' ' -f5,6 /proc/self/mountinfo; df -k /dev /dev/shm | tail -n +2")
    lines = [line.split() for line in output.splitlines()]
    flags = {line[0]: set(line[1].split(",")) for line in lines if len(line) == 2}
    closed = {"nosuid", "nodev", "noexec"}
    assert closed <= flags["/proc"] and "rw" in flags["/proc"]
    assert closed | {"ro"} <= flags["/sys"]
    assert closed <= flags["/sys/fs/cgroup"]
    assert {"nosuid", "rw"} <= flags["/dev"]
    assert {"nosuid", "noexec", "rw"} <= flags["/dev/pts"]
    assert closed <= flags["/dev/shm"] and closed <= flags["/dev/mqueue"]
    assert "ro" in flags["/etc/hosts"]
    assert {"ro", "nosuid", "nodev"} <= flags["/usr"]
    assert "rw" in flags["/"]
    sizes = {line[-1]: line[1] for line in lines if len(line) == 6}
    assert sizes == {"/dev": "65536", "/dev/shm": "65536"}


def test_masks_and_readonly_places(run):
    """Those that this kernel has."""
    _, output = run(
        """
        for place in acpi asound scsi; do ls -A /proc/$place 2>/dev/null; done
        for place in kcore keys latency_stats timer_list timer_stats sched_debug; do
            if [ -e /proc/$place ]; then cat /proc/$place; [ -c /proc/$place ] || echo $place; fi
        done
        ls -A /sys/firmware 2>/dev/null
        for place in bus fs irq sys sysrq-trigger; do
            if [ -d /proc/$place ]; then mkdir /proc/$place/x 2>/dev/null && echo made
            elif [ -e /proc/$place ]; then true 2>/dev/null >> /proc/$place && echo opened; fi
        done
        cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^/proc/(bus|fs|irq|sys) '
        """
    )
    places = [line.split() for line in output.splitlines()]
    assert {place for place, _ in places} == {
        f"/proc/{name}" for name in ("bus", "fs", "irq", "sys") if Path("/proc", name).exists()
    }
    assert all("ro" in flags.split(",") for _, flags in places)


def test_network(run):
    _, without = run("ls /sys/class/net; ls /etc/resolv.conf 2>&1")
    assert without.splitlines()[0] == "lo"
    assert "No such file" in without
    _, given = run("ls /sys/class/net; readlink /proc/self/ns/net", network=True)
    assert set(os.listdir("/sys/class/net")) <= set(given.split())
    assert given.split()[-1] == os.readlink("/proc/self/ns/net")


@pytest.mark.skipif(not os.path.exists("/etc/resolv.conf"), reason="this host has no resolv.conf")
def test_network_brings_resolv_conf(run, root):
    _, output = run("cat /etc/resolv.conf", network=True)
    assert output == Path("/etc/resolv.conf").read_text()
    assert not (root / "etc/resolv.conf").exists()


SYNC = """
import ctypes
libc = ctypes.CDLL(None)
print([libc.fsync(-1), libc.fdatasync(-1), libc.msync(1, 1, 1), libc.syncfs(-1),
       libc.sync_file_range(-1, 0, 0, 0)])
"""
"""What each says about a descriptor, or an address, that is none."""


@pytest.mark.parametrize(("fast", "said"), [(True, 0), (False, -1)])
def test_fast_sync(root, state, runtime, fast, said):
    log: list[bytes] = []
    step = Step(["/usr/bin/python3", "-c", SYNC], mounts=[bind("/usr")], fast_sync=fast)
    done = run_step(root, step, runtime=runtime, log=log.append, state=state)
    assert b"".join(log).decode() == f"{[said] * 5}\n"
    assert done.verdict is Verdict.OK


INT80 = r"""
#include <stdio.h>
int main(void)
{
    long result = 118; /* fsync of i386 */
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(-1L) : "memory", "r8", "r9", "r10", "r11");
    printf("%ld\n", result);
    return 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is x86's")
def test_fast_sync_of_a_32_bit_program(run, root):
    command = ["gcc", "-static", "-x", "c", "-", "-o", root / "program"]
    subprocess.run(command, input=INT80.encode(), check=True)
    done, output = run("/program", fast_sync=True)
    assert (done.verdict, output) == (Verdict.OK, "0\n")


def test_a_step_changes_its_root(run, root):
    done, _ = run("echo made > /made; mkdir /new; rm -r /new; exit 3")
    assert (done.status.exit_code, done.verdict) == (3, Verdict.EXIT)
    assert (root / "made").read_text() == "made\n"
    assert (root / "made").stat().st_uid == os.geteuid()


def test_mounts_of_its_own(run, tmp_path):
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("text\n")
    _, output = run(
        "exec 2>&1; cat /in/file /a/b; touch /in/x; touch /out/made; ls /in",
        mounts=[
            bind(source, "/in"),
            bind(source / "below", "/out", writable=True),
            bind(source / "file", "/a/b"),
        ],
    )
    assert output.splitlines()[:2] == ["text", "text"]
    assert "Read-only file system" in output
    assert os.listdir(source / "below") == ["made"]


def test_places_are_made_and_removed(run, root, tmp_path):
    (root / "etc").rmdir()
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    source = tmp_path / "source"
    source.mkdir()
    done, output = run(
        "ls -d /a/b /etc/hosts /run/deep/secret; ls /dev/pts /sys/fs/cgroup > /dev/null",
        mounts=[bind(source, "/a/b")],
        secrets={"/run/deep/secret": b"x"},
    )
    assert done.status.exit_code == 0, output
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


def test_host_system(tmp_path, state, runtime):
    """In a root file system without anything; its links are gone afterwards too."""
    root = tmp_path / "empty"
    root.mkdir()
    log: list[bytes] = []
    mounts = [host_system(), bind(tmp_path / "absent", "/absent", optional=True)]
    step = Step(["sh", "-c", "readlink /bin; echo x > /made"], mounts=mounts, env=ENV)
    done = run_step(root, step, runtime=runtime, log=log.append, state=state)
    assert done.verdict is Verdict.OK, log
    assert b"".join(log).decode() == os.readlink("/bin") + "\n"
    assert os.listdir(root) == ["made"]


def test_links_stay_where_something_is(tmp_path, state, root):
    (root / "lib64").unlink()
    (root / "lib64").mkdir()
    (root / "sbin").unlink()
    (root / "sbin").symlink_to("elsewhere")
    step = Step(["sh", "-c", "readlink /sbin; ls -d /lib64"], mounts=[host_system()], env=ENV)
    with pytest.raises(SetupError):  # the loader is not where it was
        run_step(root, step, log=bytes, state=state)
    assert (root / "lib64").is_dir() and os.readlink(root / "sbin") == "elsewhere"


def test_places_stay_when_something_is_in_them(run, root, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    run("touch /a/kept", mounts=[bind(source, "/a/b")])
    assert sorted(os.listdir(root / "a")) == ["kept"]


def test_a_program_that_is_not_there(root, state, runtime):
    step = Step(["/no/such"], mounts=[bind("/usr")], env=ENV)
    with pytest.raises(SetupError, match="no/such"):
        run_step(root, step, runtime=runtime, log=bytes, state=state)
    assert not state.exists()


def test_log_is_in_order_and_complete(run, runtime):
    _, output = run("for i in $(seq 500); do echo out $i; echo err $i >&2; done; printf last")
    expected = "".join(f"out {i}\nerr {i}\n" for i in range(1, 501)) + "last"
    if runtime == "native":
        assert output == expected
    else:  # runc has a pipe for each of the two
        assert sorted(output) == sorted(expected)
        _, output = run("exec 2>&1; for i in $(seq 500); do echo $i; echo $i >&2; done")
        assert output == "".join(f"{i}\n{i}\n" for i in range(1, 501))


def test_kinds_of_log(root, state, tmp_path, runtime):
    path = tmp_path / "log"
    path.write_text("what was there before")
    for log in (path, str(path), path.open("wb")):
        run_step(root, shell("echo said"), runtime=runtime, log=log, state=state)
        if hasattr(log, "close"):
            log.close()
        assert path.read_text() == "said\n"


def test_log_without_one(capfd, root, state, runtime):
    """The output is the caller's."""
    run_step(root, shell("echo said; echo more >&2"), runtime=runtime, state=state)
    assert capfd.readouterr() == ("said\n", "more\n")


def test_log_that_raises(root, state, runtime):
    def take(data: bytes) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        run_step(root, shell("echo said; sleep 60"), runtime=runtime, log=take, state=state)
    assert not state.exists()


def test_nothing_is_left(run, state, root):
    run("true", secrets={"/run/s": b"hush"})
    assert not state.exists()
    assert not (root / "run").exists()


def test_default_state(root):
    """In memory, where the host has a place for that; and gone when the last step has ended."""
    log: list[bytes] = []
    step = shell("cut -d' ' -f4,5 /proc/self/mountinfo", secrets={"/s": b"x"})
    run_step(root, step, log=log.append)
    lines = [line.split() for line in b"".join(log).decode().splitlines()]
    sources = {place: source for source, place in lines}
    assert sources["/s"].endswith("/secrets/0")
    directory = runs_directory()
    assert directory.startswith(("/run/", "/dev/shm/", os.environ.get("XDG_RUNTIME_DIR", "/run/")))
    status = os.stat(directory)
    assert (status.st_mode & 0o7777, status.st_uid) == (0o700, os.geteuid())
    if os.listdir(directory) == []:
        os.rmdir(directory)


@pytest.mark.parametrize("rootfs", ["absent", "file"])
def test_root_that_is_none(tmp_path, state, rootfs):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as caught:
        run_step(tmp_path / rootfs, shell("true"), state=state, log=bytes)
    assert caught.value.filename == str(tmp_path / rootfs)
    assert not state.exists()


def test_arguments_that_are_wrong(root):
    with pytest.raises(TypeError, match="step must be a Step, not list"):
        run_step(root, ["true"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runtime must be"):
        run_step(root, shell("true"), runtime="podman")  # type: ignore[arg-type]


# ---- ids


@pytest.mark.unprivileged
def test_one_id_where_there_are_no_more(root, state, monkeypatch):
    """Natively the step's user is then the caller."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    log: list[bytes] = []
    step = shell("id -u; cat /proc/self/uid_map; touch /made", user=(1234, 99))
    assert run_step(root, step, log=log.append, state=state).status.exit_code == 0
    words = b"".join(log).split()
    assert words[:2] == [b"1234", b"1234"] and words[3] == b"1"
    assert (root / "made").stat().st_uid == os.geteuid()


@pytest.mark.unprivileged
def test_a_runtime_needs_more_than_one_id_for_another_user(root, state, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "map" in name else which(name))
    with pytest.raises(SetupError, match="runc cannot run a step as 1000:1000") as caught:
        run_step(root, shell("true", user=(1000, 1000)), runtime="runc", log=bytes, state=state)
    assert "uidmap" in caught.value.__notes__[0]
    done = run_step(root, shell("true"), runtime="runc", log=bytes, state=state)
    assert done.verdict is Verdict.OK


@pytest.mark.unprivileged
def test_subordinate_ids(run, root):
    """0 is the caller, whoever the step's user is; and files can be given to others."""
    _, output = run("touch /made && chown 5:6 /made && stat -c %u:%g /made; rm /made; id -u")
    assert output == "5:6\n0\n"
    _, output = run("stat -c %u /etc", user=(1000, 1000))
    assert output == "0\n"


# ---- what of the host it is given


def test_what_it_may_do_to_its_streams_and_devices(run):
    """They are no files of the host's, not even /dev/null."""
    before = os.stat("/dev/null")
    _, output = run(
        "exec 2>&1; chmod 600 /proc/self/fd/0 /proc/self/fd/1 /dev/null /proc/keys; cat; echo end"
    )
    after = os.stat("/dev/null")
    os.chmod("/dev/null", before.st_mode & 0o7777) if before.st_mode != after.st_mode else None
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert output.endswith("end\n")


@pytest.mark.is_root
def test_set_id_program_where_only_root_can_get_at_it(run, root):
    _, output = run("touch /tool && chmod 4755 /tool && stat -c %a /tool")
    assert output == "4755\n", output
