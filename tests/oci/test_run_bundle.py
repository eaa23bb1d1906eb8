"""``run_bundle``: output, ends, limits, cancelling, and what is left when its caller is killed."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import Container, ExitStatus, Limits, SetupError, Verdict, host_system
from pycontainer.oci import run_bundle, write_bundle
from pycontainer.oci.state import _home

ANY = pytest.mark.parametrize("runtime", ["native", "runc", "crun"])
SYSTEM = host_system()


def shell(folder: Path, script: str, **fields: Any) -> str:
    """A bundle that runs a script."""
    container = Container([SYSTEM], **fields)
    return write_bundle(folder / "bundle", container, ["sh", "-c", script]).path


def states() -> list[str]:
    """What runtimes have written for runs that are not over, or were killed."""
    return [
        name
        for name in os.listdir(_home())
        if name.startswith("pycontainer-oci-")
        and os.stat(f"{_home()}/{name}").st_uid == os.geteuid()
    ]


def runs(text: str) -> bool:
    """Whether there is a process with *text* in its command line."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if text.encode() in Path("/proc", pid, "cmdline").read_bytes():
                return True
        except OSError:
            pass
    return False


def unique() -> str:
    """Seconds that no other process sleeps."""
    return str(random.SystemRandom().randrange(10**6, 10**7))


def wait_until(condition: Any, patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@ANY
def test_output_and_status(tmp_path, runtime):
    said: list[bytes] = []
    done = run_bundle(
        shell(tmp_path, "echo out; echo err >&2; exit 3"), runtime=runtime, log=said.append
    )
    # A runtime copies the two streams side by side.
    assert sorted(b"".join(said).splitlines()) == [b"err", b"out"]
    assert done.status == ExitStatus(exit_code=3)
    assert done.verdict is Verdict.EXIT
    assert done.usage.wall_time > 0
    assert done.args[1:] == ["-c", "echo out; echo err >&2; exit 3"]


@ANY
def test_output_comes_at_once(tmp_path, runtime):
    """The program ends when what it has said first has been seen."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    container = Container([SYSTEM, pc.bind(place, "/shared")])
    script = "echo now; until test -e /shared/go; do sleep 0.02; done; echo then"
    bundle = write_bundle(tmp_path / "bundle", container, ["sh", "-c", script])
    said = []

    def take(data: bytes) -> None:
        said.append(data)
        (place / "go").touch()

    assert run_bundle(bundle.path, runtime=runtime, log=take).verdict is Verdict.OK
    assert b"".join(said) == b"now\nthen\n"
    assert said[0] == b"now\n"


def test_logs(tmp_path):
    bundle = shell(tmp_path, "echo hello")
    file = io.BytesIO()
    run_bundle(bundle, log=file)
    run_bundle(bundle, log=tmp_path / "log")
    assert file.getvalue() == (tmp_path / "log").read_bytes() == b"hello\n"
    with pytest.raises(TypeError, match="log is a path"):
        run_bundle(bundle, log=3)  # type: ignore[arg-type]


@ANY
def test_without_a_log_output_is_the_callers(tmp_path, runtime, capfd):
    run_bundle(shell(tmp_path, "echo out; echo err >&2"), runtime=runtime)
    assert capfd.readouterr() == ("out\n", "err\n")


@ANY
def test_a_signal(tmp_path, runtime):
    done = run_bundle(shell(tmp_path, "kill -SEGV $$", child_is_pid1=False), runtime=runtime)
    if runtime == "native":
        assert done.status == ExitStatus(signal=signal.SIGSEGV)


@ANY
def test_a_log_that_fails_ends_the_container(tmp_path, runtime):
    def take(data: bytes) -> None:
        raise OSError(28, "no room")

    number = unique()
    with pytest.raises(OSError, match="no room"):
        run_bundle(shell(tmp_path, f"echo x; sleep {number}"), runtime=runtime, log=take)
    wait_until(lambda: not runs(number))


@ANY
def test_a_program_that_is_not_there(tmp_path, runtime):
    bundle = write_bundle(tmp_path / "bundle", Container([SYSTEM]), ["/no/such"])
    said: list[bytes] = []
    with pytest.raises(FileNotFoundError) as caught:
        run_bundle(bundle.path, runtime=runtime, log=said.append)
    assert isinstance(caught.value, SetupError)
    assert caught.value.step == "execute the program"


def test_a_runtime_that_is_not_there(tmp_path, monkeypatch):
    bundle = shell(tmp_path, "true")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="runc is not installed") as caught:
        run_bundle(bundle, runtime="runc")
    assert "apt-get install runc" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="runtime must be"):
        run_bundle(bundle, runtime="podman")  # type: ignore[arg-type]


@ANY
def test_wall_time(tmp_path, runtime):
    bundle = shell(tmp_path, "echo x; sleep 60", limits=Limits(wall_time=0.3))
    done = run_bundle(bundle, runtime=runtime, log=bytes)
    assert done.verdict is Verdict.WALL_TIME
    assert done.status == ExitStatus(signal=signal.SIGKILL)
    assert "wall_time" in done.enforced


@ANY
def test_processor_time(tmp_path, runtime):
    bundle = shell(tmp_path, "while :; do :; done", limits=Limits(cpu_time=0.2, wall_time=50))
    done = run_bundle(bundle, runtime=runtime, log=bytes)
    assert done.verdict is Verdict.CPU_TIME


@ANY
def test_amount_of_output(tmp_path, runtime):
    bundle = shell(tmp_path, "yes", limits=Limits(output=10_000, wall_time=50))
    said: list[bytes] = []
    done = run_bundle(bundle, runtime=runtime, log=said.append)
    assert done.verdict is Verdict.OUTPUT
    assert sum(map(len, said)) == 10_000


@pytest.mark.unprivileged
def test_a_limit_that_takes_a_cgroup(tmp_path, runtime):
    bundle = shell(tmp_path, "true", limits=Limits(memory="1g"))
    with pytest.raises(PermissionError, match="memory by a cgroup"):
        run_bundle(bundle, runtime=runtime, log=bytes)
    loose = write_bundle(
        tmp_path / "loose", Container([SYSTEM], limits=Limits(memory="1g", strict=False)), ["true"]
    )
    done = run_bundle(loose.path, runtime=runtime, log=bytes)
    assert done.verdict is Verdict.OK
    assert done.enforced["memory"].startswith("not held")
    few = write_bundle(tmp_path / "few", Container([SYSTEM], limits=Limits(processes=9)), ["true"])
    done = run_bundle(few.path, runtime=runtime, log=bytes)
    assert done.enforced == {"processes": "RLIMIT_NPROC"}


@pytest.mark.unprivileged
def test_a_user_without_subordinate_ids(tmp_path):
    container = Container([SYSTEM], guest_uid=1000, guest_gid=1000)
    bundle = write_bundle(tmp_path / "bundle", container, ["id", "-u"])
    spec = bundle.spec
    for key in ("uidMappings", "gidMappings"):
        spec["linux"][key] = [one for one in spec["linux"][key] if one["containerID"] == 1000]
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(spec))
    for runtime in ("native", "crun"):
        said: list[bytes] = []
        run_bundle(bundle.path, runtime=runtime, log=said.append)
        assert said == [b"1000\n"]
    with pytest.raises(SetupError) as caught:
        run_bundle(bundle.path, runtime="runc", log=bytes)
    assert "--add-subuids" in caught.value.__notes__[-1]


@pytest.mark.is_root
def test_a_limit_of_memory(tmp_path, runtime):
    bundle = shell(tmp_path, "tail /dev/zero", limits=Limits(memory="32m", wall_time=50))
    done = run_bundle(bundle, runtime=runtime, log=bytes)
    assert done.verdict is Verdict.EXIT
    assert done.returncode == 137
    assert done.enforced["memory"] == "a cgroup"


# ---- ending


@ANY
def test_cancelled_before_it_starts(tmp_path, runtime):
    cancel = threading.Event()
    cancel.set()
    said: list[bytes] = []
    done = run_bundle(shell(tmp_path, "echo x"), runtime=runtime, log=said.append, cancel=cancel)
    assert done.verdict is Verdict.CANCELLED
    assert done.status == ExitStatus(signal=signal.SIGKILL)
    assert not said


@ANY
def test_cancelled_at_any_moment(tmp_path, runtime):
    number = unique()
    bundle = shell(tmp_path, f"sleep {number}")
    for delay in (0.0, 0.002, 0.01, 0.02, 0.04, 0.1):
        cancel = threading.Event()
        timer = threading.Timer(delay, cancel.set)
        timer.start()
        done = run_bundle(bundle, runtime=runtime, log=bytes, cancel=cancel)
        timer.join()
        assert done.verdict is Verdict.CANCELLED
        assert done.status == ExitStatus(signal=signal.SIGKILL)
    assert not runs(number)


@ANY
def test_cancelled_after_its_end(tmp_path, runtime):
    cancel = threading.Event()
    done = run_bundle(shell(tmp_path, "true"), runtime=runtime, log=bytes, cancel=cancel)
    cancel.set()
    assert done.verdict is Verdict.OK


def test_nothing_is_left(tmp_path, runtime):
    run_bundle(shell(tmp_path, "echo x"), runtime=runtime, log=bytes)
    # Those of a caller that a test beside this one has killed are gone a moment later.
    wait_until(lambda: not [name for name in states() if not _is_held(name)])


def _is_held(name: str) -> bool:
    """Whether another run, of a test beside this one, has it."""
    import fcntl

    try:
        fd = os.open(f"{_home()}/{name}", os.O_RDONLY)
    except FileNotFoundError:
        return True  # its run is over
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


CALLER = """
import sys
from pycontainer.oci import run_bundle
run_bundle(sys.argv[1], runtime=sys.argv[2], log=lambda data: print("started", flush=True))
"""


def killed_caller(bundle: str, runtime: str) -> None:
    """A caller that is killed when the program runs."""
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, bundle, runtime], stdout=subprocess.PIPE
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"started\n"
    caller.kill()
    caller.wait()
    caller.stdout.close()


@ANY
def test_the_caller_is_killed(tmp_path, runtime):
    number = unique()
    killed_caller(shell(tmp_path, f"echo x; sleep {number}"), runtime)
    wait_until(lambda: not runs(number))
    wait_until(lambda: not [name for name in states() if not _is_held(name)])


def test_what_is_left_is_swept_at_the_next_start(tmp_path, runtime, monkeypatch):
    """Without the process that watches, as if it had been killed too."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    number = unique()
    bundle = shell(tmp_path, f"echo x; sleep {number}")
    script = CALLER.replace(
        "import sys\n", "import sys\nfrom pycontainer.oci import state\nstate._WATCH = 'read x'\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", script, bundle, runtime], stdout=subprocess.PIPE
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"started\n"
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert runs(number)
    other = write_bundle(tmp_path / "other", Container([SYSTEM]), ["true"])
    # By another runtime: each is swept by its own.
    next_one: Any = "crun" if runtime == "runc" else "runc"
    run_bundle(other.path, runtime=next_one, log=bytes)
    wait_until(lambda: not runs(number))


@pytest.mark.is_root
def test_the_hosts_null_device_is_not_given_away(tmp_path, runtime):
    """Runtimes give the streams of a container to its user."""
    script = (
        "import sys; from pycontainer.oci import run_bundle; "
        "run_bundle(sys.argv[1], runtime=sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", script, shell(tmp_path, "true"), runtime],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    assert os.stat("/dev/null").st_uid == 0


def test_a_config_that_is_another_runtimes(tmp_path):
    """What `runc spec` writes runs natively and is the same."""
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    for name in ("proc", "sys", "dev", "bin", "usr", "lib", "lib64"):
        (bundle / "rootfs" / name).mkdir()
    subprocess.run(["runc", "spec", "--rootless"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["/bin/sh", "-c", "id -u; echo $PATH; ls /dev; cat /proc/self/limits"]
    for name in ("usr", "bin", "lib", "lib64"):
        mount = {"destination": f"/{name}", "source": f"/{name}"}
        spec["mounts"].append({**mount, "type": "bind", "options": ["rbind", "ro"]})
    spec["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(spec))
    said: dict[str, list[bytes]] = {"native": [], "runc": []}
    for runtime, log in said.items():
        done = run_bundle(bundle, runtime=runtime, log=log.append)  # type: ignore[arg-type]
        assert done.verdict is Verdict.OK, b"".join(log)
    native, other = (b"".join(log).splitlines() for log in said.values())
    assert [line for line in native if b"core file" not in line] == [
        line for line in other if b"core file" not in line
    ]
