"""Filters in containers: functions, programs and visitors are held to them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import Any

import pytest

from pycontainer import (
    NO_CHMOD,
    NO_CHROOT,
    NO_FORK,
    NO_SETRLIMIT,
    NO_SYNC,
    PIPE,
    UNTRUSTED,
    Container,
    ContainerExitError,
    SeccompFilter,
    SyscallArgument,
    Verdict,
    bind,
    call_with_container,
    container_excursion,
    exec_command,
    run_command,
    run_container,
    start_container,
)

HEADERS = (
    "errno.h fcntl.h pthread.h signal.h spawn.h stdio.h stdlib.h string.h sys/mman.h "
    "sys/resource.h sys/stat.h sys/wait.h unistd.h"
)


@pytest.fixture
def program(tmp_path):
    """Compiles the body of a C program's main(), statically: it runs in an empty root."""

    def compile_(body):
        includes = "".join(f"#include <{header}>\n" for header in HEADERS.split())
        source = f"#define _GNU_SOURCE\n{includes}\nextern char **environ;\nvoid *nothing(void *a) "
        source += f"{{ return a; }}\nint main(void) {{ {body}; return 0; }}\n"
        subprocess.run(
            ["gcc", "-w", "-static", "-pthread", "-x", "c", "-", "-o", tmp_path / "program"],
            input=source.encode(),
            check=True,
        )
        return bind(tmp_path / "program", "/program")

    return compile_


@pytest.fixture
def run(program):
    def run_(body, seccomp, **options):
        mount = program(body)
        return run_command(
            [mount], ["/program"], seccomp=seccomp, stdout=PIPE, stderr=PIPE, timeout=20, **options
        )

    return run_


def killed(done):
    return (done.status.signal, done.verdict) == (signal.SIGSYS, Verdict.SECCOMP)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"child_is_pid1": True},
    {"no_new_privs": False, "capabilities": ()},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_program_killed(run, options):
    seccomp = SeccompFilter("allow", {"getpid": "kill"})
    assert killed(run("getpid()", seccomp, **options))
    done = run("return getuid() == 12345", seccomp, **options)
    assert (done.returncode, done.verdict) == (0, Verdict.OK)


def test_program_errno(run):
    done = run(
        'return mkdir("/tmp/x", 0700) == -1 ? errno : 99',
        SeccompFilter("allow", dict.fromkeys(("mkdir", "mkdirat"), errno.EDQUOT)),
    )
    assert (done.returncode, done.verdict) == (errno.EDQUOT, Verdict.EXIT)


def test_allow_list(run):
    """Of what a static program without a C library's habits needs."""
    names = "execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink "
    names += "readlinkat getrandom mprotect exit_group uname newfstatat"
    seccomp = SeccompFilter("kill", dict.fromkeys(names.split(), "allow"))
    assert run("", seccomp).verdict is Verdict.OK
    assert killed(run("getppid()", seccomp))


@pytest.mark.parametrize(
    "body",
    [
        "fork()",
        "vfork()",
        'system("true")',
        'posix_spawn(0, "/program", 0, 0, (char *[]){"x", 0}, environ)',
    ],
)
def test_no_fork(run, body):
    assert killed(run(body, NO_FORK))


def test_no_fork_and_threads(run):
    body = """
        for (int i = 0; i < 10; i++) {
            pthread_t thread;
            if (pthread_create(&thread, 0, nothing, 0) != 0)
                return 1;
            pthread_join(thread, 0);
        }
    """
    assert run(body, NO_FORK).verdict is Verdict.OK


@pytest.mark.parametrize(
    "body", ['chmod("/tmp", 0700)', "fchmod(1, 0700)", 'fchmodat(AT_FDCWD, "/tmp", 0700, 0)']
)
def test_no_chmod(run, body):
    assert killed(run(body, NO_CHMOD))
    assert not killed(run(body, NO_FORK))


def test_no_setrlimit(run):
    limit = "struct rlimit limit; getrlimit(RLIMIT_CORE, &limit);"
    assert run(limit, NO_SETRLIMIT).verdict is Verdict.OK
    assert killed(run(f"{limit} setrlimit(RLIMIT_CORE, &limit)", NO_SETRLIMIT))
    assert killed(run(f"{limit} prlimit(0, RLIMIT_CORE, &limit, &limit)", NO_SETRLIMIT))


def test_no_chroot(run):
    assert killed(run('chroot("/")', NO_CHROOT))


def test_no_sync(run):
    """Each would be an error otherwise: EBADF, EINVAL, ENOMEM."""
    body = """
        int said = fsync(-1) | fdatasync(-1) << 1 | msync((void *)4096, 4096, 77) << 2;
        sync();
        said |= syncfs(-1) << 3 | sync_file_range(-1, -1, -1, 77) << 4;
        return said
    """
    assert run(body, NO_SYNC).returncode == 0
    assert run(body, None).returncode != 0
    assert run("return close(-1) == -1", NO_SYNC).returncode == 1


def test_all_of_tabox(run):
    everything = NO_FORK | NO_CHMOD | NO_SETRLIMIT | NO_CHROOT
    for body in ("fork()", 'chmod("/tmp", 0)', 'chroot("/")'):
        assert killed(run(body, everything))
    assert run('puts("fine")', everything).stdout == b"fine\n"


@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
@pytest.mark.parametrize("child_is_pid1", [True, False])
def test_function_killed(start_method, child_is_pid1):
    done = run_container(
        [],
        lambda: os.chmod("/tmp", 0o700),
        seccomp=NO_CHMOD,
        start_method=start_method,
        child_is_pid1=child_is_pid1,
        timeout=20,
    )
    assert killed(done)
    with pytest.raises(ContainerExitError, match="a system call that its filter kills for"):
        done.result()


def test_function_errno():
    seccomp = SeccompFilter("allow", dict.fromkeys(("mkdir", "mkdirat"), errno.EROFS))
    with pytest.raises(OSError, match="Read-only file system"):
        call_with_container([], lambda: os.mkdir("/tmp/x"), seccomp=seccomp)


def test_function_by_arguments():
    seccomp = SeccompFilter(
        "allow", {"kill": {(SyscallArgument(0, "==", -1), SyscallArgument(1, ">=", 9)): 0}}
    )

    def fn():
        os.kill(-1, 9)  # pretended
        try:
            os.kill(4000000, 9)
        except OSError as error:
            return error.errno
        return 0

    assert call_with_container([], fn, seccomp=seccomp) == errno.ESRCH


def test_large_results_pass():
    assert len(call_with_container([], lambda: bytes(1 << 20), seccomp=UNTRUSTED)) == 1 << 20


def test_exceptions_pass():
    with pytest.raises(ZeroDivisionError):
        call_with_container([], lambda: 1 // 0, seccomp=UNTRUSTED, child_is_pid1=False)


def seccomp_of(*pids):
    words = []
    for pid in pids:
        with open(f"/proc/{pid}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        words.append((lines["Seccomp"].strip(), lines["Seccomp_filters"].strip()))
    return words


def test_an_init_has_a_filter_of_its_own():
    """It forks the function's process and reaps: the container's may forbid that."""
    seccomp = SeccompFilter("allow", {"wait4": "kill", "waitid": "kill", "kill": "kill"}) | NO_FORK
    said = call_with_container(
        [], lambda: seccomp_of(1, "self"), seccomp=seccomp, child_is_pid1=False, timeout=20
    )
    assert said == [("2", "1"), ("2", "1")]
    assert call_with_container([], lambda: seccomp_of(1), child_is_pid1=False) == [("0", "0")]


def test_an_init_does_its_work(run):
    """Orphans are reaped, signals passed on, what is left is ended."""
    body = """
        if (fork() == 0) {
            if (fork() == 0) { usleep(50000); _exit(3); }
            _exit(0);
        }
        wait(0);
        usleep(150000);
        for (int i = 0; i < 3; i++)
            if (fork() == 0) { setsid(); sleep(60); }
        kill(getpid(), SIGTERM);
        sleep(10)
    """
    for options in OPTIONS[::2]:
        done = run(body, UNTRUSTED, **options)
        assert done.status.signal == signal.SIGTERM
        assert done.usage.wall_time < 5


def refused():
    try:
        os.mkdir("/tmp/x")
        os.rmdir("/tmp/x")
    except OSError as error:
        return error.errno
    return 0


NO_MKDIR = SeccompFilter("allow", dict.fromkeys(("mkdir", "mkdirat"), errno.EDQUOT))


@pytest.mark.parametrize("seccomp", [NO_MKDIR, UNTRUSTED | NO_MKDIR, NO_MKDIR | UNTRUSTED])
def test_visitors(seccomp):
    with start_container([], seccomp=seccomp) as running:
        assert container_excursion(running, refused, timeout=20) == errno.EDQUOT
        assert container_excursion(running.pid, refused, timeout=20) == errno.EDQUOT
    with start_container([]) as running:
        assert container_excursion(running, refused, timeout=20) == 0


def test_a_visiting_program(program):
    body = 'return mkdir("/tmp/y", 0700) == -1 ? errno : 0'
    for seccomp, status in ((NO_MKDIR, errno.EDQUOT), (None, 0)):
        with start_container([program(body)], seccomp=seccomp) as running:
            for target in (running, running.pid):
                done = exec_command(target, ["/program"], timeout=20)
                assert done.returncode == status
                status = errno.EDQUOT if seccomp else errno.EEXIST


def test_a_visitor_is_killed(program):
    mount = program('chmod("/tmp", 0700)')
    with start_container([mount], seccomp=NO_CHMOD) as running:
        with pytest.raises(ContainerExitError, match="filter kills") as caught:
            container_excursion(running, lambda: os.chmod("/tmp", 0o700), timeout=20)
        assert killed(caught.value.completed)
        assert killed(exec_command(running, ["/program"], timeout=20))


def test_not_one_namespace_alone(is_root):
    """What joins only the network keeps the caller's other namespaces, and what it may do."""
    with start_container([], seccomp=NO_MKDIR) as running:
        said = container_excursion(
            running, lambda: os.access("/tmp", os.W_OK), namespaces={"net"}, timeout=20
        )
    assert said


def test_in_a_container_that_has_one():
    """Filters add up."""
    with start_container(Container(seccomp=UNTRUSTED | NO_CHMOD)) as running:
        done = container_excursion(running, lambda: open("/proc/self/status").read(), timeout=20)
    lines = dict(line.split(":", 1) for line in done.splitlines())
    assert lines["Seccomp_filters"].strip() == "3"
    assert lines["NoNewPrivs"].strip() == "1"
