"""What is refused, where, and with which words; nothing has run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pycontainer
from pycontainer import (
    NAMESPACES,
    PayloadError,
    SetupError,
    bind,
    call_with_container,
    container_excursion,
    directory,
    file,
    start_container,
    tmpfs,
)

ROOT = str(Path(pycontainer.__file__).parents[1])


def refuse(match, *mounts, **options):
    """A ValueError that says *match*, before anything is started."""
    with pytest.raises(ValueError, match=match) as caught:
        call_with_container(list(mounts), os.abort, **options)
    return str(caught.value)


def test_unknown_namespace():
    message = refuse("unknown namespace 'nett'", namespaces={"user", "nett"})
    assert "'net'" in message


def test_namespaces_as_one_string():
    refuse("namespaces", namespaces="user")


def test_relative_target():
    with pytest.raises(ValueError, match="target 'mnt' is relative"):
        tmpfs("mnt")
    with pytest.raises(ValueError, match="'etc' is relative"):
        bind("/etc", "etc")
    with pytest.raises(ValueError, match="'motd' is relative"):
        file("motd", "")


@pytest.mark.parametrize("target", ["/a/../b", "/..", "", "/a\0b"])
def test_target_that_leads_elsewhere(target):
    with pytest.raises(ValueError):
        tmpfs(target)


def test_missing_source(tmp_path):
    path = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError) as caught:
        call_with_container([bind(path, "/mnt")], os.getpid)
    error = caught.value
    assert isinstance(error, SetupError)
    assert (error.errno, error.filename) == (errno.ENOENT, path)
    assert "bind" in error.step
    assert path in str(error)
    assert any("optional=True" in note for note in error.__notes__)


def test_missing_source_as_guix_has_it():
    with pytest.raises(SetupError) as caught:
        call_with_container([bind("/does-not-exist")], os.getpid)
    assert caught.value.errno == errno.ENOENT


def test_file_on_a_directory(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "host/inner").mkdir(parents=True)
    mounts = [bind(tmp_path / "host", "/mnt"), bind(tmp_path / "file", "/mnt/inner")]
    with pytest.raises(NotADirectoryError) as caught:
        call_with_container(mounts, os.getpid)
    assert "/mnt/inner" in str(caught.value)
    assert any("must both be directories" in note for note in caught.value.__notes__)


def test_file_system_on_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        call_with_container([bind(tmp_path, "/mnt"), tmpfs("/mnt/file")], os.getpid)
    assert "/mnt/file is no directory" in caught.value.__notes__[0]


def test_directory_on_a_file(tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").touch()
    mounts = [bind(tmp_path / "host", "/mnt"), bind(tmp_path / "host", "/mnt/file")]
    with pytest.raises(NotADirectoryError) as caught:
        call_with_container(mounts, os.getpid)
    assert any("must both be directories" in note for note in caught.value.__notes__)


def test_source_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        call_with_container([bind(tmp_path / "file/x", "/mnt")], os.getpid)


def test_duplicate_targets():
    refuse("/mnt is given twice", tmpfs("/mnt"), bind("/etc", "/mnt"))


def test_nested_targets_in_the_wrong_order():
    message = refuse("would hide", tmpfs("/mnt/inner"), bind("/etc", "/mnt"))
    assert "put /mnt before /mnt/inner" in message


def test_entry_on_the_host():
    refuse("nothing is written to the host", bind("/etc", "/mnt"), file("/mnt/x", ""))


def test_entry_below_a_file():
    refuse("lies below file /a", file("/a", ""), directory("/a/b"))


def test_mounts_that_are_none():
    refuse("write bind", "/etc")
    with pytest.raises(ValueError, match="put the one mount in a list"):
        call_with_container(tmpfs("/mnt"), os.getpid)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["guest_uid", "guest_gid", "host_uid_start", "host_gid_start"])
def test_negative_ids(name):
    refuse(f"{name} -1 is outside", **{name: -1})


@pytest.mark.parametrize("count", [0, -5])
def test_host_uids_below_1(count):
    refuse(f"host_uids {count} is outside", host_uids=count)


def test_ids_that_are_no_numbers():
    refuse("guest_uid must be an int", guest_uid="0")
    refuse("host_uids must be an int", host_uids=True)


def test_guest_id_outside_the_map():
    refuse("guest_uid 42 is not mapped", host_uids=10, guest_uid=42)


def test_environment_names():
    refuse("contains a NUL", env={"A\0B": "x"})
    refuse("'A=B' contains '='", env={"A=B": "x"})
    refuse("env", env={"": "x"})


def test_environment_values_stay_out_of_the_message():
    message = refuse("the value of 'PASSWORD' contains a NUL", env={"PASSWORD": "se\0cret"})
    assert "cret" not in message


def test_hostname_of_65_bytes():
    refuse("hostname is 65 bytes long; the kernel takes 64", hostname="h" * 65)
    refuse("hostname is 66 bytes", hostname="\u00e4" * 33)


def test_unknown_capability():
    assert "CAP_SYS_ADMIN" in refuse("unknown capability", capabilities={"CAP_SYS_ADMIM"})


def test_every_mistake_is_listed():
    message = refuse("hostname", hostname="h" * 65, guest_uid=-1, env={"A=B": ""}, cwd="x")
    for word in ("hostname", "guest_uid", "'A=B'", "cwd"):
        assert word in message


def test_unknown_option():
    with pytest.raises(TypeError, match="hostnam"):
        call_with_container([], os.getpid, hostnam="box")  # type: ignore[call-arg]


def test_mounts_without_mnt():
    names = NAMESPACES - {"mnt"}
    refuse("without the 'mnt' namespace", tmpfs("/mnt"), namespaces=names)
    refuse("rootfs: without the 'mnt'", namespaces=names, rootfs="/tmp")


def test_hostname_without_uts():
    refuse("hostname needs the 'uts' namespace", namespaces=NAMESPACES - {"uts"}, hostname="a")


def test_cwd_that_is_not_there():
    with pytest.raises(FileNotFoundError) as caught:
        call_with_container([], os.getpid, cwd="/absent")
    assert "cwd='/absent'" in caught.value.__notes__[0]


# ---- options of a call


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"start_method": "spawn"}, ValueError, "'forkserver' or 'fork'"),
        ({"returns": "json"}, ValueError, "'data' or 'pickle'"),
        ({"max_result": -1}, ValueError, "max_result"),
        ({"preload": "numpy"}, TypeError, r"preload=\['numpy'\]"),
        ({"start_method": "fork", "preload": ["re"]}, ValueError, "preload= is for the fork"),
        ({"allow": [42]}, (TypeError, ValueError), "42"),
        ({"stdout": -2}, ValueError, "STDOUT is for stderr"),
        ({"stdin": 9999}, OSError, "Bad file descriptor"),
    ],
)
def test_bad_option(options, error, match):
    with pytest.raises(error, match=match):
        call_with_container([], os.getpid, **options)


def test_preload_that_does_not_exist():
    with pytest.raises(pycontainer.ContainerError, match="no_such_module") as caught:
        call_with_container([], os.getpid, preload=["no_such_module"])
    assert caught.value


# ---- functions


@pytest.mark.parametrize("fn", [None, 42, "os.getpid"])
def test_fn_that_is_no_function(fn):
    with pytest.raises(PayloadError, match="fn must be a function"):
        call_with_container([], fn)


def test_unpicklable_function_starts_nothing(tmp_path):
    with open(tmp_path / "log", "w") as log:

        def fn():
            log.write("ran")

        with pytest.raises(PayloadError, match="closure variable 'log' is a "):
            call_with_container([], fn, process_spawned_hook=lambda running: os._exit(1))
    assert (tmp_path / "log").read_text() == ""


def test_function_with_a_parameter():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        call_with_container([], lambda x: x)  # type: ignore[arg-type,misc]


# ---- processes


def test_dead_pid():
    child = subprocess.Popen(["sleep", "0"])
    child.wait()
    with pytest.raises(ProcessLookupError, match="no such process") as caught:
        container_excursion(child.pid, os.getpid)
    assert isinstance(caught.value, SetupError)
    assert str(child.pid) in str(caught.value)


@pytest.mark.parametrize("pid", [0, -1, 1 << 30])
def test_pid_that_cannot_be(pid):
    with pytest.raises((ProcessLookupError, ValueError)):
        container_excursion(pid, os.getpid)


@pytest.mark.parametrize("pid", ["1", None, True, 1.0])
def test_pid_that_is_no_number(pid):
    with pytest.raises(TypeError, match="pid is a number or a Running"):
        container_excursion(pid, os.getpid)


@pytest.mark.unprivileged
def test_pid_of_another_user():
    """Process 1 is root's."""
    with pytest.raises(PermissionError) as caught:
        container_excursion(1, os.getpid)
    assert isinstance(caught.value, SetupError)
    assert "another user's" in caught.value.__notes__[0]


def test_zombie():
    child = subprocess.Popen(["sleep", "30"])
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessLookupError, match="zombie"):
        container_excursion(child.pid, os.getpid)
    child.wait()


def test_container_that_has_ended():
    running = start_container([], lambda: None)
    running.wait()
    with pytest.raises((ProcessLookupError, ValueError), match=r"ended|no such process"):
        container_excursion(running, os.getpid)


def test_namespaces_of_an_excursion():
    with pytest.raises(ValueError, match="unknown namespace"):
        container_excursion(os.getpid(), os.getpid, namespaces={"nett"})


# ---- a kernel that refuses


def test_user_namespaces_off():
    """In a user namespace of its own, where user.max_user_namespaces is 0 (namespaces(7))."""
    program = f"""
        import os, sys
        sys.path.insert(0, {ROOT!r})
        from pycontainer import SetupError, call_with_container
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
        try:
            call_with_container([], os.getpid)
        except SetupError as error:
            print(error.errno)
            print(str(error))
            print("\\n".join(error.__notes__))
    """
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    number, message, *notes = done.stdout.splitlines()
    assert int(number) in (errno.ENOSPC, errno.EPERM), done.stderr
    assert "namespace" in message
    assert "max_user_namespaces" in " ".join(notes)


def test_signal_numbers_that_are_none():
    with start_container([]) as running:
        with pytest.raises((OSError, ValueError)):
            running.send_signal(9999)
        running.send_signal(signal.SIGCONT)
