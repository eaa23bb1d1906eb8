"""A program that misbehaves in every way, and how it is run under limits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pycontainer import Completed, Limits, bind, host_system, run_command

SOURCE = r"""
/* misbehave MODE [NUMBER]: never beyond its own bounds, should nothing else hold it. */
#define _GNU_SOURCE
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double used(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void burn(double seconds)
{
    while (used() < seconds)
        ;
}

static void fill(size_t size)
{
    char *memory = malloc(size);
    if (!memory)
        exit(3);
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = 1;
}

static int deep(long left)
{
    volatile char frame[1 << 16];
    for (size_t i = 0; i < sizeof(frame); i += 1024)
        frame[i] = 1;
    return left <= 0 ? frame[0] : deep(left - (long)sizeof(frame)) + frame[0];
}

int main(int count, char **words)
{
    const char *mode = words[1];
    double number = count > 2 ? atof(words[2]) : 0;
    struct rlimit most = {3UL << 30, 3UL << 30};
    setrlimit(RLIMIT_AS, &most);

    if (!strcmp(mode, "nothing"))
        return (int)number;
    if (!strcmp(mode, "null"))
        *(volatile int *)0 = 1;
    if (!strcmp(mode, "sleep"))
        usleep((useconds_t)(number * 1e6));
    if (!strcmp(mode, "burn"))
        burn(number);
    if (!strcmp(mode, "fill"))
        fill((size_t)number << 20);
    if (!strcmp(mode, "deep"))
        deep((long)number << 20);
    if (!strcmp(mode, "fork")) /* how many it can have */
        for (int i = 0;; i++) {
            pid_t pid = i < 1000 ? fork() : -1;
            if (pid == 0)
                for (;;)
                    pause();
            if (pid < 0) {
                printf("%d %s\n", i, errno == EAGAIN ? "EAGAIN" : "?");
                return 0;
            }
        }
    if (!strcmp(mode, "forkbomb")) {
        int *forks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        while (__atomic_fetch_add(forks, 1, __ATOMIC_RELAXED) < 20000) {
            fork();
            usleep(100);
        }
        sleep(20);
    }
    if (!strcmp(mode, "allocbomb")) { /* in one process after the other */
        for (int i = 0; i < 40; i++) {
            if (fork() == 0) {
                fill(48 << 20);
                sleep(20);
                return 0;
            }
            usleep(20000);
        }
        sleep(20);
    }
    if (!strcmp(mode, "burnbomb")) { /* children that nobody waits for */
        signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 100; i++) {
            if (fork() == 0) {
                burn(0.2);
                return 0;
            }
            usleep(200000);
        }
    }
    if (!strcmp(mode, "flood")) {
        static char text[1 << 16];
        memset(text, 'x', sizeof(text));
        for (int i = 0; i < 1 << 14; i++)
            if (write(1 + i % 2, text, sizeof(text)) < 0)
                return 1;
    }
    if (!strcmp(mode, "stubborn")) {
        for (int i = 1; i < 65; i++)
            signal(i, SIG_IGN);
        for (int i = 0; i < 60; i++)
            sleep(1);
    }
    if (!strcmp(mode, "daemon")) {
        for (int i = 0; i < 3; i++)
            if (fork() == 0) {
                setsid();
                if (fork())
                    return 0;
                for (int fd = 0; fd < 3; fd++)
                    close(fd);
                burn(60);
                return 0;
            }
        while (wait(NULL) > 0)
            ;
        sleep((unsigned)number);
    }
    if (!strcmp(mode, "tmpfs")) { /* how much it takes, in bytes */
        static char text[1 << 16];
        long sum = 0, done;
        int fd = open(words[3], O_CREAT | O_WRONLY, 0600);
        while ((done = write(fd, text, sizeof(text))) > 0 && sum < (long)number << 20)
            sum += done;
        printf("%ld %s\n", sum, done < 0 && errno == ENOSPC ? "ENOSPC" : "?");
    }
    if (!strcmp(mode, "file")) {
        int fd = open("/tmp/file", O_CREAT | O_WRONLY, 0600);
        signal(SIGXFSZ, SIG_IGN);
        for (int i = 0; i < number; i++)
            if (write(fd, "x", 1) < 0) {
                printf("%d %s\n", i, errno == EFBIG ? "EFBIG" : "?");
                return 0;
            }
    }
    return 0;
}
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("misbehave")
    directory.chmod(0o755)
    source = directory / "misbehave.c"
    source.write_text(SOURCE)
    made = directory / "misbehave"
    # A stack of arrays that are written to stays one, and infinite loops stay infinite.
    flags = ["-O0", "-w", "-o", str(made), str(source)]
    subprocess.run(["gcc", *flags], check=True)
    return made


@pytest.fixture
def misbehave(program):
    """Run the program: its mode and number, then limits and options of ``run_command``."""

    def run(mode: str, *words: object, mounts=(), **options) -> Completed:
        fields = Limits.__annotations__
        limits = Limits(**{name: options.pop(name) for name in list(options) if name in fields})
        options.setdefault("capture_output", True)
        return run_command(
            [host_system(), bind(program, "/misbehave"), *mounts],
            ["/misbehave", mode, *map(str, words)],
            limits=limits,
            **options,
        )

    return run


def cgroups_left() -> list[str]:
    """This process's cgroups, wherever they are."""
    mark = f".{os.getpid()}."
    return [
        os.path.join(parent, name)
        for parent, directories, _ in os.walk("/sys/fs/cgroup")
        for name in directories
        if name.startswith("pycontainer.") and mark in name
    ]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert cgroups_left() == []


def patience() -> float:
    """How many seconds a busy machine may take beside a limit."""
    return 0.1 if os.getloadavg()[0] < (os.cpu_count() or 1) else 1.0


@pytest.fixture
def run_in_fork():
    """Run a test's body in a fork of this process, whose state it may change."""

    def run(body) -> None:
        import traceback

        pid = os.fork()
        if pid == 0:
            try:
                body()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0

    return run
