"""Row 10: fork with threads (CPython#100228).

A child that is forked while another thread holds a lock waits for it for ever, in malloc for one;
and a process with threads cannot make a user namespace (EINVAL).  The process that is cloned here
has one thread.
"""

from __future__ import annotations

import pytest

CALLER = """
import json, logging, os, sys, threading, time
from pycontainer import call_with_container, container_excursion, start_container

method, calls = sys.argv[1], int(sys.argv[2])
logging.basicConfig(stream=open(os.devnull, "w"))
locks = [threading.Lock() for _ in range(4)]
ended = threading.Event()

def busy(number):
    # Mostly inside a lock of Python, of malloc, of stdio or of the import system.
    while not ended.is_set():
        with locks[number % 4]:
            data = [bytearray(200_000) for _ in range(3)]
            logging.warning("%d", len(data))
            os.environ["X"] = "y"
            int("7" * 400)
        ended.wait(0.004)

threads = [threading.Thread(target=busy, args=[number]) for number in range(20)]
for thread in threads:
    thread.start()

def fn():
    # As much as a function is likely to do that takes a lock.
    data = bytearray(1 << 20)
    print(json.dumps({"n": len(data)}), file=open("/dev/null", "w"))
    if method == "forkserver":  # a fork has the caller's own locks, as they were
        logging.getLogger("x").warning("inside")
    worker = threading.Thread(target=data.clear)
    worker.start()
    worker.join()
    return len(data)

try:
    for number in range(calls):
        assert call_with_container([], fn, start_method=method, timeout=10) == 0
    results = []
    def several():
        for _ in range(calls // 8):
            results.append(call_with_container([], lambda: 1, start_method=method, timeout=10))
    callers = [threading.Thread(target=several) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [1] * (calls // 8 * 4), results
finally:
    ended.set()
    for thread in threads:
        thread.join()
print("all")
"""


@pytest.mark.parametrize(("method", "calls"), [("forkserver", 134), ("fork", 32)])
def test_no_call_hangs(run_program, method, calls):
    ended = run_program(CALLER, method, str(calls), timeout=50)
    assert (ended.stdout, ended.returncode) == ("all\n", 0), ended.stderr
