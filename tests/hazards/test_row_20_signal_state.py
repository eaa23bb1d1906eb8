"""Row 20: inherited signal state (bubblewrap#705).

A caller may ignore SIGCHLD and SIGPIPE and block every signal: inside nothing is ignored or
blocked, and the status is the right one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

# Each case in a process of its own: it changes the process's signals.
CALLER = """
    import json, os, signal, sys, threading
    from pycontainer import call_with_container, run_container

    how, method, pid1 = sys.argv[1:]
    options = {"start_method": method, "child_is_pid1": pid1 == "pid1", "timeout": 20}
    if "ignored" in how:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
    if "blocked" in how:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def fn():
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        read, write = os.pipe()
        os.close(read)
        try:
            os.write(write, b"x")
        except BrokenPipeError:
            broken = True
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return {
            "ignored": int(lines["SigIgn"], 16),
            "blocked": int(lines["SigBlk"], 16),
            "broken": broken,
            "waited": os.waitpid(pid, 0)[1],
            "default": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        }

    answer = call_with_container([], fn, **options)
    answer["exit"] = run_container([], lambda: os._exit(3), **options).returncode
    killed = run_container([], lambda: os.kill(os.getpid(), signal.SIGTERM), **options)
    answer["killed"] = killed.returncode
    if "ignored" in how:
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    print(json.dumps(answer))
"""


@pytest.mark.parametrize("how", ["as usual", "ignored", "blocked", "ignored and blocked"])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize("pid1", ["pid1", "init"])
def test_signal_state(how, method, pid1):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALLER), how, method, pid1],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "ignored": 0,
        "blocked": 0,
        "broken": True,
        "waited": 7 << 8,
        "default": True,
        "exit": 3,
        "killed": -15,
    }
