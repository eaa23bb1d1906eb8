"""A helper that took over something which the caller no longer has is replaced.

Containers that run under the old one go on, and it ends with the last of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

CHANGE = """
    import gc, json, resource, signal

    running = start_container([])
    first = helper()
    assert call_with_container([], lambda: 1) == 1
    assert helper() == first

    {change}

    value = call_with_container([], {look})
    second = helper()
    print(json.dumps([value, second != first, running.poll() is None]))
    if {visits}:
        assert container_excursion(running, lambda: 1) == 1
    else:
        os.seteuid(0)  # kill(2) wants more than to have started it
    running.end()
    del running
    gc.collect()
    assert ended(first) if second != first else True
    assert call_with_container([], lambda: 2) == 2
    assert helper() == second or not {visits}
"""


@pytest.fixture
def changed(run_program):
    """What a function sees after a change of the caller, and whether there is a new helper."""

    def run(change, look="lambda: None", *arguments, visits=True):
        indented = change.replace("\n", "\n    ")
        text = CHANGE.format(change=indented, look=look, visits=visits)
        value, replaced, goes_on = json.loads(run_program(text, *arguments))
        assert goes_on
        return value, replaced

    return run


def status_of(field):
    return f'''lambda: next(
        line.split()[1] for line in open("/proc/self/status") if line.startswith("{field}:"))'''


def test_nothing(changed):
    assert changed("pass") == (None, False)


@pytest.mark.parametrize("name", ["NOFILE", "FSIZE", "STACK"])
def test_soft_limit(changed, name):
    value, replaced = changed(
        f"hard = resource.getrlimit(resource.RLIMIT_{name})[1]\n"
        f"resource.setrlimit(resource.RLIMIT_{name}, (1 << 20, hard))"
        if name != "NOFILE"
        else "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (777, hard))",
        f"lambda: resource.getrlimit(resource.RLIMIT_{name})[0]",
    )
    assert replaced
    assert value == (777 if name == "NOFILE" else 1 << 20)


def test_limit_that_goes_back(run_program):
    """The old helper has gone; a third one serves, and nothing is left of the others."""
    output = run_program("""
        import gc, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        seen = []
        for number in range(4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft - number % 2, hard))
            call_with_container([], lambda: None)
            seen.append(helper())
        gc.collect()
        print(len(set(seen)), children("self") == [seen[-1]])
    """)
    assert output == "4 True\n"


def test_umask_does_not_matter(changed):
    value, replaced = changed(
        "os.umask(0o077)", 'lambda: (os.open("/tmp/x", os.O_CREAT), os.stat("/tmp/x").st_mode)[1]'
    )
    assert not replaced
    assert value & 0o777 == 0o755  # the container's own, 022


def test_working_directory_and_environment_do_not_matter(changed):
    change = 'os.chdir("/tmp")\nos.environ["X"] = "y"\nsys.path.append("/nowhere")'
    value, replaced = changed(change, "lambda: (os.getcwd(), dict(os.environ), sys.path[-1])")
    assert (value, replaced) == (["/", {}, "/nowhere"], False)


def test_processors_of_the_caller(changed):
    """sched_setaffinity(2) of this thread, which the kernel hands on to children: so it is here."""
    value, replaced = changed(
        "one = min(os.sched_getaffinity(0))\nos.sched_setaffinity(0, {one})",
        "lambda: len(os.sched_getaffinity(0))",
    )
    assert (value, replaced) == (1, False)


def test_threads_on_processors_of_their_own(run_program):
    """One helper serves them all, and each has its containers where it is itself."""
    run_program("""
        import threading

        allowed = sorted(os.sched_getaffinity(0))
        look = lambda: sorted(os.sched_getaffinity(0))
        first = helper()
        seen = []

        def call(number):
            mine = {allowed[number % len(allowed)]}
            os.sched_setaffinity(0, mine)
            for method in ("forkserver", "fork", "forkserver"):
                seen.append((sorted(mine), call_with_container([], look, start_method=method)))
            with start_container([]) as running:
                seen.append((sorted(mine), container_excursion(running, look)))
            words = ["grep", "Cpus_allowed_list", "/proc/self/status"]
            done = run_command(host_system(), words, capture_output=True, text=True)
            seen.append((str(min(mine)), done.stdout.split()[1]))

        for number in range(4):
            thread = threading.Thread(target=call, args=[number])
            thread.start()
            thread.join()
            assert helper() == first
        assert len(seen) == 20
        assert all(wanted == found for wanted, found in seen), seen
        assert call_with_container([], look) == allowed
    """)


def test_nice_value_of_the_caller(changed):
    value, replaced = changed("os.nice(3)", "lambda: os.nice(0)")
    assert (value, replaced) == (min(os.nice(0) + 3, 19), True)


def test_no_new_privileges(changed):
    """prctl(2): never undone, so the helper that did not have it is no longer like its caller."""
    value, replaced = changed(
        "import ctypes\nassert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0",
        status_of("NoNewPrivs"),
    )
    assert (value, replaced) == ("1", True)


@pytest.mark.is_root
def test_group_of_the_caller(changed):
    _, replaced = changed("os.setgroups([4242])")
    assert replaced


@pytest.mark.is_root
def test_ids_of_the_caller(changed, tmp_path):
    """seteuid: the helper of root must not serve a caller who has given root up."""
    tmp_path.chmod(0o755)
    (tmp_path / "private").write_text("of root")
    (tmp_path / "private").chmod(0o600)
    value, replaced = changed(
        "os.setegid(1001)\nos.seteuid(1001)\n"
        "try:\n"
        "    call_with_container([bind(sys.argv[1] + '/private', '/p')], "
        "lambda: open('/p').read())\n"
        "except PermissionError:\n"
        "    denied = True\n"
        "assert denied",
        "lambda: open('/proc/self/uid_map').read().split()",
        str(tmp_path),
        visits=False,
    )
    assert replaced
    assert value == ["0", "0", "1"]  # of the container's own outer namespace, after the lock


@pytest.mark.is_root
def test_capabilities_of_the_caller(changed):
    """Root without CAP_SYS_ADMIN is an ordinary user: it maps its own id and no other."""
    value, replaced = changed(
        "import ctypes, struct\n"
        "header = struct.pack('<Ii', 0x20080522, 0)\n"
        "data = ctypes.create_string_buffer(24)\n"
        "assert ctypes.CDLL(None).capget(header, data) == 0\n"
        "sets = list(struct.unpack('<6I', data.raw))\n"
        "sets[0] &= ~(1 << 21)\n"  # CAP_SYS_ADMIN, effective; permitted is kept
        "assert ctypes.CDLL(None).capset(header, struct.pack('<6I', *sets)) == 0",
        "lambda: open('/proc/self/uid_map').read().split()",
        visits=False,
    )
    assert (value, replaced) == (["0", "0", "1"], True)


CGROUP = Path("/sys/fs/cgroup/freezer")


@pytest.mark.is_root
def test_cgroup_of_the_caller(changed):
    kinds = [CGROUP, Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    top = next((kind for kind in kinds if (kind / "cgroup.procs").exists()), None)
    if top is None or not os.access(top, os.W_OK):
        pytest.skip("no cgroup can be made here")
    group = top / f"pycontainer-test-{os.getpid()}"
    group.mkdir()
    try:
        _, replaced = changed(
            f"Path({str(group)!r}, 'cgroup.procs').write_text(str(os.getpid()))\n"
            "assert str(forkservers.forkserver().pid) in "
            f"Path({str(group)!r}, 'cgroup.procs').read_text().split()"
        )
        assert replaced
    finally:
        group.rmdir()


@pytest.mark.is_root
def test_namespaces_of_the_caller(changed):
    """A caller that has joined another network or has unshared its mounts."""
    value, replaced = changed(
        "import ctypes\nassert ctypes.CDLL(None).unshare(0x04000000) == 0\n"  # CLONE_NEWUTS
        "import socket; socket.sethostname('new')",
        "lambda: 1",
    )
    assert (value, replaced) == (1, True)
