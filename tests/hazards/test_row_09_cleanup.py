"""Row 9: the caller's clean-up runs in the child.

A forked child that returns or raises through the caller's frames runs its ``finally`` and ``with``
blocks, its atexit functions, and writes its buffered output a second time.
"""

from __future__ import annotations

import json

import pytest

CALLER = """
import atexit, json, os, sys, tempfile, threading
from pycontainer import ContainerExitError, call_with_container

method, how, log = sys.argv[1:4]
fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(what):
    # Also what a child does shows: it is the same open file.
    os.write(fd, f"{what}\\n".encode())

class Block:
    def __enter__(self):
        return self
    def __exit__(self, *error):
        note("exit")
        return False
    def __del__(self):
        note("del")

def returns():
    return 1
def exits():
    sys.exit(3)
def exits_at_once():
    os._exit(3)
def raises():
    raise KeyError("k")
def forks():
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    return 1
def registers():
    atexit.register(print, "registered")
    sys.exit(3)
def generator_exits():
    raise GeneratorExit
def interrupted():
    raise KeyboardInterrupt

sys.stdout.write("buffered, ")      # to a pipe, so nothing is written yet
sys.stderr.write("")
other = open(log + ".out", "a")
other.write("other\\n")
atexit.register(note, "atexit")
at_end = threading.Thread(target=lambda: None)
at_end.start()
try:
    with Block():
        try:
            call_with_container([], globals()[how], start_method=method)
            ended = "value"
        except BaseException as error:
            ended = type(error).__name__
        finally:
            note("finally")
finally:
    note("outer finally")
other.close()
print("printed", ended)
"""

ENDS = {
    "returns": "value",
    "exits": "ContainerExitError",
    "exits_at_once": "ContainerExitError",
    "raises": "KeyError",
    "forks": "value",
    "registers": "ContainerExitError",
    "generator_exits": "RemoteError",
    "interrupted": "ContainerExitError",
}


@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize("how", ENDS)
def test_once(run_program, tmp_path, method, how):
    log = tmp_path / "log"
    ended = run_program(CALLER, method, how, str(log))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"buffered, printed {ENDS[how]}\n"
    assert log.read_text().split("\n") == [
        "finally", "exit", "del", "outer finally", "atexit", "",
    ]  # fmt: skip
    assert (tmp_path / "log.out").read_text() == "other\n"


SETUP_FAILS = """
import atexit, os, sys
from pycontainer import SetupError, bind, call_with_container

atexit.register(os.write, 1, b"atexit\\n")
sys.stdout.write("buffered\\n")
try:
    call_with_container([bind("/nowhere", "/x")], lambda: 1, start_method=sys.argv[1])
except SetupError:
    os.write(1, b"refused\\n")
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_once_when_set_up_fails(run_program, method):
    ended = run_program(SETUP_FAILS, method)
    assert sorted(ended.stdout.split()) == ["atexit", "buffered", "refused"], json.dumps(
        [ended.stdout, ended.stderr]
    )
