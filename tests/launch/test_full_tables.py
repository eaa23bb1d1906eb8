"""A caller without a number left for a descriptor."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import time

import pytest

from pycontainer import SetupError
from pycontainer._native import ffi, lib
from pycontainer.launch.exchange import Exchange
from pycontainer.launch.sockets import pair, send


def test_no_number_for_the_pidfd():
    """The call fails at once, and its container ends all the same."""
    call, child = pair()
    status, supervisor = pair()
    exchange = Exchange(call, status)
    process = subprocess.Popen(["sleep", "60"])
    message = ffi.new("struct pc_status *", {"kind": lib.PC_STATUS_STARTED, "value": process.pid})
    pidfd = os.pidfd_open(process.pid)
    send(supervisor, [bytes(ffi.buffer(message))], [pidfd])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        while True:
            try:
                fillers.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(SetupError) as caught:
            exchange.pump("pid", time.monotonic() + 5)
        assert caught.value.errno == errno.EMFILE
        assert exchange.pid == process.pid
        start = time.monotonic()
        exchange.abandon(0.2)  # nobody says here that it has ended
        assert time.monotonic() - start < 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in (pidfd, *fillers):
            os.close(fd)
    assert process.wait(5) == -9
    child.close()
    supervisor.close()


def test_surplus_descriptors_are_closed():
    call, child = pair()
    status, supervisor = pair()
    exchange = Exchange(call, status)
    before = len(os.listdir("/proc/self/fd"))
    send(child, [bytes([lib.PC_SAY_VALUE])], [0] * 10)
    assert exchange._hear_call()
    assert len(os.listdir("/proc/self/fd")) == before
    assert exchange.malformed is not None
    exchange.owned = False
    exchange.close()
    child.close()
    supervisor.close()
