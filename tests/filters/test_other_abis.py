"""``other_abis``: the same rules for calls by the processor's other ABIs."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from pycontainer import NO_SYNC, Container, SeccompFilter, SetupError, bind, run_command
from pycontainer.declare.filters import SyscallArgument
from pycontainer.plan.compile import explain
from pycontainer.plan.layers import layers_of

X86 = os.uname().machine == "x86_64"

# By int 0x80 and by x32's numbers: getpid, mkdir, and fsync of no descriptor.  What the kernel
# says to the last number, which is no call, tells whether it has x32 at all.
PROGRAM = r"""
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static long int80(long number, long first)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first) : "memory", "r8", "r9",
                     "r10", "r11");
    return result;
}

static long x32(long number, long first)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(0x40000000 | number), "D"(first), "S"(0L)
                     : "memory", "rcx", "r11");
    return result;
}

int main(void)
{
    printf("%ld %ld %ld\n", int80(20, 0), int80(39, 0), int80(118, -1));
    fflush(stdout);
    printf("%ld %ld\n", x32(SYS_getpid, 0), x32(SYS_fsync, -1));
    return 0;
}
"""

pytestmark = pytest.mark.skipif(not X86, reason="the other ABIs are x86-64's here")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    made = tmp_path_factory.mktemp("abis")
    made.chmod(0o755)
    subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", made / "program"],
        input=PROGRAM.encode(),
        check=True,
    )
    return made / "program"


def run(program, seccomp):
    done = run_command(
        [bind(program, "/program")],
        ["/program"],
        seccomp=seccomp,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done, [line.split() for line in done.stdout.splitlines()]


def test_refused_by_default(program):
    done, lines = run(program, SeccompFilter("allow", {"mkdir": errno.EPERM}))
    assert (done.status.signal_name, lines) == ("SIGSYS", [])


def test_the_same_rules(program):
    """getpid is let through, mkdir is refused, and fsync pretends."""
    rules = {"mkdir": errno.EPERM, "fsync": 0}
    done, lines = run(program, SeccompFilter("allow", rules, other_abis=True))
    assert done.returncode == 0, done
    pid, made, synced = map(int, lines[0])
    assert pid > 0
    assert (made, synced) == (-errno.EPERM, 0)
    pid, synced = map(int, lines[1])
    # A kernel without x32 knows no such call, and the filter still answers first.
    assert pid > 0 or pid == -errno.ENOSYS
    assert synced == 0


def test_with_a_default_that_refuses(program):
    plain = SeccompFilter("allow", {"mkdir": errno.EPERM}, other_abis=True)
    rules = {"fsync": {SyscallArgument(0, "==", 0xFFFFFFFF): errno.EIO}}
    done, lines = run(program, plain | SeccompFilter("log", rules, other_abis=True))
    assert done.returncode == 0, done
    assert list(map(int, lines[0]))[1:] == [-errno.EPERM, -errno.EIO]


def test_with_one_that_is_for_its_own_abi_alone(program):
    done, _ = run(program, SeccompFilter("allow", {}, other_abis=True) | NO_SYNC)
    assert done.status.signal_name == "SIGSYS"


def test_declaration():
    one = SeccompFilter("allow", {"getpid": 1}, other_abis=True)
    two = SeccompFilter("allow", {"mkdir": 2}, other_abis=True)
    assert one != SeccompFilter("allow", {"getpid": 1})
    assert one | two == SeccompFilter("allow", {"getpid": 1, "mkdir": 2}, other_abis=True)
    assert [layer.other_abis for layer in layers_of(one | NO_SYNC)] == [True, False]
    with pytest.raises(ValueError, match="other_abis must be True or False, not 1"):
        SeccompFilter("allow", {}, other_abis=1)  # type: ignore[arg-type]
    text = explain(Container(seccomp=one))
    assert "filter system calls: allow for all; but EPERM for getpid; by any ABI\n" in text


def test_a_call_that_does_not_exist(program):
    with pytest.raises((ValueError, SetupError), match="nonsense"):
        run(program, SeccompFilter("allow", {"nonsense": 1}, other_abis=True))
