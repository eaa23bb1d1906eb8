"""Signals of the caller: a Ctrl-C reaches the container and ends in KeyboardInterrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import pycontainer

ROOT = str(Path(pycontainer.__file__).parents[1])


class Script:
    """A program that says "ready" when its container runs."""

    def __init__(self, text):
        header = f"""
            import os, signal, sys, time
            sys.path.insert(0, {ROOT!r})
            from pycontainer import *
        """
        program = textwrap.dedent(header) + textwrap.dedent(text)
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.process.kill()
            raise AssertionError(self.process.communicate())
        # The caller was to wait when it said so; on a busy machine it may be a moment behind.
        time.sleep(0.1)

    def send(self, number):
        """To the whole foreground group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self, timeout=15):
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


@pytest.fixture
def script():
    started = []

    def start(text):
        started.append(Script(text))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("pid1", [True, False])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_ctrl_c(script, pid1, method):
    running = script(f"""
        def fn():
            try:
                print("ready", flush=True)
                time.sleep(30)
            except KeyboardInterrupt:
                print("inside", flush=True)
                raise
        try:
            call_with_container([], fn, child_is_pid1={pid1}, start_method={method!r})
        except KeyboardInterrupt:
            print("outside")
    """)
    start = time.monotonic()
    running.send(signal.SIGINT)
    code, out, err = running.end()
    assert (code, out) == (0, "inside\noutside\n"), err
    assert time.monotonic() - start < 5


def test_ctrl_c_that_the_function_handles(script):
    """The caller gets its KeyboardInterrupt all the same."""
    running = script("""
        def fn():
            try:
                print("ready", flush=True)
                time.sleep(30)
            except KeyboardInterrupt:
                return "handled"
        try:
            print(call_with_container([], fn))
        except KeyboardInterrupt:
            print("outside")
    """)
    running.send(signal.SIGINT)
    assert running.end()[:2] == (0, "outside\n")


def test_second_ctrl_c_kills(script):
    running = script("""
        def fn():
            signal.signal(signal.SIGINT, lambda *_: print("ignored", flush=True))
            print("ready", flush=True)
            while True:
                time.sleep(30)
        try:
            call_with_container([], fn)
        except KeyboardInterrupt:
            print("outside")
    """)
    running.send(signal.SIGINT)
    assert running.process.stdout.readline() == "ignored\n"
    start = time.monotonic()
    running.send(signal.SIGINT)
    assert running.end()[:2] == (0, "outside\n")
    assert time.monotonic() - start < 3


def test_sigterm(script):
    running = script("""
        def fn():
            def handler(number, frame):
                print("inside", flush=True)
                os._exit(0)
            signal.signal(signal.SIGTERM, handler)
            print("ready", flush=True)
            time.sleep(30)
        call_with_container([], fn)
    """)
    running.send(signal.SIGTERM)
    code, out, _ = running.end()
    assert (code, out) == (-signal.SIGTERM, "inside\n")


def test_relayed_signals(script):
    running = script("""
        def fn():
            got = []
            signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
            print("ready", flush=True)
            while not got:
                time.sleep(0.01)
            return "got it"
        signal.signal(signal.SIGUSR1, lambda *_: print("outside too", flush=True))
        print(call_with_container([], fn, relayed_signals=[signal.SIGUSR1]))
    """)
    os.kill(running.process.pid, signal.SIGUSR1)
    code, out, err = running.end()
    assert (code, out) == (0, "outside too\ngot it\n"), err


def test_no_relayed_signals(script):
    """The caller's own reaction at once, and the container does not outlive the call."""
    running = script("""
        def fn():
            print("ready", flush=True)
            time.sleep(30)
        try:
            call_with_container([], fn, relayed_signals=())
        except KeyboardInterrupt:
            print("outside")
    """)
    os.kill(running.process.pid, signal.SIGINT)
    start = time.monotonic()
    assert running.end()[:2] == (0, "outside\n")
    assert time.monotonic() - start < 5


def test_ctrl_c_in_a_with_statement(script):
    running = script("""
        def fn():
            time.sleep(30)
        try:
            with start_container([], fn) as running:
                print("ready", flush=True)
                running.wait()
        except KeyboardInterrupt:
            print(running.returncode)
    """)
    running.send(signal.SIGINT)
    assert running.end()[:2] == (0, "-9\n")


def test_ctrl_c_uncaught(script):
    running = script("""
        def fn():
            print("ready", flush=True)
            time.sleep(30)
        call_with_container([], fn)
    """)
    running.send(signal.SIGINT)
    code, _, err = running.end()
    assert code == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_caller_that_is_killed_takes_its_container_along(script):
    running = script("""
        def fn():
            time.sleep(60)
        with start_container([], fn) as running:
            print("ready")
            print(running.pid)
            running.wait()
    """)
    pid = int(running.process.stdout.readline())
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            # Its parent, the helper, has gone too: it is for the host's process 1 to reap.
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in "ZX":
            return
        time.sleep(0.01)
    raise AssertionError("the container outlived its caller")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_fork_of_process_1_ends_by_its_signals(number):
    """It has the handlers of process 1, which speak for the whole container."""

    def fn():
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        os.kill(child, number)
        return os.waitpid(child, 0)[1]

    completed = pycontainer.run_container([], fn)
    assert completed.result() == number
    assert completed.returncode == 0
