"""Row 5: silent or partial set-up (systemd-nspawn#40833).

A mask that could not be made was skipped and the container called secure.  Here every system call
of the set-up is refused in turn, by a seccomp filter: the function must not run, and the error
names the step.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import runpy
import time
from pathlib import Path

import pytest

from pycontainer import (
    SetupError,
    bind,
    call_with_container,
    container_excursion,
    directory,
    file,
    overlay,
    start_container,
    symlink,
    tmpfs,
)
from pycontainer.launch import forkserver as forkservers

FILTER = Path(__file__).with_name("refusing.py")
CLONE_NEWUSER, O_EXCL = 0x10000000, 0o200
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
ALL = 0xFFFFFFFF

# The call (with an argument's number, a mask and a value, where it is refused only then) → the
# words of the step that meets it first.
STEPS = {
    ("clone3",): "clone a process",
    ("close_range", 0, ALL, 10): "descriptors",
    ("close_range", 0, ALL, 4): "descriptors",
    ("dup3",): "descriptors",
    ("setresgid",): "become uid",
    ("setresuid",): "become uid",
    ("prctl", 0, ALL, PR_SET_KEEPCAPS): "become uid",
    ("prctl", 0, ALL, PR_SET_DUMPABLE): "become uid",
    ("keyctl",): "keyring",
    ("mount",): "private",
    ("fsopen",): "tmpfs as the root",
    ("fsconfig",): "tmpfs as the root",
    ("fsmount",): "tmpfs as the root",
    ("statx",): "tmpfs as the root",
    ("move_mount",): "tmpfs as the root",
    ("openat2",): "make the directory|mount",
    ("mkdirat",): "make the directory|mount",
    ("openat", 2, O_EXCL, O_EXCL): "bind device",
    ("symlinkat",): "link",
    ("pivot_root",): "pivot",
    ("umount2",): "pivot",
    ("fchdir",): "pivot|overlay",
    ("sethostname",): "host name",
    ("socket", 0, ALL, 2): "loopback",
    ("ioctl", 1, ALL, 0x8914): "loopback",
    ("mount_setattr",): "hold|bind device",
    ("unshare", 0, CLONE_NEWUSER, CLONE_NEWUSER): "lock",
    ("capget",): "keep CAP_CHOWN|set-id",
    ("capset",): "keep CAP_CHOWN|set-id",
    ("prctl", 0, ALL, PR_CAPBSET_DROP): "keep CAP_CHOWN|set-id",
    ("prctl", 0, ALL, PR_CAP_AMBIENT): "keep CAP_CHOWN",
    ("prctl", 0, ALL, PR_SET_NO_NEW_PRIVS): "no new privileges",
    ("prctl", 0, ALL, PR_SET_PDEATHSIG): "tie",
}
AS_USER = {
    ("write", 2, ALL, 4): "map one user",  # "deny", to setgroups
    ("open_tree",): "bind device",
}
AS_ROOT = {
    ("setgroups",): "become uid",
    ("open_tree",): "hold the host's /dev/null",
    ("clone",): "lock",  # of the process that writes the lock's maps
    ("seccomp",): "set-id",
}
JOINING = {
    ("setns",): "join the target's namespaces",
    ("setresgid",): "take the target's ids",
    ("setresuid",): "take the target's ids",
    ("capset",): "take the target's (ids|capabilities)",
    ("prctl", 0, ALL, PR_CAP_AMBIENT): "take the target's capabilities",
    ("prctl", 0, ALL, PR_SET_NO_NEW_PRIVS): "take the target's capabilities",
    ("prctl", 0, ALL, PR_SET_DUMPABLE): "tie",
    ("prctl", 0, ALL, PR_SET_PDEATHSIG): "tie",
    ("close_range", 0, ALL, 4): "descriptors",
}

_numbers = itertools.count()


def name(refused):
    return "-".join(map(str, refused))


@pytest.fixture
def refusing(tmp_path, monkeypatch):
    """Make a helper whose children meet the refusal; the name for ``preload=``."""
    known = set(forkservers._running)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(refused):
        module = f"refusing_{os.getpid()}_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(f"{FILTER.read_text()}\n\nrefuse(*{refused!r})\n")
        return (module,)

    yield make
    for key in set(forkservers._running) - known:
        forkservers._running.pop(key).close()


@pytest.fixture
def container(tmp_path):
    """A container with a bit of everything."""
    (tmp_path / "source").mkdir()
    mounts = [
        bind(tmp_path / "source", "/data", writable=True),
        overlay(tmp_path / "source", "/layers"),
        directory("/d"),
        file("/d/f", "f"),
        symlink("/l", "/d"),
        tmpfs("/t"),
    ]
    places = {"readonly_paths": ["/data"], "masked_paths": ["/d/f", "/t"]}
    return mounts, {"capabilities": ["CAP_CHOWN"], "cwd": "/d", **places}


@pytest.fixture
def never_ran():
    """A function, and the pipe that it would write to."""
    r, w = os.pipe()
    os.set_blocking(r, False)

    def refuse(call, words):
        # A second time: that child was cloned before it was ordered.
        for _ in range(2):
            with pytest.raises(SetupError, match=words) as caught:
                call(lambda: os.write(w, b"ran"), w)
            assert caught.value.errno == errno.EPERM
            assert re.search(words, caught.value.step)
            with pytest.raises(BlockingIOError):
                os.read(r, 1)
            time.sleep(0.01)

    yield refuse
    os.close(r)
    os.close(w)


def fn():
    os.write(1, b"ran")


@pytest.mark.parametrize("refused", STEPS, ids=name)
def test_step(refusing, container, never_ran, refused):
    mounts, options = container
    preload = refusing(refused)

    def call(_, w):
        call_with_container(mounts, fn, preload=preload, stdout=w, **options)

    never_ran(call, STEPS[refused])


@pytest.mark.unprivileged
@pytest.mark.parametrize("refused", AS_USER, ids=name)
def test_step_as_user(refusing, container, never_ran, refused):
    mounts, options = container
    preload = refusing(refused)

    def call(_, w):
        call_with_container(mounts, fn, preload=preload, stdout=w, **options)

    never_ran(call, AS_USER[refused])


@pytest.mark.is_root
@pytest.mark.parametrize("refused", AS_ROOT, ids=name)
def test_step_as_root(refusing, container, never_ran, refused):
    mounts, options = container
    preload = refusing(refused)

    def call(_, w):
        call_with_container(mounts, fn, preload=preload, stdout=w, **options)

    never_ran(call, AS_ROOT[refused])


def test_change_of_directory(never_ran):
    """Refused from the hook on: the helper itself would not start."""
    refuse = runpy.run_path(str(FILTER))["refuse"]

    def call(_, w):
        call_with_container(
            [], fn, populate_filesystem=lambda: refuse("chdir"), preload=["ctypes"], stdout=w
        )

    never_ran(call, "change to the directory /")


def test_process_below_an_init(refusing, never_ran):
    preload = refusing(("clone",))

    def call(_, w):
        call_with_container([], fn, preload=preload, stdout=w, child_is_pid1=False)

    # Host root's lock needs a second process too.
    never_ran(call, "fork the function's process|lock")


def test_idle_container(refusing, container):
    mounts, options = container
    options["preload"] = refusing(("sethostname",))
    with pytest.raises(SetupError, match="host name"):
        start_container(mounts, **options)


def test_nothing_refused(refusing, container):
    """The filter alone breaks nothing; so the tests above fail for what they refuse."""
    mounts, options = container
    preload = refusing(("sethostname", 0, ALL, 1))
    for _ in range(2):
        assert call_with_container(mounts, lambda: 5, preload=preload, **options) == 5
        with start_container([]) as running:
            assert container_excursion(running, lambda: 6, preload=preload) == 6


@pytest.mark.parametrize("refused", JOINING, ids=name)
def test_step_of_an_excursion(refusing, never_ran, refused):
    preload = refusing(refused)
    with start_container([], guest_uid=5, guest_gid=6) as running:

        def call(_, w):
            def fn():
                with open("/tmp/ran", "w"):
                    pass

            container_excursion(running, fn, preload=preload)

        never_ran(call, JOINING[refused])
        assert container_excursion(running, lambda: os.path.exists("/tmp/ran")) is False


CALLER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from refusing import refuse
from pycontainer import SetupError, call_with_container

def attempt(method, refused):
    refuse(*refused)
    r, w = os.pipe()
    try:
        call_with_container(
            [], lambda: os.write(1, b"ran"), start_method=method, stdout=w,
            capabilities=["CAP_CHOWN"],
        )
        said = "nothing"
    except SetupError as error:
        said = f"SetupError {error.errno} {error.step}"
    except Exception as error:
        said = repr(error)
    os.close(w)
    return said + (" and ran" if os.read(r, 1) else "")

def forked(method, refused):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(w, attempt(method, refused).encode())
        from pycontainer.launch import forkserver
        forkserver._end()
        os._exit(0)
    os.close(w)
    os.waitpid(pid, 0)
    with open(r) as said:
        return said.read()

print(json.dumps([[*call, forked(*call)] for call in json.loads(sys.argv[2])]))
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_caller_under_a_filter(run_program, method):
    """Everything below it inherits the filter, the helper first of all."""
    refused = [
        refused for refused in STEPS if refused[0] not in ("close_range", "dup3", "capget", "prctl")
    ]
    calls = json.dumps([[method, one] for one in refused])
    ended = run_program(CALLER, str(FILTER.parent), calls)
    assert ended.returncode == 0, ended.stderr
    for _, one, said in json.loads(ended.stdout):
        assert said.startswith(f"SetupError {errno.EPERM} "), (one, said)
        assert not said.endswith("and ran")


def test_words_for_what_the_helper_needs_of_its_caller(run_program, is_root):
    """It is executed from a read-only clone of "/", for which an ordinary user has a namespace."""
    expected = {("open_tree",): "clone the mounts", ("mount_setattr",): "read-only"}
    if not is_root:
        expected["clone",] = "make a user namespace"
    calls = json.dumps([["forkserver", one] for one in expected])
    ended = run_program(CALLER, str(FILTER.parent), calls)
    assert ended.returncode == 0, ended.stderr
    for (_, _, said), words in zip(json.loads(ended.stdout), expected.values(), strict=True):
        assert said.startswith(f"SetupError {errno.EPERM} ")
        assert words in said
