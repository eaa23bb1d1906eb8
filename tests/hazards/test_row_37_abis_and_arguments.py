"""Row 37: a filter that looks at the wrong numbers (Flatpak CVE-2019-10063).

The same call has other numbers by the i386 and x32 ABIs of the same processor, and an argument of
32 bits lies in a register of 64, whose other half the kernel ignores and a filter may not.
"""

from __future__ import annotations

import errno
import platform

import pytest

from pycontainer import (
    SANDBOX,
    Container,
    SeccompFilter,
    SyscallArgument,
    Verdict,
    bind,
    extend,
    run_command,
)

# aarch64's other ABI, of 32 bits, takes a compiler of its own: tests/filters has it interpreted.
X86 = platform.machine() == "x86_64"
FOREIGN = ("i386_getpid", "i386_unshare", "x32_getpid", "x32_unshare") if X86 else ()


@pytest.mark.parametrize(
    "container",
    [SANDBOX, Container(seccomp=SeccompFilter("allow", {"getpid": errno.EPERM}))],
    ids=["sandbox", "a filter of one's own"],
)
def test_foreign_abis(say, container):
    assert not FOREIGN or say(container, *FOREIGN) == dict.fromkeys(FOREIGN, "signal 31")


def test_the_verdict(compiled_int80):
    container = extend(SANDBOX, bind(compiled_int80, "/int80"))
    done = run_command(container, ["/int80"], timeout=20)
    assert done.verdict is Verdict.SECCOMP
    assert done.status.signal == 31


@pytest.fixture
def compiled_int80(tmp_path):
    import subprocess

    call = '__asm__("int $0x80" : "=a"(r) : "a"(20))' if X86 else "raise(31)"
    source = f"#include <signal.h>\nint main(void) {{ int r = 0; {call}; return r < 0; }}"
    subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", tmp_path / "int80"],
        input=source.encode(),
        check=True,
    )
    return tmp_path / "int80"


HIGH = {
    "clone_user_high": "EPERM",
    "no_randomisation_high": "ENOSYS",
    "crypto_high": "ENOSYS",
    "fchmod_high": "EPERM",
    "tiocsti_high": "EPERM",
    "tiocsti_highest": "EPERM",
    "tioclinux_high": "EPERM",
}


def test_the_other_half_of_a_register(say):
    assert say(Container(seccomp=SANDBOX.seccomp), *HIGH) == HIGH


def test_conditions_of_a_filter_of_ones_own(say):
    rules = {
        "fchmod": {SyscallArgument(1, ">=", 0o4000): errno.EXDEV},
        "ioctl": {SyscallArgument(1, "==", 0x5412): errno.EXDEV},
        "personality": {SyscallArgument(0, "!=", 0): errno.EXDEV},
    }
    ways = [
        *("fchmod_setuid", "fchmod_high"),
        *("tiocsti_high", "tiocsti_highest"),
        "no_randomisation_high",
    ]
    assert say(Container(seccomp=SeccompFilter("allow", rules)), *ways) == dict.fromkeys(
        ways, "EXDEV"
    )
