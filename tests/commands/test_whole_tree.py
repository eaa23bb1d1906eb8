"""Whatever a program starts ends with its container, and is reaped by its init."""

from __future__ import annotations

import contextlib
import os
import random
import time
from typing import Any

import pytest

from pycontainer import (
    DEVNULL,
    PIPE,
    ContainerTimeoutError,
    bind,
    host_system,
    run_command,
    start_command,
)

HOST: Any = [host_system()]

DAEMONISE = """
#define _GNU_SOURCE
int main(int argc, char **argv)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (int number = 1; number < 32; number++)
        if (number != SIGCHLD)
            sigaction(number, &ignore, 0);
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            for (;;)
                sleep(1);
        }
        _exit(0);
    }
    wait(0);
    puts("daemon");
    fflush(stdout);
    if (argc > 1)
        for (;;)
            sleep(1);
    return 0;
}
"""


def processes_of(program):
    """The processes of the whole machine that execute *program*, as far as this user sees them."""
    found = []
    wanted = os.stat(program)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                seen = os.stat(f"/proc/{name}/exe")
                if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(name))
    return found


def gone(program):
    deadline = time.monotonic() + 5
    while processes_of(program):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


NAMESPACES = [None, {"user", "mnt", "net"}]


@pytest.fixture(params=NAMESPACES, ids=["all namespaces", "no pid namespace"])
def options(request):
    return {} if request.param is None else {"namespaces": request.param}


def test_a_daemon_that_ignores_every_signal(compiled, options):
    program = compiled(DAEMONISE)
    completed = run_command(
        [*HOST, bind(program, "/program")], ["/program"], stdout=PIPE, **options
    )
    assert completed.stdout == b"daemon\n"
    assert not processes_of(program)


def test_a_timeout_ends_all(compiled, options):
    program = compiled(DAEMONISE)
    with pytest.raises(ContainerTimeoutError):
        run_command(
            [*HOST, bind(program, "/program")],
            ["/program", "stay"],
            stdout=DEVNULL,
            timeout=0.5,
            **options,
        )
    assert gone(program)


def test_kill_ends_all(compiled, options):
    program = compiled(DAEMONISE)
    with start_command(
        [*HOST, bind(program, "/program")], ["/program", "stay"], stdout=PIPE, **options
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"daemon\n"
        assert len(processes_of(program)) == 2
        running.terminate()  # ignored
        time.sleep(0.2)
        assert running.poll() is None
        running.kill()
        running.wait(10)
    assert gone(program)


def test_as_process_1(compiled):
    program = compiled(DAEMONISE)
    completed = run_command(
        [*HOST, bind(program, "/program")], ["/program"], stdout=PIPE, child_is_pid1=True
    )
    assert completed.returncode == 0
    assert not processes_of(program)


def test_zombies_are_reaped(run_c):
    """Children whose parents have ended become the init's; no entry of the table stays."""
    completed = run_c(
        """
        for (int i = 0; i < 50; i++) {
            if (fork() == 0) {
                if (fork() == 0) _exit(0);
                _exit(0);
            }
            wait(0);
        }
        usleep(300000);
        system("ls -d /proc/[0-9]* | wc -l");
        """
    )
    # The init, the program, the shell, ls or wc.
    assert int(completed.stdout) <= 5


def test_the_init_does_not_take_the_programs_children(run_c):
    """It reaps what is its own only."""
    completed = run_c(
        """
        pid_t pid = fork();
        if (pid == 0) _exit(7);
        usleep(200000);
        int status = 0;
        if (waitpid(pid, &status, 0) != pid) return 1;
        return WEXITSTATUS(status);
        """
    )
    assert completed.returncode == 7


def test_the_init_cannot_be_killed_from_inside(run_c):
    completed = run_c("kill(1, SIGKILL); kill(1, SIGTERM); usleep(100000); return 3;")
    assert completed.returncode in (3, -15)  # SIGTERM is forwarded to the program


def test_a_fork_bomb_ends_with_the_timeout(compiled):
    """A small one: what it starts does not outlive its container."""
    program = compiled("for (int i = 0; i < 6; i++) fork(); sleep(60);")
    with pytest.raises(ContainerTimeoutError):
        run_command([*HOST, bind(program, "/program")], ["/program"], timeout=1)
    assert gone(program)


@pytest.mark.timeout(240)
def test_killed_at_any_moment(compiled):
    """Before it starts, while it is set up, while it runs, while it ends: nothing stays."""
    program = compiled(DAEMONISE)
    mounts = [*HOST, bind(program, "/program")]
    pick = random.Random(1)
    ends: dict[Any, int] = {}
    descriptors = None
    for number in range(200):
        options: Any = pick.choice([{}, {"child_is_pid1": True}, {"namespaces": NAMESPACES[1]}])
        try:
            argv = ["/program", "stay"] if pick.random() < 0.5 else ["/program"]
            timeout = 10 ** pick.uniform(-3.5, -1)
            end: Any = run_command(mounts, argv, timeout=timeout, stdout=DEVNULL, **options).status
        except ContainerTimeoutError:
            end = "timeout"
        ends[end] = ends.get(end, 0) + 1
        if number == 10:
            descriptors = len(os.listdir("/proc/self/fd"))
    assert len(ends) == 2, ends
    assert gone(program)
    assert len(os.listdir("/proc/self/fd")) == descriptors
