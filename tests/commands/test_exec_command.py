"""A program of a running container, inside it."""

from __future__ import annotations

import errno
import subprocess
import time

import pytest

from pycontainer import (
    PIPE,
    CommandError,
    ContainerTimeoutError,
    ExitStatus,
    SetupError,
    exec_command,
    file,
    host_system,
    start_command,
    start_container,
    tmpfs,
)


@pytest.fixture
def container():
    with start_command(
        [host_system(), file("/note", "of the container"), tmpfs("/data")],
        ["sleep", "100"],
        hostname="inner",
        guest_uid=1000,
    ) as running:
        yield running
        running.kill()


def output(running, *argv, **options):
    return exec_command(running, argv, stdout=PIPE, check=True, **options).stdout


def test_its_files_names_and_ids(container):
    assert output(container, "cat", "/note") == b"of the container"
    assert output(container, "uname", "-n") == b"inner\n"
    assert output(container, "id", "-u") == b"1000\n"


def test_by_pid(container):
    assert output(container.pid, "cat", "/note") == b"of the container"


def test_it_sees_the_containers_processes(container):
    listed = output(container, "ps", "-eo", "args=", text=True).split("\n")
    assert "sleep 100" in listed
    assert "ps -eo args=" in listed
    assert len(listed) == 4  # and the init


def test_what_it_writes_stays(container):
    exec_command(container, ["sh", "-c", "echo x > /data/file"], check=True)
    assert output(container, "cat", "/data/file") == b"x\n"


def test_environment_and_directory(container):
    assert output(container, "env", env={"A": "1"}) == b"A=1\n"
    assert output(container, "pwd") == b"/\n"
    assert output(container, "pwd", cwd="/usr/bin") == b"/usr/bin\n"


def test_how_it_ends(container):
    assert exec_command(container, ["sh", "-c", "exit 5"]).returncode == 5
    assert exec_command(container, ["sh", "-c", "kill -9 $$"]).status == ExitStatus(signal=9)
    with pytest.raises(CommandError):
        exec_command(container, ["false"], check=True)
    assert container.poll() is None


def test_streams(container):
    completed = exec_command(
        container, ["sh", "-c", "cat; echo err >&2"], input="é", text=True, capture_output=True
    )
    assert (completed.stdout, completed.stderr) == ("é", "err\n")


def test_no_descriptors_and_no_signals_of_ours(container):
    status = output(container, "cat", "/proc/self/status", text=True)
    assert "SigBlk:\t0000000000000000" in status
    assert "SigIgn:\t0000000000000000" in status
    assert output(container, "ls", "/proc/self/fd").split() == [b"0", b"1", b"2", b"3"]  # ls's own


def test_privileges_are_the_containers(container):
    def field(text, name):
        return text.split(f"{name}:\t")[1].split("\n")[0]

    status = output(container, "cat", "/proc/self/status", text=True)
    targets = output(container, "cat", "/proc/2/status", text=True)
    for name in ("NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert field(status, name) == field(targets, name), name


def test_a_timeout_ends_it_and_its_group(container):
    started = time.monotonic()
    with pytest.raises(ContainerTimeoutError) as caught:
        exec_command(
            container, ["sh", "-c", "sleep 77 & echo so far; sleep 78"], timeout=0.5, stdout=PIPE
        )
    assert isinstance(caught.value, subprocess.TimeoutExpired)
    assert caught.value.output == b"so far\n"
    assert time.monotonic() - started < 5
    assert b"sleep 7" not in output(container, "ps", "-eo", "args=")
    assert container.poll() is None


def test_what_it_leaves_in_its_group_ends_with_it(container):
    exec_command(container, ["sh", "-c", "sleep 77 &"], check=True)
    assert b"sleep 77" not in output(container, "ps", "-eo", "args=")


def test_a_daemon_lives_on_in_the_container_and_ends_with_it(container):
    exec_command(container, ["sh", "-c", "setsid sleep 77 & sleep 0.5"], check=True)
    assert b"sleep 77" in output(container, "ps", "-eo", "args=")


def test_the_hook(container):
    seen = []
    completed = exec_command(
        container, ["echo", "x"], process_spawned_hook=lambda running: seen.append(running.pid)
    )
    assert completed.returncode == 0
    assert seen[0] > 0


def test_a_program_that_is_not_there(container):
    with pytest.raises(SetupError, match="there is no no-such in the container") as caught:
        exec_command(container, ["no-such"])
    assert isinstance(caught.value, FileNotFoundError)


def test_a_directory_that_is_not_there(container):
    with pytest.raises(FileNotFoundError) as caught:
        exec_command(container, ["true"], cwd="/none")
    assert caught.value.filename == "/none"


def test_an_idle_container():
    with start_container([host_system()]) as running:
        assert output(running, "echo", "x") == b"x\n"


def test_a_container_that_has_ended(container):
    container.kill()
    container.wait()
    with pytest.raises((SetupError, ValueError)):
        exec_command(container, ["true"])
    with pytest.raises(SetupError) as caught:
        exec_command(2**22 + 1, ["true"])
    assert caught.value.errno == errno.ESRCH


@pytest.mark.parametrize("bad", [{"cwd": "relative"}, {"env": {"A=B": "x"}}])
def test_bad_options(container, bad):
    with pytest.raises(ValueError):
        exec_command(container, ["true"], **bad)


def test_in_a_loop(container):
    """One excursion's spare after the other."""
    for number in range(30):
        assert output(container, "echo", str(number)) == f"{number}\n".encode()
