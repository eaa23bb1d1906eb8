"""Row 38: sibling calls (Flatpak CVE-2021-41133).

A call is refused and a newer one that does the same is not: openat2 for openat, clone3 for clone,
six calls for mount, io_uring for nearly all.
"""

from __future__ import annotations

import pytest

from pycontainer import (
    SANDBOX,
    UNTRUSTED,
    Container,
    bind,
    call_with_container,
    container_excursion,
    exec_command,
    extend,
    start_container,
)

# Name in calls.c → what UNTRUSTED says.
SIBLINGS = {
    "EPERM": """
        unshare_user clone_user setns_user setns_pidfd mount_tmpfs remount unmount pivot chroot_here
        bpf perf userfault keyring new_key requested_key kexec module handle fanotify trace_me
        read_memory get_descriptor
        fchmod_setuid fchmod_setgid fchmodat_setuid fchmodat2_setuid mknodat_setuid openat_setuid
        openat_tmpfile
        chmod_setuid creat_setuid mknod_setuid open_setuid ldt
    """,
    "ENOSYS": """
        clone3_user open_tree_tmp open_tree_attr move_mount_none fsopen_tmpfs fsconfig_none
        fsmount_none fspick_tmp mount_setattr_tmp io_uring io_uring_enter secret_memory quota
        no_randomisation call_of_the_future vsock crypto netfilter sctp openat2_setuid
    """,
}
OF_X86 = {"chmod_setuid", "creat_setuid", "mknod_setuid", "open_setuid", "ldt"}


@pytest.fixture
def expected(calls):
    import platform

    names = {name: error for error, listed in SIBLINGS.items() for name in listed.split()}
    if platform.machine() != "x86_64":
        names = {name: error for name, error in names.items() if name not in OF_X86}
    return names


@pytest.mark.parametrize(
    "container",
    [
        SANDBOX,
        # With all capabilities it is the filter alone that refuses.
        Container(seccomp=UNTRUSTED),
        Container(seccomp=UNTRUSTED, no_new_privs=False),
        Container(seccomp=UNTRUSTED, child_is_pid1=True),
        Container(seccomp=UNTRUSTED, guest_uid=1000, guest_gid=1000),
    ],
    ids=["sandbox", "capabilities", "privileges", "process 1", "another uid"],
)
def test_each_is_refused(say, expected, container):
    assert say(container, *expected) == expected


def test_a_program_of_a_visitor(calls, expected):
    with start_container(Container([bind(calls, "/calls")], seccomp=UNTRUSTED)) as running:
        done = exec_command(running, ["/calls", *expected], capture_output=True, timeout=20)
    lines = dict(line.split() for line in done.stdout.decode().splitlines())
    assert lines == {name: {"EPERM": "1", "ENOSYS": "38"}[said] for name, said in expected.items()}


def test_a_visiting_function():
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        said = []
        for number, argument in ((435, 0), (437, 0), (425, 1), (430, 0)):
            said.append(libc.syscall(number, argument, 0, 0, 0))
            said.append(ctypes.get_errno())
        return said

    with start_container(SANDBOX) as running:
        for target in (running, running.pid):
            said = container_excursion(target, fn, preload=["ctypes"], timeout=20)
            assert said == [-1, 38] * 4


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_the_init_is_no_way_around(no_new_privs):
    """A program may write to the memory of an init of the same user: it is bound as well."""

    def fn():
        with open("/proc/1/mem", "r+b", buffering=0):
            pass
        with open("/proc/1/status") as file:
            return dict(line.split(":", 1) for line in file)["Seccomp"].strip()

    container = extend(SANDBOX, child_is_pid1=False, no_new_privs=no_new_privs)
    assert call_with_container(container, fn, timeout=20) == "2"
    with start_container(container) as running:
        assert container_excursion(running, fn, timeout=20) == "2"


def test_the_init_of_a_program_is_no_way_around():
    from pycontainer import host_system, run_command

    script = "exec 3<>/proc/1/mem; grep Seccomp: /proc/1/status"
    done = run_command(
        extend(SANDBOX, host_system()), ["sh", "-c", script], capture_output=True, timeout=20
    )
    # It may be out of reach still, or bound already.
    assert b"Permission denied" in done.stderr or done.stdout.split() == [b"Seccomp:", b"2"]


PROGRAM = """
import asyncio, concurrent.futures, multiprocessing, os, socket, subprocess, sys, tempfile
import threading

thread = threading.Thread(target=print, args=("thread",), kwargs={"flush": True})
thread.start()
thread.join()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(abs, range(-10, 0))))
print(subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True).stdout)
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(pool.map(abs, [-3]))

async def serve():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"tcp\\n")
    print(await reader.read())

asyncio.run(serve())
print(socket.getaddrinfo("127.0.0.1", 80)[0][4], socket.if_nameindex())
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o1777)
    os.rename(folder, folder + "x")
    os.mkdir(folder)
    os.rmdir(folder + "x")
"""


def test_python_works():
    import sys

    from pycontainer import host_python, host_system, run_command

    container = extend(SANDBOX, host_system(), host_python(), env={"PATH": "/usr/bin:/bin"})
    done = run_command(
        container, [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50
    )
    assert done.stdout.splitlines() == [
        "thread",
        "55",
        r"b'child\n'",
        "[3]",
        r"b'tcp\n'",
        "('127.0.0.1', 80) [(1, 'lo')]",
    ], done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "ls -l / | wc -l; echo a | sort | uniq -c; date >/dev/null; id -u; umask 077; touch /tmp/f",
        "tar -cf /tmp/t.tar /etc/passwd 2>/dev/null; tar -tf /tmp/t.tar; gzip /tmp/t.tar",
        "sleep 0.01 & wait; trap 'exit 0' TERM; kill $$",
        "mkdir /tmp/d; cp -r /etc /tmp/d/; find /tmp/d -type f | head -3; rm -r /tmp/d",
        "timeout 5 dd if=/dev/zero of=/dev/null bs=1k count=10 2>&1; nice true; nohup true",
    ],
)
def test_ordinary_programs_work(script):
    from pycontainer import host_system, run_command

    done = run_command(
        extend(SANDBOX, host_system()), ["sh", "-ec", script], capture_output=True, timeout=20
    )
    assert done.returncode == 0, done
