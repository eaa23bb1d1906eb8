"""Row 33: sockets that lead out of the container.

containerd-shim CVE-2020-15257: abstract sockets belong to the network namespace, not to a file
system.  Nix CVE-2024-27297: two builds that reach each other pass descriptors.
"""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from pycontainer import bind, call_with_container, host_system, run_command, start_container


@pytest.fixture
def abstract():
    """The name of an abstract socket of the host's that listens."""
    name = f"\0pycontainer-test-{os.getpid()}-{threading.get_ident()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(name)
        server.listen()
        yield name


def connect(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(name)
        except OSError as error:
            return error.errno
    return 0


def test_abstract_socket_of_the_host(abstract):
    assert connect(abstract) == 0
    assert call_with_container([], lambda: connect(abstract)) == errno.ECONNREFUSED


def test_it_is_listed_nowhere(abstract):
    def fn():
        with open("/proc/net/unix") as file:
            return file.read()

    assert abstract[1:] not in call_with_container([], fn)
    listed = run_command([host_system()], ["cat", "/proc/net/unix"], capture_output=True, text=True)
    assert listed.returncode == 0
    assert abstract[1:] not in listed.stdout


def test_two_containers_do_not_meet():
    """Neither by an abstract name nor at the loopback address."""

    def serve():
        import time

        with socket.socket(socket.AF_UNIX) as server, socket.create_server(("127.0.0.1", 2000)):
            server.bind("\0meeting")
            server.listen()
            print("up", flush=True)
            time.sleep(60)

    def reach():
        with socket.socket() as client:
            return connect("\0meeting"), client.connect_ex(("127.0.0.1", 2000))

    from pycontainer import PIPE

    with start_container([], serve, stdout=PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        assert call_with_container([], reach) == (errno.ECONNREFUSED, errno.ECONNREFUSED)
        running.kill()


def test_descriptors_are_passed_only_through_what_was_bound(tmp_path):
    """A directory that is bound writable is one that both sides may meet in; no other is."""

    def fn():
        found = []
        for directory in ("/tmp", "/dev/shm", "/run", "/var/run"):
            try:
                names = os.listdir(directory)
            except OSError:
                continue
            found += [name for name in names if directory != "/"]
        return found

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "daemon"))
        server.listen()
        assert call_with_container([], fn) == []
        # README: a socket below a bound directory works from inside, also a read-only one.
        assert call_with_container([bind(tmp_path, "/d")], lambda: connect("/d/daemon")) == 0
