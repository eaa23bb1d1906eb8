"""Rows 31, 33 · descriptors of outputs, set-id bits, attributes: the store has a copy of its own.

Precedents: Nix CVE-2024-27297, where a build sent a writable descriptor of its output through an
abstract socket; Guix strips S_ISUID.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat

import pytest

from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildRequest,
    DirectoryStore,
    NetworkAccess,
    build,
    machine,
)

HOST = [
    AvailableReadOnlyPath(path)
    for path in ("/usr", "/bin", "/lib", "/lib64", "/lib32")
    if os.path.exists(path)
]

SEND = """
import os, socket, sys
with open("out", "w") as file:
    file.write("as it was hashed")
    file.flush()
    with socket.socket(socket.AF_UNIX) as out:
        out.connect("\\0" + os.environ["NAME"])
        socket.send_fds(out, [b"x"], [file.fileno()])
"""

MARK = """
import os
with open("out", "w") as file:
    file.write("program")
os.setxattr("out", "user.note", b"x")
os.link("out", "again")
try:
    os.chmod("out", 0o6755)  # host root's containers refuse it
except PermissionError:
    os.chmod("out", 0o755)
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_network", lambda: True)
    return DirectoryStore(tmp_path / "store", durable=False)


def request(script, *constraints, **variables):
    return BuildRequest(
        command_args=["/usr/bin/python3", "-I", "-c", script],
        outputs=["build/out"],
        environment_vars=variables,
        constraints=[*HOST, *constraints],
    )


def test_a_descriptor_of_an_output_that_was_sent_out(store):
    name = f"pycontainer-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        result = build(request(SEND, NetworkAccess(), NAME=name), store)
        with listening.accept()[0] as taken:
            _, (fd,), _, _ = socket.recv_fds(taken, 1, 1)
    os.write(fd, b", and what came later")
    os.ftruncate(fd, 3)
    os.close(fd)
    with open(result.outputs["build/out"].path) as file:
        assert file.read() == "as it was hashed"
    assert store.verify() == []


def test_set_id_bits_attributes_and_links_are_not_kept(store):
    output = build(request(MARK), store).outputs["build/out"]
    status = os.lstat(output.path)
    assert stat.S_IMODE(status.st_mode) == 0o555
    assert (status.st_uid, status.st_nlink) == (os.geteuid(), 1)
    assert os.listxattr(output.path) == []
